//! Notify payload, RFC 7296 §3.10.

use super::{Body, octet};
use crate::message::{
    error::{EncodeError, Fault},
    registry::{NotifyType, PayloadType, Protocol},
};
use culvert_model::{IpsecProtocol, Spi};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// `Protocol::None` unless the notification is about an SA named by its SPI.
    pub protocol: Protocol,
    pub spi: Vec<u8>,
    pub kind: NotifyType,
    pub data: Vec<u8>,
}

impl Notify {
    /// A notification without data and without an SA.
    pub fn new(kind: NotifyType) -> Self {
        Self::with_data(kind, Vec::new())
    }

    pub fn with_data(kind: NotifyType, data: Vec<u8>) -> Self {
        Self { protocol: Protocol::None, spi: Vec::new(), kind, data }
    }

    /// About a Child SA: REKEY_SA, CHILD_SA_NOT_FOUND.
    pub fn about_sa(kind: NotifyType, protocol: IpsecProtocol, spi: Spi) -> Self {
        Self { protocol: protocol.into(), spi: spi.to_be_bytes().to_vec(), kind, data: Vec::new() }
    }

    /// The four-octet SPI of an ESP or AH SA, if one is named and may exist.
    pub fn child_spi(&self) -> Option<Spi> {
        if !matches!(self.protocol, Protocol::Esp | Protocol::Ah) {
            return None;
        }
        let octets = <[u8; 4]>::try_from(self.spi.as_slice()).ok()?;
        Spi::new(u32::from_be_bytes(octets)).ok()
    }

    pub(super) fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        let protocol = Protocol::from_wire(r.u8()?);
        let spi_len = r.u8()?;
        let kind = NotifyType::from_wire(r.u16()?);
        let spi = r.take(spi_len.into())?.to_vec();
        Ok(Self { protocol, spi, kind, data: r.rest().to_vec() })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&[self.protocol.to_wire(), octet(PayloadType::Notify, self.spi.len())?]);
        out.extend_from_slice(&self.kind.to_wire().to_be_bytes());
        out.extend_from_slice(&self.spi);
        out.extend_from_slice(&self.data);
        Ok(())
    }
}
