//! What can be wrong with a message, and whose fault it is.

use super::registry::{ExchangeType, NotifyType, PayloadType, Protocol};
use culvert_crypto::CryptoError;

/// Why a datagram has no value as a message, by blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Somebody's: nothing proves who sent these octets.
    #[error("{0}")]
    Unproven(Fault),
    /// Forged or damaged on the way; or the keys differ.
    #[error("the integrity check failed")]
    IntegrityFailed,
    /// The peer's: the message passed its integrity check, and what is inside breaks the protocol.
    #[error("{0}")]
    Peer(Fault),
    /// Ours.
    #[error("{0}")]
    Local(CryptoError),
}

impl Error {
    /// What to answer to a request, or nothing (RFC 7296 §2.21). After `Peer` the answer is encrypted and the IKE SA ends.
    ///
    /// Without proof there are two answers only: INVALID_SYNTAX "may only be returned for and in an encrypted packet"
    /// (§3.10.1).
    pub fn notify(&self) -> Option<NotifyType> {
        match self {
            Self::Unproven(Fault::MajorVersion { major }) if *major > 2 => Some(NotifyType::InvalidMajorVersion),
            Self::Unproven(Fault::UnknownCritical { .. }) => Some(NotifyType::UnsupportedCriticalPayload),
            Self::Unproven(_) | Self::IntegrityFailed | Self::Local(_) => None,
            Self::Peer(fault) => Some(fault.notify()),
        }
    }

    /// The data that goes with [`Error::notify`]: the payload's type for UNSUPPORTED_CRITICAL_PAYLOAD, else nothing.
    pub fn notify_data(&self) -> Vec<u8> {
        match self {
            Self::Unproven(Fault::UnknownCritical { payload }) | Self::Peer(Fault::UnknownCritical { payload }) => {
                vec![*payload]
            }
            _ => Vec::new(),
        }
    }
}

/// One way in which octets break RFC 7296.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    // The header, §3.1.
    #[error("the datagram ends after {got} octets, inside the IKE header")]
    HeaderTruncated { got: usize },
    #[error("IKE version {major} is not spoken here")]
    MajorVersion { major: u8 },
    #[error("the header claims {claimed} octets, the datagram has {got}")]
    HeaderLength { claimed: u32, got: usize },
    #[error("the initiator's SPI is zero")]
    ZeroInitiatorSpi,
    #[error("the responder's SPI must be zero in the first request and nowhere else")]
    ResponderSpi,
    #[error("message ID {id} in IKE_SA_INIT, which has 0")]
    InitMessageId { id: u32 },
    #[error("the initiator flag contradicts the exchange")]
    InitiatorFlag,
    #[error("exchange {0:?} is not known")]
    Exchange(ExchangeType),
    #[error("exchange {0:?} must be encrypted")]
    NotEncrypted(ExchangeType),
    #[error("exchange {0:?} is never encrypted")]
    NotClear(ExchangeType),

    // The chain of payloads, §3.2, and what may stand in it (RFC 7296 §1.2-1.4, appendix C).
    #[error("the {payload:?} payload runs past the end of the message")]
    PayloadTruncated { payload: PayloadType },
    #[error("the {payload:?} payload claims {claimed} octets, less than its own header")]
    PayloadLength { payload: PayloadType, claimed: u16 },
    #[error("{octets} octets follow the last payload")]
    Trailing { octets: usize },
    #[error("more than {most} payloads")]
    TooManyPayloads { most: usize },
    #[error("payload type {payload} is not known and critical")]
    UnknownCritical { payload: u8 },
    #[error("a {payload:?} payload may not stand in this message")]
    NotAllowed { payload: PayloadType },
    #[error("the {payload:?} payload is missing")]
    Missing { payload: PayloadType },
    #[error("too many {payload:?} payloads")]
    Repeated { payload: PayloadType },

    // The Encrypted payload, §3.14.
    #[error("the Encrypted payload is not the last one")]
    EncryptedNotLast,
    #[error("{got} octets cannot be an Encrypted payload of these algorithms")]
    EncryptedLength { got: usize },
    #[error("the pad length {pad} is more than there is")]
    PadLength { pad: u8 },

    // Inside one payload.
    #[error("a field of the {payload:?} payload runs past its end")]
    Truncated { payload: PayloadType },
    #[error("octets follow the last field of the {payload:?} payload")]
    BodyTrailing { payload: PayloadType },
    #[error("a length or count inside the {payload:?} payload contradicts its contents")]
    Inconsistent { payload: PayloadType },
    #[error("more than {most} entries in the {payload:?} payload")]
    TooManyEntries { payload: PayloadType, most: usize },
    #[error("an empty {payload:?} payload")]
    Empty { payload: PayloadType },
    #[error("a nonce of {got} octets; 16 to 256 are right")]
    NonceLength { got: usize },
    #[error("an identity whose octets do not fit its type")]
    Identity,
    #[error("an SPI of {got} octets for protocol {protocol:?}")]
    SpiLength { protocol: Protocol, got: u8 },
    #[error("a traffic selector that ends before it starts")]
    ReversedSelector,
    #[error("a Delete payload for protocol {protocol:?}")]
    DeleteProtocol { protocol: Protocol },
}

impl Fault {
    fn notify(&self) -> NotifyType {
        match self {
            Self::UnknownCritical { .. } => NotifyType::UnsupportedCriticalPayload,
            Self::MajorVersion { .. } => NotifyType::InvalidMajorVersion,
            Self::HeaderTruncated { .. }
            | Self::HeaderLength { .. }
            | Self::ZeroInitiatorSpi
            | Self::ResponderSpi
            | Self::InitMessageId { .. }
            | Self::InitiatorFlag
            | Self::Exchange(_)
            | Self::NotEncrypted(_)
            | Self::NotClear(_)
            | Self::PayloadTruncated { .. }
            | Self::PayloadLength { .. }
            | Self::Trailing { .. }
            | Self::TooManyPayloads { .. }
            | Self::NotAllowed { .. }
            | Self::Missing { .. }
            | Self::Repeated { .. }
            | Self::EncryptedNotLast
            | Self::EncryptedLength { .. }
            | Self::PadLength { .. }
            | Self::Truncated { .. }
            | Self::BodyTrailing { .. }
            | Self::Inconsistent { .. }
            | Self::TooManyEntries { .. }
            | Self::Empty { .. }
            | Self::NonceLength { .. }
            | Self::Identity
            | Self::SpiLength { .. }
            | Self::ReversedSelector
            | Self::DeleteProtocol { .. } => NotifyType::InvalidSyntax,
        }
    }
}

/// Why a message of ours could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A payload or the message passes 65,535 octets, or a count passes its field.
    #[error("the {payload:?} payload is too long to be written")]
    TooLong { payload: PayloadType },
    /// We would have to refuse it ourselves.
    #[error("this message would break the protocol: {0}")]
    Grammar(Fault),
    #[error("all initialization vectors of the key are used up")]
    IvExhausted,
    #[error("{0}")]
    Crypto(#[from] CryptoError),
}
