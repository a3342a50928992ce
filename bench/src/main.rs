//! The worker loop over memory rings, beside the cipher alone: see README.md.
//!
//! ```text
//! lines.rs    ports without a card          plan.rs     which cases there are
//! site.rs     a gateway with many tunnels   measure.rs  windows of packets, timed
//! station.rs  a worker, and its packets     floor.rs    the cipher alone
//! net.rs      who is where                  pair.rs     two workers on one SA, rekeys beside them
//!                                           report.rs   table and JSON
//! ```
#![forbid(unsafe_code)]

mod floor;
mod lines;
mod machine;
mod measure;
mod net;
mod pair;
mod plan;
mod report;
mod site;
mod size;
mod station;
#[cfg(test)]
mod tests;

use clap::Parser;
use lines::Lab;
use machine::Machine;
use report::{Case, Head, Memory, Report};
use site::Site;
use std::path::PathBuf;
use std::process::ExitCode;

/// MiB of plain memory for buffers: a page for each, and the rings.
const PLAIN_MIB: u32 = 192;

/// Measures the worker loop over memory rings, beside the cipher alone.
#[derive(Parser)]
struct Args {
    /// Windows of each case; a window is six bursts of 32 packets.
    #[arg(long, default_value_t = 2000)]
    windows: u32,
    /// Where the JSON goes.
    #[arg(long, default_value = "target/bench/pipeline.json")]
    out: PathBuf,
    /// Part of the name of the cases to measure, such as `bypass` or `seal-aes128gcm16-64-1t`; empty: all.
    #[arg(long, default_value = "")]
    only: String,
    /// Every cipher with every number of tunnels too.
    #[arg(long)]
    all: bool,
    /// Says which cases there are.
    #[arg(long)]
    list: bool,
    /// Packet buffers in huge pages, which must be there, instead of plain memory.
    #[arg(long)]
    hugepages: bool,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("DPDK: {0}")]
    Dpdk(String),
    #[error("the cipher: {0}")]
    Cipher(String),
    #[error("the gateway could not be set up: {0}")]
    Setup(&'static str),
    #[error("{found} of {expected} packets came out")]
    Lost { expected: usize, found: usize },
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
    let mut cases = plan::cases(args.all);
    cases.retain(|case| case.name().contains(&args.only));
    if args.list {
        cases.iter().for_each(|case| println!("{}", case.name()));
        return Ok(());
    }
    let (memory, name) = if args.hugepages {
        (dpdk::Memory::HugePages, "hugepages")
    } else {
        (dpdk::Memory::Plain { mib: PLAIN_MIB }, "plain")
    };
    let lab = Lab::start(memory)?;
    // Without it buffers would go through the pool that all threads share.
    let _registered = lab.eal.register_thread().map_err(|error| Error::Dpdk(error.to_string()))?;
    let mut report = Report::new(Machine::here(lab, name)?, args.windows);
    println!("{}", Head(&report));
    for of_site in cases.chunk_by(|a, b| a.extent == b.extent) {
        measure_site(lab, of_site, args.windows, &mut report)?;
    }
    if "workers".contains(&args.only) {
        let tsc_hz = report.machine.tsc_hz;
        pair::measure(lab, args.windows.max(1), tsc_hz, |row| {
            println!("{row}");
            report.cases.push(row);
        })?;
    }
    report.memory.iter().for_each(|memory| println!("{memory}"));
    report::write(&report, &args.out).map_err(|error| Error::Write(args.out.clone(), error))?;
    println!("written to {}", args.out.display());
    Ok(())
}

fn measure_site(lab: &Lab, cases: &[plan::Case], windows: u32, report: &mut Report) -> Result<(), Error> {
    let Some(extent) = cases.first().map(|case| case.extent) else { return Ok(()) };
    let mut site = Site::new(lab, extent)?;
    if extent.tunnels >= 10_000 {
        report.memory.push(Memory::of(&site));
    }
    for case in cases {
        let figures = measure::one(&mut site, case.traffic, windows.max(1))?;
        let row = Case::new(case, figures, report.machine.tsc_hz);
        println!("{row}");
        report.cases.push(row);
    }
    Ok(())
}
