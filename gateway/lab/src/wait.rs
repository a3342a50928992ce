use crate::LabError;
use std::thread;
use std::time::{Duration, Instant};

/// A point in time after which waiting is over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    start: Instant,
    limit: Duration,
}

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "waits for real processes, so it needs the real clock")]
    pub fn after(limit: Duration) -> Self {
        Self { start: Instant::now(), limit }
    }

    pub fn passed(&self) -> bool {
        self.elapsed() >= self.limit
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn limit(&self) -> Duration {
        self.limit
    }
}

/// Asks every 20 ms until `ask` has an answer; `what` completes the sentence "… did not happen within".
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T, LabError> {
    let deadline = Deadline::after(limit);
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if deadline.passed() {
            return Err(LabError::NeverHappened { what: what.to_owned(), limit });
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_answer_or_the_limit() {
        let mut asked = 0;
        let answer = wait_for("the third time", Duration::from_secs(5), || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(answer.expect("comes at once"), 3);
        let error = wait_for::<()>("a miracle", Duration::from_millis(30), || None).expect_err("never comes");
        assert_eq!(error.to_string(), "a miracle did not happen within 30ms");
    }
}
