//! Why a request is refused, and the one place that says so on the wire (RFC 7296 §3.10.1).

use crate::{
    FailureReason,
    message::{Notify, NotifyType, Payload, Protocol},
};
use culvert_model::KeGroup;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// The answer, where it is the reason alone that tells.
    For(FailureReason),
    InvalidKe(KeGroup),
    /// §2.25.
    Temporary,
    /// §2.25, with the protocol and SPI that were asked for.
    ChildNotFound(Protocol, Vec<u8>),
    InvalidSyntax,
}

impl Refusal {
    pub fn payload(&self) -> Payload {
        let plain = |kind| Notify::new(kind);
        Payload::Notify(match self {
            Self::InvalidKe(group) => {
                Notify::with_data(NotifyType::InvalidKePayload, group.id().to_be_bytes().to_vec())
            }
            Self::Temporary => plain(NotifyType::TemporaryFailure),
            Self::ChildNotFound(protocol, spi) => {
                Notify { protocol: *protocol, spi: spi.clone(), kind: NotifyType::ChildSaNotFound, data: vec![] }
            }
            Self::InvalidSyntax => plain(NotifyType::InvalidSyntax),
            Self::For(reason) => plain(notify_type(reason)),
        })
    }

    /// What an operator is told, if it is worth telling.
    pub fn reason(self) -> Option<FailureReason> {
        if let Self::For(reason) = self { Some(reason) } else { None }
    }
}

fn notify_type(reason: &FailureReason) -> NotifyType {
    match reason {
        FailureReason::NoIkeProposal { .. }
        | FailureReason::NoChildProposal { .. }
        | FailureReason::WrongMode { .. }
        | FailureReason::TransportThroughNat => NotifyType::NoProposalChosen,
        FailureReason::TsUnacceptable { .. } => NotifyType::TsUnacceptable,
        FailureReason::WrongIdentity { .. }
        | FailureReason::NoSecret { .. }
        | FailureReason::AuthenticationFailed { .. }
        | FailureReason::NoConnection { .. } => NotifyType::AuthenticationFailed,
        FailureReason::KeyExchange(_) | FailureReason::BadMessage(_) | FailureReason::UnexpectedAnswer => {
            NotifyType::InvalidSyntax
        }
        FailureReason::NoSlot => NotifyType::NoAdditionalSas,
        FailureReason::NoAnswer { .. }
        | FailureReason::Refused { .. }
        | FailureReason::DataPlaneRefused
        | FailureReason::Encode(_)
        | FailureReason::NoAddress => NotifyType::TemporaryFailure,
    }
}
