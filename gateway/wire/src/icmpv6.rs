//! ICMPv6 (RFC 4443); neighbour discovery is in [`crate::ndp`].

use crate::{NoRoom, Writer, checksum::Sum, protocol};
use std::net::Ipv6Addr;

pub const LEN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("ICMPv6 message truncated")]
    Truncated,
    #[error("ICMPv6 checksum is wrong")]
    Checksum,
}

/// Codes of destination unreachable that the box sends (RFC 4443 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreachableCode(pub u8);

impl UnreachableCode {
    pub const NO_ROUTE: Self = Self(0);
    pub const PROHIBITED: Self = Self(1);
    pub const ADDRESS: Self = Self(3);
    pub const PORT: Self = Self(4);
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
    Unreachable {
        code: UnreachableCode,
        quote: &'a [u8],
    },
    PacketTooBig {
        mtu: u32,
        quote: &'a [u8],
    },
    TimeExceeded {
        code: u8,
        quote: &'a [u8],
    },
    ParameterProblem {
        code: u8,
        pointer: u32,
        quote: &'a [u8],
    },
    /// Anything else; `body` is what follows the checksum.
    Other {
        kind: u8,
        code: u8,
        body: &'a [u8],
    },
}

/// Types below 128 are errors, which none may answer (RFC 4443 §2.1, §2.4(e)).
#[inline]
pub const fn is_error(kind: u8) -> bool {
    kind < 128
}

impl<'a> Message<'a> {
    /// Takes the whole upper-layer payload and the addresses of its packet.
    pub fn parse(source: Ipv6Addr, destination: Ipv6Addr, bytes: &'a [u8]) -> Result<Self, Error> {
        let [kind, code, _, _, body @ ..] = bytes else { return Err(Error::Truncated) };
        if !Sum::pseudo_v6(&source, &destination, protocol::ICMPV6, bytes.len()).add_bytes(bytes).is_valid() {
            return Err(Error::Checksum);
        }
        let (kind, code) = (*kind, *code);
        if !matches!(kind, 1..=4 | 128 | 129) {
            return Ok(Self::Other { kind, code, body });
        }
        let ([a, b, c, d], data) = body.split_first_chunk::<4>().ok_or(Error::Truncated)?;
        let word = u32::from_be_bytes([*a, *b, *c, *d]);
        let (identifier, sequence) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
        Ok(match kind {
            1 => Self::Unreachable { code: UnreachableCode(code), quote: data },
            2 => Self::PacketTooBig { mtu: word, quote: data },
            3 => Self::TimeExceeded { code, quote: data },
            4 => Self::ParameterProblem { code, pointer: word, quote: data },
            128 => Self::EchoRequest { identifier, sequence, data },
            _ => Self::EchoReply { identifier, sequence, data },
        })
    }

    /// Octets that `emit` writes.
    pub const fn len(&self) -> usize {
        match self {
            Self::EchoRequest { data, .. } | Self::EchoReply { data, .. } => LEN + data.len(),
            Self::Unreachable { quote, .. }
            | Self::PacketTooBig { quote, .. }
            | Self::TimeExceeded { quote, .. }
            | Self::ParameterProblem { quote, .. } => LEN + quote.len(),
            Self::Other { body, .. } => 4 + body.len(),
        }
    }

    /// Never: every message has a type.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the message with its checksum to the front of `out`.
    pub fn emit(&self, source: Ipv6Addr, destination: Ipv6Addr, out: &mut [u8]) -> Result<(), NoRoom> {
        let out = out.get_mut(..self.len()).ok_or(NoRoom)?;
        let echo = |identifier: u16, sequence: u16| Some(u32::from(identifier) << 16 | u32::from(sequence));
        let (kind, code, word, data) = match *self {
            Self::Unreachable { code, quote } => (1, code.0, Some(0), quote),
            Self::PacketTooBig { mtu, quote } => (2, 0, Some(mtu), quote),
            Self::TimeExceeded { code, quote } => (3, code, Some(0), quote),
            Self::ParameterProblem { code, pointer, quote } => (4, code, Some(pointer), quote),
            Self::EchoRequest { identifier, sequence, data } => (128, 0, echo(identifier, sequence), data),
            Self::EchoReply { identifier, sequence, data } => (129, 0, echo(identifier, sequence), data),
            Self::Other { kind, code, body } => (kind, code, None, body),
        };
        let mut w = Writer::new(out);
        w.put(&[kind, code, 0, 0])?;
        if let Some(word) = word {
            w.u32(word)?;
        }
        w.put(data)?;
        fill_checksum(source, destination, out)
    }
}

/// Writes the checksum of an ICMPv6 message whose checksum field is zero.
pub(crate) fn fill_checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &mut [u8]) -> Result<(), NoRoom> {
    let sum = Sum::pseudo_v6(&source, &destination, protocol::ICMPV6, message.len()).add_bytes(message).finish();
    message.get_mut(2..4).ok_or(NoRoom)?.copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, ipv6, testing};
    use proptest::prelude::*;

    /// Source, destination, ICMPv6 message.
    fn captured(hex: &str) -> (Ipv6Addr, Ipv6Addr, Vec<u8>) {
        let frame = testing::bytes(hex);
        let (header, payload) = ipv6::Header::parse(&frame[ethernet::LEN..]).unwrap();
        let upper = header.upper(payload).unwrap();
        (header.source(), header.destination(), upper.payload.to_vec())
    }

    const MESSAGES: [&str; 6] = [
        testing::ECHO_REQUEST_V6,
        testing::ECHO_REPLY_V6,
        testing::PORT_UNREACHABLE_V6,
        testing::TIME_EXCEEDED_V6,
        testing::PACKET_TOO_BIG,
        testing::MLD_REPORT,
    ];

    #[test]
    fn captured_messages() {
        let [request, reply, unreachable, exceeded, too_big, report] = MESSAGES.map(captured);
        let parse = |c: &(Ipv6Addr, Ipv6Addr, Vec<u8>)| format!("{:?}", Message::parse(c.0, c.1, &c.2).unwrap());
        assert!(parse(&request).starts_with("EchoRequest { identifier: 21307, sequence: 1,"));
        assert!(parse(&reply).starts_with("EchoReply { identifier: 21307, sequence: 1,"));
        assert!(parse(&unreachable).starts_with("Unreachable { code: UnreachableCode(4),"));
        assert!(parse(&exceeded).starts_with("TimeExceeded { code: 0,"));
        assert!(parse(&too_big).starts_with("PacketTooBig { mtu: 1300,"));
        assert!(parse(&report).starts_with("Other { kind: 143, code: 0,"));
    }

    #[test]
    fn emit_gives_the_captured_bytes() {
        for (source, destination, bytes) in MESSAGES.map(captured) {
            let message = Message::parse(source, destination, &bytes).unwrap();
            let mut out = vec![0xaa; message.len()];
            message.emit(source, destination, &mut out).unwrap();
            assert_eq!(out, bytes);
            for len in 0..bytes.len() {
                assert!(Message::parse(source, destination, &bytes[..len]).is_err(), "{len}");
                assert_eq!(message.emit(source, destination, &mut vec![0; len]), Err(NoRoom), "{len}");
            }
        }
    }

    #[test]
    fn the_checksum_covers_the_addresses() {
        let (source, destination, bytes) = captured(testing::ECHO_REQUEST_V6);
        let other = "2001:db8::7".parse().unwrap();
        assert_eq!(Message::parse(source, other, &bytes), Err(Error::Checksum));
        assert_eq!(Message::parse(other, destination, &bytes), Err(Error::Checksum));
    }

    #[test]
    fn short_messages_of_known_type() {
        let addr = Ipv6Addr::LOCALHOST;
        let mut four = [128, 0, 0, 0];
        fill_checksum(addr, addr, &mut four).unwrap();
        assert_eq!(Message::parse(addr, addr, &four), Err(Error::Truncated));
        assert!(is_error(127) && !is_error(128));
    }

    proptest! {
        #[test]
        fn round_trip(kind: u8, code: u8, word: u32, data in proptest::collection::vec(any::<u8>(), 0..60),
                      source: [u8; 16], destination: [u8; 16]) {
            let (identifier, sequence) = ((word >> 16) as u16, word as u16);
            let message = match kind {
                1 => Message::Unreachable { code: UnreachableCode(code), quote: &data },
                2 => Message::PacketTooBig { mtu: word, quote: &data },
                3 => Message::TimeExceeded { code, quote: &data },
                4 => Message::ParameterProblem { code, pointer: word, quote: &data },
                128 => Message::EchoRequest { identifier, sequence, data: &data },
                129 => Message::EchoReply { identifier, sequence, data: &data },
                _ => Message::Other { kind, code, body: &data },
            };
            let (source, destination) = (source.into(), destination.into());
            let mut out = vec![0; message.len()];
            message.emit(source, destination, &mut out).unwrap();
            prop_assert_eq!(Message::parse(source, destination, &out), Ok(message));
        }
    }
}
