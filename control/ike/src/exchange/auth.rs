//! IKE_AUTH with pre-shared keys, RFC 7296 §1.2 and §2.15.

use crate::{
    FailureReason, Report, Step,
    channel::Channel,
    exchange::{
        child_answer::{self, ChildOffer, Parent},
        sa_init::Settled,
    },
    identity,
    keys::psk_auth,
    message::{
        AuthMethod, Authentication, Delete, ExchangeType, Notify, NotifyType, OpenedMessage, Payload, Payloads, Shape,
    },
    notify::Refusal,
    sa::{Established, IkeSa, Pending, Phase, State},
    shared::{Core, Deferred},
};
use culvert_crypto::{CryptoError, constant_time_eq};
use culvert_model::{Identity, SecretKey};
use std::{collections::VecDeque, sync::Arc, time::Instant};

const NAT_T_PORT: u16 = 4500;

pub(crate) struct Authenticating {
    pub channel: Channel,
    settled: Settled,
    pub child: Option<ChildOffer>,
    local_id: Identity,
}

pub(crate) struct ExpectAuth {
    pub channel: Channel,
    pub settled: Settled,
    pub expires: Instant,
}

fn channel(sa: &IkeSa, settled: &Settled) -> Result<Channel, CryptoError> {
    let (sealer, opener) = settled.keys.protection(settled.suite, sa.initiator)?;
    let (next_id, expect_id) = if sa.initiator { (1, 0) } else { (0, 1) };
    Ok(Channel {
        local_spi: sa.local_spi,
        remote_spi: sa.remote_spi,
        initiator: sa.initiator,
        sealer,
        opener,
        next_id,
        expect_id,
        outstanding: None,
        last_response: None,
    })
}

impl ExpectAuth {
    pub fn new(sa: &IkeSa, settled: Settled, expires: Instant) -> Result<Self, CryptoError> {
        Ok(Self { channel: channel(sa, &settled)?, settled, expires })
    }
}

impl Settled {
    /// AUTH of the initiator or of the responder.
    fn auth(&self, core: &Core, psk: &SecretKey, of_initiator: bool, id: &Identity) -> Authentication {
        let (message, nonce, sk_p) = if of_initiator {
            (&self.request, &self.nr, &self.keys.sk_pi)
        } else {
            (&self.response, &self.ni, &self.keys.sk_pr)
        };
        let body = identity::body(id);
        let mac = psk_auth(&*core.provider, self.suite.prf, psk, message, nonce, sk_p, &body);
        Authentication { method: AuthMethod::SharedKeyMic, data: mac.expose().to_vec() }
    }

    fn proves(&self, core: &Core, psk: &SecretKey, of_initiator: bool, id: &Identity, auth: &Authentication) -> bool {
        auth.method == AuthMethod::SharedKeyMic
            && constant_time_eq(&self.auth(core, psk, of_initiator, id).data, &auth.data)
    }

    fn lowest_nonce(&self) -> Arc<[u8]> {
        self.ni.as_slice().min(&self.nr).into()
    }
}

impl IkeSa {
    /// The request, once the keys are there; to port 4500 where there is a NAT (§2.23).
    pub fn send_auth(
        &mut self,
        now: Instant,
        core: &mut Core,
        settled: Settled,
        child: Option<usize>,
    ) -> Result<(), FailureReason> {
        let Some(conn) = self.conn.and_then(|c| core.config.connections.get(c)) else { return Ok(()) };
        if self.nat.any() || conn.encap {
            self.path.local.set_port(NAT_T_PORT);
            self.path.remote.set_port(NAT_T_PORT);
        }
        let local_id = conn.local_id.clone().unwrap_or_else(|| self.path.local.ip().into());
        // An unnamed peer is looked up by its address until it has said who it is.
        let peer = conn.remote_id.clone().unwrap_or_else(|| self.path.remote.ip().into());
        let no_secret = || FailureReason::NoSecret { local: local_id.clone(), remote: peer.clone() };
        let psk = core.psk(&local_id, &peer).ok_or_else(no_secret)?;
        let auth = settled.auth(core, psk, true, &local_id);
        let mut payloads = vec![Payload::IdInitiator(identity::to_wire(&local_id)), Payload::Auth(auth)];
        payloads.extend(conn.remote_id.as_ref().map(|id| Payload::IdResponder(identity::to_wire(id))));
        if !core.has_peer(self.conn) {
            payloads.push(Payload::Notify(Notify::new(NotifyType::InitialContact)));
        }
        let Some(child) = child else { return Err(FailureReason::UnexpectedAnswer) };
        let mut channel = channel(self, &settled).map_err(FailureReason::KeyExchange)?;
        let offer = ChildOffer::new(core, self.conn.unwrap_or_default(), self.nat, child)?;
        payloads.extend(offer.payloads(core, self.conn.unwrap_or_default(), false));
        if let Err(e) = channel.request(now, core, self.path, ExchangeType::IkeAuth, &payloads) {
            offer.cancel(core);
            return Err(FailureReason::Encode(e));
        }
        self.state = State::Authenticating(Box::new(Authenticating { channel, settled, child: Some(offer), local_id }));
        Ok(())
    }

    pub fn auth_response(
        &mut self,
        now: Instant,
        core: &mut Core,
        message: &OpenedMessage,
    ) -> Result<(), FailureReason> {
        let State::Authenticating(mut s) = core::mem::replace(&mut self.state, State::Gone) else { return Ok(()) };
        let Some(offer) = s.child.take() else { return Ok(()) };
        let payloads = message.payloads.as_slice();
        let remote_id = match self.check_responder(core, &s, message) {
            Ok(id) => id,
            Err(reason) => {
                offer.cancel(core);
                if message.shape != Shape::Refusal {
                    // §2.21.2: the peer believes the SA stands.
                    s.channel.farewell(core, self.path, &[Payload::Delete(Delete::Ike)]);
                }
                return Err(reason);
            }
        };
        let (conn, local_id) = (self.conn.unwrap_or_default(), s.local_id.clone());
        let (child_index, spi_in) = (offer.child, offer.spi_in);
        let parent =
            Parent { conn, path: self.path, nat: self.nat, prf: s.settled.suite.prf, sk_d: &s.settled.keys.sk_d };
        let child = if message.shape == Shape::AuthResponse {
            offer.complete(now, core, parent, payloads, &s.settled.ni, &s.settled.nr, false, None)
        } else {
            offer.cancel(core);
            Err(child_answer::refusal_of(payloads).unwrap_or(FailureReason::UnexpectedAnswer))
        };
        self.establish(now, core, s.channel, s.settled, local_id, remote_id);
        core.deferred.push_back(Deferred::Established { sa: self.id, initial_contact: false });
        match child {
            Ok(child) => self.add_child(core, child, None),
            Err(reason) => {
                if let Some(e) = self.established_mut().filter(|_| message.shape == Shape::AuthResponse) {
                    e.disown(now, payloads, Some(spi_in));
                }
                let (peer, step) = (self.path.remote, Step::IkeAuth);
                core.deferred.push_back(Deferred::ChildFailed { conn, child: child_index, peer, step, reason });
            }
        }
        Ok(())
    }

    /// The responder's identity, if it is the one we want and proved.
    fn check_responder(
        &self,
        core: &Core,
        s: &Authenticating,
        message: &OpenedMessage,
    ) -> Result<Identity, FailureReason> {
        let payloads = message.payloads.as_slice();
        if !matches!(message.shape, Shape::AuthResponse | Shape::AuthResponseNoChild) {
            return Err(child_answer::refusal_of(payloads).unwrap_or(FailureReason::UnexpectedAnswer));
        }
        let conn = self.conn.and_then(|c| core.config.connections.get(c)).ok_or(FailureReason::UnexpectedAnswer)?;
        let (Some(id), Some(auth)) = (payloads.id_responder(), payloads.auth()) else {
            return Err(FailureReason::UnexpectedAnswer);
        };
        let id = identity::from_wire(id);
        if let Some(expected) = &conn.remote_id
            && !expected.matches(&id)
        {
            return Err(FailureReason::WrongIdentity { expected: Some(expected.clone()), got: id });
        }
        let no_secret = || FailureReason::NoSecret { local: s.local_id.clone(), remote: id.clone() };
        let psk = core.psk(&s.local_id, &id).ok_or_else(no_secret)?;
        if !s.settled.proves(core, psk, false, &id, auth) {
            return Err(FailureReason::AuthenticationFailed { remote: id });
        }
        Ok(id)
    }

    /// Both sides have proved themselves.
    pub fn establish(
        &mut self,
        now: Instant,
        core: &mut Core,
        channel: Channel,
        settled: Settled,
        local_id: Identity,
        remote_id: Identity,
    ) {
        let lowest_nonce = settled.lowest_nonce();
        let conn = self.conn.and_then(|c| core.config.connections.get(c));
        let times = conn.map(|c| (c.rekey_time, c.rand_time, c.over_time)).unwrap_or_default();
        core.report(Report::IkeUp {
            connection: core.connection_name(self.conn.unwrap_or_default()),
            local: self.path.local,
            remote: self.path.remote,
            local_id: local_id.clone(),
            remote_id: remote_id.clone(),
            initiator: self.initiator,
            proposal: settled.suite.to_string(),
        });
        self.state = State::Established(Box::new(Established::new(
            now,
            core,
            channel,
            settled.suite,
            settled.keys.sk_d,
            (local_id, remote_id),
            lowest_nonce,
            times,
        )));
    }

    /// The peer's IKE_AUTH. A refusal ends the SA after it is sent.
    pub fn auth_request(
        &mut self,
        now: Instant,
        core: &mut Core,
        message: &OpenedMessage,
    ) -> Result<(), FailureReason> {
        let State::ExpectAuth(mut s) = core::mem::replace(&mut self.state, State::Gone) else { return Ok(()) };
        let payloads = message.payloads.as_slice();
        let (conn, local_id, remote_id) = match self.check_initiator(core, &s, message) {
            Ok(found) => found,
            Err(refusal) => {
                let _ = s.channel.respond(core, self.path, ExchangeType::IkeAuth, &[refusal.payload()]);
                return Err(refusal.reason().unwrap_or(FailureReason::UnexpectedAnswer));
            }
        };
        let config = core.config.connections.get(conn).and_then(|_| core.psk(&local_id, &remote_id));
        let Some(psk) = config else { return Ok(()) };
        let auth = s.settled.auth(core, psk, false, &local_id);
        let mut answer = vec![Payload::IdResponder(identity::to_wire(&local_id)), Payload::Auth(auth)];
        self.conn = Some(conn);
        let initial_contact = payloads.notify(NotifyType::InitialContact).is_some();
        let (nonces, prf) = ((s.settled.ni.clone(), s.settled.nr.clone()), s.settled.suite.prf);
        let sk_d = s.settled.keys.sk_d.clone();
        self.establish(now, core, s.channel, s.settled, local_id, remote_id);
        let parent = Parent { conn, path: self.path, nat: self.nat, prf, sk_d: &sk_d };
        let installed = child_answer::choose(core, conn, self.nat, payloads, false, None, nonces)
            .and_then(|chosen| chosen.install(now, core, parent, None, false));
        match installed {
            Ok((more, wait)) => {
                answer.extend(more);
                let pending = Pending { exchange: ExchangeType::IkeAuth, payloads: answer, wait, initial_contact };
                if let State::Established(e) = &mut self.state {
                    e.pending = Some(pending);
                }
            }
            Err(refusal) => {
                // §1.3: the IKE SA stands without its child.
                answer.push(refusal.payload());
                self.answer(core, ExchangeType::IkeAuth, &answer);
                core.deferred.push_back(Deferred::Established { sa: self.id, initial_contact });
                self.report_refusal(core, Step::IkeAuth, refusal);
            }
        }
        Ok(())
    }

    /// Which connection the initiator means, if it proved its identity: by addresses, then identities.
    fn check_initiator(
        &self,
        core: &Core,
        s: &ExpectAuth,
        message: &OpenedMessage,
    ) -> Result<(usize, Identity, Identity), Refusal> {
        let payloads = message.payloads.as_slice();
        let (Shape::AuthRequest, Some(id), Some(auth)) = (message.shape, payloads.id_initiator(), payloads.auth())
        else {
            return Err(Refusal::For(FailureReason::AuthenticationFailed {
                remote: payloads.id_initiator().map_or(Identity::KeyId(vec![]), identity::from_wire),
            }));
        };
        let remote_id = identity::from_wire(id);
        let asked = payloads.id_responder().map(identity::from_wire);
        let (local, remote) = (self.path.local, self.path.remote);
        let own = |c: &crate::Connection| c.local_id.clone().unwrap_or_else(|| local.ip().into());
        let by_address = |at: &usize| {
            core.config.connections.get(*at).is_some_and(|c| {
                c.allows(local.ip(), remote.ip())
                    && crate::negotiate::allows(&c.proposals, s.settled.suite)
                    && asked.as_ref().is_none_or(|a| a.matches(&own(c)))
            })
        };
        let peer_of = |at: usize| core.config.connections.get(at).and_then(|c| c.remote_id.as_ref());
        // A connection that names the peer is meant before one that takes anybody.
        let named = core.directory.by_peer(&remote_id).filter(|at| peer_of(*at).is_some_and(|r| r.matches(&remote_id)));
        let found = named.chain(core.directory.nameless()).find(by_address);
        let Some((conn, config)) = found.and_then(|at| Some((at, core.config.connections.get(at)?))) else {
            let mut fits = core.directory.by_remote(remote.ip()).into_iter().filter(by_address);
            let expected = fits.find_map(peer_of).cloned();
            return Err(Refusal::For(FailureReason::WrongIdentity { expected, got: remote_id }));
        };
        let local_id = own(config);
        let Some(psk) = core.psk(&local_id, &remote_id) else {
            return Err(Refusal::For(FailureReason::NoSecret { local: local_id, remote: remote_id }));
        };
        if !s.settled.proves(core, psk, true, &remote_id, auth) {
            return Err(Refusal::For(FailureReason::AuthenticationFailed { remote: remote_id }));
        }
        Ok((conn, local_id, remote_id))
    }
}

impl Established {
    #[expect(clippy::too_many_arguments, reason = "one place makes it")]
    pub fn new(
        now: Instant,
        core: &mut Core,
        channel: Channel,
        suite: crate::keys::IkeSuite,
        sk_d: SecretKey,
        (local_id, remote_id): (Identity, Identity),
        lowest_nonce: Arc<[u8]>,
        (rekey, rand, over): (core::time::Duration, core::time::Duration, core::time::Duration),
    ) -> Self {
        Self {
            channel,
            suite,
            sk_d,
            local_id,
            remote_id,
            lowest_nonce,
            children: Vec::new(),
            tasks: VecDeque::new(),
            exchange: None,
            pending: None,
            created: now,
            rekey_at: core.due(now, rekey, rand),
            expire_at: (!rekey.is_zero()).then(|| now + rekey + over.max(core::time::Duration::from_secs(1))),
            last_inbound: now,
            phase: Phase::Live,
            settle_at: None,
            confirm_at: None,
        }
    }
}
