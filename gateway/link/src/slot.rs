//! One SA's slot: the part of a security association that outlives both processes.

use crate::sequence;
use core::mem::{align_of, size_of};
use core::sync::atomic::{AtomicU64, Ordering};
use culvert_model::{ChildId, Direction, Spi};

/// Counters per slot; indices are `telemetry::SaCounter::index()`.
pub const SLOT_COUNTERS: usize = 8;

/// Where a slot is in its life. Only control moves it.
///
/// ```text
/// Free ──claim_slot──► Allocated ──data plane acknowledged Install──► Installed ──Remove sent──► Dying
///   ▲                      │                                                                      │
///   └──────────────────────┴───────────── free_slot: the data plane acknowledged Remove ──────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SlotState {
    Free = 0,
    Allocated = 1,
    Installed = 2,
    /// Also what an unknown value reads as: neither adopted nor handed out again.
    Dying = 3,
}

impl SlotState {
    const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Free,
            1 => Self::Allocated,
            2 => Self::Installed,
            _ => Self::Dying,
        }
    }
}

/// What [`SaSlot::reset`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotInit {
    pub spi: Spi,
    pub direction: Direction,
    pub child: ChildId,
    /// Last sequence number already used: 0 for a fresh key. Numbers start behind it.
    pub sequence: u64,
    /// Highest number accepted so far: 0 for a fresh key.
    pub replay_top: u64,
    /// Highest sequence number that may be used: `u32::MAX` without ESN, `u64::MAX` with it, less for a manual SA
    /// whose reservation on disk ends before.
    pub limit: u64,
    /// The control generation that owns the SA.
    pub generation: u64,
    /// Unix time, seconds.
    pub installed_at: u64,
}

/// Shared memory form of one SA's running state. The first 64 bytes are all that a packet touches; the second line
/// holds the rare counters and what control needs to adopt the SA after a restart.
///
/// The sequence counter here is *the* counter of the key: a number handed out by [`reserve`](Self::reserve) is never
/// handed out again, whichever worker asks and whichever process died in between.
#[repr(C, align(64))]
pub struct SaSlot {
    sequence: AtomicU64,
    replay_top: AtomicU64,
    limit: AtomicU64,
    last_used: AtomicU64,
    hot_counters: [AtomicU64; HOT_COUNTERS],
    /// SPI (low 32 bits), state (8), direction (8).
    identity: AtomicU64,
    generation: AtomicU64,

    cold_counters: [AtomicU64; SLOT_COUNTERS - HOT_COUNTERS],
    child: AtomicU64,
    installed_at: AtomicU64,
}

/// Packets and bytes.
const HOT_COUNTERS: usize = 2;
/// Octets of one slot in the file.
pub(crate) const SLOT_BYTES: usize = 128;

const _: () = assert!(size_of::<SaSlot>() == SLOT_BYTES && align_of::<SaSlot>() == 64);
const _: () = assert!(core::mem::offset_of!(SaSlot, cold_counters) == 64);

const STATE_SHIFT: u32 = 32;
const STATE_MASK: u64 = 0xff << STATE_SHIFT;
const DIRECTION_SHIFT: u32 = 40;

impl SaSlot {
    /// Takes `count` consecutive sequence numbers and returns the first; `None` where fewer are left below the limit
    /// (or
    /// `count` is 0). RFC 4303 §3.3.3: the counter must not cycle.
    pub fn reserve(&self, count: u32) -> Option<u64> {
        sequence::reserve(&self.sequence, &self.limit, count)
    }

    /// Last sequence number handed out; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    /// Highest sequence number accepted; 0 before the first.
    pub fn replay_top(&self) -> u64 {
        self.replay_top.load(Ordering::Relaxed)
    }

    /// Raises the top to `sequence` where it is lower; returns the top before.
    pub fn advance_top(&self, sequence: u64) -> u64 {
        self.replay_top.fetch_max(sequence, Ordering::AcqRel)
    }

    /// Highest sequence number that may be used.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Control only: extends a manual SA's reservation once it is on disk.
    pub fn set_limit(&self, limit: u64) {
        // Release: whoever sees the new limit sees the numbers below it as reserved.
        self.limit.store(limit, Ordering::Release);
    }

    /// Seconds, in the clock the data plane ticks by.
    pub fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    /// Written only when the second changes, so that readers' copies of the line stay valid.
    pub fn touch(&self, seconds: u64) {
        if self.last_used.load(Ordering::Relaxed) != seconds {
            self.last_used.store(seconds, Ordering::Relaxed);
        }
    }

    /// Adds to the counter with this `SaCounter` index; an index beyond [`SLOT_COUNTERS`] counts nowhere.
    pub fn add(&self, index: usize, count: u64) {
        if let Some(counter) = self.counter(index) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// As [`Self::add`], unless the counter has reached `limit`: then nothing changes and the answer is `false`. Of several
    /// threads that ask at the limit, exactly those get a yes that would have, had they asked one after the other.
    #[must_use]
    pub fn add_below(&self, index: usize, count: u64, limit: u64) -> bool {
        let add = |value: u64| (value < limit).then(|| value.saturating_add(count));
        // Relaxed: the counter orders nothing but itself.
        self.counter(index)
            .is_some_and(|counter| counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok())
    }

    /// Takes back what was added for something that did not come to be.
    pub fn take_back(&self, index: usize, count: u64) {
        if let Some(counter) = self.counter(index) {
            counter.fetch_sub(count, Ordering::Relaxed);
        }
    }

    pub fn get(&self, index: usize) -> u64 {
        self.counter(index).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    fn counter(&self, index: usize) -> Option<&AtomicU64> {
        self.hot_counters.get(index).or_else(|| self.cold_counters.get(index.checked_sub(HOT_COUNTERS)?))
    }

    pub fn state(&self) -> SlotState {
        state_of(self.identity.load(Ordering::Acquire))
    }

    /// `None` where the slot has never been set up or holds no valid SPI.
    pub fn spi(&self) -> Option<Spi> {
        Spi::new(low32(self.identity.load(Ordering::Acquire))).ok()
    }

    pub fn direction(&self) -> Option<Direction> {
        match self.identity.load(Ordering::Acquire) >> DIRECTION_SHIFT & 0xff {
            1 => Some(Direction::Inbound),
            2 => Some(Direction::Outbound),
            _ => None,
        }
    }

    pub fn child(&self) -> ChildId {
        ChildId(low32(self.child.load(Ordering::Relaxed)))
    }

    /// The control generation that set the slot up.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Unix time, seconds.
    pub fn installed_at(&self) -> u64 {
        self.installed_at.load(Ordering::Relaxed)
    }

    /// Control only: sets a claimed slot up for a new key. All counters start at 0. The slot must be
    /// [`SlotState::Allocated`], so that no worker can be using it; otherwise nothing changes and the answer is
    /// `false`.
    #[must_use]
    pub fn reset(&self, init: &SlotInit) -> bool {
        if self.state() != SlotState::Allocated {
            return false;
        }
        self.limit.store(init.limit, Ordering::Relaxed);
        self.sequence.store(init.sequence, Ordering::Relaxed);
        self.replay_top.store(init.replay_top, Ordering::Relaxed);
        self.last_used.store(0, Ordering::Relaxed);
        for counter in self.hot_counters.iter().chain(&self.cold_counters) {
            counter.store(0, Ordering::Relaxed);
        }
        self.generation.store(init.generation, Ordering::Relaxed);
        self.child.store(u64::from(init.child.0), Ordering::Relaxed);
        self.installed_at.store(init.installed_at, Ordering::Relaxed);
        let direction: u64 = match init.direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        // Release, pairs with the Acquire loads of `identity`: who sees the new SPI sees the fields above.
        self.identity.store(
            u64::from(init.spi.get()) | (SlotState::Allocated as u64) << STATE_SHIFT | direction << DIRECTION_SHIFT,
            Ordering::Release,
        );
        true
    }

    /// Control only.
    pub fn set_state(&self, state: SlotState) {
        // Infallible: the closure always answers.
        let _ = self.identity.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            Some(word & !STATE_MASK | (state as u64) << STATE_SHIFT)
        });
    }

    /// Any state → Free. The SPI goes with it: an Install that is still under way finds that the slot is not its SA's.
    pub(crate) fn clear(&self) {
        self.identity.store(0, Ordering::Release);
    }

    /// Free → Allocated; `false` where it was not free.
    pub(crate) fn claim(&self) -> bool {
        self.identity
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (state_of(word) == SlotState::Free).then_some((SlotState::Allocated as u64) << STATE_SHIFT)
            })
            .is_ok()
    }
}

const fn low32(word: u64) -> u32 {
    word as u32
}

const fn state_of(identity: u64) -> SlotState {
    SlotState::from_byte(((identity & STATE_MASK) >> STATE_SHIFT) as u8)
}
