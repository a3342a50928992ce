//! Two boxes, a tunnel between them with keys from the test: ESP by the real cipher over real ports.

use crate::control::Control;
use crate::net::{LIMIT, lab, region, start, wait_ready};
use crate::reaches;
use culvert_lab::{Lab, Namespace, Process, missing_tools};
use culvert_link::record::Command;
use culvert_link::{Region, SlotInit, SlotState};
use culvert_model::{
    Action, AddrRange, ChildId, Direction, Handling, Lifetime, Pfp, Policy, PolicyDirection, PolicyId, SaMode, SaSpec,
    SecretKey, Spi, Suite, TrafficSelector, Tunnel,
};
use culvert_telemetry::{DropReason, SaCounter, WorkerCounter, layout};
use std::sync::atomic::Ordering;

const CHILD: ChildId = ChildId(0);

/// One site: its host `10.N.0.10`, and its box with `10.N.0.1` inside and `192.0.2.N` outside.
struct Site {
    number: u8,
    host: Namespace,
    process: Process,
    region: Region,
    control: Control,
}

fn config(number: u8) -> String {
    let other = 3 - number;
    format!(
        r#"
[dataplane]
workers = [0]
memory = "plain"
memory_size = "96M"
idle = "adaptive"
sa_slots = 1024
[[interface]]
name = "lan"
device = "net_af_packet,iface=lan"
addresses = ["10.{number}.0.1/24"]
[[interface]]
name = "wan"
device = "net_af_packet,iface=wan"
addresses = ["192.0.2.{number}/24"]
[[route]]
destination = "10.{other}.0.0/24"
via = "192.0.2.{other}"
"#
    )
}

fn site(lab: &Lab, number: u8, gateway: &Namespace) -> Site {
    let host = lab.namespace(&format!("host{number}")).expect("a namespace");
    host.link("eth0", gateway, "lan").expect("a line");
    host.plain_frames("eth0").expect("no offloads");
    host.add_addresses("eth0", &[&format!("10.{number}.0.10/24")]).expect("addresses");
    host.ip(&["route", "add", "default", "via", &format!("10.{number}.0.1")]).expect("a route");
    for port in ["lan", "wan"] {
        gateway.sysctl(&format!("net/ipv6/conf/{port}/disable_ipv6"), "1").expect("quiet");
    }
    let name = format!("box{number}");
    let process = start(lab, gateway, &name, &config(number));
    wait_ready(&process);
    let region = region(lab, &name);
    let control = Control::attach(&region);
    Site { number, host, process, region, control }
}

fn network(number: u8) -> Vec<TrafficSelector> {
    let net: ipnet::IpNet = format!("10.{number}.0.0/24").parse().expect("a network");
    vec![TrafficSelector::any(AddrRange::from(net))]
}

impl Site {
    /// The SA from site `from`; its SPI and key are the same on both sides.
    fn install(&mut self, from: u8, suite: Suite) -> culvert_link::SlotRef {
        let slot = self.region.claim_slot().expect("a free slot");
        let spi = Spi::new(0x1_0000 + u32::from(from)).expect("not reserved");
        let direction = if from == self.number { Direction::Outbound } else { Direction::Inbound };
        let place = self.region.slot(slot).expect("the slot");
        let init = SlotInit {
            spi,
            direction,
            child: CHILD,
            sequence: 0,
            replay_top: 0,
            limit: u64::MAX,
            generation: self.control.end.generation,
            installed_at: 0,
        };
        assert!(place.reset(&init));
        let other = 3 - self.number;
        let spec = SaSpec {
            spi,
            direction,
            slot,
            child: CHILD,
            suite,
            key: SecretKey::new(vec![from; suite.key_len()]),
            tunnel: Tunnel { local: [192, 0, 2, self.number].into(), remote: [192, 0, 2, other].into() },
            encapsulation: None,
            esn: true,
            replay_window: 1024,
            local_ts: network(self.number),
            remote_ts: network(other),
            lifetime: Lifetime::default(),
            mode: SaMode::Tunnel,
            handling: Handling::default(),
            bundle: None,
            interface: None,
        };
        self.control.tell(&Command::Install(spec));
        assert!(matches!(place.state(), SlotState::Installed | SlotState::Allocated));
        place
    }

    fn protect(&mut self) {
        self.control.tell(&Command::BeginSync);
        for (id, direction) in [(1, PolicyDirection::Outbound), (2, PolicyDirection::Inbound)] {
            self.control.tell(&Command::SetPolicy(Policy {
                id: PolicyId(id),
                direction,
                priority: 1,
                local: network(self.number),
                remote: network(3 - self.number),
                action: Action::Protect { child: CHILD, trap: false },
                interface: None,
                pfp: Pfp::NONE,
            }));
        }
        self.control.tell(&Command::EndSync);
    }
}

/// Both sites, policies in place, no SA yet.
fn sites(lab: &Lab) -> (Site, Site) {
    let [left, right] = ["gw1", "gw2"].map(|name| lab.namespace(name).expect("a namespace"));
    left.link("wan", &right, "wan").expect("a line");
    let (mut a, mut b) = (site(lab, 1, &left), site(lab, 2, &right));
    a.protect();
    b.protect();
    (a, b)
}

fn through_the_tunnel(suite: Suite) {
    let Some(lab) = lab() else { return };
    let (mut a, mut b) = sites(&lab);
    let blocked = a.host.run_for(&["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "10.2.0.10"], LIMIT);
    assert!(blocked.is_err(), "no SA, no packet");
    let sent = a.install(1, suite);
    let received = b.install(1, suite);
    let (back_sent, back_received) = (b.install(2, suite), a.install(2, suite));
    assert!(reaches(&a.host, "10.2.0.10"), "{}{}", a.process.log(), b.process.log());
    for (size, count) in [("0", "3"), ("1000", "3"), ("1300", "3")] {
        let ping = ["ping", "-n", "-c", count, "-i", "0.2", "-s", size, "10.1.0.10"];
        b.host.run_for(&ping, LIMIT).unwrap_or_else(|error| panic!("{size} octets: {error}"));
    }
    for (place, other) in [(&sent, &received), (&back_sent, &back_received)] {
        assert!(place.sequence() >= 12 && other.replay_top() == place.sequence());
        let packets = |place: &culvert_link::SlotRef| place.get(SaCounter::Packets.index());
        assert!(packets(place) >= 12 && packets(other) == packets(place));
        assert_eq!(other.get(SaCounter::IcvFailures.index()), 0);
    }
    for site in [&mut a, &mut b] {
        assert_eq!(site.process.stop().expect("it ends").code(), Some(0), "{}", site.process.log());
    }
}

#[test]
fn a_tunnel_with_aes_128() {
    through_the_tunnel(Suite::AES128_GCM16);
}

#[test]
fn a_tunnel_with_aes_256() {
    through_the_tunnel(Suite::AES256_GCM16);
}

#[test]
fn a_tcp_stream_goes_through() {
    let Some(lab) = lab() else { return };
    if !missing_tools(&["iperf3"]).is_empty() {
        eprintln!("skipped: iperf3 is not installed");
        return;
    }
    let (mut a, mut b) = sites(&lab);
    for from in [1, 2] {
        a.install(from, Suite::AES128_GCM16);
        b.install(from, Suite::AES128_GCM16);
    }
    for site in [&a, &b] {
        site.host.ip(&["link", "set", "eth0", "mtu", "1400"]).expect("room for the tunnel's headers");
    }
    let _server = b.host.spawn("iperf3", &["iperf3", "-s", "-1"]).expect("started");
    assert!(reaches(&a.host, "10.2.0.10"));
    let report = a.host.run_for(&["iperf3", "-c", "10.2.0.10", "-t", "3", "-f", "m"], LIMIT).expect("a stream");
    let received = report.lines().find(|line| line.ends_with("receiver")).expect("a summary");
    println!("{received}");
    for site in [&a, &b] {
        let block = site.region.worker_counters(0).expect("counters");
        let drops =
            DropReason::ALL.iter().map(|reason| (reason, block[layout::drop_word(*reason)].load(Ordering::Relaxed)));
        let drops: Vec<_> = drops.filter(|(_, count)| *count > 0).collect();
        println!("site {}: {drops:?}", site.number);
        let packets = block[layout::worker_word(WorkerCounter::SealedPackets)].load(Ordering::Relaxed);
        assert!(packets > 100, "{packets} packets sealed");
    }
}
