//! 10,000 SAs over the link into a data plane whose worker never stops.
//!
//! Three threads in this process: this one is control and fills the command ring, one is the housekeeping of the engine,
//! one a worker that seals packets for the very children that come in. Every burst of the worker is timed, first while
//! nothing is pushed, then during the push.

use crate::clock::{Stopwatch, ThreadTime, WallTime};
use crate::{Error, sites};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use culvert_engine::{Attachment, BURST, Buffer, Housekeeping, Interface, Io, PortId, Punt, Route, Shared, Worker};
use culvert_link::record::{Command, Event};
use culvert_link::{ControlEnd, DataplaneEnd, Layout, PushError, Region, SlotInit, WORKERS};
use culvert_model::{
    Action, ChildId, Direction, Handling, Lifetime, Pfp, Policy, PolicyDirection, PolicyId, SaMode, SaSpec, SecretKey,
    Suite, Tunnel,
};
use culvert_wire::{EtherType, Mac, ethernet, ipv4, protocol, udp};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use zeroize::Zeroizing;

#[cfg(feature = "ipsec-mb")]
use culvert_cipher::MultiBuffer as Cipher;
#[cfg(not(feature = "ipsec-mb"))]
use culvert_cipher::RustCrypto as Cipher;

const SAS: u32 = 10_000;
/// Commands that housekeeping takes in one go, as the daemon does.
const COMMANDS: usize = 64;
const TICK_EVERY: Duration = Duration::from_millis(10);
/// The worker alone, before the push.
const QUIET: Duration = Duration::from_millis(500);
/// Longer is as good as never.
const PATIENCE: Duration = Duration::from_secs(30);
const LAN: PortId = PortId(1);

#[derive(Serialize)]
pub struct Push {
    pub sas: u32,
    /// From the first command to the last answer.
    pub seconds: f64,
    pub sas_per_second: f64,
    pub before: Bursts,
    pub during: Bursts,
}

/// Bursts of 32 packets through the worker. The processor's time leaves out what other programs of the machine took.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Bursts {
    pub bursts: u64,
    pub median_us: f64,
    pub p9999_us: f64,
    pub worst_us: f64,
    pub worst_processor_us: f64,
}

pub fn measure() -> Result<Push, Error> {
    let layout = Layout { slots: (2 * SAS).next_power_of_two(), ..Layout::default() };
    let region = Region::anonymous(layout).map_err(|_| Error::Wrong("no memory for the link"))?;
    let mut control = ControlEnd::attach(&region).map_err(|_| Error::Wrong("no role in the link"))?;
    let dataplane = DataplaneEnd::attach(&region).map_err(|_| Error::Wrong("no role in the link"))?;
    let shared = Shared::new(region.clone(), interfaces(), &[default_route()]);
    let shared = shared.map_err(|_| Error::Wrong("the engine takes no such network"))?;
    let (stop, phase) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let housekeeping = scope.spawn(|| housekeep(shared.clone(), dataplane, &stop));
        let worker = scope.spawn(|| work(shared.clone(), &phase, &stop));
        let pushed = push(&region, &mut control, &phase);
        stop.store(true, Ordering::Relaxed);
        housekeeping.join().map_err(|_| Error::Wrong("housekeeping has panicked"))??;
        let [before, during] = worker.join().map_err(|_| Error::Wrong("the worker has panicked"))??;
        let seconds = pushed?.as_secs_f64();
        Ok(Push { sas: SAS, seconds, sas_per_second: f64::from(SAS) / seconds, before, during })
    })
}

fn push(region: &Region, control: &mut ControlEnd, phase: &AtomicUsize) -> Result<Duration, Error> {
    let policies = (0..SAS / 2).map(|child| Command::SetPolicy(policy(child)));
    let all = [Command::BeginSync].into_iter().chain(policies).chain([Command::EndSync]);
    send_all(control, all)?;
    phase.store(1, Ordering::Relaxed);
    std::thread::sleep(QUIET);
    // As control has them when a data plane comes back: made before, and the slots set up.
    let mut specs = Vec::new();
    for child in 0..SAS / 2 {
        specs.push(spec(region, child, Direction::Inbound)?);
        specs.push(spec(region, child, Direction::Outbound)?);
    }
    phase.store(2, Ordering::Relaxed);
    let clock = Stopwatch::<WallTime>::start();
    send_all(control, specs.into_iter().map(Command::Install))?;
    let taken = clock.elapsed();
    phase.store(3, Ordering::Relaxed);
    Ok(taken)
}

/// Pushes commands as fast as the ring takes them, and waits for every answer.
fn send_all(control: &mut ControlEnd, commands: impl Iterator<Item = Command>) -> Result<(), Error> {
    let clock = Stopwatch::<WallTime>::start();
    let (mut sent, mut answered, mut buffer) = (0, 0, Vec::new());
    let mut record = Zeroizing::new(Vec::new());
    for command in commands {
        command.encode(sent, &mut record).map_err(|_| Error::Wrong("a command cannot be encoded"))?;
        sent += 1;
        while let Err(error) = control.commands.push(&record) {
            if error != PushError::Full || clock.elapsed() > PATIENCE {
                return Err(Error::Wrong("the data plane takes no commands"));
            }
            answered += answers(control, &mut buffer)?;
            std::thread::yield_now();
        }
        answered += answers(control, &mut buffer)?;
    }
    while answered < sent {
        if clock.elapsed() > PATIENCE {
            return Err(Error::Wrong("the data plane does not answer"));
        }
        answered += answers(control, &mut buffer)?;
        std::thread::yield_now();
    }
    Ok(())
}

fn answers(control: &mut ControlEnd, buffer: &mut Vec<u8>) -> Result<u64, Error> {
    let mut done = 0;
    while let Ok(Some(record)) = control.events.pop(buffer) {
        match Event::decode(record) {
            Ok(Event::Done { result: Ok(()), .. }) => done += 1,
            Ok(Event::Done { .. }) => return Err(Error::Wrong("the data plane has refused a command")),
            _ => {}
        }
    }
    control.events.commit();
    Ok(done)
}

/// What the data plane's housekeeping thread does with the link.
fn housekeep(shared: Arc<Shared<Cipher>>, mut link: DataplaneEnd, stop: &AtomicBool) -> Result<(), Error> {
    let no_block = || Error::Wrong("no counter block");
    let mut house: Housekeeping<Cipher, Packet> =
        Housekeeping::new(shared, WORKERS - 1, cipher()?, 1).ok_or_else(no_block)?;
    let clock = Stopwatch::<WallTime>::start();
    let now = || clock.elapsed().as_nanos() as u64 + 1;
    let (mut record, mut encoded, mut next_tick) = (Vec::new(), Vec::new(), Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let mut taken = 0;
        while taken < COMMANDS
            && let Ok(Some(bytes)) = link.commands.pop(&mut record)
        {
            let (token, command) = Command::decode(bytes).map_err(|_| Error::Wrong("a command cannot be decoded"))?;
            house.apply(now(), token, command);
            taken += 1;
        }
        link.commands.commit();
        while let Some(event) = house.poll_event() {
            event.encode(&mut encoded);
            while link.events.push(&encoded).is_err() && !stop.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        }
        if clock.elapsed() >= next_tick {
            next_tick = clock.elapsed() + TICK_EVERY;
            house.tick(now(), &mut Sink);
        }
        if taken == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    Ok(())
}

/// Bursts for ever; those of phase 1 and of phase 2 are kept.
fn work(shared: Arc<Shared<Cipher>>, phase: &AtomicUsize, stop: &AtomicBool) -> Result<[Bursts; 2], Error> {
    let mut worker = Worker::new(shared, 0, cipher()?).ok_or(Error::Wrong("no counter block"))?;
    let clock = Stopwatch::<WallTime>::start();
    let (mut samples, mut next) = ([const { Vec::<(u64, u64)>::new() }; 2], 0);
    while !stop.load(Ordering::Relaxed) {
        let mut burst: ArrayVec<Packet, BURST> = ArrayVec::new();
        for _ in 0..BURST {
            // Another child for every packet, in an order that no cache foresees.
            next = (next + 2039) % (SAS / 2);
            burst.extend(frame(next).map(Packet::new));
        }
        let now = clock.elapsed().as_nanos() as u64 + 1;
        let kept = phase.load(Ordering::Relaxed);
        let (wall, own) = (Stopwatch::<WallTime>::start(), Stopwatch::<ThreadTime>::start());
        worker.run_burst(now, LAN, &mut burst, &mut Sink);
        let (own, wall) = (own.elapsed(), wall.elapsed());
        if let Some(samples) = kept.checked_sub(1).and_then(|at| samples.get_mut(at)) {
            samples.push((wall.as_nanos() as u64, own.as_nanos() as u64));
        }
    }
    Ok(samples.map(|samples| Bursts::of(&samples)))
}

impl Bursts {
    fn of(samples: &[(u64, u64)]) -> Self {
        let mut walls: Vec<u64> = samples.iter().map(|(wall, _)| *wall).collect();
        walls.sort_unstable();
        let at = |part: f64| {
            let place = ((walls.len().max(1) - 1) as f64 * part) as usize;
            walls.get(place).map_or(0.0, |ns| *ns as f64 / 1e3)
        };
        let own = samples.iter().map(|(_, own)| *own).max().unwrap_or_default();
        Self {
            bursts: walls.len() as u64,
            median_us: at(0.5),
            p9999_us: at(0.9999),
            worst_us: at(1.0),
            worst_processor_us: own as f64 / 1e3,
        }
    }
}

#[cfg(feature = "ipsec-mb")]
fn cipher() -> Result<Cipher, Error> {
    Cipher::new().map_err(|_| Error::Wrong("ipsec-mb cannot be used here"))
}

#[cfg(not(feature = "ipsec-mb"))]
fn cipher() -> Result<Cipher, Error> {
    Ok(Cipher::default())
}

fn spec(region: &Region, child: u32, direction: Direction) -> Result<SaSpec, Error> {
    let suite = Suite::AES128_GCM16;
    let slot = region.claim_slot().ok_or(Error::Wrong("no free slot"))?;
    let [remote, local] = sites::networks(child);
    let spec = SaSpec {
        spi: region.spi_for_slot(slot, 0xc0ff_ee00),
        direction,
        slot,
        child: ChildId(child),
        suite,
        key: SecretKey::new((0..suite.key_len()).map(|n| (n as u32 ^ child) as u8).collect()),
        mode: SaMode::Tunnel,
        tunnel: Tunnel { local: IpAddr::V4(sites::HUB), remote: IpAddr::V4(sites::peer(child)) },
        encapsulation: None,
        esn: true,
        replay_window: 1024,
        local_ts: vec![local],
        remote_ts: vec![remote],
        lifetime: Lifetime::default(),
        handling: Handling::default(),
        bundle: None,
        interface: None,
    };
    let init = SlotInit {
        spi: spec.spi,
        direction,
        child: spec.child,
        sequence: 0,
        replay_top: 0,
        limit: u64::MAX,
        generation: 1,
        installed_at: 0,
    };
    let held = region.slot(slot).ok_or(Error::Wrong("no such slot"))?;
    if held.reset(&init) { Ok(spec) } else { Err(Error::Wrong("the slot is in use")) }
}

fn policy(child: u32) -> Policy {
    let [remote, local] = sites::networks(child);
    Policy {
        id: PolicyId(child),
        direction: PolicyDirection::Outbound,
        priority: 10,
        local: vec![local],
        remote: vec![remote],
        action: Action::Protect { child: ChildId(child), trap: false },
        interface: None,
        pfp: Pfp::NONE,
    }
}

const fn own_mac(port: PortId) -> Mac {
    Mac([2, 0, 0, 0, 0, port.0 as u8])
}

fn interfaces() -> Vec<Interface> {
    let of = |port, net: &str| Interface {
        port,
        attachment: Attachment::Port,
        mac: own_mac(port).0,
        mtu: 1500,
        addresses: net.parse().into_iter().collect(),
    };
    vec![of(PortId(0), "192.0.2.1/24"), of(LAN, "172.16.0.1/16")]
}

fn default_route() -> Route {
    Route { destination: ipnet::Ipv4Net::default().into(), via: Some(Ipv4Addr::new(192, 0, 2, 254).into()), port: None }
}

/// From behind the hub to a child's network.
fn frame(child: u32) -> Option<Vec<u8>> {
    let (from, to) =
        (Ipv4Addr::new(172, 16, 0, 9), Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 9).to_bits() + (child << 8)));
    let payload = [0x5a; 64];
    let datagram = udp::Repr::for_payload((from.into(), 1000), (to.into(), 2000), &payload)?;
    let header = ipv4::Repr::new(from, to, protocol::UDP, (udp::LEN + payload.len()) as u16);
    let ether =
        ethernet::Repr { destination: own_mac(LAN), source: Mac([2, 0, 0, 0, 1, 9]), ether_type: EtherType::IPV4 };
    let parts: [&[u8]; 4] = [&ether.to_bytes(), &header.to_bytes(), &datagram.to_bytes(), &payload];
    Some(parts.concat())
}

/// Nothing leaves: the next hop is unknown, and what is sealed ends there.
struct Sink;

impl Io<Packet> for Sink {
    fn transmit(&mut self, _: PortId, frame: Packet) {
        drop(frame);
    }

    fn to_housekeeping(&mut self, _: Punt<Packet>) -> Result<(), Punt<Packet>> {
        Ok(())
    }

    fn allocate(&mut self) -> Option<Packet> {
        Some(Packet::new(Vec::new()))
    }
}

/// A packet with room around it.
struct Packet {
    octets: Vec<u8>,
    start: usize,
}

const ROOM: usize = 128;

impl Packet {
    fn new(frame: Vec<u8>) -> Self {
        let mut octets = Vec::with_capacity(ROOM + frame.len() + ROOM);
        octets.resize(ROOM, 0);
        octets.extend_from_slice(&frame);
        Self { octets, start: ROOM }
    }
}

impl Buffer for Packet {
    fn data(&self) -> &[u8] {
        self.octets.get(self.start..).unwrap_or_default()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.octets.get_mut(self.start..).unwrap_or_default()
    }

    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(count)?;
        self.data_mut().get_mut(..count)
    }

    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let len = self.octets.len();
        (len + count <= self.octets.capacity()).then(|| self.octets.resize(len + count, 0))?;
        self.octets.get_mut(len..)
    }

    fn trim_front(&mut self, count: usize) -> bool {
        let fits = count <= self.data().len();
        self.start += if fits { count } else { 0 };
        fits
    }

    fn trim_back(&mut self, count: usize) -> bool {
        let fits = count <= self.data().len();
        self.octets.truncate(self.octets.len() - if fits { count } else { 0 });
        fits
    }
}
