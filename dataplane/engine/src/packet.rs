//! What the stages know of a packet, and the checks every IP packet passes, from a port or out of a tunnel.

use crate::encapsulate::Inside;
use crate::io::{Origin, PortId};
use crate::reason;
use crate::topology::{Hop, Topology, is_link_local};
use culvert_model::{ChildId, Flow, IpsecProtocol, Spi, Tunnel};
use culvert_telemetry::DropReason;
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{self as wire, Fragmentation, ipv4, ipv6, protocol};
use std::net::{IpAddr, SocketAddr};

/// A packet in clear on its way through the box; `packet` starts at the IP header.
pub(crate) struct Transit<B> {
    pub packet: B,
    pub origin: Origin,
    /// Where it, or the tunnel packet around it, came in.
    pub port: PortId,
    pub head: Head,
}

/// An ESP or AH packet to the box; `packet` starts at the outer IP header.
pub(crate) struct Arrived<B> {
    pub packet: B,
    pub port: PortId,
    pub protocol: IpsecProtocol,
    /// Of the ESP or AH header in the packet.
    pub offset: u16,
    pub spi: Spi,
    /// Low half of the sequence number.
    pub low: u32,
    pub tos: u8,
    pub local: IpAddr,
    pub remote: IpAddr,
    /// Local and remote UDP port.
    pub ports: Option<(u16, u16)>,
    /// It came out of this child's SA.
    pub inside: Option<ChildId>,
}

/// An ESP or AH packet whose SA is known.
pub(crate) struct Opening<B> {
    pub packet: B,
    pub port: PortId,
    pub offset: u16,
    /// Octets between the IP headers and `offset`: the UDP header, if there is one.
    pub udp: u8,
    pub tos: u8,
    /// Addresses of the outer header, for transport mode and audits.
    pub local: IpAddr,
    pub remote: IpAddr,
    /// Which SA of the burst.
    pub group: usize,
    pub sequence: u64,
    /// Where it came from, if not from the SA's peer address.
    pub moved: Option<SocketAddr>,
    /// The ICV was right.
    pub authentic: bool,
}

/// A packet to be sealed.
pub(crate) struct Sealing<B> {
    pub packet: B,
    pub port: PortId,
    pub inside: Inside,
    /// Of the ESP or AH header in the packet, once it is there.
    pub front: u16,
    /// Octets that TFC padding is to make of it; 0 for none.
    pub padded_to: u16,
    pub head: Head,
    /// Which SA of the burst.
    pub group: usize,
    pub sequence: u64,
    pub inner_len: usize,
    pub sealed: bool,
}

/// A packet that knows its way.
pub(crate) struct Leaving<B> {
    pub packet: B,
    pub hop: Hop,
}

/// What was read of an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub flow: Flow,
    pub fragmentation: Fragmentation,
    /// DSCP and ECN.
    pub tos: u8,
    /// IPv6 may never be fragmented on its way.
    pub dont_fragment: bool,
    pub options: bool,
    /// Or hop limit.
    pub ttl: u8,
    /// IPv6; else 0.
    pub flow_label: u32,
    /// Of the upper-layer header.
    pub upper: u16,
    /// Header included.
    pub len: usize,
}

/// What of a packet's IP header its tunnel's outer header is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inner {
    pub is_v6: bool,
    /// IPv6 may never be fragmented on its way.
    pub dont_fragment: bool,
    /// DSCP and ECN.
    pub tos: u8,
    /// Or hop limit.
    pub ttl: u8,
    /// IPv6; else 0.
    pub flow_label: u32,
}

impl Head {
    pub fn inner(&self) -> Inner {
        let Self { dont_fragment, tos, ttl, flow_label, .. } = *self;
        Inner { is_v6: self.is_v6(), dont_fragment, tos, ttl, flow_label }
    }

    /// In RFC 1812 §5.2.2 order; the packet may be followed by padding.
    pub fn parse(packet: &[u8], checksum: ChecksumMode) -> Result<Self, DropReason> {
        match packet.first().map(|octet| octet >> 4) {
            Some(4) => {
                let (header, payload) = ipv4::Header::parse(packet, checksum).map_err(reason::of_ipv4)?;
                let flow = wire::Flow::of_ipv4(&header, payload).map_err(reason::of_flow)?;
                Ok(Self {
                    flow: model_flow(&flow),
                    fragmentation: flow.fragmentation,
                    tos: header.tos(),
                    dont_fragment: header.dont_fragment(),
                    options: !header.options().is_empty(),
                    ttl: header.ttl(),
                    flow_label: 0,
                    upper: header.header_len() as u16,
                    len: usize::from(header.total_len()),
                })
            }
            Some(6) => {
                let (header, payload) = ipv6::Header::parse(packet).map_err(reason::of_ipv6)?;
                let upper = header.upper(payload).map_err(reason::of_ipv6)?;
                let flow = wire::Flow::of_ipv6(&header, &upper).map_err(reason::of_flow)?;
                Ok(Self {
                    flow: model_flow(&flow),
                    fragmentation: flow.fragmentation,
                    tos: header.traffic_class(),
                    dont_fragment: true,
                    options: false,
                    ttl: header.hop_limit(),
                    flow_label: header.repr().flow_label,
                    upper: u16::try_from(upper.offset).map_err(|_| DropReason::Ipv6Extensions)?,
                    len: ipv6::LEN + payload.len(),
                })
            }
            Some(_) => Err(DropReason::BadEthertype),
            None => Err(DropReason::Truncated),
        }
    }

    /// Of a packet that is none.
    pub fn of_dummy(tunnel: Tunnel) -> Self {
        let Tunnel { local: source, remote: destination } = tunnel;
        let flow =
            Flow { source, destination, protocol: protocol::NO_NEXT_HEADER, source_port: None, destination_port: None };
        Self {
            flow,
            fragmentation: Fragmentation::Whole,
            tos: 0,
            dont_fragment: true,
            options: false,
            ttl: 64,
            flow_label: 0,
            upper: 0,
            len: 0,
        }
    }

    pub fn is_v6(&self) -> bool {
        self.flow.source.is_ipv6()
    }

    /// Who the packet is for, once its addresses are known to be possible.
    pub fn destination(&self, topology: &Topology) -> Result<Destination, DropReason> {
        let found = destination(topology, self.flow.source, self.flow.destination)?;
        if found == Destination::Elsewhere && self.options {
            return Err(DropReason::Ipv4Options);
        }
        Ok(found)
    }
}

/// Who packets from `source` are for, once both addresses are known to be possible.
pub(crate) fn destination(topology: &Topology, source: IpAddr, destination: IpAddr) -> Result<Destination, DropReason> {
    let group = match destination {
        IpAddr::V4(addr) => addr.is_multicast() || addr.is_broadcast() || topology.is_broadcast(addr),
        IpAddr::V6(addr) => addr.is_multicast(),
    };
    // Duplicate address detection asks from the unspecified address (RFC 4862 §5.4.2).
    let asking = group && matches!(source, IpAddr::V6(addr) if addr.is_unspecified());
    // RFC 1812 §5.3.7, RFC 4291 §2.5.
    let martian_source = match source {
        IpAddr::V4(addr) => ipv4::is_martian_source(addr) || topology.is_broadcast(addr),
        IpAddr::V6(addr) => ipv6::is_martian_source(addr),
    };
    if martian_source && !asking {
        return Err(DropReason::Martian);
    }
    if topology.is_own(source) {
        return Err(DropReason::SourceSpoofed);
    }
    if group {
        return Ok(Destination::Group);
    }
    let martian = match destination {
        IpAddr::V4(addr) => ipv4::is_martian_destination(addr),
        IpAddr::V6(addr) => ipv6::is_martian_destination(addr),
    };
    if martian {
        return Err(DropReason::Martian);
    }
    if topology.is_own(destination) {
        return Ok(Destination::Own);
    }
    // RFC 3927 §2.7, RFC 4291 §2.5.6: never forwarded.
    if is_link_local(source) || is_link_local(destination) {
        return Err(DropReason::Martian);
    }
    Ok(Destination::Elsewhere)
}

/// Who a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// One of the box's own addresses.
    Own,
    /// Multicast or broadcast.
    Group,
    Elsewhere,
}

fn model_flow(flow: &wire::Flow) -> Flow {
    Flow {
        source: flow.source,
        destination: flow.destination,
        protocol: flow.protocol,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
    }
}
