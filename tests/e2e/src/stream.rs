use culvert_lab::{Deadline, LabError, Namespace, wait_for};
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const PORT: u16 = 7001;
const PAYLOAD: usize = 400;
/// How long packets may be under way once the sender has stopped.
const SETTLE: Duration = Duration::from_millis(700);

/// Numbered UDP packets from one host to another, at a steady rate, until stopped.
#[derive(Debug)]
pub struct Stream {
    stop_sending: Arc<AtomicBool>,
    stop_receiving: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Vec<u8>>,
}

/// What became of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    pub sent: u64,
    pub received: u64,
    /// First and last number of each gap.
    pub gaps: Vec<(u64, u64)>,
    /// Packets that came more than once.
    pub doubled: u64,
}

impl Received {
    pub fn lost(&self) -> u64 {
        self.gaps.iter().map(|(first, last)| last - first + 1).sum()
    }

    fn from_counts(sent: u64, counts: &[u8]) -> Self {
        let mut this = Self { sent, ..Self::default() };
        for number in 0..sent {
            match counts.get(number as usize).copied().unwrap_or(0) {
                0 => match this.gaps.last_mut() {
                    Some((_, last)) if *last + 1 == number => *last = number,
                    _ => this.gaps.push((number, number)),
                },
                times => {
                    this.received += 1;
                    this.doubled += u64::from(times > 1);
                }
            }
        }
        this
    }
}

impl Stream {
    /// The tunnel must be warm: the first packet counts.
    pub fn start(from: &Namespace, to: &Namespace, to_address: &str, per_second: u32) -> Result<Self, LabError> {
        let any = if to_address.contains(':') { "::" } else { "0.0.0.0" };
        let io = |source: io::Error| LabError::Status(format!("stream to {to_address}: {source}"));
        let receiving = to.enter(|| UdpSocket::bind((any, PORT)))?.map_err(io)?;
        receiving.set_read_timeout(Some(Duration::from_millis(50))).map_err(io)?;
        let sending = from.enter(|| UdpSocket::bind((any, 0)))?.map_err(io)?;
        sending.connect((to_address, PORT)).map_err(io)?;

        let stop_sending = Arc::new(AtomicBool::new(false));
        let stop_receiving = Arc::new(AtomicBool::new(false));
        let arrived = Arc::new(AtomicU64::new(0));
        let stop = Arc::clone(&stop_sending);
        let sender = thread::spawn(move || send(&sending, per_second, &stop));
        let (stop, count) = (Arc::clone(&stop_receiving), Arc::clone(&arrived));
        let receiver = thread::spawn(move || receive(&receiving, &stop, &count));
        Ok(Self { stop_sending, stop_receiving, arrived, sender, receiver })
    }

    /// Packets that have arrived so far.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Waits until that many more have arrived: the stream still flows.
    pub fn wait_flow(&self, packets: u64) -> Result<(), LabError> {
        let goal = self.arrived() + packets;
        let what = format!("the arrival of {packets} more packets of the stream");
        wait_for(&what, Duration::from_secs(15), || (self.arrived() >= goal).then_some(()))
    }

    pub fn stop(self) -> Received {
        self.stop_sending.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the sender does not panic");
        thread::sleep(SETTLE);
        self.stop_receiving.store(true, Ordering::Relaxed);
        let counts = self.receiver.join().expect("the receiver does not panic");
        Received::from_counts(sent, &counts)
    }
}

/// Keeps to the rate by the clock, catching up after a late wake-up.
fn send(socket: &UdpSocket, per_second: u32, stop: &AtomicBool) -> u64 {
    let clock = Deadline::after(Duration::from_secs(3600));
    let mut packet = [0x5a; PAYLOAD];
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (clock.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
        while next < due {
            packet[..8].copy_from_slice(&u64::to_be_bytes(next));
            // A refused packet (ICMP error, full queue) counts as lost: it has a number.
            let _ = socket.send(&packet);
            next += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    next
}

/// How often each number came.
fn receive(socket: &UdpSocket, stop: &AtomicBool, arrived: &AtomicU64) -> Vec<u8> {
    let mut counts = Vec::new();
    let mut packet = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut packet) else { continue };
        let Some(number) = packet[..length].first_chunk().map(|bytes| u64::from_be_bytes(*bytes) as usize) else {
            continue;
        };
        if number >= counts.len() {
            counts.resize(number + 1, 0u8);
        }
        counts[number] = counts[number].saturating_add(1);
        arrived.fetch_add(1, Ordering::Relaxed);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_doubles_are_counted() {
        let received = Received::from_counts(8, &[1, 0, 0, 1, 2, 0, 1]);
        assert_eq!(received.gaps, [(1, 2), (5, 5), (7, 7)]);
        assert_eq!((received.lost(), received.received, received.doubled), (4, 4, 1));
        assert_eq!(Received::from_counts(2, &[1, 1]).lost(), 0);
    }
}
