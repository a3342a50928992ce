//! The ring itself: the input is a program for a producer, a consumer and somebody who writes into their memory.

use core::sync::atomic::{AtomicU64, Ordering};
use culvert_link::ring::{MAX_RECORD, Memory, RawConsumer, RawProducer};
use std::rc::Rc;

const WORDS: usize = 16;

#[derive(Clone)]
struct Words(Rc<[AtomicU64]>);

impl Memory for Words {
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

/// Nothing panics, nothing longer than the ring comes out, and once the scribbling ends records arrive again.
pub fn ring(program: &[u8]) -> bool {
    let memory = Words((0..WORDS + 3).map(|_| AtomicU64::new(0)).collect());
    let mut producer = RawProducer::attach(memory.clone());
    let mut consumer = RawConsumer::attach(memory.clone());
    let mut buffer = Vec::new();
    let mut code = program.iter().copied();
    while let Some(op) = code.next() {
        match op & 7 {
            0 | 1 => {
                let length = usize::from(code.next().unwrap_or(0));
                let _ = producer.push(&vec![op; length]);
            }
            2 | 3 => {
                if let Ok(Some(record)) = consumer.pop(&mut buffer) {
                    assert!(record.len() <= MAX_RECORD && record.len() < WORDS * 8);
                }
            }
            4 => consumer.commit(),
            5 => {
                let word = &memory.0[usize::from(op >> 3) % memory.0.len()];
                let mut octets = [0; 8];
                octets.fill_with(|| code.next().unwrap_or(0));
                word.store(u64::from_le_bytes(octets), Ordering::Relaxed);
            }
            6 => {
                let word = &memory.0[usize::from(op >> 3) % memory.0.len()];
                word.fetch_add(u64::from(code.next().unwrap_or(8)), Ordering::Relaxed);
            }
            _ if op & 8 == 0 => producer = RawProducer::attach(memory.clone()),
            _ => consumer = RawConsumer::attach(memory.clone()),
        }
    }
    let mut good = 0;
    for round in 0..32u64 {
        let _ = producer.push(&round.to_le_bytes());
        // More than fit, so that this ends only where the ring is empty or does not come to an end.
        let last = (0..WORDS).map_while(|_| match consumer.pop(&mut buffer) {
            Ok(Some(record)) => Some(record == round.to_le_bytes()),
            Ok(None) => None,
            Err(_) => Some(false),
        });
        good = if last.last() == Some(true) { good + 1 } else { 0 };
        consumer.commit();
    }
    assert!(good >= 8, "the ring does not work any more");
    true
}

pub fn programs() -> Vec<Vec<u8>> {
    let push = |length| [0, length];
    let (pop, commit, new_producer, new_consumer) = (2, 4, 7, 15);
    vec![
        [&push(8)[..], &push(0), &[pop, pop, pop, commit]].concat(),
        [&push(100)[..], &push(100), &[pop, commit], &push(100), &[pop, new_consumer, pop, commit]].concat(),
        [&push(30)[..], &[new_producer], &push(30), &[pop, new_consumer, pop, pop, commit]].concat(),
        // The indices, one after the other.
        [&push(8)[..], &[5, 1, 0, 0, 0, 0, 0, 0, 0x80, pop, pop, commit]].concat(),
        [&push(8)[..], &[13, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &push(120), &push(120)].concat(),
        [&push(8)[..], &[21, 4, 0, 0, 0, 0, 0, 0, 0, new_consumer, pop, commit]].concat(),
        // The first record's length.
        [&push(8)[..], &[30, 0xf8, pop, pop, commit], &push(8), &[pop]].concat(),
    ]
}
