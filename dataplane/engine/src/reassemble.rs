//! Fragments that workers left: waiting for the others, and what becomes of the whole.

use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::fragment::join::join;
use crate::fragment::piece::Piece;
use crate::fragment::reassembly::{Expired, Whole};
use crate::fragment::split::split_v4;
use crate::host::Problem;
use crate::housekeeping::Housekeeping;
use crate::io::{BURST, Io, Origin, PortId, Purpose, Tick};
use crate::own::OwnIo;
use crate::packet::{Head, Transit};
use crate::selectors::Fit;
use crate::worker::Batch;
use culvert_model::SlotIndex;
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::Fragmentation;
use culvert_wire::ipv4::ChecksumMode;

/// Octets of the pieces that a large fragment waits in: they fit any buffer and most tunnels.
const WAITING_LEN: usize = 1280;

/// What keeps fragments apart that must not be mixed.
pub(crate) type Context = (Purpose, Origin);

impl<A: Crypto, B: Buffer> Housekeeping<A, B> {
    /// Takes a fragment that waits for the others of its datagram.
    pub(crate) fn hold_fragment(&mut self, now: Tick, context: Context, port: PortId, packet: B, io: &mut impl Io<B>) {
        match io.compact(packet) {
            Ok(packet) => self.fragments.handle_fragment(now, context, port, packet),
            Err(packet) => self.hold_large(now, context, port, packet, io),
        }
        self.after_fragments(now, io);
    }

    /// A fragment too large for an ordinary buffer came out of a tunnel, and must not keep the large one while it waits. An
    /// IPv4 fragment may be cut further (RFC 791 §3.2), an IPv6 one only by its source.
    fn hold_large(&mut self, now: Tick, context: Context, port: PortId, packet: B, io: &mut impl Io<B>) {
        let is_v4 = match Piece::parse(packet.data()) {
            Ok(Some((id, _))) => id.source.is_ipv4(),
            // It does not wait.
            Ok(None) | Err(_) => return self.fragments.handle_fragment(now, context, port, packet),
        };
        if !is_v4 {
            return self.own.counters.drop(DropReason::FragmentOversized);
        }
        let cut = split_v4(packet, WAITING_LEN).and_then(|mut pieces| {
            loop {
                let burst = pieces.burst(|| io.allocate())?;
                if burst.is_empty() {
                    return Ok(());
                }
                burst.into_iter().for_each(|piece| self.fragments.handle_fragment(now, context, port, piece));
            }
        });
        if let Err(error) = cut {
            self.own.counters.drop(error.reason());
        }
    }

    /// After every call of the reassembler.
    pub(crate) fn after_fragments(&mut self, now: Tick, io: &mut impl Io<B>) {
        while let Some((reason, count)) = self.fragments.poll_lost() {
            self.own.counters.drops(reason, count);
        }
        while let Some(Whole { context: (purpose, origin), pieces }) = self.fragments.poll_whole() {
            match purpose {
                Purpose::Box => self.take_whole(now, origin, pieces, io),
                Purpose::Policy => self.judge_whole(now, origin, pieces, io),
                Purpose::Selectors(slot) => self.accept_whole(now, slot, pieces, io),
            }
        }
        while let Some(expired) = self.fragments.poll_expired() {
            self.forgotten(now, expired, io);
        }
    }

    /// To the box: goes the way of a packet that came whole.
    fn take_whole(&mut self, now: Tick, origin: Origin, pieces: Vec<(PortId, B)>, io: &mut impl Io<B>) {
        let Some((port, _)) = pieces.first() else { return };
        let port = *port;
        let pieces = pieces.into_iter().map(|(_, packet)| packet);
        let packet = match join(pieces, |len| io.allocate_large(len)) {
            Ok(packet) => packet,
            Err(reason) => return self.own.counters.drop(reason),
        };
        self.own.counters.add(WorkerCounter::Reassembled, 1);
        if origin == Origin::Clear {
            return self.own.run_whole(now, port, packet, &mut OwnIo { io, returned: &mut self.returned });
        }
        // Out of a tunnel, whose selectors were held against every piece.
        let topology = self.shared.topology.load_full();
        match topology.interface(port) {
            Some(interface) => self.host_packet(now, interface, origin, packet, io),
            None => self.own.counters.drop(DropReason::InterfaceDown),
        }
    }

    /// Out of a tunnel whose selectors ask for ports (RFC 4301 §5.2 step 4).
    fn accept_whole(&mut self, now: Tick, slot: SlotIndex, pieces: Vec<(PortId, B)>, io: &mut impl Io<B>) {
        let count = pieces.len() as u64;
        let Some((_, first)) = pieces.first() else { return };
        let head = match Head::parse(first.data(), ChecksumMode::Trusted) {
            Ok(head) => head,
            Err(reason) => return self.own.counters.drops(reason, count),
        };
        let delivers = self.shared.inbound.get(slot.0 as usize).is_some_and(|place| {
            let sa = place.load();
            sa.as_ref().is_some_and(|sa| sa.cold.delivers(&head.flow, Fragmentation::Whole) == Fit::Yes)
        });
        if !delivers {
            return self.own.counters.drops(DropReason::SelectorMismatch, count);
        }
        self.own.counters.add(WorkerCounter::OpenedPackets, count);
        if self.shared.topology.load().is_own(head.flow.destination) {
            return self.take_whole(now, Origin::Tunnel, pieces, io);
        }
        self.judge_whole(now, Origin::Tunnel, pieces, io);
    }

    /// In transit: the pieces go on as they came, each judged by the ports of the first. That none is missing and none
    /// overlaps is known by now, so what its destination will put together is what was judged.
    fn judge_whole(&mut self, now: Tick, origin: Origin, pieces: Vec<(PortId, B)>, io: &mut impl Io<B>) {
        let first = pieces.first().map(|(_, packet)| Head::parse(packet.data(), ChecksumMode::Trusted));
        let flow = match first {
            Some(Ok(head)) => head.flow,
            Some(Err(reason)) => return self.own.counters.drops(reason, pieces.len() as u64),
            None => return,
        };
        let view = self.shared.view(now);
        if self.must_join(&view, origin, &flow) {
            return self.judge_joined(&view, origin, pieces, io);
        }
        let mut pieces = pieces.into_iter().peekable();
        while pieces.peek().is_some() {
            let mut batch = Batch::new();
            for (port, packet) in pieces.by_ref().take(BURST) {
                match Head::parse(packet.data(), ChecksumMode::Trusted) {
                    Ok(head) => {
                        let head = Head { flow, fragmentation: Fragmentation::Whole, ..head };
                        batch.push(Transit { packet, origin, port, head });
                    }
                    Err(reason) => self.own.counters.drop(reason),
                }
            }
            self.own.send(&view, batch, &mut OwnIo { io, returned: &mut self.returned });
        }
    }

    /// RFC 1122 §3.3.2, RFC 8200 §4.5: who sends to the box is told if the first fragment came.
    fn forgotten(&mut self, now: Tick, expired: Expired<B, Context>, io: &mut impl Io<B>) {
        let (purpose, origin) = expired.context;
        let Some((port, packet)) = expired.first.filter(|_| purpose == Purpose::Box) else { return };
        let topology = self.shared.topology.load_full();
        self.tell(now, &topology, (port, origin), Problem::ReassemblyTime, &packet, io);
    }
}
