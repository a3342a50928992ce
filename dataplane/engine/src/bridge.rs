//! A bump in the wire: two ports bridged, policies applied to the IP packets between them, nothing else touched.
//!
//! What policy lets through leaves as it came, TTL and addresses and all. What it protects, and what is for the box, goes
//! the way of any other packet; so does what comes out of a tunnel. ARP, neighbour discovery and whatever is not IP pass.
//! A tag is looked through, so that it cannot carry a packet past the policies; where there might be two, nothing passes.

use crate::buffer::Buffer;
use crate::classify::is_neighbour_discovery;
use crate::crypto::Crypto;
use crate::io::{Io, Origin, PortId, Punt};
use crate::packet::{Head, Transit};
use crate::reason;
use crate::shared::View;
use crate::spd::Verdict;
use crate::topology::{Attachment, Interface, Topology};
use crate::transit_errors::may_be_error;
use crate::worker::{Batch, Worker};
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{EtherType, Mac, arp, ethernet, ipv6, ndp, protocol, vlan};

/// IEEE 802.1ad: a tag around tags.
const SERVICE_TAG: EtherType = EtherType(0x88a8);

/// What a frame on a bridged port is.
enum Passage {
    /// For the box, as on any port.
    Box,
    /// ARP or neighbour discovery that is about the box.
    Neighbour,
    Through,
    /// For policy to judge. `offset`: of the IP header.
    Packet {
        head: Head,
        offset: usize,
    },
}

impl<A: Crypto> Worker<A> {
    /// Takes a frame that came in on a bridged port, unless it is for the box itself.
    #[inline]
    pub(crate) fn bridge<B: Buffer>(
        &mut self,
        view: &View,
        interface: &Interface,
        frame: B,
        transit: &mut Batch<Transit<B>>,
        io: &mut impl Io<B>,
    ) -> Option<B> {
        match interface.attachment {
            Attachment::Bridge { other } => self.pass(view, (interface, interface.port, other), frame, transit, io),
            Attachment::Side { of } => self.pass(view, (interface, of, of), frame, transit, io),
            Attachment::Port | Attachment::Vlan { .. } | Attachment::Tunnel => Some(frame),
        }
    }

    fn pass<B: Buffer>(
        &mut self,
        view: &View,
        (interface, leader, other): (&Interface, PortId, PortId),
        frame: B,
        transit: &mut Batch<Transit<B>>,
        io: &mut impl Io<B>,
    ) -> Option<B> {
        match passage(view, interface, other, &frame) {
            Ok(Passage::Box) => return Some(frame),
            Ok(Passage::Neighbour) => self.punt(io, Punt::Neighbour { port: interface.port, frame }),
            Ok(Passage::Through) => io.transmit(other, frame),
            Ok(Passage::Packet { head, offset }) => {
                let packet = Transit { packet: frame, origin: Origin::Clear, port: leader, head };
                self.judge_bridged(view, packet, (offset, other), transit, io);
            }
            Err(reason) => self.counters.drop(reason),
        }
        None
    }

    fn judge_bridged<B: Buffer>(
        &mut self,
        view: &View,
        mut packet: Transit<B>,
        (offset, other): (usize, PortId),
        transit: &mut Batch<Transit<B>>,
        io: &mut impl Io<B>,
    ) {
        match self.verdict(view, &packet) {
            Verdict::Forward => {
                self.counters.add(WorkerCounter::BypassedPackets, 1);
                io.transmit(other, packet.packet);
            }
            // Fragments among them: where they wait for each other, frames end.
            Verdict::Drop(reason) if reason != DropReason::NoPolicy || !may_be_error(&packet.head.flow) => {
                self.counters.drop(reason);
            }
            // Such an ICMP error may yet be protected for what it is about.
            Verdict::Protect { .. } | Verdict::Drop(_) => {
                let padding = packet.packet.data().len().saturating_sub(offset + packet.head.len);
                // Cannot fail: the header was read from these octets.
                if packet.packet.trim_front(offset) && packet.packet.trim_back(padding) {
                    transit.push(packet);
                } else {
                    self.counters.drop(DropReason::Truncated);
                }
            }
        }
    }
}

fn passage<B: Buffer>(view: &View, interface: &Interface, other: PortId, frame: &B) -> Result<Passage, DropReason> {
    let topology = &view.topology;
    let (header, payload) = ethernet::Repr::parse(frame.data()).map_err(reason::of_ethernet)?;
    let other_mac = topology.interface(other).map(|other| Mac(other.mac));
    if header.source == Mac(interface.mac) || Some(header.source) == other_mac {
        // Our own, come back by a loop.
        return Err(DropReason::SourceSpoofed);
    }
    let to_box = header.destination == Mac(interface.mac);
    let (ether_type, packet, offset) = match header.ether_type {
        SERVICE_TAG => return Err(DropReason::UnknownVlan),
        EtherType::VLAN => {
            let (tag, payload) = vlan::Repr::parse(payload).map_err(reason::of_vlan)?;
            if tag.ether_type == SERVICE_TAG {
                return Err(DropReason::UnknownVlan);
            }
            (tag.ether_type, payload, ethernet::LEN + vlan::LEN)
        }
        ether_type => (ether_type, payload, ethernet::LEN),
    };
    let untagged = offset == ethernet::LEN;
    match ether_type {
        EtherType::ARP if untagged && (to_box || is_arp_of(topology, packet)) => Ok(Passage::Neighbour),
        EtherType::IPV6 if untagged && is_discovery_of(topology, to_box, packet) => Ok(Passage::Neighbour),
        _ if to_box => Ok(Passage::Box),
        EtherType::IPV4 | EtherType::IPV6 => {
            let checksum = match frame.rx_checksum_ok().filter(|_| untagged) {
                Some(true) => ChecksumMode::Trusted,
                _ => ChecksumMode::Verify,
            };
            ip(topology, packet, ether_type, checksum, offset)
        }
        _ => Ok(Passage::Through),
    }
}

fn ip(
    topology: &Topology,
    packet: &[u8],
    ether_type: EtherType,
    checksum: ChecksumMode,
    offset: usize,
) -> Result<Passage, DropReason> {
    let head = Head::parse(packet, checksum)?;
    if head.is_v6() != (ether_type == EtherType::IPV6) {
        return Err(if head.is_v6() { DropReason::Ipv4Header } else { DropReason::Ipv6Header });
    }
    if is_neighbour_discovery(&head) {
        return Ok(Passage::Through);
    }
    if topology.is_own(head.flow.source) {
        return Err(DropReason::SourceSpoofed);
    }
    // For the box by its address, and for another station by its frame.
    if topology.is_own(head.flow.destination) {
        return Err(DropReason::NotOurMac);
    }
    Ok(Passage::Packet { head, offset })
}

/// Does it ask for, or claim, an address of the box?
fn is_arp_of(topology: &Topology, packet: &[u8]) -> bool {
    let own = |packet: arp::Repr| topology.is_own(packet.target.into()) || topology.is_own(packet.sender.into());
    arp::Repr::parse(packet).is_ok_and(own)
}

/// The same for neighbour discovery; to the box's hardware address it is the box's anyhow.
fn is_discovery_of(topology: &Topology, to_box: bool, packet: &[u8]) -> bool {
    let Ok((header, payload)) = ipv6::Header::parse(packet) else { return false };
    if header.next_header() != protocol::ICMPV6 {
        return false;
    }
    match ndp::Message::parse(ndp::Carrier::of(&header), payload) {
        Ok(_) if to_box => true,
        Ok(ndp::Message::NeighbourSolicitation { target, .. }) => topology.is_own(target.into()),
        Ok(ndp::Message::NeighbourAdvertisement(na)) => topology.is_own(na.target.into()),
        _ => false,
    }
}
