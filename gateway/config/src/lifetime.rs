//! Limits with swanctl's defaults filled in.

use crate::schema::{Child, Connection};
use culvert_model::Lifetime;
use std::time::Duration;

/// "A tenth more", swanctl's margin between renewing and dropping.
fn tenth_more(value: u64) -> u64 {
    value.saturating_add(value / 10)
}

/// Rounded up: a limit must not strike before its time, above all not when its SA is just being renewed.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl Connection {
    /// `over_time`, or a tenth of `rekey_time`.
    pub fn over_time(&self) -> Duration {
        self.over_time.unwrap_or(self.rekey_time / 10)
    }

    /// `rand_time`, or `over_time`; never more than `rekey_time`.
    pub fn rand_time(&self) -> Duration {
        self.rand_time.unwrap_or_else(|| self.over_time()).min(self.rekey_time)
    }

    /// Only the peer can begin: its address is not known.
    pub fn is_passive(&self) -> bool {
        self.remote_addrs.is_empty()
    }
}

impl Child {
    /// `life_time`, or a tenth more than `rekey_time`; zero is no limit.
    pub fn life_time(&self) -> Duration {
        self.life_time.unwrap_or(self.rekey_time + self.rekey_time / 10)
    }

    /// `rand_time`, or `life_time` less `rekey_time`; never more than `rekey_time`.
    pub fn rand_time(&self) -> Duration {
        let margin = self.life_time().saturating_sub(self.rekey_time);
        self.rand_time.unwrap_or(margin).min(self.rekey_time)
    }

    /// Limits that the data plane keeps. When to rekey is IKE's own affair, which spreads it.
    pub fn lifetime(&self) -> Lifetime {
        Lifetime {
            soft_bytes: self.rekey_bytes,
            hard_bytes: self.life_bytes.unwrap_or_else(|| tenth_more(self.rekey_bytes)),
            soft_packets: self.rekey_packets,
            hard_packets: self.life_packets.unwrap_or_else(|| tenth_more(self.rekey_packets)),
            soft_seconds: 0,
            hard_seconds: whole_seconds(self.life_time()),
            soft_idle: 0,
            hard_idle: self.inactivity.as_secs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_rounded_up() {
        let table = [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (4400, 5), (3_960_000, 3960)];
        for (milliseconds, seconds) in table {
            assert_eq!(whole_seconds(Duration::from_millis(milliseconds)), seconds, "{milliseconds} ms");
        }
    }
}
