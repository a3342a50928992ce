//! Two workers on one SA, and the same while SAs are rekeyed beside them.

use crate::Error;
use crate::lines::Lab;
use crate::measure::{Cycles, Figures, Samples};
use crate::plan;
use crate::report::{Case, tenths};
use crate::site::{Extent, Keeper, Site};
use crate::size::Size;
use crate::station::{Flow, Path, Station, Traffic};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use culvert_model::Suite;
use std::thread;
use std::time::Instant;

const WARM_UP: u32 = 50;
/// That traffic is in the first of, and that are rekeyed in turn.
const TUNNELS: u32 = 64;
const REKEYS_PER_SECOND: u32 = 1000;

/// Where workers wait for each other, so that their timed windows fall together.
struct Meeting {
    workers: u32,
    come: AtomicU32,
}

impl Meeting {
    /// `turn`: how often it was called before.
    fn wait(&self, turn: u32, failed: &AtomicBool) {
        self.come.fetch_add(1, Ordering::AcqRel);
        while self.come.load(Ordering::Acquire) < (turn + 1) * self.workers && !failed.load(Ordering::Relaxed) {
            core::hint::spin_loop();
        }
    }
}

/// Rows for one worker, two workers, and two workers beside rekeys; sealing and opening.
pub fn measure(lab: &Lab, windows: u32, tsc_hz: u64, mut show: impl FnMut(Case)) -> Result<(), Error> {
    for path in [Path::Seal, Path::Open] {
        let mut single = None;
        for (workers, rekeys) in [(1, false), (2, false), (2, true)] {
            let extent = Extent { suite: Suite::AES128_GCM16, tunnels: TUNNELS, bypasses: 1, workers };
            let traffic = Traffic { path, flow: Flow::Known, size: Size::Fixed(64) };
            let (cycles, rate) = run(lab, extent, traffic, windows, rekeys)?;
            let figures = Figures { path: cycles, floor: None };
            let mut case = Case::new(&plan::Case { extent, traffic }, figures, tsc_hz);
            case.tunnels = 1;
            let one = *single.get_or_insert(case.mpps);
            case.ratio = (workers > 1).then(|| (case.mpps / one * 100.0).round() / 100.0);
            case.rekeys_per_second = rate.map(tenths);
            show(case);
        }
    }
    Ok(())
}

/// Cycles of all workers' windows, and rekeys a second. A packet that is lost is an error.
fn run(
    lab: &Lab,
    extent: Extent,
    traffic: Traffic,
    windows: u32,
    rekeys: bool,
) -> Result<(Cycles, Option<f64>), Error> {
    let Site { stations, mut keeper, .. } = Site::new(lab, extent)?;
    let meeting = Meeting { workers: u32::from(extent.workers), come: AtomicU32::new(0) };
    let (failed, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(stations)
            .map(|(index, mut station)| {
                let (meeting, failed, core) = (&meeting, &failed, cores.get(index).copied());
                scope.spawn(move || {
                    core.map(core_affinity::set_for_current);
                    let _registered = lab.eal.register_thread();
                    station.stay_on(0);
                    let done = work(&mut station, traffic, windows, meeting, failed);
                    failed.fetch_or(done.is_err(), Ordering::Relaxed);
                    done
                })
            })
            .collect();
        let keeping = rekeys.then(|| scope.spawn(|| rekey(&mut keeper, traffic.path, &over)));
        let joined: Result<Vec<_>, _> =
            threads.into_iter().map(|one| one.join().unwrap_or(Err(Error::Setup("a worker died")))).collect();
        over.store(true, Ordering::Relaxed);
        let rate = keeping.map(|one| one.join().unwrap_or(Err(Error::Setup("rekeying died")))).transpose()?;
        let mut all = Samples::with_room(windows * 2);
        joined?.into_iter().flatten().for_each(|window| all.push(window));
        Ok((all.cycles(), rate))
    })
}

fn work(
    station: &mut Station,
    traffic: Traffic,
    windows: u32,
    meeting: &Meeting,
    failed: &AtomicBool,
) -> Result<Vec<u64>, Error> {
    let mut samples = Vec::with_capacity(windows as usize);
    for turn in 0..WARM_UP + windows {
        station.load(traffic)?;
        meeting.wait(turn, failed);
        let taken = station.turns();
        station.collect(traffic)?;
        if turn >= WARM_UP {
            samples.push(taken);
        }
    }
    Ok(samples)
}

/// Rekeys a second. Sealing, the SA in use has its turn too; what is opened was sealed for one that must stay.
#[expect(clippy::disallowed_methods, reason = "a benchmark is about the clock")]
fn rekey(keeper: &mut Keeper, path: Path, over: &AtomicBool) -> Result<f64, Error> {
    let (begin, first) = (Instant::now(), u32::from(path == Path::Open));
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        let due = (begin.elapsed().as_secs_f64() * f64::from(REKEYS_PER_SECOND)) as u32;
        while count < due {
            keeper.rekey(first + count % (TUNNELS - first))?;
            count += 1;
        }
        thread::sleep(Duration::from_micros(500));
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}
