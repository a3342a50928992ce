//! What the general way decided for a flow, remembered by one worker.

use crate::fast::key::FlowKey;

/// What becomes of a flow's plain packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Course {
    /// By the general way.
    General = 1,
    /// Protected by a child's SA.
    Seal = 2,
    /// On in clear.
    Forward = 3,
    /// ESP to the box: what the SAD says.
    Esp = 4,
}

/// One flow. As long as a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Entry {
    key: FlowKey,
    /// Number of the SPD and the course; 0 for nobody.
    stamp: u64,
    /// The SA whose selectors were held against the flow: the one that seals, or the one it came out of.
    pub sa: u64,
    /// [`Course::Seal`]: the child. [`Course::Forward`]: the neighbour's generation and index.
    pub target: u64,
}

const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    const NOBODY: Self = Self { key: FlowKey::v4(0, 0, 0), stamp: 0, sa: 0, target: 0 };

    pub const fn new(key: FlowKey, spd: u64, course: Course, sa: u64, target: u64) -> Self {
        Self { key, stamp: spd << 3 | course as u64, sa, target }
    }

    #[inline]
    pub const fn course(&self) -> Course {
        match self.stamp & 7 {
            2 => Course::Seal,
            3 => Course::Forward,
            4 => Course::Esp,
            _ => Course::General,
        }
    }

    #[inline(always)]
    fn is_of(&self, key: &FlowKey, spd: u64) -> bool {
        self.stamp >> 3 == spd && self.key == *key
    }
}

/// Two entries for each place; the one used last stands first.
pub(crate) struct Memo {
    places: Box<[[Entry; 2]]>,
    /// What leaves of a hash as many bits as name a place.
    shift: u32,
}

impl Memo {
    /// For about so many flows.
    pub fn new(flows: usize) -> Self {
        let places = (flows / 2).next_power_of_two().clamp(1 << 11, 1 << 18);
        Self { places: vec![[Entry::NOBODY; 2]; places].into_boxed_slice(), shift: u64::BITS - places.ilog2() }
    }

    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some([first, _]) = self.places.get(self.place(hash)) {
            culvert_link::prefetch(first);
        }
    }

    /// Is the flow known under this SPD? Then its entry stands first.
    #[inline(always)]
    pub fn knows(&mut self, key: &FlowKey, hash: u64, spd: u64) -> bool {
        let place = self.place(hash);
        let Some([first, second]) = self.places.get_mut(place) else { return false };
        if first.is_of(key, spd) {
            return true;
        }
        let known = second.is_of(key, spd);
        if known {
            core::mem::swap(first, second);
        }
        known
    }

    /// What stands first at this place.
    #[inline(always)]
    pub fn first(&mut self, hash: u64) -> Option<&mut Entry> {
        let place = self.place(hash);
        self.places.get_mut(place)?.first_mut()
    }

    /// What is known of the flow under this SPD.
    #[inline(always)]
    pub fn get(&mut self, key: &FlowKey, hash: u64, spd: u64) -> Option<&mut Entry> {
        if self.knows(key, hash, spd) { self.first(hash) } else { None }
    }

    /// In place of the one used longer ago.
    pub fn put(&mut self, hash: u64, entry: Entry) -> Option<&mut Entry> {
        let place = self.place(hash);
        let pair = self.places.get_mut(place)?;
        let [first, second] = pair;
        if first.key != entry.key {
            *second = *first;
        }
        *first = entry;
        Some(first)
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_for_its_key_and_spd() {
        let mut memo = Memo::new(0);
        let key = |n| FlowKey::v4(n, 17, 0);
        assert!(memo.get(&key(1), 9, 1).is_none());
        for course in [Course::General, Course::Seal, Course::Forward, Course::Esp] {
            memo.put(9, Entry::new(key(1), 1, course, 4, 5));
            let entry = memo.get(&key(1), 9, 1).expect("was put");
            assert_eq!((entry.course(), entry.sa, entry.target), (course, 4, 5));
        }
        assert!(memo.get(&key(1), 9, 2).is_none());
        assert!(memo.get(&key(2), 9, 1).is_none());
        assert!(memo.get(&key(1).out_of_tunnel(), 9, 1).is_none());
        // Nobody's entry is of no SPD, not even of the key it happens to hold.
        assert!(Memo::new(0).get(&key(0), 0, 1).is_none());
    }

    #[test]
    fn of_three_flows_at_one_place_the_last_two_stay() {
        let mut memo = Memo::new(0);
        let key = |n| FlowKey::v4(n, 17, 0);
        for n in [1, 2] {
            memo.put(7, Entry::new(key(n), 1, Course::Seal, 0, n));
        }
        assert!(memo.get(&key(1), 7, 1).is_some());
        memo.put(7, Entry::new(key(3), 1, Course::Seal, 0, 3));
        let found = [1, 2, 3].map(|n| memo.get(&key(n), 7, 1).map(|entry| entry.target));
        assert_eq!(found, [Some(1), None, Some(3)]);
    }
}
