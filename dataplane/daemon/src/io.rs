//! The ports and queues of one thread.
//!
//! A port that has a transmit queue for each worker is used directly. Otherwise one worker owns its only queue, and
//! everybody else, housekeeping always, hands frames over through that worker's inbox. All queues are bounded; what does
//! not fit is dropped and counted.

use crate::host::HostInterface;
use crate::packet::Packet;
use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;
use culvert_engine::{BURST, Counters, Io, PortId, Punt};
use culvert_telemetry::{DropReason, WorkerCounter};
use dpdk::{Burst, HEADROOM, Pool, TxQueue};
use std::sync::Arc;

/// Frames that other threads want sent by a worker.
pub type Inbox = ArrayQueue<(PortId, Packet)>;
/// What workers leave to housekeeping. Fragments wait apart, so that a flood of them keeps nothing else out.
pub struct Punts {
    fragments: ArrayQueue<Punt<Packet>>,
    others: ArrayQueue<Punt<Packet>>,
}

impl Default for Punts {
    fn default() -> Self {
        Self { fragments: ArrayQueue::new(PUNTS), others: ArrayQueue::new(PUNTS) }
    }
}

impl Punts {
    fn push(&self, item: Punt<Packet>) -> Result<(), Punt<Packet>> {
        match item {
            Punt::Fragment { .. } => self.fragments.push(item),
            _ => self.others.push(item),
        }
    }

    /// At most so many of each.
    pub fn take(&self, most: usize) -> impl Iterator<Item = Punt<Packet>> {
        let of = move |queue: &ArrayQueue<_>| (0..most).map_while(|_| queue.pop()).collect::<Vec<_>>();
        [&self.others, &self.fragments].into_iter().flat_map(of)
    }
}

/// Frames one inbox holds.
pub const INBOX: usize = 1024;
/// Punts of either kind that may wait for housekeeping.
pub const PUNTS: usize = 1024;

/// How this thread reaches a port.
#[expect(clippy::large_enum_variant, reason = "a handful per thread, and the large one is the hot one")]
pub enum Exit {
    /// By a queue of its own. What the queue had no room for waits in `pending`.
    Own { queue: TxQueue, pending: Burst },
    /// By the worker that has one.
    Other(Arc<Inbox>),
}

impl Exit {
    pub fn own(queue: TxQueue) -> Self {
        Self::Own { queue, pending: Burst::new() }
    }
}

/// Everything a thread sends by.
pub struct Exits {
    /// By port; nothing where an interface is no port.
    exits: Vec<Option<Exit>>,
    punts: Arc<Punts>,
    pool: Pool,
    /// For what is larger than `pool`'s buffers.
    large: Pool,
    counters: Counters,
    /// Only housekeeping has it.
    host: Option<HostInterface>,
}

impl Exits {
    pub fn new(exits: Vec<(PortId, Exit)>, punts: Arc<Punts>, (pool, large): (Pool, Pool), counters: Counters) -> Self {
        let mut by_port = Vec::new();
        for (port, exit) in exits {
            let index = usize::from(port.0);
            by_port.resize_with(by_port.len().max(index + 1), || None);
            by_port[index] = Some(exit);
        }
        Self { exits: by_port, punts, pool, large, counters, host: None }
    }

    pub fn with_host(self, host: Option<HostInterface>) -> Self {
        Self { host, ..self }
    }

    /// What the host's own stack has sent, a burst at most.
    pub fn receive_from_host(&mut self) -> ArrayVec<Packet, BURST> {
        let Some(host) = &mut self.host else { return ArrayVec::new() };
        host.receive(&self.pool, &self.large, |reason| self.counters.drop(reason))
    }

    /// Sends what is pending. What finds no room stays so.
    pub fn flush(&mut self) {
        for exit in self.exits.iter_mut().flatten() {
            if let Exit::Own { queue, pending } = exit {
                send(queue, pending, &self.counters);
            }
        }
    }
}

fn send(queue: &mut TxQueue, pending: &mut Burst, counters: &Counters) {
    if pending.is_empty() {
        return;
    }
    // The driver may free a buffer at once, so its length is read before.
    let lengths = |burst: &Burst| burst.iter().map(|packet| packet.data().len() as u64).sum::<u64>();
    let before = lengths(pending);
    let sent = queue.tx_burst(pending);
    counters.add(WorkerCounter::TxPackets, sent as u64);
    counters.add(WorkerCounter::TxBytes, before - lengths(pending));
}

#[cold]
fn shrunk(packet: Packet, pool: &Pool) -> Result<Packet, Packet> {
    let fits = packet.0.data().len() <= usize::from(pool.data_len());
    let copy = if fits { packet.0.copy_to(pool) } else { None };
    copy.map(Packet).ok_or(packet)
}

impl Io<Packet> for Exits {
    fn transmit(&mut self, port: PortId, frame: Packet) {
        // A card may keep a buffer until its ring has gone round.
        let frame = match self.compact(frame) {
            Ok(frame) => frame,
            // No port has an MTU that an ordinary buffer does not hold.
            Err(large) if large.0.data().len() > usize::from(self.pool.data_len()) => {
                return self.counters.drop(DropReason::Oversized);
            }
            Err(_) => return self.counters.drop(DropReason::NoBuffer),
        };
        match self.exits.get_mut(usize::from(port.0)).and_then(Option::as_mut) {
            Some(Exit::Own { queue, pending }) => {
                if pending.is_full() {
                    send(queue, pending, &self.counters);
                }
                if pending.try_push(frame.0).is_err() {
                    self.counters.drop(DropReason::TxFull);
                }
            }
            Some(Exit::Other(inbox)) => {
                if inbox.push((port, frame)).is_err() {
                    self.counters.drop(DropReason::TxFull);
                }
            }
            None => self.counters.drop(DropReason::InterfaceDown),
        }
    }

    fn to_housekeeping(&mut self, item: Punt<Packet>) -> Result<(), Punt<Packet>> {
        self.punts.push(item)
    }

    fn allocate(&mut self) -> Option<Packet> {
        self.pool.alloc().map(Packet)
    }

    fn allocate_large(&mut self, len: usize) -> Option<Packet> {
        self.large.alloc_for(len).map(Packet)
    }

    #[inline]
    fn compact(&mut self, packet: Packet) -> Result<Packet, Packet> {
        let ordinary = usize::from(self.pool.data_len()) + usize::from(HEADROOM);
        if packet.0.room() <= ordinary { Ok(packet) } else { shrunk(packet, &self.pool) }
    }

    fn to_host(&mut self, packet: Packet) -> Result<(), DropReason> {
        let host = self.host.as_ref().ok_or(DropReason::HostUnsupported)?;
        host.send(packet.0.data())
    }
}
