//! Clocks: what a benchmark is about.

use core::marker::PhantomData;
use core::time::Duration;
use nix::time::{ClockId, clock_gettime};

/// Processor time of this thread.
pub struct ThreadTime;
/// Time that passes.
pub struct WallTime;

pub trait Source {
    const ID: ClockId;
}

impl Source for ThreadTime {
    const ID: ClockId = ClockId::CLOCK_THREAD_CPUTIME_ID;
}

impl Source for WallTime {
    const ID: ClockId = ClockId::CLOCK_MONOTONIC;
}

pub struct Stopwatch<S>(Duration, PhantomData<S>);

impl<S: Source> Stopwatch<S> {
    pub fn start() -> Self {
        Self(Self::read(), PhantomData)
    }

    pub fn elapsed(&self) -> Duration {
        Self::read().saturating_sub(self.0)
    }

    fn read() -> Duration {
        // Both clocks exist on every Linux; one that could not be read would show as zeros.
        clock_gettime(S::ID).map_or(Duration::ZERO, Duration::from)
    }
}
