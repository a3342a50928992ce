//! What workers leave: packets to the box, and packets somebody should be told about.

use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::host::{Outcome, Problem, Silence, discovery, icmp};
use crate::housekeeping::{Housekeeping, LARGE_MESSAGE, MAX_DATAGRAMS, MAX_LARGE_DATAGRAMS};
use crate::io::{Io, Origin, PortId, Punt, Purpose, Tick};
use crate::packet::Head;
use crate::retire::Retired;
use crate::topology::{Attachment, Interface, Topology};
use culvert_link::record::{Datagram, Event};
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{EtherType, Fragmentation, ethernet, ike, protocol, udp, vlan};
use std::net::SocketAddr;
use std::sync::Arc;

/// Of bridges, remembered; one more takes the place of another.
const MAX_STATIONS: usize = 4096;

impl<A: Crypto, B: Buffer> Housekeeping<A, B> {
    /// Takes what a worker left.
    pub fn handle_punt(&mut self, now: Tick, punt: Punt<B>, io: &mut impl Io<B>) {
        self.take(now, punt, io);
        self.after(now, io);
    }

    pub(crate) fn take(&mut self, now: Tick, punt: Punt<B>, io: &mut impl Io<B>) {
        let topology = self.shared.topology.load_full();
        match punt {
            Punt::Neighbour { port, frame } => match topology.voices(port).find(|voice| voice.0 == port) {
                Some((port, interface)) => self.neighbour_frame(now, (port, &interface), &frame, io),
                None => self.own.counters.drop(DropReason::InterfaceDown),
            },
            Punt::Host { port, origin, packet } => match topology.interface(port) {
                Some(interface) => self.host_packet(now, interface, origin, packet, io),
                None => self.own.counters.drop(DropReason::InterfaceDown),
            },
            Punt::Fragment { port, origin, purpose, packet } => {
                self.hold_fragment(now, (purpose, origin), port, packet, io);
            }
            Punt::Ike { local, remote, offset, packet } => {
                if let Err(reason) = self.ike_message(local, remote, offset, &packet) {
                    self.own.counters.drop(reason);
                }
            }
            Punt::TtlExceeded { port, origin, packet } => {
                self.own.counters.drop(DropReason::TtlExceeded);
                self.tell(now, &topology, (port, origin), Problem::TtlExceeded, &packet, io);
            }
            Punt::TooBig { port, origin, mtu, packet } => {
                self.own.counters.drop(DropReason::TooBig);
                let problem = Problem::TooBig { mtu };
                match origin {
                    Origin::Own => self.tell_host(now, problem, &packet, io),
                    _ => self.tell(now, &topology, (port, origin), problem, &packet, io),
                }
            }
            Punt::Unresolved { port, next_hop, packet } => match io.compact(packet) {
                Ok(packet) => self.neighbours.resolve(now, port, next_hop, packet),
                // It fits its way, so it would fit a buffer.
                Err(_) => self.own.counters.drop(DropReason::NoBuffer),
            },
            Punt::Audit { reason, slot, spi, flow } => {
                self.report(Event::Audit { reason: reason.index() as u16, slot, spi, flow });
            }
            Punt::Acquire { child, flow, pfp } => self.report(Event::Acquire { child, flow, pfp }),
            Punt::NatMapping { slot, spi, remote } => self.report(Event::NatMappingSeen { slot, spi, remote }),
        }
    }

    fn neighbour_frame(&mut self, now: Tick, (port, interface): (PortId, &Interface), frame: &B, io: &mut impl Io<B>) {
        let untagged = without_tag(frame.data());
        let frame = untagged.as_deref().unwrap_or(frame.data());
        if matches!(interface.attachment, Attachment::Bridge { .. }) {
            self.learn_station(port, frame);
        }
        let is_arp = ethernet::Repr::parse(frame).is_ok_and(|(header, _)| header.ether_type == EtherType::ARP);
        match discovery::handle_frame(now, interface, frame, &mut self.neighbours, &mut self.scratch) {
            Outcome::Reply => {
                let kind = if is_arp { WorkerCounter::ArpReplies } else { WorkerCounter::NeighbourAdvertisements };
                self.own.counters.add(kind, 1);
                self.send_frame(port, io);
            }
            Outcome::Absorbed => {}
            Outcome::NotDiscovery => self.own.counters.drop(DropReason::BadNeighbourDiscovery),
            Outcome::Refused(reason) => self.own.counters.drop(reason),
        }
    }

    /// Which port of a bridge leads to the frame's sender.
    fn learn_station(&mut self, port: PortId, frame: &[u8]) {
        let Ok((header, _)) = ethernet::Repr::parse(frame) else { return };
        if !header.source.is_unicast() || self.stations.insert(header.source, port) == Some(port) {
            return;
        }
        if self.stations.len() > MAX_STATIONS {
            self.stations.pop_first();
        }
        let stations = self.stations.iter().map(|(mac, port)| (*mac, *port)).collect();
        let new = self.shared.topology.load().with_stations(stations);
        let old = self.shared.topology.swap(Arc::new(new));
        self.retire(Retired::Topology(old));
    }

    /// ICMP echo is answered here; the rest is for the host's own stack.
    pub(crate) fn host_packet(
        &mut self,
        now: Tick,
        interface: &Interface,
        origin: Origin,
        packet: B,
        io: &mut impl Io<B>,
    ) {
        let head = match Head::parse(packet.data(), ChecksumMode::Trusted) {
            Ok(head) => head,
            Err(reason) => return self.own.counters.drop(reason),
        };
        // Out of a tunnel; those in clear were left as what they are.
        if head.fragmentation != Fragmentation::Whole {
            return self.hold_fragment(now, (Purpose::Box, origin), interface.port, packet, io);
        }
        if !matches!(head.flow.protocol, protocol::ICMP | protocol::ICMPV6) {
            return self.give_to_host(packet, DropReason::HostUnsupported, io);
        }
        if let Some(reason) = self.path_news(now, packet.data()) {
            return self.own.counters.drop(reason);
        }
        match icmp::echo_reply(now, interface, packet.data(), &mut self.echoes, &mut self.scratch) {
            Ok(()) => {
                self.own.counters.add(WorkerCounter::EchoReplies, 1);
                self.send_own(now, answer_to(origin), interface.port, io);
            }
            // Answers and errors: who asked, only the host's stack knows.
            Err(Silence::NotEcho | Silence::IcmpError) => self.give_to_host(packet, DropReason::IcmpIgnored, io),
            Err(silence) => self.own.counters.drop(of_silence(silence)),
        }
    }

    /// An ICMP error to the packet's sender. About a packet out of a tunnel it speaks with the address of the side the
    /// packet went to, which the tunnel's selectors hold.
    pub(crate) fn tell(
        &mut self,
        now: Tick,
        topology: &Topology,
        (port, origin): (PortId, Origin),
        problem: Problem,
        packet: &B,
        io: &mut impl Io<B>,
    ) {
        let side = match origin {
            Origin::Tunnel => Head::parse(packet.data(), ChecksumMode::Trusted)
                .ok()
                .and_then(|head| topology.hop(head.flow.destination))
                .map_or(port, |hop| hop.port),
            _ => port,
        };
        let Some(interface) = topology.interface(side) else { return };
        let written = icmp::error(now, interface, problem, packet.data(), false, &mut self.errors, &mut self.scratch);
        // The packet itself is counted already; that nothing is said about it is no second drop.
        if written.is_ok() {
            self.own.counters.add(WorkerCounter::IcmpErrors, 1);
            self.send_own(now, answer_to(origin), port, io);
        }
    }

    /// The datagram of an IKE message for control. What is no IKE message by its first 28 octets goes no further.
    fn ike_message(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        offset: u16,
        packet: &B,
    ) -> Result<(), DropReason> {
        let head = Head::parse(packet.data(), ChecksumMode::Trusted)?;
        let upper = packet.data().get(usize::from(head.upper)..head.len).ok_or(DropReason::Truncated)?;
        let (header, payload) = udp::Repr::parse(upper).map_err(|_| DropReason::UdpMalformed)?;
        header.verify(remote.ip(), local.ip(), payload).map_err(|_| DropReason::UdpMalformed)?;
        let marker = usize::from(offset).saturating_sub(usize::from(head.upper) + udp::LEN);
        let message = payload.get(marker..).ok_or(DropReason::IkeMalformed)?;
        ike::Repr::parse(message).map_err(|_| DropReason::IkeMalformed)?;
        let most = if message.len() > LARGE_MESSAGE { MAX_LARGE_DATAGRAMS } else { MAX_DATAGRAMS };
        if self.datagrams.len() >= most {
            return Err(DropReason::PuntFull);
        }
        self.datagrams.push_back(Datagram { local, remote, payload: message.to_vec() });
        Ok(())
    }
}

const fn answer_to(origin: Origin) -> Origin {
    match origin {
        Origin::Tunnel | Origin::OwnAnswer => Origin::OwnAnswer,
        Origin::Clear | Origin::Own => Origin::Own,
    }
}

fn of_silence(silence: Silence) -> DropReason {
    match silence {
        Silence::Malformed => DropReason::IcmpMalformed,
        Silence::RateLimited => DropReason::IcmpRateLimited,
        Silence::TooLong => DropReason::TooBig,
        Silence::IcmpError
        | Silence::Fragment
        | Silence::Multicast
        | Silence::Source
        | Silence::MayFragment
        | Silence::NotEcho
        | Silence::NoAddress => DropReason::IcmpIgnored,
    }
}

/// The frame without its priority tag, where it has one.
fn without_tag(frame: &[u8]) -> Option<Vec<u8>> {
    let (header, rest) =
        ethernet::Repr::parse(frame).ok().filter(|(header, _)| header.ether_type == EtherType::VLAN)?;
    let (tag, payload) = vlan::Repr::parse(rest).ok()?;
    let header = ethernet::Repr { ether_type: tag.ether_type, ..header };
    Some([&header.to_bytes(), payload].concat())
}
