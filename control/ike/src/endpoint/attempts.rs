//! What is wanted of the connections, and how it went so far.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// Only what is wanted or has failed takes room.
#[derive(Default)]
pub(super) struct Attempts {
    /// Children (by connection and place in it) to bring up, and not before when.
    wanted: BTreeMap<(usize, usize), Instant>,
    /// The same by time.
    agenda: BTreeSet<(Instant, usize, usize)>,
    failures: BTreeMap<usize, u32>,
}

impl Attempts {
    /// Wanted at `at`, or earlier if it is wanted earlier already.
    pub fn want(&mut self, conn: usize, child: usize, at: Instant) {
        let earliest = self.wanted.get(&(conn, child)).map_or(at, |before| at.min(*before));
        self.put(conn, child, earliest);
    }

    pub fn put(&mut self, conn: usize, child: usize, at: Instant) {
        self.forget(conn, child);
        self.wanted.insert((conn, child), at);
        self.agenda.insert((at, conn, child));
    }

    /// Not before `at`, if it is wanted at all.
    pub fn postpone(&mut self, conn: usize, child: usize, at: Instant) {
        if self.is_wanted(conn, child) {
            self.put(conn, child, at);
        }
    }

    /// All that wait for this connection wait together.
    pub fn postpone_all(&mut self, conn: usize, at: Instant) {
        for (child, before) in self.of(conn) {
            self.put(conn, child, at.max(before));
        }
    }

    pub fn forget(&mut self, conn: usize, child: usize) {
        if let Some(at) = self.wanted.remove(&(conn, child)) {
            self.agenda.remove(&(at, conn, child));
        }
    }

    /// The connection begins anew.
    pub fn forget_all(&mut self, conn: usize) {
        for (child, _) in self.of(conn) {
            self.forget(conn, child);
        }
        self.succeeded(conn);
    }

    fn of(&self, conn: usize) -> Vec<(usize, Instant)> {
        self.wanted.range((conn, 0)..=(conn, usize::MAX)).map(|((_, child), at)| (*child, *at)).collect()
    }

    pub fn is_wanted(&self, conn: usize, child: usize) -> bool {
        self.wanted.contains_key(&(conn, child))
    }

    pub fn first_wanted(&self, conn: usize) -> Option<usize> {
        self.wanted.range((conn, 0)..=(conn, usize::MAX)).next().map(|((_, child), _)| *child)
    }

    /// What may be begun, in the order of the configuration.
    pub fn due(&self, now: Instant) -> Vec<(usize, usize)> {
        let due = self.agenda.iter().take_while(|(at, ..)| *at <= now);
        let mut due: Vec<_> = due.map(|(_, conn, child)| (*conn, *child)).collect();
        due.sort_unstable();
        due
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.agenda.first().map(|(at, ..)| *at)
    }

    pub fn failures(&self, conn: usize) -> u32 {
        self.failures.get(&conn).copied().unwrap_or_default()
    }

    /// How many failures it makes in a row.
    pub fn failed(&mut self, conn: usize) -> u32 {
        let failures = self.failures.entry(conn).or_default();
        *failures = failures.saturating_add(1);
        *failures
    }

    pub fn succeeded(&mut self, conn: usize) {
        self.failures.remove(&conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn the_agenda_and_the_list_agree() {
        #[expect(clippy::disallowed_methods, reason = "an origin for the test's time")]
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut attempts = Attempts::default();
        attempts.want(7, 1, at(5));
        attempts.want(7, 0, at(3));
        attempts.want(2, 0, at(4));
        // Later does not count, earlier does.
        attempts.want(7, 0, at(9));
        attempts.want(7, 1, at(2));
        assert_eq!((attempts.next_timeout(), attempts.first_wanted(7)), (Some(at(2)), Some(0)));
        assert_eq!(attempts.due(at(3)), [(7, 0), (7, 1)]);
        attempts.postpone_all(7, at(4));
        attempts.postpone(3, 0, at(1));
        assert_eq!(attempts.due(at(3)), []);
        assert_eq!(attempts.due(at(4)), [(2, 0), (7, 0), (7, 1)]);
        assert_eq!([attempts.failed(7), attempts.failed(7), attempts.failures(2)], [1, 2, 0]);
        attempts.forget_all(7);
        assert_eq!((attempts.due(at(9)), attempts.failures(7)), (vec![(2, 0)], 0));
        attempts.forget(2, 0);
        assert_eq!(attempts.next_timeout(), None);
    }
}
