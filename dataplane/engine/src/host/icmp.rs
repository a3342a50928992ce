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
    /// Its first fragment came, and others did not in time.
    ReassemblyTime,
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
        // RFC 792, RFC 1122 §3.3.2.
        Problem::ReassemblyTime => icmpv4::Message::TimeExceeded { code: 1, quote },
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
        // RFC 8200 §4.5.
        Problem::ReassemblyTime => icmpv6::Message::TimeExceeded { code: 1, quote },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::PortId;
    use crate::topology::Attachment;
    use culvert_wire::{ethernet, testing};
    use proptest::prelude::*;

    /// The router of the captures, `.2` and `::2`.
    fn interface() -> Interface {
        let addresses = ["192.0.2.2/24", "2001:db8::2/64", "fe80::b/64"];
        Interface {
            port: PortId(0),
            attachment: Attachment::Port,
            mac: [2, 0, 0, 0, 0, 0x0b],
            mtu: 1500,
            addresses: addresses.map(|a| a.parse().unwrap()).into(),
        }
    }

    const PROBLEMS: [Problem; 6] = [
        Problem::NoRoute,
        Problem::HostUnreachable,
        Problem::Prohibited,
        Problem::PortUnreachable,
        Problem::TtlExceeded,
        Problem::TooBig { mtu: 1300 },
    ];

    fn unlimited() -> TokenBucket {
        TokenBucket::new(1_000_000, 1000, 0)
    }

    fn captured(hex: &str) -> Vec<u8> {
        testing::bytes(hex)[ethernet::LEN..].to_vec()
    }

    fn say(problem: Problem, packet: &[u8]) -> Result<Vec<u8>, Silence> {
        let mut out = vec![0xaa; 3];
        error(0, &interface(), problem, packet, false, &mut unlimited(), &mut out).map(|()| out)
    }

    fn echo(packet: &[u8]) -> Result<Vec<u8>, Silence> {
        let mut out = vec![0xaa; 3];
        echo_reply(0, &interface(), packet, &mut unlimited(), &mut out).map(|()| out)
    }

    fn v4(protocol: u8, payload: &[u8], change: impl FnOnce(&mut ipv4::Repr)) -> Vec<u8> {
        let mut header =
            ipv4::Repr::new([192, 0, 2, 1].into(), [198, 51, 100, 9].into(), protocol, payload.len() as u16);
        header.dont_fragment = true;
        change(&mut header);
        [&header.to_bytes()[..], payload].concat()
    }

    fn v6(next: u8, payload: &[u8], change: impl FnOnce(&mut ipv6::Repr)) -> Vec<u8> {
        let addr = |text: &str| text.parse().unwrap();
        let mut header = ipv6::Repr::new(addr("2001:db8::1"), addr("2001:db8:1::9"), next, payload.len() as u16);
        change(&mut header);
        [&header.to_bytes()[..], payload].concat()
    }

    /// Checks the packet and gives its ICMP message.
    fn message_v4(packet: &[u8]) -> (ipv4::Repr, Vec<u8>) {
        let (header, payload) = ipv4::Header::parse(packet, ipv4::ChecksumMode::Verify).unwrap();
        icmpv4::Message::parse(payload).unwrap();
        (header.repr(), payload.to_vec())
    }

    fn message_v6(packet: &[u8]) -> (ipv6::Repr, Vec<u8>) {
        let (header, payload) = ipv6::Header::parse(packet).unwrap();
        icmpv6::Message::parse(header.source(), header.destination(), payload).unwrap();
        (header.repr(), payload.to_vec())
    }

    #[test]
    fn time_exceeded_as_a_linux_router_says_it() {
        let (header, message) = message_v4(&say(Problem::TtlExceeded, &captured(testing::TTL_ONE_V4)).unwrap());
        let (linux, expected) = message_v4(&captured(testing::TIME_EXCEEDED_V4));
        assert_eq!(message, expected);
        assert_eq!((header.source, header.destination, header.tos), (linux.source, linux.destination, linux.tos));
        let (header, message) = message_v6(&say(Problem::TtlExceeded, &captured(testing::HOP_LIMIT_ONE_V6)).unwrap());
        let (linux, expected) = message_v6(&captured(testing::TIME_EXCEEDED_V6));
        assert_eq!(message, expected);
        assert_eq!((header.source, header.destination), (linux.source, linux.destination));
    }

    #[test]
    fn port_unreachable_as_linux_says_it() {
        let (_, message) = message_v4(&say(Problem::PortUnreachable, &captured(testing::UDP_V4)).unwrap());
        assert_eq!(message, message_v4(&captured(testing::PORT_UNREACHABLE_V4)).1);
        let (_, message) = message_v6(&say(Problem::PortUnreachable, &captured(testing::UDP_V6)).unwrap());
        assert_eq!(message, message_v6(&captured(testing::PORT_UNREACHABLE_V6)).1);
    }

    #[test]
    fn too_big_quotes_as_much_as_a_linux_router() {
        let said = say(Problem::TooBig { mtu: 1300 }, &v4(17, &[7; 1400], |_| {})).unwrap();
        assert_eq!(said.len(), captured(testing::FRAGMENTATION_NEEDED).len());
        assert_eq!(message_v4(&said).1[..2], [3, 4]);
        assert_eq!(message_v4(&said).1[6..8], 1300u16.to_be_bytes());
        let said = say(Problem::TooBig { mtu: 1300 }, &v6(17, &[7; 1400], |_| {})).unwrap();
        assert_eq!(said.len(), captured(testing::PACKET_TOO_BIG).len());
        let (said, linux) = (message_v6(&said).1, message_v6(&captured(testing::PACKET_TOO_BIG)).1);
        assert_eq!((&said[..2], &said[4..8]), (&linux[..2], &linux[4..8]));
    }

    #[test]
    fn echo_as_linux_answers() {
        let (header, message) = message_v4(&echo(&captured(testing::ECHO_REQUEST_V4)).unwrap());
        let (linux, expected) = message_v4(&captured(testing::ECHO_REPLY_V4));
        assert_eq!(message, expected);
        assert_eq!((header.source, header.destination), (linux.source, linux.destination));
        let (header, message) = message_v6(&echo(&captured(testing::ECHO_REQUEST_V6)).unwrap());
        let (linux, expected) = message_v6(&captured(testing::ECHO_REPLY_V6));
        assert_eq!(message, expected);
        assert_eq!((header.source, header.destination), (linux.source, linux.destination));
    }

    #[test]
    fn codes() {
        let table = [
            (Problem::NoRoute, [3, 0], [1, 0]),
            (Problem::HostUnreachable, [3, 1], [1, 3]),
            (Problem::Prohibited, [3, 13], [1, 1]),
            (Problem::PortUnreachable, [3, 3], [1, 4]),
            (Problem::TtlExceeded, [11, 0], [3, 0]),
            (Problem::TooBig { mtu: 1400 }, [3, 4], [2, 0]),
        ];
        for (problem, four, six) in table {
            assert_eq!(message_v4(&say(problem, &v4(17, &[0; 8], |_| {})).unwrap()).1[..2], four, "{problem:?}");
            assert_eq!(message_v6(&say(problem, &v6(17, &[0; 8], |_| {})).unwrap()).1[..2], six, "{problem:?}");
        }
    }

    /// RFC 1812 §4.3.2.7, line by line.
    #[test]
    fn silences_v4() {
        let udp = [0; 8];
        let to = |a: [u8; 4]| v4(17, &udp, |h| h.destination = a.into());
        let from = |a: [u8; 4]| v4(17, &udp, |h| h.source = a.into());
        let mut bad_sum = v4(17, &udp, |_| {});
        bad_sum[8] ^= 1;
        let table = [
            ("a later fragment", v4(17, &udp, |h| h.fragment_offset = 8), Silence::Fragment),
            ("to a group", to([224, 0, 0, 5]), Silence::Multicast),
            ("to everybody", to([255; 4]), Silence::Multicast),
            ("to the prefix's broadcast", to([192, 0, 2, 255]), Silence::Multicast),
            ("from nobody", from([0; 4]), Silence::Source),
            ("from network zero", from([0, 0, 0, 7]), Silence::Source),
            ("from loopback", from([127, 0, 0, 1]), Silence::Source),
            ("from a group", from([224, 0, 0, 1]), Silence::Source),
            ("from class E", from([240, 0, 0, 1]), Silence::Source),
            ("from everybody", from([255; 4]), Silence::Source),
            ("from the prefix's broadcast", from([192, 0, 2, 255]), Silence::Source),
            ("from ourselves", from([192, 0, 2, 2]), Silence::Source),
            ("wrong checksum", bad_sum, Silence::Malformed),
            ("ICMP without a type", v4(1, &[], |_| {}), Silence::IcmpError),
            ("nothing", vec![], Silence::Malformed),
            ("version 5", vec![0x55; 40], Silence::Malformed),
        ];
        for problem in PROBLEMS {
            for (name, packet, expected) in &table {
                assert_eq!(say(problem, packet), Err(*expected), "{name} {problem:?}");
            }
            for kind in [3, 4, 5, 11, 12] {
                assert_eq!(say(problem, &v4(1, &[kind, 0, 0, 0], |_| {})), Err(Silence::IcmpError), "{kind}");
            }
            assert!(say(problem, &v4(1, &[8, 0, 0, 0], |_| {})).is_ok());
            assert!(say(problem, &v4(17, &udp, |h| h.more_fragments = true)).is_ok(), "a first fragment is told");
            let mut out = vec![1];
            let said = error(0, &interface(), problem, &to([198, 51, 100, 9]), true, &mut unlimited(), &mut out);
            assert_eq!((said, out.len()), (Err(Silence::Multicast), 0), "Ethernet broadcast");
        }
        let may_fragment = v4(17, &udp, |h| h.dont_fragment = false);
        assert_eq!(say(Problem::TooBig { mtu: 1300 }, &may_fragment), Err(Silence::MayFragment));
    }

    /// RFC 4443 §2.4(e), line by line.
    #[test]
    fn silences_v6() {
        let udp = [0; 8];
        let from = |a: &str| v6(17, &udp, |h| h.source = a.parse().unwrap());
        let group = v6(17, &udp, |h| h.destination = "ff0e::1".parse().unwrap());
        let fragment = |offset| {
            let header = ipv6::Fragment { next_header: 17, offset, more: true, identification: 1 };
            v6(44, &[&header.to_bytes()[..], &udp].concat(), |_| {})
        };
        // An error behind extension headers is one too.
        let hidden = v6(60, &[58, 0, 1, 4, 0, 0, 0, 0, 1, 0, 0, 0], |_| {});
        let table = [
            ("a later fragment", fragment(8), Silence::Fragment),
            ("from nobody", from("::"), Silence::Source),
            ("from loopback", from("::1"), Silence::Source),
            ("from a group", from("ff02::1"), Silence::Source),
            ("from ourselves", from("2001:db8::2"), Silence::Source),
            ("hidden error", hidden, Silence::IcmpError),
            ("ICMPv6 without a type", v6(58, &[], |_| {}), Silence::IcmpError),
            ("endless headers", v6(60, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(20), |_| {}), Silence::Malformed),
            ("truncated header", v6(60, &[58, 7, 1], |_| {}), Silence::Malformed),
        ];
        for problem in PROBLEMS {
            for (name, packet, expected) in &table {
                assert_eq!(say(problem, packet), Err(*expected), "{name} {problem:?}");
            }
            for kind in [0, 1, 2, 3, 4, 100, 127, 137] {
                assert_eq!(say(problem, &v6(58, &[kind, 0, 0, 0], |_| {})), Err(Silence::IcmpError), "{kind}");
            }
            assert!(say(problem, &v6(58, &[128, 0, 0, 0], |_| {})).is_ok());
            assert!(say(problem, &fragment(0)).is_ok(), "a first fragment is told");
            let too_big = matches!(problem, Problem::TooBig { .. });
            assert_eq!(say(problem, &group).is_ok(), too_big, "{problem:?} to a group");
            let mut out = Vec::new();
            let said = error(0, &interface(), problem, &v6(17, &udp, |_| {}), true, &mut unlimited(), &mut out);
            assert_eq!(said.is_ok(), too_big, "{problem:?} Ethernet multicast");
        }
    }

    #[test]
    fn silences_of_echo() {
        let request = captured(testing::ECHO_REQUEST_V4);
        let (_, payload) = ipv4::Header::parse(&request, ipv4::ChecksumMode::Verify).unwrap();
        let four = |change: fn(&mut ipv4::Repr)| v4(1, payload, change);
        let six = captured(testing::ECHO_REQUEST_V6);
        let mut bad_sum = six.clone();
        bad_sum[50] ^= 1;
        let table = [
            ("fragment", four(|h| h.more_fragments = true), Silence::Fragment),
            ("to broadcast", four(|h| h.destination = [192, 0, 2, 255].into()), Silence::Multicast),
            ("to a group", four(|h| h.destination = [224, 0, 0, 1].into()), Silence::Multicast),
            ("from broadcast", four(|h| h.source = [192, 0, 2, 255].into()), Silence::Source),
            ("from nobody", four(|h| h.source = [0; 4].into()), Silence::Source),
            ("a reply", captured(testing::ECHO_REPLY_V4), Silence::Source),
            ("another's reply", v4(1, &captured(testing::ECHO_REPLY_V4)[20..], |_| {}), Silence::NotEcho),
            ("an error", captured(testing::TIME_EXCEEDED_V4), Silence::IcmpError),
            ("UDP", captured(testing::UDP_V4), Silence::NotEcho),
            ("UDP over IPv6", captured(testing::UDP_V6), Silence::NotEcho),
            ("wrong checksum", bad_sum, Silence::Malformed),
            ("an IPv6 reply", captured(testing::ECHO_REPLY_V6), Silence::Source),
            ("truncated", v4(1, &payload[..7], |_| {}), Silence::Malformed),
        ];
        for (name, packet, expected) in table {
            assert_eq!(echo(&packet), Err(expected), "{name}");
        }
    }

    #[test]
    fn echo_to_a_group_is_answered_from_an_address() {
        let (source, group) = ("fe80::1".parse().unwrap(), ipv6::ALL_NODES);
        let request = icmpv6::Message::EchoRequest { identifier: 1, sequence: 2, data: b"all" };
        let mut bytes = vec![0; request.len()];
        request.emit(source, group, &mut bytes).unwrap();
        let packet = v6(58, &bytes, |h| (h.source, h.destination) = (source, group));
        let (header, _) = message_v6(&echo(&packet).unwrap());
        assert_eq!((header.source, header.destination), ("fe80::b".parse().unwrap(), source));
    }

    #[test]
    fn the_limit_is_spent_only_on_answers() {
        let mut limiter = TokenBucket::new(1, 2, 0);
        let mut out = Vec::new();
        let good = v4(17, &[0; 8], |_| {});
        let silent = v4(17, &[0; 8], |h| h.source = [0; 4].into());
        let mut say = |packet: &[u8]| {
            let said = error(0, &interface(), Problem::NoRoute, packet, false, &mut limiter, &mut out);
            (said, out.is_empty())
        };
        for _ in 0..10 {
            assert_eq!(say(&silent), (Err(Silence::Source), true));
        }
        assert_eq!(say(&good), (Ok(()), false));
        assert_eq!(say(&good), (Ok(()), false));
        assert_eq!(say(&good), (Err(Silence::RateLimited), true));
    }

    #[test]
    fn an_interface_without_the_family_is_silent() {
        let only_v6 = Interface { addresses: vec!["2001:db8::2/64".parse().unwrap()], ..interface() };
        let mut out = Vec::new();
        let packet = v4(17, &[0; 8], |_| {});
        let said = error(0, &only_v6, Problem::NoRoute, &packet, false, &mut unlimited(), &mut out);
        assert_eq!((said, out.len()), (Err(Silence::NoAddress), 0));
    }

    #[test]
    fn link_padding_is_not_quoted() {
        let mut packet = v4(17, &[0; 8], |_| {});
        packet.resize(60, 0xaa);
        assert_eq!(say(Problem::NoRoute, &packet).unwrap().len(), 20 + 8 + 28);
    }

    fn problem() -> impl Strategy<Value = Problem> {
        prop_oneof![proptest::sample::select(&PROBLEMS[..5]), any::<u16>().prop_map(|mtu| Problem::TooBig { mtu }),]
    }

    proptest! {
        #[test]
        fn an_icmp_error_is_never_answered(problem in problem(), six: bool, kind: u8, ttl: u8, link: bool,
                                           rest in proptest::collection::vec(any::<u8>(), 3..80)) {
            let kind = if six { kind & 0x7f } else { [3, 4, 5, 11, 12][usize::from(kind % 5)] };
            let payload = [&[kind][..], &rest].concat();
            let packet = if six { v6(58, &payload, |h| h.hop_limit = ttl) } else { v4(1, &payload, |h| h.ttl = ttl) };
            let mut out = Vec::new();
            prop_assert!(error(0, &interface(), problem, &packet, link, &mut unlimited(), &mut out).is_err());
            prop_assert!(out.is_empty());
            prop_assert!(echo_reply(0, &interface(), &packet, &mut unlimited(), &mut out).is_err());
            prop_assert!(out.is_empty());
        }

        /// Whatever comes, what goes is valid, within its limit, from us, and would itself never be answered.
        #[test]
        fn damaged_packets(which in 0usize..10, problem in problem(), link: bool,
                           damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..5), mend: bool) {
            let hex = [testing::ECHO_REQUEST_V4, testing::ECHO_REQUEST_V6, testing::UDP_V4, testing::UDP_V6,
                       testing::TCP_SYN, testing::TTL_ONE_V4, testing::MLD_REPORT, testing::FRAGMENT_LATER_V6,
                       testing::RECORD_ROUTE, testing::TIME_EXCEEDED_V6][which];
            let mut packet = captured(hex);
            for (at, value) in damage {
                let at = at % packet.len();
                packet[at] = value;
            }
            if mend && packet[0] >> 4 == 4 {
                packet[10..12].fill(0);
                let len = (usize::from(packet[0] & 15) * 4).min(packet.len());
                let sum = culvert_wire::checksum::of(&packet[..len]);
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            let mut out = Vec::new();
            for answer in 0..2 {
                let said = if answer == 0 {
                    error(0, &interface(), problem, &packet, link, &mut unlimited(), &mut out)
                } else {
                    echo_reply(0, &interface(), &packet, &mut unlimited(), &mut out)
                };
                prop_assert_eq!(said.is_ok(), !out.is_empty());
                if said.is_err() { continue; }
                if out[0] >> 4 == 4 {
                    let (header, _) = message_v4(&out);
                    prop_assert!(answer == 1 || out.len() <= MAX_ERROR_V4);
                    prop_assert!(!ipv4::is_martian_source(header.destination));
                } else {
                    let (header, _) = message_v6(&out);
                    prop_assert!(answer == 1 || out.len() <= MAX_ERROR_V6);
                    prop_assert!(!header.source.is_multicast() && !ipv6::is_martian_source(header.destination));
                }
                if answer == 0 {
                    prop_assert!(say(problem, &out).is_err(), "an error about our error");
                }
            }
        }

        #[test]
        fn any_bytes(problem in problem(), mut bytes in proptest::collection::vec(any::<u8>(), 0..120), six: bool) {
            if let Some(first) = bytes.first_mut() { *first = if six { 0x60 } else { 0x45 }; }
            let mut out = Vec::new();
            let _ = error(0, &interface(), problem, &bytes, false, &mut unlimited(), &mut out);
            let _ = echo_reply(0, &interface(), &bytes, &mut unlimited(), &mut out);
        }
    }
}
