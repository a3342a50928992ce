//! Two endpoints that hear each other at once.

use core::time::Duration;
use culvert_crypto::testing::Fixed;
use culvert_ike::{
    Child, Config, Connection, Datagram, DownAction, Endpoint, Event, InstallFailed, Output, Report, Secret, Settings,
    SpiSource, StartAction,
};
use culvert_model::{AddrRange, ChildId, Handling, Lifetime, SaMode, SaSpec, SlotIndex, Spi, TrafficSelector};
use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Instant,
};

pub fn addr(i: usize) -> IpAddr {
    ["192.0.2.1", "198.51.100.7"][i].parse().expect("address")
}

pub fn net(text: &str) -> TrafficSelector {
    TrafficSelector::any(AddrRange::from(text.parse::<ipnet::IpNet>().expect("net")))
}

pub fn config(me: usize) -> Config {
    let nets = [net("10.1.0.0/16"), net("10.7.0.0/16")];
    let id = |i: usize| format!("gw-{i}.example").parse().expect("identity");
    let child = Child {
        id: ChildId(0),
        name: "lan".into(),
        local_ts: vec![nets[me]],
        remote_ts: vec![nets[1 - me]],
        child_proposals: vec!["aes256gcm16-esn-noesn".parse().expect("esp")],
        mode: SaMode::Tunnel,
        handling: Handling::default(),
        bundle: None,
        populates: false,
        populated: false,
        start_action: StartAction::None,
        dpd_action: DownAction::Clear,
        close_action: DownAction::Clear,
        rekey_time: Duration::ZERO,
        life_time: Duration::ZERO,
        rand_time: Duration::ZERO,
        lifetime: Lifetime::default(),
        replay_window: 64,
        interface: None,
    };
    Config {
        connections: vec![Connection {
            name: "peer".into(),
            local_addrs: vec![addr(me)],
            remote_addrs: vec![AddrRange::single(addr(1 - me))],
            local_port: 500,
            remote_port: 500,
            proposals: vec!["aes256gcm16-prfsha384-x25519".parse().expect("ike")],
            local_id: Some(id(me)),
            remote_id: Some(id(1 - me)),
            encap: false,
            dpd_delay: Duration::ZERO,
            rekey_time: Duration::ZERO,
            over_time: Duration::ZERO,
            rand_time: Duration::ZERO,
            keyingtries: 1,
            children: vec![child],
        }],
        secrets: vec![Secret { ids: vec![id(0), id(1)], psk: (&b"very secret"[..]).into() }],
        settings: Settings::default(),
    }
}

#[derive(Clone)]
struct Source(Arc<Mutex<(BTreeSet<u32>, u32, u32)>>);

impl SpiSource for Source {
    fn allocate(&mut self) -> Option<(Spi, SlotIndex)> {
        let slot = self.allocate_outbound()?;
        let mut state = self.0.lock().expect("lock");
        state.1 += 1;
        Some((Spi::new(state.1 << 8 | slot.0).expect("spi"), slot))
    }

    fn allocate_outbound(&mut self) -> Option<SlotIndex> {
        let mut state = self.0.lock().expect("lock");
        let free = (0..state.2).find(|i| !state.0.contains(i))?;
        state.0.insert(free);
        Some(SlotIndex(free))
    }

    fn release(&mut self, slot: SlotIndex) {
        assert!(self.0.lock().expect("lock").0.remove(&slot.0), "released twice");
    }
}

pub struct Pair {
    pub configs: [Config; 2],
    pub endpoints: Vec<Endpoint>,
    pub reports: [Vec<Report>; 2],
    pub installed: [Vec<SaSpec>; 2],
    pub sent: Vec<Datagram>,
    pub now: Instant,
    /// Nothing arrives.
    pub deaf: bool,
    /// The address that node 0 seems to have; its ports are shifted by 10,000.
    pub nat: Option<IpAddr>,
    pub refuse_installs: [bool; 2],
    providers: Vec<Arc<Fixed>>,
    sources: Vec<Source>,
}

const SHIFT: u16 = 10_000;

impl Pair {
    pub fn new(configs: [Config; 2]) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
        let now = Instant::now();
        let mut pair = Self {
            configs,
            endpoints: vec![],
            reports: Default::default(),
            installed: Default::default(),
            sent: vec![],
            now,
            deaf: false,
            nat: None,
            refuse_installs: [false; 2],
            providers: vec![],
            sources: vec![],
        };
        pair.rebuild();
        pair
    }

    pub fn rebuild(&mut self) {
        self.providers = (0..2).map(|i| Arc::new(Fixed::new(77 + i * 1_000_003))).collect();
        self.sources = (0..2).map(|_| Source(Arc::new(Mutex::new((BTreeSet::new(), 0, 16))))).collect();
        let endpoint = |i: usize| {
            Endpoint::new(self.configs[i].clone(), self.providers[i].clone(), Box::new(self.sources[i].clone()))
        };
        self.endpoints = (0..2).map(endpoint).collect();
    }

    /// How many slots there are.
    pub fn limit(&mut self, i: usize, slots: u32) {
        self.sources[i].0.lock().expect("lock").2 = slots;
    }

    pub fn initiate(&mut self, i: usize) {
        self.event(i, Event::Initiate { child: ChildId(0) });
    }

    pub fn event(&mut self, i: usize, event: Event) {
        self.endpoints[i].handle_event(self.now, event);
        self.pump();
    }

    pub fn receive(&mut self, i: usize, datagram: &Datagram) {
        self.endpoints[i].handle_datagram(self.now, datagram);
        self.pump();
    }

    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = self.endpoints.iter().filter_map(Endpoint::poll_timeout).min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            for endpoint in &mut self.endpoints {
                endpoint.handle_timeout(self.now);
            }
            self.pump();
        }
        self.now = end;
    }

    pub fn shutdown(&mut self) {
        for i in 0..2 {
            self.event(i, Event::Shutdown);
        }
        self.wait(Duration::from_secs(10));
        assert!(self.endpoints.iter().all(Endpoint::is_idle));
    }

    pub fn assert_nothing_left(&self) {
        for i in 0..2 {
            assert_eq!(self.sources[i].0.lock().expect("lock").0.len(), 0, "slots of {i}: {:?}", self.reports[i]);
            assert_eq!(self.installed[i], [], "SAs of {i}");
            assert_eq!(self.endpoints[i].status(self.now), []);
        }
    }

    fn translate(&self, from: usize, datagram: &Datagram) -> Datagram {
        let mut arrived =
            Datagram { local: datagram.remote, remote: datagram.local, payload: datagram.payload.clone() };
        if let Some(nat) = self.nat {
            if from == 0 {
                arrived.remote = SocketAddr::new(nat, datagram.local.port() + SHIFT);
            } else {
                arrived.local = SocketAddr::new(addr(0), datagram.remote.port() - SHIFT);
            }
        }
        arrived
    }

    fn pump(&mut self) {
        let mut wire = VecDeque::new();
        for round in 0.. {
            assert!(round < 10_000, "livelock");
            let mut quiet = true;
            for i in 0..2 {
                while let Some(output) = self.endpoints[i].poll_output() {
                    quiet = false;
                    match output {
                        Output::Transmit(datagram) => {
                            wire.push_back((1 - i, self.translate(i, &datagram)));
                            self.sent.push(datagram);
                        }
                        Output::Install { token, spec } => {
                            let result = if self.refuse_installs[i] { Err(InstallFailed) } else { Ok(()) };
                            if result.is_ok() {
                                self.installed[i].retain(|s| s.slot != spec.slot);
                                self.installed[i].push((*spec).clone());
                            }
                            self.endpoints[i].handle_event(self.now, Event::Done { token, result });
                        }
                        Output::Move { slot, tunnel, encapsulation } => {
                            let sa = self.installed[i].iter_mut().find(|s| s.slot == slot).expect("installed");
                            (sa.tunnel, sa.encapsulation) = (tunnel, encapsulation);
                        }
                        Output::Remove { token, slot, .. } => {
                            self.installed[i].retain(|s| s.slot != slot);
                            self.endpoints[i].handle_event(self.now, Event::Done { token, result: Ok(()) });
                        }
                        Output::Compute(job) => {
                            let result = job.run(&*self.providers[i]);
                            self.endpoints[i].handle_event(self.now, Event::Computed(result));
                        }
                        Output::Report(report) => self.reports[i].push(report),
                    }
                }
            }
            let Some((to, datagram)) = wire.pop_front() else {
                if quiet {
                    return;
                }
                continue;
            };
            if !self.deaf {
                self.endpoints[to].handle_datagram(self.now, &datagram);
            }
        }
    }
}
