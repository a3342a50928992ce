//! The anti-replay window (RFC 4303 §3.4.3), shared by all workers without a lock.
//!
//! Numbers are kept in blocks of 32. Block `b` lives in word `b % words`; a word holds the low 32 bits of its block's
//! number and one bit for each number of the block. A word only ever moves to a later block and a bit is only ever set,
//! both by compare-and-swap, so that a number is accepted at most once however many workers ask.
//!
//! The highest accepted number is not kept here but in the SA's slot, which outlives the process. After a restart
//! everything up to it, the floor, is too old: which of those numbers were accepted is no longer known.

use core::sync::atomic::{AtomicU64, Ordering};

/// Why a sequence number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Accepted before.
    Duplicate,
    /// Left of the window; whether it was accepted before is not known.
    TooOld,
}

const BLOCK_BITS: u64 = 32;

#[derive(Debug)]
pub struct ReplayWindow {
    /// A power of two of them. Empty: the check is switched off.
    words: Box<[AtomicU64]>,
    mask: u64,
    size: u64,
    floor: u64,
}

impl ReplayWindow {
    /// A window of `size` numbers, none accepted yet; 0 switches the check off. Numbers up to `floor` are refused.
    pub fn new(size: u32, floor: u64) -> Self {
        let size = u64::from(size);
        if size == 0 {
            return Self { words: Box::default(), mask: 0, size, floor: 0 };
        }
        // One block more than the window, because its left edge may lie within a block.
        let count = (size.div_ceil(BLOCK_BITS) + 1).next_power_of_two();
        let newest = floor / BLOCK_BITS;
        let words = (0..count).map(|index| {
            // The last block up to the floor's that lives here, so that a later one is seen as later.
            let back = newest.wrapping_sub(index) & (count - 1);
            AtomicU64::new(word(newest.checked_sub(back).unwrap_or(index), 0))
        });
        Self { words: words.collect(), mask: count - 1, size, floor }
    }

    /// Would `sequence` be accepted? `top` is the slot's highest accepted number. Before the ICV is verified.
    #[inline]
    pub fn check(&self, top: u64, sequence: u64) -> Result<(), Replayed> {
        let Some(cell) = self.cell(top, sequence)? else { return Ok(()) };
        with_bit(cell.load(Ordering::Relaxed), sequence).map(|_| ())
    }

    /// Accepts `sequence`, once. Only after the ICV was verified; the caller advances the top afterwards.
    #[inline]
    pub fn commit(&self, top: u64, sequence: u64) -> Result<(), Replayed> {
        let Some(cell) = self.cell(top, sequence)? else { return Ok(()) };
        let mut old = cell.load(Ordering::Relaxed);
        loop {
            let new = with_bit(old, sequence)?;
            // Relaxed: the word orders nothing but itself.
            match cell.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => old = now,
            }
        }
    }

    /// Accepts numbers of one block, all or none. `None`: one of them at least is not to be accepted, or they must be looked
    /// at one by one.
    #[inline]
    #[must_use]
    pub fn commit_block(&self, top: u64, numbers: BlockOf) -> Option<()> {
        // The first number decides whether all are inside the window: it is the smallest.
        let cell = self.cell(top, numbers.smallest()).ok()??;
        let mut old = cell.load(Ordering::Relaxed);
        loop {
            let new = match (numbers.block as u32).wrapping_sub((old >> 32) as u32) as i32 {
                0 if old as u32 & numbers.bits != 0 => return None,
                0 => old | u64::from(numbers.bits),
                1.. => word(numbers.block, numbers.bits),
                _ => return None,
            };
            // Relaxed: as in `commit`.
            match cell.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(()),
                Err(now) => old = now,
            }
        }
    }

    /// The word `sequence` belongs in, where it is not too old; `None` without a window.
    #[inline]
    fn cell(&self, top: u64, sequence: u64) -> Result<Option<&AtomicU64>, Replayed> {
        if self.size == 0 {
            return Ok(None);
        }
        // RFC 4303 §3.3.3: the first number is 1, so 0 is never on the wire; it falls to the floor.
        if sequence <= self.floor || sequence <= top.saturating_sub(self.size) {
            return Err(Replayed::TooOld);
        }
        let index = usize::try_from((sequence / BLOCK_BITS) & self.mask).ok();
        index.and_then(|index| self.words.get(index)).map(Some).ok_or(Replayed::TooOld)
    }
}

/// Numbers of one block, none twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockOf {
    block: u64,
    bits: u32,
}

impl BlockOf {
    /// Takes one more; `false`, and no change, where it is of another block or there already.
    #[inline]
    #[must_use]
    pub fn take(&mut self, sequence: u64) -> bool {
        let (block, bit) = (sequence / BLOCK_BITS, 1u32 << (sequence % BLOCK_BITS));
        if self.bits != 0 && (block != self.block || self.bits & bit != 0) {
            return false;
        }
        (self.block, self.bits) = (block, self.bits | bit);
        true
    }

    const fn smallest(&self) -> u64 {
        self.block * BLOCK_BITS + self.bits.trailing_zeros() as u64
    }
}

const fn word(block: u64, bits: u32) -> u64 {
    block << 32 | bits as u64
}

/// `old` with the bit of `sequence` set, moved to its block where `old` is of an earlier one.
fn with_bit(old: u64, sequence: u64) -> Result<u64, Replayed> {
    let block = sequence / BLOCK_BITS;
    let bit = 1u32 << (sequence % BLOCK_BITS);
    let (old_tag, old_bits) = ((old >> 32) as u32, old as u32);
    // Tags are compared in a circle. A word untouched for 2^31 blocks could refuse a good packet, never accept a bad one:
    // whatever is left of the window was refused by its full number before.
    match (block as u32).wrapping_sub(old_tag) as i32 {
        0 if old_bits & bit != 0 => Err(Replayed::Duplicate),
        0 => Ok(word(block, old_bits | bit)),
        1.. => Ok(word(block, bit)),
        _ => Err(Replayed::TooOld),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Replayed::{Duplicate, TooOld};
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// The window with its top, as an SA has them.
    struct Receiver {
        window: ReplayWindow,
        top: u64,
    }

    impl Receiver {
        fn new(size: u32, floor: u64) -> Self {
            Self { window: ReplayWindow::new(size, floor), top: floor }
        }

        fn accept(&mut self, sequence: u64) -> Result<(), Replayed> {
            let checked = self.window.check(self.top, sequence);
            let committed = self.window.commit(self.top, sequence);
            assert_eq!(checked, committed, "check and commit disagree about {sequence}");
            if committed.is_ok() {
                self.top = self.top.max(sequence);
            }
            committed
        }
    }

    #[test]
    fn edges() {
        type Steps<'a> = &'a [(u64, Result<(), Replayed>)];
        let cases: &[(u32, Steps<'_>)] = &[
            (64, &[(0, Err(TooOld)), (1, Ok(())), (1, Err(Duplicate)), (0, Err(TooOld))]),
            (64, &[(64, Ok(())), (1, Ok(())), (65, Ok(())), (1, Err(TooOld)), (2, Ok(())), (2, Err(Duplicate))]),
            (64, &[(63, Ok(())), (63, Err(Duplicate)), (62, Ok(())), (127, Ok(())), (63, Err(TooOld)), (64, Ok(()))]),
            // Jumps of exactly the window, of the ring of words, and far beyond.
            (64, &[(10, Ok(())), (74, Ok(())), (10, Err(TooOld)), (11, Ok(())), (138, Ok(())), (74, Err(TooOld))]),
            (64, &[(5, Ok(())), (5 + 128, Ok(())), (5, Err(TooOld)), (5 + 256, Ok(())), (5 + 128, Err(TooOld))]),
            (
                64,
                &[
                    (7, Ok(())),
                    (1 << 35, Ok(())),
                    (7, Err(TooOld)),
                    ((1 << 35) - 63, Ok(())),
                    ((1 << 35) - 64, Err(TooOld)),
                ],
            ),
            (1, &[(1, Ok(())), (2, Ok(())), (1, Err(TooOld)), (2, Err(Duplicate)), (4, Ok(())), (3, Err(TooOld))]),
            (33, &[(33, Ok(())), (1, Ok(())), (34, Ok(())), (1, Err(TooOld)), (2, Ok(()))]),
            (
                1024,
                &[
                    (u64::from(u32::MAX), Ok(())),
                    (u64::from(u32::MAX) + 1, Ok(())),
                    (u64::from(u32::MAX), Err(Duplicate)),
                ],
            ),
        ];
        for (size, steps) in cases {
            let mut receiver = Receiver::new(*size, 0);
            for (sequence, want) in *steps {
                assert_eq!(receiver.accept(*sequence), *want, "window {size}, number {sequence}");
            }
        }
    }

    #[test]
    fn after_a_restart_only_numbers_above_the_stored_top() {
        for floor in [1, 31, 32, 1000, 1 << 31, (1 << 37) + 5, 1 << 52, 3 << 36, u64::MAX - 3000] {
            let mut receiver = Receiver::new(1024, floor);
            for old in [floor, floor - 1, floor.saturating_sub(1023)] {
                assert_eq!(receiver.accept(old), Err(TooOld), "floor {floor}");
            }
            for new in [floor + 1, floor + 2, floor + 3000, floor + 2500] {
                assert_eq!(receiver.accept(new), Ok(()), "floor {floor}, number {new}");
            }
        }
    }

    #[test]
    fn no_window_accepts_all() {
        let mut receiver = Receiver::new(0, 9);
        assert_eq!([receiver.accept(5), receiver.accept(5)], [Ok(()); 2]);
    }

    proptest! {
        /// Against a set of all that was ever accepted.
        #[test]
        fn agrees_with_a_set(
            size in 1u32..300,
            floor in prop_oneof![Just(0u64), 0u64..5000, (1u64 << 36)..(1 << 40)],
            steps in proptest::collection::vec((0u8..8, 0u64..700), 1..400),
        ) {
            let mut receiver = Receiver::new(size, floor);
            let (mut accepted, mut top) = (HashSet::new(), floor);
            for (kind, amount) in steps {
                let sequence = match kind {
                    0..=4 => (top + 40).saturating_sub(amount % 400),
                    5 => top + 1,
                    6 => top + amount,
                    _ => top + amount * 100_003,
                };
                let too_old = sequence <= floor || sequence + u64::from(size) <= top;
                let want = if too_old { Err(TooOld) } else if !accepted.insert(sequence) { Err(Duplicate) } else { Ok(()) };
                prop_assert_eq!(receiver.accept(sequence), want, "number {} under top {}", sequence, top);
                if want.is_ok() { top = top.max(sequence); }
            }
        }
    }

    #[test]
    fn two_threads_never_accept_one_number_twice() {
        let window = ReplayWindow::new(128, 0);
        let top = AtomicU64::new(0);
        let run = || {
            let mut mine = Vec::new();
            for base in 0..20_000u64 {
                for sequence in [base + 1, (base + 1).saturating_sub(base % 97), base + base % 31] {
                    if window.commit(top.load(Ordering::Relaxed), sequence).is_ok() {
                        top.fetch_max(sequence, Ordering::AcqRel);
                        mine.push(sequence);
                    }
                }
            }
            mine
        };
        let mut all = std::thread::scope(|scope| {
            let (a, b) = (scope.spawn(run), scope.spawn(run));
            [a.join().unwrap(), b.join().unwrap()].concat()
        });
        let count = all.len();
        assert!(count > 10_000);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_block_takes_each_number_once() {
        let mut numbers = BlockOf::default();
        assert!(numbers.take(64) && numbers.take(66) && numbers.take(95));
        assert!(!numbers.take(66), "taken before");
        assert!(!numbers.take(63) && !numbers.take(96), "of other blocks");
        assert_eq!(numbers, BlockOf { block: 2, bits: 1 | 1 << 2 | 1 << 31 });
        assert_eq!(numbers.smallest(), 64);
    }

    proptest! {
        /// Together they are accepted just where each of them would be, and refused without a trace.
        #[test]
        fn a_block_is_accepted_as_its_numbers_are(
            size in prop_oneof![Just(32u32), Just(64), Just(1024)],
            before in proptest::collection::vec(1u64..400, 0..40),
            block in 0u64..12,
            bits in 1u32..,
        ) {
            let (mut together, mut singly) = (Receiver::new(size, 0), Receiver::new(size, 0));
            for sequence in before {
                prop_assert_eq!(together.accept(sequence), singly.accept(sequence));
            }
            let numbers: Vec<u64> = (0..32).filter(|n| bits >> n & 1 != 0).map(|n| block * 32 + n).collect();
            let mut of_block = BlockOf::default();
            prop_assert!(numbers.iter().all(|number| of_block.take(*number)));
            let top = singly.top;
            let expected = numbers.iter().all(|number| singly.window.check(top, *number).is_ok());
            prop_assert_eq!(together.window.commit_block(top, of_block).is_some(), expected);
            for number in &numbers {
                let single = if expected { singly.window.commit(top, *number).and(Err(Duplicate)) } else { singly.window.check(top, *number) };
                prop_assert_eq!(together.window.check(top, *number), single, "{}", number);
            }
        }
    }
}
