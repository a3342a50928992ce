//! VLANs of a port, against tagged frames that scapy makes.

use crate::control::Control;
use crate::net::{LIMIT, net, wait_ready};
use crate::{GOOD, reaches};
use culvert_lab::Namespace;
use culvert_telemetry::{DropReason, layout};
use std::process::Command;
use std::sync::atomic::Ordering;

const PYTHON: &str = "/usr/bin/python3";

/// What a station with this tag on the line of `host` hears.
fn station(host: &Namespace, id: &str, targets: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/vlan_station.py");
    let line = [&[PYTHON, script, "eth0", id, "10.10.0.10", "10.10.0.1"], targets].concat();
    host.run_for(&line, LIMIT).expect("the station ends by itself")
}

#[test]
fn a_tag_leads_to_its_interface_and_back() {
    let Some(net) = net() else { return };
    let import = Command::new(PYTHON).args(["-c", "import scapy.all"]).output();
    if !import.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {PYTHON} cannot import scapy");
        return;
    }
    let vlan = "[[interface]]\nname = \"left.10\"\ndevice = \"left\"\nvlan = 10\naddresses = [\"10.10.0.1/24\"]\n";
    let mut process = net.start(&format!("{GOOD}{vlan}"));
    wait_ready(&process);
    let region = net.region();
    Control::attach(&region).allow_everything();

    // The box, the other port, and the line without a tag.
    let heard = station(&net.a, "10", &["10.10.0.1", "10.2.0.10"]);
    assert_eq!(heard, "arp 10\necho 10\necho 10\n", "{}", process.log());
    assert!(reaches(&net.a, "10.1.0.1") && reaches(&net.a, "10.2.0.10"), "{}", process.log());
    assert!(reaches(&net.a, "10.10.0.1"), "without a tag its address is a routed one");

    assert_eq!(station(&net.a, "11", &[]), "silence\n", "nobody listens to that tag");
    let worker = region.worker_counters(0).expect("counters");
    assert!(worker[layout::drop_word(DropReason::UnknownVlan)].load(Ordering::Relaxed) > 0);
    assert_eq!(process.stop().expect("it ends").code(), Some(0), "{}", process.log());
}
