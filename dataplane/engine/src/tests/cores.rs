//! Two workers, one SA each way: no packet lost, doubled, turned round or miscounted.

use super::rig::*;
use crate::testing::VecBuffer;
use crate::{BURST, Counters, Worker};
use arrayvec::ArrayVec;
use culvert_model::{Direction, SaSpec};
use culvert_telemetry::{DropReason, SaCounter, WorkerCounter};
use std::sync::Barrier;

type Burst = ArrayVec<VecBuffer, BURST>;

/// All packets of a test fit one window, so that none is too old however long the machine stops a worker.
const WINDOW: u32 = 65_536;
const FLOWS: u8 = 8;

/// Packet `number` of a flow of this worker, from the host of one site to that of the other.
fn of_flow(from: u8, to: u8, worker: usize, flow: u8, number: u64) -> VecBuffer {
    let source = ip(&format!("10.{from}.{worker}.{}", 10 + flow));
    let destination = ip(&format!("10.{to}.0.2"));
    let payload = [&[worker as u8, flow][..], &number.to_be_bytes()].concat();
    frame(host_mac(from), mac(from, LAN), &packet(source, destination, &payload))
}

/// Whose it is, and which.
fn read(frame: &VecBuffer) -> ([u8; 2], u64) {
    let payload = &inner(frame)[28..38];
    (payload[..2].try_into().unwrap(), u64::from_be_bytes(payload[2..].try_into().unwrap()))
}

fn counters(gateway: &Gateway, worker: usize) -> Counters {
    Counters::new(gateway.region.worker_counters(worker).unwrap())
}

fn sum(gateway: &Gateway, counter: WorkerCounter) -> u64 {
    [1, 2].map(|worker| counters(gateway, worker).get(counter)).iter().sum()
}

fn dropped(gateway: &Gateway, reason: DropReason) -> u64 {
    [1, 2].map(|worker| counters(gateway, worker).dropped(reason)).iter().sum()
}

fn slot(gateway: &Gateway, spec: &SaSpec, counter: SaCounter) -> u64 {
    gateway.region.slot(spec.slot).unwrap().get(counter.index())
}

/// What one worker of each gateway makes of the flows that are its own, in both directions; returns what it delivered to
/// site 1 and to site 7.
fn exchange(a: &Gateway, b: &Gateway, worker: usize, bursts: u64) -> [Vec<VecBuffer>; 2] {
    let of =
        |gateway: &Gateway| Worker::new(gateway.shared.clone(), worker, crate::RustCrypto).unwrap().with_fast_path();
    let (mut at_a, mut at_b) = (of(a), of(b));
    let (mut to_a, mut to_b) = (TestIo::default(), TestIo::default());
    for burst in 0..bursts {
        // Flows take turns within the burst.
        let frames = |from, to| {
            let each = BURST as u64 / u64::from(FLOWS);
            let numbers = burst * each..(burst + 1) * each;
            numbers.flat_map(move |n| (0..FLOWS).map(move |flow| of_flow(from, to, worker, flow, n)))
        };
        let (mut there, mut back): (Burst, Burst) = (frames(1, 7).collect(), frames(7, 1).collect());
        let mut wire = TestIo::default();
        at_a.run_burst(SECOND, LAN, &mut there, &mut wire);
        let mut there: Burst = wire.sent.drain(..).map(|(_, frame)| frame).collect();
        at_b.run_burst(SECOND, LAN, &mut back, &mut wire);
        let mut back: Burst = wire.sent.drain(..).map(|(_, frame)| frame).collect();
        at_b.run_burst(SECOND, WAN, &mut there, &mut to_b);
        at_a.run_burst(SECOND, WAN, &mut back, &mut to_a);
        assert!(wire.punts.is_empty());
    }
    [to_a, to_b].map(|io| io.sent.into_iter().map(|(_, frame)| frame).collect())
}

#[test]
fn order_and_counts_hold_with_two_workers_on_one_sa_each_way() {
    const BURSTS: u64 = 900;
    const TOTAL: u64 = 2 * BURSTS * BURST as u64;
    const { assert!(TOTAL <= WINDOW as u64) };
    for esn in [false, true] {
        let kind = Kind { esn, window: WINDOW, ..Kind::PLAIN };
        let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
        a.protect(7);
        b.protect(1);
        let (there_in, there_out) = connect(&mut a, &mut b, kind, 1);
        let (back_in, back_out) = connect(&mut b, &mut a, kind, 100);
        let (a, b) = (&a, &b);
        let delivered = std::thread::scope(|scope| {
            let workers = [1, 2].map(|worker| scope.spawn(move || exchange(a, b, worker, BURSTS)));
            workers.map(|worker| worker.join().unwrap())
        });
        // Each flow came whole and in its order, out of the worker it stayed with.
        for (worker, ends) in (1u8..).zip(&delivered) {
            for frames in ends {
                for flow in 0..FLOWS {
                    let numbers: Vec<u64> =
                        frames.iter().map(read).filter(|(whose, _)| *whose == [worker, flow]).map(|(_, n)| n).collect();
                    let all = BURSTS * BURST as u64 / u64::from(FLOWS);
                    assert_eq!(numbers, (0..all).collect::<Vec<_>>(), "flow {flow} of worker {worker}");
                }
            }
        }
        let octets = TOTAL * (20 + 8 + 10);
        for (gateway, sealing, opening) in [(a, &there_out, &back_in), (b, &back_out, &there_in)] {
            assert_eq!((sealing.direction, opening.direction), (Direction::Outbound, Direction::Inbound));
            assert_eq!(sum(gateway, WorkerCounter::SealedPackets), TOTAL);
            assert_eq!(sum(gateway, WorkerCounter::SealedBytes), octets);
            assert_eq!(sum(gateway, WorkerCounter::OpenedPackets), TOTAL);
            assert_eq!(sum(gateway, WorkerCounter::OpenedBytes), octets);
            for spec in [sealing, opening] {
                assert_eq!(slot(gateway, spec, SaCounter::Packets), TOTAL);
                assert_eq!(slot(gateway, spec, SaCounter::Bytes), octets);
            }
            assert_eq!(DropReason::ALL.iter().map(|reason| dropped(gateway, *reason)).sum::<u64>(), 0);
            assert_eq!(gateway.region.slot(sealing.slot).unwrap().sequence(), TOTAL);
            assert_eq!(gateway.region.slot(opening.slot).unwrap().replay_top(), TOTAL);
        }
    }
}

/// Each burst reaches both workers at one moment, as a replay might: each packet is accepted by one of them.
#[test]
fn of_two_workers_with_the_same_packet_one_accepts_it() {
    const BURSTS: usize = 1500;
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    let (inbound, _) = connect(&mut a, &mut b, Kind { window: WINDOW, ..Kind::PLAIN }, 1);
    let wire: Vec<Burst> = (0..BURSTS as u64)
        .map(|burst| {
            let numbers = burst * BURST as u64..(burst + 1) * BURST as u64;
            a.receive(1, LAN, numbers.map(|n| of_flow(1, 7, 1, 0, n)));
            a.sent().into_iter().collect()
        })
        .collect();
    let meet = Barrier::new(2);
    let (b, wire, meet) = (&b, &wire, &meet);
    let accepted = std::thread::scope(|scope| {
        let workers = [1, 2].map(|index| {
            scope.spawn(move || {
                let mut worker = Worker::new(b.shared.clone(), index, crate::RustCrypto).unwrap().with_fast_path();
                let mut io = TestIo::default();
                for burst in wire {
                    let mut burst = burst.clone();
                    meet.wait();
                    worker.run_burst(SECOND, WAN, &mut burst, &mut io);
                }
                io.sent.iter().map(|(_, frame)| read(frame).1).collect::<Vec<u64>>()
            })
        });
        workers.map(|worker| worker.join().unwrap())
    });
    let total = (BURSTS * BURST) as u64;
    let mut all = accepted.concat();
    all.sort_unstable();
    assert_eq!(all, (0..total).collect::<Vec<u64>>());
    assert!(accepted.iter().all(|mine| !mine.is_empty()), "they never met");
    // The other copy is a duplicate, and nothing else: on the worker's count as on the SA's.
    assert_eq!(dropped(b, DropReason::ReplayDuplicate), total);
    assert_eq!(DropReason::ALL.iter().map(|reason| dropped(b, *reason)).sum::<u64>(), total);
    assert_eq!(slot(b, &inbound, SaCounter::ReplayDrops), total);
    assert_eq!(slot(b, &inbound, SaCounter::Packets), total);
    assert_eq!(sum(b, WorkerCounter::OpenedPackets), total);
}
