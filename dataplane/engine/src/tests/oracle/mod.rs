//! Scapy as the other end of every SA, in both directions: what one seals, the other opens.

mod headers;
mod layers;
mod refusals;
mod transforms;

use super::rig::*;
use crate::io::Origin;
use crate::testing::{VecBuffer, hex, scapy};
use crate::{Buffer, Punt};
use arrayvec::ArrayVec;
use culvert_model::*;
use culvert_telemetry::DropReason;
use culvert_wire::{ipv4, ipv6};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

/// What varies from SA to SA.
#[derive(Clone, Copy, Debug)]
struct Case {
    suite: Suite,
    mode: SaMode,
    esn: bool,
    udp: bool,
    outer_v6: bool,
}

impl Case {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for suite in Suite::all() {
            let udp = if suite.protocol() == IpsecProtocol::Esp { &[false, true][..] } else { &[false] };
            for (mode, bits) in
                [SaMode::Tunnel, SaMode::Transport].into_iter().flat_map(|m| (0..4).map(move |b| (m, b)))
            {
                let (esn, outer_v6) = (bits & 1 != 0, bits & 2 != 0);
                all.extend(udp.iter().map(|udp| Self { suite, mode, esn, udp: *udp, outer_v6 }));
            }
        }
        all
    }

    fn plain(suite: &str, mode: SaMode, outer_v6: bool) -> Self {
        let suite = Suite::esp_from_words(suite).or_else(|_| Suite::ah_from_word(suite)).unwrap();
        Self { suite, mode, esn: false, udp: false, outer_v6 }
    }

    /// Last number used before the test: with ESN the upper half must be seen to count, and to grow.
    fn before(self) -> u64 {
        if self.esn { 7 << 32 | 0xffff_fffe } else { 41 }
    }

    /// Families of packets that such an SA carries.
    fn families(self) -> &'static [bool] {
        match self.mode {
            SaMode::Tunnel => &[false, true],
            SaMode::Transport if self.outer_v6 => &[true],
            SaMode::Transport => &[false],
        }
    }

    fn spec(self, gateway: &Gateway, direction: Direction) -> SaSpec {
        let slot = gateway.region.claim_slot().unwrap();
        let first = if direction == Direction::Inbound { 0x20u8 } else { 0x80 };
        let (near, far) = (outer(1, self.outer_v6), outer(7, self.outer_v6));
        let (local_ts, remote_ts) = match self.mode {
            SaMode::Tunnel => (lans(1), lans(7)),
            SaMode::Transport => (vec![host(near)], vec![host(far)]),
        };
        let encapsulation = Encapsulation { local_port: 4500, remote_port: 4500, keepalive: Duration::ZERO };
        SaSpec {
            spi: gateway.region.spi_for_slot(slot, 0xc0ff_ee00),
            direction,
            slot,
            child: CHILD,
            suite: self.suite,
            key: SecretKey::new((0..self.suite.key_len()).map(|at| first.wrapping_add(at as u8)).collect()),
            mode: self.mode,
            tunnel: Tunnel { local: near, remote: far },
            encapsulation: self.udp.then_some(encapsulation),
            esn: self.esn,
            replay_window: 64,
            local_ts,
            remote_ts,
            lifetime: Lifetime::default(),
            handling: Handling::default(),
            bundle: None,
            interface: None,
        }
    }
}

fn host(addr: IpAddr) -> TrafficSelector {
    TrafficSelector::any(AddrRange::single(addr))
}

/// The other end of an SA of ours, in the oracle's words.
fn words(sa: &SaSpec, sequence: u64) -> String {
    let protocol = match sa.suite.protocol() {
        IpsecProtocol::Esp => "esp",
        IpsecProtocol::Ah => "ah",
    };
    let around = match sa.mode {
        SaMode::Tunnel => format!("{}/{}", sa.tunnel.remote, sa.tunnel.local),
        SaMode::Transport => "transport".to_owned(),
    };
    let (key, spi) = (hex(sa.key.expose()), sa.spi.get());
    let (esn, udp) = (u8::from(sa.esn), u8::from(sa.encapsulation.is_some()));
    format!("{protocol},{},{key},{spi},{sequence},{esn},{udp},{around}", sa.suite)
}

/// Questions for one run of the oracle, each with what the test wants to know when it has the answer.
struct Questions<T> {
    asked: Vec<(String, T)>,
}

impl<T> Questions<T> {
    fn new() -> Self {
        Self { asked: Vec::new() }
    }

    /// The outermost SA first.
    fn open(&mut self, sas: &[String], packet: &[u8], then: T) {
        self.ask("open", sas, packet, then);
    }

    /// The innermost SA first.
    fn seal(&mut self, sas: &[String], packet: &[u8], then: T) {
        self.ask("seal", sas, packet, then);
    }

    fn ask(&mut self, what: &str, sas: &[String], packet: &[u8], then: T) {
        let mut line = what.to_owned();
        for sa in sas {
            write!(line, " {sa}").unwrap();
        }
        write!(line, " {}", hex(packet)).unwrap();
        self.asked.push((line, then));
    }

    /// `None` of a packet: the oracle refuses it. No answers at all where there is no Scapy.
    fn answers(self) -> impl Iterator<Item = (T, Option<Vec<u8>>)> {
        let (lines, then): (Vec<_>, Vec<_>) = self.asked.into_iter().unzip();
        let answers = scapy(include_str!("oracle.py"), lines.into_iter()).unwrap_or_default();
        let octets = |text: String| (text != "refused").then(|| culvert_wire::testing::bytes(&text));
        then.into_iter().zip(answers.into_iter().map(octets))
    }
}

/// PROTECT both ways between these ends, with one child.
fn protect(gateway: &mut Gateway, local: &[TrafficSelector], remote: &[TrafficSelector], child: ChildId) {
    let policy = |id, direction| Policy {
        id: PolicyId(id),
        direction,
        priority: 100,
        local: local.to_vec(),
        remote: remote.to_vec(),
        action: Action::Protect { child, trap: false },
        interface: None,
        pfp: Pfp::NONE,
    };
    gateway.policies([policy(1, PolicyDirection::Outbound), policy(2, PolicyDirection::Inbound)]);
}

/// Site 1 with an SA to site 7, which is not there, and its policy.
fn sender(case: Case, handling: Handling) -> (Gateway, SaSpec) {
    let mut gateway = Gateway::new(1, 7);
    let sa = SaSpec { handling, ..case.spec(&gateway, Direction::Outbound) };
    protect(&mut gateway, &sa.local_ts, &sa.remote_ts, CHILD);
    gateway.install_after(&sa, case.before()).unwrap();
    (gateway, sa)
}

fn receiver(case: Case, handling: Handling) -> (Gateway, SaSpec) {
    let mut gateway = Gateway::new(1, 7);
    let sa = SaSpec { handling, ..case.spec(&gateway, Direction::Inbound) };
    protect(&mut gateway, &sa.local_ts, &sa.remote_ts, CHILD);
    gateway.install_after(&sa, case.before()).unwrap();
    (gateway, sa)
}

/// Between the hosts of a tunnel, or its ends themselves; towards site 7 or from it.
fn packet_for(case: Case, v6: bool, towards: bool, len: usize) -> Vec<u8> {
    let (near, far) = match (case.mode, v6) {
        (SaMode::Tunnel, false) => (ip("10.1.0.2"), ip("10.7.0.2")),
        (SaMode::Tunnel, true) => (ip("fd00:1::2"), ip("fd00:7::2")),
        (SaMode::Transport, _) => (outer(1, v6), outer(7, v6)),
    };
    let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
    if towards { packet(near, far, &payload) } else { packet(far, near, &payload) }
}

/// One packet through the gateway's outbound SA: forwarded in tunnel mode, the box's own in transport mode.
fn send(gateway: &mut Gateway, mode: SaMode, packet: &[u8]) -> Option<Vec<u8>> {
    match mode {
        SaMode::Tunnel => {
            let site = gateway.site;
            gateway.receive(SECOND, LAN, [frame(host_mac(site), mac(site, LAN), packet)]);
        }
        SaMode::Transport => send_own(gateway, packet),
    }
    only_sent(gateway)
}

/// A packet of the host's own stack.
fn send_own(gateway: &mut Gateway, packet: &[u8]) {
    let mut burst = ArrayVec::new();
    burst.push(VecBuffer::new(packet));
    gateway.house.handle_host(SECOND, &mut burst, &mut gateway.io);
}

fn only_sent(gateway: &mut Gateway) -> Option<Vec<u8>> {
    let mut sent = gateway.sent();
    assert!(sent.len() <= 1, "{} frames", sent.len());
    sent.pop().map(|frame| inner(&frame).to_vec())
}

/// One packet from the wan: what comes out of it, for a host behind the box or for the box itself.
fn receive(gateway: &mut Gateway, wire: &[u8]) -> Result<Vec<u8>, DropReason> {
    if let Some(reason) = gateway.receive_one(WAN, frame(mac(7, WAN), mac(1, WAN), wire)) {
        assert!(gateway.io.sent.is_empty(), "dropped, and sent on");
        return Err(reason);
    }
    let mut punts: Vec<_> = gateway.io.punts.drain(..).filter(carries_packet).collect();
    match (gateway.sent().pop(), punts.pop()) {
        (Some(frame), None) => Ok(inner(&frame).to_vec()),
        (None, Some(Punt::Host { origin: Origin::Tunnel, packet, .. })) => Ok(packet.data().to_vec()),
        other => panic!("{other:?}"),
    }
}

/// The same packet after the box: one hop further where it was forwarded.
fn after(mode: SaMode, mut packet: Vec<u8>) -> Vec<u8> {
    match (mode, packet[0] >> 4) {
        (SaMode::Transport, _) => {}
        (SaMode::Tunnel, 6) => _ = ipv6::decrement_hop_limit(&mut packet),
        (SaMode::Tunnel, _) => _ = ipv4::decrement_ttl(&mut packet),
    }
    packet
}

/// The lengths in the IP header as long as the packet, and the IPv4 checksum.
fn mend(packet: &mut [u8]) {
    let len = packet.len() as u16;
    if packet[0] >> 4 == 6 {
        packet[4..6].copy_from_slice(&(len - 40).to_be_bytes());
        return;
    }
    let header_len = usize::from(packet[0] & 15) * 4;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[10..12].fill(0);
    let sum = culvert_wire::checksum::of(&packet[..header_len]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
}
