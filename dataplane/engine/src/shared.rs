//! What all threads of the data plane see.

use crate::child_sas::{Acquires, ChildSas};
use crate::crypto::Crypto;
use crate::io::{Origin, Tick};
use crate::sa::{InboundSa, OutboundSa};
use crate::spd::Spd;
use crate::topology::{Interface, Route, Topology, TopologyError};
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use culvert_link::Region;
use culvert_model::{ChildId, Flow, Pfp, SlotIndex, Spi};
use std::collections::HashMap;
use std::sync::Arc;

/// SPD, SAD, FIB and neighbours, published by pointer swap. One per process, in an `Arc`.
///
/// Readers take a [`Guard`] for one burst and never wait. Only [`crate::Housekeeping`] writes; it keeps what it replaced
/// until no reader holds it, so that nothing is ever freed on a worker.
pub struct Shared<A: Crypto> {
    pub(crate) region: Region,
    /// No packet moves before the first policies are in.
    open: AtomicBool,
    pub(crate) spd: ArcSwap<Numbered<Spd>>,
    pub(crate) topology: ArcSwap<Topology>,
    /// Inbound SAs by slot, which is the low bits of the SPIs we choose.
    pub(crate) inbound: Box<[ArcSwapOption<InboundSa<A::Key>>]>,
    pub(crate) foreign: ArcSwap<Foreign>,
    /// The SA that a child sends by.
    pub(crate) outbound: Box<[ArcSwapOption<OutboundSa<A::Key>>]>,
    /// All SAs of a child, for policies that populate selectors from packets.
    pub(crate) child_sas: Box<[ArcSwapOption<ChildSas<A::Key>>]>,
    /// When a packet of no SA was last told of.
    pub(crate) audited: AtomicU64,
    /// When a packet in clear was last told of that should have come through a tunnel.
    pub(crate) audited_clear: AtomicU64,
    /// When an ICMP error was last told of that no SA took.
    pub(crate) audited_errors: AtomicU64,
    /// When each child last raised an acquire, plus one.
    acquired: Box<[AtomicU64]>,
    populating: Acquires,
    fragment_id: AtomicU32,
}

/// What someone else chose, for manual SAs.
#[derive(Clone, Default)]
pub(crate) struct Foreign {
    /// Inbound SPIs whose low bits are not their slot.
    pub spis: HashMap<Spi, SlotIndex>,
    /// Own UDP ports that carry ESP, other than 4500, and how many SAs each has.
    pub ports: Vec<(u16, u32)>,
}

/// A table with a number that no other published one has.
pub(crate) struct Numbered<T> {
    pub number: u64,
    pub table: T,
}

/// A reader's hold on what was in a place of a table; always `Some` where it is handed out.
pub(crate) type Held<T> = Guard<Option<Arc<T>>>;

/// The tables of one burst.
pub(crate) struct View {
    pub now: Tick,
    pub spd: Guard<Arc<Numbered<Spd>>>,
    pub topology: Guard<Arc<Topology>>,
    pub foreign: Guard<Arc<Foreign>>,
}

impl<A: Crypto> Shared<A> {
    pub fn new(region: Region, interfaces: Vec<Interface>, routes: &[Route]) -> Result<Arc<Self>, TopologyError> {
        let slots = usize::try_from(region.slots()).map_err(|_| TopologyError::Link("so many slots"))?;
        Ok(Arc::new(Self {
            region,
            open: AtomicBool::new(false),
            spd: ArcSwap::from_pointee(Numbered { number: 1, table: Spd::default() }),
            topology: ArcSwap::from_pointee(Topology::new(interfaces, routes)?),
            inbound: (0..slots).map(|_| ArcSwapOption::empty()).collect(),
            foreign: ArcSwap::default(),
            outbound: (0..slots).map(|_| ArcSwapOption::empty()).collect(),
            child_sas: (0..slots).map(|_| ArcSwapOption::empty()).collect(),
            audited: AtomicU64::new(0),
            audited_clear: AtomicU64::new(0),
            audited_errors: AtomicU64::new(0),
            acquired: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            populating: Acquires::new(),
            fragment_id: AtomicU32::new(0),
        }))
    }

    /// Have policies been stated? Until then packets are dropped, and ports had better stay closed.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// After the SPD was published; pairs with the load of [`Self::is_open`].
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    pub(crate) fn view(&self, now: Tick) -> View {
        View { now, spd: self.spd.load(), topology: self.topology.load(), foreign: self.foreign.load() }
    }

    /// The inbound SA of an SPI: in the slot its low bits name, else in the table of SPIs chosen elsewhere.
    pub(crate) fn inbound_by_spi(&self, spi: Spi) -> Option<Held<InboundSa<A::Key>>> {
        let fits = |slot: SlotIndex| {
            let found = self.inbound.get(slot.0 as usize)?.load();
            found.as_ref().is_some_and(|sa| sa.hot.spi == spi.to_be_bytes()).then_some(found)
        };
        fits(self.region.slot_for_spi(spi)).or_else(|| {
            let foreign = self.foreign.load();
            if foreign.spis.is_empty() { None } else { fits(*foreign.spis.get(&spi)?) }
        })
    }

    pub(crate) fn outbound_of(&self, child: ChildId) -> Option<Held<OutboundSa<A::Key>>> {
        let found = self.outbound.get(child.0 as usize)?.load();
        found.is_some().then_some(found)
    }

    /// For the fragment header of an IPv6 packet the box takes apart: none twice within 2^32 (RFC 8200 §4.5).
    pub(crate) fn next_fragment_id(&self) -> u32 {
        // Relaxed: nothing but the number itself is shared.
        self.fragment_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Does its child send by this very SA?
    pub(crate) fn is_bound(&self, sa: &Arc<OutboundSa<A::Key>>) -> bool {
        let bound = self.outbound_of(sa.cold.child);
        bound.as_ref().and_then(|bound| bound.as_ref()).is_some_and(|bound| Arc::ptr_eq(bound, sa))
    }

    /// The SA of a child that carries such packets, where there may be one for each value of some field.
    pub(crate) fn outbound_for(&self, child: ChildId, flow: &Flow) -> Option<Held<OutboundSa<A::Key>>> {
        let sas = self.child_sas.get(child.0 as usize)?.load();
        // One more handle: those who write keep theirs until all of these are gone.
        sas.as_ref()?.find(flow).map(|sa| Guard::from_inner(Some(sa.clone())))
    }

    /// The SA by which a child with such a policy sends such packets.
    pub(crate) fn outbound_carrying(&self, child: ChildId, pfp: Pfp, flow: &Flow) -> Option<Held<OutboundSa<A::Key>>> {
        if pfp == Pfp::NONE { self.outbound_of(child) } else { self.outbound_for(child, flow) }
    }

    /// `true` once a second for each child, and for each value that an SA of its own is for.
    pub(crate) fn may_acquire(&self, now: Tick, child: ChildId, flow: &Flow, pfp: Pfp) -> bool {
        if pfp != Pfp::NONE {
            return self.populating.may(now, child, flow, pfp);
        }
        self.acquired.get(child.0 as usize).is_some_and(|last| once_a_second(last, now))
    }
}

/// Has a second passed since this last said yes? Exactly one thread gets the yes.
pub(crate) fn once_a_second(last: &AtomicU64, now: Tick) -> bool {
    const SECOND: Tick = 1_000_000_000;
    let before = last.load(Ordering::Relaxed);
    let due = before == 0 || now.saturating_add(1).saturating_sub(before) >= SECOND;
    due && last.compare_exchange(before, now.saturating_add(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// Packets the box makes are not forwarded: their TTL is as it should be.
pub(crate) const fn is_forwarded(origin: Origin) -> bool {
    !matches!(origin, Origin::Own | Origin::OwnAnswer)
}
