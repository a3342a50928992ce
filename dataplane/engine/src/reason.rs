//! What a header's error is counted as.

use culvert_telemetry::DropReason;
use culvert_wire::{ethernet, flow, ipv4, ipv6, vlan};

pub(crate) fn of_ethernet(error: ethernet::Error) -> DropReason {
    match error {
        ethernet::Error::Truncated => DropReason::Truncated,
    }
}

pub(crate) fn of_vlan(error: vlan::Error) -> DropReason {
    match error {
        vlan::Error::Truncated => DropReason::Truncated,
        vlan::Error::ReservedId | vlan::Error::Stacked => DropReason::UnknownVlan,
    }
}

pub(crate) fn of_ipv4(error: ipv4::Error) -> DropReason {
    use ipv4::Error as E;
    match error {
        E::Truncated | E::Short { .. } => DropReason::Truncated,
        E::Checksum => DropReason::Ipv4Checksum,
        E::Version(_) | E::HeaderLength(_) | E::TotalLength { .. } | E::FragmentOverflow => DropReason::Ipv4Header,
        E::Options => DropReason::Ipv4Options,
    }
}

pub(crate) fn of_ipv6(error: ipv6::Error) -> DropReason {
    use ipv6::Error as E;
    match error {
        E::Truncated | E::Short { .. } => DropReason::Truncated,
        E::Version(_) => DropReason::Ipv6Header,
        E::ExtensionTruncated(_)
        | E::HopByHopNotFirst
        | E::TooManyExtensions
        | E::SourceRoute
        | E::NestedFragment
        | E::FragmentLength
        | E::FragmentOverflow => DropReason::Ipv6Extensions,
    }
}

pub(crate) fn of_flow(error: flow::Error) -> DropReason {
    match error {
        flow::Error::Ipv4(error) => of_ipv4(error),
        flow::Error::Ipv6(error) => of_ipv6(error),
        flow::Error::Version(_) => DropReason::BadEthertype,
        flow::Error::Empty | flow::Error::PortsTruncated(_) => DropReason::Truncated,
        flow::Error::TinyFragment(_) => DropReason::FragmentInner,
    }
}
