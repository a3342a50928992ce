//! ARP for IPv4 over Ethernet (RFC 826).

use crate::ethernet::{EtherType, Mac};
use std::net::Ipv4Addr;

pub const LEN: usize = 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("ARP packet truncated")]
    Truncated,
    #[error("ARP hardware type {0} is not Ethernet")]
    HardwareType(u16),
    #[error("ARP protocol type {0:#06x} is not IPv4")]
    ProtocolType(u16),
    #[error("ARP address lengths {hardware} and {protocol}, not 6 and 4")]
    AddressLengths { hardware: u8, protocol: u8 },
    #[error("ARP operation {0} is neither request nor reply")]
    Operation(u16),
    #[error("ARP sender hardware address {0} is not a station's")]
    SenderMac(Mac),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Request,
    Reply,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub operation: Operation,
    pub sender_mac: Mac,
    pub sender: Ipv4Addr,
    pub target_mac: Mac,
    pub target: Ipv4Addr,
}

impl Repr {
    /// Checks in RFC 826's order of reception. What follows the packet is Ethernet padding and ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (h, _padding) = bytes.split_first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let hardware_type = u16::from_be_bytes([h[0], h[1]]);
        if hardware_type != 1 {
            return Err(Error::HardwareType(hardware_type));
        }
        let protocol_type = u16::from_be_bytes([h[2], h[3]]);
        if protocol_type != EtherType::IPV4.0 {
            return Err(Error::ProtocolType(protocol_type));
        }
        if (h[4], h[5]) != (6, 4) {
            return Err(Error::AddressLengths { hardware: h[4], protocol: h[5] });
        }
        let operation = match u16::from_be_bytes([h[6], h[7]]) {
            1 => Operation::Request,
            2 => Operation::Reply,
            other => return Err(Error::Operation(other)),
        };
        let sender_mac = Mac([h[8], h[9], h[10], h[11], h[12], h[13]]);
        // RFC 1812 §3.3.2: a reply that claims a broadcast or multicast hardware address must not be believed.
        if !sender_mac.is_unicast() {
            return Err(Error::SenderMac(sender_mac));
        }
        Ok(Self {
            operation,
            sender_mac,
            sender: Ipv4Addr::new(h[14], h[15], h[16], h[17]),
            target_mac: Mac([h[18], h[19], h[20], h[21], h[22], h[23]]),
            target: Ipv4Addr::new(h[24], h[25], h[26], h[27]),
        })
    }

    pub const fn to_bytes(&self) -> [u8; LEN] {
        let op = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        let [a0, a1, a2, a3, a4, a5] = self.sender_mac.0;
        let [b0, b1, b2, b3] = self.sender.octets();
        let [c0, c1, c2, c3, c4, c5] = self.target_mac.0;
        let [d0, d1, d2, d3] = self.target.octets();
        [0, 1, 8, 0, 6, 4, 0, op, a0, a1, a2, a3, a4, a5, b0, b1, b2, b3, c0, c1, c2, c3, c4, c5, d0, d1, d2, d3]
    }

    /// Announces that `addr` is at `mac` (RFC 5227 §3: an announcement is a request whose sender and target are one).
    pub const fn announcement(mac: Mac, addr: Ipv4Addr) -> Self {
        Self { operation: Operation::Request, sender_mac: mac, sender: addr, target_mac: Mac::ZERO, target: addr }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, testing};
    use proptest::prelude::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);

    fn captured(hex: &str) -> Vec<u8> {
        testing::bytes(hex)[ethernet::LEN..].to_vec()
    }

    #[test]
    fn captured_request_and_reply() {
        let (a, b) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let request =
            Repr { operation: Operation::Request, sender_mac: A, sender: a, target_mac: Mac::ZERO, target: b };
        let reply = Repr { operation: Operation::Reply, sender_mac: B, sender: b, target_mac: A, target: a };
        assert_eq!(Repr::parse(&captured(testing::ARP_REQUEST)), Ok(request));
        assert_eq!(Repr::parse(&captured(testing::ARP_REPLY)), Ok(reply));
        assert_eq!(request.to_bytes(), captured(testing::ARP_REQUEST)[..]);
        assert_eq!(reply.to_bytes(), captured(testing::ARP_REPLY)[..]);
    }

    #[test]
    fn truncated_at_every_length() {
        let good = captured(testing::ARP_REQUEST);
        for len in 0..LEN {
            assert_eq!(Repr::parse(&good[..len]), Err(Error::Truncated), "{len}");
        }
    }

    #[test]
    fn padding_is_ignored() {
        let mut padded = captured(testing::ARP_REQUEST);
        padded.resize(46, 0xaa);
        assert!(Repr::parse(&padded).is_ok());
    }

    #[test]
    fn refusals() {
        let with = |at: usize, value: u8| {
            let mut bytes = captured(testing::ARP_REPLY);
            bytes[at] = value;
            Repr::parse(&bytes).unwrap_err()
        };
        assert_eq!(with(1, 6), Error::HardwareType(6));
        assert_eq!(with(3, 1), Error::ProtocolType(0x0801));
        assert_eq!(with(4, 8), Error::AddressLengths { hardware: 8, protocol: 4 });
        assert_eq!(with(5, 16), Error::AddressLengths { hardware: 6, protocol: 16 });
        assert_eq!(with(7, 0), Error::Operation(0));
        assert_eq!(with(7, 3), Error::Operation(3));
        assert_eq!(with(6, 1), Error::Operation(258));
        assert_eq!(with(8, 3), Error::SenderMac(Mac([3, 0, 0, 0, 0, 0x0b])));
    }

    proptest! {
        #[test]
        fn round_trip(reply: bool, mut sender_mac: [u8; 6], sender: [u8; 4], target_mac: [u8; 6], target: [u8; 4]) {
            sender_mac[0] = sender_mac[0] & 0xfe | 2;
            let packet = Repr {
                operation: if reply { Operation::Reply } else { Operation::Request },
                sender_mac: Mac(sender_mac),
                sender: sender.into(),
                target_mac: Mac(target_mac),
                target: target.into(),
            };
            prop_assert_eq!(Repr::parse(&packet.to_bytes()), Ok(packet));
        }
    }
}
