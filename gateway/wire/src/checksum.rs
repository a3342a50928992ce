//! The Internet checksum (RFC 1071), pseudo headers (RFC 768, RFC 8200 §8.1) and incremental updates (RFC 1624).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A one's complement sum being gathered. Every part added but the last must have even length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    #[inline]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Of big-endian 32-bit words, added up by the caller.
    #[inline]
    pub const fn of_words(sum: u64) -> Self {
        Self(sum)
    }

    /// UDP, TCP over IPv4; `length` is that of the upper-layer header and data.
    #[inline]
    pub fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: usize) -> Self {
        let addresses = u64::from(source.to_bits()) + u64::from(destination.to_bits());
        Self(addresses + u64::from(protocol) + length as u64)
    }

    /// UDP, TCP, ICMPv6 over IPv6.
    #[inline]
    pub fn pseudo_v6(source: &Ipv6Addr, destination: &Ipv6Addr, protocol: u8, length: usize) -> Self {
        Self(u64::from(protocol) + length as u64).add_bytes(&source.octets()).add_bytes(&destination.octets())
    }

    /// `None` where the families differ.
    #[inline]
    pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(s), IpAddr::V4(d)) => Some(Self::pseudo_v4(s, d, protocol, length)),
            (IpAddr::V6(s), IpAddr::V6(d)) => Some(Self::pseudo_v6(&s, &d, protocol, length)),
            _ => None,
        }
    }

    /// Adds bytes; an odd last one counts as the high octet of a word.
    #[inline]
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        // 32-bit words in a 64-bit sum: no carry is lost below 16 GiB (RFC 1071 §2(C)).
        let (words, tail) = bytes.as_chunks::<4>();
        let mut sum = self.0;
        for word in words {
            sum += u64::from(u32::from_be_bytes(*word));
        }
        let (halves, odd) = tail.as_chunks::<2>();
        for half in halves {
            sum += u64::from(u16::from_be_bytes(*half));
        }
        if let [last] = odd {
            sum += u64::from(*last) << 8;
        }
        Self(sum)
    }

    #[inline]
    #[must_use]
    pub const fn add_u16(self, value: u16) -> Self {
        Self(self.0 + value as u64)
    }

    /// The folded 16-bit sum, not complemented.
    #[inline]
    pub const fn fold(self) -> u16 {
        let mut sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum as u16
    }

    /// What goes into a checksum field.
    #[inline]
    pub const fn finish(self) -> u16 {
        !self.fold()
    }

    /// As [`Sum::finish`], with 0 sent as 0xffff (UDP, RFC 768: 0 means "no checksum").
    #[inline]
    pub const fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => 0xffff,
            sum => sum,
        }
    }

    /// Was the checksum field, part of what was summed, right?
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

/// The checksum of `bytes`, whose checksum field holds zero.
#[inline]
pub fn of(bytes: &[u8]) -> u16 {
    Sum::new().add_bytes(bytes).finish()
}

/// RFC 1624 §3 equation 3: the checksum after a 16-bit word changed from `old` to `new`.
#[inline]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = (!checksum) as u32 + (!old) as u32 + new as u32;
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 §4.1 to the letter, in 16-bit steps.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn rfc_1071_example() {
        // §3: the sum of these is ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().add_bytes(&bytes).fold(), 0xddf2);
        assert_eq!(of(&bytes), !0xddf2);
    }

    #[test]
    fn all_ones_fold_without_losing_a_carry() {
        assert_eq!(Sum::new().add_bytes(&[0xff; 65_535]).fold(), !slow(&[0xff; 65_535]));
        assert_eq!(Sum(u64::MAX).fold(), 0xffff);
        assert_eq!(Sum(0xffff_ffff_0000_0001).fold(), 1);
    }

    #[test]
    fn udp_never_sends_zero() {
        assert_eq!(Sum(0xffff).finish(), 0);
        assert_eq!(Sum(0xffff).finish_udp(), 0xffff);
    }

    #[test]
    fn mixed_families_have_no_pseudo_header() {
        let (four, six) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([0; 16]));
        assert_eq!(Sum::pseudo(four, six, 17, 8), None);
    }

    #[test]
    fn rfc_1624_example() {
        // §4: the case that RFC 1141's equation gets wrong.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn agrees_with_the_slow_sum(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(of(&bytes), slow(&bytes));
        }

        #[test]
        fn even_parts_may_be_added_apart(bytes in proptest::collection::vec(any::<u8>(), 0..100), cut in 0usize..50) {
            let cut = (cut * 2).min(bytes.len() & !1);
            prop_assert_eq!(Sum::new().add_bytes(&bytes[..cut]).add_bytes(&bytes[cut..]).finish(), slow(&bytes));
        }

        #[test]
        fn update_agrees_with_summing_again(mut words in proptest::collection::vec(any::<u16>(), 2..20), new: u16) {
            let sum = |words: &[u16]| words.iter().fold(Sum::new(), |sum, word| sum.add_u16(*word));
            // A header is never all zero, so +0 and -0 do not meet.
            words[1] |= 1;
            let (before, old) = (sum(&words).finish(), words[0]);
            words[0] = new;
            prop_assert_eq!(update(before, old, new), sum(&words).finish());
        }
    }
}
