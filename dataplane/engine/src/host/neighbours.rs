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
    /// Packets waiting for one neighbour.
    pub queue: usize,
    /// Packets waiting in all: they are buffers taken from the pool.
    pub queued: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 4096, queue: 16, queued: 1024 }
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
