//! Ages of SAs: soft and hard lifetimes, sequence numbers that run out.

use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::housekeeping::Housekeeping;
use crate::io::Tick;
use crate::sa::{Cold, SECOND, idle_seconds};
use crate::sad::{Entry, Marks};
use culvert_link::SaSlot;
use culvert_link::record::Event;
use culvert_model::Direction;
use culvert_telemetry::SaCounter;

/// SAs looked at in one tick, so that a tick is short however many there are.
pub(crate) const PER_TICK: usize = 1024;

impl<A: Crypto, B: Buffer> Housekeeping<A, B> {
    /// Looks after the next SAs in turn.
    pub(crate) fn watch_ages(&mut self, now: Tick) {
        // What is due is due once: look only where all that may be found can be told.
        let room = self.has_room(3 * PER_TICK);
        let mut events = Vec::new();
        for Entry { sa, marks } in self.sad.some(&mut self.cursor, PER_TICK).into_iter().filter(|_| room) {
            let cold = sa.cold();
            let (slot, spi, direction) = (cold.index, cold.spi, cold.direction);
            let due = due(now, sa.slot(), cold, marks);
            let kinds = [
                (due.soft, Event::SoftExpire { slot, spi, direction }),
                (due.hard, Event::HardExpire { slot, spi, direction }),
                (due.low, Event::SequenceLow { slot, spi, direction }),
            ];
            events.extend(kinds.into_iter().filter(|(due, _)| *due).map(|(_, event)| event));
        }
        for event in events {
            self.report(event);
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub soft: bool,
    pub hard: bool,
    pub low: bool,
}

/// What has come to be since last asked; each is due once.
pub(crate) fn due(now: Tick, slot: &SaSlot, cold: &Cold, marks: &mut Marks) -> Due {
    let Cold { lifetime, direction, installed, .. } = cold;
    let age = now.saturating_sub(*installed) / SECOND;
    let idle = idle_seconds(slot, installed / SECOND, now);
    let (bytes, packets) = (slot.get(SaCounter::Bytes.index()), slot.get(SaCounter::Packets.index()));
    let over = |limit: u64, used: u64| limit != 0 && used >= limit;
    let soft = over(lifetime.soft_bytes, bytes) || over(lifetime.soft_packets, packets);
    let soft = soft || over(lifetime.soft_seconds, age) || over(lifetime.soft_idle, idle);
    let hard = over(lifetime.hard_bytes, bytes) || over(lifetime.hard_packets, packets);
    let hard = hard || over(lifetime.hard_seconds, age) || over(lifetime.hard_idle, idle);
    let low = *direction == Direction::Outbound && is_low(slot.sequence(), slot.limit(), marks);
    let due = Due { soft: soft && !marks.soft, hard: hard && !marks.hard, low: low && !marks.low };
    (marks.soft, marks.hard, marks.low) = (soft, hard, low);
    due
}

/// Are three quarters gone of the numbers that the limit allowed when it was set? A manual SA's limit moves on as
/// control reserves more, and each step counts anew.
fn is_low(sequence: u64, limit: u64, marks: &mut Marks) -> bool {
    let from = match marks.limit_seen {
        Some((seen, from)) if seen == limit => from,
        _ => {
            // A data plane that restarts must not take what is left for a fresh start.
            let from = if marks.limit_seen.is_none() && limit >= u64::from(u32::MAX) { 0 } else { sequence };
            marks.limit_seen = Some((limit, from));
            marks.low = false;
            from
        }
    };
    let span = limit.saturating_sub(from);
    limit.saturating_sub(sequence) <= span / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_quarters_of_each_limit() {
        let mut marks = Marks::default();
        let cases = [
            (0, 1000, false),
            (749, 1000, false),
            (750, 1000, true),
            (990, 1000, true),
            // Control reserves another thousand at 990.
            (990, 2000, false),
            (1746, 2000, false),
            (1748, 2000, true),
        ];
        for (sequence, limit, want) in cases {
            assert_eq!(is_low(sequence, limit, &mut marks), want, "{sequence} of {limit}");
        }
    }

    #[test]
    fn after_a_restart_a_whole_space_is_counted_from_its_start() {
        let limit = u64::from(u32::MAX);
        assert!(is_low(3 << 30, limit, &mut Marks::default()));
        assert!(!is_low(1 << 30, limit, &mut Marks::default()));
    }
}
