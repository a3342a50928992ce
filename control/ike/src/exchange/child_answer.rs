//! Agreeing on a Child SA, inside IKE_AUTH and CREATE_CHILD_SA: the responder's choice and the initiator's check of it
//! (RFC 7296 §2.7, §2.9, §2.17).

use crate::{
    Child, ComputeToken, Connection, FailureReason,
    child::{Agreed, ChildSa, Terms},
    keys,
    message::{
        KeyExchangeData, Nonce, Notify, NotifyType, Payload, Payloads, Proposal, Protocol, SecurityAssociation,
        TrafficSelectors,
    },
    narrow::{narrow, within},
    nat::Nat,
    negotiate::{self, ChildSuite},
    notify::Refusal,
    sa::{Established, TaskKind, Wait},
    shared::{Core, Path},
};
use culvert_model::{EspProposal, IpsecProtocol, KeGroup, Prf, SaMode, SecretKey, SlotIndex, Spi, TrafficSelector};
use std::{borrow::Cow, time::Instant};

/// The IKE SA that a Child SA is made with.
#[derive(Clone, Copy)]
pub(crate) struct Parent<'a> {
    pub conn: usize,
    pub path: Path,
    pub nat: Nat,
    pub prf: Prf,
    pub sk_d: &'a SecretKey,
}

/// The responder's choice.
pub(crate) struct ChildAnswer {
    pub child: usize,
    pub suite: ChildSuite,
    terms: Terms,
    proposal: Proposal,
    spi_out: Spi,
    local_ts: Vec<TrafficSelector>,
    remote_ts: Vec<TrafficSelector>,
    pub ni: Vec<u8>,
    pub nr: Vec<u8>,
    /// Inbound SPI of the pair that this one replaces.
    pub rekeys: Option<Spi>,
    pub compute: Option<ComputeToken>,
}

/// Chooses among the connection's children by selectors, then proposals. `only`: the child that is rekeyed.
pub(crate) fn choose(
    core: &Core,
    conn: usize,
    nat: Nat,
    payloads: &[Payload],
    pfs: bool,
    only: Option<usize>,
    nonces: (Vec<u8>, Vec<u8>),
) -> Result<ChildAnswer, Refusal> {
    let (Some(sa), Some(ts_i), Some(ts_r)) = (payloads.sa(), payloads.ts_initiator(), payloads.ts_responder()) else {
        return Err(Refusal::InvalidSyntax);
    };
    let Some(config) = core.config.connections.get(conn) else { return Err(Refusal::Temporary) };
    let children = config.children.as_slice();
    let asked = mode_of(payloads);
    let (theirs, ours) = (ts_i.known(), ts_r.known());
    let fits = children.iter().enumerate().filter(|(i, _)| only.is_none_or(|o| o == *i));
    let fits = fits.filter_map(|(i, c)| {
        let (local, remote) = (narrow(&c.local_ts, &ours), narrow(&c.remote_ts, &theirs));
        (!local.is_empty() && !remote.is_empty()).then_some((i, c, local, remote))
    });
    let mut fits: Vec<_> = fits.collect();
    // A child that takes the whole offer is meant before one that must narrow it, and of those the one that says no more
    // than the offer: beside a child for everything there may be others.
    fits.sort_by_key(|(_, c, _, _)| {
        let takes_all = within(&ours, &c.local_ts) && within(&theirs, &c.remote_ts);
        let is_all = within(&c.local_ts, &ours) && within(&c.remote_ts, &theirs);
        (c.mode != asked, !takes_all, !is_all)
    });
    let Some((_, first, _, _)) = fits.first() else {
        let all = |f: fn(&crate::Child) -> &Vec<TrafficSelector>| children.iter().flat_map(f).copied().collect();
        let ours_all = (all(|c| &c.local_ts), all(|c| &c.remote_ts));
        return Err(Refusal::For(FailureReason::TsUnacceptable { ours: ours_all, theirs: (theirs, ours) }));
    };
    // RFC 4301 §4.4.1.2: the mode is the policy's. A tunnel in the place of transport mode may be offered, not forced.
    if first.mode == SaMode::Transport && asked == SaMode::Tunnel {
        return Err(Refusal::For(FailureReason::WrongMode { ours: first.mode, theirs: asked }));
    }
    if first.mode == SaMode::Transport && nat.any() {
        return Err(Refusal::For(FailureReason::TransportThroughNat));
    }
    let ours_first = &first.child_proposals;
    let wish = payloads.ke().and_then(KeyExchangeData::group);
    let mode = first.mode;
    let same_mode = fits.into_iter().filter(|(_, c, _, _)| c.mode == mode);
    let mut chosen = same_mode.filter_map(|(i, c, local, remote)| {
        Some((i, local, remote, negotiate::choose_child(&usable(config, c, nat), sa, pfs, wish)?))
    });
    let Some((child, local_ts, remote_ts, (suite, proposal, spi_out))) = chosen.next() else {
        let (ours, theirs) = (ours_first.clone(), negotiate::describe(sa));
        return Err(Refusal::For(FailureReason::NoChildProposal { ours, theirs }));
    };
    if let Some(group) = suite.group
        && wish != Some(group)
    {
        return Err(Refusal::InvalidKe(group));
    }
    let (ni, nr) = nonces;
    // What shows no ports is held until the rest is there, so whoever asks gets leave.
    let terms = Terms { mode, tfc: takes_tfc(payloads), fragments: sends_later_fragments(payloads) };
    let (rekeys, compute) = (None, None);
    Ok(ChildAnswer { child, suite, terms, proposal, spi_out, local_ts, remote_ts, ni, nr, rekeys, compute })
}

/// What a message says of the mode (§1.3.1).
fn mode_of(payloads: &[Payload]) -> SaMode {
    match payloads.notify(NotifyType::UseTransportMode) {
        Some(_) => SaMode::Transport,
        None => SaMode::Tunnel,
    }
}

fn takes_tfc(payloads: &[Payload]) -> bool {
    payloads.notify(NotifyType::EspTfcPaddingNotSupported).is_none()
}

fn sends_later_fragments(payloads: &[Payload]) -> bool {
    payloads.notify(NotifyType::NonFirstFragmentsAlso).is_some()
}

/// RFC 4301 §7.3: who will send fragments through a tunnel of certain ports says so first.
fn asks_for_fragments(child: &Child) -> bool {
    child.mode == SaMode::Tunnel && child.local_ts.iter().chain(&child.remote_ts).any(TrafficSelector::names_ports)
}

/// The child's proposals on this path: RFC 3947 §5.1, there is no AH in UDP.
fn usable<'a>(connection: &Connection, child: &'a Child, nat: Nat) -> Cow<'a, [EspProposal]> {
    let is_esp = |p: &EspProposal| p.protocol() == IpsecProtocol::Esp;
    if !(nat.any() || connection.encap) || child.child_proposals.iter().all(is_esp) {
        return Cow::Borrowed(&child.child_proposals);
    }
    child.child_proposals.iter().filter(|p| is_esp(p)).cloned().collect()
}

/// Responder's shared secret with the public value that made it.
pub(crate) type Responded = Option<(Vec<u8>, SecretKey)>;

impl ChildAnswer {
    /// Installs the inbound SA. The answer's payloads, and what to wait for before it is sent.
    pub fn install(
        self,
        now: Instant,
        core: &mut Core,
        parent: Parent<'_>,
        responded: Responded,
        with_nonce: bool,
    ) -> Result<(Vec<Payload>, Wait), Refusal> {
        let shared = responded.as_ref().map(|(_, shared)| shared);
        let keys =
            keys::child_keys(&*core.provider, parent.prf, parent.sk_d, shared, &self.ni, &self.nr, self.suite.suite);
        let (key_in, key_out) = keys.map_err(|e| Refusal::For(FailureReason::KeyExchange(e)))?;
        let no_slot = || Refusal::For(FailureReason::NoSlot);
        let (spi_in, slot_in) = core.sad.inbound().ok_or_else(no_slot)?;
        let agreed = Agreed {
            child: self.child,
            suite: self.suite,
            terms: self.terms,
            spi_in,
            slot_in,
            spi_out: self.spi_out,
            local_ts: self.local_ts.clone(),
            remote_ts: self.remote_ts.clone(),
            key_in,
            key_out,
            initiated: false,
            lowest_nonce: self.ni.as_slice().min(&self.nr).into(),
        };
        let Some(child) = ChildSa::new(now, core, parent.conn, parent.path, parent.nat, agreed) else {
            core.sad.drop_now(&mut core.outputs, slot_in);
            return Err(no_slot());
        };
        let proposal = Proposal { spi: spi_in.to_be_bytes().to_vec(), ..self.proposal };
        let mut payloads = vec![Payload::Sa(SecurityAssociation { proposals: vec![proposal] })];
        payloads.extend(notify_if(self.terms.mode == SaMode::Transport, NotifyType::UseTransportMode));
        payloads.extend(notify_if(self.terms.fragments, NotifyType::NonFirstFragmentsAlso));
        if with_nonce && let Ok(nonce) = Nonce::new(self.nr) {
            payloads.push(Payload::Nonce(nonce));
        }
        if let (Some((public, _)), Some(group)) = (&responded, self.suite.group) {
            payloads.push(Payload::Ke(KeyExchangeData::new(group, public)));
        }
        payloads.push(Payload::TsInitiator(TrafficSelectors::new(self.remote_ts)));
        payloads.push(Payload::TsResponder(TrafficSelectors::new(self.local_ts)));
        core.sad.install(&mut core.outputs, child.inbound.clone());
        Ok((payloads, Wait::Install { slot: slot_in, child: Box::new(child), rekeys: self.rekeys }))
    }
}

/// The initiator's wish, with its inbound SPI. Its slot is given back by `cancel` or used by `complete`.
pub(crate) struct ChildOffer {
    pub child: usize,
    pub spi_in: Spi,
    pub slot_in: SlotIndex,
    /// Over which path it was made: that tells which proposals it has.
    nat: Nat,
}

impl ChildOffer {
    pub fn new(core: &mut Core, conn: usize, nat: Nat, child: usize) -> Result<Self, FailureReason> {
        let config = core.config.connections.get(conn).and_then(|c| Some((c, c.children.get(child)?)));
        let (connection, config) = config.ok_or(FailureReason::UnexpectedAnswer)?;
        if config.mode == SaMode::Transport && nat.any() {
            return Err(FailureReason::TransportThroughNat);
        }
        if usable(connection, config, nat).is_empty() {
            let theirs = "UDP encapsulation, which AH does not have".to_owned();
            return Err(FailureReason::NoChildProposal { ours: config.child_proposals.clone(), theirs });
        }
        let (spi_in, slot_in) = core.sad.inbound().ok_or(FailureReason::NoSlot)?;
        Ok(Self { child, spi_in, slot_in, nat })
    }

    pub fn cancel(self, core: &mut Core) {
        core.sad.drop_now(&mut core.outputs, self.slot_in);
    }

    /// SA and TS payloads. `groups`: outside IKE_AUTH.
    pub fn payloads(&self, core: &Core, conn: usize, groups: bool) -> Vec<Payload> {
        let config = core.config.connections.get(conn).and_then(|c| Some((c, c.children.get(self.child)?)));
        let Some((connection, config)) = config else { return Vec::new() };
        let mut payloads = vec![
            Payload::Sa(negotiate::offer_child(&usable(connection, config, self.nat), self.spi_in, groups)),
            Payload::TsInitiator(TrafficSelectors::new(config.local_ts.iter().copied())),
            Payload::TsResponder(TrafficSelectors::new(config.remote_ts.iter().copied())),
        ];
        payloads.extend(notify_if(config.mode == SaMode::Transport, NotifyType::UseTransportMode));
        payloads.extend(notify_if(asks_for_fragments(config), NotifyType::NonFirstFragmentsAlso));
        payloads
    }

    /// Checks the peer's choice and installs the inbound SA. `group`: that of our KE payload.
    #[expect(clippy::too_many_arguments, reason = "all of it goes into the keys")]
    pub fn complete(
        self,
        now: Instant,
        core: &mut Core,
        parent: Parent<'_>,
        payloads: &[Payload],
        ni: &[u8],
        nr: &[u8],
        pfs: bool,
        shared: Option<(KeGroup, SecretKey)>,
    ) -> Result<ChildSa, FailureReason> {
        match self.agreed(core, parent, payloads, (ni, nr), pfs, shared) {
            Ok(agreed) => match ChildSa::new(now, core, parent.conn, parent.path, parent.nat, agreed) {
                Some(mut child) => {
                    child.confirmed = true;
                    core.sad.install(&mut core.outputs, child.inbound.clone());
                    Ok(child)
                }
                None => {
                    self.cancel(core);
                    Err(FailureReason::NoSlot)
                }
            },
            Err(reason) => {
                self.cancel(core);
                Err(reason)
            }
        }
    }

    fn agreed(
        &self,
        core: &Core,
        parent: Parent<'_>,
        payloads: &[Payload],
        (ni, nr): (&[u8], &[u8]),
        pfs: bool,
        shared: Option<(KeGroup, SecretKey)>,
    ) -> Result<Agreed, FailureReason> {
        let config = core.config.connections.get(parent.conn).and_then(|c| Some((c, c.children.get(self.child)?)));
        let (connection, config) = config.ok_or(FailureReason::UnexpectedAnswer)?;
        let proposals = usable(connection, config, self.nat);
        let (Some(sa), Some(ts_i), Some(ts_r)) = (payloads.sa(), payloads.ts_initiator(), payloads.ts_responder())
        else {
            return Err(FailureReason::UnexpectedAnswer);
        };
        let group = shared.as_ref().map(|(group, _)| *group);
        let chosen = negotiate::choose_child(&proposals, sa, pfs, group).filter(|_| negotiate::single(sa));
        let Some((suite, _, spi_out)) = chosen else {
            let ours = proposals.into_owned();
            return Err(FailureReason::NoChildProposal { ours, theirs: negotiate::describe(sa) });
        };
        if suite.group != group {
            return Err(FailureReason::UnexpectedAnswer);
        }
        // RFC 7296 §1.3.1: "only if ... included in both".
        let fragments = asks_for_fragments(config) && sends_later_fragments(payloads);
        let terms = Terms { mode: mode_of(payloads), tfc: takes_tfc(payloads), fragments };
        if terms.mode != config.mode {
            return Err(FailureReason::WrongMode { ours: config.mode, theirs: terms.mode });
        }
        let (local_ts, remote_ts) = (ts_i.known(), ts_r.known());
        if !within(&local_ts, &config.local_ts) || !within(&remote_ts, &config.remote_ts) {
            let ours = (config.local_ts.clone(), config.remote_ts.clone());
            return Err(FailureReason::TsUnacceptable { ours, theirs: (remote_ts, local_ts) });
        }
        let shared = shared.as_ref().map(|(_, secret)| secret);
        let keys = keys::child_keys(&*core.provider, parent.prf, parent.sk_d, shared, ni, nr, suite.suite);
        let (key_out, key_in) = keys.map_err(FailureReason::KeyExchange)?;
        let (child, spi_in, slot_in) = (self.child, self.spi_in, self.slot_in);
        let lowest_nonce = ni.min(nr).into();
        let initiated = true;
        Ok(Agreed {
            child,
            suite,
            terms,
            spi_in,
            slot_in,
            spi_out,
            local_ts,
            remote_ts,
            key_in,
            key_out,
            initiated,
            lowest_nonce,
        })
    }
}

impl Established {
    /// The peer has answered with a pair that we do not take: it must not believe that it stands (§1.3.1, §2.21.3).
    pub fn disown(&mut self, now: Instant, answer: &[Payload], spi_in: Option<Spi>) {
        let protocol = match answer.sa().and_then(|sa| sa.proposals.first()).map(|p| p.protocol) {
            Some(Protocol::Ah) => IpsecProtocol::Ah,
            _ => IpsecProtocol::Esp,
        };
        if let Some(spi_in) = spi_in {
            self.enqueue(now, TaskKind::DisownChild { protocol, spi_in });
        }
    }
}

fn notify_if(wanted: bool, kind: NotifyType) -> Option<Payload> {
    wanted.then(|| Payload::Notify(Notify::new(kind)))
}

/// Why the peer refuses.
pub(crate) fn refusal_of(payloads: &[Payload]) -> Option<FailureReason> {
    payloads.error().map(|n: &Notify| FailureReason::Refused { kind: n.kind.to_wire() })
}

/// The group an INVALID_KE_PAYLOAD names.
pub(crate) fn wanted_group(payloads: &[Payload]) -> Option<KeGroup> {
    let data = &payloads.notify(NotifyType::InvalidKePayload)?.data;
    KeGroup::from_id(u16::from_be_bytes(<[u8; 2]>::try_from(data.as_slice()).ok()?))
}
