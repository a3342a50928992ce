//! The packet path of one thread: all stages, in order.

use crate::buffer::Buffer;
use crate::counters::Counters;
use crate::crypto::Crypto;
use crate::fast::{Memo, Opened};
use crate::flow_cache::FlowCache;
use crate::io::{BURST, Io, PortId, Punt, Tick};
use crate::packet::{Arrived, Transit};
use crate::policy::Protect;
use crate::shared::{Shared, View, once_a_second};
use arrayvec::ArrayVec;
use core::sync::atomic::AtomicU64;
use culvert_model::{Flow, SlotIndex, Spi};
use culvert_telemetry::{DropReason, WorkerCounter};
use std::sync::Arc;

/// Packets of one burst on their way from stage to stage. No stage makes more packets than came in, so none overflows.
pub(crate) type Batch<T> = ArrayVec<T, BURST>;

/// SAs around one packet: two of a bundle, in a tunnel that is itself one of two.
pub(crate) const MAX_LAYERS: usize = 4;

/// One thread's packet path.
pub struct Worker<A: Crypto> {
    pub(crate) shared: Arc<Shared<A>>,
    pub(crate) crypto: A,
    pub(crate) counters: Counters,
    pub(crate) flows: FlowCache,
    /// `None`: every packet goes the general way.
    pub(crate) memo: Option<Memo>,
}

impl<A: Crypto> Worker<A> {
    /// `index` is the thread's counter block in the link; `None` where the link has no such block.
    pub fn new(shared: Arc<Shared<A>>, index: usize, crypto: A) -> Option<Self> {
        let counters = Counters::new(shared.region.worker_counters(index)?);
        Some(Self { shared, crypto, counters, flows: FlowCache::new(), memo: None })
    }

    /// For threads that take bursts from ports.
    #[must_use]
    pub fn with_fast_path(mut self) -> Self {
        self.memo = Some(Memo::new(self.shared.inbound.len()));
        self
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
        let opened = self.fast_path(&view, port, burst, io);
        if burst.is_empty() && opened.is_none() {
            return;
        }
        let (mut sealed, mut transit) = self.classify(&view, port, burst, io);
        if let Some(Opened { packets, mut groups }) = opened {
            sealed.extend(self.accept(&view, packets, &mut groups, &mut transit, io));
        }
        self.open_and_send(&view, sealed, transit, io);
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
        mut sealed: Batch<Arrived<B>>,
        mut transit: Batch<Transit<B>>,
        io: &mut impl Io<B>,
    ) {
        for _ in 0..MAX_LAYERS {
            if sealed.is_empty() {
                break;
            }
            sealed = self.unprotect(view, sealed, &mut transit, io);
        }
        self.counters.drops(DropReason::TooManyLayers, sealed.len() as u64);
        self.send(view, transit, io);
    }

    /// The second half: from a packet in clear to the wire. Housekeeping enters here with packets of the box's own.
    pub(crate) fn send<B: Buffer>(&mut self, view: &View, transit: Batch<Transit<B>>, io: &mut impl Io<B>) {
        let (protect, clear) = self.judge(view, transit, io);
        let mut oversize = Batch::new();
        self.protect_all(view, protect, &mut oversize, io);
        let mut leaving = Batch::new();
        self.route(view, clear, &mut leaving, io);
        self.transmit(leaving, io);
        for (packet, mtu) in oversize {
            self.protect_pieces(view, packet, mtu, io);
        }
    }

    /// Packets whose SAs are known.
    #[cold]
    pub(crate) fn protect_batch<B: Buffer>(&mut self, view: &View, packets: Batch<Protect<B>>, io: &mut impl Io<B>) {
        let mut oversize = Batch::new();
        self.protect_all(view, packets, &mut oversize, io);
        for (packet, mtu) in oversize {
            self.protect_pieces(view, packet, mtu, io);
        }
    }

    /// Through one SA or the SAs of a bundle, and out.
    pub(crate) fn protect_all<B: Buffer>(
        &mut self,
        view: &View,
        mut packets: Batch<Protect<B>>,
        oversize: &mut Batch<(Protect<B>, usize)>,
        io: &mut impl Io<B>,
    ) {
        for _ in 0..MAX_LAYERS {
            if packets.is_empty() {
                return;
            }
            let sealed = self.protect(view, packets, oversize, io);
            self.transmit(sealed.leaving, io);
            packets = sealed.again;
        }
        self.counters.drops(DropReason::TooManyLayers, packets.len() as u64);
    }

    /// Tells of a drop that an administrator may want to know of, once a second for each `last`. Slot and SPI: of its SA, where there is one.
    pub(crate) fn audit<B>(
        &self,
        now: Tick,
        last: &AtomicU64,
        reason: DropReason,
        (slot, spi): (Option<SlotIndex>, Option<Spi>),
        flow: impl FnOnce() -> Flow,
        io: &mut impl Io<B>,
    ) {
        if once_a_second(last, now) {
            // A full queue loses the report, not a packet.
            let _ = io.to_housekeeping(Punt::Audit { reason, slot, spi, flow: flow() });
        }
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
