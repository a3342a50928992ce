//! The table and the JSON.

use crate::Error;
use crate::cipher;
use crate::frame::Size;
use crate::measure::PACKETS;
use culvert_cipher::Provider;
use culvert_engine::BURST;
use culvert_model::Suite;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// The whole document of `pipeline.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// As /proc/cpuinfo names it.
    pub processor: String,
    /// "cpu MHz" of /proc/cpuinfo when the run began: the basis of the cycles in the table, an estimate.
    pub cpuinfo_mhz: Option<f64>,
    /// Library, version, instructions.
    pub cipher_library: String,
    pub packets_per_burst: usize,
    pub packets_per_window: usize,
    /// Timed windows of each case.
    pub windows: u32,
    pub cases: Vec<Case>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// Clear frame in, ESP frame out.
    Seal,
    /// ESP frame in, clear frame out.
    Open,
    /// Clear frame in and out.
    Bypass,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub path: Path,
    /// `aes128gcm16`, `aes128-sha256`; `null` for bypass.
    pub cipher: Option<String>,
    /// Octets of the clear Ethernet frame with its check sequence, or `imix`.
    pub size: String,
    /// The whole path, of the fastest window.
    pub ns_per_packet_min: f64,
    /// The whole path, of the median window.
    pub ns_per_packet_median: f64,
    /// The cipher alone over the same lengths, of its fastest window; `null` for bypass.
    pub floor_ns_min: Option<f64>,
    /// The same of the median window.
    pub floor_ns_median: Option<f64>,
    /// One core, from the median.
    pub packets_per_second: u64,
}

impl Case {
    /// `path` and `floor`: minimum and median, nanoseconds a packet.
    pub fn new(path: Path, cipher: Option<Suite>, size: Size, ns: (f64, f64), floor: Option<(f64, f64)>) -> Self {
        Self {
            path,
            cipher: cipher.map(|suite| suite.to_string()),
            size: size.to_string(),
            ns_per_packet_min: tenths(ns.0),
            ns_per_packet_median: tenths(ns.1),
            floor_ns_min: floor.map(|floor| tenths(floor.0)),
            floor_ns_median: floor.map(|floor| tenths(floor.1)),
            packets_per_second: (1e9 / ns.1.max(f64::MIN_POSITIVE)) as u64,
        }
    }
}

fn tenths(ns: f64) -> f64 {
    (ns * 10.0).round() / 10.0
}

impl Report {
    /// Without cases.
    pub fn of_machine(windows: u32) -> Result<Self, Error> {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        Ok(Self {
            processor: value("model name").unwrap_or_else(|| "unknown".to_owned()),
            cpuinfo_mhz: value("cpu MHz").and_then(|mhz| mhz.parse().ok()),
            cipher_library: cipher::new()?.describe(),
            packets_per_burst: BURST,
            packets_per_window: PACKETS,
            windows,
            cases: Vec::new(),
        })
    }
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "processor: {}", self.processor)?;
        writeln!(f, "cipher:    {}", self.cipher_library)?;
        let Self { packets_per_window, packets_per_burst, windows, .. } = self;
        writeln!(f, "{windows} windows of {packets_per_window} packets in bursts of {packets_per_burst}, one thread")?;
        match self.cpuinfo_mhz {
            Some(mhz) => writeln!(f, "~cycles: median ns times the {mhz} MHz of /proc/cpuinfo; an estimate")?,
            None => writeln!(f, "~cycles: /proc/cpuinfo says no frequency")?,
        }
        writeln!(f)?;
        writeln!(f, "                              whole path, ns     cipher alone, ns   path less")?;
        writeln!(f, "path    cipher           size     min   median      min   median     cipher  ~cycles     Mpps")?;
        self.cases.iter().try_for_each(|case| self.row(f, case))
    }
}

impl Report {
    fn row(&self, f: &mut fmt::Formatter<'_>, case: &Case) -> fmt::Result {
        let path = match case.path {
            Path::Seal => "seal",
            Path::Open => "open",
            Path::Bypass => "bypass",
        };
        let or_dash = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
        let median = case.ns_per_packet_median;
        writeln!(
            f,
            "{path:<7} {:<16} {:>4} {:>7.1} {median:>8.1} {:>8} {:>8} {:>10} {:>8} {:>8.2}",
            case.cipher.as_deref().unwrap_or("-"),
            case.size,
            case.ns_per_packet_min,
            or_dash(case.floor_ns_min),
            or_dash(case.floor_ns_median),
            or_dash(case.floor_ns_median.map(|floor| median - floor)),
            self.cpuinfo_mhz.map_or_else(|| "-".to_owned(), |mhz| format!("{:.0}", median * mhz / 1000.0)),
            case.packets_per_second as f64 / 1e6,
        )
    }
}
