//! The first stage: what came in on a port, and for whom is it?

use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::io::{Io, Origin, PortId, Punt, Purpose};
use crate::packet::{Arrived, Destination, Head, Transit};
use crate::reason;
use crate::shared::View;
use crate::topology::{Interface, Topology};
use crate::worker::{Batch, Worker};
use culvert_model::{ChildId, Flow, IpsecProtocol, Spi};
use culvert_telemetry::DropReason;
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::nat_traversal::{self, IKE_PORT, NAT_TRAVERSAL_PORT, NON_ESP_MARKER, Payload};
use culvert_wire::{EtherType, Fragmentation, Mac, ah, esp, ethernet, protocol, udp, vlan};
use std::net::SocketAddr;

/// Where a frame's packet starts, which interface it is for, and to whom it was sent.
struct Link {
    port: PortId,
    len: usize,
    ether_type: EtherType,
    to_group: bool,
}

/// What a frame is.
enum Class {
    /// ARP or neighbour discovery.
    Neighbour,
    Transit(Head),
    Host(Head),
    /// Of a datagram to the box.
    Fragment(Head),
    Ike {
        head: Head,
        local: u16,
        remote: u16,
        offset: u16,
    },
    Ipsec(Head, Ipsec),
}

/// An ESP or AH packet to the box.
struct Ipsec {
    protocol: IpsecProtocol,
    spi: Spi,
    /// Low half of the sequence number.
    low: u32,
    offset: u16,
    ports: Option<(u16, u16)>,
}

impl Ipsec {
    fn arrived<B>(self, packet: B, port: PortId, head: &Head, inside: Option<ChildId>) -> Arrived<B> {
        let Self { protocol, spi, low, offset, ports } = self;
        let (local, remote) = (head.flow.destination, head.flow.source);
        Arrived { packet, port, protocol, offset, spi, low, tos: head.tos, local, remote, ports, inside }
    }
}

impl<A: Crypto> Worker<A> {
    pub(crate) fn classify<B: Buffer>(
        &mut self,
        view: &View,
        port: PortId,
        frames: &mut Batch<B>,
        io: &mut impl Io<B>,
    ) -> (Batch<Arrived<B>>, Batch<Transit<B>>) {
        let (mut arrived, mut transit) = (Batch::new(), Batch::new());
        let Some(interface) = view.topology.interface(port) else {
            self.counters.drops(DropReason::InterfaceDown, frames.len() as u64);
            frames.clear();
            return (arrived, transit);
        };
        for frame in frames.drain(..) {
            let Some(mut frame) = self.bridge(view, interface, frame, &mut transit, io) else { continue };
            let (link, class) = match classify_one(view, interface, &frame) {
                Ok(found) => found,
                Err(reason) => {
                    self.counters.drop(reason);
                    if reason == DropReason::InboundClear
                        && let Some(flow) = flow_of(view, interface, &frame)
                    {
                        self.audit_clear(view, reason, &flow, io);
                    }
                    continue;
                }
            };
            let port = link.port;
            let Some(head) = class.head() else {
                self.punt(io, Punt::Neighbour { port, frame });
                continue;
            };
            let padding = frame.data().len().saturating_sub(link.len + head.len);
            // Cannot fail: the header was read from these octets.
            if !frame.trim_front(link.len) || !frame.trim_back(padding) {
                self.counters.drop(DropReason::Truncated);
                continue;
            }
            self.sort(port, class, frame, (&mut arrived, &mut transit), io);
        }
        (arrived, transit)
    }

    /// A packet to the box that was put together from its fragments, as if it had come in on `port` whole.
    pub(crate) fn classify_whole<B: Buffer>(
        &mut self,
        view: &View,
        port: PortId,
        packet: B,
        io: &mut impl Io<B>,
    ) -> (Batch<Arrived<B>>, Batch<Transit<B>>) {
        let (mut arrived, mut transit) = (Batch::new(), Batch::new());
        match whole(view, packet.data()) {
            Ok(class) => self.sort(port, class, packet, (&mut arrived, &mut transit), io),
            Err(reason) => self.counters.drop(reason),
        }
        (arrived, transit)
    }

    fn sort<B: Buffer>(
        &mut self,
        port: PortId,
        class: Class,
        packet: B,
        (arrived, transit): (&mut Batch<Arrived<B>>, &mut Batch<Transit<B>>),
        io: &mut impl Io<B>,
    ) {
        match class {
            Class::Neighbour => {}
            Class::Transit(head) => transit.push(Transit { packet, origin: Origin::Clear, port, head }),
            Class::Host(_) => self.punt(io, Punt::Host { port, origin: Origin::Clear, packet }),
            Class::Fragment(_) => {
                self.punt(io, Punt::Fragment { port, origin: Origin::Clear, purpose: Purpose::Box, packet });
            }
            Class::Ike { head, local, remote, offset } => {
                let local = SocketAddr::new(head.flow.destination, local);
                let remote = SocketAddr::new(head.flow.source, remote);
                self.punt(io, Punt::Ike { local, remote, offset, packet });
            }
            Class::Ipsec(head, ipsec) => arrived.push(ipsec.arrived(packet, port, &head, None)),
        }
    }
}

impl Class {
    fn head(&self) -> Option<&Head> {
        match self {
            Self::Neighbour => None,
            Self::Transit(head) | Self::Host(head) | Self::Fragment(head) => Some(head),
            Self::Ike { head, .. } | Self::Ipsec(head, _) => Some(head),
        }
    }
}

fn classify_one<B: Buffer>(view: &View, interface: &Interface, frame: &B) -> Result<(Link, Class), DropReason> {
    let (link, packet) = link_layer(&view.topology, interface, frame.data())?;
    match link.ether_type {
        EtherType::ARP => return Ok((link, Class::Neighbour)),
        EtherType::IPV4 | EtherType::IPV6 => {}
        _ => return Err(DropReason::BadEthertype),
    }
    let checksum = match frame.rx_checksum_ok() {
        Some(true) => ChecksumMode::Trusted,
        Some(false) if link.ether_type == EtherType::IPV4 => return Err(DropReason::Ipv4Checksum),
        _ => ChecksumMode::Verify,
    };
    let head = Head::parse(packet, checksum)?;
    if head.is_v6() != (link.ether_type == EtherType::IPV6) {
        return Err(if head.is_v6() { DropReason::Ipv4Header } else { DropReason::Ipv6Header });
    }
    let class = match head.destination(&view.topology)? {
        Destination::Group if is_neighbour_discovery(&head) => Class::Neighbour,
        Destination::Group => return Err(DropReason::Multicast),
        // RFC 1812 §5.3.4: what came as a link-layer broadcast is never forwarded; nothing here answers it either.
        _ if link.to_group => return Err(DropReason::Multicast),
        Destination::Own => own(view, packet, head)?,
        Destination::Elsewhere => Class::Transit(head),
    };
    Ok((link, class))
}

fn whole(view: &View, packet: &[u8]) -> Result<Class, DropReason> {
    let head = Head::parse(packet, ChecksumMode::Trusted)?;
    match own(view, packet, head)? {
        // RFC 6980 §5: neighbour discovery in fragments is ignored.
        Class::Neighbour => Err(DropReason::BadNeighbourDiscovery),
        class => Ok(class),
    }
}

/// Of a frame that was refused.
fn flow_of<B: Buffer>(view: &View, interface: &Interface, frame: &B) -> Option<Flow> {
    let (_, packet) = link_layer(&view.topology, interface, frame.data()).ok()?;
    Head::parse(packet, ChecksumMode::Trusted).ok().map(|head| head.flow)
}

fn link_layer<'a>(topology: &Topology, interface: &Interface, frame: &'a [u8]) -> Result<(Link, &'a [u8]), DropReason> {
    let (header, payload) = ethernet::Repr::parse(frame).map_err(reason::of_ethernet)?;
    let to_group = header.destination.is_multicast();
    if !to_group && header.destination != Mac(interface.mac) {
        return Err(DropReason::NotOurMac);
    }
    if header.ether_type != EtherType::VLAN {
        let port = topology.leader(interface.port).map_or(interface.port, |leader| leader.port);
        return Ok((Link { port, len: ethernet::LEN, ether_type: header.ether_type, to_group }, payload));
    }
    let (tag, payload) = vlan::Repr::parse(payload).map_err(reason::of_vlan)?;
    let port = match tag.id {
        // Only carries a priority (IEEE 802.1Q §6.9).
        0 => topology.leader(interface.port).map_or(interface.port, |leader| leader.port),
        id => topology.vlan(interface.port, id).ok_or(DropReason::UnknownVlan)?.port,
    };
    Ok((Link { port, len: ethernet::LEN + vlan::LEN, ether_type: tag.ether_type, to_group }, payload))
}

/// A packet to one of our addresses.
fn own(view: &View, packet: &[u8], head: Head) -> Result<Class, DropReason> {
    let upper = packet.get(usize::from(head.upper)..head.len).ok_or(DropReason::Truncated)?;
    if head.fragmentation != Fragmentation::Whole {
        return Ok(Class::Fragment(head));
    }
    match (head.flow.protocol, head.flow.destination_port) {
        (protocol::ESP, _) => esp_class(head, upper, head.upper, None),
        (protocol::AH, _) => ah_class(head, packet),
        (protocol::UDP, Some(IKE_PORT)) => {
            let (header, _) = udp::Repr::parse(upper).map_err(|_| DropReason::UdpMalformed)?;
            let offset = head.upper.saturating_add(udp::LEN as u16);
            Ok(Class::Ike { head, local: IKE_PORT, remote: header.source_port, offset })
        }
        (protocol::UDP, Some(port)) if carries_esp(view, port) => nat_traversal_class(head, port, upper),
        _ if is_neighbour_discovery(&head) => Ok(Class::Neighbour),
        _ => {
            if view.topology.must_come_by_tunnel(head.flow.source) {
                return Err(DropReason::InboundClear);
            }
            view.spd.table.admits_to_box(&head.flow, false)?;
            Ok(Class::Host(head))
        }
    }
}

/// 4500, or the own port of a manual SA.
pub(crate) fn carries_esp(view: &View, port: u16) -> bool {
    port == NAT_TRAVERSAL_PORT || view.foreign.ports.iter().any(|(known, _)| *known == port)
}

/// RFC 3948 §2: ESP, IKE behind its marker, or a keepalive.
fn nat_traversal_class(head: Head, port: u16, upper: &[u8]) -> Result<Class, DropReason> {
    let (header, payload) = udp::Repr::parse(upper).map_err(|_| DropReason::UdpMalformed)?;
    let offset = head.upper.saturating_add(udp::LEN as u16);
    match nat_traversal::classify(payload) {
        Payload::Keepalive => Err(DropReason::NatKeepalive),
        Payload::Runt => Err(DropReason::UdpMalformed),
        Payload::Ike(_) => {
            let offset = offset.saturating_add(NON_ESP_MARKER.len() as u16);
            Ok(Class::Ike { head, local: port, remote: header.source_port, offset })
        }
        Payload::Esp(payload) => {
            // What follows the UDP length is no part of the packet.
            let len = usize::from(offset) + payload.len();
            esp_class(Head { len, ..head }, payload, offset, Some((port, header.source_port)))
        }
    }
}

fn esp_class(head: Head, upper: &[u8], offset: u16, ports: Option<(u16, u16)>) -> Result<Class, DropReason> {
    let (header, _) = esp::Repr::parse(upper).map_err(|error| match error {
        esp::Error::Truncated => DropReason::EspTruncated,
        esp::Error::ReservedSpi(_) => DropReason::UnknownSpi,
    })?;
    let spi = Spi::new(header.spi).map_err(|_| DropReason::UnknownSpi)?;
    Ok(Class::Ipsec(head, Ipsec { protocol: IpsecProtocol::Esp, spi, low: header.sequence, offset, ports }))
}

fn ah_class(head: Head, packet: &[u8]) -> Result<Class, DropReason> {
    let upper = packet.get(usize::from(head.upper)..head.len).ok_or(DropReason::Truncated)?;
    let (header, _, _) = ah::Repr::parse(upper).map_err(|error| match error {
        ah::Error::ReservedSpi(_) => DropReason::UnknownSpi,
        _ => DropReason::AhHeader,
    })?;
    let spi = Spi::new(header.spi).map_err(|_| DropReason::UnknownSpi)?;
    let (protocol, low, offset) = (IpsecProtocol::Ah, header.sequence, head.upper);
    Ok(Class::Ipsec(head, Ipsec { protocol, spi, low, offset, ports: None }))
}

/// A packet to the box out of the child's SA that is itself ESP or AH: the next layer of a bundle, or another tunnel
/// inside. Given back where it is neither.
pub(crate) fn ipsec_inside<B: Buffer>(
    view: &View,
    packet: B,
    head: Head,
    port: PortId,
    child: ChildId,
) -> Result<Arrived<B>, B> {
    let upper = packet.data().get(usize::from(head.upper)..head.len).unwrap_or_default();
    let class = match (head.flow.protocol, head.flow.destination_port) {
        _ if head.fragmentation != Fragmentation::Whole => None,
        (protocol::ESP, _) => esp_class(head, upper, head.upper, None).ok(),
        (protocol::AH, _) => ah_class(head, packet.data()).ok(),
        (protocol::UDP, Some(port)) if carries_esp(view, port) => nat_traversal_class(head, port, upper).ok(),
        _ => None,
    };
    match class {
        Some(Class::Ipsec(head, ipsec)) => Ok(ipsec.arrived(packet, port, &head, Some(child))),
        _ => Err(packet),
    }
}

/// Router and neighbour solicitation and advertisement, redirect (RFC 4861 §4).
pub(crate) fn is_neighbour_discovery(head: &Head) -> bool {
    let kind = head.flow.source_port.map(|port| port >> 8);
    head.flow.protocol == protocol::ICMPV6 && matches!(kind, Some(133..=137))
}
