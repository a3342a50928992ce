//! IKE_SA_INIT, RFC 7296 §1.2, with its retries for COOKIE (§2.6) and INVALID_KE_PAYLOAD (§1.3).

use crate::{
    ComputeToken, FailureReason, Step,
    api::{Made, Work},
    exchange::auth::ExpectAuth,
    keys::{IkeKeys, IkeSuite, Pairing, Seed},
    message::{
        ClearMessage, ExchangeType, Header, IkeSpi, KeyExchangeData, Nonce, Notify, NotifyType, Payload, Payloads,
        SecurityAssociation, Shape,
    },
    nat::{self, Nat},
    negotiate,
    notify::Refusal,
    retransmit::Retransmission,
    sa::{IkeSa, State},
    shared::{Core, Deferred, Path, SaId},
};
use culvert_crypto::{CryptoError, KeyExchange};
use culvert_model::KeGroup;
use std::time::Instant;

/// Retries for COOKIE and INVALID_KE_PAYLOAD together; more means the peer plays with us.
const MAX_RETRIES: u8 = 6;
const NONCE_LEN: usize = 32;

pub(crate) struct Initiating {
    /// The child that IKE_AUTH will ask for.
    pub child: Option<usize>,
    group: KeGroup,
    key: Option<Box<dyn KeyExchange>>,
    nonce: [u8; NONCE_LEN],
    cookie: Option<Vec<u8>>,
    request: Option<Retransmission>,
    compute: Option<ComputeToken>,
    answer: Option<Answer>,
    retries: u8,
    tried: Vec<KeGroup>,
}

/// The peer's answer while the shared secret is computed.
struct Answer {
    suite: IkeSuite,
    nonce: Vec<u8>,
    octets: Vec<u8>,
    nat: Nat,
}

/// Both messages of IKE_SA_INIT and what they settled.
pub(crate) struct Settled {
    pub suite: IkeSuite,
    pub keys: IkeKeys,
    pub ni: Vec<u8>,
    pub nr: Vec<u8>,
    pub request: Vec<u8>,
    pub response: Vec<u8>,
}

impl Initiating {
    pub fn next_timeout(&self) -> Option<Instant> {
        self.request.as_ref().filter(|_| self.answer.is_none()).map(|r| r.at)
    }
}

impl IkeSa {
    /// A new IKE SA as initiator; the key pair comes first.
    pub fn initiate(core: &mut Core, conn: usize, path: Path, child: Option<usize>) -> Result<Self, FailureReason> {
        let proposals = core.config.connections.get(conn).map(|c| c.proposals.as_slice()).unwrap_or_default();
        let group = proposals.first().and_then(|p| p.groups.first()).copied();
        let group = group.ok_or(FailureReason::NoIkeProposal { ours: vec![], theirs: String::new() })?;
        let (id, local_spi, nonce) = (SaId(core.unique()), core.spi()?, core.random()?);
        let compute = Some(core.compute(id, Work::Generate(group)));
        let state = State::Initiating(Box::new(Initiating {
            child,
            group,
            key: None,
            nonce,
            cookie: None,
            request: None,
            compute,
            answer: None,
            retries: 0,
            tried: vec![group],
        }));
        let remote_spi = IkeSpi::ZERO;
        Ok(Self { id, conn: Some(conn), initiator: true, local_spi, remote_spi, path, nat: Nat::default(), state })
    }

    pub fn initiating_computed(
        &mut self,
        now: Instant,
        core: &mut Core,
        token: ComputeToken,
        made: Result<Made, CryptoError>,
    ) -> Result<(), FailureReason> {
        let State::Initiating(s) = &mut self.state else { return Ok(()) };
        if s.compute != Some(token) {
            return Ok(());
        }
        s.compute = None;
        match made.map_err(FailureReason::KeyExchange)? {
            Made::Generated(key) => {
                s.key = Some(key);
                self.send_init(now, core)
            }
            Made::Agreed(shared) => {
                let State::Initiating(s) = core::mem::replace(&mut self.state, State::Gone) else { return Ok(()) };
                let (Some(answer), Some(request)) = (s.answer, s.request) else {
                    return Err(FailureReason::UnexpectedAnswer);
                };
                let pairing =
                    Pairing { ni: &s.nonce, nr: &answer.nonce, spi_i: self.local_spi, spi_r: self.remote_spi };
                let keys = IkeKeys::derive(&*core.provider, answer.suite, Seed::Fresh, &shared, pairing)
                    .map_err(FailureReason::KeyExchange)?;
                self.nat = answer.nat;
                let settled = Settled {
                    suite: answer.suite,
                    keys,
                    ni: s.nonce.to_vec(),
                    nr: answer.nonce,
                    request: request.packet,
                    response: answer.octets,
                };
                self.send_auth(now, core, settled, s.child)
            }
            Made::Responded { .. } => Ok(()),
        }
    }

    fn send_init(&mut self, now: Instant, core: &mut Core) -> Result<(), FailureReason> {
        let State::Initiating(s) = &mut self.state else { return Ok(()) };
        let Some(conn) = self.conn.and_then(|c| core.config.connections.get(c)) else { return Ok(()) };
        let Some(key) = &s.key else { return Ok(()) };
        let nonce = Nonce::new(s.nonce.to_vec()).map_err(|_| FailureReason::UnexpectedAnswer)?;
        let mut payloads = Vec::new();
        payloads.extend(s.cookie.clone().map(|c| Payload::Notify(Notify::with_data(NotifyType::Cookie, c))));
        payloads.extend([
            Payload::Sa(negotiate::offer_ike(&conn.proposals, &[])),
            Payload::Ke(KeyExchangeData::new(s.group, key.public())),
            Payload::Nonce(nonce),
        ]);
        payloads.extend(nat::notifies(self.local_spi, IkeSpi::ZERO, self.path.local, self.path.remote, conn.encap));
        let header = Header {
            initiator_spi: self.local_spi,
            responder_spi: IkeSpi::ZERO,
            exchange: ExchangeType::IkeSaInit,
            initiator: true,
            response: false,
            message_id: 0,
        };
        let packet = ClearMessage::encode(&header, &payloads).map_err(FailureReason::Encode)?;
        s.request = Some(Retransmission::new(now, &core.config.settings.retransmit, packet.clone()));
        core.transmit(self.path, packet);
        Ok(())
    }

    /// The answer to our IKE_SA_INIT. Nothing in it is proved: what makes no sense is ignored, and the true answer may
    /// still come (§2.21.1).
    pub fn init_response(
        &mut self,
        now: Instant,
        core: &mut Core,
        message: &ClearMessage,
        octets: &[u8],
    ) -> Result<(), FailureReason> {
        let State::Initiating(s) = &mut self.state else { return Ok(()) };
        if s.request.is_none() || s.answer.is_some() || s.compute.is_some() {
            return Ok(());
        }
        let Some(conn) = self.conn.and_then(|c| core.config.connections.get(c)) else { return Ok(()) };
        let payloads = message.payloads.as_slice();
        if message.shape == Shape::Refusal {
            return self.init_refused(now, core, payloads);
        }
        let (Some(sa), Some(ke), Some(nonce)) = (payloads.sa(), payloads.ke(), payloads.nonce()) else { return Ok(()) };
        let chosen = negotiate::choose_ike(&conn.proposals, sa, Some(s.group)).filter(|_| negotiate::single(sa));
        let Some((suite, _)) = chosen else {
            let ours = conn.proposals.clone();
            return Err(FailureReason::NoIkeProposal { ours, theirs: negotiate::describe(sa) });
        };
        if suite.group != s.group || ke.group() != Some(s.group) {
            return Err(FailureReason::UnexpectedAnswer);
        }
        let Some(key) = s.key.take() else { return Ok(()) };
        let (spi_i, spi_r) = (self.local_spi, message.header.responder_spi);
        let nat = nat::detect(payloads, spi_i, spi_r, self.path.local, self.path.remote);
        self.remote_spi = spi_r;
        s.answer = Some(Answer { suite, nonce: nonce.as_bytes().to_vec(), octets: octets.to_vec(), nat });
        s.compute = Some(core.compute(self.id, Work::Agree(key, ke.data.clone())));
        Ok(())
    }

    fn init_refused(&mut self, now: Instant, core: &mut Core, payloads: &[Payload]) -> Result<(), FailureReason> {
        let State::Initiating(s) = &mut self.state else { return Ok(()) };
        let Some(conn) = self.conn.and_then(|c| core.config.connections.get(c)) else { return Ok(()) };
        if s.retries >= MAX_RETRIES {
            return Err(FailureReason::UnexpectedAnswer);
        }
        if let Some(cookie) = payloads.notify(NotifyType::Cookie) {
            if !(1..=64).contains(&cookie.data.len()) {
                return Ok(());
            }
            s.retries += 1;
            s.cookie = Some(cookie.data.clone());
            return self.send_init(now, core);
        }
        if let Some(notify) = payloads.notify(NotifyType::InvalidKePayload) {
            let group = <[u8; 2]>::try_from(notify.data.as_slice()).ok();
            let group = group.and_then(|g| KeGroup::from_id(u16::from_be_bytes(g)));
            // §1.3: only a group we offered, and none twice.
            let offered = |g: &KeGroup| conn.proposals.iter().any(|p| p.groups.contains(g));
            let Some(group) = group.filter(|g| offered(g) && !s.tried.contains(g)) else {
                return Err(FailureReason::UnexpectedAnswer);
            };
            s.retries += 1;
            s.tried.push(group);
            s.group = group;
            s.key = None;
            s.request = None;
            s.compute = Some(core.compute(self.id, Work::Generate(group)));
            return Ok(());
        }
        match payloads.error() {
            Some(error) => Err(FailureReason::Refused { kind: error.kind.to_wire() }),
            None => Ok(()),
        }
    }

    pub fn initiating_timeout(&mut self, now: Instant, core: &mut Core) -> Result<(), FailureReason> {
        let State::Initiating(s) = &mut self.state else { return Ok(()) };
        if s.answer.is_some() {
            return Ok(());
        }
        let policy = core.config.settings.retransmit;
        if let Some(request) = &mut s.request {
            match request.poll(now, &policy) {
                Ok(Some(packet)) => {
                    let packet = packet.to_vec();
                    core.transmit(self.path, packet);
                }
                Ok(None) => {}
                Err(tries) => return Err(FailureReason::NoAnswer { tries }),
            }
        }
        Ok(())
    }

    /// An initiator's attempt is over.
    pub fn initiation_failed(&mut self, core: &mut Core, step: Step, reason: FailureReason) {
        let child = match &mut self.state {
            State::Initiating(s) => s.child,
            State::Authenticating(s) => s.child.take().map(|offer| {
                let child = offer.child;
                offer.cancel(core);
                child
            }),
            _ => None,
        };
        self.state = State::Gone;
        if let Some(conn) = self.conn {
            core.deferred.push_back(Deferred::InitiationFailed { sa: self.id, conn, child, step, reason });
        }
    }
}

/// A responder whose answer is being computed.
pub(crate) struct Responding {
    pub expires: Instant,
    compute: ComputeToken,
    suite: IkeSuite,
    proposal: crate::message::Proposal,
    ni: Vec<u8>,
    /// The octets of the request: a repetition is the same, octet for octet.
    pub request: Vec<u8>,
    fake_nat: bool,
}

/// What a request for a new IKE SA is answered with before there is one.
pub(crate) enum FirstAnswer {
    Sa(Box<IkeSa>),
    Refuse(Refusal, Option<FailureReason>),
}

impl IkeSa {
    /// The peer's IKE_SA_INIT, after the cookie was checked.
    pub fn respond_init(
        now: Instant,
        core: &mut Core,
        path: Path,
        message: &ClearMessage,
        octets: &[u8],
    ) -> Option<FirstAnswer> {
        let payloads = message.payloads.as_slice();
        let (sa, ke, nonce) = (payloads.sa()?, payloads.ke()?, payloads.nonce()?);
        let allowed = |c: &&crate::Connection| c.allows(path.local.ip(), path.remote.ip());
        let by_remote = core.directory.by_remote(path.remote.ip());
        let connections = by_remote.into_iter().filter_map(|at| core.config.connections.get(at));
        let connections: Vec<_> = connections.filter(allowed).collect();
        if connections.is_empty() {
            let reason = FailureReason::NoConnection { local: path.local, remote: path.remote };
            // §2.21.1: an unknown peer learns no more than that nothing fits.
            let refusal = Refusal::For(FailureReason::NoIkeProposal { ours: vec![], theirs: String::new() });
            return Some(FirstAnswer::Refuse(refusal, Some(reason)));
        }
        // Which connection it is tells IKE_AUTH; here all that fit by address speak.
        let chosen = connections.iter().find_map(|c| negotiate::choose_ike(&c.proposals, sa, ke.group()));
        let Some((suite, proposal)) = chosen else {
            let ours = connections.iter().flat_map(|c| c.proposals.iter().cloned()).collect();
            let reason = FailureReason::NoIkeProposal { ours, theirs: negotiate::describe(sa) };
            return Some(FirstAnswer::Refuse(Refusal::For(reason.clone()), Some(reason)));
        };
        if ke.group() != Some(suite.group) {
            return Some(FirstAnswer::Refuse(Refusal::InvalidKe(suite.group), None));
        }
        let fake_nat = connections.iter().any(|c| c.encap);
        let local_spi = core.spi().ok()?;
        let id = SaId(core.unique());
        let remote_spi = message.header.initiator_spi;
        let mut nat = nat::detect(payloads, remote_spi, IkeSpi::ZERO, path.local, path.remote);
        // What the peer is told holds for us too: both ends encapsulate.
        nat.local |= fake_nat;
        let compute = core.compute(id, Work::Respond(suite.group, ke.data.clone()));
        let state = State::Responding(Box::new(Responding {
            expires: now + core.config.settings.half_open_timeout,
            compute,
            suite,
            proposal,
            ni: nonce.as_bytes().to_vec(),
            request: octets.to_vec(),
            fake_nat,
        }));
        Some(FirstAnswer::Sa(Box::new(Self {
            id,
            conn: None,
            initiator: false,
            local_spi,
            remote_spi,
            path,
            nat,
            state,
        })))
    }

    pub fn responding_computed(
        &mut self,
        core: &mut Core,
        token: ComputeToken,
        made: Result<Made, CryptoError>,
    ) -> Result<(), FailureReason> {
        if !matches!(&self.state, State::Responding(s) if s.compute == token) {
            return Ok(());
        }
        let State::Responding(s) = core::mem::replace(&mut self.state, State::Gone) else { return Ok(()) };
        let Made::Responded { public, shared } = made.map_err(FailureReason::KeyExchange)? else { return Ok(()) };
        let nr: [u8; NONCE_LEN] = core.random()?;
        let (spi_i, spi_r) = (self.remote_spi, self.local_spi);
        let nonce = Nonce::new(nr.to_vec()).map_err(|_| FailureReason::UnexpectedAnswer)?;
        let mut payloads = vec![
            Payload::Sa(SecurityAssociation { proposals: vec![s.proposal] }),
            Payload::Ke(KeyExchangeData::new(s.suite.group, &public)),
            Payload::Nonce(nonce),
        ];
        payloads.extend(nat::notifies(spi_i, spi_r, self.path.local, self.path.remote, s.fake_nat));
        let header = Header {
            initiator_spi: spi_i,
            responder_spi: spi_r,
            exchange: ExchangeType::IkeSaInit,
            initiator: false,
            response: true,
            message_id: 0,
        };
        let response = ClearMessage::encode(&header, &payloads).map_err(FailureReason::Encode)?;
        let pairing = Pairing { ni: &s.ni, nr: &nr, spi_i, spi_r };
        let keys = IkeKeys::derive(&*core.provider, s.suite, Seed::Fresh, &shared, pairing)
            .map_err(FailureReason::KeyExchange)?;
        core.transmit(self.path, response.clone());
        let settled = Settled { suite: s.suite, keys, ni: s.ni, nr: nr.to_vec(), request: s.request, response };
        let expect = ExpectAuth::new(self, settled, s.expires).map_err(FailureReason::KeyExchange)?;
        self.state = State::ExpectAuth(Box::new(expect));
        Ok(())
    }

    /// The peer repeats its IKE_SA_INIT.
    pub fn repeat_init(&self, core: &mut Core, path: Path, octets: &[u8]) {
        if let State::ExpectAuth(s) = &self.state
            && s.settled.request == octets
        {
            core.transmit(path, s.settled.response.clone());
        }
    }
}
