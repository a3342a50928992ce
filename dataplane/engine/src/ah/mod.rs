//! What transport mode and AH need to know of the headers around them.

pub(crate) mod insertion;
pub(crate) mod mutable;

use culvert_telemetry::DropReason;

/// Why a packet's headers do not allow AH, or a header put between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("headers truncated")]
    Truncated,
    #[error("IP version {0}")]
    Version(u8),
    #[error("headers before the ICV are longer than {}", mutable::MAX_HEADERS)]
    TooLong,
    #[error("no AH header at that place")]
    Position,
    #[error("a fragment")]
    Fragment,
    #[error("IPv4 options are malformed")]
    Ipv4Options,
    #[error("IPv6 extension headers are malformed")]
    Ipv6Extensions,
    #[error("routing header of type {0}, whose changes on the way are not known")]
    RoutingType(u8),
    #[error("came while its source route was not used up")]
    SourceRoute,
}

impl Error {
    pub fn reason(self) -> DropReason {
        match self {
            Self::Truncated => DropReason::Truncated,
            Self::Version(_) => DropReason::BadEthertype,
            Self::Ipv4Options => DropReason::Ipv4Options,
            Self::Fragment => DropReason::FragmentOuter,
            Self::TooLong | Self::Position | Self::Ipv6Extensions | Self::RoutingType(_) | Self::SourceRoute => {
                DropReason::Ipv6Extensions
            }
        }
    }
}
