//! Where everything lies in the file. Both processes compute it from the [`Layout`] they were configured with and
//! compare that with the file's header once; no offset is ever read from shared memory.
//!
//! ```text
//! header page │ 64 worker counter blocks │ 64 port counter blocks │ SA slots │ commands │ inject │ events │ punt
//! ```

use crate::error::LinkError;
use crate::mapping::WORD;
use crate::slot::SLOT_BYTES;
use core::ops::Range;

/// Changes with every change of what lies where, of [`SaSlot`](crate::SaSlot) and of the record codec.
pub const LAYOUT_VERSION: u64 = 3;
/// First word of the file: "CULVERT" and a zero octet.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"CULVERT\0");

pub const WORKERS: usize = 64;
pub const PORTS: usize = 64;
/// Counters in one block.
pub const BLOCK_COUNTERS: usize = 256;
pub const MAX_SLOTS: u32 = 1 << 22;
/// A ring holds at least one record of the greatest length.
pub const MIN_RING_BYTES: u32 = 128 * 1024;
pub const MAX_RING_BYTES: u32 = 1 << 30;

const PAGE: usize = 4096;

/// Sizes of the shared memory; both processes must ask for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// SA slots, a power of two.
    pub slots: u32,
    /// Octets of each of the four rings, a power of two.
    pub ring_bytes: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Self { slots: 65_536, ring_bytes: 4 << 20 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingId {
    Commands = 0,
    Inject = 1,
    Events = 2,
    Punt = 3,
}

/// Words of the header page.
pub(crate) mod header {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 1;
    pub(crate) const SLOTS: usize = 2;
    pub(crate) const RING_BYTES: usize = 3;
    pub(crate) const TOTAL_BYTES: usize = 4;
    /// Words that never change once the file is there.
    pub(crate) const IDENTITY_WORDS: usize = 5;
    /// One cache line per role.
    pub(crate) const GENERATIONS: [usize; 2] = [64, 72];
    /// Four rings, each with a line for the producer's index and a line for the consumer's two.
    pub(crate) const RINGS: usize = 128;
    pub(crate) const RING_WORDS: usize = 32;
    pub(crate) const TAIL: usize = 0;
    pub(crate) const FREE: usize = 16;
    pub(crate) const ACKED: usize = 17;
}

const _: () = assert!((header::RINGS + 4 * header::RING_WORDS) * WORD <= PAGE);

impl Layout {
    pub(crate) fn check(self) -> Result<Self, LinkError> {
        if !self.slots.is_power_of_two() || !(2..=MAX_SLOTS).contains(&self.slots) {
            return Err(LinkError::BadSlots { slots: self.slots });
        }
        if !self.ring_bytes.is_power_of_two() || !(MIN_RING_BYTES..=MAX_RING_BYTES).contains(&self.ring_bytes) {
            return Err(LinkError::BadRingBytes { bytes: self.ring_bytes });
        }
        Ok(self)
    }

    /// The header's first words.
    pub(crate) fn identity(self) -> [u64; header::IDENTITY_WORDS] {
        let mut words = [0; header::IDENTITY_WORDS];
        words[header::MAGIC] = MAGIC;
        words[header::VERSION] = LAYOUT_VERSION;
        words[header::SLOTS] = u64::from(self.slots);
        words[header::RING_BYTES] = u64::from(self.ring_bytes);
        words[header::TOTAL_BYTES] = self.total_bytes() as u64;
        words
    }

    pub(crate) fn worker_block(self, worker: usize) -> Option<Range<usize>> {
        (worker < WORKERS).then(|| block(worker))
    }

    pub(crate) fn port_block(self, port: usize) -> Option<Range<usize>> {
        (port < PORTS).then(|| block(WORKERS + port))
    }

    /// First word of the slot.
    pub(crate) fn slot(self, index: u32) -> Option<usize> {
        (index < self.slots).then(|| Self::slots_start() + index as usize * SLOT_BYTES / WORD)
    }

    /// First word of the ring's indices.
    pub(crate) fn ring_indices(ring: RingId) -> usize {
        header::RINGS + ring as usize * header::RING_WORDS
    }

    pub(crate) fn ring_data(self, ring: RingId) -> Range<usize> {
        let words = self.ring_bytes as usize / WORD;
        let start = Self::slots_start() + self.slots as usize * SLOT_BYTES / WORD + ring as usize * words;
        start..start + words
    }

    pub(crate) fn total_bytes(self) -> usize {
        (self.ring_data(RingId::Punt).end * WORD).next_multiple_of(PAGE)
    }

    const fn slots_start() -> usize {
        block(WORKERS + PORTS).start
    }
}

const fn block(index: usize) -> Range<usize> {
    let start = PAGE / WORD + index * BLOCK_COUNTERS;
    start..start + BLOCK_COUNTERS
}
