//! One short window of each kind.

use crate::lines::Lab;
use crate::measure;
use crate::plan;
use crate::site::{Extent, Site};
use crate::size::Size;
use crate::station::{Flow, PACKETS, Path, Traffic};
use culvert_model::Suite;
use culvert_telemetry::WorkerCounter;
use std::sync::Mutex;

/// DPDK's devices are set up one at a time.
static ONE: Mutex<()> = Mutex::new(());

fn lab() -> &'static Lab {
    Lab::start(dpdk::Memory::Plain { mib: crate::PLAIN_MIB }).expect("DPDK starts with plain memory")
}

fn site(suite: Suite, tunnels: u32) -> Site {
    Site::new(lab(), Extent { suite, tunnels, bypasses: 3, workers: 1 }).expect("a site")
}

fn count(site: &Site, counter: WorkerCounter) -> u64 {
    site.stations[0].work.engine.counters().get(counter)
}

#[test]
fn every_packet_goes_through_its_path() {
    let _one = ONE.lock();
    for suite in plan::suites() {
        let mut site = site(suite, 5);
        for size in Size::ALL {
            for path in [Path::Seal, Path::Open, Path::Bypass, Path::BadIcv, Path::UnknownSpi] {
                for flow in [Flow::Known, Flow::First] {
                    let traffic = Traffic { path, flow, size };
                    measure::window(&mut site, traffic).unwrap_or_else(|error| panic!("{suite} {traffic:?}: {error}"));
                }
            }
        }
        let windows = 2 * Size::ALL.len() as u64 * PACKETS as u64;
        assert_eq!(count(&site, WorkerCounter::SealedPackets), windows);
        assert_eq!(count(&site, WorkerCounter::OpenedPackets), windows);
        assert_eq!(count(&site, WorkerCounter::BypassedPackets), windows);
    }
}

#[test]
fn a_window_allocates_nothing() {
    let _one = ONE.lock();
    let mut site = site(Suite::AES128_GCM16, 300);
    let station = &mut site.stations[0];
    for path in [Path::Seal, Path::Open, Path::Bypass] {
        let traffic = Traffic { path, flow: Flow::Known, size: Size::Imix };
        for round in 0..4 {
            station.load(traffic).expect("loaded");
            let info = allocation_counter::measure(|| _ = station.turns());
            station.collect(traffic).expect("all came out");
            // The first use of a table by a thread allocates its reader's place.
            assert!(round == 0 || info.count_total == 0, "{path:?}: {}", info.count_total);
        }
    }
}

#[test]
fn the_mixes_are_seven_four_one() {
    for size in [Size::Imix, Size::CsitImix] {
        let count = |len| (0..PACKETS).filter(|place| size.frame_len(*place) == len).count();
        assert_eq!([count(64), count(570), count(1518)], [7, 4, 1].map(|share| share * PACKETS / 12));
    }
}

#[test]
fn a_rekey_loses_no_packet() {
    let _one = ONE.lock();
    let mut site = site(Suite::AES128_GCM16, 2);
    let traffic = Traffic { path: Path::Seal, flow: Flow::Known, size: Size::Fixed(64) };
    for round in 0..40 {
        site.keeper.rekey(round % 2).expect("rekeyed");
        measure::window(&mut site, traffic).expect("all sealed");
    }
}
