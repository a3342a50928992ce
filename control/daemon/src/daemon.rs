//! The main loop: the only place where the link, IKE, the clock and the operator meet.

use crate::manual::ManualSas;
use crate::plane::{Notice, Numbers, Orphan, Plane};
use crate::pool::Pool;
use crate::report::Tally;
use crate::server::{Document, OUTSTANDING, Request, Wake};
use crate::spis::LinkSpis;
use crate::{StartError, manual, metrics, status, translate};
use culvert_config::{ChildRef, Config, Secrets};
use culvert_crypto::{AwsLc, Provider};
use culvert_ike::{Datagram, Endpoint, Event, InstallFailed, Output};
use culvert_link::record::{self, Event as PlaneEvent};
use culvert_model::{ChildId, Direction, Encapsulation, Flow, SaSpec, SlotIndex, Spi, Tunnel};
use culvert_telemetry::DropReason;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest sleep between two looks at the rings.
const TURN: Duration = Duration::from_millis(1);
/// Datagrams taken in one turn, so that a flood cannot keep timers from running.
const DATAGRAMS_A_TURN: usize = 64;
/// What is looked at rarely: activity of SAs, reservations, the other process.
const SLOW_TURN: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
/// Orphans go this long after their child has a new pair: packets are still under way on the old one.
const ORPHAN_LINGER: Duration = Duration::from_secs(5);
/// How long the deletions at a shutdown may take in all.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// Messages by exchange, for metrics.
#[derive(Default)]
pub struct MessageCounts(pub BTreeMap<(&'static str, &'static str), u64>);

pub struct Daemon {
    pub config: Config,
    pub plane: Plane,
    pub endpoint: Endpoint,
    pub tally: Tally,
    pub messages: MessageCounts,
    pub started: Instant,
    pub started_unix: u64,
    pub dataplane_alive: bool,
    provider: Arc<dyn Provider>,
    manual: ManualSas,
    pool: Pool,
    retire_at: BTreeMap<ChildId, Instant>,
    next_slow_turn: Instant,
    next_second: Instant,
    children_file: std::path::PathBuf,
}

impl Daemon {
    /// States policies and manual SAs to the data plane, which opens its ports at that.
    pub fn new(
        config: Config,
        secrets: &Secrets,
        state_dir: &Path,
        link: &Path,
        mut plane: Plane,
        wake: &SyncSender<Wake>,
    ) -> Result<Self, StartError> {
        let provider: Arc<dyn Provider> = Arc::new(AwsLc);
        let pool = Pool::start(&provider, wake).map_err(StartError::Pool)?;
        let ike_config = translate::ike_config(&config, secrets)?;
        let children_file = link.with_extension("children");
        retire_strangers(&config, secrets, provider.as_ref(), &mut plane, &children_file);
        plane.set_policies(culvert_config::policies(&config));
        let manual = ManualSas::install(&config, secrets, state_dir, provider.as_ref(), &mut plane, unix_seconds())?;
        let spis = LinkSpis::new(plane.region().clone(), Arc::clone(&provider));
        let mut endpoint = Endpoint::new(ike_config, Arc::clone(&provider), Box::new(spis));
        endpoint.start(now());
        renew_orphans(&config, &plane, &mut endpoint);
        Ok(Self {
            config,
            plane,
            endpoint,
            tally: Tally::default(),
            messages: MessageCounts::default(),
            started: now(),
            started_unix: unix_seconds(),
            dataplane_alive: false,
            provider,
            manual,
            pool,
            retire_at: BTreeMap::new(),
            next_slow_turn: now(),
            next_second: now(),
            children_file,
        })
    }

    /// Until `stop`; then closes every IKE SA at its peer.
    pub fn run(&mut self, wakes: &Receiver<Wake>, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.turn();
            self.wait(wakes);
        }
        self.endpoint.handle_event(now(), Event::Shutdown);
        let deadline = now() + SHUTDOWN;
        while now() < deadline && !(self.endpoint.is_idle() && self.plane.is_idle()) {
            self.turn();
            self.wait(wakes);
        }
        self.remove_manual(deadline);
        tracing::info!("stopped");
    }

    fn remove_manual(&mut self, deadline: Instant) {
        let left: Vec<SaSpec> = self.plane.sas().cloned().collect();
        for spec in left {
            self.plane.remove(spec.slot, spec.spi, spec.direction, None);
        }
        while now() < deadline && !self.plane.is_idle() {
            self.plane.turn(unix_seconds());
            std::thread::sleep(TURN);
        }
        if self.plane.is_idle() {
            self.manual.give_back(&self.plane);
            let _ = std::fs::remove_file(&self.children_file);
        }
    }

    fn turn(&mut self) {
        self.plane.turn(unix_seconds());
        self.take_notices();
        for _ in 0..DATAGRAMS_A_TURN {
            let Some(datagram) = self.plane.datagram() else { break };
            self.messages.count("in", &datagram.payload);
            let record::Datagram { local, remote, payload } = datagram;
            self.endpoint.handle_datagram(now(), &Datagram { local, remote, payload });
            self.take_outputs();
        }
        if self.endpoint.poll_timeout().is_some_and(|due| due <= now()) {
            self.endpoint.handle_timeout(now());
        }
        if now() >= self.next_slow_turn {
            self.next_slow_turn = now() + SLOW_TURN;
            self.slow_turn();
        }
        self.take_outputs();
    }

    /// Sleeps a turn, or until somebody asks for a document or has computed something.
    fn wait(&mut self, wakes: &Receiver<Wake>) {
        match wakes.recv_timeout(TURN) {
            Ok(wake) => self.take_wake(wake),
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => return std::thread::sleep(TURN),
        }
        // As many as may wait there, so that they keep nothing else from running.
        for _ in 0..OUTSTANDING {
            let Ok(wake) = wakes.try_recv() else { break };
            self.take_wake(wake);
        }
        self.take_outputs();
    }

    fn take_wake(&mut self, wake: Wake) {
        match wake {
            Wake::Question(Request { document, answer }) => {
                let text = match document {
                    Document::Status => self.status_text(),
                    Document::Metrics => metrics::text(self, now()),
                };
                // A client that has gone away wants no answer.
                let _ = answer.send(text);
            }
            Wake::Computed(result) => self.endpoint.handle_event(now(), Event::Computed(result)),
        }
    }

    fn status_text(&self) -> String {
        // Numbers, strings and lists of them: there is nothing in it that JSON has no form for.
        serde_json::to_string(&status::document(self, now())).unwrap_or_default() + "\n"
    }

    fn take_notices(&mut self) {
        while let Some(notice) = self.plane.notice() {
            match notice {
                Notice::Settled { waiter, result } => {
                    if let Err(refusal) = result {
                        tracing::error!("the data plane refused an SA: {refusal}");
                    }
                    let result = result.map_err(|_| InstallFailed);
                    self.endpoint.handle_event(now(), Event::Done { token: waiter, result });
                }
                Notice::Event(event) => self.take_event(event),
                Notice::Restarted { generation } => {
                    tracing::warn!("data plane process number {generation} is there; telling it everything");
                }
                Notice::Refused { what, refusal } => tracing::error!("the data plane refused {what}: {refusal}"),
            }
            self.take_outputs();
        }
    }

    /// RFC 4301 §4.4.1, §5.2; RFC 4303 §3.4: what an administrator may want to know of a drop.
    fn audit(&self, reason: u16, slot: Option<SlotIndex>, spi: Option<Spi>, flow: &Flow) {
        let Some(reason) = DropReason::ALL.get(usize::from(reason)) else { return };
        let peer = slot.and_then(|slot| self.plane.held(slot)).map(|spec| (spec.tunnel.remote, spec.child.0));
        let spi = spi.map_or("-".to_owned(), |spi| format!("0x{spi}"));
        match peer {
            Some((peer, child)) => {
                tracing::warn!(reason = reason.name(), %spi, %peer, child, %flow, "a packet was dropped: {}", reason.help());
            }
            None => tracing::warn!(reason = reason.name(), %spi, %flow, "a packet was dropped: {}", reason.help()),
        }
    }

    fn take_event(&mut self, event: PlaneEvent) {
        let event = match event {
            PlaneEvent::Acquire { child, flow, pfp } => {
                tracing::debug!("a packet needs child {}: {flow}", child.0);
                Event::Acquire { child, flow, pfp }
            }
            PlaneEvent::Audit { reason, slot, spi, flow } => return self.audit(reason, slot, spi, &flow),
            PlaneEvent::SoftExpire { slot, .. } => match self.pair_of(slot) {
                Some(spi) => Event::SoftExpire { spi, direction: Direction::Inbound },
                None => return,
            },
            PlaneEvent::HardExpire { slot, .. } => match self.pair_of(slot) {
                Some(spi) => Event::HardExpire { spi, direction: Direction::Inbound },
                None => return self.orphan_expired(slot),
            },
            PlaneEvent::SequenceLow { slot, .. } => {
                self.manual.extend(&self.plane);
                match self.pair_of(slot) {
                    Some(spi) => Event::SoftExpire { spi, direction: Direction::Inbound },
                    None => return,
                }
            }
            PlaneEvent::NatMappingSeen { slot, spi, remote } => {
                tracing::info!("the peer of SA {spi} now sends from {remote}");
                match self.pair_of(slot) {
                    Some(spi) => Event::PeerMoved { spi, remote },
                    None => return self.manual_moved(slot, remote),
                }
            }
            PlaneEvent::Done { .. } => return,
        };
        self.endpoint.handle_event(now(), event);
    }

    /// The inbound SPI of the pair that has this slot. Outbound SPIs are the peers' choice and tell nothing.
    fn pair_of(&self, slot: SlotIndex) -> Option<Spi> {
        self.endpoint.pair_of(slot)
    }

    /// A manual SA has no IKE that could be asked; the packet was authentic, as the data plane says.
    fn manual_moved(&mut self, slot: SlotIndex, remote: SocketAddr) {
        let Some(child) = self.plane.held(slot).map(|spec| spec.child) else { return };
        if !matches!(self.config.child(child), Some(ChildRef::Manual(_))) {
            return;
        }
        let pair: Vec<SaSpec> = self.plane.sas().filter(|spec| spec.child == child).cloned().collect();
        for spec in pair {
            let tunnel = Tunnel { remote: remote.ip(), ..spec.tunnel };
            let encapsulation = spec.encapsulation.map(|e| Encapsulation { remote_port: remote.port(), ..e });
            self.plane.update_tunnel(spec.slot, tunnel, encapsulation);
        }
    }

    fn orphan_expired(&mut self, slot: SlotIndex) {
        if let Some(orphan) = self.plane.orphans().iter().find(|orphan| orphan.slot == slot) {
            self.retire_at.entry(orphan.child).or_insert_with(now);
        }
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit(Datagram { local, remote, payload }) => {
                    self.messages.count("out", &payload);
                    self.plane.inject(&record::Datagram { local, remote, payload });
                }
                Output::Install { token, spec } => self.install(token, spec),
                Output::Move { slot, tunnel, encapsulation } => self.plane.update_tunnel(slot, tunnel, encapsulation),
                Output::Remove { token, slot, spi, direction } => {
                    self.plane.remove(slot, spi, direction, Some(token));
                }
                Output::Compute(job) => {
                    if let Err(job) = self.pool.submit(job) {
                        let result = job.run(self.provider.as_ref());
                        self.endpoint.handle_event(now(), Event::Computed(result));
                    }
                }
                Output::Report(report) => self.tally.take(now(), report),
            }
        }
    }

    fn install(&mut self, token: u64, spec: Arc<SaSpec>) {
        if spec.direction == Direction::Outbound && self.plane.orphans().iter().any(|o| o.child == spec.child) {
            self.retire_at.entry(spec.child).or_insert_with(|| now() + ORPHAN_LINGER);
        }
        // IKE names an SA again to make it its child's once more; its numbers go on.
        if self.plane.holds(&spec) {
            return self.plane.adopt(spec, unix_seconds(), Some(token));
        }
        let limit = if spec.esn { u64::MAX } else { u64::from(u32::MAX) };
        if !self.plane.install(spec, Numbers { limit, ..Numbers::default() }, unix_seconds(), Some(token)) {
            self.endpoint.handle_event(now(), Event::Done { token, result: Err(InstallFailed) });
        }
    }

    fn slow_turn(&mut self) {
        self.dataplane_alive = self.plane.peer().alive();
        self.tell_activity();
        if now() >= self.next_second {
            self.next_second = now() + SECOND;
            self.manual.extend(&self.plane);
            self.age_orphans();
        }
        let due: Vec<ChildId> =
            self.retire_at.iter().filter(|(_, at)| **at <= now()).map(|(child, _)| *child).collect();
        for child in due {
            self.retire_at.remove(&child);
            self.plane.retire_orphans(child);
        }
    }

    /// Nobody rekeys an orphan, so its lifetime ends it; packets then raise acquires again.
    fn age_orphans(&mut self) {
        for orphan in self.plane.orphans().iter().filter(|orphan| !orphan.leaving) {
            let Some(ChildRef::Ike(_, child)) = self.config.child(orphan.child) else { continue };
            let (life, age) = (child.life_time().as_secs(), unix_seconds().saturating_sub(orphan.installed_at));
            if life > 0 && age >= life {
                self.retire_at.entry(orphan.child).or_insert_with(now);
            }
        }
    }

    /// Which inbound SAs carried packets since they were last looked at: their peers live.
    fn tell_activity(&mut self) {
        for spi in self.plane.busy() {
            self.endpoint.handle_event(now(), Event::PeerActivity { spi });
        }
    }
}

impl MessageCounts {
    fn count(&mut self, direction: &'static str, payload: &[u8]) {
        // RFC 7296 §3.1: the exchange type is octet 18 of the header.
        let exchange = match payload.get(18) {
            Some(34) => "ike_sa_init",
            Some(35) => "ike_auth",
            Some(36) => "create_child_sa",
            Some(37) => "informational",
            _ => "other",
        };
        *self.0.entry((direction, exchange)).or_default() += 1;
    }
}

/// What an earlier control process had up goes on in the data plane, but nobody can rekey it or answer for it: whichever
/// end lost its control process asks for successors, and with INITIAL_CONTACT the other forgets the old IKE SA.
fn renew_orphans(config: &Config, plane: &Plane, endpoint: &mut Endpoint) {
    let orphans = plane.orphans();
    if orphans.is_empty() {
        return;
    }
    tracing::info!("{} SAs of an earlier control process go on until their successors are up", orphans.len());
    for (id, child) in config.children() {
        let ChildRef::Ike(connection, _) = child else { continue };
        if !connection.is_passive() && orphans.iter().any(|orphan| orphan.child == id) {
            endpoint.handle_event(now(), Event::Initiate { child: id });
        }
    }
}

/// SAs of an earlier control process whose child is not what it was: they must carry nothing any more, before any
/// policy names their child's number.
fn retire_strangers(config: &Config, secrets: &Secrets, provider: &dyn Provider, plane: &mut Plane, file: &Path) {
    let now_meant: BTreeMap<u32, String> =
        config.children().map(|(id, child)| (id.0, meaning(&child, secrets, provider))).collect();
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let then_meant: BTreeMap<u32, &str> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(id, m)| Some((id.parse().ok()?, m)))
        .collect();
    let same = |orphan: &Orphan| {
        let id = orphan.child.0;
        now_meant.get(&id).is_some_and(|meaning| then_meant.get(&id) == Some(&meaning.as_str()))
    };
    let mut strangers: Vec<ChildId> = plane.orphans().iter().filter(|o| !same(o)).map(|o| o.child).collect();
    strangers.sort_unstable();
    strangers.dedup();
    for child in strangers {
        plane.retire_orphans(child);
    }
    let text: String = now_meant.iter().map(|(id, meaning)| format!("{id} {meaning}\n")).collect();
    if let Err(error) = std::fs::write(file, text) {
        tracing::warn!("{}: {error}; a restart of control will close all tunnels first", file.display());
    }
}

/// One line that differs where a child is another one.
fn meaning(child: &ChildRef<'_>, secrets: &Secrets, provider: &dyn Provider) -> String {
    let text = match child {
        ChildRef::Ike(connection, child) => format!(
            "{} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            connection.name,
            child.name,
            child.mode,
            child.bundle,
            connection.local_addrs,
            connection.remote_addrs,
            connection.remote.id,
            child.local_ts,
            child.remote_ts
        ),
        ChildRef::Manual(sa) => {
            // Another key is another SA: it must not go on counting where this one is.
            let keys = secrets
                .manual(&sa.name)
                .map(|keys| [&keys.key_in, &keys.key_out].map(|key| manual::fingerprint(provider, key)));
            format!(
                "{} manual {} {} {} {} {} {:?} {:?} {:?} {:?} {:?} {keys:?}",
                sa.name,
                sa.local,
                sa.remote,
                sa.spi_in,
                sa.spi_out,
                sa.suite(),
                sa.mode,
                sa.bundle,
                sa.headers.handling(),
                sa.local_ts,
                sa.remote_ts
            )
        }
    };
    text.replace('\n', " ")
}

#[expect(clippy::disallowed_methods, reason = "the daemon owns the clock")]
pub fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the daemon owns the clock")]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
