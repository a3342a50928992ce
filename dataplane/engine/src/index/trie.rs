//! A map from prefixes to values that answers which of them hold a number.
//!
//! A tree of nodes for six bits each (as in Tree Bitmap: W. Eatherton, G. Varghese, Z. Dittia, 2004); nodes that would have
//! one child and no value are left out. So a number meets one node for each six bits at most, and a dozen in the largest
//! of tables, whatever lies beside its way. Nodes are shared between versions: a change copies those on its way and no
//! others, and not even them where no other version has them.

use super::entry::Order;
use super::prefix::Prefix;
use std::sync::Arc;

/// Bits of a node.
const STRIDE: u32 = 6;
/// Nodes stand at bits 0 (for three bits), 3, 9, 15 and so on: /8, /16, /24, /32, /48, /56 and /64, and whole ports and
/// protocols, are then inside of nodes and not the beginning of one each.
const SHIFT: u32 = 3;

/// What the values, and the entries below them, have at best.
pub(crate) trait Ranked {
    fn first(&self) -> Order;
}

#[derive(Clone)]
pub(crate) struct Trie<V> {
    /// All below begins with this.
    at: Prefix,
    /// Prefixes of 0 to 5 bits more that have values. Bit 2^n + b: the n bits b.
    own: u64,
    /// Six bits more: nodes that go on.
    below: u64,
    values: Vec<V>,
    children: Vec<Child<V>>,
}

struct Child<V> {
    first: Order,
    trie: Arc<Trie<V>>,
}

impl<V> Clone for Child<V> {
    fn clone(&self) -> Self {
        Self { first: self.first, trie: self.trie.clone() }
    }
}

/// Where in a node the 0 to 5 bits are that six bits begin with.
fn path(six: u32) -> u64 {
    (0..STRIDE).fold(0, |path, len| path | 1 << ((1 << len) | (six >> (STRIDE - len))))
}

/// Of the node that has a prefix of this length inside.
const fn depth_for(len: u32) -> u32 {
    ((len + SHIFT) / STRIDE * STRIDE).saturating_sub(SHIFT)
}

/// The six bits of a number that a node at this depth looks at; the root looks at three.
const fn chunk(number: u128, depth: u32) -> u32 {
    match depth {
        0 => (number >> (128 - SHIFT)) as u32,
        _ => ((number << depth) >> (128 - STRIDE)) as u32,
    }
}

/// The bit in `own` of the node that has the prefix inside.
const fn own_bit(prefix: Prefix) -> u64 {
    let len = (prefix.len + SHIFT) % STRIDE;
    1 << ((1 << len) | (chunk(prefix.bits, depth_for(prefix.len)) >> (STRIDE - len)))
}

const fn rank(bits: u64, bit: u64) -> usize {
    (bits & (bit - 1)).count_ones() as usize
}

impl<V: Clone + Ranked> Trie<V> {
    /// Changes the value of a prefix; `change` gets and leaves `None` where there is none.
    pub fn change(place: &mut Option<Arc<Self>>, prefix: Prefix, change: &mut dyn FnMut(&mut Option<V>)) {
        let depth = depth_for(prefix.len);
        let Some(here) = place.as_mut().filter(|here| here.is_on_way(prefix, depth)) else {
            let mut value = None;
            change(&mut value);
            if let Some(value) = value {
                *place = Some(Self::joined(place.take(), prefix, value));
            }
            return;
        };
        let node = Arc::make_mut(here);
        if node.at.len == depth {
            node.change_own(prefix, change);
        } else {
            node.change_below(prefix, change);
        }
        if node.values.is_empty() && node.children.len() < 2 {
            *place = node.children.pop().map(|child| child.trie);
        }
    }

    /// Is the prefix in this node or below it?
    fn is_on_way(&self, prefix: Prefix, depth: u32) -> bool {
        self.at.len <= depth && Prefix::of(prefix.bits, self.at.len) == self.at
    }

    /// A tree of one that the prefix is neither in nor below, and a value for the prefix.
    fn joined(other: Option<Arc<Self>>, prefix: Prefix, value: V) -> Arc<Self> {
        let mut node = Self::empty(prefix, depth_for(prefix.len));
        let Some(other) = other else {
            node.put_own(prefix, value);
            return Arc::new(node);
        };
        let common = (prefix.bits ^ other.at.bits).leading_zeros().min(other.at.len);
        let mut fork = Self::empty(prefix, depth_for(common).min(node.at.len));
        fork.put_below(other);
        if fork.at == node.at {
            fork.put_own(prefix, value);
        } else {
            node.put_own(prefix, value);
            fork.put_below(Arc::new(node));
        }
        Arc::new(fork)
    }

    fn empty(prefix: Prefix, depth: u32) -> Self {
        Self { at: Prefix::of(prefix.bits, depth), own: 0, below: 0, values: Vec::new(), children: Vec::new() }
    }

    fn put_own(&mut self, prefix: Prefix, value: V) {
        let bit = own_bit(prefix);
        self.values.insert(rank(self.own, bit), value);
        self.own |= bit;
    }

    fn put_below(&mut self, trie: Arc<Self>) {
        let bit = 1 << chunk(trie.at.bits, self.at.len);
        self.children.insert(rank(self.below, bit), Child { first: trie.first(), trie });
        self.below |= bit;
    }

    fn change_own(&mut self, prefix: Prefix, change: &mut dyn FnMut(&mut Option<V>)) {
        let bit = own_bit(prefix);
        let had = self.own & bit != 0;
        let mut value = had.then(|| self.values.remove(rank(self.own, bit)));
        self.own &= !bit;
        change(&mut value);
        if let Some(value) = value {
            self.put_own(prefix, value);
        }
    }

    fn change_below(&mut self, prefix: Prefix, change: &mut dyn FnMut(&mut Option<V>)) {
        let bit = 1 << chunk(prefix.bits, self.at.len);
        let had = self.below & bit != 0;
        let mut place = had.then(|| self.children.remove(rank(self.below, bit)).trie);
        self.below &= !bit;
        Self::change(&mut place, prefix, change);
        if let Some(trie) = place {
            self.put_below(trie);
        }
    }
}

impl<V: Ranked> Trie<V> {
    pub fn first(&self) -> Order {
        let values = self.values.iter().map(Ranked::first);
        values.chain(self.children.iter().map(|child| child.first)).min().unwrap_or(Order::LAST)
    }
}

impl<V> Trie<V> {
    /// The values in this node of all prefixes that hold the number, the shortest first.
    pub fn values_for(&self, number: u128) -> impl Iterator<Item = &V> {
        let path = path(chunk(number, self.at.len));
        let mut matched = if Prefix::of(number, self.at.len) == self.at { self.own & path } else { 0 };
        core::iter::from_fn(move || {
            let bit = matched & matched.wrapping_neg();
            matched ^= bit;
            if bit == 0 { None } else { self.values.get(rank(self.own, bit)) }
        })
    }

    /// The node that goes on for the number, and what it has at best.
    pub fn below_for(&self, number: u128) -> Option<(Order, &Self)> {
        let bit = 1 << chunk(number, self.at.len);
        let child = if self.below & bit == 0 { None } else { self.children.get(rank(self.below, bit)) };
        child.map(|child| (child.first, &*child.trie))
    }

    pub fn for_each<'a>(&'a self, visit: &mut impl FnMut(&'a V)) {
        self.values.iter().for_each(&mut *visit);
        for child in &self.children {
            child.trie.for_each(visit);
        }
    }
}
