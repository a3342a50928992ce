//! ARP and neighbour discovery frames, in and out.

use super::address::{self, Destination};
use super::neighbours::{Kind, Neighbours, Report};
use crate::io::Tick;
use crate::topology::Interface;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use culvert_telemetry::DropReason;
use culvert_wire::{EtherType, Mac, arp, ethernet, ipv6, ndp, protocol};

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `out` holds the answer, a frame for the same port.
    Reply,
    /// It was looked at and learned from; there is nothing to say.
    Absorbed,
    /// ICMPv6, but not neighbour discovery: for the host.
    NotDiscovery,
    Refused(DropReason),
}

/// Takes an ARP or neighbour discovery frame from the interface's port. VLAN tags have been taken off.
pub fn handle_frame<P>(
    now: Tick,
    interface: &Interface,
    frame: &[u8],
    neighbours: &mut Neighbours<P>,
    out: &mut Vec<u8>,
) -> Outcome {
    out.clear();
    let Ok((header, payload)) = ethernet::Repr::parse(frame) else { return Outcome::Refused(DropReason::Truncated) };
    if !header.source.is_unicast() {
        return Outcome::Refused(DropReason::NotOurMac);
    }
    if !header.destination.is_multicast() && header.destination != Mac(interface.mac) {
        return Outcome::Refused(DropReason::NotOurMac);
    }
    match header.ether_type {
        EtherType::ARP => handle_arp(now, interface, payload, neighbours, out),
        EtherType::IPV6 => handle_ndp(now, interface, header.source, payload, neighbours, out),
        _ => Outcome::Refused(DropReason::BadEthertype),
    }
}

/// RFC 826's algorithm of reception, with the checks it leaves out.
fn handle_arp<P>(
    now: Tick,
    interface: &Interface,
    payload: &[u8],
    neighbours: &mut Neighbours<P>,
    out: &mut Vec<u8>,
) -> Outcome {
    let Ok(packet) = arp::Repr::parse(payload) else { return Outcome::Refused(DropReason::BadArp) };
    let (own_mac, sender) = (Mac(interface.mac), IpAddr::from(packet.sender));
    if packet.sender_mac == own_mac {
        // Our own, come back by a loop.
        return Outcome::Refused(DropReason::SourceSpoofed);
    }
    if address::is_own(interface, sender) {
        neighbours.conflict(now, interface.port, sender, packet.sender_mac);
        return Outcome::Absorbed;
    }
    let for_us = address::is_own(interface, packet.target.into());
    // RFC 5227 §2.1.1: a probe has no sender address; it asks, and teaches nothing.
    if !packet.sender.is_unspecified() {
        if !address::on_link(interface, sender) {
            return Outcome::Refused(DropReason::BadArp);
        }
        let kind = match packet.operation {
            arp::Operation::Reply if for_us && packet.target_mac == own_mac => {
                Kind::Advertised { solicited: true, overrides: true }
            }
            arp::Operation::Request if for_us => Kind::Asked,
            _ => Kind::Overheard,
        };
        let mac = Some(packet.sender_mac);
        neighbours.report(now, Report { port: interface.port, addr: sender, mac, kind });
    }
    if !for_us || packet.operation != arp::Operation::Request {
        return Outcome::Absorbed;
    }
    let reply = arp::Repr {
        operation: arp::Operation::Reply,
        sender_mac: own_mac,
        sender: packet.target,
        target_mac: packet.sender_mac,
        target: packet.sender,
    };
    arp_frame(packet.sender_mac, &reply, out);
    Outcome::Reply
}

fn handle_ndp<P>(
    now: Tick,
    interface: &Interface,
    from: Mac,
    payload: &[u8],
    neighbours: &mut Neighbours<P>,
    out: &mut Vec<u8>,
) -> Outcome {
    let Ok((header, payload)) = ipv6::Header::parse(payload) else {
        return Outcome::Refused(DropReason::Ipv6Header);
    };
    // RFC 6980 §5: discovery is never in a fragment; other extension headers have no business in it either.
    if header.next_header() != protocol::ICMPV6 {
        return Outcome::Refused(DropReason::BadNeighbourDiscovery);
    }
    let carrier = ndp::Carrier::of(&header);
    let message = match ndp::Message::parse(carrier, payload) {
        Ok(message) => message,
        Err(ndp::Error::Type(_)) => return Outcome::NotDiscovery,
        Err(_) => return Outcome::Refused(DropReason::BadNeighbourDiscovery),
    };
    let Some(kind) = address::destination(interface, carrier.destination.into()) else {
        return Outcome::Refused(DropReason::Multicast);
    };
    match message {
        ndp::Message::NeighbourSolicitation { target, source_mac } => {
            let own_group = ipv6::solicited_node(target) == carrier.destination;
            if !address::is_own(interface, target.into()) || !(kind == Destination::Unicast || own_group) {
                return Outcome::Absorbed;
            }
            solicited(now, interface, carrier, (from, source_mac), target, neighbours, out)
        }
        ndp::Message::NeighbourAdvertisement(na) => advertised(now, interface, carrier, from, na, neighbours),
        // The box is a router with a fixed configuration: it neither asks routers nor believes them, and it does not
        // advertise itself.
        ndp::Message::RouterSolicitation { .. } | ndp::Message::RouterAdvertisement(_) => Outcome::Absorbed,
    }
}

/// RFC 4861 §7.2.3, §7.2.4.
fn solicited<P>(
    now: Tick,
    interface: &Interface,
    carrier: ndp::Carrier,
    (from, source_mac): (Mac, Option<Mac>),
    target: Ipv6Addr,
    neighbours: &mut Neighbours<P>,
    out: &mut Vec<u8>,
) -> Outcome {
    let source = carrier.source;
    let own_mac = Mac(interface.mac);
    if from == own_mac || address::is_own(interface, source.into()) {
        return Outcome::Refused(DropReason::SourceSpoofed);
    }
    let answer = ndp::NeighbourAdvertisement {
        router: true,
        solicited: true,
        overrides: true,
        target,
        target_mac: Some(own_mac),
    };
    if source.is_unspecified() {
        // Somebody wants the address for itself; everybody must hear that it is taken.
        let to_all = ndp::NeighbourAdvertisement { solicited: false, ..answer };
        advertise(interface, ipv6::ALL_NODES, Mac::for_ipv6_multicast(ipv6::ALL_NODES), to_all, out);
        return Outcome::Reply;
    }
    if !address::on_link(interface, source.into()) {
        return Outcome::Refused(DropReason::BadNeighbourDiscovery);
    }
    let report = Report { port: interface.port, addr: source.into(), mac: source_mac, kind: Kind::Asked };
    neighbours.report(now, report);
    advertise(interface, source, source_mac.unwrap_or(from), answer, out);
    Outcome::Reply
}

/// RFC 4861 §7.2.5.
fn advertised<P>(
    now: Tick,
    interface: &Interface,
    carrier: ndp::Carrier,
    from: Mac,
    na: ndp::NeighbourAdvertisement,
    neighbours: &mut Neighbours<P>,
) -> Outcome {
    let (port, target) = (interface.port, IpAddr::from(na.target));
    if from == Mac(interface.mac) {
        return Outcome::Refused(DropReason::SourceSpoofed);
    }
    if address::is_own(interface, target) {
        // RFC 4862 §5.4.4: two stations, one address.
        neighbours.conflict(now, port, target, na.target_mac.unwrap_or(from));
        return Outcome::Absorbed;
    }
    let spoofed = address::is_own(interface, carrier.source.into());
    if spoofed || !address::on_link(interface, target) || !address::on_link(interface, carrier.source.into()) {
        return Outcome::Refused(DropReason::BadNeighbourDiscovery);
    }
    let kind = Kind::Advertised { solicited: na.solicited, overrides: na.overrides };
    neighbours.report(now, Report { port, addr: target, mac: na.target_mac, kind });
    Outcome::Absorbed
}

/// Writes the frame that asks for `addr`: everybody, or only `to`. `false`: the interface has no address of the family
/// to ask from.
pub fn solicit(interface: &Interface, addr: IpAddr, to: Option<Mac>, out: &mut Vec<u8>) -> bool {
    out.clear();
    let own_mac = Mac(interface.mac);
    match (address::source_for(interface, addr), addr) {
        (Some(IpAddr::V4(sender)), IpAddr::V4(target)) => {
            let operation = arp::Operation::Request;
            let request = arp::Repr { operation, sender_mac: own_mac, sender, target_mac: Mac::ZERO, target };
            arp_frame(to.unwrap_or(Mac::BROADCAST), &request, out);
            true
        }
        (Some(IpAddr::V6(source)), IpAddr::V6(target)) => {
            let message = ndp::Message::NeighbourSolicitation { target, source_mac: Some(own_mac) };
            let group = ipv6::solicited_node(target);
            let (destination, mac) = to.map_or_else(|| (group, Mac::for_ipv6_multicast(group)), |mac| (target, mac));
            ndp_frame(interface, source, destination, mac, &message, out);
            true
        }
        _ => false,
    }
}

/// Writes the frame that tells everybody where our `addr` is: gratuitous ARP (RFC 5227 §2.3) or unsolicited
/// advertisement (RFC 4861 §7.2.6).
pub fn announce(interface: &Interface, addr: IpAddr, out: &mut Vec<u8>) {
    out.clear();
    let own_mac = Mac(interface.mac);
    match addr {
        IpAddr::V4(addr) => arp_frame(Mac::BROADCAST, &arp::Repr::announcement(own_mac, addr), out),
        IpAddr::V6(target) => {
            let na = ndp::NeighbourAdvertisement {
                router: true,
                solicited: false,
                overrides: true,
                target,
                target_mac: Some(own_mac),
            };
            advertise(interface, ipv6::ALL_NODES, Mac::for_ipv6_multicast(ipv6::ALL_NODES), na, out);
        }
    }
}

/// Every own address that is worth an announcement at start.
pub fn announced(interface: &Interface) -> impl Iterator<Item = IpAddr> + '_ {
    interface.addresses.iter().map(ipnet::IpNet::addr).filter(|addr| *addr != IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

fn arp_frame(destination: Mac, packet: &arp::Repr, out: &mut Vec<u8>) {
    let header = ethernet::Repr { destination, source: packet.sender_mac, ether_type: EtherType::ARP };
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(&packet.to_bytes());
}

/// From the target itself: it is one of ours, and of the right scope.
fn advertise(
    interface: &Interface,
    destination: Ipv6Addr,
    mac: Mac,
    na: ndp::NeighbourAdvertisement,
    out: &mut Vec<u8>,
) {
    ndp_frame(interface, na.target, destination, mac, &ndp::Message::NeighbourAdvertisement(na), out);
}

fn ndp_frame(
    interface: &Interface,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    mac: Mac,
    message: &ndp::Message,
    out: &mut Vec<u8>,
) {
    out.clear();
    let header = ethernet::Repr { destination: mac, source: Mac(interface.mac), ether_type: EtherType::IPV6 };
    out.extend_from_slice(&header.to_bytes());
    let len = message.len();
    let ip = ipv6::Repr::new(source, destination, protocol::ICMPV6, len as u16);
    // RFC 4861 §4: proof that no router passed it on.
    out.extend_from_slice(&ipv6::Repr { hop_limit: 255, ..ip }.to_bytes());
    let at = out.len();
    out.resize(at + len, 0);
    let room = out.get_mut(at..).unwrap_or_default();
    let written = message.emit(source, destination, room);
    debug_assert!(written.is_ok(), "the room is the message's own length");
}
