//! Key exchange at scale: see ../README.md.
//!
//! ```text
//! sites.rs   the configurations            machine.rs  memory and time of processes
//! world.rs   two endpoints, in waves       clock.rs    clocks
//! inside.rs  what they cost                report.rs   table and JSON
//! push.rs    SAs into a working engine     daemons.rs  two control processes
//! ```
#![forbid(unsafe_code)]

mod clock;
mod daemons;
mod inside;
mod machine;
mod push;
mod report;
mod sites;
mod world;

use clap::Parser;
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures key exchange at scale.
#[derive(Parser)]
struct Args {
    /// Tunnels that are brought up and held.
    #[arg(long, default_value_t = 50_000)]
    tunnels: u32,
    /// Tunnels between two control processes.
    #[arg(long, default_value_t = 1000)]
    daemon_tunnels: u32,
    /// The control process. Left out: beside this program.
    #[arg(long)]
    control: Option<PathBuf>,
    /// Where the JSON goes.
    #[arg(long, default_value = "target/bench/control.json")]
    out: PathBuf,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Wrong(&'static str),
    #[error(transparent)]
    Lab(culvert_lab::LabError),
    #[error(transparent)]
    Link(culvert_link::LinkError),
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("culvert-bench-control: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let beside = || std::env::current_exe().map(|own| own.with_file_name("culvert-control"));
    let control = args.control.clone().map_or_else(beside, Ok).map_err(|e| Error::File("culvert-control".into(), e))?;
    let report = Report {
        processor: machine::processor(),
        // First, while this process is small.
        inside: inside::measure(args.tunnels.max(1))?,
        push: push::measure()?,
        daemons: daemons::measure(&control, args.daemon_tunnels.max(1))?,
    };
    print!("{report}");
    report::write(&report, &args.out).map_err(|error| Error::File(args.out.clone(), error))?;
    println!("written to {}", args.out.display());
    Ok(())
}
