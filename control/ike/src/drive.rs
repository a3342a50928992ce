//! What keeps an IKE SA going: its messages in, its timers, its queue of tasks.

use crate::{
    DownReason, FailureReason, Report, Step,
    channel::Turn,
    child::{ChildSa, ChildState},
    message::{Error, ExchangeType, Fault, Notify, OpenedMessage, Payload, Protected, Shape},
    notify::Refusal,
    sa::{Established, Exchange, IkeSa, Phase, State, TaskKind, Wait},
    shared::{Core, Deferred, Path},
};
use culvert_model::Spi;
use std::{sync::Arc, time::Instant};

/// Message IDs are 32 bits and may not wrap (RFC 7296 §2.2).
const MESSAGE_ID_REKEY: u32 = u32::MAX / 2;

/// A pair whose answer may still be on its way to the peer is left alone this long at most, and looked at this often.
const UNTOLD: core::time::Duration = core::time::Duration::from_secs(30);
const RETRY_UNTOLD: core::time::Duration = core::time::Duration::from_secs(1);

impl Established {
    /// The task is about a pair that the peer may not know of yet: it would answer CHILD_SA_NOT_FOUND and make the pair
    /// after that.
    fn is_untold(&self, kind: TaskKind, now: Instant) -> bool {
        let about = self.children.iter().find(|c| kind.is_about(c.spi_in()));
        about.is_some_and(|c| !c.confirmed && !c.initiated && now < c.created + UNTOLD)
    }
}

impl TaskKind {
    pub fn is_about(self, spi: Spi) -> bool {
        matches!(self, Self::RekeyChild { spi_in } | Self::DeleteChild { spi_in, .. } if spi_in == spi)
    }
}

impl IkeSa {
    /// Answers the peer's request whose turn it is.
    pub fn answer(&mut self, core: &mut Core, exchange: ExchangeType, payloads: &[Payload]) {
        let path = self.path;
        if let Some(e) = self.established_mut() {
            // What cannot be written is a bug of ours; the peer repeats its request and gives up.
            let _ = e.channel.respond(core, path, exchange, payloads);
        }
    }

    pub fn report_refusal(&self, core: &mut Core, step: Step, refusal: Refusal) {
        if let Some(reason) = refusal.reason() {
            let connection = self.conn.map(|c| core.connection_name(c));
            let peer = self.path.remote;
            core.report(Report::Failed { connection, child: None, peer, step, reason, retry_in: None });
        }
    }

    /// A datagram with an Encrypted payload for this SA.
    pub fn protected(&mut self, now: Instant, core: &mut Core, path: Path, message: &Protected<'_>) {
        let header = *message.header();
        let (channel, authenticating) = match &mut self.state {
            State::Authenticating(s) => (&mut s.channel, false),
            State::ExpectAuth(s) => (&mut s.channel, true),
            State::Established(e) => (&mut e.channel, false),
            State::Initiating(_) | State::Responding(_) | State::Gone => return,
        };
        if header.initiator == channel.initiator {
            return;
        }
        let opened = match message.open(&*core.provider, &channel.opener) {
            Ok(opened) => opened,
            Err(error @ Error::Peer(fault)) => {
                return self.bad_message(now, core, header.response, header.message_id, header.exchange, error, fault);
            }
            Err(error) => return core.report(Report::Dropped { remote: path.remote, reason: error }),
        };
        // §2.23: the peer behind a NAT may have moved; IKE_AUTH may come from port 4500. Only a request whose turn it is
        // shows that: any other may be a copy from elsewhere.
        let fresh = !header.response && channel.turn(header.message_id) == Turn::Next;
        if self.path != path && (authenticating || self.nat.may_be_followed()) && fresh {
            self.move_to(core, path);
        }
        match &mut self.state {
            State::Authenticating(s) => {
                if header.response
                    && header.exchange == ExchangeType::IkeAuth
                    && s.channel.answered(header.message_id)
                    && let Err(reason) = self.auth_response(now, core, &opened)
                {
                    self.initiation_failed(core, Step::IkeAuth, reason);
                }
            }
            State::ExpectAuth(s) => {
                let turn = s.channel.turn(header.message_id) == Turn::Next;
                if !header.response
                    && header.exchange == ExchangeType::IkeAuth
                    && turn
                    && let Err(reason) = self.auth_request(now, core, &opened)
                {
                    self.report_refusal(core, Step::IkeAuth, Refusal::For(reason));
                }
            }
            State::Established(_) if header.response => self.response(now, core, &opened),
            State::Established(_) => self.request(now, core, &opened),
            State::Initiating(_) | State::Responding(_) | State::Gone => {}
        }
    }

    /// The peer is somewhere else now: its Child SAs with their UDP encapsulation too (§2.23).
    pub fn move_to(&mut self, core: &mut Core, path: Path) {
        self.path = path;
        let Some(e) = self.established_mut() else { return };
        let pending = e.pending.as_mut().and_then(|p| match &mut p.wait {
            Wait::Install { child, .. } => Some(&mut **child),
            Wait::Child(_) | Wait::Ike(_) => None,
        });
        for child in e.children.iter_mut().chain(pending) {
            for spec in [&mut child.inbound, &mut child.outbound] {
                let spec = Arc::make_mut(spec);
                spec.tunnel.remote = path.remote.ip();
                if let Some(encapsulation) = &mut spec.encapsulation {
                    encapsulation.remote_port = path.remote.port();
                }
                core.sad.move_to(&mut core.outputs, spec);
            }
        }
    }

    /// The message is the peer's, and breaks the protocol.
    #[expect(clippy::too_many_arguments, reason = "the header's fields")]
    fn bad_message(
        &mut self,
        now: Instant,
        core: &mut Core,
        response: bool,
        id: u32,
        exchange: ExchangeType,
        error: Error,
        fault: Fault,
    ) {
        let (path, remote) = (self.path, self.path.remote);
        core.report(Report::Dropped { remote, reason: error });
        let notify = error.notify().map(|kind| Payload::Notify(Notify::with_data(kind, error.notify_data())));
        let channel = match &mut self.state {
            State::ExpectAuth(s) => &mut s.channel,
            State::Authenticating(_) if response => {
                return self.initiation_failed(core, Step::IkeAuth, FailureReason::BadMessage(error));
            }
            State::Established(e) if response => {
                if e.channel.answered(id) {
                    self.vanish(now, core, DownReason::ProtocolError);
                }
                return;
            }
            State::Established(e) => &mut e.channel,
            _ => return,
        };
        if channel.turn(id) != Turn::Next {
            return;
        }
        let _ = channel.respond(core, path, exchange, notify.as_slice());
        // §2.5: an unknown critical payload refuses the message, not the SA.
        if !matches!(fault, Fault::UnknownCritical { .. }) {
            self.vanish(now, core, DownReason::ProtocolError);
        }
    }

    fn request(&mut self, now: Instant, core: &mut Core, message: &OpenedMessage) {
        let path = self.path;
        let Some(e) = self.established_mut() else { return };
        match e.channel.turn(message.header.message_id) {
            Turn::Next if e.pending.is_some() || matches!(e.phase, Phase::Closed(_)) => return,
            Turn::Next => {}
            Turn::Again => return e.channel.repeat(core, path),
            Turn::Stale => return,
        }
        e.last_inbound = now;
        // With a window of one the peer has all our answers so far, and the inbound SAs they told of.
        let told: Vec<Spi> = e.children.iter().filter(|c| !c.confirmed).map(|c| c.spi_in()).collect();
        match (message.header.exchange, message.shape) {
            (_, Shape::ChildRequest) => self.child_request(now, core, message),
            (_, Shape::IkeRekeyRequest) => self.ike_request(core, message),
            (ExchangeType::Informational, _) => self.informational_request(now, core, message),
            (exchange, _) => self.answer(core, exchange, &[Refusal::InvalidSyntax.payload()]),
        }
        for spi in told {
            self.confirm(core, spi);
        }
    }

    /// The peer has its inbound SA of this pair.
    pub fn confirm(&mut self, core: &mut Core, spi_in: Spi) {
        if let Some(child) = self.established_mut().and_then(|e| e.child_mut(spi_in))
            && !child.confirmed
            && child.state == ChildState::Installed
        {
            child.confirmed = true;
            core.deferred.push_back(Deferred::Reselect(child.lane.clone()));
        }
    }

    fn response(&mut self, now: Instant, core: &mut Core, message: &OpenedMessage) {
        let Some(e) = self.established_mut() else { return };
        if !e.channel.answered(message.header.message_id) {
            return;
        }
        e.last_inbound = now;
        match &e.exchange {
            Some(Exchange::Child(_)) => self.child_response(now, core, message),
            Some(Exchange::Ike(_)) => self.ike_response(now, core, message),
            Some(Exchange::Dpd | Exchange::DeleteIke | Exchange::DeleteChild { .. }) => {
                if let Some(exchange) = e.exchange.take() {
                    self.informational_response(now, core, &exchange);
                }
            }
            None => {}
        }
    }

    /// Ends the SA here, without a word to the peer. It stays to repeat its last answer.
    pub fn vanish(&mut self, now: Instant, core: &mut Core, reason: DownReason) {
        let (conn, remote, linger) =
            (self.conn.unwrap_or_default(), self.path.remote, core.config.settings.half_open_timeout);
        let Some(e) = self.established_mut() else {
            self.state = State::Gone;
            return;
        };
        if !matches!(e.phase, Phase::Rekeyed | Phase::Closed(_)) {
            let connection = core.connection_name(conn);
            core.report(Report::IkeDown { connection, remote, reason });
        }
        let reason = if e.phase == Phase::Rekeyed { DownReason::Rekeyed } else { reason };
        e.phase = Phase::Closed(now + linger);
        e.tasks.clear();
        e.channel.outstanding = None;
        if let Some(Exchange::Child(mut x)) = e.exchange.take() {
            x.cancel(core);
        }
        if let Some(pending) = e.pending.take()
            && let Wait::Install { child, .. } = pending.wait
        {
            core.sad.drop_now(&mut core.outputs, child.inbound.slot);
            core.sad.drop_now(&mut core.outputs, child.outbound.slot);
        }
        for child in e.children.drain(..) {
            core.deferred.push_back(Deferred::Retire { child: Box::new(child), conn, reason });
        }
    }

    /// Timers, then the next task if the window is free.
    pub fn handle_timeout(&mut self, now: Instant, core: &mut Core) {
        match &mut self.state {
            State::Initiating(_) => {
                if let Err(reason) = self.initiating_timeout(now, core) {
                    self.initiation_failed(core, Step::IkeSaInit, reason);
                }
            }
            State::Authenticating(s) => {
                if let Err(tries) = s.channel.handle_timeout(now, core, self.path) {
                    let child = s.child.take().map(|offer| {
                        let child = offer.child;
                        offer.cancel(core);
                        child
                    });
                    self.state = State::Gone;
                    let (sa, conn) = (self.id, self.conn.unwrap_or_default());
                    let (step, reason) = (Step::IkeAuth, FailureReason::NoAnswer { tries });
                    core.deferred.push_back(Deferred::InitiationFailed { sa, conn, child, step, reason });
                }
            }
            State::Responding(s) if s.expires <= now => self.state = State::Gone,
            State::ExpectAuth(s) if s.expires <= now => self.state = State::Gone,
            State::Established(_) => self.established_timeout(now, core),
            State::Responding(_) | State::ExpectAuth(_) | State::Gone => {}
        }
    }

    fn established_timeout(&mut self, now: Instant, core: &mut Core) {
        let path = self.path;
        let Some(e) = self.established_mut() else { return };
        match e.phase {
            Phase::Closed(until) => {
                if until <= now {
                    self.state = State::Gone;
                }
                return;
            }
            Phase::Live | Phase::Rekeyed | Phase::Deleting(_) => {}
        }
        if e.channel.handle_timeout(now, core, path).is_err() {
            let reason = match e.phase {
                Phase::Deleting(reason) => reason,
                _ => DownReason::PeerDead,
            };
            return self.vanish(now, core, reason);
        }
        if e.expire_at.is_some_and(|at| at <= now) {
            e.expire_at = None;
            if e.phase == Phase::Rekeyed {
                e.enqueue(now, TaskKind::DeleteIke);
            } else {
                e.close(now, DownReason::Expired);
            }
        }
        if e.phase == Phase::Live {
            if e.rekey_at.is_some_and(|at| at <= now) || e.channel.next_id > MESSAGE_ID_REKEY {
                e.rekey_at = None;
                e.enqueue(now, TaskKind::RekeyIke);
            }
            self.children_timeout(now);
        }
        if let Some(e) = self.established_mut()
            && e.confirm_at.is_some_and(|at| at <= now)
        {
            e.confirm_at = None;
            let all: Vec<Spi> = e.children.iter().map(|c| c.spi_in()).collect();
            all.into_iter().for_each(|spi| self.confirm(core, spi));
        }
        self.run_tasks(now, core);
    }

    fn children_timeout(&mut self, now: Instant) {
        let Some(e) = self.established_mut() else { return };
        let (mut rekey, mut expired) = (Vec::new(), Vec::new());
        for child in &mut e.children {
            if child.rekey_at.is_some_and(|at| at <= now) && child.state == ChildState::Installed {
                child.rekey_at = None;
                rekey.push(child.spi_in());
            }
            if child.expire_at.is_some_and(|at| at <= now) && child.state != ChildState::Deleting {
                child.expire_at = None;
                expired.push(child.spi_in());
            }
        }
        for spi_in in rekey {
            e.enqueue(now, TaskKind::RekeyChild { spi_in });
        }
        for spi_in in expired {
            e.close_child(now, spi_in, DownReason::Expired);
        }
    }

    /// Begins the next exchange; one at a time (§2.3).
    pub fn run_tasks(&mut self, now: Instant, core: &mut Core) {
        loop {
            let Some(e) = self.established_mut() else { return };
            if e.exchange.is_some() {
                return;
            }
            let Some(at) = e.tasks.iter().position(|t| t.not_before <= now) else { return };
            let Some(task) = e.tasks.remove(at) else { return };
            // An SA that waits holds nothing that it does not need.
            e.tasks.shrink_to_fit();
            let live = e.phase == Phase::Live;
            if live && e.is_untold(task.kind, now) {
                e.enqueue_at(now + RETRY_UNTOLD, task.kind);
                continue;
            }
            let begun = match task.kind {
                TaskKind::CreateChild { child } if live => self.begin_child(now, core, child, None),
                TaskKind::RekeyChild { spi_in } if live => match e.child(spi_in) {
                    Some(c) if c.state == ChildState::Installed => {
                        let child = c.child;
                        self.begin_child(now, core, child, Some(spi_in))
                    }
                    _ => Ok(()),
                },
                TaskKind::DeleteChild { spi_in, reason } => {
                    if let Some(protocol) = e.child(spi_in).map(ChildSa::protocol) {
                        self.begin_informational(now, core, Exchange::DeleteChild { protocol, spi_in, reason });
                    }
                    Ok(())
                }
                TaskKind::DisownChild { protocol, spi_in } if live => {
                    let reason = DownReason::ProtocolError;
                    self.begin_informational(now, core, Exchange::DeleteChild { protocol, spi_in, reason });
                    Ok(())
                }
                // The peer's own request first: its answer belongs to this SA.
                TaskKind::RekeyIke if live && e.pending.is_some() => {
                    e.enqueue_at(now + core::time::Duration::from_secs(1), TaskKind::RekeyIke);
                    return;
                }
                TaskKind::RekeyIke if live => self.begin_ike_rekey(core),
                TaskKind::DeleteIke => {
                    self.begin_informational(now, core, Exchange::DeleteIke);
                    Ok(())
                }
                TaskKind::Dpd if live => {
                    self.begin_informational(now, core, Exchange::Dpd);
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(reason) = begun {
                self.begin_failed(now, core, task.kind, reason);
            }
        }
    }

    fn begin_failed(&mut self, now: Instant, core: &mut Core, kind: TaskKind, reason: FailureReason) {
        let (conn, peer) = (self.conn.unwrap_or_default(), self.path.remote);
        let Some(e) = self.established_mut() else { return };
        if matches!(e.exchange, Some(Exchange::Child(_))) {
            return self.child_failed(now, core, reason);
        }
        let later = now + core::time::Duration::from_secs(10);
        match kind {
            TaskKind::CreateChild { child } => {
                let step = Step::CreateChildSa;
                core.deferred.push_back(Deferred::ChildFailed { conn, child, peer, step, reason });
            }
            TaskKind::RekeyChild { spi_in } => {
                if let Some(child) = e.child_mut(spi_in) {
                    child.rekey_at = Some(later);
                }
            }
            TaskKind::RekeyIke => e.rekey_at = Some(later),
            TaskKind::DeleteChild { .. } | TaskKind::DisownChild { .. } | TaskKind::DeleteIke | TaskKind::Dpd => {}
        }
    }
}
