//! The packet path of one thread: all stages, in order.

use crate::buffer::Buffer;
use crate::counters::Counters;
use crate::crypto::Crypto;
use crate::flow_cache::FlowCache;
use crate::io::{BURST, Io, PortId, Punt, Tick};
use crate::packet::{Arrived, Leaving, Transit};
use crate::shared::{Shared, View};
use arrayvec::ArrayVec;
use culvert_telemetry::{DropReason, WorkerCounter};
use std::sync::Arc;

/// Packets of one burst on their way from stage to stage. No stage makes more packets than came in, so none overflows.
pub(crate) type Batch<T> = ArrayVec<T, BURST>;

/// One thread's packet path.
pub struct Worker<A: Crypto> {
    pub(crate) shared: Arc<Shared<A>>,
    pub(crate) aead: A,
    pub(crate) counters: Counters,
    pub(crate) flows: FlowCache,
}

impl<A: Crypto> Worker<A> {
    /// `index` is the thread's counter block in the link; `None` where the link has no such block.
    pub fn new(shared: Arc<Shared<A>>, index: usize, aead: A) -> Option<Self> {
        let counters = Counters::new(shared.region.worker_counters(index)?);
        Some(Self { shared, aead, counters, flows: FlowCache::new() })
    }

    /// The thread's counters, for what the caller counts.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes every packet out of `burst`, all received on `port`; each goes out, to housekeeping, or is dropped and
    /// counted.
    pub fn run_burst<B: Buffer>(
        &mut self,
        now: Tick,
        port: PortId,
        burst: &mut ArrayVec<B, BURST>,
        io: &mut impl Io<B>,
    ) {
        if !self.shared.is_open() {
            self.counters.drops(DropReason::InterfaceDown, burst.len() as u64);
            burst.clear();
            return;
        }
        let view = self.shared.view(now);
        let (esp, transit) = self.classify(&view, port, burst, io);
        self.open_and_send(&view, esp, transit, io);
    }

    /// A packet to the box that was put together from its fragments.
    pub(crate) fn run_whole<B: Buffer>(&mut self, now: Tick, port: PortId, packet: B, io: &mut impl Io<B>) {
        let view = self.shared.view(now);
        let (esp, transit) = self.classify_whole(&view, port, packet, io);
        self.open_and_send(&view, esp, transit, io);
    }

    fn open_and_send<B: Buffer>(
        &mut self,
        view: &View,
        esp: Batch<Arrived<B>>,
        mut transit: Batch<Transit<B>>,
        io: &mut impl Io<B>,
    ) {
        if !esp.is_empty() {
            let (mut esp, mut groups) = self.find_inbound(esp);
            self.check_replay(&mut esp, &groups);
            self.open(&mut esp, &groups);
            self.commit_replay(&mut esp, &groups);
            self.accept(view, esp, &mut groups, &mut transit, io);
        }
        self.send(view, transit, io);
    }

    /// The second half: from a packet in clear to the wire. Housekeeping enters here with packets of the box's own.
    pub(crate) fn send<B: Buffer>(&mut self, view: &View, transit: Batch<Transit<B>>, io: &mut impl Io<B>) {
        let mut leaving: Batch<Leaving<B>> = Batch::new();
        let (protect, clear) = self.judge(view, transit, io);
        if !protect.is_empty() {
            let (mut esp, mut groups) = self.find_outbound(view, protect, io);
            self.reserve(&mut esp, &mut groups);
            self.encapsulate(&mut esp, &groups);
            self.seal(&mut esp, &groups);
            self.sealed(view.now, esp, &groups, &mut leaving);
        }
        self.route(view, clear, &mut leaving, io);
        self.transmit(leaving, io);
    }

    /// To housekeeping, or dropped where its queue is full.
    pub(crate) fn punt<B>(&self, io: &mut impl Io<B>, item: Punt<B>) {
        match io.to_housekeeping(item) {
            Ok(()) => self.counters.add(WorkerCounter::Punted, 1),
            Err(_) => self.counters.drop(DropReason::PuntFull),
        }
    }
}

pub(crate) const fn seconds(now: Tick) -> u64 {
    now / 1_000_000_000
}
