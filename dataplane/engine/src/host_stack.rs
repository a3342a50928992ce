//! The host's own stack, behind an interface that the caller has: packets for it, and packets of it.

use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::host::{Problem, icmp};
use crate::housekeeping::Housekeeping;
use crate::io::{BURST, Io, Origin, PortId, Tick};
use crate::own::OwnIo;
use crate::packet::{Head, Transit};
use crate::topology::{Attachment, Interface, Topology, is_link_local};
use crate::worker::Batch;
use arrayvec::ArrayVec;
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{ipv4, ipv6};
use ipnet::IpNet;
use std::net::IpAddr;

/// Packets of the box's own came in by no port.
const NO_PORT: PortId = PortId(u16::MAX);

impl<A: Crypto, B: Buffer> Housekeeping<A, B> {
    /// Takes IP packets of the host's own stack. They pass SPD-O like everything that the box sends (RFC 4301 §5.1).
    pub fn handle_host(&mut self, now: Tick, packets: &mut ArrayVec<B, BURST>, io: &mut impl Io<B>) {
        self.own.counters.add(WorkerCounter::FromHost, packets.len() as u64);
        if !self.shared.is_open() {
            self.own.counters.drops(DropReason::InterfaceDown, packets.len() as u64);
            packets.clear();
            return;
        }
        let view = self.shared.view(now);
        let mut batch = Batch::new();
        for mut packet in packets.drain(..) {
            match admit(&mut packet, &view.topology) {
                Ok(head) => batch.push(Transit { packet, origin: Origin::Own, port: NO_PORT, head }),
                Err(reason) => self.own.counters.drop(reason),
            }
        }
        self.own.send(&view, batch, &mut OwnIo { io, returned: &mut self.returned });
        drop(view);
        self.after(now, io);
    }

    /// `unsupported`: what the packet counts as where there is no host interface.
    pub(crate) fn give_to_host(&mut self, packet: B, unsupported: DropReason, io: &mut impl Io<B>) {
        match io.to_host(packet) {
            Ok(()) => self.own.counters.add(WorkerCounter::ToHost, 1),
            Err(DropReason::HostUnsupported) => self.own.counters.drop(unsupported),
            Err(reason) => self.own.counters.drop(reason),
        }
    }

    /// An ICMP error about a packet of the host's own stack. The stack would not believe one from its own address, so it
    /// speaks as the packet's destination.
    pub(crate) fn tell_host(&mut self, now: Tick, problem: Problem, packet: &B, io: &mut impl Io<B>) {
        let Ok(head) = Head::parse(packet.data(), ChecksumMode::Trusted) else { return };
        let addresses = vec![IpNet::from(head.flow.destination)];
        let there = Interface { port: NO_PORT, attachment: Attachment::Port, mac: [0; 6], mtu: 0, addresses };
        let written = icmp::error(now, &there, problem, packet.data(), false, &mut self.errors, &mut self.scratch);
        if written.is_err() {
            return;
        }
        let Some(error) = self.buffer_of_scratch(io) else { return };
        // The packet is counted already, and where nobody takes the error nobody misses it.
        if io.to_host(error).is_ok() {
            self.own.counters.add(WorkerCounter::IcmpErrors, 1);
            self.own.counters.add(WorkerCounter::ToHost, 1);
        }
    }
}

/// The packet, cut to its own length, if it may leave the box.
fn admit<B: Buffer>(packet: &mut B, topology: &Topology) -> Result<Head, DropReason> {
    let head = Head::parse(packet.data(), ChecksumMode::Verify)?;
    let padding = packet.data().len().saturating_sub(head.len);
    if !packet.trim_back(padding) {
        return Err(DropReason::Truncated);
    }
    let (source, destination) = (head.flow.source, head.flow.destination);
    let (group, martian) = match destination {
        IpAddr::V4(addr) => (
            addr.is_multicast() || addr.is_broadcast() || topology.is_broadcast(addr),
            ipv4::is_martian_destination(addr),
        ),
        IpAddr::V6(addr) => (addr.is_multicast(), ipv6::is_martian_destination(addr)),
    };
    if group {
        return Err(DropReason::Multicast);
    }
    // Link-local addresses are of one line, and the stack knows none of the lines.
    let one_line = is_link_local(source) || is_link_local(destination);
    if martian || one_line || !topology.is_own(source) || topology.is_own(destination) {
        return Err(DropReason::Martian);
    }
    if head.options && !options_admitted(packet.data()) {
        return Err(DropReason::Ipv4Options);
    }
    Ok(head)
}

/// Well formed, and no source route: that leads elsewhere than to the destination which policies see.
fn options_admitted(packet: &[u8]) -> bool {
    let admitted = |option: Result<ipv4::Opt<'_>, _>| option.is_ok_and(|option| !option.is_source_route());
    ipv4::Header::parse(packet, ChecksumMode::Trusted).is_ok_and(|(header, _)| header.options().all(admitted))
}
