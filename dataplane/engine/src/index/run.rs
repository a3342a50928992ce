//! Entries in their order, of which only the first is looked at: a B-tree whose versions share what has not changed.

use super::entry::{Entry, Order};
use std::sync::Arc;

/// Most entries of a leaf, and most parts of a fork.
const MOST: usize = 32;

type Key = (Order, u32);

#[derive(Clone)]
pub(crate) struct Run<T> {
    /// All leaves are equally deep, and only the root may be empty.
    root: Arc<Block<T>>,
}

#[derive(Clone)]
enum Block<T> {
    Leaf(Vec<Arc<Entry<T>>>),
    Fork(Vec<Part<T>>),
}

#[derive(Clone)]
struct Part<T> {
    /// Nothing in the block is before it.
    from: Key,
    block: Arc<Block<T>>,
}

impl<T: Clone> Run<T> {
    /// Of a short list in its order.
    pub fn of(list: Vec<Arc<Entry<T>>>) -> Self {
        Self { root: Arc::new(Block::Leaf(list)) }
    }

    /// The entries it begins with.
    pub fn head(&self) -> &[Arc<Entry<T>>] {
        let mut block = &*self.root;
        loop {
            match block {
                Block::Leaf(entries) => return entries,
                Block::Fork(parts) => match parts.first() {
                    Some(part) => block = &part.block,
                    None => return &[],
                },
            }
        }
    }

    /// All entries, where they are so few.
    pub fn at_most(&self, few: usize) -> Option<&[Arc<Entry<T>>]> {
        match &*self.root {
            Block::Leaf(entries) if entries.len() <= few => Some(entries),
            _ => None,
        }
    }

    pub fn insert(&mut self, entry: &Arc<Entry<T>>) {
        if let Some(right) = Arc::make_mut(&mut self.root).insert(entry) {
            let from = right.from;
            let left = Part { from: entry.key().min(from), block: self.root.clone() };
            self.root = Arc::new(Block::Fork(vec![left, right]));
        }
    }

    pub fn remove(&mut self, entry: &Entry<T>) {
        Arc::make_mut(&mut self.root).remove(entry.key());
        while let Block::Fork(parts) = &*self.root
            && let [only] = &parts[..]
        {
            self.root = only.block.clone();
        }
    }
}

impl<T: Clone> Block<T> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Fork(parts) => parts.len(),
        }
    }

    /// The upper half of what became too much.
    fn insert(&mut self, entry: &Arc<Entry<T>>) -> Option<Part<T>> {
        let key = entry.key();
        match self {
            Self::Leaf(entries) => {
                entries.insert(entries.partition_point(|held| held.key() < key), entry.clone());
            }
            Self::Fork(parts) => {
                let at = part_for(parts, key);
                let part = parts.get_mut(at)?;
                part.from = part.from.min(key);
                if let Some(right) = Arc::make_mut(&mut part.block).insert(entry) {
                    parts.insert(at + 1, right);
                }
            }
        }
        if self.len() > MOST { self.split() } else { None }
    }

    fn split(&mut self) -> Option<Part<T>> {
        match self {
            Self::Leaf(entries) => {
                let right = entries.split_off(MOST / 2);
                let from = right.first()?.key();
                Some(Part { from, block: Arc::new(Self::Leaf(right)) })
            }
            Self::Fork(parts) => {
                let right = parts.split_off(MOST / 2);
                let from = right.first()?.from;
                Some(Part { from, block: Arc::new(Self::Fork(right)) })
            }
        }
    }

    /// Parts that have become small are joined with the next one.
    fn remove(&mut self, key: Key) {
        match self {
            Self::Leaf(entries) => entries.retain(|held| held.key() != key),
            Self::Fork(parts) => {
                let at = part_for(parts, key);
                let Some(part) = parts.get_mut(at) else { return };
                Arc::make_mut(&mut part.block).remove(key);
                let len = part.block.len();
                let next = parts.get(at + 1).map_or(MOST, |next| next.block.len());
                if len == 0 {
                    parts.remove(at);
                } else if len + next <= MOST / 2 {
                    let next = parts.remove(at + 1);
                    if let Some(part) = parts.get_mut(at) {
                        Arc::make_mut(&mut part.block).append(&next.block);
                    }
                }
            }
        }
    }

    /// A block as deep as this one.
    fn append(&mut self, next: &Self) {
        match (self, next) {
            (Self::Leaf(entries), Self::Leaf(more)) => entries.extend_from_slice(more),
            (Self::Fork(parts), Self::Fork(more)) => parts.extend_from_slice(more),
            _ => {}
        }
    }
}

/// The last part that may hold the key.
fn part_for<T>(parts: &[Part<T>], key: Key) -> usize {
    parts.partition_point(|part| part.from <= key).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_model::{AddrRange, TrafficSelector};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn entry(order: u64) -> Arc<Entry<u64>> {
        let any = [TrafficSelector::any(AddrRange::ANY_V4)];
        Arc::new(Entry::all(Order(order), None, &any, &any, order).next().unwrap())
    }

    fn all(block: &Block<u64>, out: &mut Vec<u64>) {
        match block {
            Block::Leaf(entries) => out.extend(entries.iter().map(|entry| entry.found)),
            Block::Fork(parts) => parts.iter().for_each(|part| all(&part.block, out)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Up to thousands, then down to nothing, each version beside the one before.
        #[test]
        fn a_run_is_an_ordered_set(keys in proptest::collection::vec(0u64..5000, 1..3000), falling: bool) {
            let mut set = BTreeSet::new();
            let mut run = Run::of(Vec::new());
            for key in keys {
                if set.insert(key) {
                    run.insert(&entry(key));
                }
            }
            let earlier = (run.clone(), set.clone());
            let mut order: Vec<u64> = set.iter().copied().collect();
            if falling {
                order.reverse();
            }
            for key in order {
                prop_assert_eq!(run.head().first().map(|entry| entry.found), set.first().copied());
                prop_assert!(run.at_most(4).is_none_or(|few| few.len() == set.len()));
                run.remove(&entry(key));
                set.remove(&key);
            }
            prop_assert!(run.head().is_empty());
            let mut left = Vec::new();
            all(&earlier.0.root, &mut left);
            prop_assert_eq!(left, earlier.1.into_iter().collect::<Vec<_>>());
        }
    }
}
