//! The box's own voice: neighbours, echo, errors, IKE.

use super::rig::*;
use crate::testing::VecBuffer;
use crate::{Buffer, PortId, Punt};
use culvert_link::record::Datagram;
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{EtherType, Mac, arp, checksum, esp, ethernet, icmpv4, icmpv6, ipv4, ipv6, protocol, udp};
use std::net::IpAddr;

/// What the worker left, through housekeeping; what leaves the box.
pub(super) fn settle(gateway: &mut Gateway, now: u64) -> Vec<(PortId, VecBuffer)> {
    for punt in std::mem::take(&mut gateway.io.punts) {
        gateway.house.handle_punt(now, punt, &mut gateway.io);
    }
    assert!(gateway.io.punts.is_empty(), "housekeeping keeps its own");
    std::mem::take(&mut gateway.io.sent)
}

pub(super) fn house_drops(gateway: &Gateway, reason: DropReason) -> u64 {
    gateway.house.counters().dropped(reason)
}

pub(super) fn echo(source: &str, destination: &str, ttl: u8) -> Vec<u8> {
    match (ip(source), ip(destination)) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let message = icmpv4::Message::EchoRequest { identifier: 7, sequence: 9, data: b"are you there" };
            let mut body = vec![0; message.len()];
            message.emit(&mut body).unwrap();
            let header = ipv4::Repr { ttl, ..ipv4::Repr::new(s, d, protocol::ICMP, body.len() as u16) };
            [&header.to_bytes()[..], &body].concat()
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let message = icmpv6::Message::EchoRequest { identifier: 7, sequence: 9, data: b"are you there" };
            let mut body = vec![0; message.len()];
            message.emit(s, d, &mut body).unwrap();
            let header = ipv6::Repr { hop_limit: ttl, ..ipv6::Repr::new(s, d, protocol::ICMPV6, body.len() as u16) };
            [&header.to_bytes()[..], &body].concat()
        }
        _ => panic!("mixed families"),
    }
}

/// Source, destination and first octet of the ICMP message.
pub(super) fn icmp_of(packet: &[u8]) -> (IpAddr, IpAddr, u8) {
    if packet[0] >> 4 == 4 {
        let (header, body) = ipv4::Header::parse(packet, ChecksumMode::Verify).unwrap();
        assert_eq!(header.protocol(), protocol::ICMP);
        assert!(checksum::Sum::new().add_bytes(body).is_valid());
        (header.source().into(), header.destination().into(), body[0])
    } else {
        let (header, body) = ipv6::Header::parse(packet).unwrap();
        assert_eq!(header.next_header(), protocol::ICMPV6);
        (header.source().into(), header.destination().into(), body[0])
    }
}

#[test]
fn an_unknown_neighbour_is_asked_for_and_then_gets_its_packet() {
    let (mut a, _) = pair(Kind::PLAIN);
    let request = |packet: &[u8]| frame(host_mac(1), mac(1, LAN), packet);
    // Who asks us is known from then on.
    let stranger = Mac([2, 7, 7, 7, 7, 7]);
    let (own, other) = ("10.1.0.1".parse().unwrap(), "10.1.0.77".parse().unwrap());
    let ask = arp::Repr {
        operation: arp::Operation::Request,
        sender_mac: stranger,
        sender: other,
        target_mac: Mac::ZERO,
        target: own,
    };
    let header = ethernet::Repr { destination: Mac::BROADCAST, source: stranger, ether_type: EtherType::ARP };
    let ask = VecBuffer::new(&[&header.to_bytes()[..], &ask.to_bytes()].concat());
    assert_eq!(a.receive_one(LAN, ask), None);
    let sent = settle(&mut a, SECOND);
    let (reply, body) = ethernet::Repr::parse(sent[0].1.data()).unwrap();
    let body = arp::Repr::parse(body).unwrap();
    assert_eq!((sent[0].0, reply.destination, body.sender_mac, body.sender), (LAN, stranger, mac(1, LAN), own));
    assert_eq!(a.house.counters().get(WorkerCounter::ArpReplies), 1);
    assert_eq!(a.receive_one(LAN, request(&echo("10.1.0.77", "10.1.0.1", 64))), None);
    let sent = settle(&mut a, SECOND);
    assert_eq!(icmp_of(inner(&sent[0].1)), (ip("10.1.0.1"), ip("10.1.0.77"), 0));
    assert_eq!(ethernet::Repr::parse(sent[0].1.data()).unwrap().0.destination, stranger);
    // A next hop nobody has heard of: question, answer, packet.
    assert_eq!(a.receive_one(LAN, request(&echo("10.1.0.88", "10.1.0.1", 64))), None);
    let sent = settle(&mut a, SECOND);
    let (question, body) = ethernet::Repr::parse(sent[0].1.data()).unwrap();
    assert_eq!((sent.len(), question.destination, question.ether_type), (1, Mac::BROADCAST, EtherType::ARP));
    assert_eq!(arp::Repr::parse(body).unwrap().target.to_string(), "10.1.0.88");
    let late = Mac([2, 8, 8, 8, 8, 8]);
    let answer = arp::Repr {
        operation: arp::Operation::Reply,
        sender_mac: late,
        sender: "10.1.0.88".parse().unwrap(),
        target_mac: mac(1, LAN),
        target: own,
    };
    let header = ethernet::Repr { destination: mac(1, LAN), source: late, ether_type: EtherType::ARP };
    let answer = VecBuffer::new(&[&header.to_bytes()[..], &answer.to_bytes()].concat());
    assert_eq!(a.receive_one(LAN, answer), None);
    let sent = settle(&mut a, SECOND);
    assert_eq!(icmp_of(inner(&sent[0].1)), (ip("10.1.0.1"), ip("10.1.0.88"), 0));
    // Workers know it too.
    assert_eq!(a.shared.topology.load().hop(ip("10.1.0.88")).unwrap().mac, Some(late));
}

#[test]
fn nobody_answers_and_the_packet_is_counted() {
    let (mut a, _) = pair(Kind::PLAIN);
    let lost = frame(host_mac(1), mac(1, LAN), &echo("10.1.0.99", "10.1.0.1", 64));
    assert_eq!(a.receive_one(LAN, lost), None);
    settle(&mut a, SECOND);
    for second in 2..8 {
        a.house.tick(second * SECOND, &mut a.io);
    }
    assert_eq!(house_drops(&a, DropReason::NeighbourUnresolved), 1);
}

#[test]
fn echo_over_link_local_addresses() {
    let (mut a, _) = pair(Kind::PLAIN);
    let own = "fe80::ff:fe00:101";
    assert!(a.shared.topology.load().is_own(ip(own)));
    assert_eq!(a.receive_one(LAN, frame(host_mac(1), mac(1, LAN), &echo("fe80::77", own, 64))), None);
    let sent = settle(&mut a, SECOND);
    // Asked for on the port it came from, though no route leads there.
    assert_eq!((sent[0].0, icmp_of(inner(&sent[0].1)).2), (LAN, 135));
}

#[test]
fn a_ping_through_the_tunnel_is_answered_through_the_tunnel() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    for (source, destination, reply) in [("10.1.0.2", "10.7.0.1", 0), ("fd00:1::2", "fd00:7::1", 129)] {
        assert_eq!(a.receive_one(LAN, frame(host_mac(1), mac(1, LAN), &echo(source, destination, 64))), None);
        let wire = a.sent().pop().unwrap();
        assert_eq!(b.receive_one(WAN, wire), None);
        let sent = settle(&mut b, SECOND);
        assert_eq!((sent.len(), sent[0].0, inner(&sent[0].1)[9]), (1, WAN, protocol::ESP));
        assert_eq!(a.receive_one(WAN, sent[0].1.clone()), None);
        let back = a.sent().pop().unwrap();
        assert_eq!(icmp_of(inner(&back)), (ip(destination), ip(source), reply));
    }
}

#[test]
fn ttl_exceeded_is_told_on_the_side_it_came_from() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    for (source, destination, near, far, error) in
        [("10.1.0.2", "10.7.0.2", "10.1.0.1", "10.7.0.1", 11), ("fd00:1::2", "fd00:7::2", "fd00:1::1", "fd00:7::1", 3)]
    {
        let from_host = |ttl| frame(host_mac(1), mac(1, LAN), &echo(source, destination, ttl));
        assert_eq!(a.receive_one(LAN, from_host(1)), None);
        let sent = settle(&mut a, SECOND);
        assert_eq!((sent[0].0, icmp_of(inner(&sent[0].1))), (LAN, (ip(near), ip(source), error)));
        // The next gateway tells through the tunnel; the quoted packet is never seen in clear.
        assert_eq!(a.receive_one(LAN, from_host(2)), None);
        let wire = a.sent().pop().unwrap();
        assert_eq!(b.receive_one(WAN, wire), None);
        let sent = settle(&mut b, SECOND);
        assert_eq!((sent.len(), inner(&sent[0].1)[9]), (1, protocol::ESP));
        assert_eq!(a.receive_one(WAN, sent[0].1.clone()), None);
        let back = a.sent().pop().unwrap();
        assert_eq!(icmp_of(inner(&back)), (ip(far), ip(source), error));
    }
    assert_eq!((house_drops(&a, DropReason::TtlExceeded), house_drops(&b, DropReason::TtlExceeded)), (2, 2));
}

#[test]
fn an_answer_about_a_tunnel_packet_never_leaves_in_clear() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    let dying = frame(host_mac(1), mac(1, LAN), &echo("10.1.0.2", "10.7.0.2", 2));
    assert_eq!(a.receive_one(LAN, dying), None);
    let wire = a.sent().pop().unwrap();
    assert_eq!(b.receive_one(WAN, wire), None);
    // Meanwhile the policies have gone.
    b.policies([]);
    assert!(settle(&mut b, SECOND).is_empty());
    assert_eq!(house_drops(&b, DropReason::IcmpErrorNoSa), 1);
}

#[test]
fn too_big_names_the_size_that_fits() {
    let (mut a, _) = pair(Kind::PLAIN);
    assert_eq!(a.receive_one(LAN, from_host(&[0; 1450])), None);
    let sent = settle(&mut a, SECOND);
    let packet = inner(&sent[0].1);
    assert_eq!(icmp_of(packet), (ip("10.1.0.1"), ip("10.1.0.2"), 3));
    assert_eq!((packet[21], &packet[26..28]), (4, &1446u16.to_be_bytes()[..]));
    assert_eq!(house_drops(&a, DropReason::TooBig), 1);
}

/// An IKE header without payloads.
fn ike_message() -> Vec<u8> {
    let mut message = vec![0; 28];
    message[0] = 1;
    message[17] = 0x20;
    message[18] = 34;
    message[27] = 28;
    message
}

#[test]
fn ike_goes_out_and_comes_in() {
    for (v6, port) in [(false, 500), (false, 4500), (true, 500), (true, 4500)] {
        let (mut a, mut b) = pair(Kind::PLAIN);
        let end = |site| std::net::SocketAddr::new(outer(site, v6), port);
        let message = Datagram { local: end(1), remote: end(7), payload: ike_message() };
        a.house.inject(SECOND, &message, &mut a.io);
        // Housekeeping has learned nothing from the rig, but the published table knows the peer.
        let sent = a.sent();
        assert_eq!(sent.len(), 1);
        assert_eq!(b.receive_one(WAN, sent[0].clone()), None);
        settle(&mut b, SECOND);
        let got = b.house.poll_datagram().unwrap();
        assert_eq!(got, Datagram { local: end(7), remote: end(1), payload: ike_message() });
        let upper = &inner(&sent[0])[if v6 { 40 } else { 20 }..];
        let (_, payload) = udp::Repr::parse(upper).unwrap();
        assert_eq!(payload.len(), if port == 4500 { 32 } else { 28 });
        // A wrong checksum is no message.
        let mut bent = sent[0].clone();
        let last = bent.data().len() - 1;
        bent.data_mut()[last - 5] ^= 1;
        assert_eq!(b.receive_one(WAN, bent), None);
        settle(&mut b, SECOND);
        assert_eq!((b.house.poll_datagram(), house_drops(&b, DropReason::UdpMalformed)), (None, 1));
    }
}

#[test]
fn ike_passes_a_policy_for_everything() {
    let (mut a, _) = pair(Kind::PLAIN);
    let everything = culvert_model::Policy {
        id: culvert_model::PolicyId(9),
        direction: culvert_model::PolicyDirection::Outbound,
        priority: 0,
        local: vec![net("0.0.0.0/0")],
        remote: vec![net("0.0.0.0/0")],
        action: culvert_model::Action::Discard,
        interface: None,
        pfp: culvert_model::Pfp::NONE,
    };
    a.policies([everything]);
    let (local, remote) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.7:500".parse().unwrap());
    a.house.inject(SECOND, &Datagram { local, remote, payload: ike_message() }, &mut a.io);
    assert_eq!(a.sent().len(), 1);
    assert!(esp::Repr::parse(&[0; 8]).is_err());
}

#[test]
fn closed_or_out_of_buffers_is_counted() {
    let mut a = Gateway::new(1, 7);
    let (local, remote) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.7:500".parse().unwrap());
    let message = Datagram { local, remote, payload: ike_message() };
    a.house.inject(SECOND, &message, &mut a.io);
    a.house.tick(SECOND, &mut a.io);
    assert!(a.io.sent.is_empty());
    assert_eq!(house_drops(&a, DropReason::InterfaceDown), 1);
    a.protect(7);
    a.io.buffers = Some(0);
    a.house.inject(SECOND, &message, &mut a.io);
    assert_eq!(house_drops(&a, DropReason::NoBuffer), 1);
    let mixed = Datagram { remote: "[2001:db8::7]:500".parse().unwrap(), ..message };
    a.house.inject(SECOND, &mixed, &mut a.io);
    assert_eq!(house_drops(&a, DropReason::IkeMalformed), 1);
}

#[test]
fn the_first_tick_after_opening_announces_the_addresses() {
    let mut a = Gateway::new(1, 7);
    a.protect(7);
    a.house.tick(SECOND, &mut a.io);
    let kinds: Vec<_> =
        a.io.sent.iter().map(|(port, f)| (*port, ethernet::Repr::parse(f.data()).unwrap().0.ether_type)).collect();
    for port in [WAN, LAN] {
        assert!(kinds.contains(&(port, EtherType::ARP)) && kinds.contains(&(port, EtherType::IPV6)));
    }
    a.io.sent.clear();
    a.house.tick(2 * SECOND, &mut a.io);
    assert!(a.io.sent.is_empty());
}

#[test]
fn other_protocols_to_the_box_have_no_host_yet() {
    let (mut a, _) = pair(Kind::PLAIN);
    let hello = frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip("10.1.0.1"), b"hello"));
    assert_eq!(a.receive_one(LAN, hello), None);
    assert!(matches!(a.io.punts[..], [Punt::Host { .. }]));
    assert!(settle(&mut a, SECOND).is_empty());
    assert_eq!(house_drops(&a, DropReason::HostUnsupported), 1);
}
