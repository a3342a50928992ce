//! Which of a child's pairs carries its traffic, and what happens when one goes.

use super::Endpoint;
use crate::child::Lane;
use crate::{
    DownReason, Report,
    child::{ChildSa, ChildState},
    config::{DownAction, StartAction},
    sa::{Established, IkeSa, Phase, TaskKind},
    shared::{Core, SaId},
};
use culvert_model::SlotIndex;
use std::time::Instant;

/// After INITIAL_CONTACT the peer has this long to show that it has the new pair, before the old one, which it may have
/// lost, is given up.
const CONFIRM: core::time::Duration = core::time::Duration::from_secs(1);

/// What the choice looks at.
struct Candidate {
    sa: SaId,
    slot: SlotIndex,
    state: ChildState,
    confirmed: bool,
    seq: u64,
}

impl Endpoint {
    /// Of two IKE SAs with the same peer, is `a` the one to give up? Both ends come to the same answer.
    fn loses(&self, a: &IkeSa, b: &IkeSa) -> bool {
        match (a.established(), b.established()) {
            // One side began both: the older one, which that side knows.
            (Some(_), Some(_)) if a.initiator == b.initiator => a.id < b.id,
            (Some(x), Some(y)) => x.lowest_nonce < y.lowest_nonce,
            _ => false,
        }
    }

    fn better(&self, a: &Candidate, b: &Candidate) -> bool {
        if a.sa != b.sa
            && let (Some(x), Some(y)) = (self.sas.get(a.sa), self.sas.get(b.sa))
            && x.usable().is_some()
            && y.usable().is_some()
        {
            return !self.loses(x, y);
        }
        a.seq > b.seq
    }

    /// Switches the child's outbound SA if a better one may be used.
    pub(super) fn reselect(&mut self, lane: &Lane) {
        let mut all = Vec::new();
        for sa in self.sas.of_conn(lane.conn()) {
            let Some(e) = sa.established() else { continue };
            // A pair that is about to go carries on until its successor is known to work.
            let going = matches!(e.phase, Phase::Deleting(_) | Phase::Closed(_));
            let in_use = |c: &ChildSa| self.core.current.get(lane) == Some(&c.outbound.slot);
            let pairs = e.children.iter().filter(|c| c.lane == *lane && c.state != ChildState::Deleting);
            all.extend(pairs.filter(|c| !going || in_use(c)).map(|c| Candidate {
                sa: sa.id,
                slot: c.outbound.slot,
                state: if going { ChildState::Deleting } else { c.state },
                confirmed: c.confirmed,
                seq: c.seq,
            }));
        }
        let pick = |good: &dyn Fn(&Candidate) -> bool| {
            let good = all.iter().filter(|c| good(c));
            good.fold(None, |best: Option<&Candidate>, c| match best {
                Some(best) if !self.better(c, best) => Some(best),
                _ => Some(c),
            })
        };
        let fresh = |c: &Candidate| matches!(c.state, ChildState::Installed | ChildState::Rekeying);
        let current = self.core.current.get(lane).and_then(|slot| all.iter().find(|c| c.slot == *slot));
        let best = pick(&|c| c.confirmed && fresh(c));
        let chosen = match (current, best) {
            (Some(current), Some(best)) if !fresh(current) || self.better(best, current) => Some(best),
            (Some(current), _) => Some(current),
            (None, Some(best)) => Some(best),
            // Nothing is known to work: the peer may have it already, or has it soon.
            (None, None) => pick(&fresh).or_else(|| pick(&|_| true)),
        };
        let Some((id, slot)) = chosen.map(|c| (c.sa, c.slot)) else { return };
        if self.core.current.get(lane) == Some(&slot) {
            return;
        }
        let pairs = self.sas.get_mut(id).and_then(IkeSa::established_mut).map(|e| e.children.iter_mut());
        if let Some(pair) = pairs.into_iter().flatten().find(|c| c.outbound.slot == slot) {
            pair.out_installed = true;
            self.core.sad.install(&mut self.core.outputs, pair.outbound.clone());
            self.core.current.insert(lane.clone(), slot);
        }
    }

    /// A pair is over: its successor takes the traffic first, then it goes.
    pub(super) fn retire(&mut self, now: Instant, pair: ChildSa, conn: usize, reason: DownReason) {
        self.reselect(&pair.lane);
        if self.core.current.get(&pair.lane) == Some(&pair.outbound.slot) {
            self.core.current.remove(&pair.lane);
        }
        let linger = self.core.config.settings.inbound_linger;
        self.core.sad.drop_now(&mut self.core.outputs, pair.outbound.slot);
        self.core.sad.drop_at(&mut self.core.outputs, pair.inbound.slot, now + linger);
        let Some((connection, child)) =
            self.core.config.connections.get(conn).and_then(|c| Some((c, c.children.get(pair.child)?)))
        else {
            return;
        };
        let (start, close, dead) = (child.start_action, child.close_action, child.dpd_action);
        let (spi_in, spi_out) = (pair.spi_in(), pair.spi_out());
        let (connection, name) = (connection.name.clone(), child.name.clone());
        self.core.report(Report::ChildDown { connection, name, child: pair.id, spi_in, spi_out, reason });
        let action = match reason {
            DownReason::Rekeyed | DownReason::Duplicate | DownReason::DeletedByPeer => close,
            DownReason::Terminated => return,
            DownReason::PeerDead | DownReason::PeerRestarted | DownReason::Expired | DownReason::ProtocolError => dead,
        };
        let first = self.core.config.settings.retry_first;
        if action == DownAction::Restart {
            self.want(now, conn, pair.child, now);
        } else if start == StartAction::Start {
            // The peer had a reason; it is given a moment.
            let pause = first + self.core.jitter(first);
            self.want(now, conn, pair.child, now + pause);
        }
    }

    /// An IKE SA stands. Older ones with the same peer are over if it says so; else one of two goes a little later.
    pub(super) fn established(&mut self, now: Instant, id: SaId, initial_contact: bool) {
        let Some(new) = self.sas.get(id) else { return };
        let Some(e) = new.established() else { return };
        let (conn, peer) = (new.conn, e.remote_id.clone());
        let delay = self.core.config.settings.duplicate_delay;
        let (mut doubled, mut replaced) = (false, false);
        let Some(conn) = conn else { return };
        let ids = self.sas.ids_of_conn(conn);
        for other in ids.iter().filter(|other| **other != id) {
            let Some(old) = self.sas.get_mut(*other).and_then(IkeSa::established_mut) else { continue };
            if old.phase != Phase::Live || old.remote_id != peer {
                continue;
            }
            if initial_contact {
                // RFC 7296 §2.4. The Delete is for a peer that was not the only one to begin.
                old.close(now, DownReason::PeerRestarted);
                replaced = true;
            } else {
                doubled = true;
            }
        }
        if doubled && let Some(e) = self.sas.get_mut(id).and_then(IkeSa::established_mut) {
            e.settle_at = Some(now + delay + self.core.jitter(delay));
        }
        if replaced && let Some(e) = self.sas.get_mut(id).and_then(IkeSa::established_mut) {
            e.confirm_at = Some(now + CONFIRM);
        }
        self.attempts.succeeded(conn);
        let of_conn = self.sas.of_conn(conn).filter_map(IkeSa::established);
        let lanes: Vec<Lane> = of_conn.flat_map(|e| e.children.iter().map(|c| c.lane.clone())).collect();
        lanes.iter().for_each(|lane| self.reselect(lane));
    }

    /// Two IKE SAs with one peer: the initiator of the loser closes it. Looked at until it is done: a rekey in between
    /// may change who that is.
    pub(super) fn settle_duplicates(&mut self, now: Instant, due: &[SaId]) {
        let is_due = |sa: &&IkeSa| sa.usable().is_some_and(|e| e.settle_at.is_some_and(|at| at <= now));
        for id in due.iter().copied() {
            let Some(sa) = self.sas.get(id).filter(is_due) else { continue };
            let Some(peer) = sa.usable().map(|e| &e.remote_id) else { continue };
            let same = |o: &&IkeSa| o.id != id && o.usable().is_some_and(|e| e.remote_id == *peer);
            let others: Vec<_> = sa.conn.into_iter().flat_map(|c| self.sas.of_conn(c)).filter(same).collect();
            let mut losers: Vec<_> = others.iter().filter(|o| self.loses(o, sa)).map(|o| (o.id, o.initiator)).collect();
            if others.iter().any(|o| self.loses(sa, o)) {
                losers.push((id, sa.initiator));
            }
            let delay = self.core.config.settings.duplicate_delay;
            let again = (!others.is_empty()).then(|| now + delay + self.core.jitter(delay));
            if let Some(e) = self.sas.get_mut(id).and_then(IkeSa::established_mut) {
                let doubled = e.settle_children(now);
                e.settle_at = again.or(doubled.then_some(now + delay));
            }
            for (loser, initiator) in losers {
                if initiator && let Some(e) = self.sas.get_mut(loser).and_then(IkeSa::established_mut) {
                    e.close(now, DownReason::Duplicate);
                }
            }
        }
    }

    /// When the peer is asked whether it lives, unless it shows that before.
    pub(super) fn dpd_at(core: &Core, sa: &IkeSa) -> Option<Instant> {
        let delay = sa.conn.and_then(|c| core.config.connections.get(c))?.dpd_delay;
        let e = sa.usable().filter(|e| !delay.is_zero() && e.exchange.is_none() && e.tasks.is_empty())?;
        Some(e.last_inbound + delay)
    }

    pub(super) fn dpd(&mut self, now: Instant, due: &[SaId]) {
        for id in due.iter().copied() {
            let is_due = self.sas.get(id).and_then(|sa| Self::dpd_at(&self.core, sa)).is_some_and(|at| at <= now);
            if is_due && let Some(e) = self.sas.get_mut(id).and_then(IkeSa::established_mut) {
                e.enqueue(now, TaskKind::Dpd);
            }
        }
    }
}

impl Established {
    /// Two pairs for one child, because both ends asked at once: the initiator of the loser deletes it.
    ///
    /// Are there two?
    fn settle_children(&mut self, now: Instant) -> bool {
        let installed: Vec<_> = self.children.iter().filter(|c| c.state == ChildState::Installed).collect();
        let beaten = |a: &&&ChildSa| installed.iter().any(|b| b.lane == a.lane && a.lowest_nonce < b.lowest_nonce);
        let doubled = installed.iter().any(|c| beaten(&c));
        let losers: Vec<_> = installed.iter().filter(beaten).filter(|c| c.initiated).map(|c| c.spi_in()).collect();
        for spi_in in losers {
            self.close_child(now, spi_in, DownReason::Duplicate);
        }
        doubled
    }
}
