//! The IKEv2 header (RFC 7296 §3.1), all the data plane looks at before it hands a message on.

pub const LEN: usize = 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("IKE header truncated")]
    Truncated,
    #[error("IKE length {0} is below 28")]
    Length(u32),
    #[error("IKE length {length}, but {available} octets came")]
    LengthMismatch { length: u32, available: usize },
    #[error("IKE initiator SPI is zero")]
    ZeroInitiatorSpi,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub initiator_spi: u64,
    /// 0 in the first request.
    pub responder_spi: u64,
    pub next_payload: u8,
    /// High four bits major, low four minor.
    pub version: u8,
    pub exchange_type: u8,
    pub flags: u8,
    pub message_id: u32,
    pub length: u32,
}

impl Repr {
    pub const FLAG_INITIATOR: u8 = 0x08;
    pub const FLAG_VERSION: u8 = 0x10;
    pub const FLAG_RESPONSE: u8 = 0x20;

    /// Takes a whole datagram: the length field must be the datagram's. The version is left to IKE, which owes an
    /// answer to one it does not speak (RFC 7296 §2.5).
    pub fn parse(message: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (h, payloads) = message.split_first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let header = Self {
            initiator_spi: u64::from_be_bytes([h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]]),
            responder_spi: u64::from_be_bytes([h[8], h[9], h[10], h[11], h[12], h[13], h[14], h[15]]),
            next_payload: h[16],
            version: h[17],
            exchange_type: h[18],
            flags: h[19],
            message_id: u32::from_be_bytes([h[20], h[21], h[22], h[23]]),
            length: u32::from_be_bytes([h[24], h[25], h[26], h[27]]),
        };
        if header.initiator_spi == 0 {
            return Err(Error::ZeroInitiatorSpi);
        }
        if header.length < LEN as u32 {
            return Err(Error::Length(header.length));
        }
        if usize::try_from(header.length) != Ok(message.len()) {
            return Err(Error::LengthMismatch { length: header.length, available: message.len() });
        }
        Ok((header, payloads))
    }

    pub const fn to_bytes(&self) -> [u8; LEN] {
        let [a0, a1, a2, a3, a4, a5, a6, a7] = self.initiator_spi.to_be_bytes();
        let [b0, b1, b2, b3, b4, b5, b6, b7] = self.responder_spi.to_be_bytes();
        let [m0, m1, m2, m3] = self.message_id.to_be_bytes();
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        let (n, v, x, f) = (self.next_payload, self.version, self.exchange_type, self.flags);
        [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, n, v, x, f, m0, m1, m2, m3, l0, l1, l2, l3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, ipv4, testing, udp};
    use proptest::prelude::*;

    fn captured() -> Vec<u8> {
        testing::bytes(testing::IKE_SA_INIT)[ethernet::LEN + ipv4::LEN + udp::LEN..].to_vec()
    }

    #[test]
    fn captured_init_request() {
        let message = captured();
        let (header, payloads) = Repr::parse(&message).unwrap();
        // SA payload first; version 2.0; IKE_SA_INIT.
        assert_eq!((header.next_payload, header.version, header.exchange_type), (33, 0x20, 34));
        assert_eq!((header.flags, header.message_id, header.responder_spi), (Repr::FLAG_INITIATOR, 0, 0));
        assert_eq!(payloads.len(), message.len() - LEN);
        assert_eq!(header.to_bytes(), message[..LEN]);
    }

    #[test]
    fn truncated_at_every_length() {
        let message = captured();
        for len in 0..message.len() {
            assert!(Repr::parse(&message[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn refusals() {
        let mut message = captured();
        message.push(0);
        let len = message.len();
        assert_eq!(Repr::parse(&message), Err(Error::LengthMismatch { length: len as u32 - 1, available: len }));
        message[24..28].copy_from_slice(&27u32.to_be_bytes());
        assert_eq!(Repr::parse(&message), Err(Error::Length(27)));
        message[..8].fill(0);
        assert_eq!(Repr::parse(&message), Err(Error::ZeroInitiatorSpi));
    }

    proptest! {
        #[test]
        fn round_trip(initiator_spi in 1u64.., responder_spi: u64, bytes: [u8; 4], message_id: u32) {
            let [next_payload, version, exchange_type, flags] = bytes;
            let header = Repr {
                initiator_spi, responder_spi, next_payload, version, exchange_type, flags, message_id, length: 28,
            };
            let bytes = header.to_bytes();
            prop_assert_eq!(Repr::parse(&bytes), Ok((header, &[][..])));
        }
    }
}
