//! The sans-I/O machine: all IKE SAs of one gateway.

mod attempts;
mod connect;
mod populate;
mod receive;
mod select;
mod snapshot;
mod table;

use crate::{
    Config, DownReason, Event, InstallFailed, Output, SpiSource,
    exchange::sa_init::FirstAnswer,
    sa::{IkeSa, Phase, State, TaskKind, Wait},
    sad::{Acknowledged, Sad},
    shared::{Core, Deferred, SaId},
};
use attempts::Attempts;
use culvert_crypto::Provider;
use culvert_model::{Direction, SlotIndex, Spi};
use std::{sync::Arc, time::Instant};
use table::Table;

/// Call a `handle_*`, then `poll_output` until it is empty, then sleep until `poll_timeout`. Nothing happens between
/// calls. Each `Output::Install`, `Remove` and `Compute` must come back as `Event::Done` or `Event::Computed`.
pub struct Endpoint {
    core: Core,
    sas: Table,
    attempts: Attempts,
    shutdown_until: Option<Instant>,
}

impl Endpoint {
    pub fn new(config: Config, provider: Arc<dyn Provider>, spis: Box<dyn SpiSource>) -> Self {
        // Most connections have one IKE SA with one pair: maps that grew would hold everything up each time.
        let room = config.connections.len();
        Self {
            core: Core::new(config, provider, Sad::new(spis, room)),
            sas: Table::for_connections(room),
            attempts: Attempts::default(),
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
        let due = self.sas.take_due(now);
        for id in &due {
            if self.sas.get(*id).and_then(IkeSa::next_timeout).is_some_and(|at| at <= now) {
                self.step(*id, |sa, core| sa.handle_timeout(now, core));
            }
        }
        self.core.sad.handle_timeout(&mut self.core.outputs, now);
        self.dpd(now, &due);
        self.settle_duplicates(now, &due);
        self.settle(now);
        if self.shutdown_until.is_some_and(|at| at <= now) {
            for id in self.sas.ids() {
                self.step(id, |sa, core| {
                    sa.vanish(now, core, DownReason::Terminated);
                    sa.state = State::Gone;
                });
            }
            self.shutdown_until = None;
            self.settle(now);
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let attempts = self.attempts.next_timeout().filter(|_| !self.core.shutdown);
        let all = [self.sas.next_timeout(), attempts, self.core.sad.next_timeout(), self.shutdown_until];
        all.into_iter().flatten().min()
    }

    /// After `Event::Shutdown`: everything is deleted and acknowledged, or the wait is over; all slots are free.
    pub fn is_idle(&self) -> bool {
        let over = |sa: &IkeSa| sa.established().is_some_and(|e| matches!(e.phase, Phase::Closed(_)));
        self.core.shutdown && self.sas.iter().all(over) && self.core.sad.is_empty()
    }

    fn find_child(&self, id: culvert_model::ChildId) -> Option<(usize, usize)> {
        self.core.directory.child(id)
    }

    /// One step of one IKE SA, then what became possible by it.
    fn step(&mut self, id: SaId, step: impl FnOnce(&mut IkeSa, &mut Core)) {
        if let Some(sa) = self.sas.get_mut(id) {
            step(sa, &mut self.core);
        }
    }

    /// Runs queued tasks and what steps have deferred, until nothing is left to do.
    fn settle(&mut self, now: Instant) {
        loop {
            while let Some(deferred) = self.core.deferred.pop_front() {
                self.refresh();
                self.run(now, deferred);
            }
            self.refresh();
            self.sas.sweep();
            self.pump(now);
            for id in self.sas.take_waiting() {
                if let Some(sa) = self.sas.get_mut_quietly(id) {
                    sa.run_tasks(now, &mut self.core);
                }
            }
            if self.core.deferred.is_empty() {
                self.refresh();
                self.sas.sweep();
                #[cfg(debug_assertions)]
                self.sas.check(&self.core, Self::dpd_at);
                return;
            }
        }
    }

    fn refresh(&mut self) {
        self.sas.refresh(&mut self.core, Self::dpd_at);
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
            Deferred::Adopt(sa) => self.sas.insert(*sa),
        }
    }

    fn done(&mut self, now: Instant, token: u64, result: Result<(), InstallFailed>) {
        let Acknowledged::Installed(slot) = self.core.sad.acknowledge(token) else { return };
        let waits = |sa: &IkeSa| {
            let pending = sa.established().and_then(|e| e.pending.as_ref());
            pending.is_some_and(|p| matches!(&p.wait, Wait::Install { slot: s, .. } if *s == slot))
        };
        let holder = self.core.sad.owner(slot);
        if let Some(id) = holder.filter(|id| self.sas.get(*id).is_some_and(waits)) {
            self.step(id, |sa, core| sa.inbound_installed(core, result.is_ok()));
        } else if result.is_err() {
            self.refused_by_data_plane(now, slot);
        }
    }

    fn refused_by_data_plane(&mut self, now: Instant, slot: SlotIndex) {
        let Some(spi_in) = self.pair_of(slot) else { return };
        let holder = self.core.sad.owner(slot).and_then(|id| self.sas.get_mut(id));
        if let Some(e) = holder.and_then(IkeSa::established_mut) {
            e.close_child(now, spi_in, DownReason::Expired);
        }
    }

    fn with_child(&mut self, spi: Spi, direction: Direction, act: impl FnOnce(&mut IkeSa, Spi)) {
        // Outbound SPIs are the peers' choice and no index: who names one may as well name the pair's inbound SA.
        let found = match direction {
            Direction::Inbound => self.sas.by_spi_in(spi).map(|id| (id, spi)),
            Direction::Outbound => self.sas.iter().find_map(|sa| {
                let pair = sa.established()?.children.iter().find(|c| c.spi_out() == spi)?;
                Some((sa.id, pair.spi_in()))
            }),
        };
        let Some((id, spi_in)) = found else { return };
        if let Some(sa) = self.sas.get_mut(id).filter(|sa| sa.established().is_some_and(|e| e.child(spi_in).is_some()))
        {
            act(sa, spi_in);
        }
    }

    /// The inbound SPI of the pair that has this slot. Outbound SPIs are the peers' choice and tell nothing.
    pub fn pair_of(&self, slot: SlotIndex) -> Option<Spi> {
        let e = self.sas.get(self.core.sad.owner(slot)?)?.established()?;
        e.children.iter().find(|c| c.inbound.slot == slot || c.outbound.slot == slot).map(|c| c.spi_in())
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
        let Some(conn) = conn else { return };
        for id in self.sas.ids_of_conn(conn) {
            let usable = self.sas.get_mut(id).filter(|sa| sa.usable().is_some());
            if let Some(e) = usable.and_then(IkeSa::established_mut) {
                e.enqueue(now, TaskKind::RekeyIke);
            }
        }
    }

    fn activity(&mut self, now: Instant, spi: Spi) {
        let Some(id) = self.sas.by_spi_in(spi) else { return };
        // Heard of ten times a second while traffic flows, and all that it moves is when the peer is asked next: the timer
        // stands where it was, finds nothing due, and is set anew.
        let Some(e) = self.sas.get_mut_quietly(id).and_then(IkeSa::established_mut) else { return };
        let Some(confirmed) = e.child(spi).map(|c| c.confirmed) else { return };
        e.last_inbound = now;
        if !confirmed {
            self.step(id, |sa, core| sa.confirm(core, spi));
        }
    }

    fn peer_moved(&mut self, spi: Spi, remote: std::net::SocketAddr) {
        let has = |sa: &&IkeSa| sa.usable().is_some_and(|e| e.child(spi).is_some());
        let found = self.sas.by_spi_in(spi).and_then(|id| self.sas.get(id)).filter(has);
        let found = found.filter(|sa| sa.nat.may_be_followed() && sa.path.remote != remote);
        if let Some((id, local)) = found.map(|sa| (sa.id, sa.path.local)) {
            self.step(id, |sa, core| sa.move_to(core, crate::shared::Path { local, remote }));
        }
    }

    fn terminate(&mut self, now: Instant, connection: &str, child: Option<&str>) {
        let Some(conn) = self.core.config.connections.iter().position(|c| c.name == connection) else { return };
        let config = self.core.config.connections.get(conn);
        let child = child.map(|name| config.and_then(|c| c.children.iter().position(|c| c.name == name)));
        match child {
            Some(Some(child)) => self.attempts.forget(conn, child),
            Some(None) => {}
            None => self.attempts.forget_all(conn),
        }
        for id in self.sas.ids_of_conn(conn) {
            let Some(sa) = self.sas.get_mut(id) else { continue };
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
        for id in self.sas.ids() {
            let Some(sa) = self.sas.get_mut(id) else { continue };
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
                self.sas.insert(*sa);
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
