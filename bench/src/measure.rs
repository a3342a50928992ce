//! Windows of packets, timed.

use crate::Error;
use crate::floor::Floor;
use crate::site::Site;
use crate::station::{PACKETS, Path, Traffic};
use serde::{Deserialize, Serialize};

const WARM_UP: u32 = 30;

/// Cycles per packet, over all windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cycles {
    pub median: f64,
    /// The fastest window.
    pub min: f64,
    /// A tenth of the windows was faster.
    pub p10: f64,
    /// A tenth of the windows was slower.
    pub p90: f64,
}

/// Cycles of windows.
pub struct Samples(Vec<u64>);

impl Samples {
    pub fn with_room(windows: u32) -> Self {
        Self(Vec::with_capacity(windows as usize))
    }

    pub fn push(&mut self, window: u64) {
        self.0.push(window);
    }

    pub fn cycles(mut self) -> Cycles {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let at = |tenths: usize| {
            let window = self.0.get(last * tenths / 10).copied().unwrap_or(0);
            (window as f64 / PACKETS as f64 * 10.0).round() / 10.0
        };
        Cycles { median: at(5), min: at(0), p10: at(1), p90: at(9) }
    }
}

/// The path, and the cipher alone in windows between.
pub struct Figures {
    pub path: Cycles,
    pub floor: Option<Cycles>,
}

/// One worker, one kind of traffic.
pub fn one(site: &mut Site, traffic: Traffic, windows: u32) -> Result<Figures, Error> {
    let sealing = traffic.path == Path::Seal;
    let has_floor = matches!(traffic.path, Path::Seal | Path::Open | Path::BadIcv);
    let mut floor = has_floor.then(|| Floor::new(site.extent.suite, traffic.size)).transpose()?;
    let warm_up = WARM_UP + 2 * site.extent.tunnels.div_ceil(PACKETS as u32);
    let (mut path, mut alone) = (Samples::with_room(windows), Samples::with_room(windows));
    for round in 0..warm_up + windows {
        let taken = window(site, traffic)?;
        let below = floor.as_mut().map(|floor| if sealing { floor.seal() } else { floor.open() });
        if round >= warm_up {
            path.push(taken);
            below.into_iter().for_each(|below| alone.push(below));
        }
    }
    Ok(Figures { path: path.cycles(), floor: has_floor.then(|| alone.cycles()) })
}

/// Cycles for one window, all of which comes out as it should.
pub fn window(site: &mut Site, traffic: Traffic) -> Result<u64, Error> {
    let station = site.stations.first_mut().ok_or(Error::Setup("no worker"))?;
    station.load(traffic)?;
    let taken = station.turns();
    station.collect(traffic)?;
    if matches!(traffic.path, Path::BadIcv | Path::UnknownSpi) {
        site.keeper.take_punts();
    }
    Ok(taken)
}
