//! All IKE SAs of the endpoint, and by what they are found: no event looks at SAs that it is not about.
//!
//! Whoever changes an SA takes it by [`Table::get_mut`], which notes that; [`Table::refresh`] then brings every index up to
//! what the changed SAs have become, and [`Table::sweep`] forgets those that are gone. Between the two the indices tell of the state before.

use crate::{
    child::ChildSa,
    hashing::OwnMap,
    message::IkeSpi,
    sa::{IkeSa, State, Wait},
    shared::{Core, SaId},
};
use culvert_model::{SlotIndex, Spi};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Instant,
};

#[derive(Default)]
pub(super) struct Table {
    sas: OwnMap<SaId, Box<Entry>>,
    indices: Indices,
    /// Changed since the last refresh.
    changed: Vec<SaId>,
    /// Changed, and not asked for its next task since.
    waiting: Vec<SaId>,
    gone: Vec<SaId>,
}

#[derive(Debug, Default, PartialEq)]
struct Indices {
    by_spi: OwnMap<IkeSpi, SaId>,
    /// The oldest first; by the connection's place.
    by_conn: Vec<Vec<SaId>>,
    /// Responders before IKE_AUTH, by where their peer is and the SPI it chose.
    half_open: BTreeMap<(SocketAddr, IkeSpi), SaId>,
    /// By the SPIs of the children's inbound SAs.
    by_spi_in: OwnMap<Spi, SaId>,
    timers: BTreeSet<(Instant, SaId)>,
}

struct Entry {
    sa: IkeSa,
    changed: bool,
    waiting: bool,
    known: Known,
}

/// Under what an SA stands in the indices.
#[derive(Default)]
struct Known {
    conn: Option<usize>,
    half_open: Option<(SocketAddr, IkeSpi)>,
    timer: Option<Instant>,
    usable: bool,
    pairs: Vec<Pair>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Pair {
    spi_in: Spi,
    slots: [SlotIndex; 2],
}

impl Table {
    /// With room for so many without growing.
    pub fn for_connections(count: usize) -> Self {
        let mut table = Self::default();
        table.sas.reserve(count);
        table.indices.by_spi.reserve(count);
        table.indices.by_spi_in.reserve(count);
        table
    }

    pub fn insert(&mut self, sa: IkeSa) {
        let id = sa.id;
        self.indices.by_spi.insert(sa.local_spi, id);
        let entry = Entry { sa, changed: true, waiting: true, known: Known::default() };
        self.sas.insert(id, Box::new(entry));
        self.changed.push(id);
        self.waiting.push(id);
    }

    pub fn get(&self, id: SaId) -> Option<&IkeSa> {
        self.sas.get(&id).map(|entry| &entry.sa)
    }

    /// For a change.
    pub fn get_mut(&mut self, id: SaId) -> Option<&mut IkeSa> {
        let entry = self.sas.get_mut(&id)?;
        if !core::mem::replace(&mut entry.changed, true) {
            self.changed.push(id);
        }
        if !core::mem::replace(&mut entry.waiting, true) {
            self.waiting.push(id);
        }
        Some(&mut entry.sa)
    }

    /// For a change that lets nothing be found otherwise, and nothing fall due earlier.
    pub fn get_mut_quietly(&mut self, id: SaId) -> Option<&mut IkeSa> {
        self.sas.get_mut(&id).map(|entry| &mut entry.sa)
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = &IkeSa> {
        self.sas.values().map(|entry| &entry.sa)
    }

    /// The oldest first.
    pub fn ids(&self) -> Vec<SaId> {
        let mut ids: Vec<SaId> = self.sas.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Those of one connection, the oldest first.
    pub fn of_conn(&self, conn: usize) -> impl DoubleEndedIterator<Item = &IkeSa> {
        self.indices.by_conn.get(conn).into_iter().flatten().filter_map(|id| self.get(*id))
    }

    pub fn ids_of_conn(&self, conn: usize) -> Vec<SaId> {
        self.of_conn(conn).map(|sa| sa.id).collect()
    }

    pub fn by_spi(&self, spi: IkeSpi) -> Option<SaId> {
        self.indices.by_spi.get(&spi).copied()
    }

    pub fn by_spi_in(&self, spi: Spi) -> Option<SaId> {
        self.indices.by_spi_in.get(&spi).copied()
    }

    pub fn half_open(&self, remote: SocketAddr, spi: IkeSpi) -> Option<SaId> {
        self.indices.half_open.get(&(remote, spi)).copied()
    }

    pub fn half_open_count(&self) -> usize {
        self.indices.half_open.len()
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.indices.timers.first().map(|(at, _)| *at)
    }

    /// SAs of which something is due, the oldest first.
    pub fn take_due(&mut self, now: Instant) -> Vec<SaId> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.indices.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.indices.timers.remove(&(at, id));
            if let Some(entry) = self.sas.get_mut(&id) {
                entry.known.timer = None;
                if !core::mem::replace(&mut entry.changed, true) {
                    self.changed.push(id);
                }
            }
            due.push(id);
        }
        due.sort_unstable();
        due
    }

    /// SAs that may have a task to begin, the oldest first.
    pub fn take_waiting(&mut self) -> Vec<SaId> {
        let mut ids = core::mem::take(&mut self.waiting);
        ids.sort_unstable();
        for id in &ids {
            if let Some(entry) = self.sas.get_mut(id) {
                entry.waiting = false;
                if !core::mem::replace(&mut entry.changed, true) {
                    self.changed.push(*id);
                }
            }
        }
        ids
    }

    /// Brings the indices up to date.
    pub fn refresh(&mut self, core: &mut Core, dpd_at: impl Fn(&Core, &IkeSa) -> Option<Instant>) {
        for id in core::mem::take(&mut self.changed) {
            let Some(entry) = self.sas.get_mut(&id) else { continue };
            entry.changed = false;
            let gone = matches!(entry.sa.state, State::Gone);
            let mut now = if gone { Known::default() } else { Known::of(&entry.sa, dpd_at(core, &entry.sa)) };
            // A timer that is only put off stays where it is, finds nothing due, and is set anew then: most exchanges end
            // long before they would be repeated, and moving a timer costs more than one look too many.
            if now.timer.is_some_and(|due| entry.known.timer.is_some_and(|timer| timer < due)) {
                now.timer = entry.known.timer;
            }
            self.indices.follow(core, id, &entry.known, &now);
            entry.known = now;
            if gone {
                self.gone.push(id);
            }
        }
    }

    /// Forgets what is gone. Until then it can be asked where its peer was.
    pub fn sweep(&mut self) {
        for id in core::mem::take(&mut self.gone) {
            if let Some(entry) = self.sas.remove(&id) {
                self.indices.by_spi.remove(&entry.sa.local_spi);
            }
        }
    }

    /// The indices say what looking at every SA would. In tests of few SAs every step ends with this.
    #[cfg(debug_assertions)]
    pub fn check(&self, core: &Core, dpd_at: impl Fn(&Core, &IkeSa) -> Option<Instant>) {
        if self.sas.len() > 16 {
            return;
        }
        let mut fresh = Indices::default();
        for (id, entry) in &self.sas {
            let known = Known::of(&entry.sa, dpd_at(core, &entry.sa));
            // What an SA has heard since may have put its timer off.
            let is_late = known.timer.is_some_and(|due| entry.known.timer.is_none_or(|timer| timer > due));
            assert!(!is_late, "a timer is late");
            let known = Known { timer: entry.known.timer, ..known };
            fresh.by_spi.insert(entry.sa.local_spi, *id);
            fresh.put(*id, &known);
            assert!(known.pairs.iter().flat_map(|pair| pair.slots).all(|slot| core.sad.owner(slot) == Some(*id)));
            assert!(!entry.changed && !entry.waiting, "nobody has looked at a change");
        }
        fresh.by_conn.resize_with(self.indices.by_conn.len(), Vec::new);
        assert_eq!(self.indices, fresh);
    }
}

impl Indices {
    #[cfg(debug_assertions)]
    fn put(&mut self, id: SaId, known: &Known) {
        known.conn.inspect(|conn| self.join(*conn, id));
        self.half_open.extend(known.half_open.map(|key| (key, id)));
        self.timers.extend(known.timer.map(|at| (at, id)));
        for pair in &known.pairs {
            self.by_spi_in.insert(pair.spi_in, id);
        }
    }

    fn join(&mut self, conn: usize, id: SaId) {
        if self.by_conn.len() <= conn {
            self.by_conn.resize_with(conn + 1, Vec::new);
        }
        let Some(ids) = self.by_conn.get_mut(conn) else { return };
        ids.reserve_exact(1);
        let place = ids.partition_point(|other| *other < id);
        ids.insert(place, id);
    }

    fn leave(&mut self, conn: usize, id: SaId) {
        if let Some(ids) = self.by_conn.get_mut(conn) {
            ids.retain(|other| *other != id);
            ids.shrink_to(1);
        }
    }

    fn follow(&mut self, core: &mut Core, id: SaId, from: &Known, to: &Known) {
        if from.conn != to.conn {
            from.conn.inspect(|conn| self.leave(*conn, id));
            to.conn.inspect(|conn| self.join(*conn, id));
        }
        if from.half_open != to.half_open {
            // Another may stand there by now.
            from.half_open.inspect(|key| {
                if self.half_open.get(key) == Some(&id) {
                    self.half_open.remove(key);
                }
            });
            to.half_open.inspect(|key| _ = self.half_open.insert(*key, id));
        }
        if from.timer != to.timer {
            from.timer.inspect(|at| _ = self.timers.remove(&(*at, id)));
            to.timer.inspect(|at| _ = self.timers.insert((*at, id)));
        }
        if (from.usable, from.conn) != (to.usable, to.conn) {
            from.conn.filter(|_| from.usable).inspect(|conn| core.lost_peer(*conn));
            to.conn.filter(|_| to.usable).inspect(|conn| core.gained_peer(*conn));
        }
        if from.pairs != to.pairs {
            for pair in from.pairs.iter().filter(|pair| !to.pairs.contains(pair)) {
                // A rekey hands pairs over to another IKE SA, which may have been looked at before this one.
                if self.by_spi_in.get(&pair.spi_in) == Some(&id) {
                    self.by_spi_in.remove(&pair.spi_in);
                }
            }
            for pair in to.pairs.iter().filter(|pair| !from.pairs.contains(pair)) {
                self.by_spi_in.insert(pair.spi_in, id);
                pair.slots.iter().for_each(|slot| core.sad.own(*slot, id));
            }
        }
    }
}

impl Known {
    fn of(sa: &IkeSa, dpd_at: Option<Instant>) -> Self {
        let pair = |c: &ChildSa| Pair { spi_in: c.spi_in(), slots: [c.inbound.slot, c.outbound.slot] };
        let e = sa.established();
        let waiting = e.and_then(|e| match &e.pending.as_ref()?.wait {
            Wait::Install { child, .. } => Some(pair(child)),
            Wait::Child(_) | Wait::Ike(_) => None,
        });
        let mut pairs = Vec::new();
        let children = e.map(|e| e.children.as_slice()).unwrap_or_default();
        pairs.reserve_exact(children.len() + usize::from(waiting.is_some()));
        pairs.extend(children.iter().map(pair));
        pairs.extend(waiting);
        Self {
            conn: sa.conn,
            half_open: sa.is_half_open().then_some((sa.path.remote, sa.remote_spi)),
            timer: [sa.next_timeout(), dpd_at].into_iter().flatten().min(),
            usable: sa.usable().is_some(),
            pairs,
        }
    }
}
