//! A whole engine without ports, and two of them joined by a tunnel.

use crate::Error;
use crate::cipher::{self, Cipher};
use crate::frame::{Link, Packet, Size, udp_frame};
use crate::measure::{BURSTS, PACKETS};
use arrayvec::ArrayVec;
use culvert_engine::{Attachment, BURST, Housekeeping, Interface, Io, PortId, Punt, Route, Shared, Tick, Worker};
use culvert_link::record::{Command, Event};
use culvert_link::{Layout, MIN_RING_BYTES, Region, SlotInit};
use culvert_model::{
    Action, AddrRange, ChildId, Direction, Handling, Lifetime, Pfp, Policy, PolicyDirection, PolicyId, SaMode, SaSpec,
    SecretKey, SlotIndex, Suite, TrafficSelector, Tunnel,
};
use culvert_wire::{EtherType, Mac, arp, ethernet};
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub const WAN: PortId = PortId(0);
pub const LAN: PortId = PortId(1);
const CHILD: ChildId = ChildId(0);
const NOW: Tick = 1_000_000_000;
/// Housekeeping's counter block, behind those of the workers.
const HOUSEKEEPING: usize = culvert_link::WORKERS - 1;
/// Hosts of the far site, and flows to each.
const HOSTS: u8 = 8;
const FLOWS: u16 = 8;
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// So that the largest frame of the mix fits when it is sealed.
const MTU: u16 = 2000;

/// The packets of one window, in bursts. They stay in it: [`Gateway::run`] takes them out and puts them back.
pub struct Window(pub [ArrayVec<Packet, BURST>; BURSTS]);

impl Window {
    pub fn new() -> Self {
        Self(std::array::from_fn(|_| std::array::from_fn::<_, BURST, _>(|_| Packet::new()).into()))
    }

    #[cfg(test)]
    pub fn packets(&self) -> impl Iterator<Item = &Packet> {
        self.0.iter().flatten()
    }

    pub fn load(&mut self, frames: &[Vec<u8>]) {
        for (packet, frame) in self.0.iter_mut().flatten().zip(frames) {
            packet.load(frame);
        }
    }
}

/// Keeps what leaves, without allocating.
struct Sink {
    sent: Vec<Packet>,
    punts: Vec<Punt<Packet>>,
}

impl Io<Packet> for Sink {
    fn transmit(&mut self, _: PortId, frame: Packet) {
        self.sent.push(frame);
    }

    fn to_housekeeping(&mut self, item: Punt<Packet>) -> Result<(), Punt<Packet>> {
        self.punts.push(item);
        Ok(())
    }

    fn allocate(&mut self) -> Option<Packet> {
        Some(Packet::new())
    }
}

/// Site `n`: 192.0.2.n on the wan, 10.n.0.0/16 on the lan.
pub struct Gateway {
    site: u8,
    region: Region,
    worker: Worker<Cipher>,
    house: Housekeeping<Cipher, Packet>,
    sink: Sink,
}

impl Gateway {
    /// Site 1 and its neighbours, without policies.
    pub fn beside(peer: u8) -> Result<Self, Error> {
        let mut gateway = Self::new(1)?;
        // Ports stay closed until policies are stated.
        gateway.state([])?;
        gateway.meet_all(peer);
        Ok(gateway)
    }

    fn new(site: u8) -> Result<Self, Error> {
        let region = Region::anonymous(Layout { slots: 64, ring_bytes: MIN_RING_BYTES })
            .map_err(|_| Error::Setup("no memory for the link"))?;
        let anywhere = IpNet::V4(Ipv4Net::default());
        let routes = [Route { destination: anywhere, via: Some(ROUTER.into()), port: None }];
        let shared = Shared::new(region.clone(), interfaces(site)?, &routes).map_err(|_| Error::Setup("topology"))?;
        let no_block = || Error::Setup("no counter block");
        let worker = Worker::new(Arc::clone(&shared), 0, cipher::new()?).ok_or_else(no_block)?.with_fast_path();
        let house = Housekeeping::new(shared, HOUSEKEEPING, cipher::new()?, NOW).ok_or_else(no_block)?;
        let sink = Sink { sent: Vec::with_capacity(PACKETS), punts: Vec::with_capacity(PACKETS) };
        Ok(Self { site, region, worker, house, sink })
    }

    /// All bursts of the window through the worker. This and nothing else is timed.
    #[inline]
    pub fn work(&mut self, port: PortId, window: &mut Window) {
        for burst in &mut window.0 {
            self.worker.run_burst(NOW, port, burst, &mut self.sink);
        }
    }

    /// What [`Self::work`] sent, back into the window; an error unless all was sent.
    pub fn collect(&mut self, what: &'static str, window: &mut Window) -> Result<(), Error> {
        let found = self.sink.sent.len();
        if found != PACKETS {
            return Err(Error::Lost { what, expected: PACKETS, found });
        }
        let mut sent = self.sink.sent.drain(..);
        for burst in &mut window.0 {
            burst.extend(sent.by_ref().take(BURST));
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn counters(&self) -> &culvert_engine::Counters {
        self.worker.counters()
    }

    pub fn apply(&mut self, command: Command) -> Result<(), Error> {
        self.house.apply(1, 1, command);
        match self.house.poll_event() {
            Some(Event::Done { result: Ok(()), .. }) => Ok(()),
            _ => Err(Error::Setup("a command was refused")),
        }
    }

    /// PROTECT both ways between the sites; whatever else the lan sends goes in clear.
    fn policies(&mut self, peer: u8) -> Result<(), Error> {
        let policy = |id, direction, priority, remote, action| Policy {
            id: PolicyId(id),
            direction,
            priority,
            local: vec![lan(self.site)],
            remote: vec![remote],
            action,
            interface: None,
            pfp: Pfp::NONE,
        };
        let protect = Action::Protect { child: CHILD, trap: false };
        let all = [
            policy(1, PolicyDirection::Outbound, 10, lan(peer), protect),
            policy(2, PolicyDirection::Inbound, 10, lan(peer), protect),
            policy(3, PolicyDirection::Outbound, 20, TrafficSelector::any(AddrRange::ANY_V4), Action::Bypass),
        ];
        self.state(all)
    }

    /// These policies and no others.
    pub fn state(&mut self, policies: impl IntoIterator<Item = Policy>) -> Result<(), Error> {
        self.apply(Command::BeginSync)?;
        for policy in policies {
            self.apply(Command::SetPolicy(policy))?;
        }
        self.apply(Command::EndSync)
    }

    pub fn lan(&self) -> TrafficSelector {
        lan(self.site)
    }

    /// Hears by ARP where a neighbour is.
    fn meet(&mut self, port: PortId, addr: Ipv4Addr, own: Ipv4Addr, mac: Mac) {
        let sender = arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: mac,
            sender: addr,
            target_mac: Mac::ZERO,
            target: own,
        };
        let destination = station(self.site, port);
        let mut frame = ethernet::Repr { destination, source: mac, ether_type: EtherType::ARP }.to_bytes().to_vec();
        frame.extend_from_slice(&sender.to_bytes());
        let mut packet = Packet::new();
        packet.load(&frame);
        let mut burst = ArrayVec::new();
        burst.push(packet);
        self.worker.run_burst(NOW, port, &mut burst, &mut self.sink);
        for punt in std::mem::take(&mut self.sink.punts) {
            self.house.handle_punt(NOW, punt, &mut self.sink);
        }
        // Its answer.
        self.sink.sent.clear();
    }

    /// Everybody on the wires.
    fn meet_all(&mut self, peer: u8) {
        self.meet(WAN, wan_addr(peer), wan_addr(self.site), station(peer, WAN));
        self.meet(WAN, ROUTER, wan_addr(self.site), Mac([2, 0, 0, 2, 0, 0]));
        for host in 0..HOSTS {
            self.meet(LAN, lan_host(self.site, host), Ipv4Addr::new(10, self.site, 0, 1), host_mac(self.site, host));
        }
        self.sink.punts = Vec::with_capacity(PACKETS);
    }

    /// Sets a slot up as control does, and installs.
    fn install(&mut self, spec: SaSpec) -> Result<(), Error> {
        let slot = self.region.slot(spec.slot).ok_or(Error::Setup("no such slot"))?;
        let fresh = SlotInit {
            spi: spec.spi,
            direction: spec.direction,
            child: spec.child,
            sequence: 0,
            replay_top: 0,
            limit: u64::MAX,
            generation: 1,
            installed_at: 0,
        };
        if !slot.reset(&fresh) {
            return Err(Error::Setup("the slot is in use"));
        }
        drop(slot);
        self.apply(Command::Install(spec))
    }

    fn claim(&self) -> Result<SlotIndex, Error> {
        self.region.claim_slot().ok_or(Error::Setup("no free slot"))
    }
}

/// Two sites and one SA, from the first to the second.
pub struct Pair {
    pub sender: Gateway,
    pub receiver: Gateway,
}

impl Pair {
    pub fn new(suite: Suite) -> Result<Self, Error> {
        let (mut sender, mut receiver) = (Gateway::new(1)?, Gateway::new(7)?);
        for (gateway, peer) in [(&mut sender, 7), (&mut receiver, 1)] {
            gateway.policies(peer)?;
            gateway.meet_all(peer);
        }
        let (slot_in, slot_out) = (receiver.claim()?, sender.claim()?);
        let inbound = SaSpec {
            spi: receiver.region.spi_for_slot(slot_in, 0xc0ff_ee00),
            direction: Direction::Inbound,
            slot: slot_in,
            child: CHILD,
            suite,
            key: SecretKey::new((0..suite.key_len()).map(|octet| octet as u8).collect()),
            tunnel: Tunnel { local: wan_addr(7).into(), remote: wan_addr(1).into() },
            encapsulation: None,
            esn: true,
            replay_window: 1024,
            local_ts: vec![lan(7)],
            remote_ts: vec![lan(1)],
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
            mode: SaMode::Tunnel,
            handling: Handling::default(),
            bundle: None,
            interface: None,
        };
        let outbound = SaSpec {
            direction: Direction::Outbound,
            slot: slot_out,
            tunnel: Tunnel { local: inbound.tunnel.remote, remote: inbound.tunnel.local },
            local_ts: inbound.remote_ts.clone(),
            remote_ts: inbound.local_ts.clone(),
            ..inbound.clone()
        };
        receiver.install(inbound)?;
        sender.install(outbound)?;
        Ok(Self { sender, receiver })
    }
}

/// A window of frames from the first site's hosts to the second's, as the first gateway receives them.
pub fn tunnel_frames(size: Size) -> Result<Vec<Vec<u8>>, Error> {
    frames(size, |host| lan_host(7, host))
}

/// The same to hosts beyond the router, in clear.
pub fn clear_frames(size: Size) -> Result<Vec<Vec<u8>>, Error> {
    frames(size, |host| Ipv4Addr::new(198, 51, 100, host))
}

/// The smallest frame from a host of the first site.
pub fn frame_to(to: Ipv4Addr, source_port: u16) -> Option<Vec<u8>> {
    let link = Link { source: host_mac(1, 0), destination: station(1, LAN) };
    udp_frame(link, (lan_host(1, 0), source_port), (to, 2000), Size::Fixed(64).ip_len(0))
}

fn frames(size: Size, to: impl Fn(u8) -> Ipv4Addr) -> Result<Vec<Vec<u8>>, Error> {
    let frame = |place: usize| {
        let (host, flow) = ((place % usize::from(HOSTS)) as u8, (place / usize::from(HOSTS)) as u16 % FLOWS);
        let link = Link { source: host_mac(1, host), destination: station(1, LAN) };
        udp_frame(link, (lan_host(1, host), 1000 + flow), (to(host), 2000), size.ip_len(place))
    };
    (0..PACKETS).map(frame).collect::<Option<_>>().ok_or(Error::Setup("a frame of no possible size"))
}

fn interfaces(site: u8) -> Result<Vec<Interface>, Error> {
    let of = |port, addr: Ipv4Addr, prefix| {
        let net = IpNet::new(IpAddr::V4(addr), prefix).map_err(|_| Error::Setup("prefix"))?;
        Ok(Interface { port, attachment: Attachment::Port, mac: station(site, port).0, mtu: MTU, addresses: vec![net] })
    };
    Ok(vec![of(WAN, wan_addr(site), 24)?, of(LAN, Ipv4Addr::new(10, site, 0, 1), 16)?])
}

const fn wan_addr(site: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, site)
}

const fn lan_host(site: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, site, 1, host)
}

fn lan(site: u8) -> TrafficSelector {
    let net = Ipv4Net::new_assert(Ipv4Addr::new(10, site, 0, 0), 16);
    TrafficSelector::any(AddrRange::from(IpNet::V4(net)))
}

const fn station(site: u8, port: PortId) -> Mac {
    Mac([2, 0, 0, 0, site, port.0 as u8])
}

const fn host_mac(site: u8, host: u8) -> Mac {
    Mac([2, 0, 0, 1, site, host])
}
