//! When a request is sent again, and when the peer is dead (RFC 7296 §2.4).

use crate::Retransmit;
use core::time::Duration;
use std::time::Instant;

/// One request under way.
pub(crate) struct Retransmission {
    pub packet: Vec<u8>,
    pub at: Instant,
    pub sent: u32,
}

impl Retransmit {
    fn pause(&self, sent: u32) -> Duration {
        let exponent = i32::try_from(sent.saturating_sub(1)).unwrap_or(i32::MAX);
        let pause = Duration::try_from_secs_f64(self.base.as_secs_f64() * self.factor.powi(exponent));
        let pause = pause.unwrap_or(Duration::from_secs(3600));
        if self.most.is_zero() { pause } else { pause.min(self.most) }
    }
}

impl Retransmission {
    pub fn new(now: Instant, policy: &Retransmit, packet: Vec<u8>) -> Self {
        Self { packet, at: now + policy.pause(1), sent: 1 }
    }

    /// The packet, if it is to be sent again now; `Err` if the last try went unanswered.
    pub fn poll(&mut self, now: Instant, policy: &Retransmit) -> Result<Option<&[u8]>, u32> {
        if now < self.at {
            return Ok(None);
        }
        if self.sent > policy.tries {
            return Err(self.sent);
        }
        self.sent += 1;
        self.at = now + policy.pause(self.sent);
        Ok(Some(&self.packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        #[expect(clippy::disallowed_methods, reason = "an origin for the test's time")]
        let start = Instant::now();
        let policy = Retransmit { tries: 2, ..Retransmit::default() };
        let mut r = Retransmission::new(start, &policy, vec![1]);
        assert_eq!(r.poll(start, &policy), Ok(None));
        assert_eq!(r.at, start + Duration::from_secs(4));
        assert_eq!(r.poll(r.at, &policy), Ok(Some(&[1][..])));
        assert_eq!(r.at, start + Duration::from_secs(4) + Duration::from_millis(7200));
        assert!(r.poll(r.at, &policy).is_ok());
        assert_eq!(r.poll(r.at, &policy), Err(3));
    }
}
