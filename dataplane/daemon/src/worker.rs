//! One worker: takes from its queues, runs the packet path, sends. The whole loop is on this page.

use crate::clock::Clock;
use crate::io::{Exits, Inbox};
use crate::packet::Packet;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use culvert_config::Idle;
use culvert_engine::{BURST, Crypto, Io, PortId, Shared, Worker};
use culvert_telemetry::{DropReason, WorkerCounter};
use dpdk::{Burst, RxQueue};
use std::sync::Arc;
use std::thread;

/// Frames taken from the inbox in one round.
const HANDED_OVER: usize = 64;
/// Empty rounds before the first sleep.
const PATIENCE: u32 = 256;
const FIRST_SLEEP: Duration = Duration::from_micros(10);
/// Leaves room below the promised millisecond.
const LONGEST_SLEEP: Duration = Duration::from_micros(250);

/// What a worker thread owns.
pub struct Loop<A: Crypto> {
    pub engine: Worker<A>,
    pub shared: Arc<Shared<A>>,
    pub rx: Vec<(PortId, RxQueue)>,
    pub exits: Exits,
    pub inbox: Arc<Inbox>,
    pub clock: Clock,
    pub idle: Idle,
    pub stop: Arc<AtomicBool>,
}

impl<A: Crypto> Loop<A> {
    /// Until told to stop. Returns with its queues, so that their ports can close.
    pub fn run(mut self) {
        // Nothing is taken from a port, or sent, before the first policies are in.
        while !self.shared.is_open() {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(LONGEST_SLEEP);
        }
        let (mut empty_rounds, mut pause) = (0_u32, FIRST_SLEEP);
        let mut last = dpdk::rdtsc();
        while !self.stop.load(Ordering::Relaxed) {
            let busy;
            (busy, last) = self.turn(last);
            if busy {
                (empty_rounds, pause) = (0, FIRST_SLEEP);
                continue;
            }
            empty_rounds = empty_rounds.saturating_add(1);
            if self.idle == Idle::Adaptive && empty_rounds > PATIENCE {
                let counters = self.engine.counters();
                counters.add(WorkerCounter::Sleeps, 1);
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_SLEEP);
                // Nobody worked meanwhile, and the next round asks what time it is.
                let woken = dpdk::rdtsc();
                counters.add(WorkerCounter::TotalCycles, woken.wrapping_sub(last));
                last = woken;
            }
        }
        self.exits.flush();
    }

    /// Once around all queues, with the counters of time. `last`: when the counter of cycles was read before. Says whether
    /// there was anything to do, and when it ended.
    pub fn turn(&mut self, last: u64) -> (bool, u64) {
        let busy = self.round(last);
        let now = dpdk::rdtsc();
        let cycles = now.wrapping_sub(last);
        let counters = self.engine.counters();
        counters.add(WorkerCounter::TotalCycles, cycles);
        if busy {
            counters.add(WorkerCounter::BusyCycles, cycles);
        }
        (busy, now)
    }

    /// Once around all queues; says whether there was anything to do.
    fn round(&mut self, cycles: u64) -> bool {
        let now = self.clock.at(cycles);
        let mut busy = false;
        for (port, queue) in &mut self.rx {
            let mut burst = Burst::new();
            let unjoinable = queue.unjoinable();
            let count = queue.rx_burst(&mut burst);
            let unjoined = queue.unjoinable() - unjoinable;
            busy |= unjoined > 0;
            self.engine.counters().drops(DropReason::Oversized, unjoined);
            if count == 0 {
                self.engine.counters().add(WorkerCounter::EmptyPolls, 1);
                continue;
            }
            busy = true;
            let mut packets: ArrayVec<Packet, BURST> = burst.drain(..).map(Packet).collect();
            let bytes = packets.iter().map(|packet| packet.0.data().len() as u64).sum();
            let counters = self.engine.counters();
            counters.add(WorkerCounter::Bursts, 1);
            counters.add(WorkerCounter::RxPackets, count as u64);
            counters.add(WorkerCounter::RxBytes, bytes);
            self.engine.run_burst(now, *port, &mut packets, &mut self.exits);
        }
        for (port, frame) in core::iter::from_fn(|| self.inbox.pop()).take(HANDED_OVER) {
            busy = true;
            self.exits.transmit(port, frame);
        }
        // What a port does not take now is tried again, but is no reason to stay awake: the port may be down.
        self.exits.flush();
        busy
    }
}
