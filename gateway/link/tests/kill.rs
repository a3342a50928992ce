//! Two processes, both killed with SIGKILL again and again in mid-flow. Nothing acknowledged is lost or doubled.
//!
//! Each process pushes into one ring and pops from the other. Its notes lie in the shared file's counter blocks, so
//! they survive it:
//! * a consumer notes what it is about to acknowledge, acknowledges, notes that it has;
//! * a producer notes what it has pushed. Where its predecessor got to it learns from the ring's position alone.
//!
//! `CULVERT_KILLS=n` asks for another number of kills, `CULVERT_SEED=n` for other moments.

use culvert_link::{
    Consumer, ControlEnd, DataplaneEnd, Layout, MAX_RECORD, MIN_RING_BYTES, Producer, PushError, Region,
};
use culvert_link::{CounterBlock, SlotInit, SlotRef};
use culvert_model::{ChildId, Direction, SlotIndex, Spi};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const LAYOUT: Layout = Layout { slots: 2, ring_bytes: MIN_RING_BYTES };
const KILLS: u64 = 6_000;
/// The test ends here even if a busy machine has not managed so many.
const LONGEST: Duration = Duration::from_secs(25);
/// Less than this proves nothing.
const FEWEST: u64 = 300;

/// Words of a side's notes.
const PUSHED: usize = 0;
const ABOUT_TO_COMMIT: usize = 1;
const COMMITTED: usize = 2;
const LAST_SEQUENCE: usize = 3;
const LIVES: usize = 4;
const REDELIVERED: usize = 5;
const RESERVED: usize = 6;
const POPPED: usize = 7;
const DIED_IN_COMMIT: usize = 8;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Lengths come round again, so that a position tells how many records lie before it.
const PERIOD: u64 = 61;

fn length(number: u64) -> usize {
    match number % PERIOD {
        0 => MAX_RECORD,
        7 => 0,
        k => (k * k * 37 % 3000) as usize,
    }
}

fn footprint(number: u64) -> u64 {
    8 + length(number).next_multiple_of(8) as u64
}

/// Records pushed before this position; they are numbered from 1.
fn records_before(position: u64) -> u64 {
    let period: u64 = (0..PERIOD).map(footprint).sum();
    let mut records = position / period * PERIOD;
    let mut rest = position % period;
    while rest > 0 {
        records += 1;
        rest = rest.checked_sub(footprint(records)).expect("a position between two records");
    }
    records
}

fn fill(number: u64, record: &mut Vec<u8>) {
    record.clear();
    record.resize(length(number), (number % 251) as u8);
    if let Some(first) = record.first_chunk_mut() {
        *first = number.to_le_bytes();
    }
}

struct Side {
    producer: Producer,
    consumer: Consumer,
    notes: CounterBlock,
    slot: SlotRef,
    pushed: u64,
    /// `None` until the first record says where the ring stands.
    popped: Option<u64>,
    out: Vec<u8>,
    expected: Vec<u8>,
    buffer: Vec<u8>,
}

impl Side {
    fn attach(region: &Region, control: bool) -> Self {
        let (producer, consumer) = if control {
            let end = ControlEnd::attach(region).expect("the last control process is dead");
            (end.commands, end.events)
        } else {
            let end = DataplaneEnd::attach(region).expect("the last data plane is dead");
            (end.events, end.commands)
        };
        let notes = region.worker_counters(usize::from(control)).expect("it exists");
        let slot = region.slot(SlotIndex(0)).expect("it exists");
        notes[LIVES].fetch_add(1, SeqCst);
        assert_eq!((producer.corruptions(), consumer.corruptions()), (0, 0), "found broken on attach");
        let pushed = records_before(producer.position());
        let noted = notes[PUSHED].load(SeqCst);
        assert!(pushed == noted || pushed == noted + 1, "noted {noted} records as pushed, the ring has had {pushed}");
        Self {
            producer,
            consumer,
            notes,
            slot,
            pushed,
            popped: None,
            out: Vec::new(),
            expected: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// The one place where two numbers are right: the last process may have died on either side of its commit.
    fn first_pop(&mut self) -> bool {
        let (about, committed) = (self.notes[ABOUT_TO_COMMIT].load(SeqCst), self.notes[COMMITTED].load(SeqCst));
        let Some(record) = self.consumer.pop(&mut self.buffer).expect("an honest producer") else { return false };
        let number = match record.first_chunk() {
            Some(octets) => u64::from_le_bytes(*octets),
            // Too short for its number; its length gives it away.
            None => [committed + 1, about + 1]
                .into_iter()
                .find(|&n| length(n) == record.len())
                .expect("neither of the two records that may come is so short"),
        };
        assert!(number > committed, "record {number} was acknowledged, and comes again (up to {committed} were)");
        assert!(
            number == committed + 1 || number == about + 1,
            "record {number} comes first; {committed} were acknowledged for sure, {about} perhaps"
        );
        if number <= self.notes[POPPED].load(SeqCst) {
            self.notes[REDELIVERED].fetch_add(1, SeqCst);
        }
        if number == about + 1 && about > committed {
            self.notes[DIED_IN_COMMIT].fetch_add(1, SeqCst);
        }
        fill(number, &mut self.expected);
        assert_eq!(self.buffer, self.expected, "record {number} is damaged");
        self.popped = Some(number);
        self.commit(number);
        true
    }

    fn commit(&mut self, popped: u64) {
        self.notes[ABOUT_TO_COMMIT].store(popped, SeqCst);
        self.consumer.commit();
        self.notes[COMMITTED].store(popped, SeqCst);
    }

    fn push_some(&mut self, count: u64) {
        for _ in 0..count {
            fill(self.pushed + 1, &mut self.out);
            match self.producer.push(&self.out) {
                Ok(()) => {}
                Err(PushError::Full) => return,
                Err(e) => panic!("an honest consumer is called corrupt: {e}"),
            }
            self.pushed += 1;
            self.notes[PUSHED].store(self.pushed, SeqCst);
        }
    }

    /// Returns whether anything came.
    fn pop_some(&mut self, count: u64) -> bool {
        let Some(before) = self.popped else { return self.first_pop() };
        let mut popped = before;
        for _ in 0..count {
            let Some(record) = self.consumer.pop(&mut self.buffer).expect("an honest producer") else { break };
            fill(popped + 1, &mut self.expected);
            assert!(record == self.expected, "record {} is lost, doubled or damaged", popped + 1);
            popped += 1;
            self.notes[POPPED].store(popped, SeqCst);
        }
        self.popped = Some(popped);
        self.commit(popped);
        popped > before
    }

    /// Last record acknowledged, for a side that is alone.
    fn received(&self) -> u64 {
        self.popped.unwrap_or_else(|| self.notes[ABOUT_TO_COMMIT].load(SeqCst))
    }

    /// Both processes take from one counter, and die in between.
    fn reserve(&mut self, count: u32) {
        let first = self.slot.reserve(count).expect("2^64 is far");
        let last = self.notes[LAST_SEQUENCE].swap(first + u64::from(count) - 1, SeqCst);
        assert!(first > last, "sequence number {first} again, {last} was used");
        self.notes[RESERVED].fetch_add(u64::from(count), SeqCst);
    }

    fn live(mut self, random: &mut Random) -> ! {
        loop {
            let count = random.below(12);
            self.push_some(count);
            let count = random.below(12);
            let came = self.pop_some(count);
            self.reserve(1 + random.below(32) as u32);
            if !came {
                std::thread::yield_now();
            }
        }
    }
}

fn spawn(path: &Path, control: bool, seed: u64) -> Pid {
    // SAFETY: this process has one thread, so the child may do whatever the parent may.
    match unsafe { fork() }.expect("a process") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let _ = std::panic::catch_unwind(|| {
                let region = Region::create_or_attach(path, LAYOUT).expect("the file is there");
                Side::attach(&region, control).live(&mut Random(seed))
            });
            std::process::exit(101);
        }
    }
}

/// Kills the process and makes sure that the kill was what ended it.
fn end(pid: Pid) {
    kill(pid, Signal::SIGKILL).expect("it is our child");
    let status = waitpid(pid, None).expect("it is our child");
    assert!(
        matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
        "a process found something wrong and ended by itself: {status:?}"
    );
}

fn number_from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[expect(clippy::disallowed_methods, reason = "a test that is bounded in time")]
fn run() {
    let directory = tempfile::Builder::new()
        .prefix("culvert-kill")
        .tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" })
        .expect("a directory");
    let path = directory.path().join("link");
    let region = Region::create_or_attach(&path, LAYOUT).expect("made");
    let index = region.claim_slot().expect("a free slot");
    assert_eq!(index, SlotIndex(0));
    let init = SlotInit {
        spi: Spi::new(256).expect("not reserved"),
        direction: Direction::Outbound,
        child: ChildId(0),
        sequence: 0,
        replay_top: 0,
        limit: u64::MAX,
        generation: 1,
        installed_at: 0,
    };
    assert!(region.slot(index).expect("it exists").reset(&init));

    let seed = number_from_environment("CULVERT_SEED", u64::from(std::process::id()) << 20 | 1);
    let wanted = number_from_environment("CULVERT_KILLS", KILLS);
    println!("kill: seed {seed}");
    let mut random = Random(seed | 1);
    let start = Instant::now();
    let mut kills = 0;
    let mut living: Vec<Pid> =
        [false, true].into_iter().map(|control| spawn(&path, control, random.below(u64::MAX) | 1)).collect();
    while kills < wanted && start.elapsed() < LONGEST {
        std::thread::sleep(Duration::from_micros(random.below(3_000)));
        // Mostly one of the two, sometimes both.
        let victim = random.below(5);
        for (i, control) in [false, true].into_iter().enumerate() {
            if victim == 4 || victim % 2 == i as u64 {
                end(living[i]);
                living[i] = spawn(&path, control, random.below(u64::MAX) | 1);
                kills += 1;
            }
        }
    }
    living.into_iter().for_each(end);
    kills += 2;
    let elapsed = start.elapsed();

    // What is still in the rings must be all that is missing.
    let mut control = Side::attach(&region, true);
    let mut dataplane = Side::attach(&region, false);
    while control.pop_some(100) | dataplane.pop_some(100) {}
    assert_eq!((control.received(), dataplane.received()), (dataplane.pushed, control.pushed), "records are missing");
    let sum = |word: usize| control.notes[word].load(SeqCst) + dataplane.notes[word].load(SeqCst);
    assert!(sum(RESERVED) <= region.slot(index).expect("it exists").sequence(), "sequence numbers were doubled");
    println!(
        "kill: {kills} kills in {elapsed:.1?}, {} lives, {} records down, {} up, {} deaths between pop and \
         commit, {} in commit, {} sequence numbers",
        sum(LIVES),
        dataplane.received(),
        control.received(),
        sum(REDELIVERED),
        sum(DIED_IN_COMMIT),
        sum(RESERVED),
    );
    assert!(kills >= FEWEST.min(wanted), "only {kills} kills: the machine is too busy for this test to mean anything");
    assert!(dataplane.received() + control.received() > kills, "too little went through to call it mid-flow");
}

/// The little of libtest's manners that `cargo test` and `cargo nextest` rely on.
#[expect(clippy::disallowed_methods, reason = "reports how long it took")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|a| a == flag);
    let mut names = arguments.iter().filter(|a| !a.starts_with('-')).peekable();
    if has("--list") {
        if !has("--ignored") {
            println!("kill: test");
        }
        return;
    }
    // A name that does not match leaves the test out.
    if has("--ignored") || names.peek().is_some() && !names.any(|name| "kill".contains(name.as_str())) {
        return;
    }
    let start = Instant::now();
    run();
    println!("test kill ... ok\n");
    let seconds = start.elapsed().as_secs_f32();
    println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in {seconds:.2}s");
}
