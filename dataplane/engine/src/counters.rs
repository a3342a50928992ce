//! One thread's counters in the link.

use core::sync::atomic::Ordering;
use culvert_link::CounterBlock;
use culvert_telemetry::{DropReason, WorkerCounter, layout};

/// The counter block of one thread. Only that thread writes it, so an addition is a load and a store.
///
/// The engine counts drops and what it did; what passed the ports (`Rx*`, `Tx*`, `Bursts`, `TxFull`, cycles) is the
/// caller's to count.
#[derive(Clone)]
pub struct Counters(CounterBlock);

impl Counters {
    pub fn new(block: CounterBlock) -> Self {
        Self(block)
    }

    pub fn drop(&self, reason: DropReason) {
        self.add_word(layout::drop_word(reason), 1);
    }

    pub fn drops(&self, reason: DropReason, count: u64) {
        self.add_word(layout::drop_word(reason), count);
    }

    pub fn add(&self, counter: WorkerCounter, count: u64) {
        self.add_word(layout::worker_word(counter), count);
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.0.get(layout::drop_word(reason)).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    pub fn get(&self, counter: WorkerCounter) -> u64 {
        self.0.get(layout::worker_word(counter)).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn add_word(&self, word: usize, count: u64) {
        if let Some(word) = self.0.get(word) {
            // Relaxed: readers only display it.
            word.store(word.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
        }
    }
}
