//! What the box itself sends: IKE for control, keepalives, answers, and the frames that find neighbours.

use crate::ageing::PER_TICK;
use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::forward::tagged;
use crate::host::{Failure, Output, datagram, discovery};
use crate::housekeeping::Housekeeping;
use crate::io::{Io, Origin, PortId, Punt, Tick};
use crate::packet::{Head, Transit};
use crate::retire::Retired;
use crate::sa::SECOND;
use crate::sad::{Entry, Installed};
use crate::topology::Attachment;
use crate::worker::{Batch, seconds};
use culvert_link::record::Datagram;
use culvert_model::ChildId;
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{Mac, ethernet};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Dummy packets of one SA in one tick.
const MAX_DUMMIES: u16 = 64;

/// The caller's ports; what housekeeping would leave to housekeeping comes back to it.
pub(crate) struct OwnIo<'a, B, I> {
    pub io: &'a mut I,
    pub returned: &'a mut VecDeque<Punt<B>>,
}

impl<B, I: Io<B>> Io<B> for OwnIo<'_, B, I> {
    fn transmit(&mut self, port: PortId, frame: B) {
        self.io.transmit(port, frame);
    }

    fn to_housekeeping(&mut self, item: Punt<B>) -> Result<(), Punt<B>> {
        self.returned.push_back(item);
        Ok(())
    }

    fn allocate(&mut self) -> Option<B> {
        self.io.allocate()
    }

    fn allocate_large(&mut self, len: usize) -> Option<B> {
        self.io.allocate_large(len)
    }

    fn compact(&mut self, packet: B) -> Result<B, B> {
        self.io.compact(packet)
    }

    fn to_host(&mut self, packet: B) -> Result<(), DropReason> {
        self.io.to_host(packet)
    }
}

impl<A: Crypto, B: Buffer> Housekeeping<A, B> {
    /// Sends an IKE message of control's. IKE is never sent through a tunnel, whatever the policies say.
    pub fn inject(&mut self, now: Tick, message: &Datagram, io: &mut impl Io<B>) {
        if !self.shared.is_open() {
            return self.own.counters.drop(DropReason::InterfaceDown);
        }
        self.identification = self.identification.wrapping_add(1);
        let (local, remote) = (message.local, message.remote);
        match datagram::ike(local, remote, &message.payload, self.identification, &mut self.scratch) {
            Ok(()) => self.send_past_policy(now, io),
            Err(_) => self.own.counters.drop(DropReason::IkeMalformed),
        }
        self.after(now, io);
    }

    /// Call every 10 to 100 ms: ages, keepalives, retries, and the reclaiming of what was replaced.
    pub fn tick(&mut self, now: Tick, io: &mut impl Io<B>) {
        self.reclaim();
        if !self.shared.is_open() {
            return;
        }
        if !self.announced {
            self.announced = true;
            self.announce(io);
        }
        self.keep_alive(now, io);
        self.send_dummies(now, io);
        self.watch_ages(now);
        self.neighbours.handle_timeout(now);
        self.fragments.handle_timeout(now);
        self.forget_paths(now);
        self.after_fragments(now, io);
        self.after(now, io);
    }

    /// Tells the neighbours where the box is now.
    fn announce(&mut self, io: &mut impl Io<B>) {
        let topology = self.shared.topology.load_full();
        for interface in topology.interfaces() {
            for (addr, (port, voice)) in
                discovery::announced(interface).flat_map(|addr| topology.voices(interface.port).map(move |v| (addr, v)))
            {
                discovery::announce(&voice, addr, &mut self.scratch);
                self.send_frame(port, io);
            }
        }
    }

    /// The SAs that [`Self::watch_ages`] comes to next.
    fn keep_alive(&mut self, now: Tick, io: &mut impl Io<B>) {
        let mut due: Vec<(SocketAddr, SocketAddr)> = Vec::new();
        let shared = self.shared.clone();
        for Entry { sa, marks } in self.sad.some(&mut self.cursor.clone(), PER_TICK) {
            let Installed::Outbound(sa) = sa else { continue };
            let is_bound = shared.is_bound(sa);
            let Some(ports) = sa.cold.encapsulation.filter(|ports| !ports.keepalive.is_zero() && is_bound) else {
                continue;
            };
            // RFC 3948 §4: only where nothing else kept the mapping alive.
            let interval = Tick::try_from(ports.keepalive.as_nanos()).unwrap_or(Tick::MAX);
            // A time to come was written by an earlier process, whose clock was ahead: unknown.
            let used = Some(sa.hot.slot.last_used()).filter(|at| *at <= seconds(now)).unwrap_or(0);
            let used = used.saturating_mul(1_000_000_000);
            if now.saturating_sub(used.max(marks.keepalive)) >= interval {
                marks.keepalive = now;
                let tunnel = sa.cold.tunnel;
                let ends = (tunnel.local, ports.local_port, tunnel.remote, ports.remote_port);
                due.push((SocketAddr::new(ends.0, ends.1), SocketAddr::new(ends.2, ends.3)));
            }
        }
        for (local, remote) in due {
            self.identification = self.identification.wrapping_add(1);
            if datagram::keepalive(local, remote, self.identification, &mut self.scratch).is_ok() {
                self.own.counters.add(WorkerCounter::NatKeepalivesSent, 1);
                self.send_past_policy(now, io);
            }
        }
    }

    /// As many as each SA owes since the last call, behind as `keep_alive`.
    fn send_dummies(&mut self, now: Tick, io: &mut impl Io<B>) {
        let mut owed: Vec<(ChildId, u16)> = Vec::new();
        let shared = self.shared.clone();
        for Entry { sa, marks } in self.sad.some(&mut self.cursor.clone(), PER_TICK) {
            let Installed::Outbound(sa) = sa else { continue };
            let rate = sa.cold.handling.dummies;
            if rate == 0 || !shared.is_bound(sa) {
                continue;
            }
            // A pause of this thread is not made up for: at most a second's worth at once.
            let elapsed = now.saturating_sub(marks.dummies).min(SECOND);
            let count = elapsed.saturating_mul(u64::from(rate)) / SECOND;
            if count > 0 {
                marks.dummies = now;
                owed.push((sa.cold.child, count as u16));
            }
        }
        for (child, count) in owed {
            for _ in 0..count.min(MAX_DUMMIES) {
                self.send_dummy(now, child, io);
            }
        }
    }

    /// Of all lengths, so that they look like packets: what is inside is encrypted and need not be random.
    fn send_dummy(&mut self, now: Tick, child: ChildId, io: &mut impl Io<B>) {
        self.identification = self.identification.wrapping_add(1);
        let len = 40 + usize::from(self.identification.wrapping_mul(0x9e37) % 1400);
        self.scratch.clear();
        self.scratch.resize(len, 0);
        if let Some(packet) = self.buffer_of_scratch(io) {
            let view = self.shared.view(now);
            self.own.send_dummy(&view, child, packet, &mut OwnIo { io, returned: &mut self.returned });
        }
    }

    /// The packet in `scratch`, through the policies. `port`: where what it answers came in.
    pub(crate) fn send_own(&mut self, now: Tick, origin: Origin, port: PortId, io: &mut impl Io<B>) {
        let Some(transit) = self.own_packet(origin, port, io) else { return };
        let view = self.shared.view(now);
        let mut batch = Batch::new();
        batch.push(transit);
        self.own.send(&view, batch, &mut OwnIo { io, returned: &mut self.returned });
    }

    /// The packet in `scratch`, routed only.
    fn send_past_policy(&mut self, now: Tick, io: &mut impl Io<B>) {
        let Some(transit) = self.own_packet(Origin::Own, PortId(u16::MAX), io) else { return };
        let view = self.shared.view(now);
        let (mut batch, mut leaving) = (Batch::new(), Batch::new());
        batch.push(transit);
        let io = &mut OwnIo { io, returned: &mut self.returned };
        self.own.route(&view, batch, &mut leaving, io);
        self.own.transmit(leaving, io);
    }

    fn own_packet(&mut self, origin: Origin, port: PortId, io: &mut impl Io<B>) -> Option<Transit<B>> {
        let packet = self.buffer_of_scratch(io)?;
        match Head::parse(packet.data(), ChecksumMode::Trusted) {
            Ok(head) => Some(Transit { packet, origin, port, head }),
            Err(reason) => {
                self.own.counters.drop(reason);
                None
            }
        }
    }

    /// The frame in `scratch`, by the interface, with its tag if it is a VLAN.
    pub(crate) fn send_frame(&mut self, port: PortId, io: &mut impl Io<B>) {
        let attachment = self.shared.topology.load().interface(port).map(|interface| interface.attachment);
        let device = match attachment {
            Some(Attachment::Port | Attachment::Bridge { .. } | Attachment::Side { .. }) => port,
            Some(Attachment::Vlan { parent, id }) => {
                self.tag_scratch(id);
                parent
            }
            Some(Attachment::Tunnel) | None => return,
        };
        if let Some(frame) = self.buffer_of_scratch(io) {
            io.transmit(device, frame);
        }
    }

    fn tag_scratch(&mut self, id: u16) {
        let Ok((header, _)) = ethernet::Repr::parse(&self.scratch) else { return };
        let (header, tag) = tagged(header, id);
        let front = header.to_bytes().into_iter().chain(tag.to_bytes());
        self.scratch.splice(..ethernet::LEN, front);
    }

    pub(crate) fn buffer_of_scratch(&mut self, io: &mut impl Io<B>) -> Option<B> {
        let buffer = io.allocate().ok_or(DropReason::NoBuffer);
        let buffer = buffer.and_then(|ordinary| with_len(ordinary, self.scratch.len(), io));
        match buffer {
            Ok(mut buffer) => {
                buffer.data_mut().copy_from_slice(&self.scratch);
                Some(buffer)
            }
            Err(reason) => {
                self.own.counters.drop(reason);
                None
            }
        }
    }

    /// After every call: own packets that came back, then what the neighbour table wants done, then its news to the
    /// workers.
    pub(crate) fn after(&mut self, now: Tick, io: &mut impl Io<B>) {
        // An answer never causes another, so this ends.
        while let Some(punt) = self.returned.pop_front() {
            self.take(now, punt, io);
        }
        while let Some(output) = self.neighbours.poll_output() {
            self.obey(output, io);
        }
        if self.neighbours.take_changed() {
            let new = self.shared.topology.load().with_neighbours(self.neighbours.resolved().collect());
            let old = self.shared.topology.swap(Arc::new(new));
            self.retire(Retired::Topology(old));
        }
    }

    fn obey(&mut self, output: Output<B>, io: &mut impl Io<B>) {
        match output {
            Output::Solicit { port, addr, to } => self.solicit(port, addr, to, io),
            Output::Release { port, addr, mac, packet } => {
                let hop = self.shared.topology.load().hop_to(port, addr, mac);
                let Some(hop) = hop else { return self.own.counters.drop(DropReason::InterfaceDown) };
                let mut leaving = Batch::new();
                leaving.push(crate::packet::Leaving { packet, hop });
                self.own.transmit(leaving, &mut OwnIo { io, returned: &mut self.returned });
            }
            Output::Fail { failure, .. } => self.own.counters.drop(match failure {
                Failure::Unanswered => DropReason::NeighbourUnresolved,
                Failure::QueueFull | Failure::TableFull => DropReason::NeighbourQueueFull,
            }),
            Output::Conflict { .. } => {}
            Output::Announce { port, addr } => {
                let topology = self.shared.topology.load_full();
                for (port, interface) in topology.voices(port) {
                    discovery::announce(&interface, addr, &mut self.scratch);
                    self.send_frame(port, io);
                }
            }
        }
    }

    fn solicit(&mut self, port: PortId, addr: IpAddr, to: Option<Mac>, io: &mut impl Io<B>) {
        let topology = self.shared.topology.load_full();
        for (port, interface) in topology.voices(port) {
            if discovery::solicit(&interface, addr, to, &mut self.scratch) {
                self.send_frame(port, io);
            }
        }
    }
}

/// `len` octets of any content: in the empty buffer given, or in a large one.
fn with_len<B: Buffer>(mut ordinary: B, len: usize, io: &mut impl Io<B>) -> Result<B, DropReason> {
    if ordinary.append(len).is_some() {
        return Ok(ordinary);
    }
    let mut large = io.allocate_large(len).ok_or(DropReason::NoLargeBuffer)?;
    large.append(len).ok_or(DropReason::NoLargeBuffer)?;
    Ok(large)
}
