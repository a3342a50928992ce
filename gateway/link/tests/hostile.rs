//! A peer that writes garbage: into every index, header word, length and octet, at any moment. The honest side sees
//! errors and counts them; it does not panic, does not read or write elsewhere, and works again once the garbage
//! ends.

use culvert_link::ring::{Memory, RawConsumer, RawProducer};
use culvert_link::{ControlEnd, DataplaneEnd, Layout, MAX_RECORD, MIN_RING_BYTES, PushError, Region, RingError};
use proptest::prelude::*;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A ring whose words the test can reach.
#[derive(Clone)]
struct Open(Arc<[AtomicU64]>);

impl Open {
    fn new(words: usize) -> Self {
        Self((0..words + 3).map(|_| AtomicU64::new(0)).collect())
    }

    fn write(&self, word: usize, value: u64) {
        self.0[word % self.0.len()].store(value, Ordering::Relaxed);
    }
}

impl Memory for Open {
    type Word = AtomicU64;

    fn data(&self) -> &[AtomicU64] {
        &self.0[3..]
    }

    fn tail(&self) -> &AtomicU64 {
        &self.0[0]
    }

    fn freed(&self) -> &AtomicU64 {
        &self.0[1]
    }

    fn acked(&self) -> &AtomicU64 {
        &self.0[2]
    }
}

fn position() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..300u64,
        (0..40u64).prop_map(|n| n * 8),
        (0..300u64).prop_map(|n| u64::MAX - n),
        (0..64u32).prop_map(|bit| 1 << bit),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Pop,
    Commit,
    /// Word 0 to 2 are the indices.
    Scribble(usize, u64),
    /// Keeps the check, changes the length.
    FlipBit(usize, u32),
    ReplaceProducer,
    ReplaceConsumer,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..140usize).prop_map(Op::Push),
        4 => Just(Op::Pop),
        2 => Just(Op::Commit),
        2 => (0..3usize, position()).prop_map(|(word, value)| Op::Scribble(word, value)),
        1 => (any::<usize>(), any::<u64>()).prop_map(|(word, value)| Op::Scribble(word, value)),
        1 => (any::<usize>(), 0..64u32).prop_map(|(word, bit)| Op::FlipBit(word, bit)),
        1 => Just(Op::ReplaceProducer),
        1 => Just(Op::ReplaceConsumer),
    ]
}

/// The sides must find each other again once nobody scribbles: a few records may be lost, no more.
fn recover(producer: &mut RawProducer<Open>, consumer: &mut RawConsumer<Open>) {
    let mut buffer = Vec::new();
    let mut in_order = 0;
    for round in 0..64u64 {
        let _ = producer.push(&round.to_le_bytes());
        let mut last = None;
        // Bounded: what is in the ring, and an error for each resynchronisation.
        for _ in 0..64 {
            match consumer.pop(&mut buffer) {
                Ok(Some(record)) => last = Some(record.to_vec()),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        consumer.commit();
        in_order = if last.as_deref() == Some(&round.to_le_bytes()[..]) { in_order + 1 } else { 0 };
        if in_order == 8 {
            return;
        }
    }
    panic!("the ring does not work any more");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_garbage_anywhere(ops in prop::collection::vec(op(), 1..60), bits in 0..6u32) {
        let memory = Open::new(1 << bits);
        let mut producer = RawProducer::attach(memory.clone());
        let mut consumer = RawConsumer::attach(memory.clone());
        let mut buffer = Vec::new();
        for op in ops {
            let (before_push, before_pop) = (producer.corruptions(), consumer.corruptions());
            match op {
                Op::Push(length) => {
                    let result = producer.push(&vec![0xab; length]);
                    let counted = producer.corruptions() - before_push;
                    match result {
                        Err(PushError::PeerCorrupt { .. }) => prop_assert_eq!(counted, 1),
                        Err(PushError::TooLong { .. }) => prop_assert_eq!(counted, 0),
                        // Our own index may have been found scribbled over.
                        Ok(()) | Err(PushError::Full) => prop_assert!(counted <= 1),
                    }
                }
                Op::Pop => match consumer.pop(&mut buffer) {
                    Ok(Some(record)) => prop_assert!(record.len() <= MAX_RECORD && record.len() <= 8 << bits),
                    // Nothing there, and perhaps our own index was found scribbled over.
                    Ok(None) => prop_assert!(consumer.corruptions() - before_pop <= 1),
                    Err(_) => prop_assert_eq!(consumer.corruptions() - before_pop, 1),
                },
                Op::Commit => consumer.commit(),
                Op::Scribble(word, value) => memory.write(word, value),
                Op::FlipBit(word, bit) => {
                    let word = word % memory.0.len();
                    memory.write(word, memory.0[word].load(Ordering::Relaxed) ^ 1 << bit);
                }
                Op::ReplaceProducer => producer = RawProducer::attach(memory.clone()),
                Op::ReplaceConsumer => consumer = RawConsumer::attach(memory.clone()),
            }
        }
        if bits > 0 {
            recover(&mut producer, &mut consumer);
        }
    }
}

/// Each lie has its name.
#[test]
fn lies_of_a_producer() {
    let memory = Open::new(16);
    let mut producer = RawProducer::attach(memory.clone());
    let mut consumer = RawConsumer::attach(memory.clone());
    let mut buffer = Vec::new();
    // Position: too far, backwards, between two words.
    for (i, tail) in [136, u64::MAX - 7, 4].into_iter().enumerate() {
        let open = Open::new(16);
        let mut consumer = RawConsumer::attach(open.clone());
        open.write(0, tail);
        assert_eq!(consumer.pop(&mut buffer), Err(RingError::Position { position: 0, tail }), "{i}");
        // The same lie again is no news.
        assert_eq!(consumer.pop(&mut buffer), Ok(None));
        assert_eq!(consumer.corruptions(), 1);
    }
    // Header: wiped, of another place, longer than what is there.
    producer.push(&[1; 8]).expect("room");
    let good = memory.data()[0].load(Ordering::Relaxed);
    memory.write(3, 0);
    assert_eq!(consumer.pop(&mut buffer), Err(RingError::Check { position: 0 }));
    producer.push(&[2; 8]).expect("room");
    memory.write(5, good);
    assert_eq!(consumer.pop(&mut buffer), Err(RingError::Check { position: 16 }));
    // The next record is good again.
    producer.push(&[3; 8]).expect("room");
    assert_eq!(consumer.pop(&mut buffer), Ok(Some(&[3; 8][..])));
    assert_eq!(consumer.corruptions(), 2);
}

/// The length is bounded by what is published even where the check is right.
#[test]
fn a_length_that_reaches_beyond_the_published() {
    let long = Open::new(16);
    RawProducer::attach(long.clone()).push(&[7; 64]).expect("room");
    let header = long.data()[0].load(Ordering::Relaxed);
    let memory = Open::new(16);
    let mut consumer = RawConsumer::attach(memory.clone());
    memory.write(3, header);
    memory.write(0, 16);
    let mut buffer = Vec::new();
    assert_eq!(consumer.pop(&mut buffer), Err(RingError::Length { position: 0, length: 64 }));
    assert!(buffer.is_empty());
}

#[test]
fn lies_of_a_consumer() {
    for freed in [u64::MAX, 8, 12, 1 << 63, 136] {
        let memory = Open::new(16);
        let mut producer = RawProducer::attach(memory.clone());
        for _ in 0..8 {
            producer.push(&[5; 8]).expect("room");
        }
        memory.write(0, 0xdead);
        memory.write(1, freed);
        let result = producer.push(&[6; 8]);
        if freed == 8 {
            // Not what it freed, but it might have been; one word is still not enough.
            assert_eq!(result, Err(PushError::Full));
        } else {
            assert_eq!(result, Err(PushError::PeerCorrupt { freed, tail: 128 }));
            assert_eq!((producer.corruptions(), memory.tail().load(Ordering::Relaxed)), (1, 128));
        }
        // Backwards is a lie too, and gives no room.
        memory.write(1, 16);
        producer.push(&[6; 8]).expect("room");
        memory.write(1, 0);
        assert!(matches!(producer.push(&[6; 64]), Err(PushError::PeerCorrupt { .. })));
    }
}

fn attach(region: &Region) -> Option<(ControlEnd, DataplaneEnd)> {
    let control = ControlEnd::attach(region).expect("nobody has it");
    Some((control, DataplaneEnd::attach(region).expect("nobody has it")))
}

/// The tail of a full ring is overwritten: neither side would move again if the producer did not look.
#[test]
fn a_full_ring_recovers_from_a_lost_tail() {
    let memory = Open::new(16);
    let mut producer = RawProducer::attach(memory.clone());
    let mut consumer = RawConsumer::attach(memory.clone());
    let mut buffer = Vec::new();
    producer.push(&[1; 112]).expect("room");
    memory.write(0, 1);
    assert_eq!(consumer.pop(&mut buffer), Err(RingError::Position { position: 0, tail: 1 }));
    assert_eq!(producer.push(&[2; 8]), Err(PushError::Full));
    assert_eq!(producer.corruptions(), 1);
    assert_eq!(consumer.pop(&mut buffer), Ok(Some(&[1; 112][..])), "it was not lost after all");
    consumer.commit();
    producer.push(&[3; 8]).expect("room");
    assert_eq!(consumer.pop(&mut buffer), Ok(Some(&[3; 8][..])));
}

/// Through the file, with the garbage written by another mapping while both sides work on all four rings.
#[test]
fn garbage_through_the_file() {
    const ROUNDS: u64 = 20_000;
    let layout = Layout { slots: 2, ring_bytes: MIN_RING_BYTES };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("link");
    let region = Region::create_or_attach(&path, layout).expect("made");
    let mut ends = attach(&region);
    let file = OpenOptions::new().write(true).open(&path).expect("the file");
    let end = file.metadata().expect("readable").len() / 8;
    let stop = AtomicBool::new(false);
    let mut errors = 0;
    let mut written = 0;
    std::thread::scope(|scope| {
        let scribbler = scope.spawn(|| {
            let mut random = 0x9e37_79b9_7f4a_7c15_u64;
            let mut next = || {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random
            };
            let mut written = 0u64;
            while !stop.load(Ordering::Relaxed) {
                // The header page holds the indices; it gets more than its share. Generations, counters and slots get
                // theirs.
                let word = if next() % 2 == 0 { 128 + next() % 128 } else { 5 + next() % (end - 5) };
                let value = match next() % 4 {
                    0 => next(),
                    1 => next() % (2 * u64::from(MIN_RING_BYTES)),
                    2 => next() % 4096 * 8,
                    _ => 0,
                };
                file.write_all_at(&value.to_ne_bytes(), word * 8).expect("written");
                written += 1;
            }
            written
        });
        let record = vec![0xab; 3000];
        let mut buffer = Vec::new();
        for round in 0..ROUNDS {
            let length = (round % 3000) as usize;
            let (control, dataplane) = ends.as_mut().expect("always both");
            for producer in [&mut control.commands, &mut control.inject, &mut dataplane.events, &mut dataplane.punt] {
                let _ = producer.push(&record[..length]);
            }
            for consumer in [&mut dataplane.commands, &mut dataplane.inject, &mut control.events, &mut control.punt] {
                match consumer.pop(&mut buffer) {
                    Ok(Some(record)) => assert!(record.len() <= MAX_RECORD),
                    Ok(None) => {}
                    Err(_) => errors += 1,
                }
                consumer.commit();
            }
            if round % 1000 == 0 {
                drop(ends.take());
                ends = attach(&region);
            }
        }
        stop.store(true, Ordering::Relaxed);
        written = scribbler.join().expect("the scribbler is done");
    });
    println!("hostile: {written} words of garbage, {errors} errors");
    assert!(written > 1000 && errors > 100, "{written} words, {errors} errors");

    // And once it is over, it is over.
    let mut buffer = Vec::new();
    let mut in_order = 0;
    let (mut control, mut dataplane) = ends.expect("always both");
    for round in 0..100u64 {
        let _ = control.commands.push(&round.to_le_bytes());
        while !matches!(dataplane.commands.pop(&mut buffer), Ok(None)) {}
        dataplane.commands.commit();
        in_order = if buffer == round.to_le_bytes() { in_order + 1 } else { 0 };
    }
    assert!(in_order > 50, "the ring does not work any more");
}
