//! What goes in at one gateway comes out at the other.

use super::rig::*;
use crate::testing::VecBuffer;
use crate::{Buffer, Origin, PortId, Punt};
use culvert_link::SaSlot;
use culvert_link::record::Command;
use culvert_model::*;
use culvert_telemetry::{DropReason, SaCounter, WorkerCounter};
use culvert_wire::{EtherType, checksum, ethernet, ipv4, ipv6, protocol, udp};

fn hop_limit(packet: &[u8]) -> u8 {
    packet[if packet[0] >> 4 == 6 { 7 } else { 8 }]
}

/// A packet from host 1 to host 7, through both gateways.
fn through(a: &mut Gateway, b: &mut Gateway, kind: Kind, v6: bool, payload: &[u8]) {
    let (source, destination) = if v6 { (ip("fd00:1::2"), ip("fd00:7::2")) } else { (ip("10.1.0.2"), ip("10.7.0.2")) };
    let sent = packet(source, destination, payload);
    assert_eq!(a.receive_one(LAN, frame(host_mac(1), mac(1, LAN), &sent)), None, "{kind:?}");
    let wire = a.sent().pop().unwrap();
    check_wire(&wire, kind, payload);
    assert_eq!(b.receive_one(WAN, wire), None, "{kind:?}, {} octets", payload.len());
    let got = b.sent().pop().unwrap();
    let (link, _) = ethernet::Repr::parse(got.data()).unwrap();
    assert_eq!((link.source, link.destination), (mac(7, LAN), host_mac(7)));
    let got = inner(&got);
    assert_eq!(hop_limit(got), 62);
    if v6 {
        assert_eq!((&got[..7], &got[8..]), (&sent[..7], &sent[8..]));
    } else {
        assert!(checksum::Sum::new().add_bytes(&got[..20]).is_valid());
        assert_eq!((&got[..8], &got[9..10], &got[12..]), (&sent[..8], &sent[9..10], &sent[12..]));
    }
}

/// What the wan sees: the outer header as it should be, and nothing of the inside.
fn check_wire(wire: &VecBuffer, kind: Kind, payload: &[u8]) {
    let (link, packet) = ethernet::Repr::parse(wire.data()).unwrap();
    assert_eq!((link.source, link.destination), (mac(1, WAN), mac(7, WAN)));
    if payload.len() >= 8 {
        assert!(!packet.windows(payload.len().min(16)).any(|window| payload.starts_with(window)));
    }
    let (next, upper) = if kind.outer_v6 {
        assert_eq!(link.ether_type, EtherType::IPV6);
        let (header, payload) = ipv6::Header::parse(packet).unwrap();
        assert_eq!(
            (header.traffic_class(), header.hop_limit(), header.payload_len() as usize),
            (0xb8, 64, payload.len())
        );
        (header.next_header(), payload)
    } else {
        assert_eq!(link.ether_type, EtherType::IPV4);
        let (header, payload) = ipv4::Header::parse(packet, ipv4::ChecksumMode::Verify).unwrap();
        assert_eq!((header.tos(), header.ttl(), header.dont_fragment()), (0xb8, 64, true));
        assert_eq!(packet.len(), usize::from(header.total_len()));
        (header.protocol(), payload)
    };
    if !kind.udp {
        return assert_eq!(next, protocol::ESP);
    }
    assert_eq!(next, protocol::UDP);
    let (header, payload) = udp::Repr::parse(upper).unwrap();
    assert_eq!((header.source_port, header.destination_port), (4500, 4500));
    if kind.outer_v6 {
        header.verify(outer(1, true), outer(7, true), payload).unwrap();
    } else {
        assert_eq!(header.checksum, 0);
    }
}

#[test]
fn every_kind_of_sa_carries_both_families() {
    for kind in Kind::all() {
        let (mut a, mut b) = pair(kind);
        for v6 in [false, true] {
            for len in [0, 1, 2, 3, 4, 5, 63, 500, 1300] {
                through(&mut a, &mut b, kind, v6, &vec![0x5a; len]);
            }
        }
        assert_eq!((a.all_drops(), b.all_drops()), (0, 0));
        assert_eq!(a.count(WorkerCounter::SealedPackets), 18);
        assert_eq!(b.count(WorkerCounter::OpenedPackets), 18);
        assert_eq!(a.count(WorkerCounter::SealedBytes), b.count(WorkerCounter::OpenedBytes));
    }
}

fn slot_of(gateway: &Gateway, direction: Direction) -> impl std::ops::Deref<Target = SaSlot> {
    let all = (0..gateway.region.slots()).filter_map(|i| gateway.region.slot(SlotIndex(i)));
    all.into_iter().find(|slot| slot.direction() == Some(direction) && slot.spi().is_some()).unwrap()
}

#[test]
fn a_burst_takes_one_range_of_numbers_and_slots_count() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    a.receive(5 * SECOND, LAN, (0..32).map(|i| from_host(&[i; 10])));
    let wire = a.sent();
    let numbers: Vec<u32> = wire.iter().map(|f| u32::from_be_bytes(inner(f)[24..28].try_into().unwrap())).collect();
    assert_eq!(numbers, (1..=32).collect::<Vec<u32>>());
    b.receive(5 * SECOND, WAN, wire);
    assert_eq!(b.sent().len(), 32);
    let (out, into) = (slot_of(&a, Direction::Outbound), slot_of(&b, Direction::Inbound));
    assert_eq!((out.sequence(), into.replay_top()), (32, 32));
    for slot in [&*out, &*into] {
        assert_eq!(slot.get(SaCounter::Packets.index()), 32);
        assert_eq!(slot.get(SaCounter::Bytes.index()), 32 * 38);
        assert_eq!(slot.last_used(), 5);
    }
}

#[test]
fn short_numbers_end_and_extended_ones_go_on() {
    let (mut a, _) = pair(Kind::PLAIN);
    let slot = slot_of(&a, Direction::Outbound);
    let top = u64::from(u32::MAX);
    assert!(slot.reserve(u32::MAX - 3).is_some());
    drop(slot);
    a.receive(1, LAN, (0..8).map(|i| from_host(&[i])));
    assert_eq!(a.sent().len(), 3);
    assert_eq!(a.dropped(DropReason::SequenceExhausted), 5);
    assert_eq!(slot_of(&a, Direction::Outbound).sequence(), top);
    // A limit beyond 32 bits, from a broken control, does not make a short counter cycle.
    slot_of(&a, Direction::Outbound).set_limit(u64::MAX);
    a.receive(1, LAN, [from_host(&[9])]);
    assert_eq!((a.sent().len(), a.dropped(DropReason::SequenceExhausted)), (0, 6));
    let kind = Kind { esn: true, ..Kind::PLAIN };
    let (mut a, mut b) = pair(kind);
    assert!(slot_of(&a, Direction::Outbound).reserve(u32::MAX - 3).is_some());
    slot_of(&b, Direction::Inbound).advance_top(top - 3);
    a.receive(1, LAN, (0..8).map(|i| from_host(&[i])));
    b.receive(1, WAN, a.sent());
    assert_eq!((b.sent().len(), b.all_drops()), (8, 0));
    assert_eq!(slot_of(&b, Direction::Inbound).replay_top(), top + 5);
}

#[test]
fn a_dataplane_that_starts_again_repeats_no_number_and_accepts_none_twice() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    let (inbound, outbound) = specs(&a, &b, Kind::PLAIN, 1);
    b.install(&inbound).unwrap();
    a.install(&outbound).unwrap();
    a.receive(1, LAN, (0..10).map(|i| from_host(&[i])));
    let first = a.sent();
    b.receive(1, WAN, first[..9].iter().cloned());
    assert_eq!(b.sent().len(), 9);
    // Both die and come back over the same memory; control states everything again.
    let (mut a, mut b) = (Gateway::over(a.region, 1, 7), Gateway::over(b.region, 7, 1));
    a.protect(7);
    b.protect(1);
    a.apply(Command::Install(outbound)).unwrap();
    b.apply(Command::Install(inbound)).unwrap();
    assert_eq!(b.receive_one(WAN, first[3].clone()), Some(DropReason::ReplayTooOld));
    assert_eq!(b.receive_one(WAN, first[9].clone()), None);
    assert_eq!(a.receive_one(LAN, from_host(b"on")), None);
    assert_eq!(u32::from_be_bytes(inner(&a.sent()[0])[24..28].try_into().unwrap()), 11);
}

#[test]
fn rekeying_loses_nothing() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    a.receive(1, LAN, [from_host(b"old")]);
    let old = a.sent();
    let (inbound, outbound) = specs(&a, &b, Kind { suite: Suite::AES256_GCM16, ..Kind::PLAIN }, 50);
    b.install(&inbound).unwrap();
    a.install(&outbound).unwrap();
    a.receive(1, LAN, [from_host(b"new")]);
    let new = a.sent();
    assert_ne!(inner(&old[0])[20..24], inner(&new[0])[20..24]);
    b.receive(1, WAN, new.into_iter().chain(old));
    assert_eq!((b.sent().len(), b.all_drops()), (2, 0));
}

#[test]
fn without_an_sa_an_acquire_a_second() {
    let mut a = Gateway::new(1, 7);
    a.protect(7);
    a.receive(10 * SECOND, LAN, (0..40).map(|i| from_host(&[i])));
    a.receive(10 * SECOND + SECOND / 2, LAN, [from_host(b"early")]);
    assert_eq!((a.io.punts.len(), a.dropped(DropReason::NoSa)), (1, 41));
    a.receive(11 * SECOND + 1, LAN, [from_host(b"later")]);
    assert!(a.sent().is_empty());
    let flows: Vec<_> =
        a.io.punts
            .iter()
            .map(|punt| match punt {
                Punt::Acquire { child: CHILD, flow, .. } => (flow.destination, flow.destination_port),
                other => panic!("{other:?}"),
            })
            .collect();
    assert_eq!(flows, [(ip("10.7.0.2"), Some(2000)); 2]);
}

#[test]
fn before_the_first_policies_nothing_moves() {
    let mut a = Gateway::new(1, 7);
    assert_eq!(a.receive_one(LAN, from_host(b"x")), Some(DropReason::InterfaceDown));
    a.apply(Command::BeginSync).unwrap();
    let bypass = Policy {
        id: PolicyId(1),
        direction: PolicyDirection::Outbound,
        priority: 1,
        local: vec![TrafficSelector::any(AddrRange::ANY_V4)],
        remote: vec![TrafficSelector::any(AddrRange::ANY_V4)],
        action: Action::Bypass,
        interface: None,
        pfp: Pfp::NONE,
    };
    a.apply(Command::SetPolicy(bypass)).unwrap();
    assert_eq!(a.receive_one(LAN, from_host(b"x")), Some(DropReason::InterfaceDown));
    a.apply(Command::EndSync).unwrap();
    // The next hop of the default route is not resolved.
    assert_eq!(a.receive_one(LAN, from_host(b"x")), None);
    assert!(matches!(a.io.punts[..], [Punt::Unresolved { port: WAN, .. }]));
}

#[test]
fn bypass_forwards_and_discard_drops() {
    let mut a = Gateway::new(1, 7);
    let policy = |id, priority, remote: &str, action| Policy {
        id: PolicyId(id),
        direction: PolicyDirection::Outbound,
        priority,
        local: lans(1),
        remote: vec![net(remote)],
        action,
        interface: None,
        pfp: Pfp::NONE,
    };
    a.policies([policy(1, 20, "192.0.2.0/24", Action::Bypass), policy(2, 10, "192.0.2.9/32", Action::Discard)]);
    let to = |addr: &str| frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip(addr), b"clear"));
    assert_eq!(a.receive_one(LAN, to("192.0.2.7")), None);
    let sent = a.sent().pop().unwrap();
    assert_eq!(ipv4::Header::parse(inner(&sent), ipv4::ChecksumMode::Verify).unwrap().0.ttl(), 63);
    assert_eq!(a.receive_one(LAN, to("192.0.2.9")), Some(DropReason::PolicyDiscard));
    assert_eq!(a.receive_one(LAN, to("198.51.100.1")), Some(DropReason::NoPolicy));
    assert_eq!(a.count(WorkerCounter::BypassedPackets), 1);
}

#[test]
fn too_big_and_too_old_are_told() {
    let (mut a, _) = pair(Kind::PLAIN);
    // 1500 - 20 - 16 - 16 = 1448; 1446 is the largest with its trailer.
    let fits = vec![0; 1446 - 28];
    assert_eq!(a.receive_one(LAN, from_host(&fits)), None);
    assert_eq!(inner(&a.sent()[0]).len(), 1500);
    assert_eq!(a.receive_one(LAN, from_host(&[fits, vec![0]].concat())), None);
    assert!(matches!(a.io.punts.pop(), Some(Punt::TooBig { port: LAN, origin: Origin::Clear, mtu: 1446, .. })));
    let mut dying = packet(ip("10.1.0.2"), ip("10.7.0.2"), b"x");
    dying[8] = 1;
    dying[10..12].fill(0);
    let sum = checksum::of(&dying[..20]).to_be_bytes();
    dying[10..12].copy_from_slice(&sum);
    assert_eq!(a.receive_one(LAN, frame(host_mac(1), mac(1, LAN), &dying)), None);
    assert!(matches!(a.io.punts.pop(), Some(Punt::TtlExceeded { port: LAN, origin: Origin::Clear, .. })));
    assert!(a.sent().is_empty());
}

#[test]
fn a_hub_seals_again_what_it_opened() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    // Site 7 is the hub: what comes from site 1 for 10.9/16 goes on through another child, here back to site 1.
    let far = ChildId(5);
    let local = vec![net("10.1.0.0/16")];
    let remote = vec![net("10.9.0.0/16")];
    let extra = Policy {
        id: PolicyId(9),
        direction: PolicyDirection::Outbound,
        priority: 1,
        local: local.clone(),
        remote: remote.clone(),
        action: Action::Protect { child: far, trap: false },
        interface: None,
        pfp: Pfp::NONE,
    };
    b.apply(Command::SetPolicy(extra)).unwrap();
    let (_, mut outbound) = specs(&b, &a, Kind::PLAIN, 77);
    (outbound.child, outbound.local_ts, outbound.remote_ts) = (far, local, remote.clone());
    b.install(&outbound).unwrap();
    let (mut inbound, mut first) = specs(&a, &b, Kind::PLAIN, 33);
    inbound.local_ts = remote.clone();
    first.remote_ts = remote.clone();
    b.install(&inbound).unwrap();
    a.install(&first).unwrap();
    a.apply(Command::SetPolicy(Policy {
        id: PolicyId(9),
        direction: PolicyDirection::Outbound,
        priority: 1,
        local: lans(1),
        remote,
        action: Action::Protect { child: CHILD, trap: false },
        interface: None,
        pfp: Pfp::NONE,
    }))
    .unwrap();
    let sent = packet(ip("10.1.0.2"), ip("10.9.0.2"), b"around");
    assert_eq!(a.receive_one(LAN, frame(host_mac(1), mac(1, LAN), &sent)), None);
    let wire = a.sent().pop().unwrap();
    assert_eq!(b.receive_one(WAN, wire), None);
    let again = b.sent().pop().unwrap();
    assert_eq!(inner(&again)[20..24], outbound.spi.to_be_bytes());
    assert_eq!(b.count(WorkerCounter::SealedPackets), 1);
}

#[test]
fn a_peer_behind_a_nat_may_move() {
    let (mut a, mut b) = pair(Kind { udp: true, ..Kind::PLAIN });
    a.receive(1, LAN, [from_host(b"1"), from_host(b"2")]);
    for (frame, port) in a.sent().into_iter().zip([1024u16, 1025]) {
        let mut frame = frame;
        frame.data_mut()[34..36].copy_from_slice(&port.to_be_bytes());
        assert_eq!(b.receive_one(WAN, frame), None);
    }
    assert_eq!(b.sent().len(), 2);
    let seen: Vec<_> = b.io.punts.iter().collect();
    assert!(
        matches!(seen[..], [Punt::NatMapping { remote, .. }] if remote.to_string() == "192.0.2.1:1024"),
        "{seen:?}"
    );
}

#[test]
fn ports_are_where_they_are() {
    let mut a = Gateway::new(1, 7);
    a.policies([]);
    assert_eq!(a.receive_one(PortId(9), from_host(b"x")), Some(DropReason::InterfaceDown));
}

#[test]
fn fragments_of_the_inside_pass_where_no_port_is_asked_for() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    let mut fragment = packet(ip("10.1.0.2"), ip("10.7.0.2"), b"the middle of something");
    // Offset 8, more to come, and no DF.
    (fragment[6], fragment[7]) = (0x20, 1);
    fragment[10..12].fill(0);
    let sum = checksum::of(&fragment[..20]).to_be_bytes();
    fragment[10..12].copy_from_slice(&sum);
    assert_eq!(a.receive_one(LAN, frame(host_mac(1), mac(1, LAN), &fragment)), None);
    let wire = a.sent().pop().unwrap();
    let (outer, _) = ipv4::Header::parse(inner(&wire), ipv4::ChecksumMode::Verify).unwrap();
    // RFC 4301 §8.1 and RFC 6864 §4.1: DF as inside, and without it an identification.
    assert_eq!((outer.dont_fragment(), outer.is_fragment(), outer.identification()), (false, false, 1));
    assert_eq!(b.receive_one(WAN, wire), None);
    assert_eq!(inner(&b.sent()[0])[20..], fragment[20..]);
}

#[test]
fn what_may_be_fragmented_goes_in_pieces_each_sealed() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    let mut big = packet(ip("10.1.0.2"), ip("10.7.0.2"), &[0x5a; 1450]);
    // No DF.
    big[6] = 0;
    big[10..12].fill(0);
    let sum = checksum::of(&big[..20]).to_be_bytes();
    big[10..12].copy_from_slice(&sum);
    a.receive(1, LAN, [frame(host_mac(1), mac(1, LAN), &big)]);
    let wire = a.sent();
    assert_eq!((wire.len(), a.all_drops()), (2, 0));
    assert!(wire.iter().all(|frame| inner(frame).len() <= 1500));
    b.receive(1, WAN, wire);
    let pieces = b.sent();
    let data: Vec<u8> = pieces.iter().flat_map(|frame| inner(frame)[20..].to_vec()).collect();
    assert_eq!(data, big[20..]);
    assert_eq!(b.all_drops(), 0);
}

#[test]
fn a_wrong_header_checksum_is_a_drop() {
    let (mut a, _) = pair(Kind::PLAIN);
    let mut wrong = from_host(b"x");
    wrong.data_mut()[24] ^= 0xff;
    assert_eq!(a.receive_one(LAN, wrong), Some(DropReason::Ipv4Checksum));
}

#[test]
fn a_burst_of_many_sas_is_one_burst() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    let remote = |n: u32| vec![net(&format!("10.7.{n}.0/24"))];
    let policy = |n: u32| Policy {
        id: PolicyId(n),
        direction: PolicyDirection::Outbound,
        priority: n,
        local: lans(1),
        remote: remote(n),
        action: Action::Protect { child: ChildId(n), trap: false },
        interface: None,
        pfp: Pfp::NONE,
    };
    a.policies((0..32).map(policy));
    b.policies([]);
    for n in 0..32u32 {
        let (mut inbound, mut outbound) = specs(&a, &b, Kind { esn: n % 2 == 0, ..Kind::PLAIN }, n as u8);
        (inbound.child, outbound.child) = (ChildId(n), ChildId(n));
        (inbound.local_ts, outbound.remote_ts) = (remote(n), remote(n));
        b.install(&inbound).unwrap();
        a.install(&outbound).unwrap();
    }
    let to = |n: u32| packet(ip("10.1.0.2"), ip(&format!("10.7.{n}.9")), &n.to_be_bytes());
    a.receive(1, LAN, (0..32).map(|n| frame(host_mac(1), mac(1, LAN), &to(n))));
    let wire = a.sent();
    let mut spis: Vec<_> = wire.iter().map(|f| inner(f)[20..24].to_vec()).collect();
    spis.sort_unstable();
    spis.dedup();
    assert_eq!((wire.len(), spis.len()), (32, 32));
    b.receive(1, WAN, wire);
    // Nobody has asked for these hosts yet.
    let opened = b.io.punts.iter().filter(|punt| matches!(punt, Punt::Unresolved { port: LAN, .. })).count();
    assert_eq!((opened, b.all_drops()), (32, 0));
}
