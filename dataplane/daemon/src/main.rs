//! `culvert-dataplane`: owns the ports, and moves packets. Knows SA keys, but no identity.
#![forbid(unsafe_code)]

use clap::Parser;
use culvert_dataplane::{error, start};
use culvert_process::{LogTarget, REFUSED, end_with_parent, forbid_core_dumps, init_logging, stop_flag};
use std::path::PathBuf;
use std::process::ExitCode;

/// The data plane of a Culvert gateway. Usually started by `culvert run`.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Configuration file.
    #[arg(long, default_value = culvert_config::DEFAULT_PATH)]
    config: PathBuf,
    /// The memory shared with the control plane; must be on tmpfs.
    #[arg(long, default_value = "/run/culvert/link")]
    link: PathBuf,
    /// Where to log.
    #[arg(long, value_enum, default_value = "terminal")]
    log: LogTarget,
    /// End when the process of this id does.
    #[arg(long)]
    parent: Option<i32>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = init_logging(args.log) {
        eprintln!("culvert-dataplane: {error}");
        return ExitCode::from(REFUSED);
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_status())
        }
    }
}

fn run(args: &Args) -> Result<(), error::Error> {
    forbid_core_dumps()?;
    let stop = stop_flag(args.parent.is_some())?;
    if let Some(parent) = args.parent {
        end_with_parent(parent)?;
    }
    let config = culvert_config::Config::from_file(&args.config)?;
    start::run(&config, &args.link, &stop, args.parent.is_some())
}
