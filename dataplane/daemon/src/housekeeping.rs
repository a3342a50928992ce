//! The thread beside the workers: commands and messages of control, punts of the workers, ages, counters of the ports.

use crate::clock::Clock;
use crate::error::Error;
use crate::io::{Exits, Punts};
use crate::packet::Packet;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use culvert_cipher::Provider;
use culvert_engine::{Counters, Housekeeping, Tick};
use culvert_link::record::{Command, Datagram};
use culvert_link::{CounterBlock, DataplaneEnd, PushError, Region, RingError};
use culvert_telemetry::{DropReason, PortCounter, layout};
use dpdk::Port;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use zeroize::Zeroize;

/// Of each kind in one round, so that none keeps the others waiting.
const COMMANDS: usize = 64;
const MESSAGES: usize = 64;
const PUNTED: usize = 256;
/// The engine asks for 10 to 100 ms.
const TICK_EVERY: Tick = 10_000_000;
const COUNTERS_EVERY: Tick = 100_000_000;
const SLEEP: Duration = Duration::from_micros(500);
/// Longer than control takes to tell its peers that it ends.
pub const CONTROL_GRACE: Tick = 4_000_000_000;

/// A worker's thread, and its core.
pub type Running = (u16, JoinHandle<()>);

pub struct Loop<A: Provider> {
    pub engine: Housekeeping<A, Packet>,
    pub link: DataplaneEnd,
    pub exits: Exits,
    pub punts: Arc<Punts>,
    pub counters: Counters,
    pub ports: Vec<(Port, CounterBlock)>,
    pub clock: Clock,
    /// How long to go on for control's sake when told to stop.
    pub grace: Tick,
}

/// What the ports' counters are shown in.
pub fn with_counters(ports: Vec<Port>, region: &Region) -> Option<Vec<(Port, CounterBlock)>> {
    let numbered = ports.into_iter().enumerate();
    numbered.map(|(index, port)| Some((port, region.port_counters(index)?))).collect()
}

impl<A: Provider> Loop<A> {
    /// Until told to stop, or until a worker dies.
    pub fn run(mut self, workers: &[Running], stop: &AtomicBool) -> Result<(), Error> {
        let (mut record, mut unsent) = (Vec::new(), None);
        let (mut next_tick, mut next_counters) = (0, 0);
        let mut complaints = Complaints::default();
        let mut told = None;
        while !self.is_over(stop, &mut told) {
            let now = self.clock.now();
            let mut busy = self.commands(now, &mut record, &mut complaints);
            busy |= self.messages(now, &mut record, &mut complaints);
            for punt in self.punts.take(PUNTED) {
                busy = true;
                self.engine.handle_punt(now, punt, &mut self.exits);
            }
            busy |= self.take_from_host(now);
            if now >= next_tick {
                next_tick = now + TICK_EVERY;
                self.engine.tick(now, &mut self.exits);
            }
            self.report(&mut record, &mut unsent);
            if now >= next_counters {
                next_counters = now + COUNTERS_EVERY;
                self.show_counters();
                if let Some((core, _)) = workers.iter().find(|(_, thread)| thread.is_finished()) {
                    return Err(Error::WorkerDied(*core));
                }
            }
            if !busy {
                thread::sleep(SLEEP);
            }
        }
        Ok(())
    }

    fn take_from_host(&mut self, now: Tick) -> bool {
        let mut packets = self.exits.receive_from_host();
        let busy = !packets.is_empty();
        if busy {
            self.engine.handle_host(now, &mut packets, &mut self.exits);
        }
        busy
    }

    /// Told to stop, and control is gone or has had its time: one signal may have gone to both.
    fn is_over(&self, stop: &AtomicBool, told: &mut Option<Tick>) -> bool {
        if !stop.load(Ordering::Relaxed) {
            return false;
        }
        let now = self.clock.now();
        let since = *told.get_or_insert(now);
        now.saturating_sub(since) >= self.grace || !self.link.control_alive()
    }

    fn commands(&mut self, now: Tick, record: &mut Vec<u8>, complaints: &mut Complaints) -> bool {
        let mut taken = 0;
        while taken < COMMANDS {
            match self.link.commands.pop(record) {
                Ok(Some(bytes)) => match Command::decode(bytes) {
                    Ok((token, command)) => self.engine.apply(now, token, command),
                    Err(error) => {
                        tracing::warn!("a command of control could not be read: {error}");
                        if let Some(token) = Command::peek_token(bytes) {
                            self.engine.refuse_malformed(token);
                        }
                    }
                },
                Ok(None) => break,
                Err(error) => complaints.ring("commands", &error),
            }
            // It may have held keys.
            record.zeroize();
            taken += 1;
        }
        if taken > 0 {
            // Only now: had this process died before, its successor would find them again.
            self.link.commands.commit();
        }
        taken > 0
    }

    fn messages(&mut self, now: Tick, record: &mut Vec<u8>, complaints: &mut Complaints) -> bool {
        let mut taken = 0;
        while taken < MESSAGES {
            match self.link.inject.pop(record) {
                Ok(Some(bytes)) => match Datagram::decode(bytes) {
                    Ok(message) => self.engine.inject(now, &message, &mut self.exits),
                    Err(error) => {
                        tracing::warn!("a message of control could not be read: {error}");
                        self.counters.drop(DropReason::IkeMalformed);
                    }
                },
                Ok(None) => break,
                Err(error) => complaints.ring("messages", &error),
            }
            taken += 1;
        }
        if taken > 0 {
            self.link.inject.commit();
        }
        taken > 0
    }

    /// What the engine has for control. An event that finds the ring full (or its index scribbled on, which the reader mends) waits in `unsent`, and those after it wait in
    /// the engine; a message is dropped, for its peer will send it again.
    fn report(&mut self, record: &mut Vec<u8>, unsent: &mut Option<Vec<u8>>) {
        loop {
            if let Some(waiting) = unsent.take()
                && matches!(self.link.events.push(&waiting), Err(PushError::Full | PushError::PeerCorrupt { .. }))
            {
                *unsent = Some(waiting);
                break;
            }
            let Some(event) = self.engine.poll_event() else { break };
            let mut encoded = Vec::new();
            event.encode(&mut encoded);
            *unsent = Some(encoded);
        }
        while let Some(message) = self.engine.poll_datagram() {
            record.clear();
            if message.encode(record).is_err() || self.link.punt.push(record).is_err() {
                self.counters.drop(DropReason::PuntFull);
            }
        }
    }

    fn show_counters(&self) {
        for (port, block) in &self.ports {
            let set = |counter, value| {
                if let Some(word) = block.get(layout::port_word(counter)) {
                    // Relaxed: readers only display it.
                    word.store(value, Ordering::Relaxed);
                }
            };
            if let Ok(stats) = port.stats() {
                set(PortCounter::RxPackets, stats.rx_packets);
                set(PortCounter::RxBytes, stats.rx_bytes);
                set(PortCounter::TxPackets, stats.tx_packets);
                set(PortCounter::TxBytes, stats.tx_bytes);
                set(PortCounter::RxMissed, stats.rx_missed);
                set(PortCounter::RxErrors, stats.rx_errors);
                set(PortCounter::TxErrors, stats.tx_errors);
                set(PortCounter::RxNoBuffer, stats.rx_no_buffer);
            }
            let link = port.link().unwrap_or_default();
            set(PortCounter::LinkUp, u64::from(link.up));
            set(PortCounter::LinkSpeedMbps, u64::from(link.speed_mbps.unwrap_or(0)));
        }
    }
}

/// Says once what could fill a log.
#[derive(Default)]
struct Complaints {
    rings: bool,
}

impl Complaints {
    fn ring(&mut self, ring: &str, error: &RingError) {
        if !self.rings {
            tracing::error!("the ring of {ring} from control is damaged: {error}; what was in it is lost");
            self.rings = true;
        }
    }
}
