//! `culvert`: the operator's command.
#![forbid(unsafe_code)]

mod check;
mod demo;
mod run;
mod status;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// IPsec VPN gateway appliance.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration file and name every error in it.
    Check {
        #[arg(default_value = culvert_config::DEFAULT_PATH)]
        file: PathBuf,
    },
    /// Start both planes, watch them and restart what dies.
    Run(run::RunArgs),
    /// Show tunnels, ports, workers and drops of a running gateway.
    Status(status::StatusArgs),
    /// Show two gateways at work in network namespaces of this machine.
    Demo(demo::DemoArgs),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Check { file } => check::check(&file),
        Command::Run(args) => run::run(&args),
        Command::Status(args) => status::status(&args),
        Command::Demo(args) => demo::run(&args),
    }
}
