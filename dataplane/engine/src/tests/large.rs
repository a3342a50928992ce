//! Datagrams larger than a packet buffer: put together, opened, sealed, cut, and never left lying in a large buffer.

use super::answers::{house_drops, icmp_of};
use super::fragments::{
    cut, cut_into, house_all, joined, large_datagram_in_pieces, large_echo, receive_all, routed_pair,
};
use super::path_mtu::changed_pair;
use super::rig::*;
use crate::io::LARGEST;
use crate::testing::VecBuffer;
use crate::{Buffer, Origin, Punt, Purpose};
use arrayvec::ArrayVec;
use culvert_link::record::{Command, Datagram};
use culvert_model::*;
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::{EtherType, Mac, arp, checksum, ethernet, ike, ipv4, protocol};
use proptest::prelude::*;

/// Two gateways that cut when asked.
fn pair_that_cuts(when: FragmentWhen, kind: Kind) -> (Gateway, Gateway) {
    changed_pair(kind, |spec| spec.handling.fragment = when)
}

/// UDP over IPv4 that may be fragmented, in a large buffer as the host's stack would give it.
fn own_datagram(source: &str, destination: &str, total: usize) -> VecBuffer {
    let payload: Vec<u8> = (0..total - 28).map(|at| (at ^ at >> 8) as u8).collect();
    let mut whole = packet(ip(source), ip(destination), &payload);
    (whole[5], whole[6]) = (9, 0);
    whole[10..12].fill(0);
    let sum = checksum::of(&whole[..20]).to_be_bytes();
    whole[10..12].copy_from_slice(&sum);
    let mut buffer = VecBuffer::large(total).unwrap();
    buffer.append(total).unwrap().copy_from_slice(&whole);
    buffer
}

/// What leaves when the gateway's own host sends this.
fn from_own_host(gateway: &mut Gateway, packet: VecBuffer) -> Vec<VecBuffer> {
    let mut burst = ArrayVec::new();
    burst.push(packet);
    gateway.house.handle_host(SECOND, &mut burst, &mut gateway.io);
    gateway.sent()
}

/// As their destination puts them together, in whatever order they came.
fn whole_of(frames: &[VecBuffer]) -> VecBuffer {
    let mut pieces: Vec<VecBuffer> = frames.iter().map(|piece| VecBuffer::new(inner(piece))).collect();
    pieces.sort_by_key(|piece| {
        let packet = piece.data();
        let at = if packet[0] >> 4 == 6 { 42 } else { 6 };
        let place = u16::from_be_bytes([packet[at], packet[at + 1]]);
        if at == 6 { place & 0x1fff } else { place >> 3 }
    });
    joined(pieces)
}

fn nothing_was_dropped(gateway: &Gateway) -> bool {
    gateway.all_drops() + house_all(gateway) == 0
}

/// From host 1 to host 7, through a sealed packet as large as the sizes are.
fn through_sealed_whole(kind: Kind, total: usize) {
    let (mut a, mut b) = pair_that_cuts(FragmentWhen::After, kind);
    let sent = own_datagram("10.1.0.1", "10.7.0.2", total);
    let mut wire = from_own_host(&mut a, sent.clone());
    assert!(wire.iter().all(|piece| inner(piece).len() <= 1500));
    let sealed = a.house.counters().get(WorkerCounter::SealedPackets);
    // What is too large with its headers was cut before.
    assert_eq!(sealed == 1, total <= 65_000, "{total}");
    let pieces = wire.len();
    wire.rotate_left(pieces / 3);
    let got = receive_all(&mut b, SECOND, WAN, wire);
    assert!(got.iter().all(|piece| inner(piece).len() <= 1500));
    assert!(whole_of(&got).data()[20..] == sent.data()[20..], "{kind:?} {total}");
    assert!(nothing_was_dropped(&a) && nothing_was_dropped(&b));
}

#[test]
fn a_large_packet_sealed_whole_is_opened_whole() {
    for kind in Kind::all() {
        for total in [9_000, 60_000, 65_000] {
            through_sealed_whole(kind, total);
        }
    }
    for total in [3_000, 64_999, 65_001, 65_300, 65_534, 65_535] {
        through_sealed_whole(Kind::PLAIN, total);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_size_arrives(total in 1_000usize..=65_535, udp: bool, outer_v6: bool) {
        through_sealed_whole(Kind { udp, outer_v6, ..Kind::PLAIN }, total);
    }
}

/// The host of site 1 asks the box of site 7, through the tunnel, and the answer comes back.
#[test]
fn a_large_ping_through_the_tunnel_is_answered_in_both_modes() {
    for when in [FragmentWhen::Before, FragmentWhen::After] {
        for (source, destination) in [("10.1.0.2", "10.7.0.1"), ("fd00:1::2", "fd00:7::1")] {
            for outer_v6 in [false, true] {
                let (mut a, mut b) = pair_that_cuts(when, Kind { outer_v6, ..Kind::PLAIN });
                let request = large_echo(ip(source), ip(destination), 60_000);
                let pieces = cut(&frame(host_mac(1), mac(1, LAN), &request), 1400);
                let wire = receive_all(&mut a, SECOND, LAN, pieces);
                let answer = receive_all(&mut b, SECOND, WAN, wire);
                let back = receive_all(&mut a, SECOND, WAN, answer);
                let whole = whole_of(&back);
                let (from, to, kind) = icmp_of(whole.data());
                assert_eq!((from, to), (ip(destination), ip(source)), "{when:?}");
                assert_eq!(kind, if from.is_ipv6() { 129 } else { 0 });
                assert!(whole.data().ends_with(&[0x42; 60_000]));
                assert!(nothing_was_dropped(&a) && nothing_was_dropped(&b), "{when:?} {source}");
            }
        }
    }
}

#[test]
fn a_large_datagram_follows_the_policy_of_its_ports() {
    for is_v6 in [false, true] {
        // By the least MTU there can be more pieces than by Ethernet's.
        for mtu in if is_v6 { [1400, 1280] } else { [1500, 576] } {
            let (mut a, mut b) = routed_pair();
            let (whole, mut pieces) = large_datagram_in_pieces(is_v6, 2000, 60_000, mtu);
            let count = pieces.len();
            pieces.rotate_right(count / 2);
            let wire = receive_all(&mut a, SECOND, LAN, pieces);
            assert!(wire.iter().all(|piece| inner(piece)[9] == protocol::ESP));
            let got = receive_all(&mut b, SECOND, WAN, wire);
            let at = if is_v6 { 40 } else { 20 };
            assert!(whole_of(&got).data()[at..] == whole[at..]);
            assert!(nothing_was_dropped(&a) && nothing_was_dropped(&b));
            assert_eq!((a.io.large_taken, b.io.large_taken), (0, 0), "nobody needed the whole in one piece");
        }
    }
}

#[test]
fn the_box_gets_large_pings_and_its_host_large_datagrams() {
    for is_v6 in [false, true] {
        let (_, mut b) = pair(Kind::PLAIN);
        b.io.host = Some(Vec::new());
        let request = large_echo(outer(1, is_v6), outer(7, is_v6), 60_000);
        let answer = receive_all(&mut b, SECOND, WAN, cut(&frame(mac(1, WAN), mac(7, WAN), &request), 1500));
        let whole = whole_of(&answer);
        assert_eq!(icmp_of(whole.data()).2, if is_v6 { 129 } else { 0 });
        assert!(whole.data().ends_with(&[0x42; 60_000]));
        // One for the request, one for the answer.
        assert_eq!(b.io.large_taken, 2);

        let mut datagram = packet(outer(1, is_v6), outer(7, is_v6), &[0x77; 60_000]);
        if !is_v6 {
            datagram[6] = 0;
        }
        assert!(receive_all(&mut b, SECOND, WAN, cut(&frame(mac(1, WAN), mac(7, WAN), &datagram), 1500)).is_empty());
        let given = b.io.host.replace(Vec::new()).unwrap();
        let at = if is_v6 { 40 } else { 20 };
        assert!(given.len() == 1 && given[0].data()[at..] == datagram[at..]);
        assert!(nothing_was_dropped(&b));
    }
}

#[test]
fn what_would_be_longer_than_a_datagram_can_be_is_refused() {
    let (_, mut b) = pair(Kind::PLAIN);
    let piece = |offset: u16, more: bool, len: u16, options: usize| {
        let header = ipv4::Repr::new([192, 0, 2, 1].into(), [192, 0, 2, 7].into(), protocol::ESP, len + options as u16);
        let header = ipv4::Repr { fragment_offset: offset, more_fragments: more, ..header };
        let mut packet = [&header.to_bytes_without_checksum()[..], &vec![1; options], &vec![0; len.into()]].concat();
        packet[0] = 0x45 + (options / 4) as u8;
        let sum = checksum::of(&packet[..20 + options]).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
        frame(mac(1, WAN), mac(7, WAN), &packet)
    };
    // An end beyond 65,535 octets, and the ping of death: it would only show when the whole is put together.
    assert!(receive_all(&mut b, SECOND, WAN, vec![piece(65_528, false, 8, 0)]).is_empty());
    assert_eq!((b.all_drops(), house_all(&b)), (1, 0));
    let mut long: Vec<VecBuffer> =
        (0..64).map(|at| piece(at * 1016, true, 1016, if at == 0 { 40 } else { 0 })).collect();
    long.push(piece(64 * 1016, false, 65_515 - 64 * 1016, 0));
    assert!(receive_all(&mut b, SECOND, WAN, long).is_empty());
    assert_eq!((house_drops(&b, DropReason::FragmentOversized), b.io.large_taken), (1, 0));
    // Pieces that lie about where they are, of a large one: an end before what was already there.
    let lies = vec![piece(0, true, 1400, 0), piece(60_000, true, 1400, 0), piece(1400, false, 1400, 0)];
    assert!(receive_all(&mut b, 2 * SECOND, WAN, lies).is_empty());
    assert_eq!((house_drops(&b, DropReason::FragmentMalformed), b.io.large_taken), (3, 0));
}

#[test]
fn without_a_large_buffer_only_large_datagrams_are_lost() {
    let (mut a, mut b) = pair_that_cuts(FragmentWhen::After, Kind::PLAIN);
    b.io.large = Some(0);
    let wire = from_own_host(&mut a, own_datagram("10.1.0.1", "10.7.0.2", 60_000));
    assert!(receive_all(&mut b, SECOND, WAN, wire).is_empty());
    assert_eq!((house_drops(&b, DropReason::NoLargeBuffer), house_all(&b)), (1, 1));
    // One that fits an ordinary buffer.
    let wire = from_own_host(&mut a, own_datagram("10.1.0.1", "10.7.0.2", 1490));
    assert!(wire.len() == 2 && receive_all(&mut b, SECOND, WAN, wire).len() == 1);
    // An answer that finds none.
    b.io.large = Some(1);
    let request = large_echo(outer(1, false), outer(7, false), 60_000);
    let pieces = cut(&frame(mac(1, WAN), mac(7, WAN), &request), 1500);
    assert!(receive_all(&mut b, SECOND, WAN, pieces).is_empty());
    assert_eq!((house_drops(&b, DropReason::NoLargeBuffer), house_all(&b)), (2, 2));
    // The pool runs dry while the pieces of the whole are cut: some went, and the packet counts once.
    b.io.large = None;
    b.io.buffers = Some(40);
    let wire = from_own_host(&mut a, own_datagram("10.1.0.1", "10.7.0.2", 60_000));
    assert_eq!(receive_all(&mut b, SECOND, WAN, wire).len(), 32);
    assert_eq!((house_drops(&b, DropReason::NoBuffer), house_all(&b)), (1, 3));
}

#[test]
fn a_flood_of_halves_takes_no_large_buffer_and_keeps_no_whole_out() {
    let (mut a, mut b) = pair_that_cuts(FragmentWhen::After, Kind::PLAIN);
    let mut number = 0u16;
    let mut halves = || {
        number = number.wrapping_add(1);
        let mut packet = own_datagram("198.51.100.66", "192.0.2.7", 60_000);
        packet.data_mut()[4..6].copy_from_slice(&number.to_be_bytes());
        let mut pieces = cut(&frame(mac(1, WAN), mac(7, WAN), packet.data()), 1500);
        pieces.pop();
        pieces
    };
    let mut flood = 0;
    for round in 0..30 {
        let now = SECOND + round;
        let wire = from_own_host(&mut a, own_datagram("10.1.0.1", "10.7.0.2", 60_000));
        let mut frames = halves();
        flood += 2 * frames.len() as u64;
        frames.extend(wire);
        frames.extend(halves());
        let got = receive_all(&mut b, now, WAN, frames);
        assert_eq!(whole_of(&got).data().len(), 60_000, "round {round}");
    }
    assert_eq!(b.io.large_taken, 30);
    let lost = house_drops(&b, DropReason::FragmentFlood);
    assert!((flood - 256..flood).contains(&lost), "{lost} of {flood}");
    assert_eq!(house_all(&b), lost);
}

#[test]
fn a_large_fragment_waits_in_ordinary_buffers() {
    let (_, mut b) = pair(Kind::PLAIN);
    b.io.host = Some(Vec::new());
    // Two fragments as a tunnel may bring them: each sealed whole, put together, and opened in a large buffer.
    let whole = own_datagram("10.1.0.2", "10.7.0.1", 60_000);
    for last in [false, true] {
        let at = if last { 20 + 40_000 } else { 20 };
        let end = if last { 60_000 } else { 20 + 40_000 };
        let mut piece = VecBuffer::large(end).unwrap();
        piece.append(20).unwrap().copy_from_slice(&whole.data()[..20]);
        piece.append(end - at).unwrap().copy_from_slice(&whole.data()[at..end]);
        let packet = piece.data_mut();
        let len = (packet.len() as u16).to_be_bytes();
        packet[2..4].copy_from_slice(&len);
        let flags: u16 = if last { 40_000 / 8 } else { 0x2000 };
        packet[6..8].copy_from_slice(&flags.to_be_bytes());
        packet[10..12].fill(0);
        let sum = checksum::of(&packet[..20]).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
        let punt = Punt::Fragment { port: WAN, origin: Origin::Tunnel, purpose: Purpose::Box, packet: piece };
        b.house.handle_punt(SECOND, punt, &mut b.io);
        assert!(b.house.fragments.waiting().all(|piece| piece.room() < LARGEST));
        assert_eq!(b.house.fragments.waiting().count(), if last { 0 } else { 32 });
    }
    assert!(b.io.host.replace(Vec::new()).unwrap()[0].data()[20..] == whole.data()[20..]);
    // Over IPv6 only its source may cut it.
    let mut six = VecBuffer::large(60_000).unwrap();
    let header = culvert_wire::ipv6::Repr::new([1; 16].into(), [2; 16].into(), protocol::FRAGMENT, 30_008);
    six.append(40).unwrap().copy_from_slice(&header.to_bytes());
    let fragment =
        culvert_wire::ipv6::Fragment { next_header: protocol::UDP, offset: 0, more: true, identification: 1 };
    six.append(8).unwrap().copy_from_slice(&fragment.to_bytes());
    six.append(30_000).unwrap().fill(0);
    let punt = Punt::Fragment { port: WAN, origin: Origin::Tunnel, purpose: Purpose::Box, packet: six };
    b.house.handle_punt(SECOND, punt, &mut b.io);
    assert_eq!((house_drops(&b, DropReason::FragmentOversized), house_all(&b)), (1, 1));
    assert_eq!(b.house.fragments.waiting().count(), 0);
}

#[test]
fn what_waits_for_a_neighbour_waits_in_ordinary_buffers() {
    let (_, mut b) = pair(Kind::PLAIN);
    b.house.tick(0, &mut b.io);
    b.io.sent.clear();
    let request = large_echo(ip("10.7.0.88"), ip("10.7.0.1"), 60_000);
    let asked = receive_all(&mut b, SECOND, LAN, cut(&frame(host_mac(7), mac(7, LAN), &request), 1500));
    let question = ethernet::Repr::parse(asked[0].data()).unwrap().0;
    assert_eq!((asked.len(), question.ether_type), (1, EtherType::ARP));
    let late = Mac([2, 8, 8, 8, 8, 8]);
    let answer = arp::Repr {
        operation: arp::Operation::Reply,
        sender_mac: late,
        sender: "10.7.0.88".parse().unwrap(),
        target_mac: mac(7, LAN),
        target: "10.7.0.1".parse().unwrap(),
    };
    let header = ethernet::Repr { destination: mac(7, LAN), source: late, ether_type: EtherType::ARP };
    let answer = VecBuffer::new(&[&header.to_bytes()[..], &answer.to_bytes()].concat());
    let got = receive_all(&mut b, SECOND, LAN, vec![answer]);
    assert!(got.iter().all(|frame| frame.room() < LARGEST), "none left in the buffer it came in");
    assert!(whole_of(&got).data().ends_with(&[0x42; 60_000]));
    assert!(nothing_was_dropped(&b));
}

/// A hub opens what site 1 sealed whole and seals it again, whole, in the same buffer.
#[test]
fn a_hub_seals_a_large_packet_again() {
    for total in [60_000, 65_000] {
        let suites = Suite::all().filter(|suite| suite.protocol() == IpsecProtocol::Esp);
        for suite in suites {
            let kind = Kind { suite, udp: true, outer_v6: true, ..Kind::PLAIN };
            let (mut a, mut b) = pair_that_cuts(FragmentWhen::After, kind);
            let remote = vec![net("10.9.0.0/16")];
            let policy = |child, local: Vec<TrafficSelector>| Policy {
                id: PolicyId(9),
                direction: PolicyDirection::Outbound,
                priority: 1,
                local,
                remote: remote.clone(),
                action: Action::Protect { child, trap: false },
                interface: None,
                pfp: Pfp::NONE,
            };
            let far = ChildId(5);
            a.apply(Command::SetPolicy(policy(CHILD, lans(1)))).unwrap();
            b.apply(Command::SetPolicy(policy(far, lans(1)))).unwrap();
            let (mut inbound, mut first) = specs(&a, &b, kind, 33);
            (inbound.local_ts, first.remote_ts) = (remote.clone(), remote.clone());
            first.handling.fragment = FragmentWhen::After;
            b.install(&inbound).unwrap();
            a.install(&first).unwrap();
            let (_, mut second) = specs(&b, &a, kind, 77);
            (second.child, second.local_ts, second.remote_ts) = (far, lans(1), remote.clone());
            second.handling.fragment = FragmentWhen::After;
            b.install(&second).unwrap();
            let wire = from_own_host(&mut a, own_datagram("10.1.0.1", "10.9.0.2", total));
            let again = receive_all(&mut b, SECOND, WAN, wire);
            assert_eq!(b.house.counters().get(WorkerCounter::SealedPackets), 1, "{suite} {total}");
            assert!(whole_of(&again).data().len() > total);
            assert!(nothing_was_dropped(&a) && nothing_was_dropped(&b), "{suite} {total}");
        }
    }
}

#[test]
fn control_gets_and_sends_messages_of_any_length() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    for outer_v6 in [false, true] {
        for len in [2_100, 60_000] {
            let message = ike::Repr {
                initiator_spi: 1,
                responder_spi: 0,
                next_payload: 33,
                version: 0x20,
                exchange_type: 34,
                flags: 8,
                message_id: 0,
                length: len,
            };
            let mut payload = message.to_bytes().to_vec();
            payload.resize(len as usize, 0x77);
            let (local, remote) = ((outer(1, outer_v6), 500).into(), (outer(7, outer_v6), 500).into());
            a.house.inject(SECOND, &Datagram { local, remote, payload: payload.clone() }, &mut a.io);
            let pieces = a.sent();
            assert!(receive_all(&mut b, SECOND, WAN, pieces.clone()).is_empty());
            assert_eq!(b.house.poll_datagram(), Some(Datagram { local: remote, remote: local, payload }));
            // While control does not read, few of them wait.
            for _ in 0..40 {
                receive_all(&mut b, SECOND, WAN, pieces.clone());
            }
            assert_eq!(std::iter::from_fn(|| b.house.poll_datagram()).count(), 32);
        }
    }
    assert_eq!(house_drops(&b, DropReason::PuntFull), 4 * 8);
}

/// Over IPv6 only the sender may cut, and is told.
#[test]
fn a_large_ipv6_packet_that_came_sealed_whole_is_told_too_big() {
    let (mut a, mut b) = pair_that_cuts(FragmentWhen::After, Kind { outer_v6: true, ..Kind::PLAIN });
    let mut large = VecBuffer::large(60_000).unwrap();
    let whole = packet(ip("fd00:1::1"), ip("fd00:7::2"), &[7; 50_000]);
    large.append(whole.len()).unwrap().copy_from_slice(&whole);
    let wire = from_own_host(&mut a, large);
    assert!(wire.len() > 30);
    let told = receive_all(&mut b, SECOND, WAN, wire);
    assert_eq!((told.len(), house_drops(&b, DropReason::TooBig)), (1, 1));
    a.receive(SECOND, WAN, told);
    let heard =
        a.io.punts.iter().any(|punt| matches!(punt, Punt::Host { packet, .. } if icmp_of(packet.data()).2 == 2));
    assert!(heard, "{:?}", a.io.punts);
}

#[test]
fn jumbo_frames_pass_sealed_in_one_piece() {
    let jumbo = |site, peer| {
        let mut interfaces = interfaces(site);
        interfaces.iter_mut().for_each(|interface| interface.mtu = 9000);
        Gateway::with(Gateway::new(site, peer).region, site, peer, interfaces, &[])
    };
    let (mut a, mut b) = (jumbo(1, 7), jumbo(7, 1));
    a.protect(7);
    b.protect(1);
    connect(&mut a, &mut b, Kind::PLAIN, 1);
    for total in [1_900, 8_900] {
        let whole = packet(ip("10.1.0.2"), ip("10.7.0.2"), &vec![7; total - 28]);
        let sent = frame(host_mac(1), mac(1, LAN), &whole);
        assert_eq!(a.receive_one(LAN, VecBuffer::with_room(sent.data(), 128, 128)), None);
        let wire = a.sent().pop().unwrap();
        assert!(inner(&wire).len() > total);
        assert_eq!(b.receive_one(WAN, wire), None);
        assert!(inner(&b.sent()[0])[20..] == whole[20..], "{total}");
    }
    // In pieces that no ordinary buffer of other tests would hold.
    let ping = frame(mac(1, WAN), mac(7, WAN), &large_echo(outer(1, false), outer(7, false), 60_000));
    b.io.room = 9216;
    let pieces = cut_into(&ping, 9000, 9216);
    assert_eq!(pieces.len(), 7);
    let answer = receive_all(&mut b, SECOND, WAN, pieces);
    assert_eq!(answer.len(), 7);
    assert!(whole_of(&answer).data().ends_with(&[0x42; 60_000]));
    assert!(nothing_was_dropped(&a) && nothing_was_dropped(&b));
}
