//! Whose address is it?

use crate::topology::Interface;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use culvert_wire::ipv6;
use ipnet::{IpNet, Ipv4Net};

/// Why a packet is the box's to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One of the interface's own addresses.
    Unicast,
    /// 255.255.255.255, or the broadcast address of a connected prefix.
    Broadcast,
    /// 224.0.0.1 or ff02::1.
    AllNodes,
    /// 224.0.0.2 or ff02::2; the box is a router.
    AllRouters,
    /// The solicited-node group of an own address.
    SolicitedNode,
}

impl Destination {
    pub const fn is_unicast(self) -> bool {
        matches!(self, Self::Unicast)
    }
}

/// What `addr` is to the box on this interface; `None`: not ours.
pub fn destination(interface: &Interface, addr: IpAddr) -> Option<Destination> {
    if is_own(interface, addr) {
        return Some(Destination::Unicast);
    }
    match addr {
        IpAddr::V4(addr) => destination_v4(interface, addr),
        IpAddr::V6(addr) => destination_v6(interface, addr),
    }
}

fn destination_v4(interface: &Interface, addr: Ipv4Addr) -> Option<Destination> {
    match addr.octets() {
        [224, 0, 0, 1] => Some(Destination::AllNodes),
        [224, 0, 0, 2] => Some(Destination::AllRouters),
        _ => is_broadcast(interface, addr).then_some(Destination::Broadcast),
    }
}

fn destination_v6(interface: &Interface, addr: Ipv6Addr) -> Option<Destination> {
    match addr {
        ipv6::ALL_NODES => Some(Destination::AllNodes),
        ipv6::ALL_ROUTERS => Some(Destination::AllRouters),
        _ => own_v6(interface).any(|own| ipv6::solicited_node(own) == addr).then_some(Destination::SolicitedNode),
    }
}

/// Is it one of the interface's own addresses?
pub fn is_own(interface: &Interface, addr: IpAddr) -> bool {
    interface.addresses.iter().any(|net| net.addr() == addr)
}

/// The limited broadcast address, or that of a connected prefix. A /31 and a /32 have none (RFC 3021 §2.1).
pub fn is_broadcast(interface: &Interface, addr: Ipv4Addr) -> bool {
    addr.is_broadcast() || prefixes_v4(interface).any(|net| net.prefix_len() < 31 && net.broadcast() == addr)
}

/// Can a station with this address sit on the interface's wire? Not the address of the network itself, nor its
/// broadcast; of IPv6 also every link-local address (RFC 4861 §2.1).
pub fn on_link(interface: &Interface, addr: IpAddr) -> bool {
    match addr {
        _ if is_martian(addr) => false,
        IpAddr::V4(addr) => prefixes_v4(interface).any(|net| {
            let all_hosts = net.prefix_len() >= 31;
            net.contains(&addr) && (all_hosts || (addr != net.network() && addr != net.broadcast()))
        }),
        IpAddr::V6(addr) if addr.is_unicast_link_local() => own_v6(interface).next().is_some(),
        IpAddr::V6(_) => interface.addresses.iter().any(|net| net.contains(&addr)),
    }
}

/// The own address to speak from: of the prefix that holds `remote`; else the first of the family, for IPv6 the first
/// of the same scope (RFC 6724 §5 rules 2 and 8).
pub fn source_for(interface: &Interface, remote: IpAddr) -> Option<IpAddr> {
    let family = || interface.addresses.iter().filter(|net| net.addr().is_ipv4() == remote.is_ipv4());
    let scope = |addr: IpAddr| matches!(addr, IpAddr::V6(a) if a.is_unicast_link_local());
    let same_scope = || family().filter(|net| scope(net.addr()) == scope(remote));
    let holding = family().filter(|net| net.contains(&remote)).max_by_key(|net| net.prefix_len());
    holding.or_else(|| same_scope().next()).or_else(|| family().next()).map(IpNet::addr)
}

fn is_martian(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => culvert_wire::ipv4::is_martian_source(addr),
        IpAddr::V6(addr) => ipv6::is_martian_source(addr),
    }
}

fn prefixes_v4(interface: &Interface) -> impl Iterator<Item = &Ipv4Net> {
    interface.addresses.iter().filter_map(|net| match net {
        IpNet::V4(net) => Some(net),
        IpNet::V6(_) => None,
    })
}

fn own_v6(interface: &Interface) -> impl Iterator<Item = Ipv6Addr> {
    interface.addresses.iter().filter_map(|net| match net {
        IpNet::V6(net) => Some(net.addr()),
        IpNet::V4(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::PortId;
    use crate::topology::Attachment;

    fn interface() -> Interface {
        let addresses = ["192.0.2.1/24", "198.51.100.0/31", "203.0.113.9/32", "2001:db8::1/64", "fe80::aa/64"];
        Interface {
            port: PortId(0),
            attachment: Attachment::Port,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            addresses: addresses.map(|text| text.parse().unwrap()).into(),
        }
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ours_or_not() {
        use Destination::*;
        let table = [
            ("192.0.2.1", Some(Unicast)),
            ("192.0.2.2", None),
            ("192.0.2.255", Some(Broadcast)),
            ("192.0.2.0", None),
            ("255.255.255.255", Some(Broadcast)),
            ("198.51.100.0", Some(Unicast)),
            ("198.51.100.1", None),
            ("203.0.113.9", Some(Unicast)),
            ("203.0.113.8", None),
            ("224.0.0.1", Some(AllNodes)),
            ("224.0.0.2", Some(AllRouters)),
            ("224.0.0.5", None),
            ("2001:db8::1", Some(Unicast)),
            ("2001:db8::2", None),
            ("fe80::aa", Some(Unicast)),
            ("ff02::1", Some(AllNodes)),
            ("ff02::2", Some(AllRouters)),
            ("ff02::1:ff00:1", Some(SolicitedNode)),
            ("ff02::1:ff00:aa", Some(SolicitedNode)),
            ("ff02::1:ff00:2", None),
            ("ff05::2", None),
        ];
        for (text, expected) in table {
            assert_eq!(destination(&interface(), addr(text)), expected, "{text}");
        }
    }

    #[test]
    fn stations_of_the_wire() {
        let table = [
            ("192.0.2.2", true),
            ("192.0.2.0", false),
            ("192.0.2.255", false),
            ("192.0.3.1", false),
            ("198.51.100.1", true),
            ("198.51.100.2", false),
            ("203.0.113.9", true),
            ("203.0.113.8", false),
            ("0.0.0.0", false),
            ("2001:db8::77", true),
            ("2001:db8:1::77", false),
            ("fe80::77", true),
            ("ff02::1", false),
            ("::", false),
            ("::1", false),
        ];
        for (text, expected) in table {
            assert_eq!(on_link(&interface(), addr(text)), expected, "{text}");
        }
        let wide = Interface { addresses: vec!["0.0.0.1/0".parse().unwrap(), "::7/0".parse().unwrap()], ..interface() };
        assert!(!on_link(&wide, addr("::1")) && !on_link(&wide, addr("ff02::1")) && on_link(&wide, addr("2001:db8::")));
        let only_v4 = Interface { addresses: vec!["192.0.2.1/24".parse().unwrap()], ..interface() };
        assert!(!on_link(&only_v4, addr("fe80::1")));
    }

    #[test]
    fn where_to_speak_from() {
        let table = [
            ("192.0.2.77", Some("192.0.2.1")),
            ("198.51.100.1", Some("198.51.100.0")),
            ("10.0.0.1", Some("192.0.2.1")),
            ("2001:db8::5", Some("2001:db8::1")),
            ("2001:db8:9::5", Some("2001:db8::1")),
            ("fe80::5", Some("fe80::aa")),
        ];
        for (remote, expected) in table {
            assert_eq!(source_for(&interface(), addr(remote)), expected.map(addr), "{remote}");
        }
        let only_v4 = Interface { addresses: vec!["192.0.2.1/24".parse().unwrap()], ..interface() };
        assert_eq!(source_for(&only_v4, addr("2001:db8::5")), None);
    }
}
