//! Sizes: what a tunnel's path carries, what hosts are told, and what is cut.

use super::answers::{house_drops, icmp_of, settle};
use super::rig::*;
use crate::PortId;
use crate::testing::VecBuffer;
use culvert_link::record::Command;
use culvert_model::*;
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::{Mac, checksum, icmpv4, icmpv6, ipv4, ipv6, protocol, tcp};
use std::net::IpAddr;

const MINUTE: u64 = 60 * SECOND;

/// Sites 1 and 7, the SAs as `change` wants them.
pub(super) fn changed_pair(kind: Kind, change: impl Fn(&mut SaSpec)) -> (Gateway, Gateway) {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    let one_way = |from: &mut Gateway, to: &mut Gateway, key| {
        let (mut inbound, mut outbound) = specs(from, to, kind, key);
        change(&mut inbound);
        change(&mut outbound);
        to.install(&inbound).unwrap();
        from.install(&outbound).unwrap();
    };
    one_way(&mut a, &mut b, 1);
    one_way(&mut b, &mut a, 100);
    (a, b)
}

/// What a router says of a packet of gateway 1's.
fn too_big(mtu: u16, wire: &[u8], quoted: usize) -> VecBuffer {
    let quote = &wire[..quoted.min(wire.len())];
    let packet = if wire[0] >> 4 == 4 {
        let code = icmpv4::UnreachableCode::FRAGMENTATION_NEEDED;
        let message = icmpv4::Message::Unreachable { code, mtu, quote };
        let mut body = vec![0; message.len()];
        message.emit(&mut body).unwrap();
        let header =
            ipv4::Repr::new([198, 51, 100, 1].into(), [192, 0, 2, 1].into(), protocol::ICMP, body.len() as u16);
        [&header.to_bytes()[..], &body].concat()
    } else {
        let message = icmpv6::Message::PacketTooBig { mtu: u32::from(mtu), quote };
        let (source, destination) = ("2001:db8:ff::1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let mut body = vec![0; message.len()];
        message.emit(source, destination, &mut body).unwrap();
        let header = ipv6::Repr::new(source, destination, protocol::ICMPV6, body.len() as u16);
        [&header.to_bytes()[..], &body].concat()
    };
    frame(Mac([2, 0, 0, 0, 0, 254]), mac(1, WAN), &packet)
}

fn tell(gateway: &mut Gateway, now: u64, message: VecBuffer) {
    gateway.receive(now, WAN, [message]);
    assert!(settle(gateway, now).is_empty(), "ICMP errors are never answered");
}

/// The MTU that a host with a packet of 1400 octets and DF is told; `None`: it went.
fn told(gateway: &mut Gateway, now: u64, is_v6: bool) -> Option<u32> {
    let (source, destination) =
        if is_v6 { (ip("fd00:1::2"), ip("fd00:7::2")) } else { (ip("10.1.0.2"), ip("10.7.0.2")) };
    let len = if is_v6 { 1400 - 48 } else { 1400 - 28 };
    gateway.receive(now, LAN, [frame(host_mac(1), mac(1, LAN), &packet(source, destination, &vec![9; len]))]);
    let (port, answer) = settle(gateway, now).pop()?;
    if port == WAN {
        return None;
    }
    let answer = inner(&answer);
    assert_eq!(icmp_of(answer).2, if is_v6 { 2 } else { 3 });
    let at = if is_v6 { 44 } else { 24 };
    Some(u32::from_be_bytes(answer[at..at + 4].try_into().unwrap()))
}

fn sealed(gateway: &mut Gateway, now: u64) -> Vec<u8> {
    gateway.receive(now, LAN, [from_host(&[9; 1372])]);
    let wire = gateway.sent().pop().unwrap();
    inner(&wire).to_vec()
}

#[test]
fn routers_lower_the_path_mtu_for_ten_minutes() {
    for kind in Kind::all() {
        let (mut a, _) = pair(kind);
        a.house.tick(0, &mut a.io);
        a.io.sent.clear();
        let wire = sealed(&mut a, MINUTE);
        assert_eq!(told(&mut a, MINUTE, true), None);
        tell(&mut a, MINUTE, too_big(1350, &wire, 100));
        let house = a.house.counters();
        assert_eq!((house.get(WorkerCounter::PathMtuChanges), house_drops(&a, DropReason::IcmpIgnored)), (1, 1));
        let mtu = told(&mut a, 2 * MINUTE, false).unwrap();
        assert_eq!(told(&mut a, 2 * MINUTE, true), Some(mtu.max(1280)));
        // The largest that fits: an octet of padding more, and the sealed packet has more than 1350.
        let overhead = if kind.outer_v6 { 40 } else { 20 } + if kind.udp { 8 } else { 0 } + 16 + 2 + 16;
        assert!(mtu as usize + overhead <= 1350 && mtu as usize + overhead > 1346, "{kind:?}: {mtu}");
        // Its successor goes the same way.
        let mut b = Gateway::new(7, 1);
        connect(&mut a, &mut b, kind, 55);
        assert_eq!(told(&mut a, 3 * MINUTE, false), Some(mtu));
        for (now, expected) in [(11 * MINUTE - 1, Some(mtu)), (11 * MINUTE, None)] {
            a.house.tick(now, &mut a.io);
            a.io.sent.clear();
            assert_eq!(told(&mut a, now, false), expected, "{kind:?}");
        }
    }
}

#[test]
fn forgers_do_not() {
    for kind in [Kind::PLAIN, Kind { outer_v6: true, ..Kind::PLAIN }, Kind { udp: true, ..Kind::PLAIN }] {
        let (mut a, _) = pair(kind);
        let wire = sealed(&mut a, SECOND);
        let upper = if kind.outer_v6 { 40 } else { 20 } + if kind.udp { 8 } else { 0 };
        // Another SPI, a number never sent, another peer, other addresses of ours, no room for an SPI.
        type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
        let changes: [Change<'_>; 5] = [
            &|wire| wire[upper] ^= 1,
            &|wire| wire[upper + 7] += 1,
            &|wire| wire[if kind.outer_v6 { 39 } else { 19 }] ^= 1,
            &|wire| wire[if kind.outer_v6 { 23 } else { 15 }] ^= 1,
            &|wire| wire.truncate(upper + 3),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut forged = wire.clone();
            change(&mut forged);
            tell(&mut a, SECOND, too_big(1350, &forged, 100));
            let implausible = house_drops(&a, DropReason::IcmpImplausible);
            assert_eq!(implausible, number.min(3) as u64 + 1, "{kind:?}, {number}");
        }
        // No smaller than every path carries, and no larger than the packet that is said to have been too big.
        for mtu in [if kind.outer_v6 { 1279 } else { 1500 }, 1500, 9000] {
            tell(&mut a, SECOND, too_big(mtu, &wire, 100));
        }
        assert_eq!(told(&mut a, SECOND, false), None);
        assert_eq!(a.house.counters().get(WorkerCounter::PathMtuChanges), 0);
        // What is true is believed once.
        for _ in 0..3 {
            tell(&mut a, SECOND, too_big(1350, &wire, 100));
        }
        assert_eq!(a.house.counters().get(WorkerCounter::PathMtuChanges), 1);
    }
}

/// RFC 4301 §6.1.1. Type 3, code 4, in the place of ports.
#[test]
fn an_administrator_may_refuse_icmp_by_type() {
    for (kind, believed) in [(3, false), (4, true)] {
        let (mut a, _) = pair(Kind::PLAIN);
        let wire = sealed(&mut a, SECOND);
        let types = PortRange::new(kind << 8, kind << 8 | 0xff).unwrap();
        let any = TrafficSelector::any(AddrRange::ANY_V4);
        let refuse = Policy {
            id: PolicyId(99),
            direction: PolicyDirection::Inbound,
            priority: 0,
            local: vec![any],
            remote: vec![TrafficSelector { protocol: Some(protocol::ICMP), ports: types, ..any }],
            action: Action::Discard,
            interface: None,
            pfp: Pfp::NONE,
        };
        a.apply(Command::SetPolicy(refuse)).unwrap();
        tell(&mut a, SECOND, too_big(1350, &wire, 100));
        assert_eq!(told(&mut a, SECOND, false).is_some(), believed, "type {kind} refused");
        assert_eq!(a.dropped(DropReason::PolicyDiscard), u64::from(!believed));
    }
}

#[test]
fn a_flood_of_icmp_errors_costs_little() {
    let (mut a, _) = pair(Kind::PLAIN);
    let mut wire = sealed(&mut a, SECOND);
    wire[20] ^= 1;
    for _ in 0..1000 {
        tell(&mut a, SECOND, too_big(1350, &wire, 100));
    }
    assert_eq!(house_drops(&a, DropReason::IcmpImplausible), 50);
    assert_eq!(house_drops(&a, DropReason::IcmpRateLimited), 950);
}

#[test]
fn an_ipv6_packet_of_least_size_is_carried_whatever_the_path() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    let wire = sealed(&mut a, SECOND);
    tell(&mut a, SECOND, too_big(600, &wire, 100));
    assert_eq!(told(&mut a, SECOND, true), Some(1280), "RFC 8200 §5: less would not be heeded");
    let least = packet(ip("fd00:1::2"), ip("fd00:7::2"), &[7; 1280 - 48]);
    a.receive(SECOND, LAN, [frame(host_mac(1), mac(1, LAN), &least)]);
    let pieces = a.sent();
    assert_eq!(pieces.len(), 3);
    assert!(pieces.iter().all(|piece| inner(piece).len() <= 600));
    b.receive(SECOND, WAN, pieces);
    let got = settle(&mut b, SECOND);
    assert_eq!(inner(&got[0].1)[40..], least[40..]);
}

#[test]
fn sealed_packets_are_cut_where_asked_for() {
    for outer_v6 in [false, true] {
        let (mut a, mut b) = changed_pair(Kind { outer_v6, ..Kind::PLAIN }, |spec| {
            spec.handling.fragment = FragmentWhen::After;
        });
        let mut whole = packet(ip("10.1.0.2"), ip("10.7.0.2"), &[7; 1472]);
        whole[6] = 0;
        whole[10..12].fill(0);
        let sum = checksum::of(&whole[..20]).to_be_bytes();
        whole[10..12].copy_from_slice(&sum);
        a.receive(SECOND, LAN, [frame(host_mac(1), mac(1, LAN), &whole)]);
        let pieces = a.sent();
        assert_eq!((pieces.len(), a.count(WorkerCounter::SealedPackets)), (2, 1));
        assert!(pieces.iter().all(|piece| inner(piece).len() <= 1500));
        b.receive(SECOND, WAN, pieces);
        let got = settle(&mut b, SECOND);
        assert_eq!(inner(&got[0].1)[20..], whole[20..], "outer v6 {outer_v6}");
        assert_eq!((a.all_drops(), b.all_drops()), (0, 0));
    }
}

/// A SYN from host 1, or to it, with an MSS of 1460.
fn syn(is_v6: bool) -> Vec<u8> {
    let header = tcp::Repr {
        source_port: 1000,
        destination_port: 443,
        sequence: 1,
        acknowledgement: 0,
        flags: tcp::Repr::SYN,
        window: 1000,
        checksum: 0,
        urgent: 0,
    };
    let mut segment = [&header.to_bytes()[..], &[2, 4, 0x05, 0xb4]].concat();
    segment[12] = 0x60;
    let (source, destination) =
        if is_v6 { (ip("fd00:1::2"), ip("fd00:7::2")) } else { (ip("10.1.0.2"), ip("10.7.0.2")) };
    let sum = checksum::Sum::pseudo(source, destination, protocol::TCP, segment.len()).unwrap();
    let sum = sum.add_bytes(&segment).finish().to_be_bytes();
    segment[16..18].copy_from_slice(&sum);
    let header = match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => ipv4::Repr::new(s, d, protocol::TCP, 24).to_bytes().to_vec(),
        (IpAddr::V6(s), IpAddr::V6(d)) => ipv6::Repr::new(s, d, protocol::TCP, 24).to_bytes().to_vec(),
        _ => unreachable!("one family"),
    };
    [header, segment].concat()
}

/// The MSS that reaches host 7.
fn mss_through(a: &mut Gateway, b: &mut Gateway, is_v6: bool) -> u16 {
    a.receive(SECOND, LAN, [frame(host_mac(1), mac(1, LAN), &syn(is_v6))]);
    let wire = a.sent();
    b.receive(SECOND, WAN, wire);
    let got = b.sent().pop().unwrap();
    let got = inner(&got);
    let at = if is_v6 { 40 } else { 20 };
    let (source, destination) =
        if is_v6 { (ip("fd00:1::2"), ip("fd00:7::2")) } else { (ip("10.1.0.2"), ip("10.7.0.2")) };
    let sum = checksum::Sum::pseudo(source, destination, protocol::TCP, got.len() - at).unwrap();
    assert!(sum.add_bytes(&got[at..]).is_valid());
    u16::from_be_bytes([got[at + 22], got[at + 23]])
}

#[test]
fn the_mss_of_a_syn_fits_the_tunnel() {
    for is_v6 in [false, true] {
        let headers = if is_v6 { 60 } else { 40 };
        let (mut a, mut b) = changed_pair(Kind::PLAIN, |spec| spec.handling.mss_clamp = MssClamp::Auto);
        assert_eq!(mss_through(&mut a, &mut b, is_v6), 1446 - headers);
        // What was learnt of the path counts.
        let wire = sealed(&mut a, SECOND);
        tell(&mut a, SECOND, too_big(1350, &wire, 100));
        assert!(mss_through(&mut a, &mut b, is_v6) < 1350 - headers);
        let (mut a, mut b) = changed_pair(Kind::PLAIN, |_| {});
        assert_eq!(mss_through(&mut a, &mut b, is_v6), 1460);
        // Either end alone does it for both directions.
        let inbound_only = |spec: &mut SaSpec| {
            if spec.direction == Direction::Inbound {
                spec.handling.mss_clamp = MssClamp::To(1200);
            }
        };
        let (mut a, mut b) = changed_pair(Kind::PLAIN, inbound_only);
        assert_eq!(mss_through(&mut a, &mut b, is_v6), 1200);
    }
}

/// SAs for UDP to port 2000 alone, under policies for everything.
fn one_port_pair() -> (Gateway, Gateway) {
    changed_pair(Kind::PLAIN, |spec| {
        let to_site_7 = match spec.direction {
            Direction::Outbound => &mut spec.remote_ts,
            Direction::Inbound => &mut spec.local_ts,
        };
        for ts in to_site_7 {
            (ts.protocol, ts.ports) = (Some(protocol::UDP), PortRange::single(2000));
        }
    })
}

fn pieces_to(port: u16) -> Vec<VecBuffer> {
    let mut whole = packet(ip("10.1.0.2"), ip("10.7.0.2"), &[0x33; 1700]);
    whole[22..24].copy_from_slice(&port.to_be_bytes());
    (whole[5], whole[6]) = (port as u8, 0);
    super::fragments::cut(&frame(host_mac(1), mac(1, LAN), &whole), 800)
}

fn through(gateway: &mut Gateway, port: PortId, frames: Vec<VecBuffer>) -> Vec<VecBuffer> {
    gateway.receive(SECOND, port, frames);
    settle(gateway, SECOND).into_iter().map(|(_, frame)| frame).collect()
}

#[test]
fn pieces_are_held_against_the_ports_of_their_sa() {
    let (mut a, mut b) = one_port_pair();
    let wire = through(&mut a, LAN, pieces_to(2000));
    assert_eq!(wire.len(), 3);
    let mut late = wire;
    late.rotate_left(1);
    let got = through(&mut b, WAN, late);
    assert_eq!(got.len(), 3);
    assert!(got.iter().all(|piece| inner(piece)[8] == 62), "two routers, each took its hop once");
    assert_eq!((a.all_drops(), b.all_drops()), (0, 0));
    // Another port at the sender's SA.
    assert!(through(&mut a, LAN, pieces_to(2001)).is_empty());
    assert_eq!(house_drops(&a, DropReason::OutboundSelectorMismatch), 3);
    // And at the receiver's, where the sender has other ideas.
    let (mut a, mut b) = (Gateway::new(1, 7), b);
    a.protect(7);
    let (mut inbound, outbound) = specs(&a, &b, Kind::PLAIN, 9);
    for ts in &mut inbound.local_ts {
        (ts.protocol, ts.ports) = (Some(protocol::UDP), PortRange::single(2000));
    }
    b.install(&inbound).unwrap();
    a.install(&outbound).unwrap();
    let wire = through(&mut a, LAN, pieces_to(2001));
    assert_eq!(wire.len(), 3);
    assert!(through(&mut b, WAN, wire).is_empty());
    assert_eq!(house_drops(&b, DropReason::SelectorMismatch), 3);
    // Its SA goes while pieces wait.
    let mut wire = through(&mut a, LAN, pieces_to(2000));
    let last = wire.pop().unwrap();
    assert!(through(&mut b, WAN, wire).is_empty());
    b.receive(SECOND, WAN, [last]);
    let (slot, spi, direction) = (inbound.slot, inbound.spi, inbound.direction);
    let punts = std::mem::take(&mut b.io.punts);
    b.apply(Command::Remove { slot, spi, direction }).unwrap();
    b.io.punts = punts;
    assert!(settle(&mut b, SECOND).is_empty());
    assert_eq!(house_drops(&b, DropReason::SelectorMismatch), 6);
}

/// UDP to port 2000, too large for a tunnel packet, that may be cut.
fn large_to_one_port() -> VecBuffer {
    let mut whole = packet(ip("10.1.0.2"), ip("10.7.0.2"), &[7; 1472]);
    whole[6] = 0;
    super::bad_input::reseal_header(&mut whole);
    frame(host_mac(1), mac(1, LAN), &whole)
}

fn not_agreed_pair(outer_v6: bool, ports: bool, df: DfHandling) -> (Gateway, Gateway) {
    changed_pair(Kind { outer_v6, ..Kind::PLAIN }, |spec| {
        (spec.handling.later_fragments, spec.handling.df) = (false, df);
        let to_site_7 = match spec.direction {
            Direction::Outbound => &mut spec.remote_ts,
            Direction::Inbound => &mut spec.local_ts,
        };
        for ts in to_site_7.iter_mut().filter(|_| ports) {
            (ts.protocol, ts.ports) = (Some(protocol::UDP), PortRange::single(2000));
        }
    })
}

/// RFC 4301 §7.3: through an SA of certain ports only where the peers have agreed.
#[test]
fn without_leave_to_send_fragments_the_tunnel_packet_is_cut() {
    for outer_v6 in [false, true] {
        let (mut a, mut b) = not_agreed_pair(outer_v6, true, DfHandling::Copy);
        a.receive(SECOND, LAN, [large_to_one_port()]);
        let wire = a.sent();
        assert_eq!((wire.len(), a.count(WorkerCounter::SealedPackets)), (2, 1), "v6 {outer_v6}");
        let got = through(&mut b, WAN, wire);
        assert_eq!((got.len(), inner(&got[0]).len()), (1, 1500));
        // What its sender has cut is put together first; the last router cuts it again.
        let wire = through(&mut a, LAN, pieces_to(2000));
        assert_eq!((wire.len(), a.house.counters().get(WorkerCounter::SealedPackets)), (2, 1), "v6 {outer_v6}");
        let got = through(&mut b, WAN, wire);
        let payload: usize = got.iter().map(|piece| inner(piece).len() - 20).sum();
        assert_eq!((got.len(), payload), (2, 1708));
        assert_eq!((a.all_drops(), b.all_drops()), (0, 0));
    }
    // No port is asked for: each piece goes by itself.
    let (mut a, _) = not_agreed_pair(false, false, DfHandling::Copy);
    a.receive(SECOND, LAN, [large_to_one_port()]);
    assert_eq!((a.sent().len(), a.count(WorkerCounter::SealedPackets)), (2, 2));
    assert_eq!(through(&mut a, LAN, pieces_to(2000)).len(), 3);
}

#[test]
fn without_leave_to_cut_anything_it_is_dropped_and_named() {
    let (mut a, _) = not_agreed_pair(false, true, DfHandling::Set);
    assert_eq!(a.receive_one(LAN, large_to_one_port()), Some(DropReason::FragmentNotAgreed));
    assert!(through(&mut a, LAN, pieces_to(2000)).is_empty());
    assert_eq!(house_drops(&a, DropReason::FragmentNotAgreed), 1);
    // Who forbids it is told, as ever.
    assert_eq!(told(&mut a, SECOND, false), None, "fits");
    a.receive(SECOND, LAN, [frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip("10.7.0.2"), &[7; 1472]))]);
    assert_eq!(icmp_of(inner(&settle(&mut a, SECOND)[0].1)).2, 3);
    // Of another port than the SA's, what it was.
    assert!(through(&mut a, LAN, pieces_to(2001)).is_empty());
    assert_eq!(house_drops(&a, DropReason::OutboundSelectorMismatch), 1);
}
