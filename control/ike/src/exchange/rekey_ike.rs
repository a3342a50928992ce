//! CREATE_CHILD_SA for the rekey of the IKE SA (RFC 7296 §1.3.2, §2.18, §2.25.2).
//!
//! The Child SAs move to the new IKE SA: at the responder when it answers, at the initiator when it has the answer.

use crate::{
    ComputeToken, FailureReason, Report, Step,
    api::{Made, Work},
    channel::Channel,
    exchange::child_answer,
    keys::{IkeKeys, IkeSuite, Pairing, Seed},
    message::{
        ExchangeType, IkeSpi, KeyExchangeData, Nonce, NotifyType, OpenedMessage, Payload, Payloads, Proposal,
        SecurityAssociation, Shape,
    },
    negotiate,
    notify::Refusal,
    sa::{Established, Exchange, IkeSa, Pending, Phase, State, TaskKind, Wait},
    shared::{Core, Deferred, SaId},
};
use core::time::Duration;
use culvert_crypto::{CryptoError, KeyExchange};
use culvert_model::{KeGroup, SecretKey};
use std::time::Instant;

const NONCE_LEN: usize = 32;
const RETRY: Duration = Duration::from_secs(2);
/// A responder's old IKE SA that is not deleted after this long is deleted by us.
const GRACE: Duration = Duration::from_secs(60);

/// Our request for a new IKE SA.
pub(crate) struct IkeExchange {
    spi: IkeSpi,
    nonce: [u8; NONCE_LEN],
    group: KeGroup,
    key: Option<Box<dyn KeyExchange>>,
    compute: Option<ComputeToken>,
    answer: Option<(IkeSuite, IkeSpi, Vec<u8>)>,
    tried: Vec<KeGroup>,
}

/// The peer's request for a new IKE SA, while its answer is computed.
pub(crate) struct IkeAnswer {
    suite: IkeSuite,
    proposal: Proposal,
    remote_spi: IkeSpi,
    ni: Vec<u8>,
    pub compute: ComputeToken,
}

/// The new IKE SA's parts.
struct Fresh<'a> {
    suite: IkeSuite,
    initiator: bool,
    local_spi: IkeSpi,
    remote_spi: IkeSpi,
    ni: &'a [u8],
    nr: &'a [u8],
    shared: &'a SecretKey,
}

impl IkeExchange {
    pub fn waits_for(&self, token: ComputeToken) -> bool {
        self.compute == Some(token)
    }
}

impl IkeSa {
    pub fn begin_ike_rekey(&mut self, core: &mut Core) -> Result<(), FailureReason> {
        let id = self.id;
        let proposals = self.conn.and_then(|c| core.config.connections.get(c)).map(|c| c.proposals.clone());
        let proposals = proposals.unwrap_or_default();
        let Some(e) = self.established_mut() else { return Ok(()) };
        // The group in use is the likeliest to be taken.
        let offered = proposals.iter().any(|p| p.groups.contains(&e.suite.group));
        let group =
            if offered { Some(e.suite.group) } else { proposals.first().and_then(|p| p.groups.first()).copied() };
        let group = group.ok_or(FailureReason::NoIkeProposal { ours: vec![], theirs: String::new() })?;
        let (spi, nonce) = (core.spi()?, core.random()?);
        let compute = Some(core.compute(id, Work::Generate(group)));
        let exchange = IkeExchange { spi, nonce, group, key: None, compute, answer: None, tried: vec![group] };
        e.exchange = Some(Exchange::Ike(Box::new(exchange)));
        Ok(())
    }

    fn send_ike(&mut self, now: Instant, core: &mut Core) -> Result<(), FailureReason> {
        let path = self.path;
        let proposals = self.conn.and_then(|c| core.config.connections.get(c)).map(|c| c.proposals.clone());
        let Some(e) = self.established_mut() else { return Ok(()) };
        let Some(Exchange::Ike(x)) = &e.exchange else { return Ok(()) };
        let Some(key) = &x.key else { return Ok(()) };
        let payloads = [
            Payload::Sa(negotiate::offer_ike(&proposals.unwrap_or_default(), &x.spi.0)),
            Payload::Nonce(Nonce::new(x.nonce.to_vec()).map_err(|_| FailureReason::UnexpectedAnswer)?),
            Payload::Ke(KeyExchangeData::new(x.group, key.public())),
        ];
        let sent = e.channel.request(now, core, path, ExchangeType::CreateChildSa, &payloads);
        sent.map_err(FailureReason::Encode)
    }

    pub fn ike_computed(
        &mut self,
        now: Instant,
        core: &mut Core,
        token: ComputeToken,
        made: Result<Made, CryptoError>,
    ) {
        let Some(e) = self.established_mut() else { return };
        let Some(Exchange::Ike(x)) = &mut e.exchange else { return };
        if x.compute != Some(token) {
            return;
        }
        x.compute = None;
        let done = match made {
            Err(error) => Err(FailureReason::KeyExchange(error)),
            Ok(Made::Generated(key)) => {
                x.key = Some(key);
                self.send_ike(now, core)
            }
            Ok(Made::Agreed(shared)) => self.finish_ike(now, core, &shared),
            Ok(Made::Responded { .. }) => Ok(()),
        };
        if let Err(reason) = done {
            self.ike_rekey_failed(now, core, reason);
        }
    }

    pub fn ike_response(&mut self, now: Instant, core: &mut Core, message: &OpenedMessage) {
        if let Err(reason) = self.read_ike_response(core, message) {
            self.ike_rekey_failed(now, core, reason);
        }
    }

    fn read_ike_response(&mut self, core: &mut Core, message: &OpenedMessage) -> Result<(), FailureReason> {
        let id = self.id;
        let proposals = self.conn.and_then(|c| core.config.connections.get(c)).map(|c| c.proposals.clone());
        let proposals = proposals.unwrap_or_default();
        let Some(e) = self.established_mut() else { return Ok(()) };
        let Some(Exchange::Ike(x)) = &mut e.exchange else { return Ok(()) };
        let payloads = message.payloads.as_slice();
        if message.shape != Shape::IkeRekeyResponse {
            if let Some(group) = child_answer::wanted_group(payloads)
                && !x.tried.contains(&group)
                && proposals.iter().any(|p| p.groups.contains(&group))
            {
                x.tried.push(group);
                x.group = group;
                x.key = None;
                x.compute = Some(core.compute(id, Work::Generate(group)));
                return Ok(());
            }
            return Err(child_answer::refusal_of(payloads).unwrap_or(FailureReason::UnexpectedAnswer));
        }
        let (Some(sa), Some(ke), Some(nonce), Some(key)) =
            (payloads.sa(), payloads.ke(), payloads.nonce(), x.key.take())
        else {
            return Err(FailureReason::UnexpectedAnswer);
        };
        let chosen = negotiate::choose_ike(&proposals, sa, Some(x.group)).filter(|_| negotiate::single(sa));
        let Some((suite, proposal)) = chosen else {
            return Err(FailureReason::NoIkeProposal { ours: proposals, theirs: negotiate::describe(sa) });
        };
        let remote_spi = new_spi(&proposal).ok_or(FailureReason::UnexpectedAnswer)?;
        if suite.group != x.group || ke.group() != Some(x.group) {
            return Err(FailureReason::UnexpectedAnswer);
        }
        x.answer = Some((suite, remote_spi, nonce.as_bytes().to_vec()));
        x.compute = Some(core.compute(id, Work::Agree(key, ke.data.clone())));
        Ok(())
    }

    fn finish_ike(&mut self, now: Instant, core: &mut Core, shared: &SecretKey) -> Result<(), FailureReason> {
        let Some(e) = self.established_mut() else { return Ok(()) };
        let (ni, spi, answer) = match &mut e.exchange {
            Some(Exchange::Ike(x)) => (x.nonce, x.spi, x.answer.take()),
            _ => return Ok(()),
        };
        let (suite, remote_spi, nr) = answer.ok_or(FailureReason::UnexpectedAnswer)?;
        let fresh = Fresh { suite, initiator: true, local_spi: spi, remote_spi, ni: &ni, nr: &nr, shared };
        self.replace(now, core, fresh)?;
        if let Some(e) = self.established_mut() {
            e.exchange = None;
            e.enqueue(now, TaskKind::DeleteIke);
        }
        Ok(())
    }

    fn ike_rekey_failed(&mut self, now: Instant, core: &mut Core, reason: FailureReason) {
        let (conn, peer) = (self.conn.unwrap_or_default(), self.path.remote);
        let pause = RETRY + core.jitter(RETRY);
        let Some(e) = self.established_mut() else { return };
        if !matches!(e.exchange, Some(Exchange::Ike(_))) {
            return;
        }
        e.exchange = None;
        let temporary = reason == FailureReason::Refused { kind: NotifyType::TemporaryFailure.to_wire() };
        let pause = if temporary { pause } else { pause * 5 };
        e.rekey_at = Some(now + pause);
        if !temporary {
            let connection = Some(core.connection_name(conn));
            let step = Step::RekeyIkeSa;
            core.report(Report::Failed { connection, child: None, peer, step, reason, retry_in: Some(pause) });
        }
    }

    pub fn ike_request(&mut self, core: &mut Core, message: &OpenedMessage) {
        match self.accept_ike(core, message) {
            Ok(answer) => {
                let wait = Wait::Ike(Box::new(answer));
                let exchange = ExchangeType::CreateChildSa;
                if let Some(e) = self.established_mut() {
                    e.pending = Some(Pending { exchange, payloads: vec![], wait, initial_contact: false });
                }
            }
            Err(refusal) => {
                self.answer(core, ExchangeType::CreateChildSa, &[refusal.payload()]);
                self.report_refusal(core, Step::RekeyIkeSa, refusal);
            }
        }
    }

    fn accept_ike(&mut self, core: &mut Core, message: &OpenedMessage) -> Result<IkeAnswer, Refusal> {
        let payloads = message.payloads.as_slice();
        let proposals = self.conn.and_then(|c| core.config.connections.get(c)).map(|c| c.proposals.clone());
        let (id, proposals) = (self.id, proposals.unwrap_or_default());
        let Some(e) = self.established() else { return Err(Refusal::Temporary) };
        // §2.25.2. Two rekeys at once refuse each other; both try again after a random pause.
        let busy = e.has_exchange_of_children() || matches!(e.exchange, Some(Exchange::Ike(_) | Exchange::DeleteIke));
        if e.phase != Phase::Live || busy || core.shutdown {
            return Err(Refusal::Temporary);
        }
        let (Some(sa), Some(ke), Some(nonce)) = (payloads.sa(), payloads.ke(), payloads.nonce()) else {
            return Err(Refusal::InvalidSyntax);
        };
        let Some((suite, proposal)) = negotiate::choose_ike(&proposals, sa, ke.group()) else {
            let theirs = negotiate::describe(sa);
            return Err(Refusal::For(FailureReason::NoIkeProposal { ours: proposals, theirs }));
        };
        let remote_spi = new_spi(&proposal).ok_or(Refusal::InvalidSyntax)?;
        if ke.group() != Some(suite.group) {
            return Err(Refusal::InvalidKe(suite.group));
        }
        let compute = core.compute(id, Work::Respond(suite.group, ke.data.clone()));
        Ok(IkeAnswer { suite, proposal, remote_spi, ni: nonce.as_bytes().to_vec(), compute })
    }

    pub fn ike_answer_computed(
        &mut self,
        now: Instant,
        core: &mut Core,
        token: ComputeToken,
        made: Result<Made, CryptoError>,
    ) {
        let Some(e) = self.established_mut() else { return };
        let answer = match e.pending.take() {
            Some(Pending { wait: Wait::Ike(answer), .. }) if answer.compute == token => answer,
            other => {
                e.pending = other;
                return;
            }
        };
        let done = match made {
            Ok(Made::Responded { public, shared }) => self.answer_ike(now, core, *answer, &public, &shared),
            Ok(_) => Err(FailureReason::UnexpectedAnswer),
            Err(error) => Err(FailureReason::KeyExchange(error)),
        };
        if let Err(reason) = done {
            let refusal = Refusal::For(reason);
            self.answer(core, ExchangeType::CreateChildSa, &[refusal.payload()]);
            self.report_refusal(core, Step::RekeyIkeSa, refusal);
        }
    }

    fn answer_ike(
        &mut self,
        now: Instant,
        core: &mut Core,
        answer: IkeAnswer,
        public: &[u8],
        shared: &SecretKey,
    ) -> Result<(), FailureReason> {
        let nr: [u8; NONCE_LEN] = core.random()?;
        let spi = core.spi()?;
        let nonce = Nonce::new(nr.to_vec()).map_err(|_| FailureReason::UnexpectedAnswer)?;
        let proposal = Proposal { spi: spi.0.to_vec(), ..answer.proposal };
        let payloads = [
            Payload::Sa(SecurityAssociation { proposals: vec![proposal] }),
            Payload::Nonce(nonce),
            Payload::Ke(KeyExchangeData::new(answer.suite.group, public)),
        ];
        let (suite, remote_spi) = (answer.suite, answer.remote_spi);
        let fresh = Fresh { suite, initiator: false, local_spi: spi, remote_spi, ni: &answer.ni, nr: &nr, shared };
        self.replace(now, core, fresh)?;
        self.answer(core, ExchangeType::CreateChildSa, &payloads);
        if let Some(e) = self.established_mut() {
            e.expire_at = Some(now + GRACE);
        }
        Ok(())
    }

    /// Makes the new IKE SA and moves the children and what is still to do.
    fn replace(&mut self, now: Instant, core: &mut Core, fresh: Fresh<'_>) -> Result<(), FailureReason> {
        let conn = self.conn.and_then(|c| core.config.connections.get(c));
        let times = conn.map(|c| (c.rekey_time, c.rand_time, c.over_time)).unwrap_or_default();
        let (path, nat, conn) = (self.path, self.nat, self.conn);
        let id = SaId(core.unique());
        let Some(e) = self.established_mut() else { return Ok(()) };
        let Fresh { suite, initiator, local_spi, remote_spi, ni, nr, shared } = fresh;
        let (spi_i, spi_r) = if initiator { (local_spi, remote_spi) } else { (remote_spi, local_spi) };
        let seed = Seed::Rekey { prf: e.suite.prf, sk_d: &e.sk_d };
        let keys = IkeKeys::derive(&*core.provider, suite, seed, shared, Pairing { ni, nr, spi_i, spi_r });
        let keys = keys.map_err(FailureReason::KeyExchange)?;
        let (sealer, opener) = keys.protection(suite, initiator).map_err(FailureReason::KeyExchange)?;
        let (next_id, expect_id, outstanding, last_response) = (0, 0, None, None);
        let channel = Channel {
            local_spi,
            remote_spi,
            initiator,
            sealer,
            opener,
            next_id,
            expect_id,
            outstanding,
            last_response,
        };
        let ids = (e.local_id.clone(), e.remote_id.clone());
        let lowest = ni.min(nr).into();
        let mut new = Established::new(now, core, channel, suite, keys.sk_d, ids, lowest, times);
        new.children = core::mem::take(&mut e.children);
        new.tasks = core::mem::take(&mut e.tasks);
        new.tasks.retain(|t| !matches!(t.kind, TaskKind::RekeyIke | TaskKind::Dpd));
        new.settle_at = e.settle_at.take();
        e.phase = Phase::Rekeyed;
        core.report(Report::IkeRekeyed {
            connection: core.connection_name(conn.unwrap_or_default()),
            remote: path.remote,
        });
        let state = State::Established(Box::new(new));
        let sa = IkeSa { id, conn, initiator, local_spi, remote_spi, path, nat, state };
        core.deferred.push_back(Deferred::Adopt(Box::new(sa)));
        Ok(())
    }
}

fn new_spi(proposal: &Proposal) -> Option<IkeSpi> {
    <[u8; 8]>::try_from(proposal.spi.as_slice()).ok().map(IkeSpi).filter(|spi| !spi.is_zero())
}
