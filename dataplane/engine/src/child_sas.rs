//! The outbound SAs of a child whose policy populates selectors from packets (RFC 4301 §4.4.1.2): one for each value, and
//! so many at once. A packet takes the newest that carries it. A child of any other policy has one SA, and one pointer in
//! [`crate::Shared`] for it; nobody asks here then.

use crate::index::{Asked, Entry, Index, Order, Search};
use crate::io::Tick;
use crate::sa::OutboundSa;
use crate::shared::once_a_second;
use core::hash::{Hash, Hasher};
use core::sync::atomic::AtomicU64;
use culvert_model::{ChildId, Flow, Pfp, SlotIndex};
use std::collections::{BTreeMap, HashMap};
use std::hash::DefaultHasher;
use std::sync::Arc;

/// The SAs of one child, by what they carry.
pub(crate) struct ChildSas<K> {
    index: Index<Arc<OutboundSa<K>>>,
}

impl<K> ChildSas<K> {
    /// The newest that carries such packets.
    pub fn find(&self, flow: &Flow) -> Option<&Arc<OutboundSa<K>>> {
        let asked = Asked::of(flow, None);
        let mut search = Search::new(&asked);
        self.index.search(&mut search);
        search.found()
    }
}

/// The writing side, for all children.
pub(crate) struct AllChildSas<K> {
    children: HashMap<ChildId, Child<K>>,
    bound: u64,
}

struct Child<K> {
    index: Index<Arc<OutboundSa<K>>>,
    sas: BTreeMap<SlotIndex, (Order, Arc<OutboundSa<K>>)>,
}

impl<K> Default for AllChildSas<K> {
    fn default() -> Self {
        Self { children: HashMap::new(), bound: 0 }
    }
}

impl<K> AllChildSas<K> {
    /// One more SA, or another form of one, is the newest of its child. What to publish.
    pub fn bind(&mut self, sa: &Arc<OutboundSa<K>>) -> Arc<ChildSas<K>> {
        self.bound += 1;
        // The later is found first.
        self.put(sa, Order(u64::MAX - self.bound))
    }

    /// Another form of an SA, in its place among the others.
    pub fn replace(&mut self, sa: &Arc<OutboundSa<K>>) -> Option<Arc<ChildSas<K>>> {
        let (order, _) = self.children.get(&sa.cold.child)?.sas.get(&sa.cold.index)?;
        Some(self.put(sa, *order))
    }

    /// What to publish without the SA; `None`: nothing is left.
    pub fn withdraw(&mut self, sa: &OutboundSa<K>) -> Option<Arc<ChildSas<K>>> {
        let child = self.children.get_mut(&sa.cold.child)?;
        child.take(sa.cold.index);
        if child.sas.is_empty() {
            self.children.remove(&sa.cold.child);
            return None;
        }
        Some(Arc::new(ChildSas { index: child.index.clone() }))
    }

    fn put(&mut self, sa: &Arc<OutboundSa<K>>, order: Order) -> Arc<ChildSas<K>> {
        let new = || Child { index: Index::default(), sas: BTreeMap::new() };
        let child = self.children.entry(sa.cold.child).or_insert_with(new);
        child.take(sa.cold.index);
        entries(order, sa).for_each(|entry| child.index.insert(&Arc::new(entry)));
        child.sas.insert(sa.cold.index, (order, sa.clone()));
        Arc::new(ChildSas { index: child.index.clone() })
    }
}

impl<K> Child<K> {
    fn take(&mut self, slot: SlotIndex) {
        if let Some((order, sa)) = self.sas.remove(&slot) {
            entries(order, &sa).for_each(|entry| self.index.remove(&Arc::new(entry)));
        }
    }
}

fn entries<K>(order: Order, sa: &Arc<OutboundSa<K>>) -> impl Iterator<Item = Entry<Arc<OutboundSa<K>>>> {
    Entry::all(order, None, &sa.cold.local_ts, &sa.cold.remote_ts, sa.clone())
}

/// When acquires for packets of such children were raised. Two that fall on one place wait for each other.
pub(crate) struct Acquires([AtomicU64; 1024]);

impl Acquires {
    pub fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 1024])
    }

    /// `true` once a second for each SA that would be asked for.
    pub fn may(&self, now: Tick, child: ChildId, flow: &Flow, pfp: Pfp) -> bool {
        let mut hasher = DefaultHasher::new();
        child.hash(&mut hasher);
        pfp.local_addr.then_some(flow.source).hash(&mut hasher);
        pfp.remote_addr.then_some(flow.destination).hash(&mut hasher);
        pfp.protocol.then_some(flow.protocol).hash(&mut hasher);
        pfp.local_port.then_some(flow.source_port).hash(&mut hasher);
        pfp.remote_port.then_some(flow.destination_port).hash(&mut hasher);
        let place = hasher.finish() as usize % self.0.len();
        self.0.get(place).is_some_and(|last| once_a_second(last, now))
    }
}
