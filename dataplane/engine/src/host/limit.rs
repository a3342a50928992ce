//! How often the box may answer.

use crate::io::Tick;

const SECOND: u64 = 1_000_000_000;

/// A token bucket (RFC 4443 §2.4(f)): `burst` answers at once, `rate` each second in the long run.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// Nanoseconds one answer costs.
    cost: u64,
    /// Most that can be saved.
    capacity: u64,
    saved: u64,
    last: Tick,
}

impl TokenBucket {
    /// Starts full. A rate or burst of 0 never answers.
    pub fn new(rate: u32, burst: u32, now: Tick) -> Self {
        let cost = if rate == 0 { u64::MAX } else { SECOND / u64::from(rate) };
        let capacity = cost.saturating_mul(u64::from(burst));
        let capacity = if rate == 0 { 0 } else { capacity };
        Self { cost, capacity, saved: capacity, last: now }
    }

    /// May one more answer go out? A clock that stands still or goes back saves nothing.
    pub fn take(&mut self, now: Tick) -> bool {
        let passed = now.saturating_sub(self.last);
        self.last = self.last.max(now);
        self.saved = self.saved.saturating_add(passed).min(self.capacity);
        match self.saved.checked_sub(self.cost) {
            Some(rest) => {
                self.saved = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = TokenBucket::new(10, 3, 5 * SECOND);
        let taken = |bucket: &mut TokenBucket, now: u64| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, 5 * SECOND), 3);
        assert_eq!(taken(&mut bucket, 5 * SECOND + SECOND / 10 - 1), 0);
        assert_eq!(taken(&mut bucket, 5 * SECOND + SECOND / 10), 1);
        assert_eq!(taken(&mut bucket, 4 * SECOND), 0, "time went back");
        assert_eq!(taken(&mut bucket, 60 * SECOND), 3, "no more than a burst is saved");
    }

    #[test]
    fn zero_never_answers() {
        assert!(!TokenBucket::new(0, 10, 0).take(u64::MAX));
        assert!(!TokenBucket::new(10, 0, 0).take(u64::MAX));
    }

    proptest! {
        #[test]
        fn never_above_burst_and_rate(rate in 1u32..2000, burst in 1u32..50,
                                      steps in proptest::collection::vec(0u64..20_000_000, 1..300)) {
            let mut bucket = TokenBucket::new(rate, burst, 0);
            let (mut now, mut taken) = (0, 0u64);
            for step in steps {
                now += step;
                taken += u64::from(bucket.take(now));
            }
            // Rounding of the cost may allow a thousandth more.
            prop_assert!(taken <= u64::from(burst) + now * u64::from(rate) / SECOND + 1 + now * u64::from(rate) / SECOND / 500);
        }
    }
}
