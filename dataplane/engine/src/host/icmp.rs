//! ICMP and ICMPv6 that the box says: echo replies, and errors about packets it could not send on.

use super::address;
use super::limit::TokenBucket;
use crate::io::Tick;
use crate::topology::Interface;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use culvert_wire::{NoRoom, icmpv4, icmpv6, ipv4, ipv6, protocol};

/// Why a packet could not be sent on. RFC 1812 §5.2.7, §5.3.1; RFC 4443 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    NoRoute,
    /// The next hop does not answer.
    HostUnreachable,
    /// Policy forbids it.
    Prohibited,
    /// Addressed to us, and nobody listens.
    PortUnreachable,
    TtlExceeded,
    /// The largest IP packet that would have fitted.
    TooBig {
        mtu: u16,
    },
}

/// Why nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    #[error("not a valid IP packet")]
    Malformed,
    #[error("it is an ICMP error itself")]
    IcmpError,
    #[error("it is a fragment")]
    Fragment,
    #[error("it went to a group or to everybody")]
    Multicast,
    #[error("its source is no single station")]
    Source,
    #[error("it may be fragmented")]
    MayFragment,
    #[error("it is no echo request")]
    NotEcho,
    #[error("the answer would not fit into a packet")]
    TooLong,
    #[error("no address to answer from")]
    NoAddress,
    #[error("answers are rate limited")]
    RateLimited,
}

impl From<NoRoom> for Silence {
    fn from(_: NoRoom) -> Self {
        Self::TooLong
    }
}

/// RFC 1812 §4.3.2.3: an error is at most 576 octets, IP header and all.
pub const MAX_ERROR_V4: usize = 576;
/// RFC 4443 §2.4(c): at most the minimum MTU.
pub const MAX_ERROR_V6: usize = 1280;

/// RFC 1812 §4.3.2.5: precedence 6, internetwork control.
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// Writes the IP packet that tells the sender of `packet` about `problem`, from our address on `interface`, the one
/// `packet` came in by. `packet` is as it arrived, TTL included. `link_multicast`: its Ethernet destination was a group
/// or everybody.
pub fn error(
    now: Tick,
    interface: &Interface,
    problem: Problem,
    packet: &[u8],
    link_multicast: bool,
    limiter: &mut TokenBucket,
    out: &mut Vec<u8>,
) -> Result<(), Silence> {
    out.clear();
    match packet.first().map(|octet| octet >> 4) {
        Some(4) => error_v4(now, interface, problem, packet, link_multicast, limiter, out),
        Some(6) => error_v6(now, interface, problem, packet, link_multicast, limiter, out),
        _ => Err(Silence::Malformed),
    }
}

fn error_v4(
    now: Tick,
    interface: &Interface,
    problem: Problem,
    packet: &[u8],
    link_multicast: bool,
    limiter: &mut TokenBucket,
    out: &mut Vec<u8>,
) -> Result<(), Silence> {
    let (header, payload) = ipv4::Header::parse(packet, ipv4::ChecksumMode::Verify).map_err(|_| Silence::Malformed)?;
    may_answer_v4(interface, &header, payload, link_multicast)?;
    if matches!(problem, Problem::TooBig { .. }) && !header.dont_fragment() {
        return Err(Silence::MayFragment);
    }
    let source = own_v4(interface, header.source()).ok_or(Silence::NoAddress)?;
    if !limiter.take(now) {
        return Err(Silence::RateLimited);
    }
    // Link padding is no part of the packet.
    let whole = packet.get(..usize::from(header.total_len())).unwrap_or(packet);
    let quote = whole.get(..MAX_ERROR_V4 - ipv4::LEN - icmpv4::LEN).unwrap_or(whole);
    let unreachable = |code| icmpv4::Message::Unreachable { code, mtu: 0, quote };
    let message = match problem {
        Problem::NoRoute => unreachable(icmpv4::UnreachableCode::NET),
        Problem::HostUnreachable => unreachable(icmpv4::UnreachableCode::HOST),
        Problem::Prohibited => unreachable(icmpv4::UnreachableCode::ADMINISTRATIVELY_PROHIBITED),
        Problem::PortUnreachable => unreachable(icmpv4::UnreachableCode::PORT),
        Problem::TtlExceeded => icmpv4::Message::TimeExceeded { code: 0, quote },
        Problem::TooBig { mtu } => {
            icmpv4::Message::Unreachable { code: icmpv4::UnreachableCode::FRAGMENTATION_NEEDED, mtu, quote }
        }
    };
    let ip = ipv4::Repr::new(source, header.source(), protocol::ICMP, 0);
    // Never fragmented, so the identification may stay 0 (RFC 6864 §4.1).
    packet_v4(ipv4::Repr { tos: INTERNETWORK_CONTROL, dont_fragment: true, ..ip }, &message, out)
}

fn error_v6(
    now: Tick,
    interface: &Interface,
    problem: Problem,
    packet: &[u8],
    link_multicast: bool,
    limiter: &mut TokenBucket,
    out: &mut Vec<u8>,
) -> Result<(), Silence> {
    let (header, payload) = ipv6::Header::parse(packet).map_err(|_| Silence::Malformed)?;
    let upper = header.upper(payload).map_err(|_| Silence::Malformed)?;
    // RFC 4443 §2.4(e.3): path MTU discovery works for groups too.
    let to_group = link_multicast || header.destination().is_multicast();
    if to_group && !matches!(problem, Problem::TooBig { .. }) {
        return Err(Silence::Multicast);
    }
    may_answer_v6(interface, &header, &upper)?;
    let (source, destination) = (own_v6(interface, header.source()).ok_or(Silence::NoAddress)?, header.source());
    if !limiter.take(now) {
        return Err(Silence::RateLimited);
    }
    let whole = packet.get(..ipv6::LEN + payload.len()).unwrap_or(packet);
    let quote = whole.get(..MAX_ERROR_V6 - ipv6::LEN - icmpv6::LEN).unwrap_or(whole);
    let unreachable = |code| icmpv6::Message::Unreachable { code, quote };
    let message = match problem {
        Problem::NoRoute => unreachable(icmpv6::UnreachableCode::NO_ROUTE),
        Problem::HostUnreachable => unreachable(icmpv6::UnreachableCode::ADDRESS),
        Problem::Prohibited => unreachable(icmpv6::UnreachableCode::PROHIBITED),
        Problem::PortUnreachable => unreachable(icmpv6::UnreachableCode::PORT),
        Problem::TtlExceeded => icmpv6::Message::TimeExceeded { code: 0, quote },
        Problem::TooBig { mtu } => icmpv6::Message::PacketTooBig { mtu: u32::from(mtu), quote },
    };
    packet_v6(ipv6::Repr::new(source, destination, protocol::ICMPV6, 0), &message, out)
}

/// Writes the answer to an echo request that came to one of our addresses or, over IPv6, groups.
pub fn echo_reply(
    now: Tick,
    interface: &Interface,
    packet: &[u8],
    limiter: &mut TokenBucket,
    out: &mut Vec<u8>,
) -> Result<(), Silence> {
    out.clear();
    match packet.first().map(|octet| octet >> 4) {
        Some(4) => echo_v4(now, interface, packet, limiter, out),
        Some(6) => echo_v6(now, interface, packet, limiter, out),
        _ => Err(Silence::Malformed),
    }
}

fn echo_v4(
    now: Tick,
    interface: &Interface,
    packet: &[u8],
    limiter: &mut TokenBucket,
    out: &mut Vec<u8>,
) -> Result<(), Silence> {
    let (header, payload) = ipv4::Header::parse(packet, ipv4::ChecksumMode::Verify).map_err(|_| Silence::Malformed)?;
    if header.protocol() != protocol::ICMP {
        return Err(Silence::NotEcho);
    }
    // A fragment holds no whole message; the box does not put echo requests together.
    if header.is_fragment() {
        return Err(Silence::Fragment);
    }
    // RFC 1812 §4.3.3.6 allows silence towards broadcast and multicast.
    may_answer_v4(interface, &header, payload, false)?;
    let message = icmpv4::Message::parse(payload).map_err(|_| Silence::Malformed)?;
    let icmpv4::Message::EchoRequest { identifier, sequence, data } = message else { return Err(Silence::NotEcho) };
    if !limiter.take(now) {
        return Err(Silence::RateLimited);
    }
    let reply = icmpv4::Message::EchoReply { identifier, sequence, data };
    // RFC 1812 §4.3.3.6: the same TOS; the identification is the request's, unique as that is.
    let ip = ipv4::Repr::new(header.destination(), header.source(), protocol::ICMP, 0);
    let (tos, identification) = (header.tos(), header.identification());
    packet_v4(ipv4::Repr { tos, identification, dont_fragment: header.dont_fragment(), ..ip }, &reply, out)
}

fn echo_v6(
    now: Tick,
    interface: &Interface,
    packet: &[u8],
    limiter: &mut TokenBucket,
    out: &mut Vec<u8>,
) -> Result<(), Silence> {
    let (header, payload) = ipv6::Header::parse(packet).map_err(|_| Silence::Malformed)?;
    let upper = header.upper(payload).map_err(|_| Silence::Malformed)?;
    if upper.protocol != protocol::ICMPV6 {
        return Err(Silence::NotEcho);
    }
    if upper.fragment.is_some_and(|fragment| !fragment.is_atomic()) {
        return Err(Silence::Fragment);
    }
    may_answer_v6(interface, &header, &upper)?;
    let message = icmpv6::Message::parse(header.source(), header.destination(), upper.payload);
    let message = message.map_err(|_| Silence::Malformed)?;
    let icmpv6::Message::EchoRequest { identifier, sequence, data } = message else { return Err(Silence::NotEcho) };
    // RFC 4443 §4.2: a request to a group is answered from a unicast address.
    let source = if header.destination().is_multicast() {
        own_v6(interface, header.source()).ok_or(Silence::NoAddress)?
    } else {
        header.destination()
    };
    if !limiter.take(now) {
        return Err(Silence::RateLimited);
    }
    let reply = icmpv6::Message::EchoReply { identifier, sequence, data };
    let ip = ipv6::Repr::new(source, header.source(), protocol::ICMPV6, 0);
    packet_v6(ipv6::Repr { traffic_class: header.traffic_class(), ..ip }, &reply, out)
}

/// RFC 1812 §4.3.2.7.
fn may_answer_v4(
    interface: &Interface,
    header: &ipv4::Header<'_>,
    payload: &[u8],
    link_multicast: bool,
) -> Result<(), Silence> {
    if header.fragment_offset() != 0 {
        return Err(Silence::Fragment);
    }
    if header.protocol() == protocol::ICMP && payload.first().is_none_or(|kind| icmpv4::is_error(*kind)) {
        return Err(Silence::IcmpError);
    }
    let destination = header.destination();
    if link_multicast || destination.is_multicast() || address::is_broadcast(interface, destination) {
        return Err(Silence::Multicast);
    }
    let source = header.source();
    if ipv4::is_martian_source(source)
        || address::is_broadcast(interface, source)
        || address::is_own(interface, source.into())
    {
        return Err(Silence::Source);
    }
    Ok(())
}

/// RFC 4443 §2.4(e), but for the groups. A later fragment may be one of an ICMPv6 error, so it counts as one.
fn may_answer_v6(interface: &Interface, header: &ipv6::Header<'_>, upper: &ipv6::Upper<'_>) -> Result<(), Silence> {
    if upper.fragment.is_some_and(|fragment| fragment.offset != 0) {
        return Err(Silence::Fragment);
    }
    /// Redirect (RFC 4861 §4.5), which is no error by its number but by §2.4(e.2).
    const REDIRECT: u8 = 137;
    let is_error = |kind: &u8| icmpv6::is_error(*kind) || *kind == REDIRECT;
    if upper.protocol == protocol::ICMPV6 && upper.payload.first().is_none_or(is_error) {
        return Err(Silence::IcmpError);
    }
    let source = header.source();
    if ipv6::is_martian_source(source) || address::is_own(interface, source.into()) {
        return Err(Silence::Source);
    }
    Ok(())
}

fn own_v4(interface: &Interface, remote: Ipv4Addr) -> Option<Ipv4Addr> {
    match address::source_for(interface, remote.into())? {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    }
}

fn own_v6(interface: &Interface, remote: Ipv6Addr) -> Option<Ipv6Addr> {
    match address::source_for(interface, remote.into())? {
        IpAddr::V6(addr) => Some(addr),
        IpAddr::V4(_) => None,
    }
}

fn packet_v4(ip: ipv4::Repr, message: &icmpv4::Message<'_>, out: &mut Vec<u8>) -> Result<(), Silence> {
    let len = message.len();
    let payload_len = u16::try_from(len).map_err(|_| Silence::TooLong)?;
    out.extend_from_slice(&ipv4::Repr { payload_len, ..ip }.to_bytes());
    out.resize(ipv4::LEN + len, 0);
    Ok(message.emit(out.get_mut(ipv4::LEN..).unwrap_or_default())?)
}

fn packet_v6(ip: ipv6::Repr, message: &icmpv6::Message<'_>, out: &mut Vec<u8>) -> Result<(), Silence> {
    let len = message.len();
    let payload_len = u16::try_from(len).map_err(|_| Silence::TooLong)?;
    out.extend_from_slice(&ipv6::Repr { payload_len, ..ip }.to_bytes());
    out.resize(ipv6::LEN + len, 0);
    Ok(message.emit(ip.source, ip.destination, out.get_mut(ipv6::LEN..).unwrap_or_default())?)
}
