//! The host's own stack: what it gets, and where what it sends goes.

use super::answers::{echo, house_drops, icmp_of, settle};
use super::rig::*;
use crate::testing::VecBuffer;
use crate::{Buffer, PortId};
use arrayvec::ArrayVec;
use culvert_model::*;
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::{checksum, icmpv4, ipv4, protocol};

/// What leaves when the host sends this one packet.
fn from_host(gateway: &mut Gateway, packet: &[u8]) -> Vec<(PortId, VecBuffer)> {
    let mut burst = ArrayVec::new();
    burst.push(VecBuffer::new(packet));
    gateway.house.handle_host(SECOND, &mut burst, &mut gateway.io);
    assert!(burst.is_empty());
    std::mem::take(&mut gateway.io.sent)
}

fn with_host() -> (Gateway, Gateway) {
    let (mut a, b) = pair(Kind::PLAIN);
    a.io.host = Some(Vec::new());
    (a, b)
}

fn given(gateway: &mut Gateway) -> Vec<VecBuffer> {
    gateway.io.host.replace(Vec::new()).unwrap()
}

#[test]
fn what_is_for_the_box_goes_to_the_host_and_echo_is_answered_here() {
    let (mut a, mut b) = with_host();
    let hello = packet(ip("10.1.0.2"), ip("10.1.0.1"), b"hello");
    assert_eq!(a.receive_one(LAN, frame(host_mac(1), mac(1, LAN), &hello)), None);
    assert!(settle(&mut a, SECOND).is_empty());
    assert_eq!(given(&mut a)[0].data(), hello, "the packet and nothing else");

    // Through the tunnel.
    let secret = packet(ip("10.7.0.2"), ip("10.1.0.1"), b"secret");
    assert_eq!(b.receive_one(LAN, frame(host_mac(7), mac(7, LAN), &secret)), None);
    let outer = b.sent().remove(0);
    assert_eq!(a.receive_one(WAN, outer), None);
    settle(&mut a, SECOND);
    let got = given(&mut a).remove(0);
    assert!(got.data().ends_with(b"secret"));
    assert_eq!(a.house.counters().get(WorkerCounter::ToHost), 2);

    // In clear it is not for the host either.
    let spoofed = frame(host_mac(7), mac(1, WAN), &packet(ip("10.7.0.2"), ip("10.1.0.1"), b"spoofed"));
    assert_eq!(a.receive_one(WAN, spoofed), Some(DropReason::InboundClear));

    let ask = frame(host_mac(1), mac(1, LAN), &echo("10.1.0.2", "10.1.0.1", 64));
    assert_eq!(a.receive_one(LAN, ask), None);
    assert_eq!(icmp_of(inner(&settle(&mut a, SECOND)[0].1)).2, 0);
    assert!(given(&mut a).is_empty());
    // An answer to somebody's own echo request is the host's.
    let mut body = vec![0; 8];
    icmpv4::Message::EchoReply { identifier: 1, sequence: 1, data: &[] }.emit(&mut body).unwrap();
    let header = ipv4::Repr::new("10.1.0.2".parse().unwrap(), "10.1.0.1".parse().unwrap(), protocol::ICMP, 8);
    let answer = [&header.to_bytes()[..], &body].concat();
    assert_eq!(a.receive_one(LAN, frame(host_mac(1), mac(1, LAN), &answer)), None);
    settle(&mut a, SECOND);
    assert_eq!(given(&mut a)[0].data(), answer);
}

#[test]
fn a_full_or_missing_host_is_counted() {
    let (mut a, _) = with_host();
    let hello = || frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip("10.1.0.1"), b"hello"));
    a.io.host_room = Some(0);
    assert_eq!(a.receive_one(LAN, hello()), None);
    settle(&mut a, SECOND);
    assert_eq!((house_drops(&a, DropReason::HostFull), house_drops(&a, DropReason::HostUnsupported)), (1, 0));
    a.io.host = None;
    assert_eq!(a.receive_one(LAN, hello()), None);
    settle(&mut a, SECOND);
    assert_eq!(house_drops(&a, DropReason::HostUnsupported), 1);
    assert_eq!(a.house.counters().get(WorkerCounter::ToHost), 0);
}

#[test]
fn what_the_host_sends_passes_the_policies() {
    let (mut a, mut b) = with_host();
    // PROTECT
    let sent = from_host(&mut a, &packet(ip("10.1.0.1"), ip("10.7.0.2"), b"protected"));
    assert_eq!((sent.len(), sent[0].0, inner(&sent[0].1)[9]), (1, WAN, protocol::ESP));
    assert_eq!(b.receive_one(WAN, sent[0].1.clone()), None);
    let (_, delivered) = b.io.sent.remove(0);
    assert!(delivered.data().ends_with(b"protected"));
    assert_eq!(inner(&delivered)[8], 63, "the other end forwards; this one begins");
    // No policy: as the box's own answers.
    let sent = from_host(&mut a, &packet(ip("10.1.0.1"), ip("10.1.0.2"), b"clear"));
    assert_eq!((sent.len(), sent[0].0, inner(&sent[0].1)[8]), (1, LAN, 64));
    // DISCARD
    let discard = Policy {
        id: PolicyId(9),
        direction: PolicyDirection::Outbound,
        priority: 1,
        local: vec![net("0.0.0.0/0")],
        remote: vec![net("10.1.0.0/16")],
        action: Action::Discard,
        interface: None,
        pfp: Pfp::NONE,
    };
    a.policies([discard]);
    assert!(from_host(&mut a, &packet(ip("10.1.0.1"), ip("10.1.0.2"), b"clear")).is_empty());
    assert_eq!(house_drops(&a, DropReason::PolicyDiscard), 1);
    assert_eq!(a.house.counters().get(WorkerCounter::FromHost), 3);
}

#[test]
fn the_host_speaks_for_the_gateway_only() {
    let (mut a, _) = with_host();
    let bad: [(Vec<u8>, DropReason); 12] = [
        (packet(ip("10.1.0.2"), ip("192.0.2.7"), b"not ours"), DropReason::Martian),
        (packet(ip("10.1.0.1"), ip("192.0.2.1"), b"to itself"), DropReason::Martian),
        (packet(ip("10.1.0.1"), ip("127.0.0.1"), b"loopback"), DropReason::Martian),
        (packet(ip("10.1.0.1"), ip("224.0.0.5"), b"to a group"), DropReason::Multicast),
        (packet(ip("10.1.0.1"), ip("10.1.255.255"), b"to everybody"), DropReason::Multicast),
        (packet(ip("fd00:1::1"), ip("ff02::2"), b"to a group"), DropReason::Multicast),
        (packet(ip("fd00:1::1"), ip("fe80::9"), b"to a line"), DropReason::Martian),
        (packet(ip("10.1.0.1"), ip("10.7.0.2"), b"cut off")[..30].to_vec(), DropReason::Truncated),
        (with_options(&[131, 7, 4, 10, 9, 9, 1, 0]), DropReason::Ipv4Options),
        (with_options(&[148, 4, 0, 0, 137, 7, 4, 10, 9, 9, 1, 0]), DropReason::Ipv4Options),
        (with_options(&[7, 0, 0, 0]), DropReason::Ipv4Options),
        (vec![], DropReason::Truncated),
    ];
    for (packet, reason) in bad {
        let before = house_drops(&a, reason);
        assert!(from_host(&mut a, &packet).is_empty(), "{packet:?}");
        assert_eq!(house_drops(&a, reason), before + 1, "{packet:?}");
    }
    assert!(given(&mut a).is_empty());
    let mut closed = Gateway::new(1, 7);
    assert!(from_host(&mut closed, &packet(ip("10.1.0.1"), ip("10.1.0.2"), b"early")).is_empty());
    assert_eq!(house_drops(&closed, DropReason::InterfaceDown), 1);
}

/// To a host of the tunnel's other end.
fn with_options(options: &[u8]) -> Vec<u8> {
    let plain = packet(ip("10.1.0.1"), ip("10.7.0.2"), b"by way of");
    let mut packet = [&plain[..20], options, &plain[20..]].concat();
    packet[0] = 0x40 | (5 + options.len() / 4) as u8;
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[10..12].fill(0);
    let sum = checksum::of(&packet[..20 + options.len()]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet
}

#[test]
fn options_of_the_host_are_its_own() {
    let (mut a, _) = with_host();
    // Record route, router alert.
    for options in [&[7, 7, 4, 0, 0, 0, 0, 0][..], &[148, 4, 0, 0]] {
        let sent = from_host(&mut a, &with_options(options));
        // RFC 4301 §5.1.2.1: the tunnel's header has none.
        let wire = inner(&sent[0].1);
        assert_eq!((sent.len(), wire[0], wire[9]), (1, 0x45, protocol::ESP), "{options:?}");
    }
}

#[test]
fn the_host_is_told_what_a_tunnel_takes() {
    let (mut a, _) = with_host();
    for (source, destination, icmp) in
        [("10.1.0.1", "10.7.0.2", protocol::ICMP), ("fd00:1::1", "fd00:7::2", protocol::ICMPV6)]
    {
        let large = packet(ip(source), ip(destination), &[0; 1440]);
        assert!(from_host(&mut a, &large).is_empty());
        let told = given(&mut a).remove(0);
        let (from, to, _) = icmp_of(told.data());
        // From its own address the stack would not believe it.
        assert_eq!((from, to), (ip(destination), ip(source)), "{icmp}");
    }
    assert_eq!(house_drops(&a, DropReason::TooBig), 2);
}
