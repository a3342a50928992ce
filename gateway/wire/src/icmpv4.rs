//! ICMP (RFC 792, RFC 1191).

use crate::{NoRoom, Writer, checksum};

pub const LEN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("ICMP message truncated")]
    Truncated,
    #[error("ICMP checksum is wrong")]
    Checksum,
    #[error("ICMP echo with code {0}")]
    Code(u8),
}

/// Codes of destination unreachable that the box sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreachableCode(pub u8);

impl UnreachableCode {
    pub const NET: Self = Self(0);
    pub const HOST: Self = Self(1);
    pub const PROTOCOL: Self = Self(2);
    pub const PORT: Self = Self(3);
    pub const FRAGMENTATION_NEEDED: Self = Self(4);
    pub const ADMINISTRATIVELY_PROHIBITED: Self = Self(13);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    EchoRequest {
        identifier: u16,
        sequence: u16,
        data: &'a [u8],
    },
    EchoReply {
        identifier: u16,
        sequence: u16,
        data: &'a [u8],
    },
    /// `mtu` is 0 but for fragmentation needed (RFC 1191 §4).
    Unreachable {
        code: UnreachableCode,
        mtu: u16,
        quote: &'a [u8],
    },
    TimeExceeded {
        code: u8,
        quote: &'a [u8],
    },
    /// Anything else; `body` is what follows the checksum.
    Other {
        kind: u8,
        code: u8,
        body: &'a [u8],
    },
}

/// The types about another packet, which none may answer (RFC 1812 §4.3.2.7).
#[inline]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

impl<'a> Message<'a> {
    /// Takes the whole payload of an IPv4 packet of protocol 1.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (h, data) = bytes.split_first_chunk::<LEN>().ok_or(Error::Truncated)?;
        if !checksum::Sum::new().add_bytes(bytes).is_valid() {
            return Err(Error::Checksum);
        }
        let [kind, code, _, _, a, b, c, d] = *h;
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        match kind {
            0 | 8 if code != 0 => Err(Error::Code(code)),
            0 => Ok(Self::EchoReply { identifier: high, sequence: low, data }),
            8 => Ok(Self::EchoRequest { identifier: high, sequence: low, data }),
            3 => Ok(Self::Unreachable { code: UnreachableCode(code), mtu: low, quote: data }),
            11 => Ok(Self::TimeExceeded { code, quote: data }),
            _ => Ok(Self::Other { kind, code, body: bytes.get(4..).ok_or(Error::Truncated)? }),
        }
    }

    /// Octets that `emit` writes.
    pub const fn len(&self) -> usize {
        match self {
            Self::EchoRequest { data, .. } | Self::EchoReply { data, .. } => LEN + data.len(),
            Self::Unreachable { quote, .. } | Self::TimeExceeded { quote, .. } => LEN + quote.len(),
            Self::Other { body, .. } => 4 + body.len(),
        }
    }

    /// Never: every message has a type.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the message with its checksum to the front of `out`.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), NoRoom> {
        let out = out.get_mut(..self.len()).ok_or(NoRoom)?;
        let (kind, code, word, data) = match *self {
            Self::EchoReply { identifier, sequence, data } => (0, 0, Some((identifier, sequence)), data),
            Self::EchoRequest { identifier, sequence, data } => (8, 0, Some((identifier, sequence)), data),
            Self::Unreachable { code, mtu, quote } => (3, code.0, Some((0, mtu)), quote),
            Self::TimeExceeded { code, quote } => (11, code, Some((0, 0)), quote),
            Self::Other { kind, code, body } => (kind, code, None, body),
        };
        let mut w = Writer::new(out);
        w.put(&[kind, code, 0, 0])?;
        if let Some((high, low)) = word {
            w.u16(high)?;
            w.u16(low)?;
        }
        w.put(data)?;
        let sum = checksum::of(out);
        out.get_mut(2..4).ok_or(NoRoom)?.copy_from_slice(&sum.to_be_bytes());
        Ok(())
    }
}
