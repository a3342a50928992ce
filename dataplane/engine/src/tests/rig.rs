//! Two gateways and the packets between them.

use crate::testing::VecBuffer;
use crate::topology::{Attachment, Neighbour};
use crate::{Buffer, Housekeeping, Interface, Io, LARGEST, PortId, Punt, Route, RustCrypto, Shared, Tick, Worker};
use arrayvec::ArrayVec;
use culvert_link::record::{Command, Event, Refusal};
use culvert_link::{Layout, Region, SlotInit};
use culvert_model::*;
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::{EtherType, Mac, ethernet, ipv4, ipv6, protocol, udp};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub const WAN: PortId = PortId(0);
pub const LAN: PortId = PortId(1);
pub const CHILD: ChildId = ChildId(3);
pub const SECOND: Tick = 1_000_000_000;

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn net(text: &str) -> TrafficSelector {
    TrafficSelector::any(AddrRange::from(text.parse::<IpNet>().unwrap()))
}

/// Keeps what leaves.
pub struct TestIo {
    /// Octets of an ordinary buffer.
    pub room: usize,
    pub sent: Vec<(PortId, VecBuffer)>,
    pub punts: Vec<Punt<VecBuffer>>,
    pub punt_room: Option<usize>,
    pub buffers: Option<usize>,
    /// Large buffers that are left.
    pub large: Option<usize>,
    pub large_taken: usize,
    /// What the host's stack got; `None` where there is no host interface.
    pub host: Option<Vec<VecBuffer>>,
    pub host_room: Option<usize>,
}

impl Default for TestIo {
    fn default() -> Self {
        Self {
            room: VecBuffer::ROOM,
            sent: Vec::new(),
            punts: Vec::new(),
            punt_room: None,
            buffers: None,
            large: None,
            large_taken: 0,
            host: None,
            host_room: None,
        }
    }
}

impl Io<VecBuffer> for TestIo {
    fn transmit(&mut self, port: PortId, frame: VecBuffer) {
        // A line takes no more than an ordinary buffer has.
        let frame = self.compact(frame).unwrap_or_else(|frame| panic!("a frame of {} octets", frame.data().len()));
        self.sent.push((port, frame));
    }

    fn to_housekeeping(&mut self, item: Punt<VecBuffer>) -> Result<(), Punt<VecBuffer>> {
        if self.punt_room.is_some_and(|room| self.punts.len() >= room) {
            return Err(item);
        }
        self.punts.push(item);
        Ok(())
    }

    fn allocate(&mut self) -> Option<VecBuffer> {
        if let Some(left) = &mut self.buffers {
            *left = left.checked_sub(1)?;
        }
        Some(VecBuffer::with_room(&[], VecBuffer::HEADROOM, self.room))
    }

    fn allocate_large(&mut self, len: usize) -> Option<VecBuffer> {
        if let Some(left) = &mut self.large {
            *left = left.checked_sub(1)?;
        }
        self.large_taken += 1;
        VecBuffer::large(len)
    }

    fn compact(&mut self, packet: VecBuffer) -> Result<VecBuffer, VecBuffer> {
        match packet.room() {
            LARGEST if packet.data().len() > self.room => Err(packet),
            LARGEST => Ok(VecBuffer::with_room(packet.data(), VecBuffer::HEADROOM, self.room - packet.data().len())),
            _ => Ok(packet),
        }
    }

    fn to_host(&mut self, packet: VecBuffer) -> Result<(), DropReason> {
        let host = self.host.as_mut().ok_or(DropReason::HostUnsupported)?;
        if self.host_room.is_some_and(|room| host.len() >= room) {
            return Err(DropReason::HostFull);
        }
        host.push(packet);
        Ok(())
    }
}

pub struct Gateway {
    pub region: Region,
    pub shared: Arc<Shared<RustCrypto>>,
    pub worker: Worker<RustCrypto>,
    pub house: Housekeeping<RustCrypto, VecBuffer>,
    pub io: TestIo,
    pub site: u8,
    /// What commands and frames meet.
    pub now: Tick,
    next_token: u64,
}

/// Site `n` has 192.0.2.n and 2001:db8::n on the wan, 10.n.0.0/16 and fd00:n::/64 on the lan.
pub fn interfaces(site: u8) -> Vec<Interface> {
    let of = |port: PortId, addresses: [String; 2]| Interface {
        port,
        attachment: Attachment::Port,
        mac: mac(site, port).0,
        mtu: 1500,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    };
    vec![
        of(WAN, [format!("192.0.2.{site}/24"), format!("2001:db8::{site:x}/64")]),
        of(LAN, [format!("10.{site}.0.1/16"), format!("fd00:{site:x}::1/64")]),
    ]
}

pub fn mac(site: u8, port: PortId) -> Mac {
    Mac([2, 0, 0, 0, site, port.0 as u8])
}

pub fn host_mac(site: u8) -> Mac {
    Mac([2, 0, 0, 1, site, 0])
}

impl Gateway {
    pub fn new(site: u8, peer: u8) -> Self {
        let region = Region::anonymous(Layout { slots: 64, ring_bytes: culvert_link::MIN_RING_BYTES }).unwrap();
        Self::over(region, site, peer)
    }

    /// A data plane that starts over what a former one left.
    pub fn over(region: Region, site: u8, peer: u8) -> Self {
        let routes = [Route { destination: "0.0.0.0/0".parse().unwrap(), via: Some(ip("192.0.2.254")), port: None }];
        Self::with(region, site, peer, interfaces(site), &routes)
    }

    /// With interfaces of the test's own. The neighbours are the peer and the host of [`interfaces`].
    pub fn with(region: Region, site: u8, peer: u8, interfaces: Vec<Interface>, routes: &[Route]) -> Self {
        let shared = Shared::new(region.clone(), interfaces, routes).unwrap();
        let neighbour = |port, addr: String, mac| Neighbour { port, addr: ip(&addr), mac };
        let neighbours = vec![
            neighbour(WAN, format!("192.0.2.{peer}"), mac(peer, WAN)),
            neighbour(WAN, format!("2001:db8::{peer:x}"), mac(peer, WAN)),
            neighbour(LAN, format!("10.{site}.0.2"), host_mac(site)),
            neighbour(LAN, format!("fd00:{site:x}::2"), host_mac(site)),
        ];
        shared.topology.store(Arc::new(shared.topology.load().with_neighbours(neighbours)));
        let worker = Worker::new(shared.clone(), 0, RustCrypto).unwrap().with_fast_path();
        let house = Housekeeping::new(shared.clone(), 63, RustCrypto, 0).unwrap();
        Self { region, shared, worker, house, io: TestIo::default(), site, now: 1, next_token: 1 }
    }

    pub fn apply(&mut self, command: Command) -> Result<(), Refusal> {
        let token = self.next_token;
        self.next_token += 1;
        self.house.apply(self.now, token, command);
        // Where workers run, the answer waits for them.
        let answer = (0..1_000_000).find_map(|_| {
            let event = self.house.poll_event();
            if event.is_none() {
                std::thread::yield_now();
            }
            event
        });
        match answer {
            Some(Event::Done { token: answered, result }) if answered == token => result,
            other => panic!("no answer to {token}: {other:?}"),
        }
    }

    pub fn policies(&mut self, policies: impl IntoIterator<Item = Policy>) {
        self.apply(Command::BeginSync).unwrap();
        for policy in policies {
            self.apply(Command::SetPolicy(policy)).unwrap();
        }
        self.apply(Command::EndSync).unwrap();
    }

    /// PROTECT both ways between this site's lan and the peer's, with a trap.
    pub fn protect(&mut self, peer: u8) {
        let (local, remote) = (lans(self.site), lans(peer));
        let action = Action::Protect { child: CHILD, trap: true };
        let policy = |id, direction| Policy {
            id: PolicyId(id),
            direction,
            priority: 100,
            local: local.clone(),
            remote: remote.clone(),
            action,
            interface: None,
            pfp: Pfp::NONE,
        };
        self.policies([policy(1, PolicyDirection::Outbound), policy(2, PolicyDirection::Inbound)]);
    }

    /// Sets a slot up as control does, and installs.
    pub fn install(&mut self, spec: &SaSpec) -> Result<(), Refusal> {
        self.install_after(spec, 0)
    }

    /// The same for an SA that has used its numbers up to this one.
    pub fn install_after(&mut self, spec: &SaSpec, used: u64) -> Result<(), Refusal> {
        let slot = self.region.slot(spec.slot).unwrap();
        let limit = if spec.esn { u64::MAX } else { u64::from(u32::MAX) };
        assert!(slot.reset(&SlotInit {
            spi: spec.spi,
            direction: spec.direction,
            child: spec.child,
            sequence: used,
            replay_top: used,
            limit,
            generation: 1,
            installed_at: 0,
        }));
        self.apply(Command::Install(spec.clone()))
    }

    /// Runs frames received on `port`, in bursts; what leaves is in `io`.
    pub fn receive(&mut self, now: Tick, port: PortId, frames: impl IntoIterator<Item = VecBuffer>) {
        let mut frames = frames.into_iter().peekable();
        while frames.peek().is_some() {
            let mut burst: ArrayVec<_, 32> = frames.by_ref().take(32).collect();
            self.worker.run_burst(now, port, &mut burst, &mut self.io);
            assert!(burst.is_empty());
        }
    }

    /// One frame in; the drop it was counted as, if it was dropped.
    pub fn receive_one(&mut self, port: PortId, frame: VecBuffer) -> Option<DropReason> {
        let before: Vec<u64> = DropReason::ALL.iter().map(|reason| self.dropped(*reason)).collect();
        let out = self.io.sent.len() + self.io.punts.iter().filter(|punt| carries_packet(punt)).count();
        self.receive(SECOND, port, [frame]);
        let grown = DropReason::ALL.iter().zip(before).filter(|(reason, before)| self.dropped(**reason) > *before);
        let grown: Vec<DropReason> = grown.map(|(reason, _)| *reason).collect();
        let out = self.io.sent.len() + self.io.punts.iter().filter(|punt| carries_packet(punt)).count() - out;
        assert_eq!(out + grown.len(), 1, "one way out for one packet: {out} went on, {grown:?}");
        grown.first().copied()
    }

    pub fn sent(&mut self) -> Vec<VecBuffer> {
        self.io.sent.drain(..).map(|(_, frame)| frame).collect()
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.worker.counters().dropped(reason)
    }

    pub fn all_drops(&self) -> u64 {
        DropReason::ALL.iter().map(|reason| self.dropped(*reason)).sum()
    }

    pub fn count(&self, counter: WorkerCounter) -> u64 {
        self.worker.counters().get(counter)
    }
}

/// Both ways, everything of a family.
pub fn bypass_all() -> Vec<Policy> {
    let families = [("0.0.0.0/0", 1), ("::/0", 3)];
    let both = families.into_iter().flat_map(|(all, id)| {
        [(id, PolicyDirection::Outbound), (id + 1, PolicyDirection::Inbound)].map(|(id, direction)| Policy {
            id: PolicyId(id),
            direction,
            priority: 10,
            local: vec![net(all)],
            remote: vec![net(all)],
            action: Action::Bypass,
            interface: None,
            pfp: Pfp::NONE,
        })
    });
    both.collect()
}

pub fn carries_packet(punt: &Punt<VecBuffer>) -> bool {
    !matches!(punt, Punt::Acquire { .. } | Punt::NatMapping { .. } | Punt::Audit { .. })
}

pub fn lans(site: u8) -> Vec<TrafficSelector> {
    vec![net(&format!("10.{site}.0.0/16")), net(&format!("fd00:{site:x}::/64"))]
}

/// What the SAs of a pair have in common.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub suite: Suite,
    pub esn: bool,
    pub udp: bool,
    pub outer_v6: bool,
    pub lifetime: Lifetime,
    pub window: u32,
}

impl Kind {
    pub const PLAIN: Self = Self {
        suite: Suite::AES128_GCM16,
        esn: false,
        udp: false,
        outer_v6: false,
        lifetime: Lifetime {
            soft_bytes: 0,
            hard_bytes: 0,
            soft_packets: 0,
            hard_packets: 0,
            soft_seconds: 0,
            hard_seconds: 0,
            soft_idle: 0,
            hard_idle: 0,
        },
        window: 64,
    };

    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for suite in [Suite::AES128_GCM16, Suite::AES256_GCM16] {
            for bits in 0..8 {
                let (esn, udp, outer_v6) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                all.push(Self { suite, esn, udp, outer_v6, ..Self::PLAIN });
            }
        }
        all
    }
}

pub fn outer(site: u8, v6: bool) -> IpAddr {
    ip(&if v6 { format!("2001:db8::{site:x}") } else { format!("192.0.2.{site}") })
}

/// Inbound at `to`, outbound at `from`, one key.
pub fn specs(from: &Gateway, to: &Gateway, kind: Kind, key: u8) -> (SaSpec, SaSpec) {
    let (slot_in, slot_out) = (to.region.claim_slot().unwrap(), from.region.claim_slot().unwrap());
    let ports = |keepalive| {
        kind.udp.then_some(Encapsulation {
            local_port: 4500,
            remote_port: 4500,
            keepalive: Duration::from_secs(keepalive),
        })
    };
    let inbound = SaSpec {
        spi: to.region.spi_for_slot(slot_in, 0xc0ff_ee00),
        direction: Direction::Inbound,
        slot: slot_in,
        child: CHILD,
        suite: kind.suite,
        key: SecretKey::new((0..kind.suite.key_len()).map(|i| key.wrapping_add(i as u8)).collect()),
        tunnel: Tunnel { local: outer(to.site, kind.outer_v6), remote: outer(from.site, kind.outer_v6) },
        encapsulation: ports(0),
        esn: kind.esn,
        replay_window: kind.window,
        local_ts: lans(to.site),
        remote_ts: lans(from.site),
        lifetime: kind.lifetime,
        mode: SaMode::Tunnel,
        handling: Handling::default(),
        bundle: None,
        interface: None,
    };
    let outbound = SaSpec {
        direction: Direction::Outbound,
        slot: slot_out,
        tunnel: Tunnel { local: inbound.tunnel.remote, remote: inbound.tunnel.local },
        encapsulation: ports(20),
        local_ts: inbound.remote_ts.clone(),
        remote_ts: inbound.local_ts.clone(),
        ..inbound.clone()
    };
    (inbound, outbound)
}

/// Sites 1 and 7 with policies and one SA each way.
pub fn pair(kind: Kind) -> (Gateway, Gateway) {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    connect(&mut a, &mut b, kind, 1);
    connect(&mut b, &mut a, kind, 100);
    (a, b)
}

/// A UDP packet between two addresses of a family, without Ethernet header.
pub fn packet(source: IpAddr, destination: IpAddr, payload: &[u8]) -> Vec<u8> {
    let mut datagram =
        udp::Repr::for_payload((source, 1000), (destination, 2000), payload).unwrap().to_bytes().to_vec();
    datagram.extend_from_slice(payload);
    let len = datagram.len() as u16;
    let mut packet = match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let header = ipv4::Repr { dont_fragment: true, tos: 0xb8, ..ipv4::Repr::new(s, d, protocol::UDP, len) };
            header.to_bytes().to_vec()
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            ipv6::Repr { traffic_class: 0xb8, ..ipv6::Repr::new(s, d, protocol::UDP, len) }.to_bytes().to_vec()
        }
        _ => panic!("mixed families"),
    };
    packet.extend(datagram);
    packet
}

pub fn frame(source: Mac, destination: Mac, packet: &[u8]) -> VecBuffer {
    let ether_type = if packet[0] >> 4 == 6 { EtherType::IPV6 } else { EtherType::IPV4 };
    let mut octets = ethernet::Repr { destination, source, ether_type }.to_bytes().to_vec();
    octets.extend_from_slice(packet);
    VecBuffer::new(&octets)
}

/// From the host of site 1 to the host of site 7, as gateway 1 receives it.
pub fn from_host(payload: &[u8]) -> VecBuffer {
    frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip("10.7.0.2"), payload))
}

pub fn inner(frame: &VecBuffer) -> &[u8] {
    &frame.data()[ethernet::LEN..]
}

/// A new SA from one to the other; the receiver's end first.
pub fn connect(from: &mut Gateway, to: &mut Gateway, kind: Kind, key: u8) -> (SaSpec, SaSpec) {
    let (inbound, outbound) = specs(from, to, kind, key);
    to.install(&inbound).unwrap();
    from.install(&outbound).unwrap();
    (inbound, outbound)
}
