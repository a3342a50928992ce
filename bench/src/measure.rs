//! Windows of packets, timed.

use crate::Error;
use crate::cipher::{self, Cipher};
use crate::frame::{Packet, Size};
use crate::gateway::{LAN, Pair, WAN, Window, clear_frames, tunnel_frames};
use crate::report::{Case, Path};
use culvert_engine::{BURST, Buffer, Crypto, Job, MAX_ICV};
use culvert_model::Suite;
use culvert_wire::esp;
use std::time::Instant;

/// Bursts of a window: few enough that all buffers lie in the second-level cache, and whole dozens of packets.
pub const BURSTS: usize = 6;
pub const PACKETS: usize = BURSTS * BURST;
const WARM_UP: u32 = 50;

/// Every case, one after the other; within a case path and cipher alone take turns.
pub fn all(windows: u32, only: &str) -> Result<Vec<Case>, Error> {
    let mut cases = Vec::new();
    for suite in suites() {
        for size in Size::ALL.into_iter().filter(|size| format!("{suite}-{size}").contains(only)) {
            cases.extend(tunnel(suite, size, windows)?);
        }
    }
    for size in Size::ALL.into_iter().filter(|size| format!("bypass-{size}").contains(only)) {
        cases.push(bypass(size, windows)?);
    }
    Ok(cases)
}

/// The AEADs that processors are built for, the one they are not, and a cipher with an integrity algorithm, which packets of
/// a burst run through side by side.
pub fn suites() -> impl Iterator<Item = Suite> {
    let others =
        ["chacha20poly1305", "aes128-sha256"].into_iter().filter_map(|words| Suite::esp_from_words(words).ok());
    [Suite::AES128_GCM16, Suite::AES256_GCM16].into_iter().chain(others)
}

/// The path and the cipher alone, in nanoseconds a window.
#[derive(Default)]
pub struct Samples(Vec<u64>);

impl Samples {
    pub fn with_room(windows: u32) -> Self {
        Self(Vec::with_capacity(windows as usize))
    }

    pub fn push(&mut self, window: u64) {
        self.0.push(window);
    }

    /// Minimum and median, a packet.
    pub fn per_packet(mut self) -> (f64, f64) {
        self.0.sort_unstable();
        let at = |place: usize| self.0.get(place).map_or(0.0, |window| *window as f64 / PACKETS as f64);
        (at(0), at(self.0.len() / 2))
    }
}

/// One SA's way out and in.
fn tunnel(suite: Suite, size: Size, windows: u32) -> Result<[Case; 2], Error> {
    let mut bench = Tunnel::new(suite, size)?;
    let mut floor = FloorMemory::new(suite, size)?;
    let mut floor = floor.jobs()?;
    let [mut seal, mut open, mut seal_floor, mut open_floor] = std::array::from_fn(|_| Samples::with_room(windows));
    for round in 0..WARM_UP + windows {
        let (sealed, opened) = bench.round()?;
        let (cipher_sealed, cipher_opened) = floor.round()?;
        if round >= WARM_UP {
            seal.0.push(sealed);
            open.0.push(opened);
            seal_floor.0.push(cipher_sealed);
            open_floor.0.push(cipher_opened);
        }
    }
    Ok([
        Case::new(Path::Seal, Some(suite), size, seal.per_packet(), Some(seal_floor.per_packet())),
        Case::new(Path::Open, Some(suite), size, open.per_packet(), Some(open_floor.per_packet())),
    ])
}

fn bypass(size: Size, windows: u32) -> Result<Case, Error> {
    let mut pair = Pair::new(Suite::AES128_GCM16)?;
    let (frames, mut window) = (clear_frames(size)?, Window::new());
    let mut samples = Samples::with_room(windows);
    for round in 0..WARM_UP + windows {
        window.load(&frames);
        let taken = timed(|| pair.sender.work(LAN, &mut window));
        pair.sender.collect("bypass", &mut window)?;
        if round >= WARM_UP {
            samples.0.push(taken);
        }
    }
    Ok(Case::new(Path::Bypass, None, size, samples.per_packet(), None))
}

/// Two gateways and a window that goes from one through the other.
pub struct Tunnel {
    pub pair: Pair,
    pub frames: Vec<Vec<u8>>,
    pub window: Window,
}

impl Tunnel {
    pub fn new(suite: Suite, size: Size) -> Result<Self, Error> {
        Ok(Self { pair: Pair::new(suite)?, frames: tunnel_frames(size)?, window: Window::new() })
    }

    /// Nanoseconds to seal the window, and to open it.
    pub fn round(&mut self) -> Result<(u64, u64), Error> {
        let Self { pair: Pair { sender, receiver }, frames, window } = self;
        window.load(frames);
        let sealed = timed(|| sender.work(LAN, window));
        sender.collect("seal", window)?;
        let opened = timed(|| receiver.work(WAN, window));
        receiver.collect("open", window)?;
        Ok((sealed, opened))
    }
}

/// Memory for the cipher alone: as many buffers, as much data in each, at the same place.
pub struct FloorMemory {
    key: <Cipher as Crypto>::Key,
    packets: Vec<Packet>,
}

/// The cipher, and its jobs for a window.
pub struct Floor<'a> {
    cipher: Cipher,
    jobs: Vec<Job<'a, <Cipher as Crypto>::Key>>,
}

impl FloorMemory {
    pub fn new(suite: Suite, size: Size) -> Result<Self, Error> {
        let key = Cipher::key(suite, &vec![3; suite.key_len()]).map_err(|error| Error::Cipher(error.to_string()))?;
        let packet = |place| {
            let mut packet = Packet::new();
            let before = culvert_wire::ethernet::LEN;
            packet.load(&vec![0x5a; before + sealed_len(suite, size.ip_len(place))]);
            packet.trim_front(before);
            packet
        };
        Ok(Self { key, packets: (0..PACKETS).map(packet).collect() })
    }

    pub fn jobs<'a>(&'a mut self) -> Result<Floor<'a>, Error> {
        let Self { key, packets } = self;
        let key = &*key;
        let job = |packet: &'a mut Packet| Job {
            key,
            sequence: 1,
            esn: true,
            data: packet.data_mut(),
            icv: [0; MAX_ICV],
            ok: false,
        };
        let jobs = packets.iter_mut().map(job).collect();
        Ok(Floor { cipher: cipher::new()?, jobs })
    }
}

impl Floor<'_> {
    /// Nanoseconds to seal the window, and to open it again.
    pub fn round(&mut self) -> Result<(u64, u64), Error> {
        let Self { cipher, jobs } = self;
        let sealed = timed(|| jobs.chunks_mut(BURST).for_each(|burst| cipher.seal_burst(burst)));
        let opened = timed(|| jobs.chunks_mut(BURST).for_each(|burst| cipher.open_burst(burst)));
        if jobs.iter().all(|job| job.ok) { Ok((sealed, opened)) } else { Err(Error::NotAuthentic) }
    }
}

/// What the cipher gets of an IP packet: ESP header and IV, padding and trailer that make it whole words (RFC 4303 §2.4),
/// ICV.
const fn sealed_len(suite: Suite, ip_len: usize) -> usize {
    esp::LEN + suite.iv_len() + (ip_len + 2).next_multiple_of(suite.alignment()) + suite.icv_len()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark is about the clock")]
pub fn timed(work: impl FnOnce()) -> u64 {
    let begin = Instant::now();
    work();
    u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
