//! Ethernet II (IEEE 802.3, RFC 894).

use core::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

pub const LEN: usize = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("ethernet header truncated")]
    Truncated,
}

/// A 48-bit hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub const BROADCAST: Self = Self([0xff; 6]);
    pub const ZERO: Self = Self([0; 6]);

    /// Group bit set; includes broadcast.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    #[inline]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// An address a single station may have.
    #[inline]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::ZERO
    }

    /// Where frames to an IPv4 multicast group go (RFC 1112 §6.4).
    #[inline]
    pub const fn for_ipv4_multicast(group: Ipv4Addr) -> Self {
        let [_, b, c, d] = group.octets();
        Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }

    /// Where frames to an IPv6 multicast group go (RFC 2464 §7).
    #[inline]
    pub const fn for_ipv6_multicast(group: Ipv6Addr) -> Self {
        let [_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d] = group.octets();
        Self([0x33, 0x33, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the payload is; values below 0x0600 are IEEE 802.3 lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    pub const IPV4: Self = Self(0x0800);
    pub const ARP: Self = Self(0x0806);
    /// 802.1Q tag.
    pub const VLAN: Self = Self(0x8100);
    pub const IPV6: Self = Self(0x86dd);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub destination: Mac,
    pub source: Mac,
    pub ether_type: EtherType,
}

impl Repr {
    /// The header and what follows it, padding included.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (h, payload) = frame.split_first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *h;
        let header = Self {
            destination: Mac([d0, d1, d2, d3, d4, d5]),
            source: Mac([s0, s1, s2, s3, s4, s5]),
            ether_type: EtherType(u16::from_be_bytes([t0, t1])),
        };
        Ok((header, payload))
    }

    #[inline]
    pub const fn to_bytes(&self) -> [u8; LEN] {
        let [d0, d1, d2, d3, d4, d5] = self.destination.0;
        let [s0, s1, s2, s3, s4, s5] = self.source.0;
        let [t0, t1] = self.ether_type.0.to_be_bytes();
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use proptest::prelude::*;

    #[test]
    fn captured() {
        let frame = testing::bytes(testing::ARP_REQUEST);
        let (header, payload) = Repr::parse(&frame).unwrap();
        let source = Mac([2, 0, 0, 0, 0, 0x0a]);
        assert_eq!(header, Repr { destination: Mac::BROADCAST, source, ether_type: EtherType::ARP });
        assert_eq!(payload.len(), 28);
        assert_eq!(source.to_string(), "02:00:00:00:00:0a");
    }

    #[test]
    fn truncated_at_every_length() {
        for len in 0..LEN {
            assert_eq!(Repr::parse(&vec![0; len]), Err(Error::Truncated), "{len}");
        }
        assert!(Repr::parse(&[0; LEN]).is_ok(), "an empty payload is Ethernet's to have");
    }

    #[test]
    fn groups_map_to_their_addresses() {
        // RFC 1112 §6.4: the low 23 bits only.
        assert_eq!(Mac::for_ipv4_multicast(Ipv4Addr::new(239, 255, 1, 2)), Mac([0x01, 0, 0x5e, 0x7f, 1, 2]));
        let group = "ff02::1:ff00:2".parse().unwrap();
        assert_eq!(Mac::for_ipv6_multicast(group), Mac([0x33, 0x33, 0xff, 0, 0, 2]));
        assert!(Mac::BROADCAST.is_multicast() && Mac::BROADCAST.is_broadcast() && !Mac::BROADCAST.is_unicast());
        assert!(!Mac::ZERO.is_unicast() && Mac([2, 0, 0, 0, 0, 1]).is_unicast());
    }

    proptest! {
        #[test]
        fn round_trip(destination: [u8; 6], source: [u8; 6], ether_type: u16) {
            let header = Repr { destination: Mac(destination), source: Mac(source), ether_type: EtherType(ether_type) };
            let bytes = header.to_bytes();
            prop_assert_eq!(Repr::parse(&bytes), Ok((header, &[][..])));
        }
    }
}
