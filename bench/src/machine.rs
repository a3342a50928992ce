//! Where figures come from.

use crate::Error;
use crate::lines::Lab;
use culvert_cipher::{MultiBuffer, Provider};
use serde::{Deserialize, Serialize};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Instructions that ciphers and copies are made of.
const OF_INTEREST: [&str; 9] =
    ["aes", "pclmulqdq", "avx2", "avx512f", "vaes", "vpclmulqdq", "avx512_ifma", "avx512ifma", "sha_ni"];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// As /proc/cpuinfo names it.
    pub model: String,
    /// Family, model and stepping, which tell processors apart that are named alike.
    pub family_model_stepping: String,
    pub cores: usize,
    /// Of those that ciphers are made of, which there are.
    pub isa: Vec<String>,
    /// Cycles in a second of the counter that everything is measured by.
    pub tsc_hz: u64,
    pub l2_cache: Option<String>,
    pub dpdk: String,
    pub ipsec_mb: String,
    /// `plain` or `hugepages`: where packet buffers lie.
    pub memory: String,
    pub kernel: String,
    /// Of the last minute, when the run began.
    pub load_average: Option<f64>,
    /// Seconds since 1970, when the run began.
    pub unix_time: u64,
}

impl Machine {
    #[expect(clippy::disallowed_methods, reason = "a result has a date")]
    pub fn here(lab: &Lab, memory: &str) -> Result<Self, Error> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |name: &str| {
            let is_it = |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.trim() == name);
            let line = cpuinfo.lines().find(is_it)?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let number = |name| value(name).unwrap_or_else(|| "?".to_owned());
        let flags = value("flags").unwrap_or_default();
        let isa = OF_INTEREST.into_iter().filter(|flag| flags.split(' ').any(|has| has == *flag));
        let read = |path| fs::read_to_string(path).ok().map(|text: String| text.trim().to_owned());
        Ok(Self {
            model: number("model name"),
            family_model_stepping: [number("cpu family"), number("model"), number("stepping")].join("/"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            isa: isa.map(str::to_owned).collect(),
            tsc_hz: lab.eal.tsc_hz(),
            l2_cache: read("/sys/devices/system/cpu/cpu0/cache/index2/size"),
            dpdk: dpdk::version(),
            ipsec_mb: MultiBuffer::for_thread().describe(),
            memory: memory.to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            load_average: read("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
            unix_time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        })
    }
}
