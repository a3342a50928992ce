//! Two hosts with the box between them, in namespaces of this test's own.

use culvert_lab::{Lab, Namespace, Process, missing_tools, wait_for};
use culvert_link::{Layout, Region};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

pub const LIMIT: Duration = Duration::from_secs(20);
const SLOTS: u32 = 1024;

/// `host a -- p0 box p1 -- host b`
pub struct Net {
    pub a: Namespace,
    pub gateway: Namespace,
    pub b: Namespace,
    lab: Lab,
}

/// `None`, with the reason printed, where this cannot run.
pub fn lab() -> Option<Lab> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: namespaces need root");
        return None;
    }
    let missing = missing_tools(&["ip", "ping", "ethtool"]);
    if !missing.is_empty() {
        eprintln!("skipped: {} not installed", missing.join(", "));
        return None;
    }
    Some(Lab::new().expect("a lab"))
}

/// As [`lab`].
pub fn net() -> Option<Net> {
    let lab = lab()?;
    let [a, gateway, b] = ["a", "gw", "b"].map(|name| lab.namespace(name).expect("a namespace"));
    for (host, port, number) in [(&a, "p0", 1), (&b, "p1", 2)] {
        host.link("eth0", &gateway, port).expect("a line");
        host.plain_frames("eth0").expect("no offloads");
        // The kernel must not speak on the box's line.
        gateway.sysctl(&format!("net/ipv6/conf/{port}/disable_ipv6"), "1").expect("quiet");
        host.add_addresses("eth0", &[&format!("10.{number}.0.10/24"), &format!("fd00:{number}::10/64")])
            .expect("addresses");
        for router in [format!("10.{number}.0.1"), format!("fd00:{number}::1")] {
            host.ip(&["route", "add", "default", "via", &router]).expect("a route");
        }
    }
    Some(Net { a, gateway, b, lab })
}

impl Net {
    pub fn start(&self, config: &str) -> Process {
        start(&self.lab, &self.gateway, "box", config)
    }

    pub fn region(&self) -> Region {
        region(&self.lab, "box")
    }

    /// The program must refuse `config`; what it said.
    pub fn refused(&self, config: &str) -> String {
        let mut process = self.start(config);
        let before = process.log().len();
        let status = process.wait(LIMIT).expect("it ends by itself");
        assert_eq!(status.code(), Some(78), "{}", process.log());
        let log = process.log();
        log.get(before.min(log.len())..).filter(|tail| !tail.is_empty()).unwrap_or(&log).to_owned()
    }
}

/// Starts the program in `inside`; its files are named `name`.
pub fn start(lab: &Lab, inside: &Namespace, name: &str, config: &str) -> Process {
    let file = lab.directory().join(format!("{name}.toml"));
    fs::write(&file, config).expect("written");
    let mut command = inside.command(env!("CARGO_BIN_EXE_culvert-dataplane"));
    command.arg("--config").arg(file).arg("--link").arg(link_path(lab, name));
    inside.spawn_command("dataplane", &mut command).expect("started")
}

pub fn region(lab: &Lab, name: &str) -> Region {
    Region::create_or_attach(&link_path(lab, name), Layout { slots: SLOTS, ..Layout::default() }).expect("the link")
}

fn link_path(lab: &Lab, name: &str) -> PathBuf {
    lab.directory().join(format!("{name}.link"))
}

pub fn wait_ready(process: &Process) {
    wait_for("the start", LIMIT, || process.log().contains("ready").then_some(())).expect("started");
}
