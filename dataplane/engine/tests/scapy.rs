//! The engine's ESP held against Scapy's, which shares no line with it: what one seals, the other opens.

use arrayvec::ArrayVec;
use culvert_engine::testing::VecBuffer;
use culvert_engine::{Attachment, Buffer, Housekeeping, Interface, Io, PortId, Punt, RustCrypto, Shared, Tick, Worker};
use culvert_link::record::{Command, Event};
use culvert_link::{Layout, MIN_RING_BYTES, Region, SlotInit};
use culvert_model::*;
use culvert_telemetry::DropReason;
use culvert_wire::{EtherType, Mac, arp, ethernet, ipv4, ipv6, ndp, protocol, udp};
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

const WAN: PortId = PortId(0);
const LAN: PortId = PortId(1);
const CHILD: ChildId = ChildId(0);
const NOW: Tick = 1_000_000_000;
const OWN_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// Debian's python3-scapy, run as a child process.
struct Scapy {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Scapy {
    /// `None`, with the reason printed, where it is not installed.
    fn start() -> Option<Self> {
        let python = "/usr/bin/python3";
        let import = Process::new(python).args(["-c", "import scapy.layers.ipsec, cryptography"]).output();
        if !import.is_ok_and(|output| output.status.success()) {
            println!("skipped: {python} cannot import scapy (apt-get install python3-scapy python3-cryptography)");
            return None;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scapy_oracle.py");
        let mut process =
            Process::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (requests, answers) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Some(Self { process, requests, answers })
    }

    fn ask(&mut self, request: &str) -> String {
        writeln!(self.requests, "{request}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "the oracle died on: {request}");
        answer.trim().to_owned()
    }

    fn seal(&mut self, sa: &SaSpec, sequence: u64, packet: &[u8]) -> Vec<u8> {
        let Tunnel { local, remote } = sa.tunnel;
        let (key, spi, esn, udp) = words(sa);
        unhex(&self.ask(&format!("seal {key} {spi} {sequence} {esn} {udp} {remote} {local} {}", hex(packet))))
    }

    fn open(&mut self, sa: &SaSpec, sequence: u64, outer: &[u8]) -> Option<Vec<u8>> {
        let (key, spi, esn, udp) = words(sa);
        let answer = self.ask(&format!("open {key} {spi} {sequence} {esn} {udp} {}", hex(outer)));
        (answer != "refused").then(|| unhex(&answer))
    }
}

impl Drop for Scapy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn words(sa: &SaSpec) -> (String, u32, &'static str, &'static str) {
    let yes = |flag: bool| if flag { "yes" } else { "no" };
    (hex(sa.key.expose()), sa.spi.get(), yes(sa.esn), yes(sa.encapsulation.is_some()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    culvert_wire::testing::bytes(text)
}

#[derive(Default)]
struct TestIo {
    sent: Vec<VecBuffer>,
    punts: Vec<Punt<VecBuffer>>,
}

impl Io<VecBuffer> for TestIo {
    fn transmit(&mut self, _port: PortId, frame: VecBuffer) {
        self.sent.push(frame);
    }

    fn to_housekeeping(&mut self, item: Punt<VecBuffer>) -> Result<(), Punt<VecBuffer>> {
        self.punts.push(item);
        Ok(())
    }

    fn allocate(&mut self) -> Option<VecBuffer> {
        Some(VecBuffer::new(&[]))
    }
}

/// What varies from SA to SA.
#[derive(Clone, Copy, Debug)]
struct Kind {
    suite: Suite,
    esn: bool,
    udp: bool,
    outer_v6: bool,
}

impl Kind {
    fn all() -> impl Iterator<Item = Self> {
        (0..16).map(|bits| Self {
            suite: [Suite::AES128_GCM16, Suite::AES256_GCM16][bits & 1],
            esn: bits & 2 != 0,
            udp: bits & 4 != 0,
            outer_v6: bits & 8 != 0,
        })
    }

    /// Last number used before the test: with ESN the high half must be seen to count.
    fn before(self) -> u64 {
        if self.esn { 7 << 32 | 0xffff_fffd } else { 41 }
    }
}

/// A gateway with 10.1.0.0/16 and fd00:1::/64 behind it, an SA each way to a peer that is Scapy.
struct Gateway {
    region: Region,
    worker: Worker<RustCrypto>,
    house: Housekeeping<RustCrypto, VecBuffer>,
    io: TestIo,
    inbound: SaSpec,
    outbound: SaSpec,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn selectors(v4: &str, v6: &str) -> Vec<TrafficSelector> {
    let range = |start: String, end: String| AddrRange::new(ip(&start), ip(&end)).unwrap();
    vec![
        TrafficSelector::any(range(format!("{v4}.0.0"), format!("{v4}.255.255"))),
        TrafficSelector::any(range(format!("{v6}::"), format!("{v6}::ffff:ffff:ffff:ffff"))),
    ]
}

fn spec(region: &Region, kind: Kind, direction: Direction) -> SaSpec {
    let slot = region.claim_slot().unwrap();
    let (local, remote) = if kind.outer_v6 { ("2001:db8::1", "2001:db8::2") } else { ("192.0.2.1", "192.0.2.2") };
    let first = if direction == Direction::Inbound { 0x20 } else { 0x80 };
    let encapsulation = Encapsulation { local_port: 4500, remote_port: 4500, keepalive: Duration::ZERO };
    SaSpec {
        spi: region.spi_for_slot(slot, 0xc0ff_ee00),
        direction,
        slot,
        child: CHILD,
        suite: kind.suite,
        key: SecretKey::new((first..).take(kind.suite.key_len()).collect()),
        tunnel: Tunnel { local: ip(local), remote: ip(remote) },
        encapsulation: kind.udp.then_some(encapsulation),
        esn: kind.esn,
        replay_window: 64,
        local_ts: selectors("10.1", "fd00:1"),
        remote_ts: selectors("10.7", "fd00:7"),
        lifetime: Lifetime::default(),
        mode: SaMode::Tunnel,
        handling: Handling::default(),
        bundle: None,
        interface: None,
    }
}

impl Gateway {
    fn new(kind: Kind) -> Self {
        let region = Region::anonymous(Layout { slots: 64, ring_bytes: MIN_RING_BYTES }).unwrap();
        let interface = |port, addresses: [&str; 2]| Interface {
            port,
            attachment: Attachment::Port,
            mac: OWN_MAC.0,
            mtu: 1500,
            addresses: addresses.map(|text| text.parse().unwrap()).into(),
        };
        let interfaces =
            vec![interface(WAN, ["192.0.2.1/24", "2001:db8::1/64"]), interface(LAN, ["10.1.0.1/16", "fd00:1::1/64"])];
        let shared: Arc<Shared<RustCrypto>> = Shared::new(region.clone(), interfaces, &[]).unwrap();
        let (inbound, outbound) = (spec(&region, kind, Direction::Inbound), spec(&region, kind, Direction::Outbound));
        let mut gateway = Self {
            worker: Worker::new(shared.clone(), 0, RustCrypto).unwrap(),
            house: Housekeeping::new(shared, 63, RustCrypto, 0).unwrap(),
            io: TestIo::default(),
            region,
            inbound,
            outbound,
        };
        gateway.set_up(kind);
        gateway
    }

    fn set_up(&mut self, kind: Kind) {
        self.apply(Command::BeginSync);
        for (id, direction) in [(1, PolicyDirection::Outbound), (2, PolicyDirection::Inbound)] {
            self.apply(Command::SetPolicy(Policy {
                id: PolicyId(id),
                direction,
                priority: 100,
                local: self.outbound.local_ts.clone(),
                remote: self.outbound.remote_ts.clone(),
                action: Action::Protect { child: CHILD, trap: false },
                interface: None,
                pfp: Pfp::NONE,
            }));
        }
        self.apply(Command::EndSync);
        for sa in [self.inbound.clone(), self.outbound.clone()] {
            let init = SlotInit {
                spi: sa.spi,
                direction: sa.direction,
                child: CHILD,
                sequence: kind.before(),
                replay_top: kind.before(),
                limit: if sa.esn { u64::MAX } else { u64::from(u32::MAX) },
                generation: 1,
                installed_at: 0,
            };
            assert!(self.region.slot(sa.slot).unwrap().reset(&init));
            self.apply(Command::Install(sa));
        }
        self.meet_neighbours();
    }

    fn apply(&mut self, command: Command) {
        self.house.apply(1, 1, command);
        assert!(matches!(self.house.poll_event(), Some(Event::Done { token: 1, result: Ok(()) })));
    }

    /// The peer and the host ask for the gateway, which then knows them.
    fn meet_neighbours(&mut self) {
        for (port, target, sender) in [(WAN, [192, 0, 2, 1], [192, 0, 2, 2]), (LAN, [10, 1, 0, 1], [10, 1, 0, 2])] {
            let request = arp::Repr {
                operation: arp::Operation::Request,
                sender_mac: OTHER_MAC,
                sender: sender.into(),
                target_mac: Mac::ZERO,
                target: target.into(),
            };
            self.receive(port, EtherType::ARP, &request.to_bytes());
        }
        for (port, target, source) in [(WAN, "2001:db8::1", "2001:db8::2"), (LAN, "fd00:1::1", "fd00:1::2")] {
            let (target, source) = (target.parse().unwrap(), source.parse().unwrap());
            let message = ndp::Message::NeighbourSolicitation { target, source_mac: Some(OTHER_MAC) };
            let mut bytes = vec![0; message.len()];
            message.emit(source, target, &mut bytes).unwrap();
            let header = ipv6::Repr::new(source, target, protocol::ICMPV6, bytes.len() as u16);
            let header = ipv6::Repr { hop_limit: 255, ..header };
            self.receive(port, EtherType::IPV6, &[&header.to_bytes()[..], &bytes].concat());
        }
        for punt in std::mem::take(&mut self.io.punts) {
            self.house.handle_punt(NOW, punt, &mut self.io);
        }
        self.io.sent.clear();
    }

    fn receive(&mut self, port: PortId, ether_type: EtherType, payload: &[u8]) {
        let header = ethernet::Repr { destination: OWN_MAC, source: OTHER_MAC, ether_type };
        let mut burst = ArrayVec::new();
        burst.push(VecBuffer::new(&[&header.to_bytes()[..], payload].concat()));
        self.worker.run_burst(NOW, port, &mut burst, &mut self.io);
    }

    /// One IP packet in, at most one out.
    fn forward(&mut self, port: PortId, packet: &[u8]) -> Option<Vec<u8>> {
        let ether_type = if packet[0] >> 4 == 6 { EtherType::IPV6 } else { EtherType::IPV4 };
        self.receive(port, ether_type, packet);
        let frame = self.io.sent.pop()?;
        Some(frame.data()[ethernet::LEN..].to_vec())
    }

    fn drops(&self) -> Vec<DropReason> {
        DropReason::ALL.iter().copied().filter(|reason| self.worker.counters().dropped(*reason) > 0).collect()
    }
}

/// A UDP packet between the two networks, towards site 7 or from it.
fn packet(v6: bool, towards: bool, payload: &[u8]) -> Vec<u8> {
    let (near, far) = if v6 { ("fd00:1::2", "fd00:7::2") } else { ("10.1.0.2", "10.7.0.2") };
    let (source, destination) = if towards { (ip(near), ip(far)) } else { (ip(far), ip(near)) };
    let header = udp::Repr::for_payload((source, 1000), (destination, 2000), payload).unwrap();
    let upper = [&header.to_bytes()[..], payload].concat();
    let ip = match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => ipv4::Repr::new(s, d, protocol::UDP, upper.len() as u16).to_bytes().to_vec(),
        (IpAddr::V6(s), IpAddr::V6(d)) => ipv6::Repr::new(s, d, protocol::UDP, upper.len() as u16).to_bytes().to_vec(),
        _ => unreachable!("one family"),
    };
    [ip, upper].concat()
}

/// The same packet after a router.
fn hop(mut packet: Vec<u8>) -> Vec<u8> {
    match packet[0] >> 4 {
        6 => ipv6::decrement_hop_limit(&mut packet),
        _ => ipv4::decrement_ttl(&mut packet),
    };
    packet
}

/// Every residue of the padding, and the ends.
const LENGTHS: [usize; 7] = [0, 1, 2, 3, 4, 100, 1300];

fn payloads() -> impl Iterator<Item = (bool, Vec<u8>)> {
    let payload = |len: usize| (0..len).map(|at| at as u8).collect();
    LENGTHS.into_iter().flat_map(move |len| [(false, payload(len)), (true, payload(len))])
}

#[test]
fn what_the_engine_seals_scapy_opens() {
    let Some(mut scapy) = Scapy::start() else { return };
    for kind in Kind::all() {
        let mut gateway = Gateway::new(kind);
        for (number, (v6, payload)) in (kind.before() + 1..).zip(payloads()) {
            let sent = packet(v6, true, &payload);
            let wire = gateway.forward(LAN, &sent);
            let wire = wire.unwrap_or_else(|| panic!("{kind:?} v6 {v6}: {:?}", gateway.drops()));
            let opened = scapy.open(&gateway.outbound, number, &wire);
            assert_eq!(opened, Some(hop(sent)), "{kind:?}, inner v6 {v6}, {} octets", payload.len());
            // The oracle must be able to say no.
            let mut bent = wire.clone();
            *bent.last_mut().unwrap() ^= 1;
            assert_eq!(scapy.open(&gateway.outbound, number, &bent), None, "{kind:?}");
            if kind.esn {
                assert_eq!(scapy.open(&gateway.outbound, number + (1 << 32), &wire), None, "{kind:?}");
            }
        }
    }
}

#[test]
fn what_scapy_seals_the_engine_opens() {
    let Some(mut scapy) = Scapy::start() else { return };
    for kind in Kind::all() {
        let mut gateway = Gateway::new(kind);
        for (number, (v6, payload)) in (kind.before() + 1..).zip(payloads()) {
            let sent = packet(v6, false, &payload);
            let wire = scapy.seal(&gateway.inbound, number, &sent);
            let got = gateway.forward(WAN, &wire);
            assert_eq!(got, Some(hop(sent)), "{kind:?}, inner v6 {v6}: {:?}", gateway.drops());
        }
        assert_eq!(gateway.drops(), [], "{kind:?}");
    }
}

#[test]
fn what_scapy_seals_wrongly_the_engine_refuses() {
    let Some(mut scapy) = Scapy::start() else { return };
    for kind in Kind::all() {
        let number = kind.before() + 1;
        let sealed = |scapy: &mut Scapy, gateway: &Gateway, change: fn(&mut SaSpec)| {
            let mut sa = gateway.inbound.clone();
            change(&mut sa);
            scapy.seal(&sa, number, &packet(false, false, b"payload"))
        };
        let refused = |gateway: &mut Gateway, wire: &[u8], reason: DropReason| {
            assert_eq!(gateway.forward(WAN, wire), None, "{kind:?}");
            assert_eq!(gateway.drops(), [reason], "{kind:?}");
        };
        let mut gateway = Gateway::new(kind);
        let other_esn = sealed(&mut scapy, &gateway, |sa| sa.esn = !sa.esn);
        refused(&mut gateway, &other_esn, DropReason::IcvFailed);
        let mut gateway = Gateway::new(kind);
        let other_key = sealed(&mut scapy, &gateway, |sa| sa.key = SecretKey::new(vec![1; sa.key.len()]));
        refused(&mut gateway, &other_key, DropReason::IcvFailed);
        let mut gateway = Gateway::new(kind);
        let other_spi = sealed(&mut scapy, &gateway, |sa| sa.spi = Spi::new(sa.spi.get() ^ 0x4000_0000).unwrap());
        refused(&mut gateway, &other_spi, DropReason::UnknownSpi);
        let mut gateway = Gateway::new(kind);
        let good = sealed(&mut scapy, &gateway, |_| {});
        assert!(gateway.forward(WAN, &good).is_some());
        refused(&mut gateway, &good, DropReason::ReplayDuplicate);
    }
}
