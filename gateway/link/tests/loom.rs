//! The ring core and the sequence counter under loom: every interleaving, and every stale value that the memory model
//! lets a load return. The code is generic over its words, so it needs no `--cfg loom`.

use culvert_link::ring::{Memory, RawConsumer, RawProducer, Word};
use culvert_link::sequence::{Counter, reserve};
use culvert_link::{PushError, RingError};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

struct LoomWord(AtomicU64);

impl Word for LoomWord {
    fn load_relaxed(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn load_acquire(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn store_relaxed(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn store_release(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
}

struct Words {
    data: Vec<LoomWord>,
    indices: [LoomWord; 3],
}

#[derive(Clone)]
struct Shared(Arc<Words>);

impl Shared {
    fn new(words: usize, start: u64) -> Self {
        let word = |value| LoomWord(AtomicU64::new(value));
        let data = (0..words).map(|_| word(0)).collect();
        Self(Arc::new(Words { data, indices: [start; 3].map(word) }))
    }
}

impl Memory for Shared {
    type Word = LoomWord;

    fn data(&self) -> &[LoomWord] {
        &self.0.data
    }

    fn tail(&self) -> &LoomWord {
        &self.0.indices[0]
    }

    fn freed(&self) -> &LoomWord {
        &self.0.indices[1]
    }

    fn acked(&self) -> &LoomWord {
        &self.0.indices[2]
    }
}

/// Pushes 1, 2, 3 … one octet each (two words of ring), waiting where the ring is full.
fn produce(producer: &mut RawProducer<Shared>, numbers: core::ops::RangeInclusive<u8>) {
    for n in numbers {
        loop {
            match producer.push(&[n]) {
                Ok(()) => break,
                Err(PushError::Full) => thread::yield_now(),
                Err(e) => panic!("an honest consumer is called corrupt: {e}"),
            }
        }
    }
}

fn consume(consumer: &mut RawConsumer<Shared>, numbers: core::ops::RangeInclusive<u8>) {
    let mut buffer = Vec::new();
    for n in numbers {
        loop {
            match consumer.pop(&mut buffer) {
                Ok(Some(record)) => {
                    assert_eq!(record, [n]);
                    break;
                }
                Ok(None) => thread::yield_now(),
                Err(e) => panic!("an honest producer is called corrupt: {e}"),
            }
        }
        consumer.commit();
    }
}

/// Three records through room for two, around the end of the buffer and around the end of the numbers.
#[test]
fn records_arrive_whole_and_in_order() {
    loom::model(|| {
        let shared = Shared::new(4, u64::MAX - 15);
        let other = shared.clone();
        let thread = thread::spawn(move || produce(&mut RawProducer::attach(other), 1..=3));
        consume(&mut RawConsumer::attach(shared), 1..=3);
        thread.join().expect("the producer is done");
    });
}

/// The room of a wiped record is used again: edge F keeps the wiping before the writing.
#[test]
fn wiping_never_hits_the_next_record() {
    loom::model(|| {
        let shared = Shared::new(2, 0);
        let other = shared.clone();
        let thread = thread::spawn(move || produce(&mut RawProducer::attach(other), 1..=2));
        consume(&mut RawConsumer::attach(shared), 1..=2);
        thread.join().expect("the producer is done");
    });
}

/// Both sides are replaced while the other works; what was pushed but not acknowledged comes again.
#[test]
fn both_sides_attach_again() {
    loom::model(|| {
        let shared = Shared::new(4, 0);
        let other = shared.clone();
        let thread = thread::spawn(move || {
            produce(&mut RawProducer::attach(other.clone()), 1..=1);
            produce(&mut RawProducer::attach(other), 2..=2);
        });
        let mut dying = RawConsumer::attach(shared.clone());
        let mut buffer = Vec::new();
        dying.pop(&mut buffer).expect("an honest producer");
        // Dies without a commit: whether it had popped the first record or not, its successor gets it.
        drop(dying);
        consume(&mut RawConsumer::attach(shared), 1..=2);
        thread.join().expect("the producer is done");
    });
}

/// A producer that lies about its tail: an error or nothing, and the honest record that follows is found again.
#[test]
fn a_lying_tail_is_an_error() {
    loom::model(|| {
        let shared = Shared::new(4, 0);
        let other = shared.clone();
        let thread = thread::spawn(move || {
            other.tail().store_release(1 << 40);
            produce(&mut RawProducer::attach(other), 1..=1);
        });
        let mut consumer = RawConsumer::attach(shared.clone());
        let mut buffer = Vec::new();
        match consumer.pop(&mut buffer) {
            Ok(Some(record)) => assert_eq!(record, [1]),
            Ok(None) => {}
            Err(RingError::Position { .. } | RingError::Check { .. } | RingError::Length { .. }) => {
                assert!(consumer.corruptions() > 0);
            }
        }
        thread.join().expect("the producer is done");
        // What comes after the lie may cost one more error, but not the ring.
        consumer.commit();
        let mut producer = RawProducer::attach(shared);
        let mut found = None;
        for _ in 0..4 {
            let _ = producer.push(&[2]);
            if let Ok(Some(record)) = consumer.pop(&mut buffer) {
                found = Some(record.to_vec());
            }
            consumer.commit();
        }
        assert_eq!(found.as_deref(), Some(&[2][..]));
    });
}

struct LoomCounter(AtomicU64);

impl Counter for LoomCounter {
    fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn replace(&self, current: u64, new: u64) -> Result<u64, u64> {
        self.0.compare_exchange_weak(current, new, Ordering::Relaxed, Ordering::Relaxed)
    }
}

/// Three workers and a limit that lets two of them have their numbers.
#[test]
fn no_sequence_number_twice() {
    loom::model(|| {
        let slot = Arc::new((LoomCounter(AtomicU64::new(0)), LoomCounter(AtomicU64::new(5))));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let slot = slot.clone();
                thread::spawn(move || reserve(&slot.0, &slot.1, 2))
            })
            .collect();
        let mut firsts = vec![reserve(&slot.0, &slot.1, 2)];
        firsts.extend(threads.into_iter().map(|t| t.join().expect("a worker is done")));
        firsts.sort();
        assert_eq!(firsts, [None, Some(1), Some(3)]);
        assert_eq!(slot.0.load(), 4);
    });
}
