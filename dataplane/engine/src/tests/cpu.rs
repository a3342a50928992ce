//! What a piece of work costs the thread that does it, by the kernel's account. The time that the thread waits for a CPU,
//! on a machine that it shares, is not in it.

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};

#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU time.
    pub nanos: u64,
    /// Another thread got the CPU meanwhile, and left its traces in the caches.
    pub interrupted: bool,
    /// How often the thread gave up the CPU to wait for something.
    pub waits: i64,
    /// Allocations and releases of memory, at least.
    pub memory: u64,
}

/// CPU time of this thread, nanoseconds.
pub fn cpu_time() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// Nanoseconds of a clock that only runs forward.
pub fn wall_time() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).unwrap();
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

fn switches() -> Usage {
    getrusage(UsageWho::RUSAGE_THREAD).unwrap()
}

pub fn cost(work: impl FnOnce()) -> Cost {
    let before = switches();
    let mut nanos = 0;
    let memory = allocation_counter::measure(|| {
        let start = cpu_time();
        work();
        nanos = cpu_time() - start;
    });
    let after = switches();
    Cost {
        nanos,
        interrupted: after.involuntary_context_switches() != before.involuntary_context_switches(),
        waits: after.voluntary_context_switches() - before.voluntary_context_switches(),
        memory: memory.count_total + memory.count_current.unsigned_abs() + memory.bytes_current.unsigned_abs(),
    }
}

/// Of each thousand of the values, `permille` are not above it.
pub fn quantile(values: &[u64], permille: usize) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * permille / 1000).min(sorted.len() - 1)]
}

/// A line for each range of microseconds, a column for each set of values.
pub fn histogram<const N: usize>(names: [&str; N], columns: [&[u64]; N]) -> String {
    const EDGES: [u64; 12] = [5, 10, 20, 30, 40, 50, 75, 100, 150, 250, 500, 1000];
    let mut lines = format!("{:>14}", "CPU time, µs");
    lines.extend(names.map(|name| format!("{name:>14}")));
    let mut from = 0;
    for to in EDGES.into_iter().chain([u64::MAX / 1000]) {
        let counts = columns.map(|values| values.iter().filter(|v| (from * 1000..to * 1000).contains(*v)).count());
        if counts.iter().any(|count| *count > 0) {
            lines += &if to > 1000 {
                format!("\n{:>14}", format!("from {from}"))
            } else {
                format!("\n{:>14}", format!("{from} to {to}"))
            };
            lines.extend(counts.map(|count| format!("{count:>14}")));
        }
        from = to;
    }
    lines
}
