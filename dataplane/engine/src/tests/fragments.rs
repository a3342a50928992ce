//! Packets in pieces: of tunnels, of control's messages, of the box's own answers.

use super::answers::{house_drops, icmp_of, settle};
use super::rig::*;
use crate::fragment::join::join;
use crate::fragment::split::{split_v4, split_v6};
use crate::testing::VecBuffer;
use crate::{Buffer, PortId, Route};
use culvert_link::record::Datagram;
use culvert_model::*;
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::{EtherType, checksum, ethernet, icmpv4, icmpv6, ike, ipv4, ipv6, protocol, udp};
use std::net::IpAddr;

/// The packet in `frame`, each piece in a frame as that one's.
pub(super) fn cut(frame: &VecBuffer, mtu: usize) -> Vec<VecBuffer> {
    cut_into(frame, mtu, VecBuffer::ROOM)
}

/// The same, each in a buffer of so many octets.
pub(super) fn cut_into(frame: &VecBuffer, mtu: usize, room: usize) -> Vec<VecBuffer> {
    let (header, packet) = ethernet::Repr::parse(frame.data()).unwrap();
    let buffer = || Some(VecBuffer::with_room(&[], VecBuffer::HEADROOM, room));
    let packet = VecBuffer::new(packet);
    let pieces = match header.ether_type {
        EtherType::IPV6 => split_v6(packet, mtu, 0x5eed),
        _ => split_v4(packet, mtu),
    };
    let pieces = pieces.unwrap().all(buffer).unwrap().into_iter();
    pieces.map(|piece| VecBuffer::new(&[&header.to_bytes()[..], piece.data()].concat())).collect()
}

/// The packets as their destination puts them together.
pub(super) fn joined(packets: impl IntoIterator<Item = VecBuffer>) -> VecBuffer {
    join(packets, VecBuffer::large).unwrap()
}

/// Through the worker and what it leaves to housekeeping.
pub(super) fn receive_all(gateway: &mut Gateway, now: u64, port: PortId, frames: Vec<VecBuffer>) -> Vec<VecBuffer> {
    gateway.receive(now, port, frames);
    settle(gateway, now).into_iter().map(|(_, frame)| frame).collect()
}

#[test]
fn tunnel_packets_in_pieces_are_put_together() {
    for kind in Kind::all() {
        let (mut a, mut b) = pair(kind);
        a.receive(SECOND, LAN, [from_host(&[0x5a; 1300])]);
        let wire = a.sent().pop().unwrap();
        let mut pieces = cut(&wire, 520);
        assert!(pieces.len() > 2);
        pieces.rotate_left(1);
        let got = receive_all(&mut b, SECOND, WAN, pieces);
        assert_eq!(got.len(), 1, "{kind:?}");
        assert!(inner(&got[0]).ends_with(&[0x5a; 1300]), "{kind:?}");
        let house = b.house.counters();
        assert_eq!((house.get(WorkerCounter::Reassembled), house.get(WorkerCounter::OpenedPackets)), (1, 1));
        assert_eq!((b.all_drops(), house_all(&b)), (0, 0));
        // The same sequence number once more.
        receive_all(&mut b, SECOND, WAN, cut(&wire, 520));
        assert_eq!(house_drops(&b, DropReason::ReplayDuplicate), 1);
    }
}

pub(super) fn house_all(gateway: &Gateway) -> u64 {
    DropReason::ALL.iter().map(|reason| house_drops(gateway, *reason)).sum()
}

#[test]
fn pieces_that_overlap_or_miss_one_never_reach_the_cipher() {
    for outer_v6 in [false, true] {
        let (mut a, mut b) = pair(Kind { outer_v6, ..Kind::PLAIN });
        a.receive(SECOND, LAN, [from_host(&[0x5a; 1300])]);
        let wire = a.sent().pop().unwrap();
        let pieces = cut(&wire, 520);
        // One that is there already with other octets.
        let mut bent = pieces[1].clone();
        *bent.data_mut().last_mut().unwrap() ^= 1;
        let count = pieces.len() as u64;
        let got = receive_all(&mut b, SECOND, WAN, [&pieces[..2], &[bent], &pieces[2..]].concat());
        assert!(got.is_empty());
        assert_eq!((house_drops(&b, DropReason::FragmentOverlap), house_all(&b)), (count + 1, count + 1));
    }
}

#[test]
fn whoever_left_a_piece_out_is_told() {
    for outer_v6 in [false, true] {
        let (mut a, mut b) = pair(Kind { outer_v6, ..Kind::PLAIN });
        a.receive(SECOND, LAN, [from_host(&[0x5a; 1300])]);
        let wire = a.sent().pop().unwrap();
        let mut pieces = cut(&wire, 520);
        pieces.pop();
        let count = pieces.len() as u64;
        assert!(receive_all(&mut b, SECOND, WAN, pieces.clone()).is_empty());
        b.house.tick(31 * SECOND - 1, &mut b.io);
        b.io.sent.clear();
        b.house.tick(31 * SECOND, &mut b.io);
        let told = b.sent();
        assert_eq!(told.len(), 1);
        let (source, destination, kind) = icmp_of(inner(&told[0]));
        assert_eq!((source, destination), (outer(7, outer_v6), outer(1, outer_v6)));
        let code = inner(&told[0])[if outer_v6 { 41 } else { 21 }];
        assert_eq!((kind, code), (if outer_v6 { 3 } else { 11 }, 1));
        assert_eq!((house_drops(&b, DropReason::FragmentTimeout), house_all(&b)), (count, count));
        // Without the first piece nobody is.
        receive_all(&mut b, 40 * SECOND, WAN, pieces.split_off(1));
        b.house.tick(70 * SECOND, &mut b.io);
        assert!(b.sent().is_empty());
        assert_eq!(house_drops(&b, DropReason::FragmentTimeout), 2 * count - 1);
    }
}

#[test]
fn a_flood_of_pieces_hurts_neither_whole_packets_nor_other_senders() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    let mut number = 0u32;
    let mut bad = || {
        number += 1;
        let header = ipv4::Repr::new([198, 51, 100, 66].into(), [192, 0, 2, 7].into(), protocol::ESP, 1400);
        let header = ipv4::Repr { identification: number as u16, more_fragments: true, ..header };
        frame(mac(1, WAN), mac(7, WAN), &[&header.to_bytes()[..], &[0; 1400]].concat())
    };
    for round in 0..100 {
        let now = SECOND + round;
        a.receive(now, LAN, [from_host(&[1; 1300]), from_host(&[2; 100])]);
        let [long, short]: [VecBuffer; 2] = a.sent().try_into().unwrap();
        let mut frames: Vec<VecBuffer> = (0..200).map(|_| bad()).collect();
        let pieces = cut(&long, 600);
        frames.splice(100..100, pieces.into_iter().chain([short]));
        assert_eq!(receive_all(&mut b, now, WAN, frames).len(), 2, "round {round}");
    }
    let house = b.house.counters();
    assert_eq!(house.get(WorkerCounter::Reassembled), 100);
    // What is not lost waits: no more than one source may hold.
    let lost = house_drops(&b, DropReason::FragmentFlood);
    assert!((20_000 - 256..20_000).contains(&lost), "{lost}");
    assert_eq!(house_all(&b), lost);
}

#[test]
fn control_gets_messages_that_came_in_pieces_and_sends_such() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    for outer_v6 in [false, true] {
        let message = ike::Repr {
            initiator_spi: 1,
            responder_spi: 0,
            next_payload: 33,
            version: 0x20,
            exchange_type: 34,
            flags: 8,
            message_id: 0,
            length: 1900,
        };
        let mut payload = message.to_bytes().to_vec();
        payload.resize(1900, 0x77);
        let (local, remote) = ((outer(1, outer_v6), 500).into(), (outer(7, outer_v6), 500).into());
        a.house.inject(SECOND, &Datagram { local, remote, payload: payload.clone() }, &mut a.io);
        let pieces = a.sent();
        assert_eq!(pieces.len(), 2);
        assert!(pieces.iter().all(|piece| inner(piece).len() <= 1500));
        assert!(receive_all(&mut b, SECOND, WAN, pieces).is_empty());
        assert_eq!(b.house.poll_datagram(), Some(Datagram { local: remote, remote: local, payload }));
    }
}

/// An echo request from the peer's outer address.
fn echo_request(is_v6: bool, len: usize) -> VecBuffer {
    let packet = large_echo(outer(1, is_v6), outer(7, is_v6), len);
    frame(mac(1, WAN), mac(7, WAN), &packet)
}

/// An echo request with so many octets of data.
pub(super) fn large_echo(source: IpAddr, destination: IpAddr, len: usize) -> Vec<u8> {
    let data = vec![0x42; len];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let message = icmpv4::Message::EchoRequest { identifier: 7, sequence: 9, data: &data };
            let mut body = vec![0; message.len()];
            message.emit(&mut body).unwrap();
            let header = ipv4::Repr::new(source, destination, protocol::ICMP, body.len() as u16);
            [&ipv4::Repr { identification: 99, ..header }.to_bytes()[..], &body].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let message = icmpv6::Message::EchoRequest { identifier: 7, sequence: 9, data: &data };
            let mut body = vec![0; message.len()];
            message.emit(source, destination, &mut body).unwrap();
            let header = ipv6::Repr::new(source, destination, protocol::ICMPV6, body.len() as u16);
            [&header.to_bytes()[..], &body].concat()
        }
        _ => unreachable!("one family"),
    }
}

#[test]
fn a_large_ping_is_answered_in_pieces() {
    for is_v6 in [false, true] {
        let (_, mut b) = pair(Kind::PLAIN);
        let answer = receive_all(&mut b, SECOND, WAN, cut(&echo_request(is_v6, 1800), 1400));
        assert_eq!(answer.len(), 2, "IPv6 {is_v6}");
        assert_eq!(b.house.counters().get(WorkerCounter::Fragmented), 1);
        let packets = answer.iter().map(|piece| VecBuffer::new(inner(piece)));
        let whole = joined(packets);
        let (source, destination, kind) = icmp_of(whole.data());
        assert_eq!((source, destination), (outer(7, is_v6), outer(1, is_v6)));
        assert_eq!(kind, if is_v6 { 129 } else { 0 });
        assert!(whole.data().ends_with(&[0x42; 1800]));
    }
}

#[test]
fn a_router_takes_clear_packets_apart() {
    let mut interfaces = interfaces(1);
    interfaces[0].mtu = 600;
    let region = Gateway::new(1, 7).region;
    let mut a = Gateway::with(region, 1, 7, interfaces, &[]);
    a.policies(bypass_all());
    let mut sent = packet(ip("10.1.0.2"), ip("192.0.2.7"), &[3; 1200]);
    let before = a.all_drops();
    // With DF the sender is told.
    a.receive(SECOND, LAN, [frame(host_mac(1), mac(1, LAN), &sent)]);
    assert!(a.sent().is_empty());
    assert_eq!(icmp_of(inner(&settle(&mut a, SECOND)[0].1)).2, 3);
    // Without it the packet goes in pieces, behind those before it.
    sent[6] = 0;
    sent[10..12].fill(0);
    let sum = checksum::of(&sent[..20]).to_be_bytes();
    sent[10..12].copy_from_slice(&sum);
    let small = packet(ip("10.1.0.2"), ip("192.0.2.7"), &[4; 10]);
    let frames = [&small, &sent, &small].map(|packet| frame(host_mac(1), mac(1, LAN), packet));
    a.receive(SECOND, LAN, frames);
    let out = a.sent();
    assert_eq!(out.iter().map(|frame| inner(frame).len()).collect::<Vec<_>>(), [38, 596, 596, 76, 38]);
    let joined = joined(out[1..4].iter().map(|piece| VecBuffer::new(inner(piece))));
    assert_eq!((&joined.data()[20..], joined.data()[8]), (&sent[20..], sent[8] - 1));
    assert_eq!((a.all_drops(), a.count(WorkerCounter::Fragmented)), (before, 1));
    let (_, datagram) = ipv4::Header::parse(joined.data(), ipv4::ChecksumMode::Verify).unwrap();
    let (header, payload) = udp::Repr::parse(datagram).unwrap();
    header.verify(ip("10.1.0.2"), ip("192.0.2.7"), payload).unwrap();
}

/// As [`pair`], and site 1 knows a way to site 7 in clear.
pub(super) fn routed_pair() -> (Gateway, Gateway) {
    let route = |destination: &str, via: &str| Route {
        destination: destination.parse().unwrap(),
        via: Some(ip(via)),
        port: None,
    };
    let routes = [route("10.7.0.0/16", "192.0.2.7"), route("fd00:7::/64", "2001:db8::7")];
    let mut a = Gateway::with(Gateway::new(1, 7).region, 1, 7, interfaces(1), &routes);
    let mut b = Gateway::new(7, 1);
    b.protect(1);
    protect_one_port(&mut a, 1);
    connect(&mut a, &mut b, Kind::PLAIN, 1);
    (a, b)
}

const PROTECT: Action = Action::Protect { child: CHILD, trap: false };

/// PROTECT for UDP to port 2000 between the two networks, BYPASS for the rest.
fn protect_one_port(gateway: &mut Gateway, site: u8) {
    let protect = one_port(site, PROTECT);
    gateway.policies(std::iter::once(protect).chain(bypass_all()));
}

/// What becomes of UDP to port 2000.
fn one_port(site: u8, action: Action) -> Policy {
    let port = |port: u16| PortRange::new(port, port).unwrap();
    let with_port = |selectors: Vec<TrafficSelector>, ports: PortRange| -> Vec<TrafficSelector> {
        let one = |ts: TrafficSelector| TrafficSelector { protocol: Some(protocol::UDP), ports, ..ts };
        selectors.into_iter().map(one).collect()
    };
    Policy {
        id: PolicyId(50),
        direction: PolicyDirection::Outbound,
        priority: 1,
        local: with_port(lans(site), PortRange::ANY),
        remote: with_port(lans(7), port(2000)),
        action,
        interface: None,
        pfp: Pfp::NONE,
    }
}

/// From host 1 to host 7, cut into pieces as a host does.
fn datagram_in_pieces(is_v6: bool, port: u16) -> (Vec<u8>, Vec<VecBuffer>) {
    let (whole, pieces) = large_datagram_in_pieces(is_v6, port, 1700, 800);
    assert_eq!(pieces.len(), 3);
    (whole, pieces)
}

/// The same of any length and MTU.
pub(super) fn large_datagram_in_pieces(is_v6: bool, port: u16, len: usize, mtu: usize) -> (Vec<u8>, Vec<VecBuffer>) {
    let (source, destination) =
        if is_v6 { (ip("fd00:1::2"), ip("fd00:7::2")) } else { (ip("10.1.0.2"), ip("10.7.0.2")) };
    let mut whole = packet(source, destination, &vec![0x33; len]);
    let at = if is_v6 { 40 } else { 20 };
    whole[at + 2..at + 4].copy_from_slice(&port.to_be_bytes());
    if !is_v6 {
        (whole[6], whole[5]) = (0, port as u8);
        whole[10..12].fill(0);
        let sum = checksum::of(&whole[..20]).to_be_bytes();
        whole[10..12].copy_from_slice(&sum);
    }
    let pieces = cut(&frame(host_mac(1), mac(1, LAN), &whole), mtu);
    (whole, pieces)
}

#[test]
fn pieces_follow_the_policy_of_the_whole() {
    for is_v6 in [false, true] {
        let (mut a, mut b) = routed_pair();
        for (port, protected) in [(2000, true), (2001, false)] {
            let (whole, mut pieces) = datagram_in_pieces(is_v6, port);
            pieces.rotate_right(1);
            let last = pieces.pop().unwrap();
            assert!(receive_all(&mut a, SECOND, LAN, pieces).is_empty(), "held until all are there");
            let mut out = receive_all(&mut a, SECOND, LAN, vec![last]);
            assert_eq!(out.len(), 3);
            let sealed = |frame: &VecBuffer| inner(frame)[0] >> 4 == 4 && inner(frame)[9] == protocol::ESP;
            assert!(out.iter().all(|frame| sealed(frame) == protected), "port {port}");
            if protected {
                out = receive_all(&mut b, SECOND, WAN, out);
                assert_eq!(out.len(), 3);
            }
            let joined = joined(out.iter().map(|piece| VecBuffer::new(inner(piece))));
            let at = if is_v6 { 40 } else { 20 };
            assert_eq!(joined.data()[at..], whole[at..]);
        }
        assert_eq!((house_all(&a), a.all_drops(), house_all(&b), b.all_drops()), (0, 0, 0, 0));
    }
}

#[test]
fn a_bypass_with_ports_tears_no_datagram_apart() {
    let (mut a, _) = routed_pair();
    let protect = Policy { id: PolicyId(60), priority: 5, local: lans(1), remote: lans(7), ..one_port(1, PROTECT) };
    a.policies([one_port(1, Action::Bypass), protect].into_iter().chain(bypass_all()));
    for (port, protected) in [(2000, false), (2001, true)] {
        let (_, pieces) = datagram_in_pieces(false, port);
        let out = receive_all(&mut a, SECOND, LAN, pieces);
        assert_eq!(out.len(), 3);
        assert!(out.iter().all(|frame| (inner(frame)[9] == protocol::ESP) == protected), "port {port}");
    }
}

#[test]
fn pieces_of_one_protocol_are_not_held_for_policies_of_another() {
    let (mut a, _) = routed_pair();
    let (_, mut pieces) = datagram_in_pieces(false, 2000);
    for piece in &mut pieces {
        let packet = &mut piece.data_mut()[ethernet::LEN..];
        packet[9] = 47;
        packet[10..12].fill(0);
        let sum = checksum::of(&packet[..20]).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
    }
    a.receive(SECOND, LAN, pieces);
    assert_eq!((a.sent().len(), a.io.punts.len()), (3, 0));
}

#[test]
fn a_piece_without_the_others_never_slips_past_a_policy() {
    for is_v6 in [false, true] {
        let (mut a, _) = routed_pair();
        let (_, pieces) = datagram_in_pieces(is_v6, 2000);
        // The first tick announces the box.
        a.house.tick(0, &mut a.io);
        a.io.sent.clear();
        for piece in 0..3 {
            let now = SECOND + 100 * SECOND * piece;
            let only = pieces[piece as usize].clone();
            assert!(receive_all(&mut a, now, LAN, vec![only]).is_empty());
            a.house.tick(now + 30 * SECOND, &mut a.io);
            assert!(a.sent().is_empty(), "nobody is told: it was not for the box");
            assert_eq!(house_drops(&a, DropReason::FragmentTimeout), piece + 1);
        }
        // A first piece that shows another port than the one that will be read, hidden in an overlap (RFC 1858 §4).
        let (_, other) = datagram_in_pieces(is_v6, 2001);
        let mut other = other[0].clone();
        if !is_v6 {
            let packet = &mut other.data_mut()[ethernet::LEN..];
            packet[5] = 2000u16 as u8;
            packet[10..12].fill(0);
            let sum = checksum::of(&packet[..20]).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
        }
        let frames = [&pieces[1..2], &[other], &pieces[..1], &pieces[2..]].concat();
        assert!(receive_all(&mut a, 1000 * SECOND, LAN, frames).is_empty());
        assert_eq!(house_drops(&a, DropReason::FragmentOverlap), 4);
    }
}

#[test]
fn a_large_ping_through_the_tunnel_reaches_the_box() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    let message = icmpv4::Message::EchoRequest { identifier: 7, sequence: 9, data: &[0x42; 1800] };
    let mut body = vec![0; message.len()];
    message.emit(&mut body).unwrap();
    let header = ipv4::Repr::new([10, 1, 0, 2].into(), [10, 7, 0, 1].into(), protocol::ICMP, body.len() as u16);
    let request = frame(host_mac(1), mac(1, LAN), &[&header.to_bytes()[..], &body].concat());
    let sealed = receive_all(&mut a, SECOND, LAN, cut(&request, 1400));
    assert_eq!(sealed.len(), 2);
    // The answer does not fit the tunnel in one piece.
    receive_all(&mut b, SECOND, WAN, sealed);
    assert_eq!(b.house.counters().get(WorkerCounter::EchoReplies), 1);
}
