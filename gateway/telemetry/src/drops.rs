//! Why a packet was not sent on.

declare! {
    /// Every packet that does not leave the box increments exactly one of these. In the order of the stages.
    DropReason {
        Truncated = "truncated", "Shorter than its Ethernet, VLAN or IP header says.";
        Oversized = "oversized", "Longer than a packet buffer holds.";
        BadEthertype = "bad_ethertype", "Neither IPv4, IPv6 nor ARP.";
        NotOurMac = "not_our_mac", "Ethernet destination is neither ours, nor broadcast, nor a multicast we take.";
        UnknownVlan = "unknown_vlan", "VLAN tag of no configured interface.";
        BadArp = "bad_arp", "Malformed ARP, or a sender that cannot be.";
        Ipv4Header = "ipv4_header", "IPv4 version, header length or total length wrong (RFC 1812 §5.2.2).";
        Ipv4Checksum = "ipv4_checksum", "IPv4 header checksum wrong (RFC 1812 §5.2.2).";
        Ipv4Options = "ipv4_options", "IPv4 options, which this box does not forward.";
        Ipv6Header = "ipv6_header", "IPv6 version or payload length wrong.";
        Ipv6Extensions = "ipv6_extensions", "IPv6 extension headers too many, too long or in an impossible order.";
        Martian = "martian", "Source or destination that may not appear on a wire (RFC 1812 §5.3.7).";
        SourceSpoofed = "source_spoofed", "Source is one of our own addresses.";
        Multicast = "multicast", "Multicast or broadcast that nobody here takes.";
        TtlExceeded = "ttl_exceeded", "TTL or hop limit would reach zero (RFC 1812 §5.3.1).";
        FragmentMalformed = "fragment_malformed", "Fragment with impossible offset, length or end (RFC 791 §3.2, RFC 8200 §4.5).";
        FragmentTiny = "fragment_tiny", "First fragment without all headers, or a second one with TCP's (RFC 1858 §3, RFC 7112 §5).";
        FragmentOverlap = "fragment_overlap", "Fragment of a datagram whose fragments overlap (RFC 5722 §4).";
        FragmentDuplicate = "fragment_duplicate", "Fragment that was there already.";
        FragmentTimeout = "fragment_timeout", "Fragment whose others did not come in time (RFC 8200 §4.5).";
        FragmentFlood = "fragment_flood", "Fragment pushed out by others, of which too many wait.";
        FragmentOversized = "fragment_oversized", "Put together, the datagram would have more than 65,535 octets; or a large IPv6 fragment out of a tunnel, which cannot wait for others.";
        InterfaceDown = "interface_down", "The port it came from or would leave by is down, or still closed at start.";

        NotForUs = "not_for_us", "Addressed to the box, but no protocol here takes it.";
        HostUnsupported = "host_unsupported", "Addressed to the box, and there is no host interface to give it to.";
        HostFull = "host_full", "For the host's own stack, which took no more.";
        IcmpMalformed = "icmp_malformed", "ICMP or ICMPv6 to the box with wrong length, type or checksum.";
        IcmpRateLimited = "icmp_rate_limited", "Would have been answered, but answers are rate limited (RFC 4443 §2.4).";
        IcmpIgnored = "icmp_ignored", "ICMP to the box that needs no answer.";
        IcmpImplausible = "icmp_implausible", "ICMP error about a tunnel packet that fails the checks of RFC 4301 §8.2.1.";
        BadNeighbourDiscovery = "bad_neighbour_discovery", "Neighbour discovery that fails the checks of RFC 4861 §7.1.";
        UdpMalformed = "udp_malformed", "UDP to the box with wrong length or checksum.";
        IkeMalformed = "ike_malformed", "UDP 500 or 4500 that is no IKE message.";
        NatKeepalive = "nat_keepalive", "NAT keepalive of a peer; absorbed (RFC 3948 §2.3).";
        PuntFull = "punt_full", "For the control plane or housekeeping, whose queue was full.";

        PolicyDiscard = "policy_discard", "A policy says DISCARD.";
        NoPolicy = "no_policy", "No policy matches (RFC 4301 §5.1).";
        NoSa = "no_sa", "A policy says PROTECT and there is no SA yet; an acquire was raised if the child is a trap.";
        InboundClear = "inbound_clear", "Came in clear, and policy says it must be protected (RFC 4301 §5.2).";
        IcmpErrorNoSa = "icmp_error_no_sa", "ICMP error that no policy takes, about a packet whose answers no SA carries (RFC 4301 §6.2).";
        FragmentInner = "fragment_inner", "Fragment whose ports a policy asks for, and which shows none (RFC 4301 §7).";

        OutboundSelectorMismatch = "outbound_selector_mismatch", "Policy matches, the SA's negotiated selectors do not.";
        FragmentNotAgreed = "fragment_not_agreed", "Too large for an SA of certain ports, whose peer has not agreed to fragments, and its tunnel packet may not be cut (RFC 4301 §7.3).";
        SequenceExhausted = "sequence_exhausted", "The SA has used its last sequence number (RFC 4303 §3.3.3).";
        LifetimeExpired = "lifetime_expired", "The SA passed its hard lifetime.";
        TooBig = "too_big", "Larger than the way out allows; the sender was told if it may not be fragmented.";
        TooManyLayers = "too_many_layers", "More SAs around one packet than any bundle has.";
        NoHeadroom = "no_headroom", "No room in the buffer for the tunnel headers.";
        SealFailed = "seal_failed", "The cipher refused to seal.";

        UnknownSpi = "unknown_spi", "ESP with an SPI of no SA here.";
        NotInBundle = "not_in_bundle", "Came without the outer SA that its bundle has (RFC 4301 §5.2).";
        WrongSpiMode = "wrong_spi_mode", "ESP whose SA is outbound, or whose address or encapsulation is not the SA's.";
        FragmentOuter = "fragment_outer", "Fragment where AH or transport mode wants a whole packet (RFC 4302 §3.3.4, RFC 4303 §3.3.4).";
        EspTruncated = "esp_truncated", "ESP too short for header, IV, trailer and ICV.";
        ReplayDuplicate = "replay_duplicate", "Sequence number was already received (RFC 4303 §3.4.3).";
        ReplayTooOld = "replay_too_old", "Sequence number left of the replay window (RFC 4303 §3.4.3).";
        IcvFailed = "icv_failed", "Integrity check failed (RFC 4303 §3.4.4).";
        AhHeader = "ah_header", "AH whose length, or whose headers before it, cannot be (RFC 4302 §2.2, §3.3.3).";
        BadPadding = "bad_padding", "Padding wrong after decryption (RFC 4303 §2.4).";
        DummyPacket = "dummy_packet", "Dummy packet, next header 59; absorbed (RFC 4303 §2.6).";
        BadInnerHeader = "bad_inner_header", "What was inside the tunnel is no IP packet.";
        CongestionMarked = "congestion_marked", "Congestion mark on the outside, inside a flow that would not see it (RFC 6040 §4.2).";
        SelectorMismatch = "selector_mismatch", "Inner packet does not fit the selectors of the SA it came by (RFC 4301 §5.2).";

        NoRoute = "no_route", "No route to the destination.";
        NeighbourUnresolved = "neighbour_unresolved", "Next hop did not answer ARP or neighbour discovery.";
        NeighbourQueueFull = "neighbour_queue_full", "Too many packets wait for the next hop to answer.";
        NoBuffer = "no_buffer", "The buffer pool was empty.";
        NoLargeBuffer = "no_large_buffer", "Larger than an ordinary packet buffer, and no large one was free.";
        TxFull = "tx_full", "The port's transmit queue was full.";
    }
}

/// Where on its way a packet was dropped; the order of `culvert status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    Receive,
    Local,
    Policy,
    Outbound,
    Inbound,
    Forward,
}

impl Stage {
    pub const ALL: &'static [Self] =
        &[Self::Receive, Self::Local, Self::Policy, Self::Outbound, Self::Inbound, Self::Forward];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Local => "local",
            Self::Policy => "policy",
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Forward => "forward",
        }
    }
}

impl DropReason {
    /// The blocks of the declaration above.
    pub fn stage(self) -> Stage {
        match self {
            r if r <= Self::InterfaceDown => Stage::Receive,
            r if r <= Self::PuntFull => Stage::Local,
            r if r <= Self::FragmentInner => Stage::Policy,
            r if r <= Self::SealFailed => Stage::Outbound,
            r if r <= Self::SelectorMismatch => Stage::Inbound,
            _ => Stage::Forward,
        }
    }

    /// Absorbed on purpose: its count is no sign of trouble.
    pub const fn is_expected(self) -> bool {
        matches!(self, Self::NatKeepalive | Self::DummyPacket | Self::IcmpIgnored | Self::Multicast)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_the_declaration() {
        let stages: Vec<Stage> = DropReason::ALL.iter().map(|r| r.stage()).collect();
        assert!(stages.is_sorted());
        assert_eq!(DropReason::Truncated.stage(), Stage::Receive);
        assert_eq!(DropReason::NotForUs.stage(), Stage::Local);
        assert_eq!(DropReason::NoPolicy.stage(), Stage::Policy);
        assert_eq!(DropReason::OutboundSelectorMismatch.stage(), Stage::Outbound);
        assert_eq!(DropReason::UnknownSpi.stage(), Stage::Inbound);
        assert_eq!(DropReason::TxFull.stage(), Stage::Forward);
        for stage in Stage::ALL {
            assert!(stages.contains(stage), "no reason in {}", stage.name());
        }
    }
}
