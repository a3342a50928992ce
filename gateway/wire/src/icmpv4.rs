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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, ipv4, testing};
    use proptest::prelude::*;

    fn captured(hex: &str) -> Vec<u8> {
        testing::bytes(hex)[ethernet::LEN + ipv4::LEN..].to_vec()
    }

    fn emitted(message: &Message<'_>) -> Vec<u8> {
        let mut out = vec![0xaa; message.len()];
        message.emit(&mut out).unwrap();
        out
    }

    #[test]
    fn captured_messages() {
        let quote = |hex: &str, n: usize| testing::bytes(hex)[ethernet::LEN..][..n].to_vec();
        let bytes = captured(testing::ECHO_REQUEST_V4);
        assert!(
            matches!(Message::parse(&bytes), Ok(Message::EchoRequest { sequence: 1, data, .. }) if data.len() == 56)
        );
        let bytes = captured(testing::ECHO_REPLY_V4);
        assert!(matches!(Message::parse(&bytes), Ok(Message::EchoReply { sequence: 1, .. })));
        let bytes = captured(testing::PORT_UNREACHABLE_V4);
        let udp = quote(testing::UDP_V4, 31);
        assert_eq!(
            Message::parse(&bytes),
            Ok(Message::Unreachable { code: UnreachableCode::PORT, mtu: 0, quote: &udp })
        );
        let bytes = captured(testing::FRAGMENTATION_NEEDED);
        assert!(matches!(
            Message::parse(&bytes),
            Ok(Message::Unreachable { code: UnreachableCode::FRAGMENTATION_NEEDED, mtu: 1300, quote }) if quote.len() == 548
        ));
        let bytes = captured(testing::TIME_EXCEEDED_V4);
        let echo = quote(testing::TTL_ONE_V4, 84);
        assert_eq!(Message::parse(&bytes), Ok(Message::TimeExceeded { code: 0, quote: &echo }));
    }

    #[test]
    fn emit_gives_the_captured_bytes() {
        for hex in [
            testing::ECHO_REQUEST_V4,
            testing::ECHO_REPLY_V4,
            testing::PORT_UNREACHABLE_V4,
            testing::FRAGMENTATION_NEEDED,
            testing::TIME_EXCEEDED_V4,
        ] {
            let bytes = captured(hex);
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(emitted(&message), bytes);
            for len in 0..bytes.len() {
                // What is cut off may add up to nothing: a quoted packet whose own checksums are right does.
                let whole = checksum::Sum::new().add_bytes(&bytes[..len]).is_valid() && len >= LEN;
                assert_eq!(Message::parse(&bytes[..len]).is_ok(), whole, "{len}");
                assert_eq!(message.emit(&mut vec![0; len]), Err(NoRoom), "{len}");
            }
        }
    }

    #[test]
    fn refusals() {
        let mut bytes = captured(testing::ECHO_REQUEST_V4);
        bytes[20] ^= 1;
        assert_eq!(Message::parse(&bytes), Err(Error::Checksum));
        assert_eq!(Message::parse(&bytes[..7]), Err(Error::Truncated));
        for kind in [0, 8] {
            let bad = emitted(&Message::Other { kind, code: 1, body: &[0; 4] });
            assert_eq!(Message::parse(&bad), Err(Error::Code(1)), "{kind}");
        }
    }

    #[test]
    fn errors_are_known() {
        let errors: Vec<u8> = (0..=255).filter(|kind| is_error(*kind)).collect();
        assert_eq!(errors, [3, 4, 5, 11, 12]);
    }

    proptest! {
        #[test]
        fn round_trip(kind: u8, code: u8, words: (u16, u16), data in proptest::collection::vec(any::<u8>(), 0..60)) {
            let (identifier, sequence) = words;
            let body = [&[0; 4][..], &data].concat();
            let message = match kind {
                0 => Message::EchoReply { identifier, sequence, data: &data },
                8 => Message::EchoRequest { identifier, sequence, data: &data },
                3 => Message::Unreachable { code: UnreachableCode(code), mtu: sequence, quote: &data },
                11 => Message::TimeExceeded { code, quote: &data },
                _ => Message::Other { kind, code, body: &body },
            };
            let bytes = emitted(&message);
            prop_assert_eq!(Message::parse(&bytes), Ok(message));
        }
    }
}
