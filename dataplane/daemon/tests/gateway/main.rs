//! The real program between hosts, in namespaces of this test's own. The test plays control.

mod control;
mod net;
mod tunnel;
mod vlan;

use control::Control;
use culvert_lab::{Namespace, wait_for};
use culvert_telemetry::{DropReason, PortCounter, WorkerCounter, layout};
use net::{LIMIT, net, wait_ready};
use nix::sys::signal::Signal;
use std::fs;
use std::sync::atomic::Ordering;

const GOOD: &str = r#"
[dataplane]
workers = [0]
memory = "plain"
memory_size = "96M"
idle = "adaptive"
sa_slots = 1024
[[interface]]
name = "left"
device = "net_af_packet,iface=p0"
addresses = ["10.1.0.1/24", "fd00:1::1/64"]
[[interface]]
name = "right"
device = "net_af_packet,iface=p1"
addresses = ["10.2.0.1/24", "fd00:2::1/64"]
"#;

pub fn reaches(host: &Namespace, address: &str) -> bool {
    host.run_for(&["ping", "-n", "-c", "3", "-i", "0.2", "-W", "3", address], LIMIT).is_ok()
}

/// Shortest round trip of pings that each find the worker asleep, in milliseconds.
fn shortest_round_trip(host: &Namespace, address: &str) -> f64 {
    let text = host.run_for(&["ping", "-n", "-c", "20", "-i", "0.2", address], LIMIT).expect("answers");
    let (_, numbers) = text.split_once("rtt min/avg/max/mdev = ").expect("a summary");
    numbers.split('/').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn nothing_moves_before_policies_and_everything_after() {
    let Some(net) = net() else { return };
    let mut process = net.start(GOOD);
    wait_ready(&process);
    assert!(net.a.run_for(&["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "10.1.0.1"], LIMIT).is_err(), "silent");
    let region = net.region();
    let mut control = Control::attach(&region);
    control.allow_everything();
    for (host, address) in [
        (&net.a, "10.1.0.1"),
        (&net.a, "fd00:1::1"),
        (&net.a, "10.2.0.1"),
        (&net.a, "10.2.0.10"),
        (&net.a, "fd00:2::10"),
        (&net.b, "10.1.0.10"),
    ] {
        assert!(reaches(host, address), "{} to {address}: {}", host.name(), process.log());
    }
    let shortest = shortest_round_trip(&net.a, "10.2.0.10");
    println!("shortest round trip through a sleeping worker: {shortest} ms");
    assert!(shortest < 1.0, "{shortest} ms");

    let worker = region.worker_counters(0).expect("counters");
    let count = |counter| worker[layout::worker_word(counter)].load(Ordering::Relaxed);
    assert!(count(WorkerCounter::RxPackets) > 20 && count(WorkerCounter::TxPackets) > 20);
    assert!(count(WorkerCounter::BypassedPackets) > 10 && count(WorkerCounter::Sleeps) > 10);
    assert!(count(WorkerCounter::BusyCycles) < count(WorkerCounter::TotalCycles));
    assert_eq!(worker[layout::drop_word(DropReason::TxFull)].load(Ordering::Relaxed), 0);
    let port = |index: usize, counter| {
        region.port_counters(index).expect("counters")[layout::port_word(counter)].load(Ordering::Relaxed)
    };
    for index in [0, 1] {
        assert_eq!(port(index, PortCounter::LinkUp), 1);
        assert!(port(index, PortCounter::RxPackets) > 5 && port(index, PortCounter::TxPackets) > 5);
    }

    // Control goes away: the ports stay open.
    drop(control);
    assert!(reaches(&net.a, "10.2.0.10"), "{}", process.log());

    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(LIMIT).expect("it ends").code(), Some(0), "{}", process.log());
    assert!(!reaches(&net.a, "10.2.0.10"), "nobody forwards any more");
}

#[test]
fn a_killed_data_plane_leaves_nothing_and_starts_again() {
    let Some(net) = net() else { return };
    // In poll mode, which the other tests leave out because it takes a whole core.
    let config = &GOOD.replace("adaptive", "poll");
    let mut first = net.start(config);
    wait_ready(&first);
    let pid = first.pid();
    let mut control = Control::attach(&net.region());
    control.allow_everything();
    let busy = net.refused(config);
    assert!(busy.contains("a live dataplane process holds"), "{busy}");
    assert!(reaches(&net.a, "10.2.0.10"), "the first still runs: {}", first.log());
    first.kill().expect("killed");
    let left = |dir: &str| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().contains(&format!("culvert-{pid}"))).count()
    };
    assert_eq!((left("/var/run/dpdk"), left("/dev/hugepages")), (0, 0));
    let before = control.end.dataplane_generation();
    let mut second = net.start(config);
    wait_for("the second start", LIMIT, || (control.end.dataplane_generation() > before).then_some(()))
        .expect("started");
    control.allow_everything();
    assert!(reaches(&net.a, "10.2.0.10"), "{}", second.log());
    let worker = net.region().worker_counters(0).expect("counters");
    let count = |counter| worker[layout::worker_word(counter)].load(Ordering::Relaxed);
    assert!(count(WorkerCounter::Sleeps) == 0 && count(WorkerCounter::EmptyPolls) > 1000);
    assert_eq!(second.stop().expect("it ends").code(), Some(0), "{}", second.log());
}

/// Two workers on ports with further arguments.
fn two_workers(arguments: &str) {
    let Some(net) = net() else { return };
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("skipped: one core only");
        return;
    }
    let config = GOOD.replace("workers = [0]", "workers = [0, 1]");
    let mut process = net.start(&config.replace("net_af_packet,", &format!("net_af_packet,{arguments}")));
    let mut control = Control::attach(&net.region());
    control.allow_everything();
    for (host, address) in [(&net.a, "10.2.0.10"), (&net.b, "10.1.0.10"), (&net.b, "10.2.0.1"), (&net.b, "fd00:1::10")]
    {
        assert!(reaches(host, address), "{} to {address}: {}", host.name(), process.log());
    }
    assert_eq!(process.stop().expect("it ends").code(), Some(0));
}

#[test]
fn two_workers_share_ports_with_one_queue() {
    two_workers("");
}

#[test]
fn two_workers_have_queues_of_their_own() {
    two_workers("qpairs=2,");
}

#[test]
fn what_cannot_start_says_which_entry_and_what_to_do() {
    let Some(net) = net() else { return };
    for (from, to, said) in [
        ("iface=p1", "iface=nosuch", "interface \"right\": there is no Linux interface \"nosuch\""),
        (
            "net_af_packet,iface=p1",
            "0000:ff:1f.7",
            "interface \"right\": there is no PCI device 0000:ff:1f.7; `lspci -D`",
        ),
        ("net_af_packet,iface=p1", "net_nosuch", "interface \"right\": device \"net_nosuch0\" could not be opened: "),
        ("workers = [0]", "workers = [999]", "[dataplane] workers: core 999 does not exist"),
        ("iface=p1\"", "iface=p1\"\nmtu = 9216", "[dataplane] memory_size: 96 MiB hold"),
    ] {
        let log = net.refused(&GOOD.replace(from, to));
        assert!(log.contains(said), "wanted {said:?} in:\n{log}");
    }
    let hugepages = GOOD.replace("memory = \"plain\"", "memory = \"hugepages\"").replace("\"96M\"", "\"1000G\"");
    let log = net.refused(&hugepages.replace("iface=p1", "iface=nosuch"));
    assert!(log.contains("there is no Linux interface"), "devices are looked at first: {log}");
}

#[test]
fn a_line_that_is_down_is_warned_of() {
    let Some(net) = net() else { return };
    net.gateway.ip(&["link", "set", "p1", "down"]).expect("down");
    let mut process = net.start(GOOD);
    wait_ready(&process);
    let log = process.log();
    assert!(log.contains("mend it by: ip link set p1 up") && !log.contains("p0 up"), "{log}");
    assert!(!log.contains("ip address flush"), "{log}");
    // Frames for a line that is down hold nobody up.
    let mut control = Control::attach(&net.region());
    control.allow_everything();
    assert!(!reaches(&net.a, "10.2.0.10") && reaches(&net.a, "10.1.0.1"), "{}", process.log());
    assert_eq!(process.stop().expect("it ends").code(), Some(0));
}

#[test]
fn too_few_huge_pages_mean_plain_memory_and_a_warning() {
    let Some(net) = net() else { return };
    let free = fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").unwrap_or_default();
    if free.trim() != "0" {
        eprintln!("skipped: this machine has huge pages");
        return;
    }
    let mut process = net.start(&GOOD.replace("memory = \"plain\"", "memory = \"hugepages\""));
    wait_ready(&process);
    assert!(process.log().contains("echo 512 > /proc/sys/vm/nr_hugepages"), "{}", process.log());
    assert_eq!(process.stop().expect("it ends").code(), Some(0));
}
