//! The ring against a plain queue: the same list of operations on both.

use culvert_link::{
    Consumer, ControlEnd, DataplaneEnd, Layout, MAX_RECORD, MIN_RING_BYTES, Producer, PushError, Region,
};
use proptest::prelude::*;
use std::collections::VecDeque;

const LAYOUT: Layout = Layout { slots: 2, ring_bytes: MIN_RING_BYTES };

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Pop,
    Commit,
    /// The process dies and another attaches.
    ReplaceProducer,
    ReplaceConsumer,
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..64usize,
        4 => 0..2048usize,
        2 => 0..=MAX_RECORD,
        1 => Just(MAX_RECORD),
        1 => MAX_RECORD + 1..MAX_RECORD + 9,
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => length().prop_map(Op::Push),
        8 => Just(Op::Pop),
        3 => Just(Op::Commit),
        1 => Just(Op::ReplaceProducer),
        1 => Just(Op::ReplaceConsumer),
    ]
}

/// Records differ in every octet from their neighbours'.
fn record(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 13).wrapping_add(i * 7) as u8).collect()
}

struct Model {
    /// Pushed and not acknowledged; the first `popped` of them have been popped.
    queue: VecDeque<Vec<u8>>,
    popped: usize,
    numbers: u64,
}

impl Model {
    /// Octets the ring must have left, given 8 of header and padding to 8.
    fn room(&self) -> usize {
        let used: usize = self.queue.iter().map(|r| 8 + r.len().next_multiple_of(8)).sum();
        MIN_RING_BYTES as usize - used
    }

    fn push(&mut self, producer: &mut Producer, length: usize) {
        self.numbers += 1;
        let record = record(self.numbers, length);
        let expected = if length > MAX_RECORD {
            Err(PushError::TooLong { length })
        } else if 8 + length.next_multiple_of(8) > self.room() {
            Err(PushError::Full)
        } else {
            Ok(())
        };
        assert_eq!(producer.push(&record), expected);
        if expected.is_ok() {
            self.queue.push_back(record);
        }
    }

    fn pop(&mut self, consumer: &mut Consumer, buffer: &mut Vec<u8>) {
        let popped = consumer.pop(buffer).expect("nobody lies here");
        assert_eq!(popped, self.queue.get(self.popped).map(Vec::as_slice));
        self.popped += usize::from(popped.is_some());
    }

    fn commit(&mut self) {
        self.queue.drain(..self.popped);
        self.popped = 0;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ring_is_a_queue(ops in prop::collection::vec(op(), 1..200)) {
        let region = Region::anonymous(LAYOUT).expect("memory");
        let mut control = Some(ControlEnd::attach(&region).expect("no other control"));
        let mut dataplane = Some(DataplaneEnd::attach(&region).expect("no other data plane"));
        let mut model = Model { queue: VecDeque::new(), popped: 0, numbers: 0 };
        let mut buffer = Vec::new();
        for op in ops {
            match op {
                Op::Push(length) => model.push(&mut control.as_mut().unwrap().commands, length),
                Op::Pop => model.pop(&mut dataplane.as_mut().unwrap().commands, &mut buffer),
                Op::Commit => {
                    dataplane.as_mut().unwrap().commands.commit();
                    model.commit();
                }
                Op::ReplaceProducer => {
                    let before = control.take().unwrap();
                    let position = before.commands.position();
                    drop(before);
                    let after = ControlEnd::attach(&region).expect("the old one is gone");
                    prop_assert_eq!(after.commands.position(), position);
                    control = Some(after);
                }
                Op::ReplaceConsumer => {
                    drop(dataplane.take());
                    dataplane = Some(DataplaneEnd::attach(&region).expect("the old one is gone"));
                    model.popped = 0;
                }
            }
        }
        prop_assert_eq!(control.unwrap().commands.corruptions(), 0);
        prop_assert_eq!(dataplane.unwrap().commands.corruptions(), 0);
    }
}

/// Two threads, all four rings' kinds of length, many times around the buffer.
#[test]
fn two_threads() {
    const RECORDS: u64 = 30_000;
    let length = |n: u64| (n * n % 1500) as usize;
    let region = Region::anonymous(LAYOUT).expect("memory");
    let mut control = ControlEnd::attach(&region).expect("no other control");
    let mut dataplane = DataplaneEnd::attach(&region).expect("no other data plane");
    let producer = std::thread::spawn(move || {
        for n in 0..RECORDS {
            let record = record(n, length(n));
            while control.inject.push(&record) == Err(PushError::Full) {
                std::thread::yield_now();
            }
        }
        control
    });
    let mut buffer = Vec::new();
    let mut n = 0;
    while n < RECORDS {
        match dataplane.inject.pop(&mut buffer).expect("nobody lies here") {
            Some(found) => {
                assert_eq!(found, record(n, length(n)));
                n += 1;
                if n % 7 == 0 {
                    dataplane.inject.commit();
                }
            }
            None => {
                dataplane.inject.commit();
                std::thread::yield_now();
            }
        }
    }
    let control = producer.join().expect("the producer is done");
    assert_eq!(control.inject.corruptions(), 0);
}
