//! The table and the JSON.

use crate::machine::Machine;
use crate::measure::{Cycles, Figures};
use crate::plan::Case as Planned;
use crate::site::{Extent, Footprint, Site};
use crate::station::{BURSTS, Flow, PACKETS, Path};
use culvert_engine::BURST;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// Of an SA, in the memory that control and data plane share.
const SLOT_BYTES: f64 = 128.0;

/// The whole document of `pipeline.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub packets_per_burst: usize,
    pub bursts_per_window: usize,
    /// Timed windows of each case.
    pub windows: u32,
    pub cases: Vec<Case>,
    pub memory: Vec<Memory>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub path: Path,
    /// `aes128gcm16`, `aes128-sha256`; `null` for bypass.
    pub cipher: Option<String>,
    /// Octets of the clear Ethernet frame with its check sequence, `imix` or `imix-csit`.
    pub size: String,
    /// Octets of such a frame on average.
    pub mean_size: f64,
    pub flow: Flow,
    /// Each with SAs of its own; every packet another one, in random order.
    pub tunnels: u32,
    /// Outbound ones in the SPD.
    pub policies: u32,
    pub workers: u16,
    /// The worker's loop, from `rx_burst` to `tx_burst`.
    pub cycles_per_packet: Cycles,
    /// The cipher alone over the same lengths, in windows between; `null` where there is none.
    pub floor: Option<Cycles>,
    /// Median of the path less median of the floor.
    pub over_floor: Option<f64>,
    /// Of all workers, from the median, at the rate of the time stamp counter.
    pub mpps: f64,
    /// Of clear frames with their check sequence.
    pub gbps: f64,
    /// Two workers on one SA only: packets a second of all of them, over those of one in the same run.
    pub ratio: Option<f64>,
    /// SAs rekeyed in a second during it.
    pub rekeys_per_second: Option<f64>,
    pub lost: u64,
}

/// What SAs take, octets for each pair of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    pub cipher: String,
    pub tunnels: u32,
    /// On the heap, key schedules and replay windows included, by what their installation left.
    pub heap: f64,
    /// In the shared memory.
    pub slots: f64,
    /// In the tables by which SAs are found, if these were full.
    pub tables: f64,
    /// All of it.
    pub pair: f64,
    /// For each policy, on the heap. Not in the sum.
    pub policy: f64,
    /// The whole process when the SAs were in, MiB. The bench's own keys and buffers are in it.
    pub resident_mib: f64,
}

impl Case {
    pub fn new(planned: &Planned, figures: Figures, tsc_hz: u64) -> Self {
        let Figures { path, floor } = figures;
        let Planned { traffic, extent } = planned;
        let mpps = tsc_hz as f64 / path.median.max(f64::MIN_POSITIVE) / 1e6 * f64::from(extent.workers);
        let ciphered = matches!(traffic.path, Path::Seal | Path::Open | Path::BadIcv);
        Self {
            path: traffic.path,
            cipher: ciphered.then(|| extent.suite.to_string()),
            size: traffic.size.to_string(),
            mean_size: traffic.size.mean(),
            flow: traffic.flow,
            tunnels: extent.tunnels,
            policies: extent.tunnels + extent.bypasses + 1,
            workers: extent.workers,
            cycles_per_packet: path,
            floor,
            over_floor: floor.map(|floor| tenths(path.median - floor.median)),
            mpps: (mpps * 1000.0).round() / 1000.0,
            gbps: (mpps * traffic.size.mean() * 8.0).round() / 1000.0,
            ratio: None,
            rekeys_per_second: None,
            lost: 0,
        }
    }
}

impl Memory {
    pub fn of(site: &Site) -> Self {
        let Footprint { sas, policies, tables, slots } = site.footprint;
        let Extent { suite, tunnels, bypasses, .. } = site.extent;
        let pairs = f64::from(tunnels);
        let (heap, tables) = (sas as f64 / pairs, 2.0 * tables as f64 / f64::from(slots));
        let slots = 2.0 * SLOT_BYTES;
        // Both directions of each tunnel.
        let stated = 2.0 * pairs + f64::from(bypasses) + 1.0;
        Self {
            cipher: suite.to_string(),
            tunnels,
            heap: tenths(heap),
            slots,
            tables: tenths(tables),
            pair: tenths(heap + slots + tables),
            policy: tenths(policies as f64 / stated),
            resident_mib: tenths(resident_mib()),
        }
    }
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    kib.unwrap_or(0.0) / 1024.0
}

pub fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

pub fn to_json(document: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

/// Makes the directory too.
pub fn write(document: &impl Serialize, out: &std::path::Path) -> io::Result<()> {
    if let Some(directory) = out.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(out, to_json(document)?)
}

impl Report {
    pub fn new(machine: Machine, windows: u32) -> Self {
        Self {
            machine,
            packets_per_burst: BURST,
            bursts_per_window: BURSTS,
            windows,
            cases: Vec::new(),
            memory: Vec::new(),
        }
    }
}

/// Above the rows.
pub struct Head<'a>(pub &'a Report);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { model, family_model_stepping, cores, isa, tsc_hz, dpdk, ipsec_mb, memory, .. } = &self.0.machine;
        writeln!(f, "processor  {model} ({family_model_stepping}), {cores} cores; {}", isa.join(" "))?;
        writeln!(f, "clock      time stamp counter, {:.1} MHz; cycles are its cycles", *tsc_hz as f64 / 1e6)?;
        writeln!(f, "libraries  {dpdk}; {ipsec_mb}; buffers in {memory} memory")?;
        writeln!(f, "windows    {} of {PACKETS} packets in each case, floor in windows between", self.0.windows)?;
        writeln!(f)?;
        writeln!(f, "                                                         cycles per packet        floor")?;
        write!(f, "path        cipher           size      flow  tunnels policies     min  median    +90%  median")?;
        write!(f, "    over    Mpps   Gbit/s")
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_dash = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
        let Cycles { median, min, p90, .. } = self.cycles_per_packet;
        let flow = match self.flow {
            Flow::Known => "known",
            Flow::First => "first",
        };
        write!(
            f,
            "{:<11} {:<16} {:<9} {flow} {:>8} {:>8} {min:>7.0} {median:>7.0} {p90:>7.0} {:>7} {:>7} {:>7.2} {:>8.2}",
            self.path.name(),
            self.cipher.as_deref().unwrap_or("-"),
            self.size,
            self.tunnels,
            self.policies,
            or_dash(self.floor.map(|floor| floor.median)),
            or_dash(self.over_floor),
            self.mpps,
            self.gbps,
        )?;
        if self.workers > 1 {
            write!(f, "  {} workers", self.workers)?;
        }
        if let Some(ratio) = self.ratio {
            write!(f, ", {ratio:.2} of one")?;
        }
        if let Some(rekeys) = self.rekeys_per_second {
            write!(f, ", {rekeys:.0} rekeys/s, {} lost", self.lost)?;
        }
        Ok(())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cipher, tunnels, heap, slots, tables, pair, policy, resident_mib } = self;
        write!(
            f,
            "memory      {cipher:<16} {tunnels} tunnels: {pair:.0} octets per pair of SAs (heap {heap:.0}, link "
        )?;
        write!(f, "{slots:.0}, tables {tables:.0}); {policy:.0} per policy; process {resident_mib:.0} MiB")
    }
}
