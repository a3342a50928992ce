//! What an operator is told.

use core::{fmt, time::Duration};
use culvert_model::{ChildId, EspProposal, Identity, IkeProposal, SaMode, Spi, Suite, TrafficSelector};
use std::net::SocketAddr;

use crate::message;

#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    IkeUp {
        connection: String,
        local: SocketAddr,
        remote: SocketAddr,
        local_id: Identity,
        remote_id: Identity,
        initiator: bool,
        proposal: String,
    },
    IkeRekeyed {
        connection: String,
        remote: SocketAddr,
    },
    IkeDown {
        connection: String,
        remote: SocketAddr,
        reason: DownReason,
    },
    ChildUp {
        connection: String,
        name: String,
        child: ChildId,
        spi_in: Spi,
        spi_out: Spi,
        suite: Suite,
        local_ts: Vec<TrafficSelector>,
        remote_ts: Vec<TrafficSelector>,
    },
    ChildRekeyed {
        connection: String,
        name: String,
        child: ChildId,
        old_spi_in: Spi,
        spi_in: Spi,
        spi_out: Spi,
    },
    ChildDown {
        connection: String,
        name: String,
        child: ChildId,
        spi_in: Spi,
        spi_out: Spi,
        reason: DownReason,
    },
    /// Something was tried and did not come about.
    Failed {
        connection: Option<String>,
        child: Option<String>,
        peer: SocketAddr,
        step: Step,
        reason: FailureReason,
        retry_in: Option<Duration>,
    },
    /// A datagram that is no message, or of no SA of ours.
    Dropped {
        remote: SocketAddr,
        reason: message::Error,
    },
    /// A message of an IKE SA that nobody knows.
    UnknownIkeSpi {
        remote: SocketAddr,
    },
    /// Too many half-open IKE SAs: cookies are asked for, or requests go unanswered.
    HalfOpenFlood {
        remote: SocketAddr,
        refused: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// Replaced by a newer SA.
    Rekeyed,
    /// A second SA for the same traffic was given up.
    Duplicate,
    DeletedByPeer,
    /// On request, or shutdown.
    Terminated,
    PeerDead,
    /// The peer lost its state.
    PeerRestarted,
    Expired,
    ProtocolError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    IkeSaInit,
    IkeAuth,
    CreateChildSa,
    RekeyChildSa,
    RekeyIkeSa,
    Informational,
}

/// Why a step failed, with both sides' wishes where they differ.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FailureReason {
    #[error("the peer did not answer {tries} transmissions")]
    NoAnswer { tries: u32 },
    #[error("the peer refused with {}", notify_name(*kind))]
    Refused { kind: u16 },
    #[error("no IKE proposal in common: ours {}, theirs {theirs}", list(ours))]
    NoIkeProposal { ours: Vec<IkeProposal>, theirs: String },
    #[error("no Child SA proposal in common: ours {}, theirs {theirs}", list(ours))]
    NoChildProposal { ours: Vec<EspProposal>, theirs: String },
    #[error("traffic selectors have nothing in common: ours {} === {}, theirs {} === {}", list(ours.0.as_slice()), list(ours.1.as_slice()), list(theirs.0.as_slice()), list(theirs.1.as_slice()))]
    TsUnacceptable {
        ours: (Vec<TrafficSelector>, Vec<TrafficSelector>),
        theirs: (Vec<TrafficSelector>, Vec<TrafficSelector>),
    },
    #[error("the peer is {got}, expected {}", expected.as_ref().map_or_else(|| "any with a secret".to_owned(), ToString::to_string))]
    WrongIdentity { expected: Option<Identity>, got: Identity },
    #[error("no secret for {local} and {remote}")]
    NoSecret { local: Identity, remote: Identity },
    #[error("{remote} did not prove to know the pre-shared key")]
    AuthenticationFailed { remote: Identity },
    #[error("no connection is configured for {local} and {remote}")]
    NoConnection { local: SocketAddr, remote: SocketAddr },
    #[error("key exchange failed: {0}")]
    KeyExchange(culvert_crypto::CryptoError),
    #[error("the peer sent a message that breaks the protocol: {0}")]
    BadMessage(message::Error),
    #[error("the peer's answer was not what was asked for")]
    UnexpectedAnswer,
    #[error("all SA slots are in use")]
    NoSlot,
    #[error("the data plane refused the SA")]
    DataPlaneRefused,
    #[error("the message could not be written: {0}")]
    Encode(message::EncodeError),
    /// RFC 7296 §1.3.1: tunnel mode, unless both ends say USE_TRANSPORT_MODE.
    #[error("the peer wants {} mode, and {} mode is configured", mode_name(*theirs), mode_name(*ours))]
    WrongMode { ours: SaMode, theirs: SaMode },
    #[error("there is a NAT on the way, through which transport mode is not supported; use tunnel mode")]
    TransportThroughNat,
    #[error("no address to dial")]
    NoAddress,
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn mode_name(mode: SaMode) -> &'static str {
    match mode {
        SaMode::Tunnel => "tunnel",
        SaMode::Transport => "transport",
    }
}

fn notify_name(kind: u16) -> String {
    format!("{:?} ({kind})", message::NotifyType::from_wire(kind))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IkeSaInit => "IKE_SA_INIT",
            Self::IkeAuth => "IKE_AUTH",
            Self::CreateChildSa => "CREATE_CHILD_SA",
            Self::RekeyChildSa => "CREATE_CHILD_SA (rekey of a Child SA)",
            Self::RekeyIkeSa => "CREATE_CHILD_SA (rekey of the IKE SA)",
            Self::Informational => "INFORMATIONAL",
        })
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rekeyed => "rekeyed",
            Self::Duplicate => "a second SA carries its traffic",
            Self::DeletedByPeer => "deleted by the peer",
            Self::Terminated => "terminated",
            Self::PeerDead => "the peer does not answer",
            Self::PeerRestarted => "the peer has restarted",
            Self::Expired => "its lifetime is over",
            Self::ProtocolError => "the peer broke the protocol",
        })
    }
}
