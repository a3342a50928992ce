//! Interfaces and routes, as the daemon gives them.

use crate::io::PortId;
use ipnet::IpNet;
use std::net::IpAddr;

/// One port with the addresses of the box on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub port: PortId,
    pub mac: [u8; 6],
    /// Largest IP packet, octets.
    pub mtu: u16,
    /// Each address with the length of its connected prefix.
    pub addresses: Vec<IpNet>,
}

/// A static route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: IpNet,
    /// Next hop; must lie in a connected prefix. `None`: the destinations are neighbours on `port` themselves.
    pub via: Option<IpAddr>,
    /// `None`: the port whose connected prefix holds `via`.
    pub port: Option<PortId>,
}
