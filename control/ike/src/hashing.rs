//! Hash maps by numbers that this box has chosen itself: SPIs, slots, its own counters, places in its configuration. Nobody
//! else can choose them so that they fall together, so a multiplication is hash enough; and it is the same in every run.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;

pub(crate) type OwnMap<K, V> = HashMap<K, V, BuildHasherDefault<OwnHasher>>;

#[derive(Default)]
pub(crate) struct OwnHasher(u64);

/// Odd, and as good as random.
const FACTOR: u64 = 0xf135_7aea_2e62_a9c5;

impl Hasher for OwnHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let number = chunk.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            self.write_u64(number);
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = self.0.wrapping_add(number).wrapping_mul(FACTOR);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    /// The map looks at the highest and at the lowest bits; the middle ones depend on all of the number.
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

/// Several values for some keys, one for most.
#[derive(Debug)]
pub(crate) struct Multi<K> {
    first: OwnMap<K, u32>,
    others: OwnMap<K, Vec<u32>>,
}

impl<K> Default for Multi<K> {
    fn default() -> Self {
        Self { first: OwnMap::default(), others: OwnMap::default() }
    }
}

impl<K: core::hash::Hash + Eq + Copy> Multi<K> {
    /// Once for each key and value, the values rising.
    pub fn insert(&mut self, key: K, value: u32) {
        let first = *self.first.entry(key).or_insert(value);
        let others = self.others.get(&key).map_or(&[][..], Vec::as_slice);
        if first != value && others.last() != Some(&value) {
            self.others.entry(key).or_default().push(value);
        }
    }

    pub fn get(&self, key: K) -> impl Iterator<Item = usize> {
        let first = self.first.get(&key);
        let others = first.and_then(|_| self.others.get(&key)).into_iter().flatten();
        first.into_iter().chain(others).map(|at| *at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn neighbours_do_not_fall_together() {
        // Slots and counters follow each other; the map of 4,096 places looks at the lowest twelve bits and the highest seven.
        let places = |step: u64| {
            let hash = |n: u64| {
                let mut hasher = OwnHasher::default();
                hasher.write_u64(n * step);
                hasher.finish()
            };
            let hashes: Vec<u64> = (0..1000).map(hash).collect();
            let low: BTreeSet<u64> = hashes.iter().map(|h| h & 0xfff).collect();
            let high: BTreeSet<u64> = hashes.iter().map(|h| h >> 57).collect();
            (low.len(), high.len())
        };
        for step in [1, 2, 64, 4096, 1 << 20] {
            let (low, high) = places(step);
            assert!(low > 600 && high > 60, "{step}: {low} places, {high} tags");
        }
    }

    #[test]
    fn each_value_once_in_order() {
        let mut multi = Multi::default();
        for (key, value) in [(7u64, 1), (7, 1), (8, 1), (7, 4), (7, 4), (7, 9)] {
            multi.insert(key, value);
        }
        let get = |key: u64| multi.get(key).collect::<Vec<_>>();
        assert_eq!((get(7), get(8), get(9)), (vec![1, 4, 9], vec![1], vec![]));
    }
}
