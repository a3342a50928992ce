//! The figures as a table and as JSON.

use crate::daemons::Daemons;
use crate::inside::Inside;
use crate::push::Push;
use core::fmt;
use serde::Serialize;
use std::io;
use std::path::Path;

#[derive(Serialize)]
pub struct Report {
    pub processor: String,
    pub inside: Inside,
    pub push: Push,
    pub daemons: Daemons,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "processor: {}", self.processor)?;
        write!(f, "{}{}{}", self.inside, self.push, self.daemons)
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{} tunnels between two endpoints in one process, one thread", self.tunnels)?;
        writeln!(f, "{:<12}{:>10}{:>22}{:>8}{:>16}", "setup", "µs", "public key alone, µs", "ratio", "a core-second")?;
        for setup in &self.setups {
            let (setup_us, alone_us) = (setup.setup_ns / 1e3, setup.public_key_ns / 1e3);
            let (role, ratio, rate) = (setup.role, setup.ratio, setup.setups_per_core_second);
            writeln!(f, "{role:<12}{setup_us:>10.1}{alone_us:>22.1}{ratio:>8.2}{rate:>16.0}")?;
        }
        for rekey in &self.rekeys {
            let [initiator, responder] = rekey.ns.map(|ns| ns / 1e3);
            let what = rekey.what;
            writeln!(f, "rekey of a {what:<6} initiator {initiator:>7.1} µs, responder {responder:>7.1} µs")?;
        }
        let held = &self.held;
        let [initiator, responder] = held.dpd_exchange_ns.map(|ns| ns / 1e3);
        writeln!(f, "sign of life      initiator {initiator:>7.1} µs, responder {responder:>7.1} µs")?;
        writeln!(
            f,
            "held {} s of virtual time with {} signs of life, {} lost",
            held.virtual_seconds, held.dpd_exchanges, held.lost
        )?;
        writeln!(
            f,
            "resident memory of an idle tunnel at one end: {:.0} octets; with its connection and key: {:.0}",
            held.resident_bytes_per_tunnel, held.resident_bytes_per_tunnel_and_connection
        )
    }
}

impl fmt::Display for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sas, seconds, rate) = (self.sas, self.seconds, self.sas_per_second);
        writeln!(f, "\n{sas} SAs over the link into the engine: {seconds:.3} s, {rate:.0} a second")?;
        writeln!(
            f,
            "{:<14}{:>10}{:>12}{:>12}{:>10}{:>22}",
            "bursts of 32", "", "median, µs", "99.99 %", "worst", "worst, processor's µs"
        )?;
        for (name, bursts) in [("before", self.before), ("during", self.during)] {
            let (count, own) = (bursts.bursts, bursts.worst_processor_us);
            let (median, p9999, worst) = (bursts.median_us, bursts.p9999_us, bursts.worst_us);
            writeln!(f, "{name:<14}{count:>10}{median:>12.1}{p9999:>12.1}{worst:>10.1}{own:>22.1}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Daemons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tunnels, seconds, rate) = (self.tunnels, self.seconds, self.setups_per_second);
        writeln!(f, "\n{tunnels} tunnels between two control processes: {seconds:.2} s, {rate:.0} a second")?;
        for side in &self.sides {
            let (role, us, kib) = (side.role, side.processor_us_per_setup, side.resident_bytes / 1024);
            let share = side.processor_share_while_held * 100.0;
            writeln!(
                f,
                "{role:<12}{us:>8.0} µs a setup with start, {kib} KiB resident, {share:.1} % of a core while held"
            )?;
        }
        let (held, messages, removed) = (self.held_seconds, self.dpd_messages, self.removed);
        writeln!(f, "held {held:.0} s with {messages} messages, {removed} SAs removed")
    }
}

pub fn write(report: &Report, path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    std::fs::write(path, text)
}
