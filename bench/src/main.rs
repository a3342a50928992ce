//! The packet path in memory, beside the cipher alone: see README.md.
//!
//! ```text
//! frame.rs    sizes, frames, reusable buffers     measure.rs  windows of packets, timed
//! gateway.rs  a whole engine without ports        report.rs   table and JSON
//! cipher.rs   ipsec-mb, or Rust without it           policies.rs a flow's first packet, and changes
//! ```
#![forbid(unsafe_code)]

mod cipher;
mod frame;
mod gateway;
mod measure;
mod policies;
mod report;
#[cfg(test)]
mod tests;

use clap::Parser;
use report::Report;
use serde::Serialize;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures the packet path in memory, beside the cipher alone.
#[derive(Parser)]
struct Args {
    /// Windows of each case; a window is six bursts of 32 packets.
    #[arg(long, default_value_t = 4000)]
    windows: u32,
    /// Where the JSON goes.
    #[arg(long, default_value = "target/bench/pipeline.json")]
    out: PathBuf,
    /// Part of the name of the cases to measure, such as `bypass` or `aes128gcm16-64`; empty: all.
    #[arg(long, default_value = "")]
    only: String,
    /// Measures what policies cost instead.
    #[arg(long)]
    policies: bool,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the cipher: {0}")]
    Cipher(String),
    #[error("the engine could not be set up: {0}")]
    Setup(&'static str),
    #[error("{what}: {found} of {expected} packets came out")]
    Lost { what: &'static str, expected: usize, found: usize },
    #[error("the cipher alone refused a packet it had sealed itself")]
    NotAuthentic,
    #[error("{0}: {1}")]
    Write(PathBuf, std::io::Error),
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("culvert-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let windows = args.windows.max(1);
    if args.policies {
        return publish(&policies::Report::measure(windows)?, args);
    }
    publish(&Report { cases: measure::all(windows, &args.only)?, ..Report::of_machine(windows)? }, args)
}

fn publish(report: &(impl Display + Serialize), args: &Args) -> Result<(), Error> {
    print!("{report}");
    report::write(report, &args.out).map_err(|error| Error::Write(args.out.clone(), error))?;
    println!("written to {}", args.out.display());
    Ok(())
}
