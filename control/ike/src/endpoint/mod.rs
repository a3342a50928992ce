//! The sans-I/O machine: all IKE SAs of one gateway.

mod connect;
mod populate;
mod receive;
mod select;
mod snapshot;

use crate::{
    Config, DownReason, Event, InstallFailed, Output, SpiSource,
    exchange::sa_init::FirstAnswer,
    message::IkeSpi,
    sa::{IkeSa, Phase, State, TaskKind, Wait},
    sad::{Acknowledged, Sad},
    shared::{Core, Deferred, SaId},
};
use connect::Attempts;
use culvert_crypto::Provider;
use culvert_model::{Direction, SlotIndex, Spi};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

/// Call a `handle_*`, then `poll_output` until it is empty, then sleep until `poll_timeout`. Nothing happens between
/// calls. Each `Output::Install`, `Remove` and `Compute` must come back as `Event::Done` or `Event::Computed`.
pub struct Endpoint {
    core: Core,
    sas: BTreeMap<SaId, IkeSa>,
    by_spi: BTreeMap<IkeSpi, SaId>,
    attempts: BTreeMap<usize, Attempts>,
    shutdown_until: Option<Instant>,
}

impl Endpoint {
    pub fn new(config: Config, provider: Arc<dyn Provider>, spis: Box<dyn SpiSource>) -> Self {
        let attempts = (0..config.connections.len()).map(|conn| (conn, Attempts::default())).collect();
        Self {
            core: Core::new(config, provider, Sad::new(spis)),
            sas: BTreeMap::new(),
            by_spi: BTreeMap::new(),
            attempts,
            shutdown_until: None,
        }
    }

    /// Begins what `start_action = start` asks for.
    pub fn start(&mut self, now: Instant) {
        let children = self.core.config.connections.iter().enumerate();
        let children = children.flat_map(|(i, conn)| conn.children.iter().enumerate().map(move |(j, c)| (i, j, c)));
        let wanted: Vec<_> = children.filter(|(_, _, c)| c.start_action == crate::StartAction::Start).collect();
        let wanted: Vec<_> = wanted.into_iter().map(|(i, j, _)| (i, j)).collect();
        for (conn, child) in wanted {
            self.want(now, conn, child, now);
        }
        self.settle(now);
    }

    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Initiate { child } => {
                if let Some((conn, child)) = self.find_child(child) {
                    self.want(now, conn, child, now);
                }
            }
            Event::Acquire { child, flow, pfp } => {
                let found = self.find_child(child);
                if let Some((conn, child)) = found.and_then(|(conn, child)| self.populate(conn, child, &flow, pfp)) {
                    self.want(now, conn, child, now);
                }
            }
            Event::Done { token, result } => self.done(now, token, result),
            Event::Computed(result) => {
                if let Some(id) = self.core.computes.remove(&result.token) {
                    self.step(id, |sa, core| sa.computed(now, core, result));
                }
            }
            Event::SoftExpire { spi, direction } => self.rekey_child(now, spi, direction),
            Event::HardExpire { spi, direction } => self.with_child(spi, direction, |sa, spi_in| {
                if let Some(e) = sa.established_mut() {
                    e.close_child(now, spi_in, DownReason::Expired);
                }
            }),
            Event::PeerActivity { spi } => self.activity(now, spi),
            Event::PeerMoved { spi, remote } => self.peer_moved(spi, remote),
            Event::RekeyIke { connection } => self.rekey_ike(now, &connection),
            Event::Terminate { connection, child } => self.terminate(now, &connection, child.as_deref()),
            Event::Shutdown => self.shutdown(now),
        }
        self.settle(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let ids: Vec<_> = self
            .sas
            .iter()
            .filter(|(_, sa)| sa.next_timeout().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.step(id, |sa, core| sa.handle_timeout(now, core));
        }
        self.core.sad.handle_timeout(&mut self.core.outputs, now);
        self.dpd(now);
        self.settle_duplicates(now);
        self.settle(now);
        if self.shutdown_until.is_some_and(|at| at <= now) {
            let ids: Vec<_> = self.sas.keys().copied().collect();
            for id in ids {
                self.step(id, |sa, core| sa.vanish(now, core, DownReason::Terminated));
                self.sas.remove(&id);
            }
            self.shutdown_until = None;
            self.settle(now);
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let sas = self.sas.values().filter_map(IkeSa::next_timeout);
        let dpd = self.sas.values().filter_map(|sa| self.dpd_at(sa));
        let attempts = self.attempts.values().filter_map(Attempts::next_timeout).filter(|_| !self.core.shutdown);
        let own = [self.core.sad.next_timeout(), self.shutdown_until].into_iter().flatten();
        sas.chain(dpd).chain(attempts).chain(own).min()
    }

    /// After `Event::Shutdown`: everything is deleted and acknowledged, or the wait is over; all slots are free.
    pub fn is_idle(&self) -> bool {
        let over = |sa: &IkeSa| sa.established().is_some_and(|e| matches!(e.phase, Phase::Closed(_)));
        self.core.shutdown && self.sas.values().all(over) && self.core.sad.is_empty()
    }

    fn find_child(&self, id: culvert_model::ChildId) -> Option<(usize, usize)> {
        let (conn, config, _) = self.core.config.child(id)?;
        Some((conn, config.children.iter().position(|c| c.id == id)?))
    }

    /// One step of one IKE SA, then what became possible by it.
    fn step(&mut self, id: SaId, step: impl FnOnce(&mut IkeSa, &mut Core)) {
        if let Some(sa) = self.sas.get_mut(&id) {
            step(sa, &mut self.core);
        }
    }

    /// Runs queued tasks and what steps have deferred, until nothing is left to do.
    fn settle(&mut self, now: Instant) {
        loop {
            while let Some(deferred) = self.core.deferred.pop_front() {
                self.run(now, deferred);
            }
            let gone: Vec<_> =
                self.sas.iter().filter(|(_, sa)| matches!(sa.state, State::Gone)).map(|(id, _)| *id).collect();
            for id in gone {
                if let Some(sa) = self.sas.remove(&id) {
                    self.by_spi.remove(&sa.local_spi);
                }
            }
            self.core.established =
                self.sas.values().filter(|sa| sa.usable().is_some()).filter_map(|sa| sa.conn).collect();
            self.pump(now);
            for sa in self.sas.values_mut() {
                sa.run_tasks(now, &mut self.core);
            }
            if self.core.deferred.is_empty() {
                return;
            }
        }
    }

    fn adopt(&mut self, sa: IkeSa) {
        self.by_spi.insert(sa.local_spi, sa.id);
        self.sas.insert(sa.id, sa);
    }

    fn run(&mut self, now: Instant, deferred: Deferred) {
        match deferred {
            Deferred::Established { sa, initial_contact } => self.established(now, sa, initial_contact),
            Deferred::InitiationFailed { sa, conn, child, step, reason } => {
                self.initiation_failed(now, sa, conn, child, step, reason);
            }
            Deferred::ChildFailed { conn, child, peer, step, reason } => {
                self.child_failed(now, conn, child, peer, step, reason);
            }
            Deferred::Reselect(lane) => self.reselect(&lane),
            Deferred::Retire { child, conn, reason } => self.retire(now, *child, conn, reason),
            Deferred::Adopt(sa) => self.adopt(*sa),
        }
    }

    fn done(&mut self, now: Instant, token: u64, result: Result<(), InstallFailed>) {
        let Acknowledged::Installed(slot) = self.core.sad.acknowledge(token) else { return };
        let waits = |sa: &IkeSa| {
            let pending = sa.established().and_then(|e| e.pending.as_ref());
            pending.is_some_and(|p| matches!(&p.wait, Wait::Install { slot: s, .. } if *s == slot))
        };
        if let Some(id) = self.sas.values().find(|sa| waits(sa)).map(|sa| sa.id) {
            self.step(id, |sa, core| sa.inbound_installed(core, result.is_ok()));
        } else if result.is_err() {
            self.refused_by_data_plane(now, slot);
        }
    }

    fn refused_by_data_plane(&mut self, now: Instant, slot: SlotIndex) {
        for sa in self.sas.values_mut() {
            let Some(e) = sa.established_mut() else { continue };
            let found = e.children.iter().find(|c| c.inbound.slot == slot || c.outbound.slot == slot);
            if let Some(spi_in) = found.map(|c| c.spi_in()) {
                e.close_child(now, spi_in, DownReason::Expired);
            }
        }
    }

    fn with_child(&mut self, spi: Spi, direction: Direction, act: impl FnOnce(&mut IkeSa, Spi)) {
        let is = |c: &crate::child::ChildSa| match direction {
            Direction::Inbound => c.spi_in() == spi,
            Direction::Outbound => c.spi_out() == spi,
        };
        for sa in self.sas.values_mut() {
            let found = sa.established().and_then(|e| e.children.iter().find(|c| is(c))).map(|c| c.spi_in());
            if let Some(spi_in) = found {
                return act(sa, spi_in);
            }
        }
    }

    fn rekey_child(&mut self, now: Instant, spi: Spi, direction: Direction) {
        self.with_child(spi, direction, |sa, spi_in| {
            if let Some(e) = sa.established_mut() {
                e.enqueue(now, TaskKind::RekeyChild { spi_in });
            }
        });
    }

    fn rekey_ike(&mut self, now: Instant, connection: &str) {
        let conn = self.core.config.connections.iter().position(|c| c.name == connection);
        let sas = self.sas.values_mut().filter(|sa| sa.conn == conn && sa.usable().is_some());
        for e in sas.filter_map(IkeSa::established_mut) {
            e.enqueue(now, TaskKind::RekeyIke);
        }
    }

    fn activity(&mut self, now: Instant, spi: Spi) {
        let has = |sa: &IkeSa| sa.established().is_some_and(|e| e.child(spi).is_some());
        if let Some(id) = self.sas.values().find(|sa| has(sa)).map(|sa| sa.id) {
            self.step(id, |sa, core| {
                if let Some(e) = sa.established_mut() {
                    e.last_inbound = now;
                }
                sa.confirm(core, spi);
            });
        }
    }

    fn peer_moved(&mut self, spi: Spi, remote: std::net::SocketAddr) {
        let has = |sa: &IkeSa| sa.usable().is_some_and(|e| e.child(spi).is_some());
        let found = self.sas.values().find(|sa| has(sa) && sa.nat.may_be_followed() && sa.path.remote != remote);
        if let Some((id, local)) = found.map(|sa| (sa.id, sa.path.local)) {
            self.step(id, |sa, core| sa.move_to(core, crate::shared::Path { local, remote }));
        }
    }

    fn terminate(&mut self, now: Instant, connection: &str, child: Option<&str>) {
        let Some(conn) = self.core.config.connections.iter().position(|c| c.name == connection) else { return };
        let config = self.core.config.connections.get(conn);
        let child = child.map(|name| config.and_then(|c| c.children.iter().position(|c| c.name == name)));
        if let Some(attempts) = self.attempts.get_mut(&conn) {
            match child {
                Some(child) => attempts.forget(child),
                None => *attempts = Attempts::default(),
            }
        }
        for sa in self.sas.values_mut().filter(|sa| sa.conn == Some(conn)) {
            let Some(e) = sa.established_mut() else {
                if child.is_none() {
                    sa.abandon(&mut self.core);
                }
                continue;
            };
            match child {
                None => e.close(now, DownReason::Terminated),
                Some(child) => {
                    let spis: Vec<_> =
                        e.children.iter().filter(|c| Some(c.child) == child).map(|c| c.spi_in()).collect();
                    spis.into_iter().for_each(|spi| e.close_child(now, spi, DownReason::Terminated));
                }
            }
        }
    }

    fn shutdown(&mut self, now: Instant) {
        self.core.shutdown = true;
        self.shutdown_until = Some(now + self.core.config.settings.shutdown_wait);
        for sa in self.sas.values_mut() {
            match sa.established_mut() {
                Some(e) => e.close(now, DownReason::Terminated),
                None => sa.abandon(&mut self.core),
            }
        }
        self.core.sad.hurry = true;
        self.core.sad.handle_timeout(&mut self.core.outputs, now);
    }

    fn first_answer(
        &mut self,
        answer: Option<FirstAnswer>,
    ) -> Option<(crate::notify::Refusal, Option<crate::FailureReason>)> {
        match answer? {
            FirstAnswer::Sa(sa) => {
                self.adopt(*sa);
                None
            }
            FirstAnswer::Refuse(refusal, reason) => Some((refusal, reason)),
        }
    }
}

impl IkeSa {
    fn computed(&mut self, now: Instant, core: &mut Core, result: crate::ComputeResult) {
        let crate::ComputeResult { token, made } = result;
        match &self.state {
            State::Initiating(_) => {
                if let Err(reason) = self.initiating_computed(now, core, token, made) {
                    self.initiation_failed_at(core, crate::Step::IkeSaInit, reason);
                }
            }
            State::Responding(_) => {
                if let Err(reason) = self.responding_computed(core, token, made) {
                    self.report_refusal(core, crate::Step::IkeSaInit, crate::notify::Refusal::For(reason));
                }
            }
            State::Established(e) => match (&e.exchange, &e.pending) {
                (Some(crate::sa::Exchange::Child(x)), _) if x.waits_for(token) => {
                    self.child_computed(now, core, token, made)
                }
                (Some(crate::sa::Exchange::Ike(x)), _) if x.waits_for(token) => {
                    self.ike_computed(now, core, token, made)
                }
                (_, Some(p)) => match &p.wait {
                    Wait::Child(_) => self.child_answer_computed(now, core, token, made),
                    Wait::Ike(_) => self.ike_answer_computed(now, core, token, made),
                    Wait::Install { .. } => {}
                },
                _ => {}
            },
            State::Authenticating(_) | State::ExpectAuth(_) | State::Gone => {}
        }
    }

    /// Forgets an SA that is not established.
    fn abandon(&mut self, core: &mut Core) {
        if let State::Authenticating(s) = &mut self.state
            && let Some(offer) = s.child.take()
        {
            offer.cancel(core);
        }
        self.state = State::Gone;
    }
}
