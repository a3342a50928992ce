//! Interfaces, routes and neighbours: where a packet can come from and go to.

use crate::fib::{Fib, NextHop, SortedFib};
use crate::io::PortId;
use core::sync::atomic::{AtomicU64, Ordering};
use culvert_model::InterfaceId;
use culvert_wire::Mac;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A way out with the addresses of the box on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its own number, whatever its packets travel by.
    pub port: PortId,
    pub attachment: Attachment,
    /// Of a VLAN that of its parent; of a tunnel nothing.
    pub mac: [u8; 6],
    /// Largest IP packet, octets.
    pub mtu: u16,
    /// Each address with the length of its connected prefix. A link-local IPv6 address is added to an interface that
    /// has none (RFC 4291 §2.8).
    pub addresses: Vec<IpNet>,
}

/// What the packets of an interface travel by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A port of its own, in frames without a tag.
    Port,
    /// The port of another interface, in frames with this identifier (IEEE 802.1Q §9.6).
    Vlan { parent: PortId, id: u16 },
    /// The SAs of the children that are bound to it. It has no frames, and no neighbours.
    Tunnel,
    /// A port that is bridged with another: frames that are not for the box go from one to the other. The box's addresses
    /// are those of this one, and are there on both.
    Bridge { other: PortId },
    /// The other port of a bridge; without addresses of its own.
    Side { of: PortId },
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

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    #[error("two interfaces have port {0:?}")]
    DuplicatePort(PortId),
    #[error("port {0:?} is not one of two that are bridged with each other, or both have addresses")]
    BadBridge(PortId),
    #[error("the VLAN {1} of port {0:?} has another interface, or there is no such port")]
    BadVlan(PortId, u16),
    #[error("route to {0}: no interface has port {1:?}")]
    NoSuchPort(IpNet, PortId),
    #[error("route to {0}: the next hop {1} is in no connected network")]
    Unreachable(IpNet, IpAddr),
    #[error("route to {0}: the next hop {1} is of the other address family")]
    MixedFamilies(IpNet, IpAddr),
    #[error("route to {0} names neither a next hop nor an interface")]
    Nowhere(IpNet),
    #[error("the link has no room for {0}")]
    Link(&'static str),
}

/// A resolved neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    pub port: PortId,
    pub addr: IpAddr,
    pub mac: Mac,
}

/// Everything forwarding looks at, as one value that is replaced whole.
#[derive(Clone)]
pub(crate) struct Topology {
    /// Differs between any two published values; caches are good for one generation.
    generation: u32,
    fixed: Arc<Fixed>,
    neighbours: Vec<Neighbour>,
    /// The way to each of them.
    ways: Vec<Option<Hop>>,
    /// On which port of its bridge a station is. Sorted.
    stations: Vec<(Mac, PortId)>,
}

struct Fixed {
    /// By port.
    interfaces: Vec<Option<Interface>>,
    /// Sorted.
    vlans: Vec<Vlan>,
    /// Is there an interface whose packets travel by SAs?
    tunnels: bool,
    own_v4: Vec<Ipv4Addr>,
    own_v6: Vec<Ipv6Addr>,
    broadcasts: Vec<Ipv4Addr>,
    fib: Box<dyn Fib>,
}

/// The interface `port` has the frames of `parent` with this identifier.
struct Vlan {
    parent: PortId,
    id: u16,
    port: PortId,
}

/// The way out for one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub port: PortId,
    /// The port whose queues the frame goes to, and the tag it goes with.
    pub device: PortId,
    pub vlan: Option<u16>,
    pub next_hop: IpAddr,
    pub source_mac: Mac,
    /// `None`: not resolved yet.
    pub mac: Option<Mac>,
    pub mtu: u16,
}

impl Topology {
    pub fn new(mut interfaces: Vec<Interface>, routes: &[Route]) -> Result<Self, TopologyError> {
        for interface in &mut interfaces {
            match interface.attachment {
                Attachment::Port | Attachment::Vlan { .. } => add_link_local(interface),
                // Without an address the box is not to be noticed at all.
                Attachment::Bridge { .. } if !interface.addresses.is_empty() => add_link_local(interface),
                Attachment::Bridge { .. } | Attachment::Side { .. } | Attachment::Tunnel => {}
            }
        }
        check_bridges(&interfaces)?;
        let vlans = vlans(&interfaces)?;
        let tunnels = interfaces.iter().any(|i| i.attachment == Attachment::Tunnel);
        let fib = SortedFib::new(all_routes(&interfaces, routes)?);
        let addresses = || interfaces.iter().flat_map(|i| &i.addresses);
        let mut own_v4: Vec<_> = addresses().filter_map(|net| v4(net.addr())).collect();
        let mut own_v6: Vec<_> = addresses().filter_map(|net| v6(net.addr())).collect();
        own_v4.sort_unstable();
        own_v6.sort_unstable();
        // RFC 3021: a /31 has no broadcast address; a /32 is the host itself.
        let broadcasts = addresses().filter(|net| net.prefix_len() < 31).filter_map(|net| v4(net.broadcast()));
        let mut broadcasts: Vec<_> = broadcasts.collect();
        broadcasts.sort_unstable();
        let mut by_port: Vec<Option<Interface>> = Vec::new();
        for interface in interfaces {
            let port = interface.port;
            let index = usize::from(port.0);
            by_port.resize(by_port.len().max(index + 1), None);
            match by_port.get_mut(index) {
                Some(place @ None) => *place = Some(interface),
                _ => return Err(TopologyError::DuplicatePort(port)),
            }
        }
        let fixed = Fixed { interfaces: by_port, vlans, tunnels, own_v4, own_v6, broadcasts, fib: Box::new(fib) };
        Ok(Self {
            generation: 1,
            fixed: Arc::new(fixed),
            neighbours: Vec::new(),
            ways: Vec::new(),
            stations: Vec::new(),
        })
    }

    /// The same with other neighbours, of a new generation.
    pub fn with_neighbours(&self, mut neighbours: Vec<Neighbour>) -> Self {
        neighbours.sort_unstable();
        Self { generation: self.next_generation(), neighbours, ..self.clone() }.with_ways()
    }

    /// The same with other stations on bridges, of a new generation.
    pub fn with_stations(&self, mut stations: Vec<(Mac, PortId)>) -> Self {
        stations.sort_unstable();
        Self { generation: self.next_generation(), stations, ..self.clone() }.with_ways()
    }

    fn with_ways(mut self) -> Self {
        self.ways = self.neighbours.iter().map(|n| self.hop_by(n.port, n.addr, Some(n.mac))).collect();
        self
    }

    fn next_generation(&self) -> u32 {
        self.generation.wrapping_add(1).max(1)
    }

    /// The interface that has the addresses: of a bridge, whichever port a packet came in by.
    pub fn leader(&self, port: PortId) -> Option<&Interface> {
        match self.interface(port)? {
            Interface { attachment: Attachment::Side { of }, .. } => self.interface(*of),
            interface => Some(interface),
        }
    }

    /// The interface with each port and hardware address that it speaks by: one, or both of a bridge.
    pub fn voices(&self, port: PortId) -> impl Iterator<Item = (PortId, Interface)> + use<> {
        let interface = self.leader(port).cloned();
        let other = match interface.as_ref().map(|interface| interface.attachment) {
            Some(Attachment::Bridge { other }) => self.interface(other).map(|side| (other, side.mac)),
            _ => None,
        };
        let second =
            interface.clone().zip(other).map(|(interface, (port, mac))| (port, Interface { mac, ..interface }));
        interface.map(|interface| (interface.port, interface)).into_iter().chain(second)
    }

    fn station(&self, mac: Mac) -> Option<PortId> {
        let at = self.stations.binary_search_by_key(&mac, |station| station.0).ok()?;
        self.stations.get(at).map(|station| station.1)
    }

    pub fn interface(&self, port: PortId) -> Option<&Interface> {
        self.fixed.interfaces.get(usize::from(port.0))?.as_ref()
    }

    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.fixed.interfaces.iter().flatten()
    }

    /// The interface of frames that come in on `port` with this identifier in their tag.
    pub fn vlan(&self, port: PortId, id: u16) -> Option<&Interface> {
        let at = self.fixed.vlans.binary_search_by_key(&(port, id), |vlan| (vlan.parent, vlan.id)).ok()?;
        self.fixed.vlans.get(at).and_then(|vlan| self.interface(vlan.port))
    }

    /// The tunnel interface that packets to `destination` are routed into. Routes never change while the box runs, so
    /// the answer may be remembered.
    pub fn tunnel_interface(&self, destination: IpAddr) -> Option<InterfaceId> {
        if !self.fixed.tunnels {
            return None;
        }
        let port = self.fixed.fib.lookup(destination)?.port;
        let is_tunnel = self.interface(port)?.attachment == Attachment::Tunnel;
        is_tunnel.then_some(InterfaceId(port.0))
    }

    /// The largest packet that may be routed into this tunnel interface.
    pub fn tunnel_mtu(&self, interface: InterfaceId) -> Option<u16> {
        self.interface(PortId(interface.0)).map(|interface| interface.mtu)
    }

    /// Must a packet from `source` have come through a tunnel, because the way back is one? RFC 4301 §5.2 in terms of
    /// routes.
    pub fn must_come_by_tunnel(&self, source: IpAddr) -> bool {
        self.tunnel_interface(source).is_some()
    }

    pub fn is_own(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => self.fixed.own_v4.binary_search(&addr).is_ok(),
            IpAddr::V6(addr) => self.fixed.own_v6.binary_search(&addr).is_ok(),
        }
    }

    /// The broadcast address of a connected network.
    pub fn is_broadcast(&self, addr: Ipv4Addr) -> bool {
        self.fixed.broadcasts.binary_search(&addr).is_ok()
    }

    /// The way to `destination`; `None` without a route, or where it leads into a tunnel: only its SAs go there.
    pub fn hop(&self, destination: IpAddr) -> Option<Hop> {
        let route = self.fixed.fib.lookup(destination)?;
        let next_hop = route.gateway.unwrap_or(destination);
        self.hop_by(route.port, next_hop, self.neighbour(route.port, next_hop))
    }

    /// The way to a neighbour on `port`.
    pub fn hop_on(&self, port: PortId, next_hop: IpAddr) -> Option<Hop> {
        self.hop_by(port, next_hop, self.neighbour(port, next_hop))
    }

    /// The way to a neighbour on `port` that is known to be there.
    pub fn hop_to(&self, port: PortId, next_hop: IpAddr, mac: Mac) -> Option<Hop> {
        self.hop_by(port, next_hop, Some(mac))
    }

    /// As [`Self::hop`], remembering a resolved way in `cache` for as long as this value is the published one.
    pub fn hop_cached(&self, destination: IpAddr, cache: &AtomicU64) -> Option<Hop> {
        // Relaxed: generation and index are one word, and the index is looked up in this very generation.
        if let Some(hop) = self.hop_at(cache.load(Ordering::Relaxed)) {
            return Some(*hop);
        }
        if let Some(index) = self.hop_index(destination) {
            cache.store(index, Ordering::Relaxed);
        }
        self.hop(destination)
    }

    /// The way that [`Self::hop_index`] told, as long as this value is the published one.
    #[inline]
    pub fn hop_at(&self, index: u64) -> Option<&Hop> {
        if index >> 32 != u64::from(self.generation) {
            return None;
        }
        self.ways.get(index as u32 as usize)?.as_ref()
    }

    /// Names the way to a destination whose neighbour is known.
    pub fn hop_index(&self, destination: IpAddr) -> Option<u64> {
        let route = self.fixed.fib.lookup(destination)?;
        let key = (route.port, route.gateway.unwrap_or(destination));
        let at = self.neighbours.binary_search_by_key(&key, |n| (n.port, n.addr)).ok()?;
        self.ways.get(at)?.is_some().then_some(u64::from(self.generation) << 32 | at as u64)
    }

    fn hop_by(&self, port: PortId, next_hop: IpAddr, mac: Option<Mac>) -> Option<Hop> {
        let interface = self.interface(port)?;
        let (mut device, mut vlan, mut source) = (port, None, interface);
        match interface.attachment {
            Attachment::Port => {}
            Attachment::Vlan { parent, id } => (device, vlan) = (parent, Some(id)),
            Attachment::Bridge { .. } => {
                if let Some(port) = mac.and_then(|mac| self.station(mac)) {
                    (device, source) = (port, self.interface(port)?);
                }
            }
            Attachment::Tunnel | Attachment::Side { .. } => return None,
        }
        Some(Hop { port, device, vlan, next_hop, source_mac: Mac(source.mac), mac, mtu: interface.mtu })
    }

    fn neighbour(&self, port: PortId, addr: IpAddr) -> Option<Mac> {
        let at = self.neighbours.binary_search_by_key(&(port, addr), |n| (n.port, n.addr)).ok()?;
        self.neighbours.get(at).map(|n| n.mac)
    }
}

/// Each VLAN once, on a port that is one.
fn vlans(interfaces: &[Interface]) -> Result<Vec<Vlan>, TopologyError> {
    let is_port = |port| interfaces.iter().any(|i| i.port == port && i.attachment == Attachment::Port);
    let mut vlans: Vec<Vlan> = Vec::new();
    for interface in interfaces {
        let Attachment::Vlan { parent, id } = interface.attachment else { continue };
        match vlans.binary_search_by_key(&(parent, id), |vlan| (vlan.parent, vlan.id)) {
            Err(at) if is_port(parent) => vlans.insert(at, Vlan { parent, id, port: interface.port }),
            _ => return Err(TopologyError::BadVlan(parent, id)),
        }
    }
    Ok(vlans)
}

/// Bridged ports name each other, and one of them has the addresses.
fn check_bridges(interfaces: &[Interface]) -> Result<(), TopologyError> {
    let attachment = |port| interfaces.iter().find(|i| i.port == port).map(|i| i.attachment);
    for interface in interfaces {
        let good = match interface.attachment {
            Attachment::Bridge { other } => attachment(other) == Some(Attachment::Side { of: interface.port }),
            Attachment::Side { of } => {
                attachment(of) == Some(Attachment::Bridge { other: interface.port }) && interface.addresses.is_empty()
            }
            Attachment::Port | Attachment::Vlan { .. } | Attachment::Tunnel => true,
        };
        if !good {
            return Err(TopologyError::BadBridge(interface.port));
        }
    }
    Ok(())
}

/// Static routes, then connected ones, which win over a static route to the same prefix.
fn all_routes(interfaces: &[Interface], routes: &[Route]) -> Result<Vec<(IpNet, NextHop)>, TopologyError> {
    let mut all = Vec::new();
    for route in routes {
        let mut hop = static_route(interfaces, route)?;
        // Who is a neighbour on a bridge is looked for on both of its ports.
        if let Some(Attachment::Side { of }) = interfaces.iter().find(|i| i.port == hop.port).map(|i| i.attachment) {
            hop.port = of;
        }
        all.push((route.destination, hop));
    }
    for interface in interfaces {
        let hop = NextHop { port: interface.port, gateway: None };
        // Link-local prefixes are on every port and never routed (RFC 4291 §2.5.6).
        let routed = interface.addresses.iter().filter(|net| !is_link_local(net.addr()));
        all.extend(routed.map(|net| (net.trunc(), hop)));
    }
    Ok(all)
}

fn static_route(interfaces: &[Interface], route: &Route) -> Result<NextHop, TopologyError> {
    let destination = route.destination;
    if let Some(port) = route.port.filter(|port| interfaces.iter().all(|i| i.port != *port)) {
        return Err(TopologyError::NoSuchPort(destination, port));
    }
    let Some(via) = route.via else {
        let port = route.port.ok_or(TopologyError::Nowhere(destination))?;
        return Ok(NextHop { port, gateway: None });
    };
    if via.is_ipv4() != destination.addr().is_ipv4() {
        return Err(TopologyError::MixedFamilies(destination, via));
    }
    let holds = |i: &&Interface| i.addresses.iter().any(|net| net.contains(&via) && !is_link_local(via));
    let port = route.port.or_else(|| interfaces.iter().find(holds).map(|i| i.port));
    let port = port.ok_or(TopologyError::Unreachable(destination, via))?;
    Ok(NextHop { port, gateway: Some(via) })
}

fn add_link_local(interface: &mut Interface) {
    if interface.addresses.iter().any(|net| net.addr().is_ipv6() && is_link_local(net.addr())) {
        return;
    }
    let [a, b, c, d, e, f] = interface.mac;
    // RFC 4291 Appendix A: modified EUI-64.
    let id = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    let addr = Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(id));
    interface.addresses.extend(IpNet::new(addr.into(), 64));
}

pub(crate) fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

fn v4(addr: IpAddr) -> Option<Ipv4Addr> {
    match addr {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    }
}

fn v6(addr: IpAddr) -> Option<Ipv6Addr> {
    match addr {
        IpAddr::V6(addr) => Some(addr),
        IpAddr::V4(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(port: u16, addresses: &[&str]) -> Interface {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let attachment = Attachment::Port;
        Interface { port: PortId(port), attachment, mac: [2, 0, 0, 0, 0, port as u8], mtu: 1500, addresses }
    }

    fn route(destination: &str, via: Option<&str>, port: Option<u16>) -> Route {
        let via = via.map(|text| text.parse().unwrap());
        Route { destination: destination.parse().unwrap(), via, port: port.map(PortId) }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn topology() -> Topology {
        let interfaces = vec![interface(0, &["192.0.2.1/24", "2001:db8::1/64"]), interface(1, &["10.1.0.1/16"])];
        Topology::new(interfaces, &[route("0.0.0.0/0", Some("192.0.2.254"), None)]).unwrap()
    }

    #[test]
    fn connected_and_static_routes() {
        let t = topology();
        let hop = t.hop(ip("10.1.2.3")).unwrap();
        assert_eq!((hop.port, hop.next_hop, hop.mac), (PortId(1), ip("10.1.2.3"), None));
        let hop = t.hop(ip("8.8.8.8")).unwrap();
        assert_eq!((hop.port, hop.next_hop), (PortId(0), ip("192.0.2.254")));
        assert_eq!(t.hop(ip("2001:db8:1::1")), None);
        assert_eq!(t.hop(ip("fe80::1")), None);
    }

    #[test]
    fn own_addresses_and_broadcasts() {
        let t = topology();
        assert!(t.is_own(ip("10.1.0.1")) && t.is_own(ip("2001:db8::1")) && t.is_own(ip("fe80::ff:fe00:1")));
        assert!(!t.is_own(ip("10.1.0.2")));
        assert!(t.is_broadcast("10.1.255.255".parse().unwrap()) && t.is_broadcast("192.0.2.255".parse().unwrap()));
    }

    #[test]
    fn a_cached_hop_lasts_one_generation() {
        let cache = AtomicU64::new(0);
        let gateway = ip("192.0.2.254");
        let neighbour = |last| Neighbour { port: PortId(0), addr: gateway, mac: Mac([2, 0, 0, 0, 0, last]) };
        let old = topology();
        assert_eq!(old.hop_cached(ip("8.8.8.8"), &cache).unwrap().mac, None);
        assert_eq!(cache.load(Ordering::Relaxed), 0);
        let new = old.with_neighbours(vec![neighbour(9)]);
        for _ in 0..2 {
            assert_eq!(new.hop_cached(ip("8.8.8.8"), &cache).unwrap().mac, Some(Mac([2, 0, 0, 0, 0, 9])));
        }
        let other = Neighbour { port: PortId(0), addr: ip("192.0.2.7"), mac: Mac([4; 6]) };
        let newer = new.with_neighbours(vec![neighbour(10), other]);
        for _ in 0..2 {
            let hop = newer.hop_cached(ip("8.8.8.8"), &cache).unwrap();
            assert_eq!((hop.mac, hop.next_hop), (Some(Mac([2, 0, 0, 0, 0, 10])), gateway));
        }
        assert_eq!(newer.hop(ip("8.8.8.8")), newer.hop_cached(ip("8.8.8.8"), &cache));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let one = || vec![interface(0, &["192.0.2.1/24"])];
        let error = |routes: &[Route]| Topology::new(one(), routes).err();
        let far = route("10.0.0.0/8", Some("198.51.100.1"), None);
        assert_eq!(error(&[far]), Some(TopologyError::Unreachable(far.destination, ip("198.51.100.1"))));
        let mixed = route("::/0", Some("192.0.2.2"), None);
        assert_eq!(error(&[mixed]), Some(TopologyError::MixedFamilies(mixed.destination, ip("192.0.2.2"))));
        let port = route("10.0.0.0/8", None, Some(7));
        assert_eq!(error(&[port]), Some(TopologyError::NoSuchPort(port.destination, PortId(7))));
        let nowhere = route("10.0.0.0/8", None, None);
        assert_eq!(error(&[nowhere]), Some(TopologyError::Nowhere(nowhere.destination)));
        let twice = Topology::new(vec![interface(1, &[]), interface(1, &[])], &[]).err();
        assert_eq!(twice, Some(TopologyError::DuplicatePort(PortId(1))));
    }
}
