//! Sequence numbers of manual SAs, kept across reboots.
//!
//! A manual SA has the same key after a reboot, and its GCM nonce is its sequence number; so a number that may have been
//! used must never come again (RFC 4106 §3.1). Before the data plane may use a block of numbers, its end is on disk. A
//! start after a clean stop goes on where the last one ended; after a crash it goes on behind the block.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// With 64-bit numbers: 20 days at ten million packets per second without a word from control, for a million crashes.
const ESN_BLOCK: u64 = 1 << 44;
/// With 32-bit numbers: a thousand crashes.
const BLOCK: u64 = 1 << 22;

#[derive(Debug, thiserror::Error)]
pub enum ReservationError {
    #[error("{}: {error}; manual SAs need a state directory that lasts (--state-dir)", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error(
        "{}:{line}: not \"KEY-FINGERPRINT NUMBER\"; give both ends of every manual SA new keys, then delete this file",
        path.display()
    )]
    Malformed { path: PathBuf, line: usize },
    #[error("manual SA {0}: every sequence number is used up; give both ends a new key")]
    Exhausted(String),
}

/// The block an SA may use: numbers after `used`, up to and with `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub used: u64,
    pub limit: u64,
}

/// The file of reservations, one line for each key ever used. For a key we open with, the number is the highest accepted
/// one when it was last written.
pub struct Reservations {
    path: PathBuf,
    /// Fingerprint of the key → highest number that may have been used, or was accepted.
    spent: BTreeMap<String, u64>,
}

impl Reservations {
    pub fn load(state_dir: &Path) -> Result<Self, ReservationError> {
        let path = state_dir.join("manual-sa.sequence");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(ReservationError::File { path, error }),
        };
        let mut spent = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let parsed = line.split_once(' ').and_then(|(key, n)| Some((key.to_owned(), n.parse().ok()?)));
            let (key, highest) =
                parsed.ok_or_else(|| ReservationError::Malformed { path: path.clone(), line: number + 1 })?;
            spent.insert(key, highest);
        }
        Ok(Self { path, spent })
    }

    /// Takes the next block for the key; it is on disk when this returns. `used` is what the slot in shared memory knows,
    /// where that outlived us.
    pub fn take(&mut self, name: &str, key: &str, used: Option<u64>, esn: bool) -> Result<Block, ReservationError> {
        let used = used.unwrap_or_else(|| self.spent.get(key).copied().unwrap_or(0));
        let (block, last) = if esn { (ESN_BLOCK, u64::MAX - 1) } else { (BLOCK, u64::from(u32::MAX)) };
        if used >= last {
            return Err(ReservationError::Exhausted(name.to_owned()));
        }
        let limit = used.saturating_add(block).min(last);
        let highest = self.spent.get(key).copied().unwrap_or(0).max(limit);
        self.write(key, highest)?;
        Ok(Block { used, limit })
    }

    /// Less than half a block is left.
    pub fn is_low(block: Block, used: u64, esn: bool) -> bool {
        block.limit.saturating_sub(used) < if esn { ESN_BLOCK / 2 } else { BLOCK / 2 }
    }

    /// Highest number accepted under an inbound key, as far as it was written.
    pub fn accepted(&self, key: &str) -> u64 {
        self.spent.get(key).copied().unwrap_or(0)
    }

    /// Remembers how far packets were accepted. Call every second: after a crash of the whole machine, what came since
    /// could be replayed (RFC 4301 §4.4.2.1 has no better for manual keys).
    pub fn accept(&mut self, key: &str, top: u64) -> Result<(), ReservationError> {
        if top > self.accepted(key) { self.write(key, top) } else { Ok(()) }
    }

    /// The data plane uses the key no more; `used` was its last number.
    pub fn give_back(&mut self, key: &str, used: u64) -> Result<(), ReservationError> {
        self.write(key, used)
    }

    fn write(&mut self, key: &str, highest: u64) -> Result<(), ReservationError> {
        self.spent.insert(key.to_owned(), highest);
        let text: String = self.spent.iter().map(|(key, highest)| format!("{key} {highest}\n")).collect();
        replace(&self.path, text.as_bytes()).map_err(|error| ReservationError::File { path: self.path.clone(), error })
    }
}

/// Either the old or the new content is there after a crash, never a part.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(dir: &tempfile::TempDir) -> Reservations {
        Reservations::load(dir.path()).expect("readable")
    }

    #[test]
    fn a_crash_skips_the_block_and_a_clean_stop_does_not() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = load(&dir).take("a", "k", None, true).expect("fresh");
        assert_eq!(first, Block { used: 0, limit: ESN_BLOCK });
        let mut after_crash = load(&dir);
        let second = after_crash.take("a", "k", None, true).expect("there is room");
        assert_eq!(second.used, first.limit);
        after_crash.give_back("k", second.used + 7).expect("writable");
        assert_eq!(load(&dir).take("a", "k", None, true).expect("room").used, second.used + 7);
    }

    #[test]
    fn the_living_slot_knows_better_than_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        load(&dir).take("a", "k", None, true).expect("fresh");
        let again = load(&dir).take("a", "k", Some(5), true).expect("room");
        assert_eq!(again, Block { used: 5, limit: 5 + ESN_BLOCK });
    }

    #[test]
    fn what_was_accepted_is_remembered_and_never_lowered() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut reservations = load(&dir);
        reservations.accept("in", 9).expect("writable");
        reservations.accept("in", 4).expect("writable");
        assert_eq!(load(&dir).accepted("in"), 9);
        assert_eq!(load(&dir).accepted("other"), 0);
    }

    #[test]
    fn thirty_two_bits_run_out() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let last = u64::from(u32::MAX);
        let block = load(&dir).take("a", "k", Some(last - 1), false).expect("one is left");
        assert_eq!(block.limit, last);
        assert!(matches!(load(&dir).take("a", "k", None, false), Err(ReservationError::Exhausted(_))));
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_line() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("manual-sa.sequence"), "k 5\nrubbish\n").expect("writable");
        assert!(matches!(Reservations::load(dir.path()), Err(ReservationError::Malformed { line: 2, .. })));
    }
}
