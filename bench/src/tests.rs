//! One short window of each case.

use crate::frame::Size;
use crate::gateway::{Gateway, LAN, WAN, Window, clear_frames};
use crate::measure::{self, FloorMemory, PACKETS, Tunnel};
use crate::policies::{self, Shape, Table};
use crate::report::{self, Path, Report};
use culvert_engine::Buffer;
use culvert_model::Suite;
use culvert_telemetry::WorkerCounter;

const ESP: u8 = 50;
/// From the Ethernet header on.
const PROTOCOL: usize = 14 + 9;
const UPPER: usize = 14 + 20;

fn every_case() -> impl Iterator<Item = (Suite, Size)> {
    measure::suites().flat_map(|suite| Size::ALL.map(|size| (suite, size)))
}

#[test]
fn every_kind_of_cipher_is_measured() {
    let names: Vec<String> = measure::suites().map(|suite| suite.to_string()).collect();
    assert_eq!(names, ["aes128gcm16", "aes256gcm16", "chacha20poly1305", "aes128-sha256"]);
}

#[test]
fn what_goes_in_comes_out_sealed_and_then_opened() {
    for (suite, size) in every_case() {
        let mut bench = Tunnel::new(suite, size).expect("a tunnel");
        bench.window.load(&bench.frames);
        bench.pair.sender.work(LAN, &mut bench.window);
        bench.pair.sender.collect("seal", &mut bench.window).expect("all sealed");
        for (sealed, frame) in bench.window.packets().zip(&bench.frames) {
            assert_eq!(sealed.data()[PROTOCOL], ESP);
            assert!(sealed.data().len() > frame.len() + 20 + 8 + suite.iv_len() + suite.icv_len());
        }
        bench.pair.receiver.work(WAN, &mut bench.window);
        bench.pair.receiver.collect("open", &mut bench.window).expect("all opened");
        for (opened, frame) in bench.window.packets().zip(&bench.frames) {
            assert_eq!(opened.data().len(), frame.len());
            assert_eq!(opened.data()[UPPER..], frame[UPPER..]);
        }
        let count = |gateway: &Gateway, counter| gateway.counters().get(counter);
        assert_eq!(count(&bench.pair.sender, WorkerCounter::SealedPackets), PACKETS as u64);
        assert_eq!(count(&bench.pair.receiver, WorkerCounter::OpenedPackets), PACKETS as u64);
    }
}

#[test]
fn bypass_leaves_the_packet_as_it_is() {
    let mut bench = Tunnel::new(Suite::AES128_GCM16, Size::Imix).expect("a tunnel");
    let (frames, mut window) = (clear_frames(Size::Imix).expect("frames"), Window::new());
    window.load(&frames);
    bench.pair.sender.work(LAN, &mut window);
    bench.pair.sender.collect("bypass", &mut window).expect("all forwarded");
    for (sent, frame) in window.packets().zip(&frames) {
        assert_eq!(sent.data()[UPPER..], frame[UPPER..]);
    }
    assert_eq!(bench.pair.sender.counters().get(WorkerCounter::BypassedPackets), PACKETS as u64);
}

/// No two flows of a window meet in one place of the cache, or every figure would have a policy search in it.
#[test]
fn after_the_first_round_the_flow_cache_knows_every_flow() {
    let mut bench = Tunnel::new(Suite::AES128_GCM16, Size::Imix).expect("a tunnel");
    let misses = |gateway: &Gateway| gateway.counters().get(WorkerCounter::FlowCacheMisses);
    for _ in 0..3 {
        bench.round().expect("a round");
        assert_eq!((misses(&bench.pair.sender), misses(&bench.pair.receiver)), (64, 64));
    }
    let mut bench = Tunnel::new(Suite::AES128_GCM16, Size::Imix).expect("a tunnel");
    bench.frames = clear_frames(Size::Imix).expect("frames");
    for _ in 0..3 {
        bench.window.load(&bench.frames);
        bench.pair.sender.work(LAN, &mut bench.window);
        bench.pair.sender.collect("bypass", &mut bench.window).expect("all forwarded");
        assert_eq!(misses(&bench.pair.sender), 64);
    }
}

#[test]
fn a_round_allocates_nothing() {
    let mut bench = Tunnel::new(Suite::AES128_GCM16, Size::Imix).expect("a tunnel");
    let mut memory = FloorMemory::new(Suite::AES128_GCM16, Size::Imix).expect("memory");
    let mut floor = memory.jobs().expect("jobs");
    let mut rounds = || {
        bench.round().expect("a round");
        floor.round().expect("a round");
    };
    // The first use of a table by a thread allocates its reader's place.
    rounds();
    assert_eq!(allocation_counter::measure(rounds).count_total, 0);
}

#[test]
fn the_mix_is_seven_four_one() {
    let count = |ip_len| (0..PACKETS).filter(|place| Size::Imix.ip_len(*place) == ip_len).count();
    assert_eq!([count(46), count(552), count(1500)], [7, 4, 1].map(|share| share * PACKETS / 12));
}

#[test]
fn the_document_is_json_with_every_case() {
    let report = Report { cases: measure::all(1, "").expect("figures"), ..Report::of_machine(1).expect("a machine") };
    let text = report::to_json(&report).expect("JSON");
    assert_eq!(serde_json::from_str::<Report>(&text).expect("what was written"), report);
    let rows = |path| report.cases.iter().filter(|case| case.path == path).count();
    assert_eq!([rows(Path::Seal), rows(Path::Open), rows(Path::Bypass)], [16, 16, 4]);
    assert!(report.cases.iter().all(|case| case.ns_per_packet_min > 0.0 && case.packets_per_second > 0));
    assert!(report.cases.iter().all(|case| case.floor_ns_median.is_some() == (case.path != Path::Bypass)));
    assert_eq!(report.to_string().lines().count(), 7 + report.cases.len());
}

#[test]
fn each_packet_of_a_window_is_the_first_of_its_flow() {
    for shape in [Shape::Prefixes, Shape::MixedLengths] {
        let mut table = Table::new(shape, 300).expect("a table");
        let frames = table.frames().expect("frames");
        for (round, missed) in [PACKETS as u64, PACKETS as u64 + 60].into_iter().enumerate() {
            table.pass(&frames).expect("all forwarded");
            let misses = table.gateway.counters().get(WorkerCounter::FlowCacheMisses);
            // Some flows of a window want the same place in the cache.
            assert!(misses >= PACKETS as u64 && misses <= missed, "round {round}: {misses}");
        }
        assert_eq!(table.gateway.counters().get(WorkerCounter::BypassedPackets), 2 * PACKETS as u64);
    }
}

#[test]
fn tables_of_policies_give_figures() {
    let report = policies::Report::measure(1).expect("figures");
    assert_eq!(report.cases.len(), 10);
    assert!(report.cases.iter().all(|case| case.known_ns > 0.0 && case.first_ns > 0.0 && case.changes_per_second > 0));
    let text = report::to_json(&report).expect("JSON");
    assert_eq!(serde_json::from_str::<policies::Report>(&text).expect("what was written"), report);
    assert_eq!(report.to_string().lines().count(), 11);
}
