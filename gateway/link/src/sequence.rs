//! Handing out sequence numbers, apart from the slot so that loom can run it.

use core::sync::atomic::{AtomicU64, Ordering};

/// What [`reserve`] needs of an atomic.
pub trait Counter {
    fn load(&self) -> u64;
    /// Stores `new` if the value still is `current`; else the value found. May fail without cause.
    fn replace(&self, current: u64, new: u64) -> Result<u64, u64>;
}

impl Counter for AtomicU64 {
    fn load(&self) -> u64 {
        AtomicU64::load(self, Ordering::Relaxed)
    }

    fn replace(&self, current: u64, new: u64) -> Result<u64, u64> {
        // Relaxed: the numbers order nothing but themselves, and the modifications of one atomic have one order.
        self.compare_exchange_weak(current, new, Ordering::Relaxed, Ordering::Relaxed)
    }
}

/// Takes `count` numbers above `last` and returns the first; `None` where they do not all lie within `limit`. A plain
/// `fetch_add` would be one instruction less and could leave `last` above the limit, even wrap it.
pub fn reserve<C: Counter>(last: &C, limit: &C, count: u32) -> Option<u64> {
    let count = u64::from(count);
    let mut current = last.load();
    loop {
        let next = current.checked_add(count)?;
        if count == 0 || next > limit.load() {
            return None;
        }
        match last.replace(current, next) {
            // No overflow: `next`, which is not smaller, did not.
            Ok(_) => return Some(current + 1),
            Err(found) => current = found,
        }
    }
}
