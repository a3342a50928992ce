//! One 802.1Q tag: what stands after the 0x8100 EtherType.

use crate::ethernet::EtherType;

/// Octets of the tag after the outer EtherType.
pub const LEN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("802.1Q tag truncated")]
    Truncated,
    #[error("802.1Q identifier 4095 is reserved")]
    ReservedId,
    #[error("more than one 802.1Q tag")]
    Stacked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// 0 to 7.
    pub priority: u8,
    pub drop_eligible: bool,
    /// 0 (priority tag only) to 4094.
    pub id: u16,
    pub ether_type: EtherType,
}

impl Repr {
    /// Takes what follows an Ethernet header of type [`EtherType::VLAN`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (h, payload) = bytes.split_first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let [c0, c1, t0, t1] = *h;
        let control = u16::from_be_bytes([c0, c1]);
        let tag = Self {
            priority: c0 >> 5,
            drop_eligible: control & 0x1000 != 0,
            id: control & 0x0fff,
            ether_type: EtherType(u16::from_be_bytes([t0, t1])),
        };
        // IEEE 802.1Q-2018 table 9-2.
        if tag.id == 0x0fff {
            return Err(Error::ReservedId);
        }
        if tag.ether_type == EtherType::VLAN {
            return Err(Error::Stacked);
        }
        Ok((tag, payload))
    }

    /// Bits that do not fit their field are cut off.
    #[inline]
    pub const fn to_bytes(&self) -> [u8; LEN] {
        let flag = if self.drop_eligible { 0x1000 } else { 0 };
        let control = ((self.priority as u16 & 7) << 13) | flag | (self.id & 0x0fff);
        let ([c0, c1], [t0, t1]) = (control.to_be_bytes(), self.ether_type.0.to_be_bytes());
        [c0, c1, t0, t1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, testing};
    use proptest::prelude::*;

    #[test]
    fn captured() {
        let frame = testing::bytes(testing::TAGGED);
        let (outer, rest) = ethernet::Repr::parse(&frame).unwrap();
        assert_eq!(outer.ether_type, EtherType::VLAN);
        let (tag, payload) = Repr::parse(rest).unwrap();
        assert_eq!(tag, Repr { priority: 5, drop_eligible: false, id: 7, ether_type: EtherType::IPV4 });
        assert_eq!(payload[0], 0x45);
    }

    #[test]
    fn refusals() {
        for len in 0..LEN {
            assert_eq!(Repr::parse(&vec![0; len]), Err(Error::Truncated), "{len}");
        }
        assert_eq!(Repr::parse(&[0x0f, 0xff, 8, 0]), Err(Error::ReservedId));
        assert_eq!(Repr::parse(&[0, 1, 0x81, 0]), Err(Error::Stacked));
        assert!(Repr::parse(&[0xff, 0xfe, 8, 0]).is_ok());
    }

    proptest! {
        #[test]
        fn round_trip(priority in 0u8..8, drop_eligible: bool, id in 0u16..4095, ether_type: u16) {
            prop_assume!(ether_type != 0x8100);
            let tag = Repr { priority, drop_eligible, id, ether_type: EtherType(ether_type) };
            let bytes = tag.to_bytes();
            prop_assert_eq!(Repr::parse(&bytes), Ok((tag, &[][..])));
        }
    }
}
