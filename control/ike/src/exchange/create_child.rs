//! CREATE_CHILD_SA for a new Child SA and for the rekey of one (RFC 7296 §1.3.1, §1.3.3, §2.8, §2.25.1).

use crate::{
    ComputeToken, DownReason, FailureReason, Report, Step,
    api::{Made, Work},
    child::{ChildSa, ChildState},
    exchange::child_answer::{self, ChildOffer, Parent, Responded},
    message::{
        ExchangeType, KeyExchangeData, Nonce, Notify, NotifyType, OpenedMessage, Payload, Payloads, Protocol, Shape,
    },
    notify::Refusal,
    sa::{Established, Exchange, IkeSa, Pending, Phase, State, TaskKind, Wait},
    shared::{Core, Deferred},
};
use core::time::Duration;
use culvert_crypto::{CryptoError, KeyExchange};
use culvert_model::{IpsecProtocol, KeGroup, SecretKey, Spi};
use std::{sync::Arc, time::Instant};

const NONCE_LEN: usize = 32;
/// Pairs of one child that a peer may have in one IKE SA at once.
const MAX_PAIRS: usize = 8;
/// Pause after TEMPORARY_FAILURE and other refusals of a rekey, and as much again at random.
const RETRY: Duration = Duration::from_secs(2);

/// Our request for a Child SA.
pub(crate) struct ChildExchange {
    pub child: usize,
    offer: Option<ChildOffer>,
    nonce: [u8; NONCE_LEN],
    group: Option<KeGroup>,
    key: Option<Box<dyn KeyExchange>>,
    /// Inbound SPI of the pair that is rekeyed.
    pub rekeys: Option<Spi>,
    compute: Option<ComputeToken>,
    answer: Option<Vec<Payload>>,
    /// The peer rekeyed the same pair: its new pair and the lower nonce of that exchange.
    pub collision: Option<(Spi, Arc<[u8]>)>,
    tried: Vec<KeGroup>,
}

impl ChildExchange {
    pub fn cancel(&mut self, core: &mut Core) {
        if let Some(offer) = self.offer.take() {
            offer.cancel(core);
        }
    }

    pub fn waits_for(&self, token: ComputeToken) -> bool {
        self.compute == Some(token)
    }

    fn step(&self) -> Step {
        if self.rekeys.is_some() { Step::RekeyChildSa } else { Step::CreateChildSa }
    }
}

impl IkeSa {
    pub(crate) fn parent<'a>(&self, e: &'a Established) -> Parent<'a> {
        Parent { conn: self.conn.unwrap_or_default(), path: self.path, nat: self.nat, prf: e.suite.prf, sk_d: &e.sk_d }
    }

    pub fn begin_child(
        &mut self,
        now: Instant,
        core: &mut Core,
        child: usize,
        rekeys: Option<Spi>,
    ) -> Result<(), FailureReason> {
        let conn = self.conn.unwrap_or_default();
        let config = core.config.connections.get(conn).and_then(|c| c.children.get(child));
        let group = config.and_then(|c| c.child_proposals.first()).and_then(|p| p.groups.first()).copied();
        let nonce = core.random()?;
        let offer = Some(ChildOffer::new(core, conn, self.nat, child)?);
        let compute = group.map(|group| core.compute(self.id, Work::Generate(group)));
        let tried = group.into_iter().collect();
        let exchange = ChildExchange {
            child,
            offer,
            nonce,
            group,
            key: None,
            rekeys,
            compute,
            answer: None,
            collision: None,
            tried,
        };
        let Some(e) = self.established_mut() else { return Ok(()) };
        if let Some(old) = rekeys.and_then(|spi| e.child_mut(spi)) {
            old.state = ChildState::Rekeying;
        }
        e.exchange = Some(Exchange::Child(Box::new(exchange)));
        if group.is_none() { self.send_child(now, core) } else { Ok(()) }
    }

    fn send_child(&mut self, now: Instant, core: &mut Core) -> Result<(), FailureReason> {
        let (path, conn) = (self.path, self.conn.unwrap_or_default());
        let Some(e) = self.established_mut() else { return Ok(()) };
        let Some(Exchange::Child(x)) = &e.exchange else { return Ok(()) };
        let Some(offer) = &x.offer else { return Ok(()) };
        let nonce = Nonce::new(x.nonce.to_vec()).map_err(|_| FailureReason::UnexpectedAnswer)?;
        let mut payloads = vec![Payload::Nonce(nonce)];
        let rekeys = x.rekeys.and_then(|spi| e.child(spi));
        payloads
            .extend(rekeys.map(|c| Payload::Notify(Notify::about_sa(NotifyType::RekeySa, c.protocol(), c.spi_in()))));
        payloads.extend(x.key.as_ref().map(|key| Payload::Ke(KeyExchangeData::new(key.group(), key.public()))));
        payloads.extend(offer.payloads(core, conn, true));
        let sent = e.channel.request(now, core, path, ExchangeType::CreateChildSa, &payloads);
        sent.map_err(FailureReason::Encode)
    }

    pub fn child_computed(
        &mut self,
        now: Instant,
        core: &mut Core,
        token: ComputeToken,
        made: Result<Made, CryptoError>,
    ) {
        let Some(e) = self.established_mut() else { return };
        let Some(Exchange::Child(x)) = &mut e.exchange else { return };
        if x.compute != Some(token) {
            return;
        }
        x.compute = None;
        let done = match made {
            Err(error) => Err(FailureReason::KeyExchange(error)),
            Ok(Made::Generated(key)) => {
                x.key = Some(key);
                self.send_child(now, core)
            }
            Ok(Made::Agreed(secret)) => {
                let payloads = x.answer.take().unwrap_or_default();
                let shared = x.group.map(|group| (group, secret));
                return self.finish_child(now, core, &payloads, shared);
            }
            Ok(Made::Responded { .. }) => Ok(()),
        };
        if let Err(reason) = done {
            self.child_failed(now, core, reason);
        }
    }

    pub fn child_response(&mut self, now: Instant, core: &mut Core, message: &OpenedMessage) {
        let id = self.id;
        let Some(e) = self.established_mut() else { return };
        let Some(Exchange::Child(x)) = &mut e.exchange else { return };
        let payloads = message.payloads.as_slice();
        if message.shape != Shape::ChildResponse {
            if let Some(group) = child_answer::wanted_group(payloads)
                && !x.tried.contains(&group)
            {
                x.tried.push(group);
                x.group = Some(group);
                x.key = None;
                x.compute = Some(core.compute(id, Work::Generate(group)));
                return;
            }
            let reason = child_answer::refusal_of(payloads).unwrap_or(FailureReason::UnexpectedAnswer);
            return self.child_failed(now, core, reason);
        }
        match (payloads.ke(), x.key.take()) {
            (Some(ke), Some(key)) if ke.group() == x.group => {
                x.compute = Some(core.compute(id, Work::Agree(key, ke.data.clone())));
                x.answer = Some(message.payloads.clone());
            }
            // The peer may choose a proposal without a group, if we offered one.
            (None, _) => self.finish_child(now, core, payloads, None),
            _ => self.child_failed(now, core, FailureReason::UnexpectedAnswer),
        }
    }

    fn finish_child(
        &mut self,
        now: Instant,
        core: &mut Core,
        payloads: &[Payload],
        shared: Option<(KeGroup, SecretKey)>,
    ) {
        let State::Established(mut e) = core::mem::replace(&mut self.state, State::Gone) else { return };
        let exchange = e.exchange.take();
        let offered = if let Some(Exchange::Child(x)) = &exchange { x.offer.as_ref() } else { None };
        let spi_in = offered.map(|offer| offer.spi_in);
        let made = match exchange {
            Some(Exchange::Child(mut x)) => match (x.offer.take(), payloads.nonce()) {
                (Some(offer), Some(nr)) => {
                    let (ni, nr) = (x.nonce.to_vec(), nr.as_bytes().to_vec());
                    let parent = self.parent(&e);
                    let child = offer.complete(now, core, parent, payloads, &ni, &nr, true, shared);
                    Some((child, x))
                }
                (offer, _) => {
                    if let Some(offer) = offer {
                        offer.cancel(core);
                    }
                    Some((Err(FailureReason::UnexpectedAnswer), x))
                }
            },
            other => {
                e.exchange = other;
                None
            }
        };
        self.state = State::Established(e);
        match made {
            Some((Ok(child), x)) => self.settle_child(now, core, child, &x),
            Some((Err(reason), x)) => {
                if let Some(e) = self.established_mut() {
                    e.disown(now, payloads, spi_in);
                    e.exchange = Some(Exchange::Child(x));
                }
                self.child_failed(now, core, reason);
            }
            None => {}
        }
    }

    /// Our new pair stands. §2.8.1: of two exchanges for the same old pair, the one with the lowest nonce loses.
    fn settle_child(&mut self, now: Instant, core: &mut Core, mut child: ChildSa, x: &ChildExchange) {
        let new_spi = child.spi_in();
        let lost = x.collision.as_ref().is_some_and(|(_, theirs)| child.lowest_nonce < *theirs);
        if lost {
            // Ours never carries traffic.
            child.confirmed = false;
            child.state = ChildState::Rekeyed;
            let Some(e) = self.established_mut() else { return };
            if let Some(old) = x.rekeys.and_then(|spi| e.child_mut(spi))
                && old.state == ChildState::Rekeying
            {
                old.state = ChildState::Rekeyed;
            }
            e.put_child(child);
            e.close_child(now, new_spi, DownReason::Duplicate);
            return;
        }
        if let Some((theirs, _)) = &x.collision
            && let Some(loser) = self.established_mut().and_then(|e| e.child_mut(*theirs))
        {
            loser.state = ChildState::Rekeyed;
            loser.confirmed = false;
        }
        self.add_child(core, child, x.rekeys);
        if let (Some(old), Some(e)) = (x.rekeys, self.established_mut()) {
            e.close_child(now, old, DownReason::Rekeyed);
        }
    }

    /// Our exchange did not make a pair.
    pub fn child_failed(&mut self, now: Instant, core: &mut Core, reason: FailureReason) {
        let (conn, peer) = (self.conn.unwrap_or_default(), self.path.remote);
        let pause = RETRY + core.jitter(RETRY);
        let Some(e) = self.established_mut() else { return };
        let Some(Exchange::Child(mut x)) = e.exchange.take() else { return };
        x.cancel(core);
        let step = x.step();
        let kind = if let FailureReason::Refused { kind } = reason {
            NotifyType::from_wire(kind)
        } else {
            NotifyType::Unknown(0)
        };
        match x.rekeys {
            // The peer's own rekey of the pair came about: it will delete the old one.
            Some(old_spi) if x.collision.is_some() => {
                if let Some(old) = e.child_mut(old_spi)
                    && old.state == ChildState::Rekeying
                {
                    old.state = ChildState::Rekeyed;
                }
            }
            Some(old_spi) if kind == NotifyType::ChildSaNotFound => {
                // The peer does not have it; neither do we from now on (§2.25).
                if let Some(old) = e.take_child(old_spi) {
                    core.deferred.push_back(Deferred::Retire {
                        child: Box::new(old),
                        conn,
                        reason: DownReason::DeletedByPeer,
                    });
                }
            }
            Some(old_spi) => {
                if let Some(old) = e.child_mut(old_spi)
                    && old.state == ChildState::Rekeying
                {
                    old.state = ChildState::Installed;
                    old.rekey_at = Some(now + if kind == NotifyType::TemporaryFailure { pause } else { pause * 5 });
                }
                if kind != NotifyType::TemporaryFailure {
                    let connection = Some(core.connection_name(conn));
                    core.report(Report::Failed {
                        connection,
                        child: None,
                        peer,
                        step,
                        reason,
                        retry_in: Some(pause * 5),
                    });
                }
            }
            None => core.deferred.push_back(Deferred::ChildFailed { conn, child: x.child, peer, step, reason }),
        }
    }

    /// A pair that may carry traffic.
    pub fn add_child(&mut self, core: &mut Core, child: ChildSa, rekeys: Option<Spi>) {
        let conn = self.conn.unwrap_or_default();
        let connection = core.connection_name(conn);
        let name = core.config.connections.get(conn).and_then(|c| c.children.get(child.child));
        let name = name.map_or_else(String::new, |c| c.name.clone());
        let (spi_in, spi_out) = (child.spi_in(), child.spi_out());
        core.report(match rekeys {
            Some(old_spi_in) => Report::ChildRekeyed { connection, name, child: child.id, old_spi_in, spi_in, spi_out },
            None => Report::ChildUp {
                connection,
                name,
                child: child.id,
                spi_in,
                spi_out,
                suite: child.suite.suite,
                local_ts: child.inbound.local_ts.clone(),
                remote_ts: child.inbound.remote_ts.clone(),
            },
        });
        core.deferred.push_back(Deferred::Reselect(child.lane.clone()));
        let delay = core.config.settings.duplicate_delay;
        let delay = delay + core.jitter(delay);
        if let Some(e) = self.established_mut() {
            if e.children.iter().any(|c| c.id == child.id && c.state == ChildState::Installed) {
                e.settle_at = Some(child.created + delay);
            }
            e.put_child(child);
        }
    }

    /// The peer's request for a Child SA.
    pub fn child_request(&mut self, now: Instant, core: &mut Core, message: &OpenedMessage) {
        match self.accept_child(now, core, message) {
            Ok(pending) => {
                if let Some(e) = self.established_mut() {
                    e.pending = Some(pending);
                }
            }
            Err(refusal) => {
                self.answer(core, ExchangeType::CreateChildSa, &[refusal.payload()]);
                self.report_refusal(core, Step::CreateChildSa, refusal);
            }
        }
    }

    fn accept_child(&mut self, now: Instant, core: &mut Core, message: &OpenedMessage) -> Result<Pending, Refusal> {
        let payloads = message.payloads.as_slice();
        let (id, conn) = (self.id, self.conn.unwrap_or_default());
        let Some(e) = self.established_mut() else { return Err(Refusal::Temporary) };
        // §2.25.2: not while the IKE SA itself is replaced or closed.
        if e.phase != Phase::Live || matches!(e.exchange, Some(Exchange::Ike(_))) || core.shutdown {
            return Err(Refusal::Temporary);
        }
        let (mut rekeys, mut only) = (None, None);
        if let Some(notify) = payloads.notify(NotifyType::RekeySa) {
            let not_found = || Refusal::ChildNotFound(notify.protocol, notify.spi.clone());
            let protocol = if notify.protocol == Protocol::Ah { IpsecProtocol::Ah } else { IpsecProtocol::Esp };
            let spi = notify.child_spi().ok_or_else(not_found)?;
            let asking = matches!(e.exchange, Some(Exchange::Child(_)));
            let Some(old) = e.by_outbound(protocol, spi.get()) else {
                // The pair may be the one that an answer still under way tells of.
                return Err(if asking { Refusal::Temporary } else { not_found() });
            };
            if old.state == ChildState::Deleting {
                return Err(Refusal::Temporary);
            }
            (rekeys, only) = (Some(old.spi_in()), Some(old.child));
        }
        let ni = payloads.nonce().ok_or(Refusal::InvalidSyntax)?.as_bytes().to_vec();
        let nr: [u8; NONCE_LEN] = core.random().map_err(Refusal::For)?;
        let nat = self.nat;
        let mut chosen = child_answer::choose(core, conn, nat, payloads, true, only, (ni, nr.to_vec()))?;
        // Two ends that rekey at once make three; a peer that makes more takes slots from others.
        let pairs = |e: &Established| e.children.iter().filter(|c| c.child == chosen.child).count();
        if self.established().is_some_and(|e| pairs(e) >= MAX_PAIRS) {
            return Err(Refusal::For(FailureReason::NoSlot));
        }
        chosen.rekeys = rekeys;
        let exchange = ExchangeType::CreateChildSa;
        let wait = match (chosen.suite.group, payloads.ke()) {
            (Some(group), Some(ke)) => {
                chosen.compute = Some(core.compute(id, Work::Respond(group, ke.data.clone())));
                return Ok(Pending {
                    exchange,
                    payloads: vec![],
                    wait: Wait::Child(Box::new(chosen)),
                    initial_contact: false,
                });
            }
            _ => self.install_answer(now, core, chosen, None)?,
        };
        Ok(Pending { exchange, payloads: wait.0, wait: wait.1, initial_contact: false })
    }

    fn install_answer(
        &self,
        now: Instant,
        core: &mut Core,
        chosen: child_answer::ChildAnswer,
        responded: Responded,
    ) -> Result<(Vec<Payload>, Wait), Refusal> {
        let e = self.established().ok_or(Refusal::Temporary)?;
        chosen.install(now, core, self.parent(e), responded, true)
    }

    pub fn child_answer_computed(
        &mut self,
        now: Instant,
        core: &mut Core,
        token: ComputeToken,
        made: Result<Made, CryptoError>,
    ) {
        let Some(e) = self.established_mut() else { return };
        let chosen = match e.pending.take() {
            Some(Pending { wait: Wait::Child(chosen), .. }) if chosen.compute == Some(token) => chosen,
            other => {
                e.pending = other;
                return;
            }
        };
        let responded = match made {
            Ok(Made::Responded { public, shared }) => Ok(Some((public, shared))),
            Ok(_) => Err(Refusal::Temporary),
            Err(error) => Err(Refusal::For(FailureReason::KeyExchange(error))),
        };
        let installed = responded.and_then(|responded| self.install_answer(now, core, *chosen, responded));
        match installed {
            Ok((payloads, wait)) => {
                if let Some(e) = self.established_mut() {
                    let exchange = ExchangeType::CreateChildSa;
                    e.pending = Some(Pending { exchange, payloads, wait, initial_contact: false });
                }
            }
            Err(refusal) => {
                self.answer(core, ExchangeType::CreateChildSa, &[refusal.payload()]);
                self.report_refusal(core, Step::CreateChildSa, refusal);
            }
        }
    }

    /// The data plane has our inbound SA: now the peer may know.
    pub fn inbound_installed(&mut self, core: &mut Core, installed: bool) {
        let Some(e) = self.established_mut() else { return };
        let Some(Pending { exchange, mut payloads, wait: Wait::Install { child, rekeys, .. }, initial_contact }) =
            e.pending.take()
        else {
            return;
        };
        if !installed {
            let refusal = Refusal::For(FailureReason::DataPlaneRefused);
            core.sad.drop_now(&mut core.outputs, child.inbound.slot);
            core.sad.drop_now(&mut core.outputs, child.outbound.slot);
            if exchange == ExchangeType::IkeAuth {
                payloads.truncate(2);
            } else {
                payloads.clear();
            }
            payloads.push(refusal.payload());
            self.answer(core, exchange, &payloads);
            return self.report_refusal(core, Step::CreateChildSa, refusal);
        }
        if let Some(old_spi) = rekeys {
            if let Some(Exchange::Child(ours)) = &mut e.exchange
                && ours.rekeys == Some(old_spi)
            {
                ours.collision = Some((child.spi_in(), child.lowest_nonce.clone()));
            } else if let Some(old) = e.child_mut(old_spi) {
                old.state = ChildState::Rekeyed;
            }
            e.tasks.retain(|t| t.kind != TaskKind::RekeyChild { spi_in: old_spi });
        }
        self.answer(core, exchange, &payloads);
        if exchange == ExchangeType::IkeAuth {
            core.deferred.push_back(Deferred::Established { sa: self.id, initial_contact });
        }
        self.add_child(core, *child, rekeys);
    }
}
