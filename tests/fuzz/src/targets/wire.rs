//! Headers from the network, from the frame inwards as the data plane takes them.

use culvert_wire::{
    EtherType, Flow, ah, arp, checksum, esp, ethernet, icmpv4 as icmp4, icmpv6 as icmp6, ike, ipv4 as ip4, ipv6 as ip6,
    nat_traversal, ndp, protocol, tcp, testing, udp, vlan,
};
use std::net::{IpAddr, Ipv6Addr};

/// Ethernet, tags, ARP, and whatever IP packet is in it.
pub fn frame(bytes: &[u8]) -> bool {
    let Ok((header, payload)) = ethernet::Repr::parse(bytes) else { return false };
    again(&header.to_bytes(), payload, ethernet::Repr::parse, (header, payload));
    let mut inner = (header.ether_type, payload);
    if inner.0 == EtherType::VLAN {
        let Ok((tag, payload)) = vlan::Repr::parse(payload) else { return false };
        again(&tag.to_bytes(), payload, vlan::Repr::parse, (tag, payload));
        inner = (tag.ether_type, payload);
    }
    match inner {
        (EtherType::ARP, payload) => arp(payload),
        (EtherType::IPV4, payload) => ipv4(payload),
        (EtherType::IPV6, payload) => ipv6(payload),
        _ => true,
    }
}

fn arp(bytes: &[u8]) -> bool {
    let Ok(packet) = arp::Repr::parse(bytes) else { return false };
    assert_eq!(arp::Repr::parse(&packet.to_bytes()), Ok(packet));
    true
}

pub fn ipv4(bytes: &[u8]) -> bool {
    let _ = Flow::parse(bytes, ip4::ChecksumMode::Verify);
    let Ok((header, payload)) = ip4::Header::parse(bytes, ip4::ChecksumMode::Trusted) else { return false };
    assert!(header.header_len() + payload.len() <= bytes.len());
    for option in header.options() {
        let Ok(option) = option else { break };
        let _ = option.is_source_route();
    }
    if header.options().is_empty() {
        let written = [&header.repr().to_bytes()[..], payload].concat();
        let (read, rest) = ip4::Header::parse(&written, ip4::ChecksumMode::Verify).expect("what was written");
        assert_eq!((read.repr(), rest), (header.repr(), payload));
    }
    let mut copy = bytes.to_vec();
    let _ = ip4::decrement_ttl(&mut copy);
    let _ = ip4::set_tos(&mut copy, 0x2e);
    let _ = Flow::of_ipv4(&header, payload);
    upper(header.source().into(), header.destination().into(), header.protocol(), payload)
}

pub fn ipv6(bytes: &[u8]) -> bool {
    let Ok((header, payload)) = ip6::Header::parse(bytes) else { return false };
    let written = [&header.repr().to_bytes()[..], payload].concat();
    let (read, rest) = ip6::Header::parse(&written).expect("what was written");
    assert_eq!((read.repr(), rest), (header.repr(), payload));
    let mut copy = bytes.to_vec();
    let _ = ip6::decrement_hop_limit(&mut copy);
    let _ = ip6::set_traffic_class(&mut copy, 0x2e);
    let Ok(found) = header.upper(payload) else { return false };
    assert!(found.offset + found.payload.len() <= bytes.len());
    if let Some(fragment) = found.fragment {
        let read = ip6::Fragment::parse(&fragment.to_bytes()).map(|(fragment, _)| fragment);
        assert_eq!(read, Ok(fragment));
    }
    let _ = Flow::of_ipv6(&header, &found);
    if found.protocol == protocol::ICMPV6
        && let Ok(message) = ndp::Message::parse(ndp::Carrier::of(&header), found.payload)
    {
        neighbour(message, ndp::Carrier::of(&header));
    }
    upper(header.source().into(), header.destination().into(), found.protocol, found.payload)
}

fn upper(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> bool {
    match (protocol, source, destination) {
        (protocol::ICMP, _, _) => icmpv4(payload),
        (protocol::ICMPV6, IpAddr::V6(source), IpAddr::V6(destination)) => icmp6_between(source, destination, payload),
        (protocol::UDP, _, _) => udp_between(source, destination, payload),
        (protocol::TCP | protocol::ESP | protocol::AH, _, _) => transport(payload),
        _ => true,
    }
}

/// As it is, and with the checksum that a cleverer fuzzer would have found.
pub fn icmpv4(bytes: &[u8]) -> bool {
    let mut accepted = false;
    let mut mended = bytes.to_vec();
    if let Some(field) = mended.get_mut(2..4) {
        field.fill(0);
        let sum = checksum::of(&mended).to_be_bytes();
        mended[2..4].copy_from_slice(&sum);
    }
    for bytes in [bytes, &mended] {
        let Ok(message) = icmp4::Message::parse(bytes) else { continue };
        let mut out = vec![0; message.len()];
        message.emit(&mut out).expect("room");
        assert_eq!(icmp4::Message::parse(&out), Ok(message));
        assert!(message.emit(&mut out[1..]).is_err());
        accepted = true;
    }
    accepted
}

/// The addresses, then the message.
pub fn icmpv6(bytes: &[u8]) -> bool {
    let Some((addresses, message)) = bytes.split_first_chunk::<32>() else { return false };
    let [source, destination] =
        [&addresses[..16], &addresses[16..]].map(|half| Ipv6Addr::from(*half.first_chunk::<16>().expect("16 octets")));
    icmp6_between(source, destination, message)
}

fn icmp6_between(source: Ipv6Addr, destination: Ipv6Addr, bytes: &[u8]) -> bool {
    let mut accepted = false;
    let mut mended = bytes.to_vec();
    if let Some(field) = mended.get_mut(2..4) {
        field.fill(0);
        let sum = checksum::Sum::pseudo_v6(&source, &destination, protocol::ICMPV6, mended.len()).add_bytes(&mended);
        mended[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    }
    let carrier = ndp::Carrier { source, destination, hop_limit: 255 };
    for bytes in [bytes, &mended] {
        if let Ok(message) = icmp6::Message::parse(source, destination, bytes) {
            let mut out = vec![0; message.len()];
            message.emit(source, destination, &mut out).expect("room");
            assert_eq!(icmp6::Message::parse(source, destination, &out), Ok(message));
            accepted = true;
        }
        if let Ok(message) = ndp::Message::parse(carrier, bytes) {
            neighbour(message, carrier);
            accepted = true;
        }
    }
    accepted
}

fn neighbour(message: ndp::Message, carrier: ndp::Carrier) {
    let mut out = vec![0; message.len()];
    message.emit(carrier.source, carrier.destination, &mut out).expect("room");
    assert_eq!(ndp::Message::parse(carrier, &out), Ok(message));
}

/// What may follow an IP header and needs no addresses: all of them, whichever it is.
pub fn transport(bytes: &[u8]) -> bool {
    let mut accepted = port_4500(bytes);
    if let Ok((header, payload)) = udp::Repr::parse(bytes) {
        again(&header.to_bytes(), payload, udp::Repr::parse, (header, payload));
        port_4500(payload);
        accepted = true;
    }
    if let Ok((header, payload)) = tcp::Repr::parse(bytes) {
        again(&header.to_bytes(), payload, tcp::Repr::parse, (header, payload));
        accepted = true;
    }
    if let Ok((header, payload)) = esp::Repr::parse(bytes) {
        again(&header.to_bytes(), payload, esp::Repr::parse, (header, payload));
        accepted = true;
    }
    if let Ok((header, icv, payload)) = ah::Repr::parse(bytes) {
        let written = [&header.to_bytes().expect("a length that was read"), icv, payload].concat();
        assert_eq!(ah::Repr::parse(&written), Ok((header, icv, payload)));
        accepted = true;
    }
    if let Ok((header, payload)) = ike::Repr::parse(bytes) {
        again(&header.to_bytes(), payload, ike::Repr::parse, (header, payload));
        accepted = true;
    }
    accepted
}

fn udp_between(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> bool {
    if let Ok((header, payload)) = udp::Repr::parse(bytes) {
        let _ = header.verify(source, destination, payload);
        let (from, to) = ((source, header.source_port), (destination, header.destination_port));
        let written = udp::Repr::for_payload(from, to, payload).expect("one family, and short enough");
        assert_eq!(written.verify(source, destination, payload), Ok(()));
    }
    transport(bytes)
}

fn port_4500(payload: &[u8]) -> bool {
    match nat_traversal::classify(payload) {
        nat_traversal::Payload::Esp(packet) => esp::Repr::parse(packet).is_ok(),
        nat_traversal::Payload::Ike(message) => ike::Repr::parse(message).is_ok(),
        nat_traversal::Payload::Keepalive => true,
        nat_traversal::Payload::Runt => false,
    }
}

/// What was read, written and read again is the same.
fn again<T: PartialEq + core::fmt::Debug, E: core::fmt::Debug>(
    header: &[u8],
    payload: &[u8],
    parse: impl Fn(&[u8]) -> Result<(T, &[u8]), E>,
    expected: (T, &[u8]),
) {
    let written = [header, payload].concat();
    let (read, rest) = parse(&written).expect("what was written");
    assert_eq!((read, rest), expected);
}

/// Captured packets, Ethernet header first.
pub fn frames() -> Vec<Vec<u8>> {
    [
        testing::ARP_REQUEST,
        testing::ARP_REPLY,
        testing::ECHO_REQUEST_V4,
        testing::ECHO_REPLY_V4,
        testing::SOLICITATION,
        testing::ADVERTISEMENT,
        testing::ECHO_REQUEST_V6,
        testing::UDP_V4,
        testing::PORT_UNREACHABLE_V4,
        testing::UDP_V6,
        testing::PORT_UNREACHABLE_V6,
        testing::TCP_SYN,
        testing::ROUTER_SOLICITATION,
        testing::DAD_SOLICITATION,
        testing::RECORD_ROUTE,
        testing::FRAGMENT_LATER_V4,
        testing::FRAGMENT_LATER_V6,
        testing::TIME_EXCEEDED_V4,
        testing::TIME_EXCEEDED_V6,
        testing::MLD_REPORT,
        testing::ROUTER_ADVERTISEMENT,
        testing::TAGGED,
        testing::ESP,
        testing::AH,
        testing::IKE_SA_INIT,
    ]
    .map(testing::bytes)
    .into()
}

fn packets(ether_type: EtherType) -> impl Iterator<Item = Vec<u8>> {
    frames().into_iter().filter_map(move |frame| {
        let (header, payload) = ethernet::Repr::parse(&frame).expect("a captured frame");
        (header.ether_type == ether_type).then(|| payload.to_vec())
    })
}

pub fn ipv4_packets() -> Vec<Vec<u8>> {
    packets(EtherType::IPV4).collect()
}

pub fn ipv6_packets() -> Vec<Vec<u8>> {
    packets(EtherType::IPV6).collect()
}

fn ipv4_payloads(wanted: impl Fn(u8) -> bool) -> Vec<Vec<u8>> {
    let payload = |packet: Vec<u8>| {
        let (header, payload) = ip4::Header::parse(&packet, ip4::ChecksumMode::Trusted).expect("a captured packet");
        wanted(header.protocol()).then(|| payload.to_vec())
    };
    packets(EtherType::IPV4).filter_map(payload).collect()
}

pub fn icmpv4_messages() -> Vec<Vec<u8>> {
    ipv4_payloads(|p| p == protocol::ICMP)
}

pub fn icmpv6_messages() -> Vec<Vec<u8>> {
    let message = |packet: Vec<u8>| {
        let (header, payload) = ip6::Header::parse(&packet).expect("a captured packet");
        let upper = header.upper(payload).expect("a captured packet");
        (upper.protocol == protocol::ICMPV6)
            .then(|| [&header.source().octets(), &header.destination().octets(), upper.payload].concat())
    };
    packets(EtherType::IPV6).filter_map(message).collect()
}

pub fn transports() -> Vec<Vec<u8>> {
    let mut seeds = ipv4_payloads(|p| p != protocol::ICMP);
    let ike = |packet: &Vec<u8>| {
        let (_, payload) = udp::Repr::parse(packet).ok()?;
        ike::Repr::parse(payload).is_ok().then(|| payload.to_vec())
    };
    let datagrams: Vec<_> = seeds.iter().filter_map(ike).collect();
    seeds.extend(datagrams);
    seeds.push(nat_traversal::KEEPALIVE.to_vec());
    seeds
}
