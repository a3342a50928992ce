//! UDP (RFC 768).

use crate::{checksum::Sum, protocol};
use std::net::IpAddr;

pub const LEN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("UDP header truncated")]
    Truncated,
    #[error("UDP length {0} is below 8")]
    Length(u16),
    #[error("UDP length {length}, but only {available} octets came")]
    Short { length: u16, available: usize },
    #[error("UDP checksum is wrong")]
    Checksum,
    #[error("UDP over IPv6 without a checksum")]
    NoChecksum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub source_port: u16,
    pub destination_port: u16,
    /// Header included.
    pub length: u16,
    /// 0 is "none".
    pub checksum: u16,
}

impl Repr {
    /// The header and its payload, cut to the UDP length. The checksum is not looked at.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let h = bytes.first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let [s0, s1, d0, d1, l0, l1, c0, c1] = *h;
        let header = Self {
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            length: u16::from_be_bytes([l0, l1]),
            checksum: u16::from_be_bytes([c0, c1]),
        };
        let length = usize::from(header.length);
        if length < LEN {
            return Err(Error::Length(header.length));
        }
        let available = bytes.len();
        let payload = bytes.get(LEN..length).ok_or(Error::Short { length: header.length, available })?;
        Ok((header, payload))
    }

    /// Checks the checksum of a datagram this header was parsed from (RFC 768; RFC 8200 §8.1: none over IPv6 is an
    /// error). ESP in UDP is not to be checked (RFC 3948 §2.1); IKE is.
    pub fn verify(&self, source: IpAddr, destination: IpAddr, payload: &[u8]) -> Result<(), Error> {
        if self.checksum == 0 {
            return if source.is_ipv4() { Ok(()) } else { Err(Error::NoChecksum) };
        }
        let sum = Sum::pseudo(source, destination, protocol::UDP, usize::from(self.length)).ok_or(Error::Checksum)?;
        let good = sum.add_bytes(&self.to_bytes()).add_bytes(payload).is_valid();
        if good { Ok(()) } else { Err(Error::Checksum) }
    }

    /// The header for `payload`, with length and checksum. `None`: mixed families, or the payload is above 65527.
    pub fn for_payload(
        (source, source_port): (IpAddr, u16),
        (destination, destination_port): (IpAddr, u16),
        payload: &[u8],
    ) -> Option<Self> {
        let length = u16::try_from(payload.len() + LEN).ok()?;
        let header = Self { source_port, destination_port, length, checksum: 0 };
        let sum = Sum::pseudo(source, destination, protocol::UDP, usize::from(length))?;
        let checksum = sum.add_bytes(&header.to_bytes()).add_bytes(payload).finish_udp();
        Some(Self { checksum, ..header })
    }

    #[inline]
    pub const fn to_bytes(&self) -> [u8; LEN] {
        let [s0, s1] = self.source_port.to_be_bytes();
        let [d0, d1] = self.destination_port.to_be_bytes();
        let [l0, l1] = self.length.to_be_bytes();
        let [c0, c1] = self.checksum.to_be_bytes();
        [s0, s1, d0, d1, l0, l1, c0, c1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, ipv4, ipv6, testing};
    use proptest::prelude::*;

    #[test]
    fn captured_over_both_families() {
        for (hex, ip_len) in [(testing::UDP_V4, ipv4::LEN), (testing::UDP_V6, ipv6::LEN)] {
            let packet = &testing::bytes(hex)[ethernet::LEN..];
            let (source, destination) = match ip_len {
                ipv4::LEN => (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])),
                _ => ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()),
            };
            let (header, payload) = Repr::parse(&packet[ip_len..]).unwrap();
            assert_eq!((header.destination_port, header.length, payload), (9, 11, &b"hi\n"[..]));
            assert_eq!(header.verify(source, destination, payload), Ok(()));
            assert_eq!(header.verify(source, destination, b"ho\n"), Err(Error::Checksum));
            let made = Repr::for_payload((source, header.source_port), (destination, 9), payload);
            assert_eq!(made, Some(header));
        }
    }

    #[test]
    fn refusals() {
        let good = [0, 1, 0, 2, 0, 10, 0, 0, 0xaa, 0xbb];
        assert!(Repr::parse(&good).is_ok());
        for len in 0..good.len() {
            assert!(Repr::parse(&good[..len]).is_err(), "{len}");
        }
        assert_eq!(Repr::parse(&good[..9]), Err(Error::Short { length: 10, available: 9 }));
        assert_eq!(Repr::parse(&[0, 1, 0, 2, 0, 7, 0, 0]), Err(Error::Length(7)));
    }

    #[test]
    fn no_checksum_is_for_ipv4_only() {
        let header = Repr { source_port: 1, destination_port: 2, length: 8, checksum: 0 };
        let (four, six) = (IpAddr::from([192, 0, 2, 1]), "2001:db8::1".parse().unwrap());
        assert_eq!(header.verify(four, four, &[]), Ok(()));
        assert_eq!(header.verify(six, six, &[]), Err(Error::NoChecksum));
        let summed = Repr { checksum: 1, ..header };
        assert_eq!(summed.verify(four, six, &[]), Err(Error::Checksum));
    }

    #[test]
    fn a_sum_of_zero_is_sent_as_all_ones() {
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let of_zeros = Repr::for_payload((a, 1), (b, 2), &[0, 0]).unwrap();
        let payload = of_zeros.checksum.to_be_bytes();
        let header = Repr::for_payload((a, 1), (b, 2), &payload).unwrap();
        assert_eq!(header.checksum, 0xffff);
        assert_eq!(header.verify(a, b, &payload), Ok(()));
    }

    #[test]
    fn what_cannot_be_sent() {
        let (four, six) = (IpAddr::from([192, 0, 2, 1]), "2001:db8::1".parse().unwrap());
        assert_eq!(Repr::for_payload((four, 1), (six, 2), &[]), None);
        assert_eq!(Repr::for_payload((four, 1), (four, 2), &vec![0; 65_528]), None);
        assert!(Repr::for_payload((four, 1), (four, 2), &vec![0; 65_527]).is_some());
    }

    proptest! {
        #[test]
        fn round_trip(v4: bool, ports: (u16, u16), addrs: ([u8; 16], [u8; 16]),
                      payload in proptest::collection::vec(any::<u8>(), 0..60)) {
            let addr = |a: [u8; 16]| if v4 { IpAddr::from([a[0], a[1], a[2], a[3]]) } else { IpAddr::from(a) };
            let (source, destination) = (addr(addrs.0), addr(addrs.1));
            let header = Repr::for_payload((source, ports.0), (destination, ports.1), &payload).unwrap();
            prop_assert_ne!(header.checksum, 0);
            let bytes = [&header.to_bytes()[..], &payload].concat();
            prop_assert_eq!(Repr::parse(&bytes), Ok((header, &payload[..])));
            prop_assert_eq!(header.verify(source, destination, &payload), Ok(()));
        }
    }
}
