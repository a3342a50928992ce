//! The ESP header: SPI and the low half of the sequence number (RFC 4303 §2).

pub const LEN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("ESP header truncated")]
    Truncated,
    #[error("reserved SPI {0}")]
    ReservedSpi(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub spi: u32,
    pub sequence: u32,
}

impl Repr {
    /// The header and what it protects: IV, ciphertext, ICV.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (h, rest) = bytes.split_first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let [s0, s1, s2, s3, q0, q1, q2, q3] = *h;
        let spi = u32::from_be_bytes([s0, s1, s2, s3]);
        // RFC 4303 §2.1: 0 is never on the wire, 1 to 255 are IANA's.
        if spi < 256 {
            return Err(Error::ReservedSpi(spi));
        }
        Ok((Self { spi, sequence: u32::from_be_bytes([q0, q1, q2, q3]) }, rest))
    }

    #[inline]
    pub const fn to_bytes(&self) -> [u8; LEN] {
        let [s0, s1, s2, s3] = self.spi.to_be_bytes();
        let [q0, q1, q2, q3] = self.sequence.to_be_bytes();
        [s0, s1, s2, s3, q0, q1, q2, q3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, ipv4, protocol, testing};
    use proptest::prelude::*;

    #[test]
    fn captured() {
        let frame = testing::bytes(testing::ESP);
        let (ip, payload) = ipv4::Header::parse(&frame[ethernet::LEN..], ipv4::ChecksumMode::Verify).unwrap();
        assert_eq!(ip.protocol(), protocol::ESP);
        let (header, rest) = Repr::parse(payload).unwrap();
        assert_eq!(header, Repr { spi: 0x1234_abcd, sequence: 9 });
        assert_eq!(rest.len(), payload.len() - LEN);
        assert_eq!(header.to_bytes(), payload[..LEN]);
    }

    #[test]
    fn refusals() {
        for len in 0..LEN {
            assert_eq!(Repr::parse(&vec![1; len]), Err(Error::Truncated), "{len}");
        }
        assert_eq!(Repr::parse(&[0; 8]), Err(Error::ReservedSpi(0)));
        assert_eq!(Repr::parse(&[0, 0, 0, 255, 0, 0, 0, 1]), Err(Error::ReservedSpi(255)));
        assert!(Repr::parse(&[0, 0, 1, 0, 0, 0, 0, 1]).is_ok());
    }

    proptest! {
        #[test]
        fn round_trip(spi in 256u32.., sequence: u32) {
            let bytes = Repr { spi, sequence }.to_bytes();
            prop_assert_eq!(Repr::parse(&bytes), Ok((Repr { spi, sequence }, &[][..])));
        }
    }
}
