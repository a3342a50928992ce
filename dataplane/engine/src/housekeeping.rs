//! Everything that is not per packet: one thread, beside the workers.
//!
//! Sans-I/O: `apply`, `handle_punt`, `inject` and `tick` go in; events, datagrams and answers come out of `poll_event` and
//! `poll_datagram`, which the caller drains after every call. Frames leave by the [`Io`] of the call.

use crate::buffer::Buffer;
use crate::counters::Counters;
use crate::crypto::Crypto;
use crate::fragment::reassembly::{self, Reassembler};
use crate::host::{Limits, Neighbours, TokenBucket};
use crate::io::{PortId, Punt, Tick};
use crate::pmtu::PathMtus;
use crate::policies::Policies;
use crate::reassemble::Context;
use crate::retire::{Graveyard, Retired, Retiring};
use crate::sad::Sad;
use crate::shared::Shared;
use crate::worker::Worker;
use culvert_link::record::{Command, Datagram, Event, Refusal};
use culvert_model::{Action, SlotIndex};
use culvert_telemetry::WorkerCounter;
use culvert_wire::Mac;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Reports that wait while control does not read. Answers to its own commands are not counted: it bounds those itself.
const MAX_REPORTS: usize = 8192;
/// IKE messages that wait while control does not read.
pub(crate) const MAX_DATAGRAMS: usize = 1024;
/// With so many waiting, none longer than this is taken any more: all together stay below 4 MiB.
pub(crate) const MAX_LARGE_DATAGRAMS: usize = 32;
pub(crate) const LARGE_MESSAGE: usize = 2048;

/// Applies commands, answers ARP, neighbour discovery and ICMP, watches ages.
pub struct Housekeeping<A: Crypto, B> {
    pub(crate) shared: Arc<Shared<A>>,
    /// The packet path for what the box itself sends.
    pub(crate) own: Worker<A>,
    pub(crate) sad: Sad<A>,
    policies: Policies,
    graveyard: Graveyard<A::Key>,
    events: VecDeque<Event>,
    pub(crate) datagrams: VecDeque<Datagram>,
    /// Where the watch over ages goes on.
    pub(crate) cursor: SlotIndex,
    pub(crate) neighbours: Neighbours<B>,
    /// By which port of a bridge a neighbour was heard.
    pub(crate) stations: BTreeMap<Mac, PortId>,
    pub(crate) paths: PathMtus,
    pub(crate) path_news: TokenBucket,
    pub(crate) fragments: Reassembler<B, Context>,
    pub(crate) errors: TokenBucket,
    pub(crate) echoes: TokenBucket,
    /// What the box's own packets came back with.
    pub(crate) returned: VecDeque<Punt<B>>,
    /// Frame or packet being written.
    pub(crate) scratch: Vec<u8>,
    pub(crate) identification: u16,
    pub(crate) announced: bool,
}

/// ICMP errors: as many in a second, and at once (RFC 4443 §2.4(f) asks for a limit).
const ERRORS: (u32, u32) = (100, 50);
/// Echo replies: above any ping, below a flood.
const ECHOES: (u32, u32) = (2000, 1000);

/// ICMP errors about tunnel packets that are looked into.
const PATH_NEWS: (u32, u32) = (100, 50);

impl<A: Crypto, B: Buffer> Housekeeping<A, B> {
    /// `index` is the thread's counter block in the link; `None` where the link has no such block.
    pub fn new(shared: Arc<Shared<A>>, index: usize, aead: A, now: Tick) -> Option<Self> {
        Some(Self {
            own: Worker::new(shared.clone(), index, aead)?,
            sad: Sad::new(shared.clone()),
            policies: Policies::new(),
            graveyard: Graveyard::new(),
            events: VecDeque::new(),
            datagrams: VecDeque::new(),
            cursor: SlotIndex(0),
            stations: BTreeMap::new(),
            neighbours: Neighbours::new(Limits::default()),
            paths: PathMtus::default(),
            path_news: TokenBucket::new(PATH_NEWS.0, PATH_NEWS.1, now),
            fragments: Reassembler::new(reassembly::Limits::default()),
            errors: TokenBucket::new(ERRORS.0, ERRORS.1, now),
            echoes: TokenBucket::new(ECHOES.0, ECHOES.1, now),
            returned: VecDeque::new(),
            scratch: Vec::new(),
            identification: 0,
            announced: false,
            shared,
        })
    }

    /// The thread's counters, for what the caller counts.
    pub fn counters(&self) -> &Counters {
        &self.own.counters
    }

    /// Does as control says. The answer is an [`Event::Done`] with the token: at once, or, where SAs go, when no worker
    /// uses them any more.
    pub fn apply(&mut self, now: Tick, token: u64, command: Command) {
        let mut retired = Retiring::new();
        match self.execute(now, command, &mut retired) {
            Ok(()) => {
                self.own.counters.add(WorkerCounter::CommandsApplied, 1);
                self.graveyard.put(Some(token), retired);
                self.reclaim();
            }
            Err(refusal) => {
                self.own.counters.add(WorkerCounter::CommandsRefused, 1);
                self.graveyard.put(None, retired);
                self.events.push_back(Event::Done { token, result: Err(refusal) });
            }
        }
    }

    /// A record of the command ring that could not be read is refused by its token, where that much was legible.
    pub fn refuse_malformed(&mut self, token: u64) {
        self.own.counters.add(WorkerCounter::CommandsRefused, 1);
        self.events.push_back(Event::Done { token, result: Err(Refusal::Malformed) });
    }

    fn execute(&mut self, now: Tick, command: Command, retired: &mut Retiring<A::Key>) -> Result<(), Refusal> {
        match command {
            Command::Install(spec) => {
                self.sad.install(now, &spec, retired)?;
                self.know_path(spec.slot);
                Ok(())
            }
            Command::Remove { slot, spi, direction } => self.sad.remove(slot, spi, direction, retired),
            Command::RetireOrphans { child, keep } => {
                self.sad.retire_orphans(child, &keep, retired);
                Ok(())
            }
            Command::UpdateTunnel { slot, spi, tunnel, encapsulation } => {
                self.sad.update_tunnel(slot, spi, tunnel, encapsulation, retired)?;
                self.know_path(slot);
                Ok(())
            }
            Command::BeginSync => {
                self.policies.begin();
                Ok(())
            }
            Command::SetPolicy(policy) => {
                if let Action::Protect { child, .. } = policy.action
                    && self.shared.outbound.len() <= child.0 as usize
                {
                    return Err(Refusal::TableFull);
                }
                let changed = self.policies.set(policy);
                self.publish_policies(changed, retired);
                Ok(())
            }
            Command::RemovePolicy(id) => {
                let changed = self.policies.remove(id).ok_or(Refusal::UnknownPolicy)?;
                self.publish_policies(changed, retired);
                Ok(())
            }
            Command::EndSync => {
                self.policies.end().ok_or(Refusal::NotInSync)?;
                self.publish_policies(true, retired);
                self.shared.open();
                Ok(())
            }
        }
    }

    fn publish_policies(&mut self, changed: bool, retired: &mut Retiring<A::Key>) {
        if changed {
            let old = self.shared.spd.swap(Arc::new(self.policies.numbered()));
            retired.push(Retired::Spd(old));
        }
    }

    /// What control should hear.
    pub fn poll_event(&mut self) -> Option<Event> {
        if !self.graveyard.is_empty() {
            self.reclaim();
        }
        self.events.pop_front()
    }

    /// An IKE message for control.
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        self.datagrams.pop_front()
    }

    /// Tells control, unless it has not listened for long.
    pub(crate) fn report(&mut self, event: Event) {
        if self.has_room(1) {
            self.events.push_back(event);
        }
    }

    pub(crate) fn has_room(&self, reports: usize) -> bool {
        self.events.len() + reports <= MAX_REPORTS
    }

    pub(crate) fn retire(&mut self, retired: Retired<A::Key>) {
        self.graveyard.put(None, vec![retired]);
    }

    pub(crate) fn reclaim(&mut self) {
        let done = self.graveyard.reclaim().into_iter().map(|token| Event::Done { token, result: Ok(()) });
        self.events.extend(done);
    }
}
