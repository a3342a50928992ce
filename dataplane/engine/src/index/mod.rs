//! Entries by what they match, so that a packet meets those that might match it and no others.
//!
//! A few entries are a list. More are a tree of their ranges of source addresses; behind each prefix of that tree stand the
//! entries that take all of it, again as a list or as a tree, now of destination addresses, and so on through protocol
//! and ports, up to those that match the very same packets, of which the first is all that matters. A range that is no prefix stands at the two prefixes that cover it; where one of them is more than the range,
//! beside those that take all of it, and again as a list, or as a tree of shorter steps where there are more than a few.
//! So a packet is held against a few entries at each prefix around its own addresses, protocol and ports; how many entries
//! lie elsewhere does not matter, and whole trees are passed over that have nothing before what is already found.
//!
//! Versions share what they have in common, as in [`Trie`].
//!
//! ```text
//! entry.rs    entries, and packets as questions    trie.rs    prefixes that hold a value
//! prefix.rs   ranges of values, and prefixes       run.rs     entries that match the same
//! ```

mod entry;
mod prefix;
mod run;
mod trie;

pub(crate) use entry::{Asked, Entry, Order};

use entry::Level;
use prefix::{Prefix, Range};
use run::Run;
use std::sync::Arc;
use trie::{Ranked, Trie};

/// Most entries of a list; more make a tree.
const FEW: usize = 8;

#[derive(Clone)]
pub(crate) struct Index<T> {
    root: Option<Node<T>>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { root: None }
    }
}

#[derive(Clone)]
enum Node<T> {
    One(Arc<Entry<T>>),
    /// In their order.
    Few(Arc<[Arc<Entry<T>>]>),
    Many(Arc<Many<T>>),
    /// Too many for a list, and equal.
    Same(Run<T>),
}

#[derive(Clone)]
struct Many<T> {
    /// How many went in.
    entries: u32,
    /// Entries that take everything: the next level.
    any: Option<Node<T>>,
    tree: Option<Arc<Trie<Cell<T>>>>,
}

/// What stands at a prefix.
#[derive(Clone)]
struct Cell<T> {
    first: Order,
    /// Entries that take the whole prefix: the next level.
    whole: Option<Node<T>>,
    /// Entries that take a part of it: this level, within the prefix.
    part: Option<Node<T>>,
}

impl<T> Ranked for Cell<T> {
    fn first(&self) -> Order {
        self.first
    }
}

#[derive(Clone, Copy)]
enum Change {
    Insert,
    Remove,
}

impl<T: Clone> Index<T> {
    /// An entry that is not there yet.
    pub fn insert(&mut self, entry: &Arc<Entry<T>>) {
        change(&mut self.root, entry, Change::Insert, Level::FIRST, Prefix::WHOLE);
    }

    /// An entry with the key and the selectors of one that is there.
    pub fn remove(&mut self, entry: &Arc<Entry<T>>) {
        change(&mut self.root, entry, Change::Remove, Level::FIRST, Prefix::WHOLE);
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// The first entry that matches.
    pub fn search<'a>(&'a self, search: &mut Search<'a, '_, T>) {
        if let Some(root) = &self.root {
            search.node(root, Level::FIRST);
        }
    }
}

/// `level` and `within`: what a tree in this place is of.
fn change<T: Clone>(place: &mut Option<Node<T>>, entry: &Arc<Entry<T>>, how: Change, level: Level, within: Prefix) {
    *place = match (place.take(), how) {
        (None, Change::Insert) => Some(Node::One(entry.clone())),
        (None, Change::Remove) => None,
        (Some(Node::Many(mut many)), _) => {
            Arc::make_mut(&mut many).change(entry, how, level, within);
            Some(Node::of_many(many))
        }
        (Some(Node::Same(mut run)), Change::Insert) => {
            run.insert(entry);
            Some(Node::Same(run))
        }
        (Some(Node::Same(mut run)), Change::Remove) => {
            run.remove(entry);
            let few = run.at_most(FEW / 2).map(|few| Node::of_list(few.iter().cloned()));
            few.unwrap_or(Some(Node::Same(run)))
        }
        (Some(list), Change::Insert) => Some(list.with(entry, level, within)),
        (Some(list), Change::Remove) => {
            Node::of_list(list.list().iter().filter(|held| held.key() != entry.key()).cloned())
        }
    };
}

impl<T: Clone> Many<T> {
    fn change(&mut self, entry: &Arc<Entry<T>>, how: Change, level: Level, within: Prefix) {
        match how {
            Change::Insert => self.entries += 1,
            Change::Remove => self.entries -= 1,
        }
        let range = entry.range(level);
        if range == Range::WHOLE {
            return change(&mut self.any, entry, how, level.next(), Prefix::WHOLE);
        }
        for prefix in range.intersect(within.range()).map(Range::cover).unwrap_or_default() {
            Trie::change(&mut self.tree, prefix, &mut |cell| {
                let Cell { mut whole, mut part, .. } =
                    cell.take().unwrap_or(Cell { first: Order::LAST, whole: None, part: None });
                if range.covers(prefix.range()) {
                    change(&mut whole, entry, how, level.next(), Prefix::WHOLE);
                } else {
                    change(&mut part, entry, how, level, prefix);
                }
                let first = [&whole, &part].into_iter().flatten().map(Node::first).min();
                *cell = first.map(|first| Cell { first, whole, part });
            });
        }
    }

    /// Every entry once; a range may stand at two prefixes.
    fn gather(&self, left: &mut Vec<Arc<Entry<T>>>) {
        let mut take = |node: &Node<T>| node.gather(left);
        self.any.iter().for_each(&mut take);
        if let Some(tree) = &self.tree {
            tree.for_each(&mut |cell| [&cell.whole, &cell.part].into_iter().flatten().for_each(&mut take));
        }
    }
}

impl<T: Clone> Node<T> {
    fn first(&self) -> Order {
        match self {
            Self::Many(many) => {
                let firsts = [many.any.as_ref().map(Node::first), many.tree.as_ref().map(|tree| tree.first())];
                firsts.into_iter().flatten().min().unwrap_or(Order::LAST)
            }
            list => list.list().first().map_or(Order::LAST, |entry| entry.order),
        }
    }

    fn list(&self) -> &[Arc<Entry<T>>] {
        match self {
            Self::One(entry) => core::slice::from_ref(entry),
            Self::Few(entries) => entries,
            Self::Same(run) => run.head(),
            Self::Many(_) => &[],
        }
    }

    fn of_list(mut entries: impl Iterator<Item = Arc<Entry<T>>>) -> Option<Self> {
        let first = entries.next()?;
        Some(match entries.next() {
            None => Self::One(first),
            Some(second) => Self::Few([first, second].into_iter().chain(entries).collect()),
        })
    }

    /// A list and one more entry.
    fn with(&self, entry: &Arc<Entry<T>>, level: Level, within: Prefix) -> Self {
        let list = self.list();
        let (before, after) = list.split_at(list.partition_point(|held| held.order <= entry.order));
        let all = before.iter().chain([entry]).chain(after);
        if list.len() < FEW {
            return Self::Few(all.cloned().collect());
        }
        if level == Level::Last {
            return Self::Same(Run::of(all.cloned().collect()));
        }
        let mut many = Many { entries: 0, any: None, tree: None };
        all.for_each(|entry| many.change(entry, Change::Insert, level, within));
        Self::Many(Arc::new(many))
    }

    /// What is left in a tree, as a list at half of what makes a tree, lest one come and go with each change.
    fn of_many(many: Arc<Many<T>>) -> Self {
        if many.entries as usize > FEW / 2 {
            return Self::Many(many);
        }
        let mut left = Vec::new();
        many.gather(&mut left);
        left.sort_by_key(|entry| entry.key());
        Self::of_list(left.into_iter()).unwrap_or(Self::Many(many))
    }

    fn gather(&self, left: &mut Vec<Arc<Entry<T>>>) {
        if let Self::Many(many) = self {
            return many.gather(left);
        }
        for entry in self.list() {
            if !left.iter().any(|held| Arc::ptr_eq(held, entry)) {
                left.push(entry.clone());
            }
        }
    }
}

/// A packet on its way through the indices.
pub(crate) struct Search<'a, 'q, T> {
    pub asked: &'q Asked,
    found: Option<&'a Entry<T>>,
    /// Of what was found.
    order: Order,
    /// Nodes and entries that were looked at.
    #[cfg(test)]
    pub probes: usize,
}

impl<'a, 'q, T: Clone> Search<'a, 'q, T> {
    pub fn new(asked: &'q Asked) -> Self {
        Self {
            asked,
            found: None,
            order: Order::LAST,
            #[cfg(test)]
            probes: 0,
        }
    }

    pub fn found(&self) -> Option<&'a T> {
        self.found.map(|entry| &entry.found)
    }

    /// After what was found, or as early: of one policy's entries, one that matches stays before one that might.
    fn is_late(&self, order: Order) -> bool {
        order > self.order || order == self.order && self.found.is_some()
    }

    fn node(&mut self, node: &'a Node<T>, level: Level) {
        match node {
            Node::Many(many) => self.many(many, level),
            list => self.list(list.list()),
        }
    }

    fn list(&mut self, entries: &'a [Arc<Entry<T>>]) {
        for entry in entries {
            self.probe();
            if self.is_late(entry.order) {
                return;
            }
            if entry.matches(self.asked) {
                (self.found, self.order) = (Some(&**entry), entry.order);
                return;
            }
        }
    }

    fn many(&mut self, many: &'a Many<T>, level: Level) {
        self.probe();
        if let Some(any) = &many.any {
            self.node(any, level.next());
        }
        let Some(number) = self.asked.key(level) else { return };
        let mut next = many.tree.as_deref();
        while let Some(node) = next {
            self.probe();
            for cell in node.values_for(number) {
                self.cell(cell, level);
            }
            next = node.below_for(number).filter(|(first, _)| !self.is_late(*first)).map(|(_, node)| node);
        }
    }

    fn cell(&mut self, cell: &'a Cell<T>, level: Level) {
        self.probe();
        if self.is_late(cell.first) {
            return;
        }
        if let Some(whole) = &cell.whole {
            self.node(whole, level.next());
        }
        if let Some(part) = &cell.part {
            self.node(part, level);
        }
    }

    #[inline]
    fn probe(&mut self) {
        #[cfg(test)]
        {
            self.probes += 1;
        }
    }
}
