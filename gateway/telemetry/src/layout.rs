//! Which word of a shared counter block holds what. Part of the link's layout: see [`FINGERPRINT`].

use crate::{DropReason, PortCounter, SaCounter, WorkerCounter};

/// Words (64-bit) of a worker's or port's block.
pub const BLOCK_WORDS: usize = 256;
/// First word of the [`WorkerCounter`]s in a worker's block.
pub const WORKER_AT: usize = 0;
/// First word of the [`DropReason`]s in a worker's block.
pub const DROPS_AT: usize = 64;
/// First word of the [`PortCounter`]s in a port's block.
pub const PORT_AT: usize = 0;

const _: () = assert!(WORKER_AT + WorkerCounter::COUNT <= DROPS_AT);
const _: () = assert!(DROPS_AT + DropReason::COUNT <= BLOCK_WORDS);
const _: () = assert!(PORT_AT + PortCounter::COUNT <= BLOCK_WORDS);

/// Word of `counter` in a worker's block.
pub const fn worker_word(counter: WorkerCounter) -> usize {
    WORKER_AT + counter.index()
}

/// Word of `reason` in a worker's block.
pub const fn drop_word(reason: DropReason) -> usize {
    DROPS_AT + reason.index()
}

/// Word of `counter` in a port's block.
pub const fn port_word(counter: PortCounter) -> usize {
    PORT_AT + counter.index()
}

/// Changes whenever a counter is added, moved or renamed, so that two builds that would read each other's counters
/// wrongly can notice. FNV-1a over the names in order.
pub const FINGERPRINT: u64 = {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut i = 0;
    while i < WorkerCounter::COUNT {
        hash = fnv1a(hash, WorkerCounter::ALL[i].name());
        i += 1;
    }
    i = 0;
    while i < DropReason::COUNT {
        hash = fnv1a(hash, DropReason::ALL[i].name());
        i += 1;
    }
    i = 0;
    while i < PortCounter::COUNT {
        hash = fnv1a(hash, PortCounter::ALL[i].name());
        i += 1;
    }
    i = 0;
    while i < SaCounter::COUNT {
        hash = fnv1a(hash, SaCounter::ALL[i].name());
        i += 1;
    }
    hash
};

const fn fnv1a(mut hash: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    // A separator, so that ("ab", "c") and ("a", "bc") differ.
    (hash ^ 0xff).wrapping_mul(0x0000_0100_0000_01b3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_has_two_meanings() {
        let mut words: Vec<usize> = WorkerCounter::ALL.iter().map(|c| worker_word(*c)).collect();
        words.extend(DropReason::ALL.iter().map(|r| drop_word(*r)));
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }

    #[test]
    fn fingerprint_sees_order_and_spelling() {
        let start = 1;
        assert_ne!(fnv1a(fnv1a(start, "ab"), "c"), fnv1a(fnv1a(start, "a"), "bc"));
        assert_ne!(fnv1a(fnv1a(start, "a"), "b"), fnv1a(fnv1a(start, "b"), "a"));
    }
}
