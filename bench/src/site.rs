//! A whole gateway with many tunnels: the daemon's worker loops, housekeeping, two ports.

use crate::Error;
use crate::lines::{Lab, Line};
use crate::net::{self, LAN, OWN_LAN, OWN_WAN, ROUTER, ROUTER_MAC, WAN};
use crate::station::{Ends, Peer, Station};
use core::sync::atomic::{AtomicBool, AtomicU64};
use culvert_cipher::{MultiBuffer, Provider};
use culvert_config::Idle;
use culvert_dataplane::clock::Clock;
use culvert_dataplane::io::{Exit, Exits, INBOX, Inbox, PUNTS, Punts};
use culvert_dataplane::packet::Packet;
use culvert_dataplane::worker::Loop;
use culvert_engine::{Counters, Crypto, Housekeeping, PortId, Shared, Worker};
use culvert_link::record::{Command, Event};
use culvert_link::{Layout, MIN_RING_BYTES, Region, SlotInit};
use culvert_model::{
    Action, AddrRange, ChildId, Direction, Handling, Lifetime, Pfp, Policy, PolicyDirection, PolicyId, SaMode, SaSpec,
    SecretKey, SlotIndex, Spi, Suite, TrafficSelector, Tunnel,
};
use culvert_wire::{EtherType, Mac, arp, ethernet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Housekeeping's counter block, behind those of the workers.
const HOUSEKEEPING: usize = culvert_link::WORKERS - 1;
/// Control's answers are looked for after so many commands.
const AT_ONCE: u32 = 256;

/// How large a site is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub suite: Suite,
    pub tunnels: u32,
    /// Outbound, besides those of the tunnels: each lets another net pass in clear.
    pub bypasses: u32,
    pub workers: u16,
}

/// Octets of the data plane's memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Footprint {
    /// On the heap, for all SAs: what their installation left.
    pub sas: u64,
    /// On the heap, for all policies.
    pub policies: u64,
    /// On the heap, for the tables that all SAs are found by; at the start, whether there are SAs or not.
    pub tables: u64,
    pub slots: u32,
}

/// Both directions of a tunnel, where they are now.
#[derive(Clone, Copy)]
struct Pair {
    inbound: (SlotIndex, Spi),
    outbound: (SlotIndex, Spi),
}

pub struct Site {
    pub extent: Extent,
    pub footprint: Footprint,
    pub stations: Vec<Station>,
    pub keeper: Keeper,
}

/// Everything beside the workers.
pub struct Keeper {
    suite: Suite,
    region: Region,
    house: Housekeeping<MultiBuffer, Packet>,
    exits: Exits,
    punts: Arc<Punts>,
    clock: Clock,
    pairs: Vec<Pair>,
    generation: u64,
    /// The ports close when nobody has them any more.
    _ports: [Line; 2],
}

impl Site {
    pub fn new(lab: &Lab, extent: Extent) -> Result<Self, Error> {
        let Extent { suite, tunnels, workers, .. } = extent;
        // Room for a rekey of each of some tunnels at once.
        let slots = (2 * tunnels + 128).next_power_of_two();
        let region = Region::anonymous(Layout { slots, ring_bytes: MIN_RING_BYTES })
            .map_err(|_| Error::Setup("no memory for the link"))?;
        let (shared, tables) = measured(|| Shared::new(region.clone(), net::interfaces(), &net::routes()));
        let shared = shared.map_err(|_| Error::Setup("topology"))?;
        let clock = Clock::new(lab.eal.tsc_hz());
        let punts: Arc<Punts> = Arc::default();
        let inboxes: Vec<Arc<Inbox>> = (0..workers).map(|_| Arc::new(Inbox::new(INBOX))).collect();
        let mut ports = [lab.line(workers)?, lab.line(workers)?];
        let mut works = Vec::new();
        let [wan, lan] = ports.each_mut().map(|line| std::mem::take(&mut line.stubs));
        for (index, ((wan, lan), inbox)) in wan.into_iter().zip(lan).zip(&inboxes).enumerate() {
            let engine = Worker::new(Arc::clone(&shared), index, MultiBuffer::for_thread());
            let engine = engine.ok_or(Error::Setup("no counter block"))?.with_fast_path();
            let exits = vec![(WAN, wan.gateway_tx), (LAN, lan.gateway_tx)];
            let exits = Exits::new(exits, Arc::clone(&punts), lab.pools(), engine.counters().clone());
            let work = Loop {
                engine,
                shared: Arc::clone(&shared),
                rx: vec![(WAN, wan.gateway_rx), (LAN, lan.gateway_rx)],
                exits,
                inbox: Arc::clone(inbox),
                clock,
                idle: Idle::Poll,
                stop: Arc::new(AtomicBool::new(false)),
            };
            works.push((work, Ends { wan: (wan.bench_rx, wan.bench_tx), lan: (lan.bench_rx, lan.bench_tx) }));
        }
        let house = Housekeeping::new(shared, HOUSEKEEPING, MultiBuffer::for_thread(), clock.now());
        let house = house.ok_or(Error::Setup("no counter block"))?;
        let counters = region.worker_counters(HOUSEKEEPING).map(Counters::new).ok_or(Error::Setup("no counters"))?;
        let by_inbox = |port| (port, Exit::Other(Arc::clone(&inboxes[0])));
        let exits = Exits::new(vec![by_inbox(WAN), by_inbox(LAN)], Arc::clone(&punts), lab.pools(), counters);
        let pairs = Vec::with_capacity(tunnels as usize);
        let mut keeper = Keeper { suite, region, house, exits, punts, clock, pairs, generation: 1, _ports: ports };
        let (done, policies) = measured(|| keeper.state(&extent));
        done?;
        let (done, sas) = measured(|| keeper.install_all(tunnels));
        done?;
        let peers = keeper.peers()?;
        let station = |(work, ends)| Station::new(work, ends, lab.pool.clone(), Arc::clone(&peers), extent);
        let stations: Vec<_> = works.into_iter().map(station).collect();
        let footprint = Footprint { sas, policies, tables, slots };
        let mut site = Self { extent, footprint, stations, keeper };
        site.meet_all()?;
        Ok(site)
    }

    /// Hears by ARP where everybody is.
    fn meet_all(&mut self) -> Result<(), Error> {
        self.meet(WAN, ROUTER, OWN_WAN, ROUTER_MAC)?;
        (0..net::HOSTS).try_for_each(|host| self.meet(LAN, net::host(host), OWN_LAN, net::host_mac(host)))
    }

    fn meet(&mut self, port: PortId, addr: Ipv4Addr, own: Ipv4Addr, mac: Mac) -> Result<(), Error> {
        let sender = arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: mac,
            sender: addr,
            target_mac: Mac::ZERO,
            target: own,
        };
        let header = ethernet::Repr { destination: net::station(port), source: mac, ether_type: EtherType::ARP };
        let mut frame = header.to_bytes().to_vec();
        frame.extend_from_slice(&sender.to_bytes());
        let station = self.stations.first_mut().ok_or(Error::Setup("no worker"))?;
        station.send_one(port, &frame)?;
        station.work.turn(dpdk::rdtsc());
        self.keeper.take_punts();
        // Its answer.
        station.work.turn(dpdk::rdtsc());
        if station.drain(port) == 1 { Ok(()) } else { Err(Error::Setup("the gateway did not answer ARP")) }
    }
}

impl Keeper {
    /// What the workers left to housekeeping.
    pub fn take_punts(&mut self) {
        let now = self.clock.now();
        for punt in self.punts.take(PUNTS) {
            self.house.handle_punt(now, punt, &mut self.exits);
        }
        while self.house.poll_event().is_some() {}
    }

    fn apply(&mut self, command: Command) -> Result<(), Error> {
        self.house.apply(self.clock.now(), 1, command);
        while let Some(event) = self.house.poll_event() {
            if let Event::Done { result: Err(_), .. } = event {
                return Err(Error::Setup("a command was refused"));
            }
        }
        Ok(())
    }

    /// PROTECT both ways for each tunnel, the bypasses, and whatever else the lan sends goes in clear.
    fn state(&mut self, extent: &Extent) -> Result<(), Error> {
        self.apply(Command::BeginSync)?;
        for tunnel in 0..extent.tunnels {
            let action = Action::Protect { child: ChildId(tunnel), trap: false };
            let remote = net::selector(net::branch(tunnel));
            self.apply(Command::SetPolicy(policy(2 * tunnel, PolicyDirection::Outbound, 10, remote, action)))?;
            self.apply(Command::SetPolicy(policy(2 * tunnel + 1, PolicyDirection::Inbound, 10, remote, action)))?;
        }
        let first = 2 * extent.tunnels;
        for number in 0..extent.bypasses {
            let remote = net::selector(net::bypassed(number));
            let bypass = policy(first + number, PolicyDirection::Outbound, 10, remote, Action::Bypass);
            self.apply(Command::SetPolicy(bypass))?;
        }
        let any = TrafficSelector::any(AddrRange::ANY_V4);
        let last = policy(first + extent.bypasses, PolicyDirection::Outbound, 20, any, Action::Bypass);
        self.apply(Command::SetPolicy(last))?;
        self.apply(Command::EndSync)
    }

    fn install_all(&mut self, tunnels: u32) -> Result<(), Error> {
        for tunnel in 0..tunnels {
            let pair = self.install(tunnel)?;
            self.pairs.push(pair);
            if tunnel % AT_ONCE == 0 {
                self.take_punts();
            }
        }
        Ok(())
    }

    /// A new pair of SAs for a tunnel; the child sends by it at once.
    fn install(&mut self, tunnel: u32) -> Result<Pair, Error> {
        let claim = || self.region.claim_slot().ok_or(Error::Setup("no free slot"));
        let (slot_in, slot_out) = (claim()?, claim()?);
        let spi_in = self.region.spi_for_slot(slot_in, 0xc0ff_ee00 ^ (self.generation as u32) << 20);
        let spi_out = Spi::new(0x1000_0000 | slot_out.0).map_err(|_| Error::Setup("SPI"))?;
        let inbound = SaSpec {
            spi: spi_in,
            direction: Direction::Inbound,
            slot: slot_in,
            child: ChildId(tunnel),
            suite: self.suite,
            key: SecretKey::new(key(self.suite, spi_in)),
            tunnel: Tunnel { local: OWN_WAN.into(), remote: net::peer(tunnel).into() },
            encapsulation: None,
            esn: true,
            replay_window: 1024,
            local_ts: vec![net::lan()],
            remote_ts: vec![net::selector(net::branch(tunnel))],
            lifetime: FOR_EVER,
            mode: SaMode::Tunnel,
            handling: Handling::default(),
            bundle: None,
            interface: None,
        };
        let outbound = SaSpec {
            spi: spi_out,
            direction: Direction::Outbound,
            slot: slot_out,
            key: SecretKey::new(key(self.suite, spi_out)),
            ..inbound.clone()
        };
        for spec in [inbound, outbound] {
            self.prepare(&spec)?;
            self.apply(Command::Install(spec))?;
        }
        self.generation += 1;
        Ok(Pair { inbound: (slot_in, spi_in), outbound: (slot_out, spi_out) })
    }

    /// Sets a slot up as control does.
    fn prepare(&self, spec: &SaSpec) -> Result<(), Error> {
        let slot = self.region.slot(spec.slot).ok_or(Error::Setup("no such slot"))?;
        let fresh = SlotInit {
            spi: spec.spi,
            direction: spec.direction,
            child: spec.child,
            sequence: 0,
            replay_top: 0,
            limit: u64::MAX,
            generation: self.generation,
            installed_at: 0,
        };
        if slot.reset(&fresh) { Ok(()) } else { Err(Error::Setup("the slot is in use")) }
    }

    /// New keys for a tunnel that traffic may be in: the old pair goes when the new one is in.
    pub fn rekey(&mut self, tunnel: u32) -> Result<(), Error> {
        let new = self.install(tunnel)?;
        let place = self.pairs.get_mut(tunnel as usize).ok_or(Error::Setup("no such tunnel"))?;
        let old = std::mem::replace(place, new);
        for ((slot, spi), direction) in [(old.inbound, Direction::Inbound), (old.outbound, Direction::Outbound)] {
            self.house.apply(self.clock.now(), u64::from(slot.0) | 1 << 40, Command::Remove { slot, spi, direction });
        }
        // A slot is free again when no worker holds its SA any more.
        while let Some(event) = self.house.poll_event() {
            match event {
                Event::Done { result: Err(_), .. } => return Err(Error::Setup("a rekey was refused")),
                Event::Done { token, .. } if token >> 40 == 1 => {
                    self.region.free_slot(SlotIndex(token as u32));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The far ends, by tunnel.
    fn peers(&self) -> Result<Arc<[Peer]>, Error> {
        let peer = |pair: &Pair| {
            let (_, spi) = pair.inbound;
            let key = MultiBuffer::key(self.suite, &key(self.suite, spi));
            Ok(Peer { spi, key: key.map_err(|error| Error::Cipher(error.to_string()))?, sequence: AtomicU64::new(1) })
        };
        self.pairs.iter().map(peer).collect()
    }
}

const FOR_EVER: Lifetime = Lifetime {
    soft_bytes: 0,
    hard_bytes: 0,
    soft_packets: 0,
    hard_packets: 0,
    soft_seconds: 0,
    hard_seconds: 0,
    soft_idle: 0,
    hard_idle: 0,
};

fn policy(id: u32, direction: PolicyDirection, priority: u32, remote: TrafficSelector, action: Action) -> Policy {
    let (local, remote) = (vec![net::lan()], vec![remote]);
    Policy { id: PolicyId(id), direction, priority, local, remote, action, interface: None, pfp: Pfp::NONE }
}

/// Another one for each SPI.
pub fn key(suite: Suite, spi: Spi) -> Vec<u8> {
    let mut chance = net::Chance(u64::from(spi.get()) << 32);
    (0..suite.key_len()).map(|_| chance.next() as u8).collect()
}

/// What it did, and the octets on the heap that it left.
fn measured<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let mut done = None;
    let info = allocation_counter::measure(|| done = Some(work()));
    let done = done.unwrap_or_else(|| unreachable!("the closure was run"));
    (done, u64::try_from(info.bytes_current).unwrap_or(0))
}
