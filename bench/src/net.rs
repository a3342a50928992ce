//! Who is where: addresses, stations, the flow of each tunnel.

use culvert_engine::{Attachment, Interface, PortId, Route};
use culvert_model::{AddrRange, TrafficSelector};
use culvert_wire::Mac;
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr};

use crate::lines::MTU;

pub const WAN: PortId = PortId(0);
pub const LAN: PortId = PortId(1);
/// Hosts on the lan.
pub const HOSTS: u32 = 8;

pub const OWN_WAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OWN_LAN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// All peers are behind it.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
pub const ROUTER_MAC: Mac = Mac([2, 0, 0, 2, 0, 0]);

/// The gateway's own station on a port.
pub const fn station(port: PortId) -> Mac {
    Mac([2, 0, 0, 0, 1, port.0 as u8])
}

pub const fn host(n: u32) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 1, (n % HOSTS) as u8)
}

pub const fn host_mac(n: u32) -> Mac {
    Mac([2, 0, 0, 1, 1, (n % HOSTS) as u8])
}

/// The gateway at the far end of a tunnel.
pub const fn peer(tunnel: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xac10_0001 + tunnel)
}

/// The net behind it.
pub fn branch(tunnel: u32) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(0x2000_0000 + (tunnel << 4)), 28)
}

/// A host of that net.
pub const fn branch_host(tunnel: u32, n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x2000_0000 + (tunnel << 4) + 1 + n % 14)
}

/// What a policy lets pass in clear.
pub fn bypassed(policy: u32) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(0x4000_0000 + (policy << 8)), 24)
}

pub const fn bypassed_host(policy: u32, n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x4000_0000 + (policy << 8) + 1 + n % 254)
}

pub fn selector(net: Ipv4Net) -> TrafficSelector {
    TrafficSelector::any(AddrRange::from(IpNet::V4(net)))
}

pub fn lan() -> TrafficSelector {
    selector(Ipv4Net::new_assert(Ipv4Addr::new(10, 1, 0, 0), 16))
}

pub fn interfaces() -> Vec<Interface> {
    let of = |port, addr, prefix| Interface {
        port,
        attachment: Attachment::Port,
        mac: station(port).0,
        mtu: MTU,
        addresses: vec![IpNet::V4(Ipv4Net::new_assert(addr, prefix))],
    };
    vec![of(WAN, OWN_WAN, 24), of(LAN, OWN_LAN, 16)]
}

pub fn routes() -> [Route; 1] {
    [Route { destination: IpNet::V4(Ipv4Net::default()), via: Some(IpAddr::V4(ROUTER)), port: None }]
}

/// Numbers that look like chance, the same in every run.
#[derive(Clone)]
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((n ^ (n >> 31)) >> 32) as u32
    }

    /// Below `limit`, which is not 0.
    pub fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(limit)) >> 32) as u32
    }

    pub fn shuffled(&mut self, count: u32) -> Vec<u32> {
        let mut all: Vec<u32> = (0..count).collect();
        for place in (1..all.len()).rev() {
            all.swap(place, self.below(place as u32 + 1) as usize);
        }
        all
    }
}
