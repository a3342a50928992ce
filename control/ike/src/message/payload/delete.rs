//! Delete payload, RFC 7296 §3.11.

use super::Body;
use crate::message::{
    error::{EncodeError, Fault},
    registry::{PayloadType, Protocol},
};
use culvert_model::IpsecProtocol;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete {
    /// The IKE SA that carries the message.
    Ike,
    /// SPIs that the sender of the payload expects in its inbound packets. As they stand on the wire: nothing says that
    /// they are ours, or not reserved.
    Esp(Vec<u32>),
    Ah(Vec<u32>),
}

impl Delete {
    pub fn children(protocol: IpsecProtocol, spis: Vec<u32>) -> Self {
        match protocol {
            IpsecProtocol::Esp => Self::Esp(spis),
            IpsecProtocol::Ah => Self::Ah(spis),
        }
    }

    /// The Child SAs it names; `None` for the IKE SA.
    pub fn child_spis(&self) -> Option<(IpsecProtocol, &[u32])> {
        match self {
            Self::Ike => None,
            Self::Esp(spis) => Some((IpsecProtocol::Esp, spis)),
            Self::Ah(spis) => Some((IpsecProtocol::Ah, spis)),
        }
    }

    pub(super) fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        let protocol = Protocol::from_wire(r.u8()?);
        let spi_len = r.u8()?;
        let count = usize::from(r.u16()?);
        match (protocol, spi_len) {
            // "It MUST be zero for IKE (SPI is in message header)".
            (Protocol::Ike, 0) if count == 0 => Ok(Self::Ike),
            (Protocol::Ike, 0) => Err(r.inconsistent()),
            (Protocol::Esp, 4) => Ok(Self::Esp(spis(r, count)?)),
            (Protocol::Ah, 4) => Ok(Self::Ah(spis(r, count)?)),
            (Protocol::Ike | Protocol::Esp | Protocol::Ah, got) => Err(Fault::SpiLength { protocol, got }),
            (protocol, _) => Err(Fault::DeleteProtocol { protocol }),
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (protocol, spis) = match self {
            Self::Ike => {
                out.extend_from_slice(&[Protocol::Ike.to_wire(), 0, 0, 0]);
                return Ok(());
            }
            Self::Esp(spis) => (Protocol::Esp, spis),
            Self::Ah(spis) => (Protocol::Ah, spis),
        };
        let count = u16::try_from(spis.len()).map_err(|_| EncodeError::TooLong { payload: PayloadType::Delete })?;
        out.extend_from_slice(&[protocol.to_wire(), 4]);
        out.extend_from_slice(&count.to_be_bytes());
        for spi in spis {
            out.extend_from_slice(&spi.to_be_bytes());
        }
        Ok(())
    }
}

fn spis(r: &mut Body<'_>, count: usize) -> Result<Vec<u32>, Fault> {
    // The count is held against the octets before anything is allocated for it.
    if r.len() != count * 4 {
        return Err(r.inconsistent());
    }
    (0..count).map(|_| r.u32()).collect()
}
