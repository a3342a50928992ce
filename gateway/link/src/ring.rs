//! The ring core: one producer, one consumer, records of bytes, over any memory of atomic words.
//!
//! Generic over the words so that the very same code runs over the mapped file and under loom.
//!
//! ```text
//!        freed          acked          tail
//! ─────────┴──────────────┴──────────────┴────────►  positions: octets since the ring was made, 64 bits, never reset
//!   free    being wiped     published      free
//! ```
//!
//! * A record is one header word (length, check) and its octets, padded to a word. It may wrap around the buffer's end;
//!   a header never does.
//! * `tail` is the producer's. Until it is stored a record does not exist, so a producer killed in mid-push has pushed
//!   nothing.
//! * `acked` and `freed` are the consumer's. `acked` says which records are done with: a new consumer starts there.
//!   `freed` says what the producer may overwrite. Between the two the octets are wiped (they may be keys); a consumer
//!   killed in mid-wipe has acknowledged the record already, and its successor finishes the wiping.
//!
//! Edges, by name. Each store is a Release, its load an Acquire:
//!
//! | edge | store | load | carries |
//! |---|---|---|---|
//! | P (published) | producer: `tail` | consumer: `tail` | the record's octets |
//! | F (freed) | consumer: `freed` | producer: `freed` | the wiped octets: writing may begin |
//! | A (acknowledged) | consumer: `acked` | next consumer: `acked` | nothing but its own value |
//! | T (taken over) | producer: `tail` | next producer: `tail` | nothing but its own value |
//!
//! Neither side trusts an index, length or octet of the other. Each keeps its own positions in private memory and only
//! ever *publishes* them, so that scribbling over them costs at most records, and the next store mends it.

use core::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroize;

/// Greatest record: a UDP datagram of any size, with its addresses.
pub const MAX_RECORD: usize = 65_535 + 64;
const WORD: usize = 8;
const WORD_U64: u64 = 8;

/// One shared word. The orderings are the method's names, so that no call can get them wrong.
pub trait Word {
    fn load_relaxed(&self) -> u64;
    fn load_acquire(&self) -> u64;
    fn store_relaxed(&self, value: u64);
    fn store_release(&self, value: u64);
}

impl Word for AtomicU64 {
    fn load_relaxed(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    fn load_acquire(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn store_relaxed(&self, value: u64) {
        self.store(value, Ordering::Relaxed);
    }

    fn store_release(&self, value: u64) {
        self.store(value, Ordering::Release);
    }
}

/// The memory of one ring.
pub trait Memory {
    type Word: Word;

    /// A power of two of words, and always the same.
    fn data(&self) -> &[Self::Word];
    fn tail(&self) -> &Self::Word;
    fn freed(&self) -> &Self::Word;
    fn acked(&self) -> &Self::Word;
}

/// Why a record was not pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    #[error("the ring is full")]
    Full,
    #[error("a record of {length} bytes is longer than the ring takes")]
    TooLong { length: usize },
    /// Nothing was pushed. The producer has published its own position again, from which an honest consumer recovers.
    #[error("the consumer's position {freed} cannot be: the producer's is {tail}")]
    PeerCorrupt { freed: u64, tail: u64 },
}

/// Why no record could be popped. The consumer has moved to the producer's position: whatever lay between is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    #[error("the producer's position {tail} cannot be: the consumer's is {position}")]
    Position { position: u64, tail: u64 },
    #[error("a record of {length} bytes at position {position} cannot be")]
    Length { position: u64, length: u32 },
    #[error("the header at position {position} does not belong there")]
    Check { position: u64 },
}

/// Octets a record takes in the buffer.
const fn footprint(length: usize) -> u64 {
    (WORD + length.next_multiple_of(WORD)) as u64
}

/// Header word: length, and a check that binds it to the position. Stale, wiped or foreign words fail it. It is no
/// defence against a lying peer; the bounds are.
fn header_word(position: u64, length: u32) -> u64 {
    u64::from(length) | u64::from(check(position, length)) << 32
}

fn check(position: u64, length: u32) -> u32 {
    // The top bit keeps a wiped header (all zero) from being valid anywhere.
    ((position / WORD_U64) as u32 ^ length.rotate_left(16) ^ 0x43_56_4c_54) | 1 << 31
}

fn is_aligned(position: u64) -> bool {
    position.is_multiple_of(WORD_U64)
}

/// Word of the buffer that a position falls on; always in range, as `data` has a power of two of words.
fn word_at<W>(data: &[W], position: u64) -> &W {
    &data[(position / WORD_U64) as usize & (data.len() - 1)]
}

/// The writing side.
pub struct RawProducer<M> {
    memory: M,
    /// The truth about `tail`; the shared word is only told.
    tail: u64,
    /// What `freed` was when last looked at.
    freed: u64,
    corruptions: u64,
}

impl<M: Memory> RawProducer<M> {
    /// Takes over where the last producer was. The caller has made sure that there is no other.
    pub fn attach(memory: M) -> Self {
        let tail = memory.tail().load_acquire(); // edge T
        let freed = memory.freed().load_acquire(); // edge F
        let mut producer = Self { memory, tail, freed, corruptions: 0 };
        if !producer.plausible(freed) || !is_aligned(tail) {
            // Our own words were overwritten. Start where the consumer says it is, rounded to what a position can be;
            // if that is wrong too, the consumer's next look at `tail` makes it resynchronise.
            producer.corruptions = 1;
            producer.tail = freed & !(WORD_U64 - 1);
            producer.freed = producer.tail;
            producer.memory.tail().store_release(producer.tail); // edges P, T
        }
        producer
    }

    pub fn push(&mut self, record: &[u8]) -> Result<(), PushError> {
        let needed = footprint(record.len());
        let (Ok(length), true) = (u32::try_from(record.len()), record.len() <= MAX_RECORD && needed <= self.capacity())
        else {
            return Err(PushError::TooLong { length: record.len() });
        };
        if self.room() < needed {
            self.refresh()?;
            if self.room() < needed {
                return Err(PushError::Full);
            }
        }
        let data = self.memory.data();
        word_at(data, self.tail).store_relaxed(header_word(self.tail, length));
        let mut position = self.tail.wrapping_add(WORD_U64);
        for chunk in record.chunks(WORD) {
            let mut octets = [0; WORD];
            octets[..chunk.len()].copy_from_slice(chunk);
            word_at(data, position).store_relaxed(u64::from_le_bytes(octets));
            octets.zeroize();
            position = position.wrapping_add(WORD_U64);
        }
        self.tail = self.tail.wrapping_add(needed);
        self.memory.tail().store_release(self.tail); // edges P, T: from here on the record exists
        Ok(())
    }

    /// Looks at the consumer's position again, and whether ours still stands where we published it.
    fn refresh(&mut self) -> Result<(), PushError> {
        let freed = self.memory.freed().load_acquire(); // edge F
        // Never backwards: what was free once stays ours.
        if !self.plausible(freed) || self.tail.wrapping_sub(freed) > self.tail.wrapping_sub(self.freed) {
            self.corruptions += 1;
            self.memory.tail().store_release(self.tail); // edges P, T: shows a consumer gone astray where to go
            return Err(PushError::PeerCorrupt { freed, tail: self.tail });
        }
        self.freed = freed;
        if self.memory.tail().load_relaxed() != self.tail {
            // Overwritten by somebody else: a consumer that never sees the true tail would leave the ring full for
            // ever.
            self.corruptions += 1;
            self.memory.tail().store_release(self.tail); // edges P, T
        }
        Ok(())
    }

    fn plausible(&self, freed: u64) -> bool {
        is_aligned(freed) && self.tail.wrapping_sub(freed) <= self.capacity()
    }

    fn capacity(&self) -> u64 {
        (self.memory.data().len() * WORD) as u64
    }

    fn room(&self) -> u64 {
        self.capacity() - self.tail.wrapping_sub(self.freed)
    }

    /// Octets pushed since the ring was made, headers and padding included. A producer that wrote down this number
    /// before a push can tell after a crash whether the push happened.
    pub fn position(&self) -> u64 {
        self.tail
    }

    /// How often the shared words held what cannot be.
    pub fn corruptions(&self) -> u64 {
        self.corruptions
    }
}

/// The reading side.
pub struct RawConsumer<M> {
    memory: M,
    /// Next record to pop.
    position: u64,
    /// The truth about `acked` (and, outside [`commit`](Self::commit), about `freed`).
    acked: u64,
    /// What `tail` was when last looked at; `position` never passes it.
    tail: u64,
    /// The same as it stood there, possible or not: one lie is one error, however often it is looked at.
    seen: u64,
    corruptions: u64,
}

impl<M: Memory> RawConsumer<M> {
    /// Takes over where the last consumer was: the first record it had not acknowledged. The caller has made sure that
    /// there is no other consumer.
    pub fn attach(memory: M) -> Self {
        let acked = memory.acked().load_acquire(); // edge A
        let freed = memory.freed().load_relaxed();
        let tail = memory.tail().load_acquire(); // edge P
        let mut consumer = Self { memory, position: acked, acked, tail: acked, seen: acked, corruptions: 0 };
        let capacity = consumer.capacity();
        let in_order = [freed, acked, tail].iter().all(|&p| is_aligned(p))
            && tail.wrapping_sub(acked) <= capacity
            && tail.wrapping_sub(freed) <= capacity
            && tail.wrapping_sub(freed) >= tail.wrapping_sub(acked);
        if in_order {
            // The last consumer may have died between acknowledging and wiping.
            consumer.wipe(freed, acked);
            consumer.memory.freed().store_release(acked); // edge F
        } else {
            consumer.resynchronise(tail);
        }
        consumer
    }

    /// Copies the next record into `buffer` and returns it; `None` where there is none. The record stays in the ring,
    /// and comes again after a crash, until [`commit`](Self::commit).
    pub fn pop<'a>(&mut self, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>, RingError> {
        if self.position == self.tail && !self.refresh()? {
            return Ok(None);
        }
        // Once, into a local: what is checked is what is used.
        let header = word_at(self.memory.data(), self.position).load_relaxed();
        let position = self.position;
        let length = low32(header);
        if low32(header >> 32) != check(position, length) {
            self.resynchronise(self.tail);
            return Err(RingError::Check { position });
        }
        let octets = length as usize;
        if octets > MAX_RECORD || footprint(octets) > self.tail.wrapping_sub(position) {
            self.resynchronise(self.tail);
            return Err(RingError::Length { position, length });
        }
        self.copy_out(position.wrapping_add(WORD_U64), octets, buffer);
        self.position = position.wrapping_add(footprint(octets));
        Ok(Some(buffer.as_slice()))
    }

    /// Acknowledges everything popped so far and wipes it from the ring.
    pub fn commit(&mut self) {
        if self.acked == self.position {
            return;
        }
        let from = self.acked;
        self.acked = self.position;
        self.memory.acked().store_release(self.acked); // edge A: before wiping, or a successor would read wiped records
        self.wipe(from, self.acked);
        self.memory.freed().store_release(self.acked); // edge F: after wiping, or it would hit the next record
    }

    /// Looks at the producer's position again: is there something new?
    fn refresh(&mut self) -> Result<bool, RingError> {
        let tail = self.memory.tail().load_acquire(); // edge P
        if tail == self.seen {
            self.mend();
            return Ok(false);
        }
        // Measured from what is not yet acknowledged: the producer may not have overwritten that.
        if !is_aligned(tail)
            || tail.wrapping_sub(self.acked) > self.capacity()
            || tail.wrapping_sub(self.acked) < self.position.wrapping_sub(self.acked)
        {
            let position = self.position;
            self.resynchronise(tail);
            return Err(RingError::Position { position, tail });
        }
        (self.tail, self.seen) = (tail, tail);
        Ok(true)
    }

    /// Publishes our positions again where something has overwritten them, or the producer would wait for ever.
    fn mend(&mut self) {
        let intact = |word: &M::Word| word.load_relaxed() == self.acked;
        if intact(self.memory.acked()) && intact(self.memory.freed()) {
            return;
        }
        self.corruptions += 1;
        self.memory.acked().store_release(self.acked); // edge A
        self.memory.freed().store_release(self.acked); // edge F
    }

    /// Gives up what is between here and the producer, acknowledged or not.
    fn resynchronise(&mut self, tail: u64) {
        self.corruptions += 1;
        let from = self.acked;
        let published = self.tail;
        let position = tail & !(WORD_U64 - 1);
        (self.position, self.acked, self.tail) = (position, position, position);
        self.seen = tail;
        self.memory.acked().store_release(position); // edge A
        // Only what is known to be published: an honest producer may be writing behind it, and wiping there would
        // falsify its next record without anyone noticing.
        self.wipe(from, published);
        self.memory.freed().store_release(position); // edge F
    }

    fn copy_out(&self, start: u64, length: usize, buffer: &mut Vec<u8>) {
        let padded = length.next_multiple_of(WORD);
        if buffer.capacity() < padded {
            // Growing may move the octets and leave the old ones, perhaps of a key, behind.
            buffer.zeroize();
            buffer.reserve_exact(padded);
        }
        buffer.clear();
        let data = self.memory.data();
        let mut position = start;
        for _ in 0..padded / WORD {
            buffer.extend_from_slice(&word_at(data, position).load_relaxed().to_le_bytes());
            position = position.wrapping_add(WORD_U64);
        }
        buffer.truncate(length);
    }

    fn wipe(&self, from: u64, to: u64) {
        let data = self.memory.data();
        let mut position = from;
        while position != to {
            word_at(data, position).store_relaxed(0);
            position = position.wrapping_add(WORD_U64);
        }
    }

    fn capacity(&self) -> u64 {
        (self.memory.data().len() * WORD) as u64
    }

    /// How often the ring held what cannot be.
    pub fn corruptions(&self) -> u64 {
        self.corruptions
    }
}

const fn low32(word: u64) -> u32 {
    word as u32
}
