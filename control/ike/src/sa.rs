//! One IKE SA: a struct for each state, consumed when the state is left.

use crate::{
    DownReason,
    channel::Channel,
    child::{ChildSa, ChildState},
    exchange::{
        auth::{Authenticating, ExpectAuth},
        create_child::ChildExchange,
        rekey_ike::IkeExchange,
        sa_init::{Initiating, Responding},
    },
    keys::IkeSuite,
    message::{ExchangeType, IkeSpi, Payload},
    nat::Nat,
    shared::{Path, SaId},
};
use culvert_model::{Identity, IpsecProtocol, SecretKey, SlotIndex, Spi};
use std::{collections::VecDeque, sync::Arc, time::Instant};

pub(crate) struct IkeSa {
    pub id: SaId,
    /// Unknown to a responder before IKE_AUTH.
    pub conn: Option<usize>,
    pub initiator: bool,
    pub local_spi: IkeSpi,
    pub remote_spi: IkeSpi,
    pub path: Path,
    pub nat: Nat,
    pub state: State,
}

pub(crate) enum State {
    /// Initiator, before IKE_SA_INIT is done.
    Initiating(Box<Initiating>),
    /// Initiator, IKE_AUTH sent.
    Authenticating(Box<Authenticating>),
    /// Responder, computing its part of IKE_SA_INIT.
    Responding(Box<Responding>),
    /// Responder, IKE_SA_INIT answered.
    ExpectAuth(Box<ExpectAuth>),
    Established(Box<Established>),
    /// While a step runs, and after one that failed: the endpoint forgets the SA.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Live,
    /// Another IKE SA took over; this one waits for its Delete.
    Rekeyed,
    Deleting(DownReason),
    /// Over; only repeats its last answer until then.
    Closed(Instant),
}

pub(crate) struct Established {
    pub channel: Channel,
    pub suite: IkeSuite,
    pub sk_d: SecretKey,
    pub local_id: Identity,
    pub remote_id: Identity,
    /// The lower of the two nonces that made the SA (RFC 7296 §2.8.1).
    pub lowest_nonce: Arc<[u8]>,
    pub children: Vec<ChildSa>,
    pub tasks: VecDeque<Task>,
    pub exchange: Option<Exchange>,
    pub pending: Option<Pending>,
    pub created: Instant,
    pub rekey_at: Option<Instant>,
    pub expire_at: Option<Instant>,
    pub last_inbound: Instant,
    pub phase: Phase,
    /// When two SAs for the same peer are to be settled.
    pub settle_at: Option<Instant>,
    /// From then on the children count as confirmed: the peer that has lost its old pairs is silent.
    pub confirm_at: Option<Instant>,
}

/// Something to do when the window is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub kind: TaskKind,
    pub not_before: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskKind {
    CreateChild {
        child: usize,
    },
    RekeyChild {
        spi_in: Spi,
    },
    DeleteChild {
        spi_in: Spi,
        reason: DownReason,
    },
    /// The peer made a pair that we do not take; the SPI is the inbound one that we had offered.
    DisownChild {
        protocol: IpsecProtocol,
        spi_in: Spi,
    },
    RekeyIke,
    DeleteIke,
    Dpd,
}

/// Our exchange under way.
pub(crate) enum Exchange {
    Dpd,
    DeleteIke,
    DeleteChild { protocol: IpsecProtocol, spi_in: Spi, reason: DownReason },
    Child(Box<ChildExchange>),
    Ike(Box<IkeExchange>),
}

/// The peer's request under way.
pub(crate) struct Pending {
    pub exchange: ExchangeType,
    /// The answer so far.
    pub payloads: Vec<Payload>,
    pub wait: Wait,
    /// The peer said INITIAL_CONTACT.
    pub initial_contact: bool,
}

pub(crate) enum Wait {
    Child(Box<crate::exchange::child_answer::ChildAnswer>),
    /// The data plane has the inbound SA soon.
    Install {
        slot: SlotIndex,
        child: Box<ChildSa>,
        rekeys: Option<Spi>,
    },
    Ike(Box<crate::exchange::rekey_ike::IkeAnswer>),
}

impl IkeSa {
    pub fn established(&self) -> Option<&Established> {
        if let State::Established(e) = &self.state { Some(e) } else { None }
    }

    pub fn established_mut(&mut self) -> Option<&mut Established> {
        if let State::Established(e) = &mut self.state { Some(e) } else { None }
    }

    /// Can new exchanges be begun on it?
    pub fn usable(&self) -> Option<&Established> {
        self.established().filter(|e| e.phase == Phase::Live)
    }

    pub fn is_half_open(&self) -> bool {
        matches!(self.state, State::Responding(_) | State::ExpectAuth(_))
    }

    pub fn is_connecting(&self) -> bool {
        matches!(self.state, State::Initiating(_) | State::Authenticating(_))
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Initiating(s) => s.next_timeout(),
            State::Authenticating(s) => s.channel.next_timeout(),
            State::Responding(s) => Some(s.expires),
            State::ExpectAuth(s) => Some(s.expires),
            State::Established(e) => e.next_timeout(),
            State::Gone => None,
        }
    }
}

impl Established {
    pub fn child(&self, spi_in: Spi) -> Option<&ChildSa> {
        self.children.iter().find(|c| c.spi_in() == spi_in)
    }

    pub fn child_mut(&mut self, spi_in: Spi) -> Option<&mut ChildSa> {
        self.children.iter_mut().find(|c| c.spi_in() == spi_in)
    }

    /// SPIs of ESP and AH are numbers of their own.
    pub fn by_outbound(&mut self, protocol: IpsecProtocol, spi_out: u32) -> Option<&mut ChildSa> {
        self.children.iter_mut().find(|c| c.protocol() == protocol && c.spi_out().get() == spi_out)
    }

    pub fn take_child(&mut self, spi_in: Spi) -> Option<ChildSa> {
        let at = self.children.iter().position(|c| c.spi_in() == spi_in)?;
        let child = self.children.remove(at);
        self.children.shrink_to(1);
        Some(child)
    }

    pub fn put_child(&mut self, child: ChildSa) {
        // Most have one for all their life.
        self.children.reserve_exact(1);
        self.children.push(child);
    }

    pub fn enqueue(&mut self, now: Instant, kind: TaskKind) {
        self.enqueue_at(now, kind);
    }

    pub fn enqueue_at(&mut self, not_before: Instant, kind: TaskKind) {
        if !self.tasks.iter().any(|t| t.kind == kind) {
            self.tasks.push_back(Task { kind, not_before });
        }
    }

    /// Begins the deletion of the whole SA.
    pub fn close(&mut self, now: Instant, reason: DownReason) {
        if matches!(self.phase, Phase::Live | Phase::Rekeyed) {
            self.phase = Phase::Deleting(reason);
            self.tasks.clear();
            self.tasks.push_back(Task { kind: TaskKind::DeleteIke, not_before: now });
        }
    }

    /// Begins the deletion of one child.
    pub fn close_child(&mut self, now: Instant, spi_in: Spi, reason: DownReason) {
        if let Some(child) = self.child_mut(spi_in)
            && child.state != ChildState::Deleting
        {
            child.state = ChildState::Deleting;
            self.enqueue(now, TaskKind::DeleteChild { spi_in, reason });
        }
    }

    /// Is there, or will there soon be, a pair for the child?
    /// Has it SAs of this child, in whatever state?
    pub fn holds(&self, child: usize) -> bool {
        self.children.iter().any(|c| c.child == child)
    }

    pub fn serves(&self, child: usize) -> bool {
        self.children.iter().any(|c| c.child == child && c.is_live())
            || self.tasks.iter().any(|t| t.kind == TaskKind::CreateChild { child })
            || matches!(&self.exchange, Some(Exchange::Child(x)) if x.child == child)
            || self.pending.as_ref().is_some_and(|p| match &p.wait {
                Wait::Child(a) => a.child == child,
                Wait::Install { child: c, .. } => c.child == child,
                Wait::Ike(_) => false,
            })
    }

    pub fn has_exchange_of_children(&self) -> bool {
        matches!(&self.exchange, Some(Exchange::Child(_) | Exchange::DeleteChild { .. }))
    }

    fn next_timeout(&self) -> Option<Instant> {
        if let Phase::Closed(until) = self.phase {
            return Some(until);
        }
        let idle = self.exchange.is_none();
        let tasks = self.tasks.iter().map(|t| t.not_before).filter(|_| idle);
        let live = self.phase == Phase::Live;
        let children = self.children.iter().flat_map(|c| {
            let rekey = c.rekey_at.filter(|_| live && c.state == ChildState::Installed);
            let expire = c.expire_at.filter(|_| live && c.state != ChildState::Deleting);
            [rekey, expire].into_iter().flatten()
        });
        let while_live = [self.rekey_at, self.settle_at, self.confirm_at].into_iter().flatten().filter(|_| live);
        let own = while_live.chain(self.expire_at);
        tasks.chain(children).chain(own).chain(self.channel.next_timeout()).min()
    }
}
