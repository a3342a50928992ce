//! What both daemons do at start: logging, ending with their supervisor, keeping keys out of core dumps.
#![forbid(unsafe_code)]

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::{prctl, signal::Signal};
use nix::unistd::{Pid, getppid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Exit status of a daemon that will not start until somebody mends something (EX_CONFIG of sysexits.h).
pub const REFUSED: u8 = 78;

/// Where a daemon logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogTarget {
    Terminal,
    Journald,
}

impl LogTarget {
    /// As on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Journald => "journald",
        }
    }
}

/// Why a daemon could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("cannot reach journald: {0}; use --log terminal")]
    Journald(io::Error),
    #[error("the supervisor (pid {0}) is gone already")]
    Orphaned(i32),
    #[error("cannot {0}: {1}")]
    System(&'static str, io::Error),
}

/// Logs `info` and above; the variable CULVERT_LOG holds a finer filter in tracing's notation.
pub fn init_logging(target: LogTarget) -> Result<(), SetupError> {
    let filter = EnvFilter::try_from_env("CULVERT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    match target {
        LogTarget::Journald => registry.with(tracing_journald::layer().map_err(SetupError::Journald)?).init(),
        LogTarget::Terminal => {
            let colour = io::stderr().is_terminal();
            let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(colour).with_target(false);
            registry.with(layer).init();
        }
    }
    Ok(())
}

/// No core dump may hold keys (rule 4 of the design), whatever the machine's core pattern says.
pub fn forbid_core_dumps() -> Result<(), SetupError> {
    prctl::set_dumpable(false).map_err(|e| SetupError::System("switch core dumps off", e.into()))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(|e| SetupError::System("set the core dump limit to 0", e.into()))
}

/// The kernel sends SIGTERM when the supervisor `parent` ends, so that a killed supervisor leaves nothing behind.
pub fn end_with_parent(parent: i32) -> Result<(), SetupError> {
    prctl::set_pdeathsig(Signal::SIGTERM).map_err(|e| SetupError::System("watch the supervisor", e.into()))?;
    // The parent may have ended before the line above.
    if getppid() == Pid::from_raw(parent) { Ok(()) } else { Err(SetupError::Orphaned(parent)) }
}

/// A flag that SIGTERM and SIGINT raise. A terminal's Ctrl-C goes to the supervisor too, which stops the planes in
/// order; so a supervised daemon heeds SIGTERM only.
pub fn stop_flag(supervised: bool) -> Result<Arc<AtomicBool>, SetupError> {
    let flag = Arc::new(AtomicBool::new(false));
    let ignored = Arc::new(AtomicBool::new(false));
    let error = |e| SetupError::System("catch signals", e);
    if supervised {
        // The terminal has gone; the supervisor stays, and so do its planes.
        signal_hook::flag::register(SIGHUP, Arc::clone(&ignored)).map_err(error)?;
    }
    let on_interrupt = if supervised { ignored } else { Arc::clone(&flag) };
    signal_hook::flag::register(SIGTERM, Arc::clone(&flag)).map_err(error)?;
    signal_hook::flag::register(SIGINT, on_interrupt).map_err(error)?;
    Ok(flag)
}

/// How long a supervised daemon waits for its predecessor, whose supervisor was killed, to say its goodbyes.
pub const TAKE_OVER: Duration = Duration::from_secs(6);

/// Tries again while the error is one that `passes` by itself, for as long as `patience`.
pub fn patiently<T, E>(
    patience: Duration,
    passes: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    const PAUSE: Duration = Duration::from_millis(100);
    let mut left = patience;
    loop {
        match attempt() {
            Err(error) if passes(&error) && !left.is_zero() => {
                let pause = left.min(PAUSE);
                std::thread::sleep(pause);
                left -= pause;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_is_not_the_parent() {
        assert!(matches!(end_with_parent(-7), Err(SetupError::Orphaned(-7))));
    }

    #[test]
    fn patience_ends_and_is_for_what_passes_only() {
        let attempts = |patience, passes: bool, good_at: u32| {
            let mut count = 0;
            let result = patiently(
                patience,
                |_: &()| passes,
                || {
                    count += 1;
                    if count >= good_at { Ok(()) } else { Err(()) }
                },
            );
            (result.is_ok(), count)
        };
        assert_eq!(attempts(Duration::ZERO, true, 2), (false, 1));
        assert_eq!(attempts(Duration::from_secs(1), false, 2), (false, 1));
        assert_eq!(attempts(Duration::from_secs(1), true, 2), (true, 2));
        assert_eq!(attempts(Duration::from_millis(150), true, 9), (false, 3));
    }

    #[test]
    fn core_dumps_stay_off() {
        forbid_core_dumps().expect("allowed for every process");
        assert!(!prctl::get_dumpable().expect("readable"));
    }
}
