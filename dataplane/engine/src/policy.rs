//! The policy stage: the SPD's verdict for each packet, and its price in TTL.

use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::flow_cache::Key;
use crate::io::{Io, Origin, Punt, Purpose};
use crate::packet::Transit;
use crate::shared::{View, is_forwarded, once_a_second};
use crate::spd::Verdict;
use crate::transit_errors::may_be_error;
use crate::worker::{Batch, Worker};
use culvert_model::{ChildId, Flow, Pfp};
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::ipv4::{self, Hop};
use culvert_wire::{Fragmentation, ipv6};

/// Routes decide which policies speak of a packet: those of the tunnel interface it is routed into, or those of none.
pub(crate) fn search(view: &View, flow: &Flow, later_fragment: bool, origin: Origin) -> Verdict {
    if origin == Origin::Clear && view.topology.must_come_by_tunnel(flow.source) {
        return Verdict::Drop(DropReason::InboundClear);
    }
    let interface = view.topology.tunnel_interface(flow.destination);
    match view.spd.table.judge(flow, later_fragment, origin, interface) {
        // There is no way out in clear.
        Verdict::Forward if interface.is_some() => Verdict::Drop(DropReason::NoPolicy),
        verdict => verdict,
    }
}

/// A packet that policy says to protect.
pub(crate) struct Protect<B> {
    pub transit: Transit<B>,
    pub child: ChildId,
    pub trap: bool,
    pub pfp: Pfp,
    /// Of the packet that was judged, by which its SA is found; this may be a piece of it.
    pub flow: Flow,
    /// A piece of a packet whose SA and price in TTL are settled.
    pub settled: bool,
}

impl<A: Crypto> Worker<A> {
    /// Splits the packets into those to protect and those to send on in clear.
    pub(crate) fn judge<B: Buffer>(
        &mut self,
        view: &View,
        packets: Batch<Transit<B>>,
        io: &mut impl Io<B>,
    ) -> (Batch<Protect<B>>, Batch<Transit<B>>) {
        let (mut protect, mut clear) = (Batch::new(), Batch::new());
        for transit in packets {
            match self.verdict(view, &transit) {
                Verdict::Protect { child, trap, pfp } => {
                    let flow = transit.head.flow;
                    protect.push(Protect { transit, child, trap, pfp, flow, settled: false });
                }
                Verdict::Forward if transit.origin != Origin::Clear && may_be_error(&transit.head.flow) => {
                    clear.extend(self.forward_error(view, transit, io));
                }
                Verdict::Forward => {
                    if transit.origin == Origin::Clear {
                        self.counters.add(WorkerCounter::BypassedPackets, 1);
                    }
                    clear.push(transit);
                }
                Verdict::Drop(DropReason::FragmentInner) => {
                    self.hold(transit, Purpose::Policy, io);
                }
                Verdict::Drop(reason @ DropReason::NoPolicy) if may_be_error(&transit.head.flow) => {
                    self.protect_error(view, transit, reason, io);
                }
                Verdict::Drop(reason) => {
                    self.counters.drop(reason);
                    self.audit_clear(view, reason, &transit.head.flow, io);
                }
            }
        }
        (protect, clear)
    }

    /// What came in clear and must not (RFC 4301 §5.2) is told once a second, with the SA it should have come by: that of
    /// its answers.
    pub(crate) fn audit_clear<B>(&self, view: &View, reason: DropReason, flow: &Flow, io: &mut impl Io<B>) {
        if reason != DropReason::InboundClear || !once_a_second(&self.shared.audited_clear, view.now) {
            return;
        }
        let (source, source_port) = (flow.destination, flow.destination_port);
        let (destination, destination_port) = (flow.source, flow.source_port);
        let answer = Flow { source, destination, source_port, destination_port, ..*flow };
        let sa = match search(view, &answer, false, Origin::Own) {
            Verdict::Protect { child, .. } => self.shared.outbound_of(child),
            _ => None,
        };
        let sa = sa.as_ref().and_then(|sa| sa.as_ref()).map(|sa| (sa.cold.index, sa.cold.spi));
        let (slot, spi) = sa.unzip();
        // A full queue loses the report, not a packet.
        let _ = io.to_housekeeping(Punt::Audit { reason, slot, spi, flow: *flow });
    }

    /// Until the other fragments of its datagram are there.
    pub(crate) fn hold<B>(&mut self, transit: Transit<B>, purpose: Purpose, io: &mut impl Io<B>) {
        let Transit { packet, origin, port, .. } = transit;
        self.punt(io, Punt::Fragment { port, origin, purpose, packet });
    }

    /// A fragment that might be of an entry with ports is held, and then the first one too, which shows them: none may
    /// go ahead alone (RFC 4301 §7).
    pub(crate) fn verdict<B>(&mut self, view: &View, transit: &Transit<B>) -> Verdict {
        let (flow, origin) = (transit.head.flow, transit.origin);
        if transit.head.fragmentation == Fragmentation::Whole {
            return self.look_up(view, flow, false, origin);
        }
        let hidden = Flow { source_port: None, destination_port: None, ..flow };
        match self.look_up(view, hidden, true, origin) {
            held @ Verdict::Drop(DropReason::FragmentInner) => held,
            _ if transit.head.fragmentation == Fragmentation::First => self.look_up(view, flow, false, origin),
            verdict => verdict,
        }
    }

    fn look_up(&mut self, view: &View, flow: Flow, later_fragment: bool, origin: Origin) -> Verdict {
        let key = Key { spd: view.spd.number, flow, later_fragment, origin };
        if let Some(verdict) = self.flows.get(&key) {
            self.counters.add(WorkerCounter::FlowCacheHits, 1);
            return verdict;
        }
        self.counters.add(WorkerCounter::FlowCacheMisses, 1);
        let verdict = search(view, &flow, later_fragment, origin);
        self.flows.put(key, verdict);
        verdict
    }

    /// Takes one from the TTL of what is forwarded (RFC 1812 §5.3.1; once for a packet that goes from tunnel to
    /// tunnel). `None`: it was the last, and the sender is told.
    pub(crate) fn hop_taken<B: Buffer>(&mut self, mut transit: Transit<B>, io: &mut impl Io<B>) -> Option<Transit<B>> {
        if !is_forwarded(transit.origin) {
            return Some(transit);
        }
        let hop = if transit.head.is_v6() {
            ipv6::decrement_hop_limit(transit.packet.data_mut())
        } else {
            ipv4::decrement_ttl(transit.packet.data_mut())
        };
        match hop {
            Some(Hop::Alive(_)) => Some(transit),
            Some(Hop::Expired) => {
                let Transit { packet, origin, port, .. } = transit;
                self.punt(io, Punt::TtlExceeded { port, origin, packet });
                None
            }
            None => {
                self.counters.drop(DropReason::Truncated);
                None
            }
        }
    }
}
