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
