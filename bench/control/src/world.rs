//! Two endpoints in one process: one that begins every tunnel and one that answers, each with a connection per tunnel.
//!
//! What one says reaches the other in waves: first everything the initiator has to say, then everything the responder
//! has. So the processor time of a wave is one side's alone, and the clock is read once a wave, not once a message.

use crate::clock::{Stopwatch, ThreadTime};
use crate::sites::{self, Side};
use core::time::Duration;
use culvert_crypto::{AwsLc, Provider};
use culvert_ike::{ComputeJob, Datagram, Endpoint, Event, Output, Report, SpiSource};
use culvert_model::{ChildId, SlotIndex, Spi};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Slots for SAs, and SPIs that name them.
struct Slots {
    free: VecDeque<u32>,
    used: u32,
    most: u32,
}

impl SpiSource for Slots {
    fn allocate(&mut self) -> Option<(Spi, SlotIndex)> {
        let slot = self.allocate_outbound()?;
        Some((Spi::new(slot.0 | 1 << 24).ok()?, slot))
    }

    fn allocate_outbound(&mut self) -> Option<SlotIndex> {
        if self.used < self.most {
            self.used += 1;
            return Some(SlotIndex(self.used - 1));
        }
        self.free.pop_front().map(SlotIndex)
    }

    fn release(&mut self, slot: SlotIndex) {
        self.free.push_back(slot.0);
    }
}

/// One endpoint and what it cost so far.
pub struct Node {
    pub endpoint: Endpoint,
    pub spent: Spent,
    /// Octets its calls have allocated and not freed again; counted in tests only.
    pub held: i64,
    pub counts: Counts,
}

/// Processor time.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    /// In the endpoint.
    pub protocol: Duration,
    /// In its public-key operations.
    pub public_key: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub ike_up: u64,
    pub child_up: u64,
    pub ike_rekeyed: u64,
    pub child_rekeyed: u64,
    pub down: u64,
    pub failed: u64,
    pub messages: u64,
}

pub struct World {
    pub nodes: [Node; 2],
    pub now: Instant,
    /// For each side: datagrams that have arrived, answers of the data plane.
    inbox: [Vec<Datagram>; 2],
    settled: [Vec<u64>; 2],
    provider: Arc<dyn Provider>,
}

pub const INITIATOR: usize = 0;
pub const RESPONDER: usize = 1;

impl World {
    /// `tunnels` connections on either side, none of them up.
    pub fn new(tunnels: u32, dpd: Duration) -> Self {
        let provider: Arc<dyn Provider> = Arc::new(AwsLc);
        let nodes = [Side::Initiator, Side::Responder].map(|side| {
            // A rekey has two pairs at once, and removed ones linger.
            let slots = Slots { free: VecDeque::new(), used: 0, most: tunnels * 6 + 64 };
            let (held, endpoint) =
                counted(|| Endpoint::new(sites::config(side, tunnels, dpd), provider.clone(), Box::new(slots)));
            Node { endpoint, spent: Spent::default(), held, counts: Counts::default() }
        });
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
        let now = Instant::now();
        Self { nodes, now, inbox: Default::default(), settled: Default::default(), provider }
    }

    /// Brings tunnels up, so many at a time, and waits for all of them.
    pub fn set_up(&mut self, children: core::ops::Range<u32>, at_once: usize) {
        let all: Vec<u32> = children.collect();
        for some in all.chunks(at_once) {
            self.act(INITIATOR, |endpoint, now| {
                for child in some {
                    endpoint.handle_event(now, Event::Initiate { child: ChildId(*child) });
                }
            });
            self.quiesce();
        }
    }

    /// Lets virtual time pass up to `until`, with every timer on its way.
    pub fn pass(&mut self, until: Instant) {
        loop {
            let due = self.nodes.iter().filter_map(|node| node.endpoint.poll_timeout()).min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            // All that falls due within this time is done together, as by a daemon that looks every millisecond.
            self.now = self.now.max(due + Duration::from_millis(1)).min(until.max(due));
            for side in [INITIATOR, RESPONDER] {
                self.act(side, |endpoint, now| endpoint.handle_timeout(now));
            }
            self.quiesce();
        }
        self.now = until;
    }

    /// Until nobody has anything to say.
    pub fn quiesce(&mut self) {
        while [INITIATOR, RESPONDER]
            .into_iter()
            .any(|side| !self.inbox[side].is_empty() || !self.settled[side].is_empty())
        {
            for side in [INITIATOR, RESPONDER] {
                let datagrams = std::mem::take(&mut self.inbox[side]);
                let settled = std::mem::take(&mut self.settled[side]);
                self.act(side, |endpoint, now| {
                    for token in settled {
                        endpoint.handle_event(now, Event::Done { token, result: Ok(()) });
                    }
                    for datagram in datagrams {
                        endpoint.handle_datagram(now, &datagram);
                    }
                });
            }
        }
    }

    /// One side does something, and what follows of it until it waits for others.
    fn act(&mut self, side: usize, work: impl FnOnce(&mut Endpoint, Instant)) {
        let (now, provider) = (self.now, self.provider.clone());
        let [own, other] = if side == INITIATOR { [0, 1] } else { [1, 0] };
        let mut sent = Vec::new();
        let mut settled = Vec::new();
        let node = &mut self.nodes[own];
        let (held, ()) = counted(|| {
            let mut jobs = node.timed(|node| {
                work(&mut node.endpoint, now);
                node.drain(&mut sent, &mut settled)
            });
            while !jobs.is_empty() {
                let clock = Stopwatch::<ThreadTime>::start();
                let results: Vec<_> = jobs.into_iter().map(|job| job.run(&*provider)).collect();
                node.spent.public_key += clock.elapsed();
                jobs = node.timed(|node| {
                    for result in results {
                        node.endpoint.handle_event(now, Event::Computed(result));
                    }
                    node.drain(&mut sent, &mut settled)
                });
            }
        });
        node.held += held;
        // What leaves a side belongs to nobody: it is not this side's memory, nor the other's when it drops it.
        let payloads: usize = sent.iter().map(|datagram: &Datagram| datagram.payload.capacity()).sum();
        let lists = sent.capacity() * size_of::<Datagram>() + settled.capacity() * size_of::<u64>();
        self.nodes[own].held -= (payloads + lists) as i64;
        self.nodes[other].held += payloads as i64;
        self.inbox[other].append(&mut sent);
        self.settled[own].append(&mut settled);
    }

    /// One event, and all that follows of it.
    pub fn tell(&mut self, side: usize, event: Event) {
        self.act(side, |endpoint, now| endpoint.handle_event(now, event));
        self.quiesce();
    }

    /// Of the initiator's first tunnels.
    pub fn inbound_spis(&self, some: usize) -> Vec<Spi> {
        let status = self.nodes[INITIATOR].endpoint.status(self.now);
        status.iter().take(some).filter_map(|sa| sa.children.first()).map(|child| child.spi_in).collect()
    }

    /// Starts to count time anew.
    pub fn reset_clock(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.spent = Spent::default());
    }
}

/// Octets that are allocated and not freed by it, in tests: counting each would cost more than what is measured.
fn counted<T>(work: impl FnOnce() -> T) -> (i64, T) {
    #[cfg(test)]
    {
        let mut done = None;
        let info = allocation_counter::measure(|| done = Some(work()));
        (info.bytes_current, done.unwrap_or_else(|| unreachable!("it has run")))
    }
    #[cfg(not(test))]
    (0, work())
}

impl Node {
    fn timed<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let clock = Stopwatch::<ThreadTime>::start();
        let done = work(self);
        self.spent.protocol += clock.elapsed();
        done
    }

    /// Everything the endpoint has to say; what it wants computed.
    fn drain(&mut self, sent: &mut Vec<Datagram>, settled: &mut Vec<u64>) -> Vec<ComputeJob> {
        let mut jobs = Vec::new();
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit(datagram) => {
                    self.counts.messages += 1;
                    // As the other side receives it.
                    let Datagram { local, remote, payload } = datagram;
                    sent.push(Datagram { local: remote, remote: local, payload });
                }
                Output::Install { token, .. } | Output::Remove { token, .. } => settled.push(token),
                Output::Move { .. } => {}
                Output::Compute(job) => jobs.push(job),
                Output::Report(report) => self.counts.take(&report),
            }
        }
        jobs
    }
}

impl Counts {
    fn take(&mut self, report: &Report) {
        let count = match report {
            Report::IkeUp { .. } => &mut self.ike_up,
            Report::ChildUp { .. } => &mut self.child_up,
            Report::IkeRekeyed { .. } => &mut self.ike_rekeyed,
            Report::ChildRekeyed { .. } => &mut self.child_rekeyed,
            Report::IkeDown { .. } => &mut self.down,
            Report::ChildDown { reason: culvert_ike::DownReason::Rekeyed, .. } => return,
            Report::ChildDown { .. } => &mut self.down,
            _ => &mut self.failed,
        };
        *count += 1;
    }
}
