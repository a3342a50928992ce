//! `culvert demo`: two complete gateways in network namespaces, real traffic through their tunnel, and a check of the
//! wire between them.

mod gateways;
mod screen;
mod traffic;
mod wire;

use clap::Args;
use culvert_lab::{Lab, LabError, missing_tools};
use gateways::Gateways;
use screen::{Sample, Screen};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use traffic::Load;
use wire::{Wire, WireReport};

/// Beside these, root and the two planes' programs are all it needs.
const TOOLS: &[&str] = &["ip", "setpriv", "timeout", "ethtool", "nft", "ping", "tcpdump", "iperf3"];
/// The capture ends with this many frames or after this time under load, whichever comes first.
const CAPTURE_FRAMES: u32 = 20_000;
const CAPTURE_TIME: Duration = Duration::from_secs(3);
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Args)]
pub struct DemoArgs {
    /// End after so many seconds of traffic; without it the demo runs until Ctrl-C.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    duration: Option<u64>,
    /// Only remove what demos and tests that were killed have left behind.
    #[arg(long, conflicts_with = "duration")]
    clean: bool,
}

/// How a demo can fail.
#[derive(Debug)]
enum Failure {
    /// Ctrl-C before there was anything to judge.
    Interrupted,
    Lab(LabError),
    /// A sentence for the operator.
    Said(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Interrupted => {
                f.write_str("interrupted before the demo could show anything; everything is removed")
            }
            Failure::Lab(error) => write!(f, "the demo failed: {error}"),
            Failure::Said(sentence) => f.write_str(sentence),
        }
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        Failure::Lab(error)
    }
}

/// Status 0 only if traffic passed and the wire showed nothing it must not show.
pub fn run(args: &DemoArgs) -> ExitCode {
    if args.clean {
        let removed = Lab::sweep();
        println!("{removed} leftovers of dead demos and tests removed");
        return ExitCode::SUCCESS;
    }
    let screen = Screen::new();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            eprintln!("culvert: cannot catch signals: {error}");
            return ExitCode::FAILURE;
        }
    }
    match show(args, screen, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("culvert: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn show(args: &DemoArgs, mut screen: Screen, stop: &AtomicBool) -> Result<(), Failure> {
    check_prerequisites()?;
    screen.title();
    let clock = now();
    let mut gateways = Gateways::build(stop)?;
    screen.done(
        "network",
        &format!("five namespaces, {}-*; wan is the switch between the gateways", gateways.tag()),
        clock,
    );

    let clock = now();
    let wire = Wire::start(gateways.net(), CAPTURE_FRAMES)?;
    gateways.start()?;
    screen.done("gateways", "two, each with a control and a data plane of its own", clock);
    let clock = now();
    let (ike, esp) = gateways.wait_tunnel()?;
    screen.done("IKEv2", &format!("tunnel up: IKE {ike}; ESP {esp}"), clock);

    for (family, address) in [("IPv4", gateways.net().b.host4), ("IPv6", gateways.net().b.host6)] {
        let clock = now();
        let round_trip = traffic::ping(gateways.net(), address, stop)?;
        screen.done("ping", &format!("{family}, host-a to host-b and back: 5 of 5, {round_trip} ms"), clock);
    }
    screen.look_around(&gateways.commands());

    let load = Load::start(gateways.net(), args.duration)?;
    let (report, moved) = watch(args, &mut screen, &mut gateways, wire, load, stop)?;
    let held = report.holds();
    screen.verdict(&report, moved);
    drop(gateways);
    screen.line("everything is removed again");
    if !held {
        return Err(Failure::Said("the wire showed what it must not show (see above)".to_owned()));
    }
    if moved == 0 {
        return Err(Failure::Said("no traffic passed".to_owned()));
    }
    Ok(())
}

/// The live part. Returns what the wire showed and the octets that went through the tunnel.
fn watch(
    args: &DemoArgs,
    screen: &mut Screen,
    gateways: &mut Gateways,
    wire: Wire,
    mut load: Load,
    stop: &AtomicBool,
) -> Result<(WireReport, u64), Failure> {
    let start = now();
    let mut wire = Some(wire);
    let mut report = None;
    let mut before = Sample::take(gateways, start.elapsed())?;
    let first = before.clone();
    let mut peak = first.clone();
    loop {
        pause(PERIOD, stop);
        let over = stop.load(Ordering::Relaxed) || args.duration.is_some_and(|s| start.elapsed().as_secs() >= s);
        if let Some(mut capturing) = wire.take() {
            if over || start.elapsed() >= CAPTURE_TIME || capturing.is_full() {
                let seen = capturing.examine()?;
                screen.capture(&seen);
                report = Some(seen);
            } else {
                wire = Some(capturing);
            }
        }
        gateways.expect_running()?;
        let sample = Sample::take(gateways, start.elapsed())?;
        let census = report.as_mut().map(WireReport::refresh).transpose()?;
        screen.table(&sample, &before, census);
        before = sample.clone();
        if sample.octets() > peak.octets() {
            peak = sample;
        }
        if over {
            break;
        }
        load.expect_running()?;
    }
    load.stop();
    let mut report = report.ok_or_else(|| Failure::Said("the capture was never looked at".to_owned()))?;
    report.refresh()?;
    Ok((report, peak.octets().saturating_sub(first.octets())))
}

fn check_prerequisites() -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::Said("the demo makes network namespaces, which needs root: sudo culvert demo".to_owned()));
    }
    let missing = missing_tools(TOOLS);
    if !missing.is_empty() {
        let list = missing.join(", ");
        return Err(Failure::Said(format!(
            "the demo needs these programs, which are not installed: {list} (make deps)"
        )));
    }
    Ok(())
}

/// Sleeps, but not through a Ctrl-C.
fn pause(time: Duration, stop: &AtomicBool) {
    let until = now() + time;
    while !stop.load(Ordering::Relaxed) && now() < until {
        thread::sleep(Duration::from_millis(20));
    }
}

#[expect(clippy::disallowed_methods, reason = "the demo watches real processes on the real clock")]
fn now() -> Instant {
    Instant::now()
}
