//! The AH header (RFC 4302 §2): what follows it, SPI, the low half of the sequence number, and the ICV.

/// Octets before the ICV.
pub const LEN: usize = 12;

/// Most the payload length octet can say.
const MAX: usize = (255 + 2) * 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("AH header truncated")]
    Truncated,
    #[error("AH header length {0} has no room for an ICV")]
    Length(usize),
    #[error("AH header length {length}, but only {available} octets came")]
    Short { length: usize, available: usize },
    #[error("reserved SPI {0}")]
    ReservedSpi(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub next_header: u8,
    /// Octets of the ICV field, padding included; a multiple of 4.
    pub icv_len: usize,
    pub spi: u32,
    pub sequence: u32,
}

impl Repr {
    /// The header, its ICV field, and what follows. The reserved octets may be anything: the ICV covers them
    /// (RFC 4302 §2.3).
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8], &[u8]), Error> {
        let (h, rest) = bytes.split_first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let [next_header, words, _, _, s0, s1, s2, s3, q0, q1, q2, q3] = *h;
        // RFC 4302 §2.2: in 32-bit words, less two.
        let length = (usize::from(words) + 2) * 4;
        let icv_len = length.checked_sub(LEN).filter(|len| *len > 0).ok_or(Error::Length(length))?;
        let short = Error::Short { length, available: bytes.len() };
        let (icv, rest) = rest.split_at_checked(icv_len).ok_or(short)?;
        let spi = u32::from_be_bytes([s0, s1, s2, s3]);
        // RFC 4302 §2.4: 0 is never on the wire, 1 to 255 are IANA's.
        if spi < 256 {
            return Err(Error::ReservedSpi(spi));
        }
        Ok((Self { next_header, icv_len, spi, sequence: u32::from_be_bytes([q0, q1, q2, q3]) }, icv, rest))
    }

    /// Octets, ICV field included.
    #[inline]
    pub const fn header_len(&self) -> usize {
        LEN + self.icv_len
    }

    /// What stands before the ICV field. `None`: an ICV field that is empty, no multiple of 4, or longer than the length
    /// octet can say.
    #[inline]
    pub const fn to_bytes(&self) -> Option<[u8; LEN]> {
        let length = LEN.saturating_add(self.icv_len);
        if self.icv_len == 0 || !self.icv_len.is_multiple_of(4) || length > MAX {
            return None;
        }
        let words = (length / 4 - 2) as u8;
        let [s0, s1, s2, s3] = self.spi.to_be_bytes();
        let [q0, q1, q2, q3] = self.sequence.to_be_bytes();
        Some([self.next_header, words, 0, 0, s0, s1, s2, s3, q0, q1, q2, q3])
    }
}

/// Octets of the ICV field for an ICV of `icv_len`: padded so that the header is a multiple of 32 bits over IPv4 and of
/// 64 bits over IPv6. More padding than that is prohibited (RFC 4302 §3.3.3.2.1).
#[inline]
pub const fn icv_field_len(icv_len: usize, is_v6: bool) -> usize {
    (LEN + icv_len).next_multiple_of(if is_v6 { 8 } else { 4 }) - LEN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, ipv4, protocol, testing};
    use proptest::prelude::*;

    #[test]
    fn captured() {
        let frame = testing::bytes(testing::AH);
        let (ip, payload) = ipv4::Header::parse(&frame[ethernet::LEN..], ipv4::ChecksumMode::Verify).unwrap();
        assert_eq!(ip.protocol(), protocol::AH);
        let (header, icv, rest) = Repr::parse(payload).unwrap();
        assert_eq!(header, Repr { next_header: protocol::UDP, icv_len: 12, spi: 0x1234_abcd, sequence: 9 });
        assert_eq!((icv.len(), rest.len()), (12, payload.len() - 24));
        assert_eq!(header.to_bytes().unwrap(), payload[..LEN]);
        for len in 0..LEN {
            assert_eq!(Repr::parse(&payload[..len]), Err(Error::Truncated), "{len}");
        }
        for available in LEN..header.header_len() {
            assert_eq!(Repr::parse(&payload[..available]), Err(Error::Short { length: 24, available }));
        }
    }

    #[test]
    fn refusals() {
        let header = |words: u8, spi: u32| {
            let mut bytes = vec![6, words, 0, 0];
            bytes.extend(spi.to_be_bytes());
            bytes.resize(64, 0);
            Repr::parse(&bytes).map(|(header, ..)| header)
        };
        assert_eq!(header(0, 256), Err(Error::Length(8)));
        assert_eq!(header(1, 256), Err(Error::Length(12)));
        assert_eq!(header(255, 256), Err(Error::Short { length: 1028, available: 64 }));
        assert_eq!(header(4, 0), Err(Error::ReservedSpi(0)));
        assert_eq!(header(4, 255), Err(Error::ReservedSpi(255)));
        assert_eq!(header(4, 256).unwrap().header_len(), 24);
        for icv_len in [0, 1, 11, 14, 1017, 1020, usize::MAX] {
            assert_eq!(Repr { next_header: 6, icv_len, spi: 256, sequence: 0 }.to_bytes(), None, "{icv_len}");
        }
    }

    #[test]
    fn fields_are_padded_to_words() {
        // ICVs of HMAC-SHA1-96, SHA2-256-128, SHA2-384-192, SHA2-512-256.
        let lengths = |is_v6| [12, 16, 24, 32].map(|icv| LEN + icv_field_len(icv, is_v6));
        assert_eq!(lengths(false), [24, 28, 36, 44]);
        assert_eq!(lengths(true), [24, 32, 40, 48]);
    }

    proptest! {
        #[test]
        fn round_trip(
            next_header: u8, words in 1usize..=254, spi in 256u32.., sequence: u32, more in 0usize..40, reserved: [u8; 2],
        ) {
            let header = Repr { next_header, icv_len: words * 4, spi, sequence };
            let mut bytes = header.to_bytes().unwrap().to_vec();
            prop_assert_eq!(&bytes[2..4], &[0, 0]);
            bytes[2..4].copy_from_slice(&reserved);
            bytes.resize(header.header_len() + more, 7);
            let (read, icv, rest) = Repr::parse(&bytes).unwrap();
            prop_assert_eq!((read, icv.len(), rest.len()), (header, words * 4, more));
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok((header, icv, rest)) = Repr::parse(&bytes) {
                prop_assert_eq!(LEN + icv.len() + rest.len(), bytes.len());
                prop_assert_eq!(&header.to_bytes().unwrap()[4..], &bytes[4..LEN]);
            }
        }
    }
}
