//! The network, the data planes and the clock.

use core::time::Duration;
use culvert_crypto::{Provider, testing::Fixed};
use culvert_ike::{
    Child, Config, Connection, Datagram, DownAction, Endpoint, Event, Output, Report, Retransmit, Secret, Settings,
    SpiSource, StartAction,
};
use culvert_model::{
    AddrRange, ChildId, Direction, Handling, Lifetime, SaMode, SaSpec, SlotIndex, Spi, TrafficSelector,
};
use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::IpAddr,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Instant,
};

#[derive(Clone, Debug)]
pub struct Options {
    /// Per cent.
    pub loss: u64,
    pub duplicate: u64,
    pub delay_ms: (u64, u64),
    pub pfs: bool,
    pub encap: bool,
    pub children: u32,
    pub start: [StartAction; 2],
    pub down: DownAction,
}

impl Options {
    pub fn calm() -> Self {
        let start = [StartAction::None; 2];
        Self {
            loss: 0,
            duplicate: 0,
            delay_ms: (5, 10),
            pfs: true,
            encap: false,
            children: 1,
            start,
            down: DownAction::Trap,
        }
    }

    pub fn rough(seed: u64) -> Self {
        Self {
            loss: seed % 31,
            duplicate: seed % 17,
            delay_ms: (1, 1 + (seed * 37) % 400),
            pfs: seed.is_multiple_of(2),
            encap: seed.is_multiple_of(5),
            children: 1 + (seed % 2) as u32,
            ..Self::calm()
        }
    }
}

/// SplitMix64.
#[derive(Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

#[derive(Default)]
struct Slots {
    used: BTreeSet<u32>,
    count: u32,
}

#[derive(Clone, Default)]
struct Source(Arc<Mutex<Slots>>);

impl SpiSource for Source {
    fn allocate(&mut self) -> Option<(Spi, SlotIndex)> {
        let slot = self.allocate_outbound()?;
        let mut slots = self.0.lock().expect("lock");
        slots.count += 1;
        let spi = Spi::new(slots.count << 8 | slot.0).expect("spi");
        Some((spi, slot))
    }

    fn allocate_outbound(&mut self) -> Option<SlotIndex> {
        let mut slots = self.0.lock().expect("lock");
        let free = (0..64).find(|i| !slots.used.contains(i))?;
        slots.used.insert(free);
        Some(SlotIndex(free))
    }

    fn release(&mut self, slot: SlotIndex) {
        assert!(self.0.lock().expect("lock").used.remove(&slot.0), "slot {slot:?} released twice");
    }
}

struct Node {
    endpoint: Endpoint,
    config: Config,
    provider: Arc<Fixed>,
    slots: Source,
    /// Installed SAs and, per child, the outbound one in use.
    sas: BTreeMap<SlotIndex, SaSpec>,
    current: BTreeMap<ChildId, SlotIndex>,
    /// Keys ever installed, with where.
    keys: BTreeMap<(bool, Vec<u8>), SlotIndex>,
    generation: u64,
}

enum Thing {
    Datagram { to: usize, datagram: Datagram },
    Event { to: usize, generation: u64, event: Event },
    Packet { to: usize, spi: Spi, key: Vec<u8>, sent: Instant },
    Command { to: usize, generation: u64, token: u64, command: Command },
    Traffic,
}

enum Command {
    Install(Box<SaSpec>),
    Remove(SlotIndex, Spi, Direction),
}

type Queue = BinaryHeap<Reverse<(Instant, u64)>>;

pub struct World {
    seed: u64,
    options: Options,
    rng: Rng,
    pub now: Instant,
    origin: Instant,
    nodes: Vec<Node>,
    queue: Queue,
    things: BTreeMap<u64, Thing>,
    next: u64,
    partitioned: bool,
    carried: u64,
    lost: Vec<String>,
    log: Rc<RefCell<Vec<String>>>,
}

const ADDRS: [&str; 2] = ["192.0.2.1", "198.51.100.7"];
const NETS: [&str; 2] = ["10.1", "10.7"];

fn config(me: usize, options: &Options) -> Config {
    let peer = 1 - me;
    let ip = |i: usize| ADDRS[i].parse::<IpAddr>().expect("address");
    let net = |i: usize, n: u32| {
        let text = format!("{}.{n}.0/24", NETS[i]);
        TrafficSelector::any(AddrRange::from(text.parse::<ipnet::IpNet>().expect("net")))
    };
    let esp = if options.pfs { "aes256gcm16-x25519-esn" } else { "aes256gcm16-esn" };
    let child = |n: u32| Child {
        id: ChildId(n),
        name: format!("net-{n}"),
        local_ts: vec![net(me, n)],
        remote_ts: vec![net(peer, n)],
        child_proposals: vec![esp.parse().expect("esp")],
        mode: SaMode::Tunnel,
        handling: Handling::default(),
        bundle: None,
        populates: false,
        populated: false,
        start_action: options.start[me],
        dpd_action: options.down,
        close_action: DownAction::Clear,
        rekey_time: Duration::ZERO,
        life_time: Duration::ZERO,
        rand_time: Duration::ZERO,
        lifetime: Lifetime::default(),
        replay_window: 64,
        interface: None,
    };
    let id = |i: usize| format!("gw-{i}.example").parse().expect("identity");
    Config {
        connections: vec![Connection {
            name: "peer".into(),
            local_addrs: vec![ip(me)],
            remote_addrs: vec![AddrRange::single(ip(peer))],
            local_port: 500,
            remote_port: 500,
            proposals: vec!["aes256gcm16-prfsha384-x25519".parse().expect("ike")],
            local_id: Some(id(me)),
            remote_id: Some(id(peer)),
            encap: options.encap,
            dpd_delay: Duration::from_secs(10),
            rekey_time: Duration::from_secs(100_000),
            over_time: Duration::from_secs(1000),
            rand_time: Duration::ZERO,
            keyingtries: 1,
            children: (0..options.children).map(child).collect(),
        }],
        secrets: vec![Secret { ids: vec![id(0), id(1)], psk: (&b"very secret"[..]).into() }],
        settings: Settings {
            retransmit: Retransmit {
                base: Duration::from_millis(900),
                factor: 1.3,
                tries: 16,
                most: Duration::from_secs(2),
            },
            retry_most: Duration::from_secs(10),
            ..Settings::default()
        },
    }
}

fn node(me: usize, seed: u64, options: &Options, generation: u64) -> Node {
    let provider = Arc::new(Fixed::new(Rng(seed.wrapping_mul(1000) + generation * 2 + me as u64 + 1).next()));
    let slots = Source::default();
    let config = config(me, options);
    let endpoint = Endpoint::new(config.clone(), provider.clone(), Box::new(slots.clone()));
    let (sas, current, keys) = Default::default();
    Node { endpoint, config, provider, slots, sas, current, keys, generation }
}

impl World {
    pub fn new(seed: u64, options: &Options) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
        let origin = Instant::now();
        let nodes = (0..2).map(|i| node(i, seed, options, 0)).collect();
        let mut world = Self {
            seed,
            options: options.clone(),
            rng: Rng(seed),
            now: origin,
            origin,
            nodes,
            queue: Queue::new(),
            things: BTreeMap::new(),
            next: 0,
            partitioned: false,
            carried: 0,
            lost: Vec::new(),
            log: Rc::default(),
        };
        world.push(Duration::ZERO, Thing::Traffic);
        world
    }

    pub fn pick(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }

    fn note(&self, text: String) {
        let at = self.now.duration_since(self.origin).as_secs_f64();
        self.log.borrow_mut().push(format!("{at:9.3} {text}"));
    }

    fn push(&mut self, after: Duration, thing: Thing) {
        self.next += 1;
        self.queue.push(Reverse((self.now + after, self.next)));
        self.things.insert(self.next, thing);
    }

    // What the scenarios do.

    pub fn start(&mut self) {
        for i in 0..2 {
            self.nodes[i].endpoint.start(self.now);
            self.drain(i);
        }
    }

    fn event(&mut self, i: usize, event: Event) {
        self.nodes[i].endpoint.handle_event(self.now, event);
        self.drain(i);
    }

    pub fn initiate(&mut self, i: usize) {
        self.note(format!("{i}: initiate"));
        for n in 0..self.options.children {
            self.event(i, Event::Initiate { child: ChildId(n) });
        }
    }

    pub fn rekey_child(&mut self, i: usize) {
        self.note(format!("{i}: rekey child"));
        let spis: Vec<_> =
            self.nodes[i].current.values().filter_map(|slot| self.nodes[i].sas.get(slot)).map(|s| s.spi).collect();
        for spi in spis {
            self.event(i, Event::SoftExpire { spi, direction: Direction::Outbound });
        }
    }

    pub fn rekey_ike(&mut self, i: usize) {
        self.note(format!("{i}: rekey ike"));
        self.event(i, Event::RekeyIke { connection: "peer".into() });
    }

    pub fn terminate(&mut self, i: usize) {
        self.note(format!("{i}: terminate"));
        self.event(i, Event::Terminate { connection: "peer".into(), child: None });
    }

    pub fn restart(&mut self, i: usize) {
        self.note(format!("{i}: restart"));
        let generation = self.nodes[i].generation + 1;
        self.nodes[i] = node(i, self.seed, &self.options, generation);
        self.nodes[i].endpoint.start(self.now);
        self.drain(i);
    }

    pub fn partition(&mut self) {
        self.note("partition".into());
        self.partitioned = true;
    }

    pub fn heal(&mut self) {
        self.note("heal".into());
        self.partitioned = false;
    }

    /// A good network from now on, and time for everything to settle.
    pub fn calm_down(&mut self) {
        self.note("calm".into());
        self.partitioned = false;
        self.options = Options { loss: 0, duplicate: 0, delay_ms: (1, 20), ..self.options.clone() };
        self.run(Duration::from_secs(80));
    }

    pub fn run_until_up(&mut self) {
        for _ in 0..600 {
            self.run(Duration::from_secs(1));
            if (0..2).all(|i| self.nodes[i].current.len() as u32 == self.options.children) {
                // What was lost before both sides knew of the SAs does not count.
                self.run(Duration::from_secs(2));
                self.lost.clear();
                return;
            }
        }
        self.fail("never came up");
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for step in 0.. {
            assert!(step < 2_000_000, "seed {}: livelock", self.seed);
            let queued = self.queue.peek().map(|Reverse((at, _))| *at);
            let timers = self.nodes.iter().filter_map(|n| n.endpoint.poll_timeout()).min();
            let Some(at) = queued.into_iter().chain(timers).min().filter(|at| *at <= end) else { break };
            if at > self.now {
                self.now = at;
            }
            for i in 0..2 {
                if self.nodes[i].endpoint.poll_timeout().is_some_and(|t| t <= self.now) {
                    self.nodes[i].endpoint.handle_timeout(self.now);
                    self.drain(i);
                }
            }
            while let Some(Reverse((at, id))) = self.queue.peek().copied() {
                if at > self.now {
                    break;
                }
                self.queue.pop();
                if let Some(thing) = self.things.remove(&id) {
                    self.happen(thing);
                }
            }
        }
        self.now = end;
    }

    fn happen(&mut self, thing: Thing) {
        match thing {
            Thing::Datagram { to, datagram } => {
                self.nodes[to].endpoint.handle_datagram(self.now, &datagram);
                self.drain(to);
            }
            Thing::Event { to, generation, event } => {
                if self.nodes[to].generation == generation {
                    self.event(to, event);
                }
            }
            Thing::Command { to, generation, token, command } => {
                if self.nodes[to].generation == generation {
                    self.obey(to, token, command);
                }
            }
            Thing::Packet { to, spi, key, sent } => self.arrive(to, spi, &key, sent),
            Thing::Traffic => {
                (0..2).for_each(|i| self.traffic(i));
                self.push(Duration::from_millis(200), Thing::Traffic);
            }
        }
    }

    /// One packet for each child on its selected SA.
    fn traffic(&mut self, from: usize) {
        let specs: Vec<_> =
            self.nodes[from].current.values().filter_map(|s| self.nodes[from].sas.get(s)).cloned().collect();
        for spec in specs {
            let (low, high) = self.options.delay_ms;
            let delay = Duration::from_millis(low + self.rng.below(high - low + 1));
            let key = spec.key.expose().to_vec();
            self.push(delay, Thing::Packet { to: 1 - from, spi: spec.spi, key, sent: self.now });
        }
    }

    fn arrive(&mut self, to: usize, spi: Spi, key: &[u8], sent: Instant) {
        let found = self.nodes[to].sas.values().find(|s| s.direction == Direction::Inbound && s.spi == spi);
        if found.is_some_and(|s| s.key.expose() == key) {
            self.carried += 1;
            if self.rng.below(4) == 0 {
                self.event(to, Event::PeerActivity { spi });
            }
        } else {
            let sent = sent.duration_since(self.origin).as_secs_f64();
            let text = format!("packet to {to} on {spi}, sent {sent:.3}: no SA");
            self.note(text.clone());
            self.lost.push(text);
        }
    }

    fn send(&mut self, to: usize, datagram: &Datagram) {
        if self.partitioned || self.rng.below(100) < self.options.loss {
            return;
        }
        let copies = if self.rng.below(100) < self.options.duplicate { 2 } else { 1 };
        for _ in 0..copies {
            let (low, high) = self.options.delay_ms;
            let delay = Duration::from_millis(low + self.rng.below(high - low + 1));
            let datagram =
                Datagram { local: datagram.remote, remote: datagram.local, payload: datagram.payload.clone() };
            self.push(delay, Thing::Datagram { to, datagram });
        }
    }

    fn later(&mut self, to: usize, event: Event) {
        let generation = self.nodes[to].generation;
        let delay = Duration::from_millis(self.rng.below(5));
        self.push(delay, Thing::Event { to, generation, event });
    }

    fn drain(&mut self, i: usize) {
        while let Some(output) = self.nodes[i].endpoint.poll_output() {
            match output {
                Output::Transmit(datagram) => self.send(1 - i, &datagram),
                Output::Install { token, spec } => {
                    self.check_key(i, &spec);
                    self.command(i, token, Command::Install(Box::new((*spec).clone())));
                }
                Output::Move { .. } => panic!("nobody moves in this world"),
                Output::Remove { token, slot, spi, direction } => {
                    self.command(i, token, Command::Remove(slot, spi, direction));
                }
                Output::Compute(job) => {
                    let provider: &dyn Provider = &*self.nodes[i].provider;
                    let result = job.run(provider);
                    self.later(i, Event::Computed(result));
                }
                Output::Report(report) => {
                    if !matches!(report, Report::UnknownIkeSpi { .. }) {
                        self.note(format!("{i}: {report:?}"));
                    }
                }
            }
        }
    }

    fn check_key(&mut self, i: usize, spec: &SaSpec) {
        let key = (spec.direction == Direction::Inbound, spec.key.expose().to_vec());
        let before = self.nodes[i].keys.insert(key, spec.slot);
        // The outbound SA of a child may be selected again; that is the same SA in the same slot.
        let again = before == Some(spec.slot) && self.nodes[i].sas.get(&spec.slot) == Some(spec);
        if before.is_some() && !again {
            self.fail("a key was installed twice");
        }
    }

    /// The data plane obeys a little later, in order, and says so.
    fn command(&mut self, to: usize, token: u64, command: Command) {
        let generation = self.nodes[to].generation;
        self.push(Duration::from_millis(1), Thing::Command { to, generation, token, command });
    }

    fn obey(&mut self, i: usize, token: u64, command: Command) {
        match command {
            Command::Install(spec) => {
                self.note(format!("{i}: install {:?} {}", spec.direction, spec.spi));
                if spec.direction == Direction::Outbound {
                    self.nodes[i].current.insert(spec.child, spec.slot);
                }
                self.nodes[i].sas.insert(spec.slot, *spec);
            }
            Command::Remove(slot, spi, direction) => {
                let removed = self.nodes[i].sas.remove(&slot);
                self.note(format!("{i}: remove {direction:?} {spi}"));
                let there = removed.is_some_and(|s| s.spi == spi && s.direction == direction);
                if !there {
                    self.fail("removes what is not there");
                }
                self.nodes[i].current.retain(|_, s| *s != slot);
            }
        }
        self.event(i, Event::Done { token, result: Ok(()) });
    }

    // What must hold.

    fn fail(&self, why: &str) -> ! {
        let log = self.log.borrow();
        let tail = log.iter().rev().take(120).rev().cloned().collect::<Vec<_>>().join("\n");
        let status: Vec<_> = self.nodes.iter().map(|n| format!("{:#?}", n.endpoint.status(self.now))).collect();
        panic!("seed {}: {why}\n{tail}\n{}\n{:?}", self.seed, status.join("\n"), self.options);
    }

    pub fn carried(&self) -> u64 {
        self.carried
    }

    pub fn assert_no_loss(&self) {
        if !self.lost.is_empty() {
            self.fail(&format!("{} packets lost: {:?}", self.lost.len(), self.lost.first()));
        }
    }

    /// One pair per child, the same on both sides.
    pub fn assert_converged(&self) {
        for n in 0..self.options.children {
            for i in 0..2 {
                let of = |node: usize, direction| {
                    let sas = self.nodes[node].sas.values();
                    sas.filter(move |s| s.child == ChildId(n) && s.direction == direction).collect::<Vec<_>>()
                };
                let (out, inn) = (of(i, Direction::Outbound), of(1 - i, Direction::Inbound));
                if out.len() != 1 || inn.len() != 1 {
                    self.fail(&format!("child {n}: {} outbound at {i}, {} inbound at the peer", out.len(), inn.len()));
                }
                if out[0].spi != inn[0].spi || out[0].key != inn[0].key || out[0].local_ts != inn[0].remote_ts {
                    self.fail(&format!("child {n}: the two ends differ"));
                }
                if self.nodes[i].current.get(&ChildId(n)) != Some(&out[0].slot) {
                    self.fail(&format!("child {n}: its SA is not selected"));
                }
            }
        }
        for node in &self.nodes {
            let status = node.endpoint.status(self.now);
            if status.len() != 1 || status[0].state != "established" {
                self.fail("not exactly one IKE SA");
            }
            let used = node.slots.0.lock().expect("lock").used.len();
            if used != 2 * self.options.children as usize {
                self.fail(&format!("{used} slots in use"));
            }
        }
    }

    pub fn assert_empty(&self) {
        for node in &self.nodes {
            let used = node.slots.0.lock().expect("lock").used.len();
            if !node.sas.is_empty() || used != 0 || !node.endpoint.status(self.now).is_empty() {
                self.fail(&format!("{} SAs, {used} slots left", node.sas.len()));
            }
        }
    }

    /// Shut one end down, then the other.
    pub fn assert_leaves_nothing(&mut self) {
        self.note("shutdown".into());
        let first = self.rng.below(2) as usize;
        self.event(first, Event::Shutdown);
        self.run(Duration::from_millis(100));
        self.event(1 - first, Event::Shutdown);
        self.run(Duration::from_secs(10));
        if !self.nodes.iter().all(|n| n.endpoint.is_idle()) {
            self.fail("not idle after shutdown");
        }
        self.assert_empty();
        let _ = &self.nodes[0].config;
    }
}
