//! Who is where on the wire: one table for ARP (RFC 826) and neighbour discovery (RFC 4861 §7).
//!
//! ```text
//!            resolve: ask                  answer                      30 s
//!   (none) ───────────────▶ Incomplete ───────────────▶ Reachable ───────────────▶ Probe
//!      │                        │ 3 s, no answer            ▲  ▲     answer to unicast │
//!      │ heard of               ▼                           │  └───────────────────────┤
//!      │                    (none), packets back            │ answer                   │ 3 s, no answer
//!      └───────────────────▶ Stale ───────────────────────▶ Probe                      ▼
//!                                       5 s                                         (none)
//! ```
//!
//! Workers send by the published address and do not say so here. Hence two departures from RFC 4861 §7.3.3: an entry is
//! probed when its time is up, used or not, and Stale turns to Probe by itself (Delay and Stale are one).

use crate::io::{PortId, Tick};
use crate::topology::Neighbour;
use core::net::IpAddr;
use culvert_wire::Mac;
use std::collections::{BTreeMap, VecDeque};

const SECOND: Tick = 1_000_000_000;
/// RFC 4861 §10: RetransTimer, MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT, REACHABLE_TIME, DELAY_FIRST_PROBE_TIME.
pub const RETRANSMIT: Tick = SECOND;
pub const ATTEMPTS: u8 = 3;
pub const REACHABLE: Tick = 30 * SECOND;
pub const STALE: Tick = 5 * SECOND;
/// RFC 5227 §1.1 DEFEND_INTERVAL.
pub const DEFEND: Tick = 10 * SECOND;

/// What the table may hold, so that no sender makes it grow without end (RFC 6583).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub entries: usize,
    /// Packets waiting for one neighbour: the pieces of the largest datagram, or of one after the other.
    pub queue: usize,
    /// Packets waiting in all: they are buffers taken from the pool.
    pub queued: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 4096, queue: 64, queued: 1024 }
    }
}

/// Why a waiting packet comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answered: address or host unreachable is due to its sender (RFC 4861 §7.2.2).
    Unanswered,
    /// A later packet took its place, or too many wait in all.
    QueueFull,
    /// The entry gave way to a newer one, or found no place.
    TableFull,
}

/// What the caller has to do. To be polled until `None` after every call.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<P> {
    /// Ask who has `addr`: everybody, or the station that had it.
    Solicit { port: PortId, addr: IpAddr, to: Option<Mac> },
    /// A waiting packet may go.
    Release { port: PortId, addr: IpAddr, mac: Mac, packet: P },
    /// A waiting packet may not go. Count it.
    Fail { port: PortId, addr: IpAddr, packet: P, failure: Failure },
    /// Another station says it has our address. To be logged.
    Conflict { port: PortId, addr: IpAddr, mac: Mac },
    /// Say again that our address is ours (RFC 5227 §2.4(b)).
    Announce { port: PortId, addr: IpAddr },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Incomplete,
    Reachable,
    Stale,
    Probe,
}

#[derive(Debug)]
struct Entry<P> {
    state: State,
    /// `None` exactly while Incomplete.
    mac: Option<Mac>,
    /// When the state's time is up.
    deadline: Tick,
    /// Solicitations sent in this state.
    attempts: u8,
    created: Tick,
    waiting: VecDeque<P>,
}

/// What a frame says about a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub port: PortId,
    pub addr: IpAddr,
    /// `None`: an advertisement without the option; it can confirm, not teach.
    pub mac: Option<Mac>,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It asked us for something (ARP request, neighbour solicitation): worth an entry of its own.
    Asked,
    /// ARP that is no answer to us: updates what is there (RFC 826 "merge").
    Overheard,
    /// ARP reply to us, or advertisement. ARP always overrides.
    Advertised { solicited: bool, overrides: bool },
}

type Key = (PortId, IpAddr);

/// The table, with packets of type `P` waiting in it.
#[derive(Debug)]
pub struct Neighbours<P> {
    limits: Limits,
    entries: BTreeMap<Key, Entry<P>>,
    queued: usize,
    /// Not later than any entry's deadline.
    next: Option<Tick>,
    changed: bool,
    defended: BTreeMap<Key, Tick>,
    outputs: VecDeque<Output<P>>,
}

impl<P> Neighbours<P> {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            queued: 0,
            next: None,
            changed: false,
            defended: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// A packet for a next hop that has no published address. It comes back as [`Output::Release`] or
    /// [`Output::Fail`], at once or later.
    pub fn resolve(&mut self, now: Tick, port: PortId, addr: IpAddr, packet: P) {
        let key = (port, addr);
        if let Some(entry) = self.entries.get_mut(&key) {
            if let Some(mac) = entry.mac {
                self.outputs.push_back(Output::Release { port, addr, mac, packet });
                return;
            }
            self.enqueue(key, packet);
            return;
        }
        if self.entries.len() >= self.limits.entries && !self.evict() {
            self.outputs.push_back(Output::Fail { port, addr, packet, failure: Failure::TableFull });
            return;
        }
        let entry = Entry {
            state: State::Incomplete,
            mac: None,
            deadline: now.saturating_add(RETRANSMIT),
            attempts: 1,
            created: now,
            waiting: VecDeque::new(),
        };
        self.wake_at(entry.deadline);
        self.entries.insert(key, entry);
        self.outputs.push_back(Output::Solicit { port, addr, to: None });
        self.enqueue(key, packet);
    }

    /// A checked ARP packet or discovery message about a station that is on-link and not us.
    pub fn report(&mut self, now: Tick, report: Report) {
        let key = (report.port, report.addr);
        match self.entries.get(&key).map(|entry| entry.mac) {
            Some(Some(known)) => self.report_known(now, key, known, report),
            Some(None) => self.report_incomplete(now, key, report),
            None => self.report_new(now, key, report),
        }
    }

    /// RFC 826: an unknown sender is worth remembering if it asked us, and if there is room: strangers push nobody out.
    fn report_new(&mut self, now: Tick, key: Key, report: Report) {
        let (Kind::Asked, Some(mac)) = (report.kind, report.mac) else { return };
        if self.entries.len() >= self.limits.entries {
            return;
        }
        let entry = Entry {
            state: State::Stale,
            mac: Some(mac),
            deadline: now.saturating_add(STALE),
            attempts: 0,
            created: now,
            waiting: VecDeque::new(),
        };
        self.wake_at(entry.deadline);
        self.entries.insert(key, entry);
        self.changed = true;
    }

    /// RFC 4861 §7.2.5: without a link-layer address an answer is worth nothing.
    fn report_incomplete(&mut self, now: Tick, key: Key, report: Report) {
        let Some(mac) = report.mac else { return };
        let solicited = matches!(report.kind, Kind::Advertised { solicited: true, .. });
        self.become_known(now, key, mac, if solicited { State::Reachable } else { State::Stale });
    }

    /// RFC 4861 §7.2.5 and Appendix C, rows of an entry with an address.
    fn report_known(&mut self, now: Tick, key: Key, known: Mac, report: Report) {
        let mac = report.mac.unwrap_or(known);
        let moved = mac != known;
        match report.kind {
            Kind::Advertised { overrides: false, .. } if moved => {
                let reachable = self.entries.get(&key).is_some_and(|entry| entry.state == State::Reachable);
                if reachable {
                    self.become_known(now, key, known, State::Stale);
                }
            }
            Kind::Advertised { solicited: true, .. } => self.become_known(now, key, mac, State::Reachable),
            _ if moved => self.become_known(now, key, mac, State::Stale),
            _ => {}
        }
    }

    /// Gives an entry address and state, and lets go what waits.
    fn become_known(&mut self, now: Tick, key: Key, mac: Mac, state: State) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        self.changed |= entry.mac != Some(mac);
        entry.mac = Some(mac);
        entry.state = state;
        entry.attempts = 0;
        entry.deadline = now.saturating_add(if state == State::Reachable { REACHABLE } else { STALE });
        let (deadline, (port, addr)) = (entry.deadline, key);
        let waiting = core::mem::take(&mut entry.waiting);
        self.queued = self.queued.saturating_sub(waiting.len());
        self.outputs.extend(waiting.into_iter().map(|packet| Output::Release { port, addr, mac, packet }));
        self.wake_at(deadline);
    }

    /// Another station uses our address. Defended by an announcement, but not in answer to every one of its frames:
    /// two stations that both insist would fill the wire (RFC 5227 §2.4).
    pub fn conflict(&mut self, now: Tick, port: PortId, addr: IpAddr, mac: Mac) {
        let key = (port, addr);
        let recent = self.defended.get(&key).is_some_and(|at| now.saturating_sub(*at) < DEFEND);
        if recent {
            return;
        }
        // Keys are own addresses, so this is as small as the configuration.
        self.defended.insert(key, now);
        self.outputs.push_back(Output::Conflict { port, addr, mac });
        self.outputs.push_back(Output::Announce { port, addr });
    }

    /// Everything whose time is up by `now`.
    pub fn handle_timeout(&mut self, now: Tick) {
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        let due: Vec<Key> = self.entries.iter().filter(|(_, e)| e.deadline <= now).map(|(key, _)| *key).collect();
        for key in due {
            self.expire(now, key);
        }
        self.next = self.entries.values().map(|entry| entry.deadline).min();
    }

    fn expire(&mut self, now: Tick, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let (port, addr) = key;
        match entry.state {
            State::Reachable | State::Stale => {
                entry.state = State::Probe;
                entry.attempts = 0;
            }
            State::Incomplete | State::Probe => {}
        }
        if entry.attempts >= ATTEMPTS {
            self.remove(key, Failure::Unanswered);
            return;
        }
        entry.attempts += 1;
        entry.deadline = now.saturating_add(RETRANSMIT);
        self.outputs.push_back(Output::Solicit { port, addr, to: entry.mac });
    }

    fn remove(&mut self, key: Key, failure: Failure) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.changed |= entry.mac.is_some();
        self.queued = self.queued.saturating_sub(entry.waiting.len());
        let (port, addr) = key;
        let failed = entry.waiting.into_iter().map(|packet| Output::Fail { port, addr, packet, failure });
        self.outputs.extend(failed);
    }

    /// Makes one place: the oldest unresolved entry goes, else the oldest nobody has confirmed. Confirmed ones stay.
    fn evict(&mut self) -> bool {
        let oldest = |unwanted: fn(State) -> bool| {
            let entries = self.entries.iter().filter(move |(_, entry)| unwanted(entry.state));
            entries.min_by_key(|(_, entry)| entry.created).map(|(key, _)| *key)
        };
        let victim = oldest(|state| state == State::Incomplete).or_else(|| oldest(|state| state == State::Stale));
        if let Some(key) = victim {
            self.remove(key, Failure::TableFull);
        }
        victim.is_some()
    }

    /// RFC 4861 §7.2.2: in a full queue the new packet takes the place of the oldest.
    fn enqueue(&mut self, key: Key, packet: P) {
        let (port, addr) = key;
        let full = self.queued >= self.limits.queued;
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let failed = if entry.waiting.len() >= self.limits.queue || full {
            let oldest = entry.waiting.pop_front();
            self.queued = self.queued.saturating_sub(usize::from(oldest.is_some()));
            if oldest.is_none() {
                // Others have taken all the room there is.
                self.outputs.push_back(Output::Fail { port, addr, packet, failure: Failure::QueueFull });
                return;
            }
            oldest
        } else {
            None
        };
        entry.waiting.push_back(packet);
        self.queued += 1;
        self.outputs.extend(failed.map(|packet| Output::Fail { port, addr, packet, failure: Failure::QueueFull }));
    }

    fn wake_at(&mut self, deadline: Tick) {
        self.next = Some(self.next.map_or(deadline, |next| next.min(deadline)));
    }

    pub fn poll_output(&mut self) -> Option<Output<P>> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] has work next; may be early.
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.next
    }

    /// Did any address appear, change or go since the last call? Then [`Self::resolved`] is to be published.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// Every neighbour a packet can be sent to, by port and address.
    pub fn resolved(&self) -> impl Iterator<Item = Neighbour> + '_ {
        self.entries.iter().filter_map(|((port, addr), e)| Some(Neighbour { port: *port, addr: *addr, mac: e.mac? }))
    }

    pub fn state(&self, port: PortId, addr: IpAddr) -> Option<State> {
        self.entries.get(&(port, addr)).map(|entry| entry.state)
    }

    /// Entries, in whatever state.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Packets waiting.
    pub const fn queued(&self) -> usize {
        self.queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const P: PortId = PortId(0);
    const A: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);
    const MS: Tick = 1_000_000;

    fn addr(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    fn drain<T>(table: &mut Neighbours<T>) -> Vec<Output<T>> {
        core::iter::from_fn(|| table.poll_output()).collect()
    }

    fn report(n: u8, mac: Option<Mac>, kind: Kind) -> Report {
        Report { port: P, addr: addr(n), mac, kind }
    }

    const ANSWER: Kind = Kind::Advertised { solicited: true, overrides: true };

    fn ask(n: u8, to: Option<Mac>) -> Output<u32> {
        Output::Solicit { port: P, addr: addr(n), to }
    }

    fn release(n: u8, mac: Mac, packet: u32) -> Output<u32> {
        Output::Release { port: P, addr: addr(n), mac, packet }
    }

    fn fail(n: u8, packet: u32, failure: Failure) -> Output<u32> {
        Output::Fail { port: P, addr: addr(n), packet, failure }
    }

    /// A table whose entry 1 is in the wanted state at time 0, with address A where it has one.
    fn in_state(state: Option<State>) -> Neighbours<u32> {
        let mut table = Neighbours::new(Limits::default());
        match state {
            None => {}
            Some(State::Incomplete) => table.resolve(0, P, addr(1), 1),
            Some(State::Reachable) => {
                table.resolve(0, P, addr(1), 1);
                table.report(0, report(1, Some(A), ANSWER));
            }
            Some(State::Stale) => table.report(0, report(1, Some(A), Kind::Asked)),
            Some(State::Probe) => {
                table.report(0, report(1, Some(A), Kind::Asked));
                table.handle_timeout(STALE);
            }
        }
        drain(&mut table);
        table.take_changed();
        assert_eq!(table.state(P, addr(1)), state);
        table
    }

    #[test]
    fn asks_three_times_a_second_apart_then_gives_up() {
        let mut table = Neighbours::new(Limits::default());
        table.resolve(0, P, addr(1), 7);
        table.resolve(0, P, addr(1), 8);
        assert_eq!(drain(&mut table), [ask(1, None)]);
        assert_eq!(table.poll_timeout(), Some(SECOND));
        table.handle_timeout(SECOND - 1);
        assert_eq!(drain(&mut table), []);
        table.handle_timeout(SECOND);
        assert_eq!(drain(&mut table), [ask(1, None)]);
        table.handle_timeout(2 * SECOND);
        assert_eq!(drain(&mut table), [ask(1, None)]);
        table.handle_timeout(3 * SECOND);
        assert_eq!(drain(&mut table), [fail(1, 7, Failure::Unanswered), fail(1, 8, Failure::Unanswered)]);
        assert!(table.is_empty() && table.queued() == 0 && table.poll_timeout().is_none());
        assert!(!table.take_changed(), "nothing was ever published");
    }

    #[test]
    fn an_answer_releases_in_order() {
        let mut table = in_state(Some(State::Incomplete));
        table.resolve(MS, P, addr(1), 2);
        table.report(2 * MS, report(1, Some(A), ANSWER));
        assert_eq!(drain(&mut table), [release(1, A, 1), release(1, A, 2)]);
        assert!(table.take_changed());
        assert!(!table.take_changed());
        assert_eq!(table.resolved().collect::<Vec<_>>(), [Neighbour { port: P, addr: addr(1), mac: A }]);
        table.resolve(3 * MS, P, addr(1), 3);
        assert_eq!(drain(&mut table), [release(1, A, 3)]);
        assert_eq!(table.queued(), 0);
    }

    #[test]
    fn reachable_is_refreshed_by_unicast() {
        let mut table = in_state(Some(State::Reachable));
        table.handle_timeout(REACHABLE - 1);
        assert_eq!(drain(&mut table), []);
        table.handle_timeout(REACHABLE);
        assert_eq!(drain(&mut table), [ask(1, Some(A))]);
        assert_eq!(table.state(P, addr(1)), Some(State::Probe));
        assert_eq!(table.resolved().count(), 1, "usable while it is probed");
        table.report(REACHABLE + MS, report(1, Some(A), ANSWER));
        assert_eq!(table.state(P, addr(1)), Some(State::Reachable));
        assert!(!table.take_changed());
        table.handle_timeout(2 * REACHABLE);
        assert_eq!(drain(&mut table), []);
    }

    #[test]
    fn a_probe_without_answer_takes_the_entry_away() {
        let mut table = in_state(Some(State::Reachable));
        for second in 0..3 {
            table.handle_timeout(REACHABLE + second * SECOND);
            assert_eq!(drain(&mut table), [ask(1, Some(A))], "{second}");
        }
        table.handle_timeout(REACHABLE + 3 * SECOND);
        assert_eq!(drain(&mut table), []);
        assert!(table.is_empty() && table.take_changed());
    }

    /// RFC 4861 §7.2.3, §7.2.5 and Appendix C; RFC 826. Each state, each report: state, address, published.
    #[test]
    fn every_state_and_every_report() {
        use State::*;
        let na = |solicited, overrides| Kind::Advertised { solicited, overrides };
        type Row = (Option<State>, Option<Mac>, Kind, Option<(State, Option<Mac>)>);
        let rows: Vec<Row> = vec![
            (None, Some(A), Kind::Asked, Some((Stale, Some(A)))),
            (None, None, Kind::Asked, None),
            (None, Some(A), Kind::Overheard, None),
            (None, Some(A), na(true, true), None),
            (Some(Incomplete), Some(B), Kind::Asked, Some((Stale, Some(B)))),
            (Some(Incomplete), Some(B), Kind::Overheard, Some((Stale, Some(B)))),
            (Some(Incomplete), Some(B), na(true, false), Some((Reachable, Some(B)))),
            (Some(Incomplete), Some(B), na(false, true), Some((Stale, Some(B)))),
            (Some(Incomplete), None, na(true, true), Some((Incomplete, None))),
            (Some(Reachable), Some(A), Kind::Asked, Some((Reachable, Some(A)))),
            (Some(Reachable), None, Kind::Asked, Some((Reachable, Some(A)))),
            (Some(Reachable), Some(B), Kind::Asked, Some((Stale, Some(B)))),
            (Some(Reachable), Some(B), Kind::Overheard, Some((Stale, Some(B)))),
            (Some(Reachable), Some(A), na(true, false), Some((Reachable, Some(A)))),
            (Some(Reachable), Some(B), na(true, false), Some((Stale, Some(A)))),
            (Some(Reachable), Some(B), na(false, false), Some((Stale, Some(A)))),
            (Some(Reachable), Some(B), na(true, true), Some((Reachable, Some(B)))),
            (Some(Reachable), Some(B), na(false, true), Some((Stale, Some(B)))),
            (Some(Reachable), Some(A), na(false, true), Some((Reachable, Some(A)))),
            (Some(Reachable), None, na(false, false), Some((Reachable, Some(A)))),
            (Some(Stale), Some(A), na(true, false), Some((Reachable, Some(A)))),
            (Some(Stale), Some(B), na(true, false), Some((Stale, Some(A)))),
            (Some(Stale), Some(B), na(true, true), Some((Reachable, Some(B)))),
            (Some(Stale), None, na(true, true), Some((Reachable, Some(A)))),
            (Some(Stale), Some(A), na(false, true), Some((Stale, Some(A)))),
            (Some(Probe), Some(A), Kind::Asked, Some((Probe, Some(A)))),
            (Some(Probe), Some(B), Kind::Asked, Some((Stale, Some(B)))),
            (Some(Probe), Some(A), na(true, false), Some((Reachable, Some(A)))),
            (Some(Probe), None, na(true, false), Some((Reachable, Some(A)))),
            (Some(Probe), Some(B), na(false, false), Some((Probe, Some(A)))),
            (Some(Probe), Some(B), na(false, true), Some((Stale, Some(B)))),
        ];
        for (before, mac, kind, after) in rows {
            let mut table = in_state(before);
            let published: Vec<_> = table.resolved().collect();
            table.report(6 * SECOND, report(1, mac, kind));
            let found = table.state(P, addr(1)).map(|state| (state, table.resolved().next().map(|n| n.mac)));
            assert_eq!(found, after, "{before:?} {mac:?} {kind:?}");
            let changed = published != table.resolved().collect::<Vec<_>>();
            assert_eq!(table.take_changed(), changed, "{before:?} {mac:?} {kind:?}");
        }
    }

    #[test]
    fn a_stale_entry_is_probed_by_itself() {
        let mut table = in_state(Some(State::Stale));
        table.handle_timeout(STALE);
        assert_eq!(drain(&mut table), [ask(1, Some(A))]);
    }

    #[test]
    fn the_queue_keeps_the_newest() {
        let mut table = Neighbours::new(Limits { queue: 2, ..Limits::default() });
        for packet in 1..=4 {
            table.resolve(0, P, addr(1), packet);
        }
        let full = |packet| fail(1, packet, Failure::QueueFull);
        assert_eq!(drain(&mut table), [ask(1, None), full(1), full(2)]);
        assert_eq!(table.queued(), 2);
    }

    #[test]
    fn all_queues_together_are_bounded() {
        let mut table = Neighbours::new(Limits { queued: 2, ..Limits::default() });
        table.resolve(0, P, addr(1), 1);
        table.resolve(0, P, addr(1), 2);
        table.resolve(0, P, addr(2), 3);
        table.resolve(0, P, addr(1), 4);
        let outputs = drain(&mut table);
        assert_eq!(
            outputs,
            [ask(1, None), ask(2, None), fail(2, 3, Failure::QueueFull), fail(1, 1, Failure::QueueFull)]
        );
        assert_eq!(table.queued(), 2);
    }

    #[test]
    fn a_full_table_gives_up_the_oldest_unresolved_then_the_unconfirmed() {
        let mut table = Neighbours::new(Limits { entries: 3, ..Limits::default() });
        table.resolve(0, P, addr(1), 1);
        table.report(0, report(1, Some(A), ANSWER));
        table.report(1, report(2, Some(A), Kind::Asked));
        table.resolve(2, P, addr(3), 3);
        drain(&mut table);
        table.resolve(3, P, addr(4), 4);
        assert_eq!(drain(&mut table), [fail(3, 3, Failure::TableFull), ask(4, None)]);
        table.report(3, report(4, Some(B), ANSWER));
        drain(&mut table);
        table.resolve(4, P, addr(5), 5);
        assert_eq!(drain(&mut table), [ask(5, None)]);
        assert_eq!(table.state(P, addr(2)), None, "the stale one went");
        table.report(4, report(5, Some(B), ANSWER));
        drain(&mut table);
        table.resolve(5, P, addr(6), 6);
        assert_eq!(drain(&mut table), [fail(6, 6, Failure::TableFull)]);
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn the_oldest_goes_whatever_its_address() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
            let mut table = Neighbours::new(Limits { entries: 3, ..Limits::default() });
            for (now, n) in (0..).zip(order) {
                table.resolve(now, P, addr(n), u32::from(n));
            }
            drain(&mut table);
            table.resolve(9, P, addr(9), 9);
            let failed = fail(order[0], u32::from(order[0]), Failure::TableFull);
            assert_eq!(drain(&mut table), [failed, ask(9, None)], "{order:?}");
        }
    }

    #[test]
    fn strangers_push_nobody_out() {
        let mut table = Neighbours::<u32>::new(Limits { entries: 2, ..Limits::default() });
        for n in 1..=200 {
            table.report(0, report(n, Some(A), Kind::Asked));
        }
        assert_eq!(table.len(), 2);
        assert!(table.state(P, addr(1)).is_some());
    }

    #[test]
    fn the_same_address_on_two_ports_is_two_stations() {
        let mut table = Neighbours::<u32>::new(Limits::default());
        table.report(0, report(1, Some(A), Kind::Asked));
        table.report(0, Report { port: PortId(1), ..report(1, Some(B), Kind::Asked) });
        assert_eq!(table.resolved().map(|n| n.mac).collect::<Vec<_>>(), [A, B]);
    }

    #[test]
    fn a_conflict_is_told_and_defended_once_in_ten_seconds() {
        let mut table = Neighbours::<u32>::new(Limits::default());
        let told = |table: &mut Neighbours<u32>, now| {
            table.conflict(now, P, addr(1), B);
            drain(table)
        };
        let both = [Output::Conflict { port: P, addr: addr(1), mac: B }, Output::Announce { port: P, addr: addr(1) }];
        assert_eq!(told(&mut table, 0), both);
        assert_eq!(told(&mut table, DEFEND - 1), []);
        assert_eq!(told(&mut table, DEFEND), both);
        assert!(table.is_empty(), "a conflict teaches nothing");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Resolve(u8),
        Report(u8, Option<u8>, Kind),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let kind = prop_oneof![
            Just(Kind::Asked),
            Just(Kind::Overheard),
            any::<(bool, bool)>().prop_map(|(solicited, overrides)| Kind::Advertised { solicited, overrides }),
        ];
        prop_oneof![
            3 => (0u8..12).prop_map(Step::Resolve),
            2 => (0u8..12, proptest::option::of(0u8..3), kind).prop_map(|(n, mac, kind)| Step::Report(n, mac, kind)),
            2 => (0u64..6000).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Every packet comes back exactly once, limits hold, `changed` is honest, and silence ends everything.
        #[test]
        fn nothing_is_lost_or_doubled(steps in proptest::collection::vec(step(), 1..120)) {
            let limits = Limits { entries: 6, queue: 3, queued: 8 };
            let mut table = Neighbours::new(limits);
            let (mut now, mut given, mut back) = (0, 0u32, Vec::new());
            let mut published: Vec<Neighbour> = Vec::new();
            let end = [Step::Wait(4000), Step::Wait(40_000), Step::Wait(1000), Step::Wait(1000), Step::Wait(1000), Step::Wait(1000)];
            for step in steps.into_iter().chain(end) {
                match step {
                    Step::Resolve(n) => {
                        table.resolve(now, P, addr(n), given);
                        given += 1;
                    }
                    Step::Report(n, mac, kind) => {
                        let mac = mac.map(|m| Mac([2, 0, 0, 0, 0, m]));
                        table.report(now, report(n, mac, kind));
                    }
                    Step::Wait(ms) => {
                        now += ms * MS;
                        table.handle_timeout(now);
                    }
                }
                for output in drain(&mut table) {
                    match output {
                        Output::Release { packet, .. } | Output::Fail { packet, .. } => back.push(packet),
                        Output::Solicit { addr, to, .. } => {
                            let known = table.resolved().find(|n| n.addr == addr).map(|n| n.mac);
                            prop_assert!(to.is_none() || to == known);
                        }
                        Output::Conflict { .. } | Output::Announce { .. } => prop_assert!(false, "no conflict was there"),
                    }
                }
                let resolved: Vec<_> = table.resolved().collect();
                prop_assert!(table.take_changed() || resolved == published);
                published = resolved;
                prop_assert!(table.len() <= limits.entries && table.queued() <= limits.queued);
                prop_assert_eq!(table.queued() + back.len(), given as usize);
                prop_assert!(table.poll_timeout().is_some() || table.is_empty());
            }
            back.sort_unstable();
            prop_assert_eq!(back, (0..given).collect::<Vec<_>>());
            prop_assert!(table.is_empty());
        }
    }
}
