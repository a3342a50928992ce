//! Two workers on one SA, and what the packet path costs in allocations.

use super::rig::*;
use crate::{BURST, Buffer, Neighbour, RustCrypto, Worker};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use culvert_link::record::Command;
use culvert_model::SaSpec;
use culvert_telemetry::DropReason;
use std::sync::Arc;

const BURSTS: u64 = 300;

/// Worker `index` of the gateway takes the bursts; what it sent.
pub fn run(
    gateway: &Gateway,
    index: usize,
    port: crate::PortId,
    bursts: Vec<ArrayVec<crate::testing::VecBuffer, BURST>>,
) -> TestIo {
    let mut worker = Worker::new(gateway.shared.clone(), index, RustCrypto).unwrap().with_fast_path();
    let mut io = TestIo::default();
    for mut burst in bursts {
        worker.run_burst(SECOND, port, &mut burst, &mut io);
    }
    io
}

#[test]
fn two_workers_on_one_sa_use_no_number_twice_and_accept_none_twice() {
    let (a, b) = pair(Kind { esn: true, window: 4096, ..Kind::PLAIN });
    let bursts = || (0..BURSTS).map(|n| (0..BURST).map(|_| from_host(&n.to_be_bytes())).collect()).collect();
    let (a, b) = (&a, &b);
    let sent = std::thread::scope(|scope| {
        let workers = [1, 2].map(|index| scope.spawn(move || run(a, index, LAN, bursts()).sent));
        workers.map(|worker| worker.join().unwrap()).concat()
    });
    let mut numbers: Vec<u64> =
        sent.iter().map(|(_, f)| u64::from_be_bytes(inner(f)[28..36].try_into().unwrap())).collect();
    numbers.sort_unstable();
    let total = 2 * BURSTS * BURST as u64;
    assert_eq!(numbers, (1..=total).collect::<Vec<u64>>());

    // Both receivers get every packet, one in order of sending, the other with bursts turned round.
    let mut sent: Vec<_> = sent.into_iter().map(|(_, frame)| frame).collect();
    sent.sort_by_key(|frame| inner(frame)[28..36].to_vec());
    let bursts = |turn: bool| {
        let chunks = sent.chunks(BURST).map(move |chunk| {
            let mut burst: ArrayVec<_, BURST> = chunk.iter().cloned().collect();
            if turn {
                burst.reverse();
            }
            burst
        });
        chunks.collect::<Vec<_>>()
    };
    let (forth, back) = (bursts(false), bursts(true));
    let accepted = std::thread::scope(|scope| {
        let workers =
            [(1, forth), (2, back)].map(|(index, bursts)| scope.spawn(move || run(b, index, WAN, bursts).sent));
        workers.map(|worker| worker.join().unwrap().len()).iter().sum::<usize>()
    }) as u64;
    let dropped: u64 = [1, 2]
        .iter()
        .map(|index| {
            let counters = crate::Counters::new(b.region.worker_counters(*index).unwrap());
            // RFC 4303 appendix A: a number below the window is taken for one of the next epoch, and its ICV fails.
            [DropReason::ReplayDuplicate, DropReason::ReplayTooOld, DropReason::IcvFailed]
                .map(|reason| counters.dropped(reason))
                .iter()
                .sum::<u64>()
        })
        .sum();
    assert_eq!(accepted + dropped, 2 * total);
    // Never more than once each; where one worker runs far ahead, the other's packets may be too old.
    assert!(accepted <= total && accepted > 0, "{accepted} of {total}");
}

#[test]
fn the_packet_path_does_not_allocate() {
    for kind in [Kind::PLAIN, Kind { esn: true, udp: true, outer_v6: true, ..Kind::PLAIN }] {
        let (mut a, mut b) = pair(kind);
        let frames = |n: u8| (0..32).map(|i| from_host(&[n, i])).collect::<ArrayVec<_, BURST>>();
        // The first burst of a thread sets up its hazard slots.
        a.receive(1, LAN, frames(0));
        let first = a.sent();
        b.receive(1, WAN, first);
        let (mut sealed, mut opened) = (TestIo::default(), TestIo::default());
        sealed.sent.reserve(64);
        opened.sent.reserve(64);
        opened.punts.reserve(4);
        let mut burst = frames(1);
        let seal = allocation_counter::measure(|| a.worker.run_burst(2, LAN, &mut burst, &mut sealed));
        let mut burst: ArrayVec<_, BURST> = sealed.sent.drain(..).map(|(_, frame)| frame).collect();
        assert_eq!(burst.len(), 32);
        burst[5].data_mut()[95] ^= 1;
        let open = allocation_counter::measure(|| b.worker.run_burst(2, WAN, &mut burst, &mut opened));
        assert_eq!((opened.sent.len(), b.dropped(DropReason::IcvFailed)), (31, 1), "{kind:?}");
        assert_eq!((seal.count_total, open.count_total), (0, 0), "{kind:?}");
    }
}

/// One worker seals and one opens without pause, while the SA between them is replaced a hundred times and policies and
/// neighbours are published anew. Nothing is lost, and every answer comes.
#[test]
fn rekeying_under_load_loses_nothing() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    let stop = AtomicBool::new(false);
    let (sealed, opened) = (AtomicU64::new(0), AtomicU64::new(0));
    let (to_b, from_a) = std::sync::mpsc::sync_channel::<ArrayVec<crate::testing::VecBuffer, BURST>>(4);
    let (shared_a, shared_b) = (a.shared.clone(), b.shared.clone());
    std::thread::scope(|scope| {
        let (stop, sealed, opened) = (&stop, &sealed, &opened);
        scope.spawn(move || {
            let mut worker = Worker::new(shared_a, 1, RustCrypto).unwrap().with_fast_path();
            let mut io = TestIo::default();
            while !stop.load(Ordering::Acquire) {
                let mut burst = (0..8).map(|i| from_host(&[i; 40])).collect();
                worker.run_burst(SECOND, LAN, &mut burst, &mut io);
                let wire: ArrayVec<_, BURST> = io.sent.drain(..).map(|(_, frame)| frame).collect();
                sealed.fetch_add(8, Ordering::AcqRel);
                if wire.len() < 8 || to_b.send(wire).is_err() {
                    break;
                }
            }
        });
        scope.spawn(move || {
            let mut worker = Worker::new(shared_b, 1, RustCrypto).unwrap().with_fast_path();
            let mut io = TestIo::default();
            for mut burst in from_a {
                worker.run_burst(SECOND, WAN, &mut burst, &mut io);
                opened.fetch_add(io.sent.drain(..).count() as u64, Ordering::AcqRel);
            }
        });
        let wait_for = |target: u64| {
            let enough = (0..10_000_000).any(|_| {
                std::thread::yield_now();
                opened.load(Ordering::Acquire) >= target
            });
            assert!(enough, "packets were lost");
        };
        let _stop = StopOnDrop(stop);
        let mut old: Option<(SaSpec, SaSpec)> = None;
        for round in 0..100u8 {
            let new = connect(&mut a, &mut b, Kind::PLAIN, round);
            a.protect(7);
            let neighbours = b.shared.topology.load().with_neighbours(vec![Neighbour {
                port: LAN,
                addr: ip("10.7.0.2"),
                mac: host_mac(7),
            }]);
            b.shared.topology.store(Arc::new(neighbours));
            // A burst may still be in the making with the old SA when the new one is bound, but not two.
            wait_for(sealed.load(Ordering::Acquire) + 16 + 8 * 6);
            if let Some((inbound, outbound)) = old.replace(new) {
                remove(&mut b, &inbound);
                remove(&mut a, &outbound);
            }
        }
    });
    assert_eq!(sealed.load(Ordering::Acquire), opened.load(Ordering::Acquire));
}

/// As control does: the slot is free once the removal is answered.
fn remove(gateway: &mut Gateway, spec: &SaSpec) {
    let SaSpec { slot, spi, direction, .. } = *spec;
    gateway.apply(Command::Remove { slot, spi, direction }).unwrap();
    assert!(gateway.region.free_slot(slot));
}

/// Stops the workers however the test ends.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
