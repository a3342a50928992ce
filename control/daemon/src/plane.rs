//! The data plane as control sees it: what was sent, what was answered, what must be said again to its successor.
//!
//! Everything that the data plane must know is kept here (`sas`, `policies`), so that a data plane that starts anew gets
//! it all again, under the waiters that the dead one left without an answer. A slot is free only on the word of the living
//! one: resetting a slot that somebody still seals by would use numbers twice.

use culvert_link::record::{Command, DecodeError, Event, Refusal};
use culvert_link::{ControlEnd, LinkError, Peer, PushError, Region, RingError, SlotInit, SlotRef, SlotState};
use culvert_model::{ChildId, Direction, Encapsulation, Policy, SaSpec, SlotIndex, Spi, Tunnel};
use culvert_telemetry::SaCounter;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use zeroize::Zeroizing;

/// SAs looked at for activity in one go, at least.
const LOOKS: usize = 1024;
/// Commands that wait for room in the ring; beyond this the data plane is not working at all.
const LONGEST_BACKLOG: usize = 1 << 20;

/// Something the main loop has to act on.
#[derive(Debug)]
pub enum Notice {
    /// The answer to an install or removal that [`Plane::install`] or [`Plane::remove`] was given a waiter for.
    Settled { waiter: u64, result: Result<(), Refusal> },
    /// Something the data plane tells by itself.
    Event(Event),
    /// Another data plane process is there; everything was said to it again.
    Restarted { generation: u64 },
    /// The data plane refused what nobody waits for.
    Refused { what: &'static str, refusal: Refusal },
}

/// Why an answer is awaited.
enum Sent {
    /// Whoever asked for the SA; several where it was named again before the answer.
    Install {
        slot: SlotIndex,
        waiters: Vec<u64>,
    },
    Remove {
        slot: SlotIndex,
        spi: Spi,
        direction: Direction,
        waiter: Option<u64>,
    },
    Retire {
        child: ChildId,
    },
    Plain {
        what: &'static str,
    },
}

/// Where the numbers of a fresh slot stand: 0 and the largest for a fresh key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// Sent last.
    pub used: u64,
    /// Highest accepted.
    pub replay_top: u64,
    /// Highest that may be sent.
    pub limit: u64,
}

/// An SA of an earlier control process that the data plane still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    pub slot: SlotIndex,
    pub spi: Spi,
    pub direction: Direction,
    pub child: ChildId,
    pub installed_at: u64,
    /// Told to go: nothing of it may be taken up.
    pub leaving: bool,
}

/// What the removed SAs of one child and direction carried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past {
    pub packets: u64,
    pub bytes: u64,
}

/// An SA that the data plane is to have.
struct Held {
    /// IKE has the same for the SAs that are its own.
    spec: Arc<SaSpec>,
    /// Grows with each naming. An outbound SA becomes its child's when it is named, so the last one named is the child's.
    named: u64,
    /// Packets when it was last looked at.
    packets: u64,
}

/// How much the rings carried, for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct RingCounters {
    pub commands: u64,
    pub injected: u64,
    pub events: u64,
    pub punted: u64,
    pub inject_full: u64,
    pub malformed: u64,
}

pub struct Plane {
    region: Region,
    link: ControlEnd,
    backlog: VecDeque<Zeroizing<Vec<u8>>>,
    sent: HashMap<u64, Sent>,
    next_token: u64,
    sas: BTreeMap<SlotIndex, Held>,
    namings: u64,
    /// Where the next look at activity begins.
    looked_at: SlotIndex,
    policies: Vec<Policy>,
    orphans: Vec<Orphan>,
    generation: u64,
    notices: VecDeque<Notice>,
    buffer: Vec<u8>,
    counters: RingCounters,
    past: HashMap<(ChildId, Direction), Past>,
}

impl Plane {
    /// Takes the control role of the link. Slots that an earlier control process left are kept as orphans.
    pub fn attach(region: &Region) -> Result<Self, LinkError> {
        let link = ControlEnd::attach(region)?;
        let mut plane = Self {
            region: region.clone(),
            generation: link.dataplane_generation(),
            backlog: VecDeque::new(),
            sent: HashMap::new(),
            // Answers to an earlier control process carry other tokens.
            next_token: link.generation << 40,
            sas: BTreeMap::new(),
            namings: 0,
            looked_at: SlotIndex(0),
            policies: Vec::new(),
            orphans: Vec::new(),
            notices: VecDeque::new(),
            buffer: Vec::new(),
            counters: RingCounters::default(),
            past: HashMap::new(),
            link,
        };
        plane.find_orphans();
        Ok(plane)
    }

    fn find_orphans(&mut self) {
        for index in (0..self.region.slots()).map(SlotIndex) {
            let Some(slot) = self.region.slot(index) else { continue };
            if slot.state() == SlotState::Free {
                continue;
            }
            match (slot.spi(), slot.direction()) {
                (Some(spi), Some(direction)) => {
                    let (child, installed_at) = (slot.child(), slot.installed_at());
                    self.orphans.push(Orphan { slot: index, spi, direction, child, installed_at, leaving: false });
                }
                // Claimed and never set up: the data plane cannot know it.
                _ => {
                    self.region.free_slot(index);
                }
            }
        }
    }

    pub fn orphans(&self) -> &[Orphan] {
        &self.orphans
    }

    pub fn region(&self) -> &Region {
        &self.region
    }

    pub fn counters(&self) -> RingCounters {
        self.counters
    }

    pub fn past(&self, child: ChildId, direction: Direction) -> Past {
        self.past.get(&(child, direction)).copied().unwrap_or_default()
    }

    /// Counters go with the slot; what they said stays.
    fn free(&mut self, index: SlotIndex) {
        if let Some(slot) = self.region.slot(index)
            && let Some(direction) = slot.direction()
        {
            let past = self.past.entry((slot.child(), direction)).or_default();
            past.packets += slot.get(SaCounter::Packets.index());
            past.bytes += slot.get(SaCounter::Bytes.index());
        }
        self.region.free_slot(index);
    }

    pub fn corruptions(&self) -> [(&'static str, u64); 4] {
        [
            ("commands", self.link.commands.corruptions()),
            ("inject", self.link.inject.corruptions()),
            ("events", self.link.events.corruptions()),
            ("punt", self.link.punt.corruptions()),
        ]
    }

    /// The process on the other side; asking whether it lives costs two system calls.
    pub fn peer(&self) -> &Peer {
        &self.link.peer
    }

    /// SAs that are, or are about to be, in the data plane.
    pub fn sas(&self) -> impl Iterator<Item = &SaSpec> {
        self.sas.values().map(|held| &*held.spec)
    }

    pub fn slot(&self, index: SlotIndex) -> Option<SlotRef> {
        self.region.slot(index)
    }

    /// The SA in that slot.
    pub fn held(&self, slot: SlotIndex) -> Option<&SaSpec> {
        self.sas.get(&slot).map(|held| &*held.spec)
    }

    /// Is this SA in the data plane already, or on its way there?
    pub fn holds(&self, spec: &SaSpec) -> bool {
        self.held(spec.slot).is_some_and(|held| held.spi == spec.spi && held.direction == spec.direction)
    }

    /// SPIs of the inbound SAs that have received packets since they were last looked at. All of them if they are few;
    /// else a part, another each time, so that ten calls see all.
    pub fn busy(&mut self) -> Vec<Spi> {
        let some = self.sas.len().div_ceil(10).max(LOOKS).min(self.sas.len());
        let mut busy = Vec::new();
        let from = self.looked_at;
        let mut left = some;
        for range in [from..SlotIndex(u32::MAX), SlotIndex(0)..from] {
            for (slot, held) in self.sas.range_mut(range).take(left) {
                left -= 1;
                self.looked_at = SlotIndex(slot.0 + 1);
                if held.spec.direction == Direction::Inbound {
                    let packets = self.region.slot(*slot).map_or(0, |slot| slot.get(SaCounter::Packets.index()));
                    if core::mem::replace(&mut held.packets, packets) != packets {
                        busy.push(held.spec.spi);
                    }
                }
            }
        }
        busy
    }

    /// Sets the slot up and sends the SA.
    pub fn install(
        &mut self,
        spec: impl Into<Arc<SaSpec>>,
        numbers: Numbers,
        now_unix: u64,
        waiter: Option<u64>,
    ) -> bool {
        let spec = spec.into();
        let Some(slot) = self.region.slot(spec.slot) else { return false };
        let init = SlotInit {
            spi: spec.spi,
            direction: spec.direction,
            child: spec.child,
            sequence: numbers.used,
            replay_top: numbers.replay_top,
            limit: numbers.limit,
            generation: self.link.generation,
            installed_at: now_unix,
        };
        slot.reset(&init) && {
            self.adopt(spec, now_unix, waiter);
            true
        }
    }

    /// Sends an SA whose slot is set up already and goes on counting where it is.
    pub fn adopt(&mut self, spec: impl Into<Arc<SaSpec>>, now_unix: u64, waiter: Option<u64>) {
        let spec = spec.into();
        self.orphans.retain(|orphan| orphan.slot != spec.slot);
        self.namings += 1;
        let packets = self.sas.get(&spec.slot).map_or(0, |held| held.packets);
        self.sas.insert(spec.slot, Held { spec: spec.clone(), named: self.namings, packets });
        self.send_install(&spec, now_unix, waiter.into_iter().collect());
    }

    /// The data plane counts seconds from the moment it is told, so an older SA is told with what is left of its time.
    fn send_install(&mut self, spec: &SaSpec, now_unix: u64, waiters: Vec<u64>) {
        let mut spec = spec.clone();
        let slot = spec.slot;
        let age = self.region.slot(slot).map_or(0, |slot| now_unix.saturating_sub(slot.installed_at()));
        for seconds in [&mut spec.lifetime.soft_seconds, &mut spec.lifetime.hard_seconds] {
            // Zero would be "no limit".
            *seconds = if *seconds == 0 { 0 } else { seconds.saturating_sub(age).max(1) };
        }
        let token = self.send(&Command::Install(spec));
        self.sent.insert(token, Sent::Install { slot, waiters });
    }

    /// The SA has another remote end.
    pub fn update_tunnel(&mut self, slot: SlotIndex, tunnel: Tunnel, encapsulation: Option<Encapsulation>) {
        let Some(held) = self.sas.get_mut(&slot) else { return };
        let spec = Arc::make_mut(&mut held.spec);
        (spec.tunnel, spec.encapsulation) = (tunnel, encapsulation);
        let spi = held.spec.spi;
        self.send_plain(&Command::UpdateTunnel { slot, spi, tunnel, encapsulation }, "a new address of a peer");
    }

    /// Takes the SA out; its slot is free once the data plane has said so.
    pub fn remove(&mut self, slot: SlotIndex, spi: Spi, direction: Direction, waiter: Option<u64>) {
        self.sas.remove(&slot);
        if let Some(slot) = self.region.slot(slot) {
            slot.set_state(SlotState::Dying);
        }
        let token = self.send(&Command::Remove { slot, spi, direction });
        self.sent.insert(token, Sent::Remove { slot, spi, direction, waiter });
    }

    /// States all policies; what the data plane has beyond them goes. The first time opens the ports.
    pub fn set_policies(&mut self, policies: Vec<Policy>) {
        self.policies = policies;
        self.state_policies();
    }

    fn state_policies(&mut self) {
        self.send_plain(&Command::BeginSync, "BeginSync");
        for policy in self.policies.clone() {
            self.send_plain(&Command::SetPolicy(policy), "a policy");
        }
        self.send_plain(&Command::EndSync, "EndSync");
    }

    /// Removes what earlier control processes left of a child.
    pub fn retire_orphans(&mut self, child: ChildId) {
        self.orphans.iter_mut().filter(|orphan| orphan.child == child).for_each(|orphan| orphan.leaving = true);
        let keep = self.sas().filter(|spec| spec.child == child).map(|spec| spec.slot).collect();
        let token = self.send(&Command::RetireOrphans { child, keep });
        self.sent.insert(token, Sent::Retire { child });
    }

    /// A datagram for the data plane to send; lost where the ring is full, as on any network.
    pub fn inject(&mut self, datagram: &culvert_link::record::Datagram) {
        let mut record = Vec::new();
        if datagram.encode(&mut record).is_err() {
            return;
        }
        match self.link.inject.push(&record) {
            Ok(()) => self.counters.injected += 1,
            Err(_) => self.counters.inject_full += 1,
        }
    }

    /// The next datagram that a peer sent.
    pub fn datagram(&mut self) -> Option<culvert_link::record::Datagram> {
        loop {
            let popped = self.link.punt.pop(&mut self.buffer);
            let decoded = match popped {
                Ok(None) => return None,
                Ok(Some(record)) => culvert_link::record::Datagram::decode(record),
                Err(error) => {
                    self.count_corrupt("punt", &error);
                    return None;
                }
            };
            self.link.punt.commit();
            self.counters.punted += 1;
            match decoded {
                Ok(datagram) => return Some(datagram),
                Err(error) => self.count_malformed("punt", error),
            }
        }
    }

    /// Moves what waits, reads what the data plane says, notices its death. Call often.
    pub fn turn(&mut self, now_unix: u64) {
        self.flush();
        self.read_events();
        let generation = self.link.dataplane_generation();
        if generation != self.generation {
            self.generation = generation;
            self.say_all_again(now_unix);
            self.notices.push_back(Notice::Restarted { generation });
        }
    }

    pub fn notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Nothing is unsent or unanswered.
    pub fn is_idle(&self) -> bool {
        self.backlog.is_empty() && self.sent.is_empty()
    }

    fn read_events(&mut self) {
        loop {
            let decoded = match self.link.events.pop(&mut self.buffer) {
                Ok(None) => return,
                Ok(Some(record)) => Event::decode(record),
                Err(error) => return self.count_corrupt("events", &error),
            };
            self.link.events.commit();
            self.counters.events += 1;
            match decoded {
                Ok(Event::Done { token, result }) => self.settle(token, result),
                Ok(event) => self.notices.push_back(Notice::Event(event)),
                Err(error) => self.count_malformed("events", error),
            }
        }
    }

    fn settle(&mut self, token: u64, result: Result<(), Refusal>) {
        // Unknown tokens answer an earlier control process, or the same command told to two data planes.
        let Some(sent) = self.sent.remove(&token) else { return };
        match sent {
            Sent::Install { slot, waiters } => self.settle_install(slot, waiters, result),
            Sent::Remove { slot, waiter, .. } => {
                // Done, or never known: it is gone either way.
                self.free(slot);
                self.tell(waiter, Ok(()), "a removal");
            }
            Sent::Retire { child } => self.settle_retirement(child, result),
            Sent::Plain { what } => self.tell(None, result, what),
        }
    }

    fn settle_install(&mut self, slot: SlotIndex, waiters: Vec<u64>, result: Result<(), Refusal>) {
        // Where it was removed meanwhile, the removal's answer is on its way.
        match (result, self.held(slot).map(|spec| (spec.spi, spec.direction))) {
            (Ok(()), Some(_)) => {
                if let Some(slot) = self.region.slot(slot) {
                    slot.set_state(SlotState::Installed);
                }
            }
            // The data plane may still run what stood in the slot before; only its word frees the slot.
            (Err(_), Some((spi, direction))) if waiters.is_empty() => self.remove(slot, spi, direction, None),
            // Whoever waits owns the slot, and removes what is in it.
            (Err(_), Some(_)) => {
                self.sas.remove(&slot);
                if let Some(slot) = self.region.slot(slot) {
                    slot.set_state(SlotState::Dying);
                }
            }
            (_, None) => {}
        }
        if waiters.is_empty() {
            self.tell(None, result, "an SA");
        }
        for waiter in waiters {
            self.tell(Some(waiter), result, "an SA");
        }
    }

    fn settle_retirement(&mut self, child: ChildId, result: Result<(), Refusal>) {
        if let Err(refusal) = result {
            self.notices.push_back(Notice::Refused { what: "the removal of orphans", refusal });
            return;
        }
        let (gone, left): (Vec<_>, Vec<_>) = self.orphans.drain(..).partition(|orphan| orphan.child == child);
        self.orphans = left;
        for orphan in gone {
            self.free(orphan.slot);
        }
    }

    fn tell(&mut self, waiter: Option<u64>, result: Result<(), Refusal>, what: &'static str) {
        match (waiter, result) {
            (Some(waiter), result) => self.notices.push_back(Notice::Settled { waiter, result }),
            (None, Err(refusal)) => self.notices.push_back(Notice::Refused { what, refusal }),
            (None, Ok(())) => {}
        }
    }

    fn say_all_again(&mut self, now_unix: u64) {
        let unanswered: Vec<Sent> = self.sent.drain().map(|(_, sent)| sent).collect();
        self.backlog.clear();
        // The dead one may have left records in the ring that install what is gone: nothing is free before this one's word.
        let mut waiting: HashMap<SlotIndex, Vec<u64>> = HashMap::new();
        for sent in unanswered {
            match sent {
                Sent::Remove { slot, spi, direction, waiter } => self.remove(slot, spi, direction, waiter),
                Sent::Install { slot, waiters } => waiting.entry(slot).or_default().extend(waiters),
                Sent::Retire { .. } | Sent::Plain { .. } => {}
            }
        }
        let mut orphaned: Vec<ChildId> = self.orphans.iter().map(|orphan| orphan.child).collect();
        orphaned.sort_unstable();
        orphaned.dedup();
        for child in orphaned {
            self.retire_orphans(child);
        }
        let mut held: Vec<&Held> = self.sas.values().collect();
        held.sort_unstable_by_key(|held| held.named);
        let specs: Vec<Arc<SaSpec>> = held.into_iter().map(|held| held.spec.clone()).collect();
        for spec in specs {
            let waiters = waiting.remove(&spec.slot).unwrap_or_default();
            self.send_install(&spec, now_unix, waiters);
        }
        // Last, because the first EndSync opens the ports: what they let in finds its SAs.
        self.state_policies();
        // Asked for and removed before any answer: the removal settles it.
        for waiter in waiting.into_values().flatten() {
            self.tell(Some(waiter), Ok(()), "an SA");
        }
    }

    fn send_plain(&mut self, command: &Command, what: &'static str) {
        let token = self.send(command);
        self.sent.insert(token, Sent::Plain { what });
    }

    fn send(&mut self, command: &Command) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        let mut record = Zeroizing::new(Vec::new());
        match command.encode(token, &mut record) {
            Ok(()) if self.backlog.len() < LONGEST_BACKLOG => self.backlog.push_back(record),
            Ok(()) => tracing::error!("the data plane takes no commands; one more is dropped"),
            Err(error) => tracing::error!("a command cannot be encoded: {error}"),
        }
        self.flush();
        token
    }

    fn flush(&mut self) {
        while let Some(record) = self.backlog.front() {
            match self.link.commands.push(record) {
                Ok(()) => self.counters.commands += 1,
                Err(PushError::Full) => return,
                Err(error) => tracing::error!("a command cannot be sent: {error}"),
            }
            self.backlog.pop_front();
        }
    }

    fn count_corrupt(&mut self, ring: &'static str, error: &RingError) {
        self.counters.malformed += 1;
        tracing::warn!("the {ring} ring made no sense and was skipped: {error}");
    }

    fn count_malformed(&mut self, ring: &'static str, error: DecodeError) {
        self.counters.malformed += 1;
        tracing::warn!("a record of the {ring} ring could not be read: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_link::{DataplaneEnd, Layout};
    use culvert_model::{Handling, Lifetime, SaMode, SecretKey, Suite};

    const FRESH: Numbers = Numbers { used: 0, replay_top: 0, limit: u64::MAX };

    /// The data plane's side: answers commands as told.
    struct Stub {
        end: DataplaneEnd,
        seen: Vec<Command>,
    }

    impl Stub {
        fn attach(region: &Region) -> Self {
            Self { end: DataplaneEnd::attach(region).expect("the role is free"), seen: Vec::new() }
        }

        fn answer(&mut self, result: Result<(), Refusal>) {
            let mut buffer = Vec::new();
            while let Some(record) = self.end.commands.pop(&mut buffer).expect("an honest ring") {
                let (token, command) = Command::decode(record).expect("an honest record");
                self.end.commands.commit();
                self.seen.push(command);
                let mut event = Vec::new();
                Event::Done { token, result }.encode(&mut event);
                self.end.events.push(&event).expect("room");
            }
        }
    }

    fn region() -> Region {
        Region::anonymous(Layout { slots: 64, ..Layout::default() }).expect("memory")
    }

    fn spec(region: &Region, child: u32) -> SaSpec {
        let slot = region.claim_slot().expect("a free slot");
        SaSpec {
            spi: region.spi_for_slot(slot, 0xabcd_0000),
            direction: Direction::Inbound,
            slot,
            child: ChildId(child),
            suite: Suite::AES128_GCM16,
            key: SecretKey::new(vec![7; 20]),
            tunnel: Tunnel { local: [192, 0, 2, 1].into(), remote: [192, 0, 2, 2].into() },
            encapsulation: None,
            esn: true,
            replay_window: 64,
            local_ts: vec![],
            remote_ts: vec![],
            lifetime: Lifetime::default(),
            mode: SaMode::Tunnel,
            handling: Handling::default(),
            bundle: None,
            interface: None,
        }
    }

    fn settled(plane: &mut Plane) -> Vec<(u64, bool)> {
        plane.turn(0);
        let notices = std::iter::from_fn(|| plane.notice());
        notices
            .filter_map(
                |n| if let Notice::Settled { waiter, result } = n { Some((waiter, result.is_ok())) } else { None },
            )
            .collect()
    }

    #[test]
    fn answers_reach_their_waiters_and_slots_follow() {
        let region = region();
        let mut stub = Stub::attach(&region);
        let mut plane = Plane::attach(&region).expect("the role is free");
        let sa = spec(&region, 1);
        let (slot, spi, direction) = (sa.slot, sa.spi, sa.direction);
        assert!(plane.install(sa, FRESH, 0, Some(11)));
        stub.answer(Ok(()));
        assert_eq!(settled(&mut plane), [(11, true)]);
        assert_eq!(region.slot(slot).map(|s| s.state()), Some(SlotState::Installed));
        plane.remove(slot, spi, direction, Some(12));
        assert_eq!(region.slot(slot).map(|s| s.state()), Some(SlotState::Dying));
        stub.answer(Ok(()));
        assert_eq!(settled(&mut plane), [(12, true)]);
        assert_eq!(region.slot(slot).map(|s| s.state()), Some(SlotState::Free));
        assert!(plane.is_idle());
    }

    #[test]
    fn an_sa_that_is_named_again_keeps_its_numbers() {
        let region = region();
        let mut stub = Stub::attach(&region);
        let mut plane = Plane::attach(&region).expect("the role is free");
        let sa = spec(&region, 1);
        assert!(plane.install(sa.clone(), FRESH, 0, Some(1)));
        stub.answer(Ok(()));
        assert_eq!(settled(&mut plane), [(1, true)]);
        let slot = region.slot(sa.slot).expect("it exists");
        assert_eq!(slot.reserve(5), Some(1));
        assert!(plane.holds(&sa) && !plane.install(sa.clone(), FRESH, 0, None), "a living counter is never reset");
        plane.adopt(sa.clone(), 0, Some(2));
        plane.adopt(sa, 0, Some(3));
        stub.answer(Ok(()));
        assert_eq!(settled(&mut plane), [(2, true), (3, true)]);
        assert_eq!(slot.sequence(), 5);
    }

    #[test]
    fn a_refused_sa_gives_its_slot_back() {
        let region = region();
        let mut stub = Stub::attach(&region);
        let mut plane = Plane::attach(&region).expect("the role is free");
        let sa = spec(&region, 1);
        let (slot, spi) = (sa.slot, sa.spi);
        assert!(plane.install(sa, FRESH, 0, Some(1)));
        stub.answer(Err(Refusal::TableFull));
        assert_eq!(settled(&mut plane), [(1, false)]);
        assert_eq!(region.slot(slot).map(|s| s.state()), Some(SlotState::Dying));
        plane.remove(slot, spi, Direction::Inbound, None);
        stub.answer(Err(Refusal::UnknownSa));
        plane.turn(0);
        assert_eq!(region.slot(slot).map(|s| s.state()), Some(SlotState::Free));
        assert_eq!(plane.sas().count(), 0);
    }

    #[test]
    fn a_new_data_plane_is_told_everything_and_owes_what_the_old_one_owed() {
        let region = region();
        let first = Stub::attach(&region);
        let mut plane = Plane::attach(&region).expect("the role is free");
        plane.set_policies(vec![]);
        let (kept, gone) = (spec(&region, 1), spec(&region, 2));
        let (gone_slot, gone_spi) = (gone.slot, gone.spi);
        assert!(plane.install(kept.clone(), FRESH, 0, Some(1)));
        assert!(plane.install(gone, FRESH, 0, None));
        plane.remove(gone_slot, gone_spi, Direction::Inbound, Some(2));
        drop(first);
        let mut second = Stub::attach(&region);
        plane.turn(0);
        assert_eq!(region.slot(gone_slot).map(|s| s.state()), Some(SlotState::Dying));
        // What the dead one left unread comes first, then everything again.
        second.answer(Ok(()));
        assert_eq!(settled(&mut plane), [(2, true), (1, true)]);
        let installs = second.seen.iter().rev().find(|c| matches!(c, Command::Install(_)));
        assert_eq!(installs, Some(&Command::Install(kept)));
        assert_eq!(region.slot(gone_slot).map(|s| s.state()), Some(SlotState::Free));
    }

    #[test]
    fn a_peer_that_moved_is_where_it_is_now_for_a_new_data_plane_too() {
        let region = region();
        let mut first = Stub::attach(&region);
        let mut plane = Plane::attach(&region).expect("the role is free");
        let encapsulation =
            |remote_port| Some(Encapsulation { local_port: 4500, remote_port, keepalive: std::time::Duration::ZERO });
        let sa = SaSpec { encapsulation: encapsulation(4500), ..spec(&region, 1) };
        assert!(plane.install(sa.clone(), FRESH, 0, None));
        let tunnel = Tunnel { remote: [203, 0, 113, 9].into(), ..sa.tunnel };
        plane.update_tunnel(sa.slot, tunnel, encapsulation(1024));
        // Nobody has that one.
        plane.update_tunnel(SlotIndex(63), tunnel, None);
        first.answer(Ok(()));
        let (slot, spi, encapsulation) = (sa.slot, sa.spi, encapsulation(1024));
        assert_eq!(first.seen.last(), Some(&Command::UpdateTunnel { slot, spi, tunnel, encapsulation }));
        drop(first);
        let mut second = Stub::attach(&region);
        plane.turn(0);
        second.answer(Ok(()));
        let told = second.seen.iter().rfind(|c| matches!(c, Command::Install(_)));
        assert_eq!(told, Some(&Command::Install(SaSpec { tunnel, encapsulation, ..sa })));
    }

    /// In the middle of a rekey a child has two outbound SAs, and the data plane takes the one it is told last.
    #[test]
    fn a_new_data_plane_hears_of_the_sas_in_the_order_in_which_they_were_named() {
        let region = region();
        let first = Stub::attach(&region);
        let mut plane = Plane::attach(&region).expect("the role is free");
        let outbound = || SaSpec { direction: Direction::Outbound, ..spec(&region, 1) };
        let (lower, higher) = (outbound(), outbound());
        assert!(lower.slot < higher.slot);
        assert!(plane.install(higher.clone(), FRESH, 0, None));
        assert!(plane.install(lower.clone(), FRESH, 0, None));
        let retold = |plane: &mut Plane| {
            let mut stub = Stub::attach(&region);
            plane.turn(0);
            stub.answer(Ok(()));
            plane.turn(0);
            // What the dead one left unread comes before.
            let told =
                stub.seen.into_iter().filter_map(|c| if let Command::Install(sa) = c { Some(sa.slot) } else { None });
            let told: Vec<_> = told.collect();
            told[told.len() - 2..].to_vec()
        };
        drop(first);
        assert_eq!(retold(&mut plane), [higher.slot, lower.slot]);
        // Named once more, it is the child's again.
        plane.adopt(higher.clone(), 0, None);
        assert_eq!(retold(&mut plane), [lower.slot, higher.slot]);
    }

    #[test]
    fn an_sa_that_is_told_again_has_what_is_left_of_its_time() {
        let region = region();
        let first = Stub::attach(&region);
        let mut plane = Plane::attach(&region).expect("the role is free");
        let lifetime = Lifetime { soft_seconds: 60, hard_seconds: 100, ..Lifetime::default() };
        let sa = SaSpec { lifetime, ..spec(&region, 1) };
        assert!(plane.install(sa.clone(), FRESH, 1000, None));
        drop(first);
        let mut told = |at: u64| {
            let mut stub = Stub::attach(&region);
            plane.turn(at);
            stub.answer(Ok(()));
            plane.turn(at);
            let Some(Command::Install(sa)) = stub.seen.iter().rfind(|c| matches!(c, Command::Install(_))) else {
                panic!("{:?}", stub.seen)
            };
            (sa.lifetime.soft_seconds, sa.lifetime.hard_seconds)
        };
        assert_eq!(told(1030), (30, 70));
        assert_eq!(told(1070), (1, 30), "an age is from the first telling, and zero would be no limit");
        assert_eq!(told(5000), (1, 1));
        // A clock that was set back makes nobody younger than new.
        assert_eq!(told(10), (60, 100));
    }

    #[test]
    fn a_new_control_finds_what_the_old_one_left_and_retires_it() {
        let region = region();
        let mut stub = Stub::attach(&region);
        let mut first = Plane::attach(&region).expect("the role is free");
        let sa = spec(&region, 5);
        let slot = sa.slot;
        assert!(first.install(sa.clone(), FRESH, 77, None));
        stub.answer(Ok(()));
        first.turn(0);
        drop(first);
        let mut second = Plane::attach(&region).expect("the role is free again");
        let orphan =
            Orphan { slot, spi: sa.spi, direction: sa.direction, child: ChildId(5), installed_at: 77, leaving: false };
        assert_eq!(second.orphans(), [orphan]);
        second.retire_orphans(ChildId(5));
        assert!(second.orphans().iter().all(|orphan| orphan.leaving), "nobody may take it up any more");
        stub.answer(Ok(()));
        second.turn(0);
        assert_eq!(stub.seen.last(), Some(&Command::RetireOrphans { child: ChildId(5), keep: vec![] }));
        assert!(second.orphans().is_empty());
        assert_eq!(region.slot(slot).map(|s| s.state()), Some(SlotState::Free));
    }
}
