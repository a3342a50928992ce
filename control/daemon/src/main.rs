//! `culvert-control`: speaks IKEv2 over the link, holds the keys, serves status and metrics.
#![forbid(unsafe_code)]

mod daemon;
mod exposition;
mod manual;
mod metrics;
mod plane;
mod pool;
mod report;
mod reservation;
mod server;
mod spis;
mod status;
mod translate;

use clap::Parser;
use culvert_config::Config;
use culvert_link::{Layout, LinkError, Region};
use culvert_process::{LogTarget, REFUSED};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The key-exchange process of a Culvert gateway; `culvert run` starts it.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Configuration file.
    #[arg(long, default_value = culvert_config::DEFAULT_PATH)]
    config: PathBuf,
    /// Shared memory, on tmpfs. Left out: "link" in the configured run directory.
    #[arg(long)]
    link: Option<PathBuf>,
    /// Unix socket for `culvert status`. Left out: "control.sock" in the configured run directory.
    #[arg(long)]
    socket: Option<PathBuf>,
    /// Holds what must outlive a reboot. Left out: the configured state directory.
    #[arg(long)]
    state_dir: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "terminal")]
    log: LogTarget,
    /// Process to end with.
    #[arg(long)]
    parent: Option<i32>,
}

/// Why control does not start. Whole sentences: they are all that the operator sees.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Setup(#[from] culvert_process::SetupError),
    #[error("the configuration has errors:\n{0}")]
    Config(culvert_config::Diagnostics),
    #[error("{0}")]
    Secrets(culvert_config::SecretErrors),
    #[error(transparent)]
    Server(#[from] server::ServerError),
    #[error(transparent)]
    Link(#[from] culvert_link::LinkError),
    #[error("cannot start a thread for public-key work: {0}")]
    Pool(std::io::Error),
    #[error(transparent)]
    Manual(#[from] manual::ManualError),
    #[error(transparent)]
    Translate(#[from] translate::TranslateError),
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("culvert-control: {error}");
            ExitCode::from(REFUSED)
        }
    }
}

/// Everything that can be refused is tried before the data plane hears a word.
fn run(args: &Args) -> Result<(), StartError> {
    culvert_process::forbid_core_dumps()?;
    if let Some(parent) = args.parent {
        culvert_process::end_with_parent(parent)?;
    }
    culvert_process::init_logging(args.log)?;
    let stop = culvert_process::stop_flag(args.parent.is_some())?;

    let config = Config::from_file(&args.config).map_err(StartError::Config)?;
    for line in config.warnings().to_string().lines() {
        tracing::warn!("{line}");
    }
    let secrets = config.read_secrets().map_err(StartError::Secrets)?;
    for warning in secrets.warnings() {
        tracing::warn!("{warning}");
    }
    let in_run_dir = |name: &str| config.control.run_dir.join(name);
    let link = args.link.clone().unwrap_or_else(|| in_run_dir("link"));
    let socket = args.socket.clone().unwrap_or_else(|| in_run_dir("control.sock"));
    let state_dir = args.state_dir.clone().unwrap_or_else(|| config.control.state_dir.clone());

    let layout = Layout { slots: config.dataplane.sa_slots, ..Layout::default() };
    let region = Region::create_or_attach(&link, layout)?;
    let patience = if args.parent.is_some() { culvert_process::TAKE_OVER } else { Duration::ZERO };
    let in_use = |error: &LinkError| matches!(error, LinkError::InUse { .. });
    let plane = culvert_process::patiently(patience, in_use, || plane::Plane::attach(&region))?;
    // Only the holder of the control role may take over its socket.
    let listeners = server::Listeners::bind(&socket, config.metrics.as_ref().map(|metrics| metrics.listen))?;
    let (wake, wakes) = std::sync::mpsc::sync_channel(server::OUTSTANDING);
    let mut daemon = daemon::Daemon::new(config, &secrets, &state_dir, &link, plane, &wake)?;
    drop(secrets);
    listeners.serve(wake)?;
    daemon.run(&wakes, &stop);
    // What is left in the directory would only mislead `culvert status`.
    let _ = std::fs::remove_file(&socket);
    Ok(())
}
