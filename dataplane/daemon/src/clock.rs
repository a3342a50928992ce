//! One clock for all threads: nanoseconds since the machine started, read from the time stamp counter.

use culvert_engine::Tick;
use nix::time::{ClockId, clock_gettime};

/// Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start_cycles: u64,
    start_tick: Tick,
    /// Nanoseconds per cycle, times 2^32.
    scale: u64,
}

impl Clock {
    /// `hz`: cycles in a second.
    pub fn new(hz: u64) -> Self {
        let start_tick = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64);
        Self { start_cycles: dpdk::rdtsc(), start_tick, scale: scale(hz) }
    }

    /// When the counter stood at `cycles`.
    pub fn at(&self, cycles: u64) -> Tick {
        // A counter that another core reads may lag by some cycles.
        self.start_tick + scaled(cycles.saturating_sub(self.start_cycles), self.scale)
    }

    pub fn now(&self) -> Tick {
        self.at(dpdk::rdtsc())
    }
}

fn scale(hz: u64) -> u64 {
    let scale = (1_000_000_000_u128 << 32) / u128::from(hz.max(1));
    u64::try_from(scale).unwrap_or(u64::MAX)
}

fn scaled(cycles: u64, scale: u64) -> u64 {
    ((u128::from(cycles) * u128::from(scale)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_a_second_for_years() {
        for hz in [1_000_000_000, 2_500_000_000, 2_596_115_000, 24_000_000] {
            assert!(scaled(hz, scale(hz)).abs_diff(1_000_000_000) <= 1);
            let year = 365 * 86_400;
            let error = scaled(hz * year, scale(hz)).abs_diff(1_000_000_000 * year);
            assert!(error < 1_000_000_000 * year / 10_000_000, "{hz}: {error} ns in a year");
        }
    }

    #[test]
    fn the_clock_goes_forward() {
        let clock = Clock::new(1_000_000_000);
        let (a, b) = (clock.now(), clock.now());
        assert!(a <= b && clock.at(0) <= a);
    }
}
