//! The IKE header, RFC 7296 §3.1.

use super::{
    error::Fault,
    reader::Reader,
    registry::{ExchangeType, PayloadType},
};
use core::fmt;

/// Octets of the header.
pub const HEADER_LEN: usize = 28;

/// No IKE message is longer: it would not fit into a UDP datagram.
pub const MAX_MESSAGE: usize = 65_535;

/// An IKE SA's SPI. Zero stands for "not known yet" (responder's SPI in the first message).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IkeSpi(pub [u8; 8]);

impl IkeSpi {
    pub const ZERO: Self = Self([0; 8]);

    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IkeSpi({self})")
    }
}

/// What of the header is the caller's to choose or to look at. Version, next payload and length are the codec's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    pub initiator_spi: IkeSpi,
    pub responder_spi: IkeSpi,
    pub exchange: ExchangeType,
    /// Sent by the original initiator of the IKE SA (flag I).
    pub initiator: bool,
    /// Answers the request with the same message ID (flag R).
    pub response: bool,
    pub message_id: u32,
}

const FLAG_INITIATOR: u8 = 0x08;
const FLAG_RESPONSE: u8 = 0x20;
const VERSION: u8 = 0x20;

impl Header {
    /// Reads a datagram's header; gives the type of the first payload and the octets after the header.
    ///
    /// The minor version, the V flag and unknown flags are ignored (§3.1).
    pub fn parse(datagram: &[u8]) -> Result<(Self, PayloadType, &[u8]), Fault> {
        let mut r = Reader::new(datagram);
        let fields = Fields::read(&mut r).ok_or(Fault::HeaderTruncated { got: datagram.len() })?;
        match fields.version >> 4 {
            2 => {}
            major => return Err(Fault::MajorVersion { major }),
        }
        if fields.length as usize != datagram.len() || datagram.len() > MAX_MESSAGE {
            return Err(Fault::HeaderLength { claimed: fields.length, got: datagram.len() });
        }
        if fields.header.initiator_spi.is_zero() {
            return Err(Fault::ZeroInitiatorSpi);
        }
        Ok((fields.header, PayloadType::from_wire(fields.next), r.rest()))
    }

    /// The fields that an answer in clear repeats, of a datagram that may be of a later version (§2.5).
    pub fn peek(datagram: &[u8]) -> Option<Self> {
        Fields::read(&mut Reader::new(datagram)).map(|fields| fields.header)
    }

    /// The header's octets. `length` is that of the whole message.
    pub(super) fn emit(&self, next: PayloadType, length: u32, out: &mut Vec<u8>) {
        let mut flags = 0;
        if self.initiator {
            flags |= FLAG_INITIATOR;
        }
        if self.response {
            flags |= FLAG_RESPONSE;
        }
        out.extend_from_slice(&self.initiator_spi.0);
        out.extend_from_slice(&self.responder_spi.0);
        out.extend_from_slice(&[next.to_wire(), VERSION, self.exchange.to_wire(), flags]);
        out.extend_from_slice(&self.message_id.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
    }

    /// The header of the response to this request.
    pub fn answer(&self) -> Self {
        Self { initiator: !self.initiator, response: true, ..*self }
    }
}

/// All fields, as they stand.
struct Fields {
    header: Header,
    next: u8,
    version: u8,
    length: u32,
}

impl Fields {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        let initiator_spi = IkeSpi(r.array()?);
        let responder_spi = IkeSpi(r.array()?);
        let [next, version, exchange, flags] = r.array()?;
        let header = Header {
            initiator_spi,
            responder_spi,
            exchange: ExchangeType::from_wire(exchange),
            initiator: flags & FLAG_INITIATOR != 0,
            response: flags & FLAG_RESPONSE != 0,
            message_id: r.u32()?,
        };
        Some(Self { header, next, version, length: r.u32()? })
    }
}
