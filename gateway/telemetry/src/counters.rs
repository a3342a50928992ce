//! What workers, ports and SAs count.

declare! {
    /// One block per worker; the housekeeping thread has one too.
    WorkerCounter shown as "worker", ["worker"] {
        RxPackets = "rx_packets", "Packets taken from ports.";
        RxBytes = "rx_bytes", "Bytes taken from ports, Ethernet header included.";
        TxPackets = "tx_packets", "Packets given to ports.";
        TxBytes = "tx_bytes", "Bytes given to ports, Ethernet header included.";
        SealedPackets = "sealed_packets", "Packets sealed into ESP.";
        SealedBytes = "sealed_bytes", "Inner bytes sealed into ESP.";
        OpenedPackets = "opened_packets", "Packets opened from ESP and accepted.";
        OpenedBytes = "opened_bytes", "Inner bytes opened from ESP and accepted.";
        BypassedPackets = "bypassed_packets", "Packets sent on in clear because a policy says BYPASS.";
        Punted = "punted", "Packets given to housekeeping or to the control plane.";
        Bursts = "bursts", "Receive calls that returned packets.";
        EmptyPolls = "empty_polls", "Receive calls that returned nothing.";
        Sleeps = "sleeps", "Times the worker slept for want of packets (idle = \"adaptive\").";
        BusyCycles = "busy_cycles", "Time-stamp counter cycles spent on packets.";
        TotalCycles = "total_cycles", "Time-stamp counter cycles in all.";
        FlowCacheHits = "flow_cache_hits", "Policy lookups answered by the worker's flow cache.";
        FlowCacheMisses = "flow_cache_misses", "Policy lookups that searched the policy database.";
        Acquires = "acquires", "Acquires raised for packets without an SA.";
        Reassembled = "reassembled", "Packets put together from fragments.";
        Fragmented = "fragmented", "Packets sent in fragments.";
        PathMtuChanges = "path_mtu_changes", "Times a tunnel's path MTU was lowered by ICMP (RFC 4301 §8.2).";
        ArpReplies = "arp_replies", "ARP requests answered.";
        NeighbourAdvertisements = "neighbour_advertisements", "Neighbour solicitations answered.";
        EchoReplies = "echo_replies", "ICMP and ICMPv6 echo requests answered.";
        IcmpErrors = "icmp_errors", "ICMP and ICMPv6 errors sent.";
        DummiesSent = "dummies_sent", "Dummy packets sent to hide how much is said (RFC 4303 §2.6).";
        ToHost = "to_host", "Packets given to the host's own stack.";
        FromHost = "from_host", "Packets taken from the host's own stack.";
        NatKeepalivesSent = "nat_keepalives_sent", "NAT keepalives sent (RFC 3948 §2.3).";
        CommandsApplied = "commands_applied", "Commands of the control plane applied.";
        CommandsRefused = "commands_refused", "Commands of the control plane refused.";
    }
}

declare! {
    /// One block per port, copied from the driver by housekeeping. `LinkUp` and `LinkSpeedMbps` are gauges.
    PortCounter shown as "port", ["port"] {
        RxPackets = "rx_packets", "Packets received.";
        RxBytes = "rx_bytes", "Bytes received.";
        TxPackets = "tx_packets", "Packets sent.";
        TxBytes = "tx_bytes", "Bytes sent.";
        RxMissed = "rx_missed", "Packets the card dropped because the receive queue was full.";
        RxErrors = "rx_errors", "Packets received in error.";
        TxErrors = "tx_errors", "Packets that could not be sent.";
        RxNoBuffer = "rx_no_buffer", "Receive attempts that found no buffer.";
    } gauges {
        LinkUp = "link_up" as "link_up" * 1, "1 while the link is up.";
        LinkSpeedMbps = "link_speed_mbps" as "link_speed_bytes" * 125_000,
            "Link speed, bytes per second; 0 where unknown.";
    }
}

declare! {
    /// In the SA's slot; outlives either process.
    SaCounter shown as "sa", ["connection", "child", "direction", "spi"] {
        Packets = "packets", "Packets sealed or opened by this SA.";
        Bytes = "bytes", "Inner bytes sealed or opened by this SA.";
        ReplayDrops = "replay_drops", "Packets dropped by the replay check.";
        IcvFailures = "icv_failures", "Packets whose integrity check failed.";
        SelectorMismatches = "selector_mismatches", "Packets whose inner addresses do not fit the SA's selectors.";
        PaddingErrors = "padding_errors", "Packets with wrong padding after decryption.";
        OtherDrops = "other_drops", "Packets of this SA dropped for another reason.";
    }
}
