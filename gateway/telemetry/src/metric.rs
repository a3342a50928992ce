//! Everything `/metrics` shows.

use crate::{PortCounter, SaCounter, WorkerCounter};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Counter,
    Gauge,
}

impl Kind {
    /// The word of the `# TYPE` line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// One Prometheus metric family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// `culvert_…`, base units, `_total` on counters.
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
    /// What the counted value is multiplied with, where the series is in another unit.
    pub scale: u64,
}

pub(crate) const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help, scale: 1 }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help, scale: 1 }
}

/// Series that are not one of the counter enums. `CONST = kind(name, labels, help);`
macro_rules! metrics {
    ($($name:ident = $kind:ident($metric:literal, [$($label:literal),*], $help:literal);)+) => {
        /// Series of their own, one constant each.
        pub mod metrics {
            use super::{counter, gauge, Metric};
            $(#[doc = $help] pub const $name: Metric = $kind($metric, &[$($label),*], $help);)+
            pub(crate) const ALL: &[Metric] = &[$($name,)+];
        }
    };
}

metrics! {
    BUILD_INFO = gauge("culvert_build_info", ["version"], "Constant 1, labelled with the version of culvert-control.");
    START_TIME = gauge("culvert_start_time_seconds", [], "When culvert-control started, seconds since 1970.");
    DATAPLANE_UP = gauge("culvert_dataplane_up", [], "1 while the data plane process is alive.");
    DATAPLANE_STARTS = counter("culvert_dataplane_starts_total", [], "Data plane processes seen on this link.");

    CONNECTION_UP = gauge("culvert_connection_up", ["connection"], "1 while the connection has an established IKE SA.");
    CONNECTION_ESTABLISHED = gauge("culvert_connection_established_time_seconds", ["connection"],
        "When the current IKE SA was first established, seconds since 1970; absent while there is none.");
    CHILD_UP = gauge("culvert_child_sa_up", ["connection", "child"], "1 while the child has an outbound SA in use.");
    CHILD_INSTALLED = gauge("culvert_child_sa_installed", ["connection", "child", "direction"],
        "SAs of the child in the data plane; more than one per direction while a rekey is under way.");
    CHILD_REKEYS = counter("culvert_child_sa_rekeys_total", ["connection", "child"], "Child SA rekeys completed.");
    CHILD_PACKETS = counter("culvert_child_sa_packets_total", ["connection", "child", "direction"],
        "Packets of the child over all its SAs, past ones included.");
    CHILD_BYTES = counter("culvert_child_sa_bytes_total", ["connection", "child", "direction"],
        "Inner bytes of the child over all its SAs, past ones included.");

    IKE_SAS = gauge("culvert_ike_sas", ["state"], "IKE SAs by state.");
    IKE_HALF_OPEN = gauge("culvert_ike_half_open", [], "IKE SAs begun by peers and not yet authenticated.");
    IKE_MESSAGES = counter("culvert_ike_messages_total", ["direction", "exchange"], "IKE messages sent and received.");
    IKE_FAILURES = counter("culvert_ike_failures_total", ["reason"], "IKE and Child SA negotiations that failed.");
    IKE_DISCARDED = counter("culvert_ike_messages_discarded_total", ["reason"], "IKE messages dropped unanswered.");
    IKE_REKEYS = counter("culvert_ike_rekeys_total", ["connection"], "IKE SA rekeys completed.");
    IKE_DPD_TIMEOUTS = counter("culvert_ike_dpd_timeouts_total", ["connection"], "Peers given up as dead.");

    DROPS = counter("culvert_packets_dropped_total", ["worker", "reason"],
        "Packets not sent on, by worker and reason. Every one is in exactly one series.");

    LINK_RECORDS = counter("culvert_link_records_total", ["ring"], "Records this process wrote to or read from a ring.");
    LINK_FULL = counter("culvert_link_ring_full_total", ["ring"], "Records that found their ring full.");
    LINK_CORRUPT = counter("culvert_link_ring_corrupt_total", ["ring"], "Records or ring indices that made no sense.");
    LINK_SLOTS = gauge("culvert_link_sa_slots", ["state"], "SA slots of the shared memory by state.");
}

/// Every family of `/metrics`, in the order of the page.
pub fn all() -> Vec<Metric> {
    let mut all = metrics::ALL.to_vec();
    all.extend(WorkerCounter::ALL.iter().map(|c| c.metric()));
    all.extend(PortCounter::ALL.iter().map(|c| c.metric()));
    all.extend(SaCounter::ALL.iter().map(|c| c.metric()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DropReason;

    fn is_snake(text: &str) -> bool {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && !text.contains("__")
            && !text.ends_with('_')
    }

    /// What `promtool check metrics` would complain about, and our own prefix.
    #[test]
    fn names_keep_the_rules_of_prometheus() {
        for metric in all() {
            let name = metric.name;
            assert!(name.starts_with("culvert_") && is_snake(name), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(!metric.help.is_empty() && metric.help.ends_with('.'), "{name}: {}", metric.help);
            for word in name.split('_') {
                let abbreviated = ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "h", "d", "m", "mbps"];
                assert!(!abbreviated.contains(&word), "{name}: {word}");
                assert!(!["counter", "gauge", "histogram"].contains(&word), "{name}: {word}");
            }
            for suffix in ["_count", "_sum", "_bucket"] {
                assert!(!name.ends_with(suffix), "{name}");
            }
            assert!(metric.labels.iter().all(|l| is_snake(l) && *l != "le" && *l != "quantile"), "{name}");
        }
    }

    #[test]
    fn no_name_is_used_twice() {
        let mut names: Vec<_> = all().iter().map(|m| m.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        let mut reasons: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), DropReason::COUNT);
        assert!(reasons.iter().all(|r| is_snake(r)));
    }

    #[test]
    fn speed_is_shown_in_bytes() {
        let speed = PortCounter::LinkSpeedMbps.metric();
        assert_eq!((speed.kind, speed.scale), (Kind::Gauge, 125_000));
        assert_eq!(WorkerCounter::RxBytes.metric().name, "culvert_worker_rx_bytes_total");
    }
}
