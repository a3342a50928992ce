//! What must not get through, and by which name it is dropped.

use super::rig::*;
use crate::testing::VecBuffer;
use crate::{Buffer, Crypto, Io, Job, MAX_ICV, PortId, Punt, RustCrypto};
use culvert_model::*;
use culvert_telemetry::{DropReason, SaCounter};
use culvert_wire::{Mac, checksum, esp, ethernet, ipv4, protocol, udp};
use proptest::prelude::*;

fn wire_packet(kind: Kind) -> (Gateway, Gateway, VecBuffer) {
    let (mut a, b) = pair(kind);
    assert_eq!(a.receive_one(LAN, from_host(b"some payload, long enough to look at")), None);
    let wire = a.sent().pop().unwrap();
    (a, b, wire)
}

#[test]
fn cut_at_every_length() {
    for kind in Kind::all() {
        let (mut a, mut b, wire) = wire_packet(kind);
        for len in 0..wire.data().len() {
            let reason = b.receive_one(WAN, VecBuffer::new(&wire.data()[..len]));
            assert_eq!(reason, Some(DropReason::Truncated), "{kind:?} cut to {len}");
        }
        assert_eq!(b.receive_one(WAN, wire), None);
        let clear = from_host(b"payload");
        for len in 0..clear.data().len() {
            let reason = a.receive_one(LAN, VecBuffer::new(&clear.data()[..len]));
            assert_eq!(reason, Some(DropReason::Truncated), "cut to {len}");
        }
    }
}

/// An ESP packet cut short whose outer lengths say so.
#[test]
fn esp_cut_at_every_length() {
    let (_, mut b, wire) = wire_packet(Kind::PLAIN);
    for cut in 1..=inner(&wire).len() - ipv4::LEN {
        let mut packet = inner(&wire)[..inner(&wire).len() - cut].to_vec();
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        reseal_header(&mut packet);
        let reason = b.receive_one(WAN, frame(mac(1, WAN), mac(7, WAN), &packet));
        let want = if packet.len() < ipv4::LEN + 36 { DropReason::EspTruncated } else { DropReason::IcvFailed };
        assert_eq!(reason, Some(want), "{} octets", packet.len());
    }
    assert_eq!(b.receive_one(WAN, wire), None);
}

pub(super) fn reseal_header(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = checksum::of(&packet[..20]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
}

#[test]
fn every_octet_flipped() {
    for kind in Kind::all() {
        let (_, mut b, wire) = wire_packet(kind);
        for at in 0..wire.data().len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut flipped = wire.clone();
                flipped.data_mut()[at] ^= bits;
                let reason = b.receive_one(WAN, flipped);
                // A packet that is no ESP any more may go to housekeeping; nothing goes out. Not protected by anything: the sender's Ethernet address; of IPv6 the flow label, hop limit and
                // traffic class; of UDP the checksum and, behind a NAT, the source port.
                let outer = if kind.outer_v6 { 40 } else { 20 };
                let free = (6..12).contains(&at)
                    || (kind.outer_v6 && ((14..18).contains(&at) || at == 21))
                    || (kind.outer_v6 && kind.udp && (22..38).contains(&at))
                    || (kind.udp && (at == 14 + outer || at == 15 + outer || (20 + outer..22 + outer).contains(&at)));
                if !free {
                    let stopped = reason.is_some() || b.io.sent.is_empty();
                    assert!(stopped, "{kind:?}: octet {at} ^ {bits:#x} went through");
                }
                b.io.sent.clear();
                b.io.punts.clear();
            }
        }
    }
}

#[test]
fn replays_and_strangers() {
    let (mut a, mut b, wire) = wire_packet(Kind::PLAIN);
    assert_eq!(b.receive_one(WAN, wire.clone()), None);
    assert_eq!(b.receive_one(WAN, wire.clone()), Some(DropReason::ReplayDuplicate));
    // Twice in one burst: the check before decryption sees neither.
    a.receive(1, LAN, [from_host(b"again")]);
    let again = a.sent().pop().unwrap();
    b.sent();
    b.receive(1, WAN, [again.clone(), again]);
    assert_eq!((b.sent().len(), b.dropped(DropReason::ReplayDuplicate)), (1, 2));
    a.receive(1, LAN, (0..64).map(|_| from_host(b"more")));
    b.receive(1, WAN, a.sent());
    assert_eq!(b.receive_one(WAN, wire.clone()), Some(DropReason::ReplayTooOld));
    let slot = b.region.slot(SlotIndex(0)).unwrap();
    assert_eq!(slot.get(SaCounter::ReplayDrops.index()), 3);
    let mut unknown = wire.clone();
    unknown.data_mut()[34..38].copy_from_slice(&0x4242_4242u32.to_be_bytes());
    assert_eq!(b.receive_one(WAN, unknown), Some(DropReason::UnknownSpi));
    let mut reserved = wire.clone();
    reserved.data_mut()[34..38].copy_from_slice(&7u32.to_be_bytes());
    assert_eq!(b.receive_one(WAN, reserved), Some(DropReason::UnknownSpi));
    let mut stranger = inner(&wire).to_vec();
    stranger[12..16].copy_from_slice(&[192, 0, 2, 99]);
    reseal_header(&mut stranger);
    let reason = b.receive_one(WAN, frame(mac(1, WAN), mac(7, WAN), &stranger));
    assert_eq!(reason, Some(DropReason::WrongSpiMode));
    // To another address of the box than the SA's.
    let mut elsewhere = inner(&wire).to_vec();
    elsewhere[16..20].copy_from_slice(&[10, 7, 0, 1]);
    reseal_header(&mut elsewhere);
    let reason = b.receive_one(WAN, frame(mac(1, WAN), mac(7, WAN), &elsewhere));
    assert_eq!(reason, Some(DropReason::WrongSpiMode));
}

/// An ESP packet for site 7 with whatever inside, sealed with the right key.
fn sealed_with(spec: &SaSpec, sequence: u32, tos: u8, inside: &[u8]) -> VecBuffer {
    let key = RustCrypto::key(spec.suite, spec.key.expose()).unwrap();
    let header = esp::Repr { spi: spec.spi.get(), sequence }.to_bytes();
    let room = |count| vec![0; count];
    let mut esp = [&header[..], &room(spec.suite.iv_len()), inside, &room(spec.suite.icv_len())].concat();
    let sequence = u64::from(sequence);
    let mut jobs = [Job { key: &key, sequence, esn: false, data: &mut esp, icv: [0; MAX_ICV], ok: false }];
    RustCrypto.seal_burst(&mut jobs);
    assert!(jobs[0].ok);
    let (source, destination) = ("192.0.2.1".parse().unwrap(), "192.0.2.7".parse().unwrap());
    let outer = ipv4::Repr { tos, ..ipv4::Repr::new(source, destination, protocol::ESP, esp.len() as u16) };
    frame(mac(1, WAN), mac(7, WAN), &[&outer.to_bytes()[..], &esp].concat())
}

#[test]
fn authentic_nonsense() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    let (spec, _) = connect(&mut a, &mut b, Kind::PLAIN, 1);
    let good = packet(ip("10.1.0.2"), ip("10.7.0.2"), b"x");
    let with = |packet: &[u8], trailer: &[u8]| [packet, trailer].concat();
    let from = |source: &str, destination: &str| with(&packet(ip(source), ip(destination), b"x"), &[0, 4]);
    let mut not_ect = good.clone();
    not_ect[1] = 0;
    reseal_header(&mut not_ect);
    let mut bad_sum = good.clone();
    bad_sum[10] ^= 1;
    let cases: Vec<(&str, u8, Vec<u8>, Option<DropReason>)> = vec![
        ("good, without padding", 0, with(&good, &[0, 4]), None),
        ("good, with a lot", 0, with(&good, &[1, 2, 3, 4, 5, 6, 6, 4]), None),
        ("good, behind traffic-flow padding", 0, with(&good, &[9, 9, 9, 9, 9, 0, 4]), None),
        ("padding not 1, 2, 3", 0, with(&good, &[1, 2, 2, 3, 4]), Some(DropReason::BadPadding)),
        ("padding longer than all", 0, with(&good, &[255, 4]), Some(DropReason::BadPadding)),
        ("dummy", 0, with(&[7; 30], &[0, 59]), Some(DropReason::DummyPacket)),
        ("IPv6 announced", 0, with(&good, &[0, 41]), Some(DropReason::BadInnerHeader)),
        ("transport mode", 0, with(&good, &[0, 6]), Some(DropReason::BadInnerHeader)),
        ("cut inside", 0, with(&good[..good.len() - 1], &[0, 4]), Some(DropReason::BadInnerHeader)),
        ("inner checksum", 0, with(&bad_sum, &[0, 4]), Some(DropReason::BadInnerHeader)),
        ("nothing inside", 0, vec![1, 2, 2, 4], Some(DropReason::BadInnerHeader)),
        ("foreign source", 0, from("10.2.0.2", "10.7.0.2"), Some(DropReason::SelectorMismatch)),
        ("foreign destination", 0, from("10.1.0.2", "10.8.0.2"), Some(DropReason::SelectorMismatch)),
        (
            "wrong family",
            0,
            with(&packet(ip("fd00:9::2"), ip("fd00:7::2"), b""), &[0, 41]),
            Some(DropReason::SelectorMismatch),
        ),
        ("to a broadcast address", 0, from("10.1.0.2", "10.7.255.255"), Some(DropReason::Multicast)),
        ("congested, and blind to it", 3, with(&not_ect, &[0, 4]), Some(DropReason::CongestionMarked)),
    ];
    for (sequence, (what, tos, inside, want)) in (1..).zip(cases) {
        assert_eq!(b.receive_one(WAN, sealed_with(&spec, sequence, tos, &inside)), want, "{what}");
    }
    let slot = b.region.slot(spec.slot).unwrap();
    let counted = |counter: SaCounter| slot.get(counter.index());
    assert_eq!((counted(SaCounter::PaddingErrors), counted(SaCounter::SelectorMismatches)), (2, 3));
    // Not the dummy, which is as it should be. What went to a broadcast address was still good when it left the SA.
    assert_eq!((counted(SaCounter::OtherDrops), counted(SaCounter::Packets)), (6, 4));
    // The box's own address inside: for housekeeping, known to be out of a tunnel.
    b.io.punts.clear();
    assert_eq!(b.receive_one(WAN, sealed_with(&spec, 100, 0, &from("10.1.0.2", "10.7.0.1"))), None);
    assert!(matches!(b.io.punts[..], [Punt::Host { origin: crate::Origin::Tunnel, .. }]));
    // A congestion mark reaches a flow that can see it.
    let mut ect = good.clone();
    ect[1] = 2;
    reseal_header(&mut ect);
    b.sent();
    assert_eq!(b.receive_one(WAN, sealed_with(&spec, 101, 3, &with(&ect, &[0, 4]))), None);
    assert_eq!(inner(&b.sent()[0])[1], 3);
}

#[test]
fn the_sa_may_be_narrower_than_the_policy() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    let (inbound, mut outbound) = specs(&a, &b, Kind::PLAIN, 1);
    outbound.remote_ts = vec![net("10.7.1.0/24")];
    b.install(&inbound).unwrap();
    a.install(&outbound).unwrap();
    assert_eq!(a.receive_one(LAN, from_host(b"x")), Some(DropReason::OutboundSelectorMismatch));
}

/// RFC 4301 §4.1: what others say to each other goes in tunnel mode.
#[test]
fn transport_mode_is_for_its_two_ends_alone() {
    for (mode, want) in [(SaMode::Tunnel, None), (SaMode::Transport, Some(DropReason::OutboundSelectorMismatch))] {
        let (mut a, b) = (Gateway::new(1, 7), Gateway::new(7, 1));
        a.protect(7);
        let (_, outbound) = specs(&a, &b, Kind::PLAIN, 1);
        a.install(&SaSpec { mode, ..outbound }).unwrap();
        assert_eq!(a.receive_one(LAN, from_host(b"x")), want, "{mode:?}");
    }
}

#[test]
fn clear_packets_that_must_be_protected() {
    let (_, mut b) = pair(Kind::PLAIN);
    let clear = |source: &str, destination: &str| {
        frame(mac(1, WAN), mac(7, WAN), &packet(ip(source), ip(destination), b"forged"))
    };
    assert_eq!(b.receive_one(WAN, clear("10.1.0.2", "10.7.0.2")), Some(DropReason::InboundClear));
    assert_eq!(b.receive_one(WAN, clear("10.1.0.2", "10.7.0.1")), Some(DropReason::InboundClear));
    assert_eq!(b.receive_one(WAN, clear("fd00:1::2", "fd00:7::2")), Some(DropReason::InboundClear));
    assert_eq!(b.receive_one(WAN, clear("8.8.8.8", "10.7.0.2")), Some(DropReason::NoPolicy));
}

#[test]
fn frames_that_are_not_for_us() {
    let (mut a, _) = pair(Kind::PLAIN);
    let to = |destination: Mac| frame(host_mac(1), destination, &packet(ip("10.1.0.2"), ip("10.7.0.2"), b""));
    let between =
        |source: &str, destination: &str| frame(host_mac(1), mac(1, LAN), &packet(ip(source), ip(destination), b""));
    let mut strange = to(mac(1, LAN));
    strange.data_mut()[12..14].copy_from_slice(&[0x88, 0x47]);
    let mut lying = to(mac(1, LAN));
    lying.data_mut()[12..14].copy_from_slice(&[0x86, 0xdd]);
    let tagged = |id: u8| {
        let plain = to(mac(1, LAN));
        VecBuffer::new(&[&plain.data()[..12], &[0x81, 0, 0, id], &plain.data()[12..]].concat())
    };
    let cases = [
        (to(Mac([2, 9, 9, 9, 9, 9])), Some(DropReason::NotOurMac)),
        (to(Mac::BROADCAST), Some(DropReason::Multicast)),
        (strange, Some(DropReason::BadEthertype)),
        (lying, Some(DropReason::Ipv6Header)),
        (tagged(5), Some(DropReason::UnknownVlan)),
        (tagged(0), None),
        (between("127.0.0.1", "10.7.0.2"), Some(DropReason::Martian)),
        (between("10.1.0.2", "127.0.0.1"), Some(DropReason::Martian)),
        (between("10.1.0.2", "240.0.0.1"), Some(DropReason::Martian)),
        (between("10.1.255.255", "10.7.0.2"), Some(DropReason::Martian)),
        (between("169.254.1.1", "10.7.0.2"), Some(DropReason::Martian)),
        (between("fe80::9", "fd00:7::2"), Some(DropReason::Martian)),
        (between("10.1.0.1", "10.7.0.2"), Some(DropReason::SourceSpoofed)),
        (between("10.1.0.2", "224.0.0.5"), Some(DropReason::Multicast)),
        (between("10.1.0.2", "10.1.255.255"), Some(DropReason::Multicast)),
        (between("fd00:1::2", "ff02::5"), Some(DropReason::Multicast)),
    ];
    for (at, (frame, want)) in cases.into_iter().enumerate() {
        assert_eq!(a.receive_one(LAN, frame), want, "case {at}");
    }
}

/// A UDP datagram from site 1 to site 7's wan address.
fn datagram(port: u16, payload: &[u8]) -> VecBuffer {
    let (source, destination) = (ip("192.0.2.1"), ip("192.0.2.7"));
    let header = udp::Repr::for_payload((source, 4500), (destination, port), payload).unwrap();
    let body = [&header.to_bytes()[..], payload].concat();
    let (source, destination) = ("192.0.2.1".parse().unwrap(), "192.0.2.7".parse().unwrap());
    let outer = ipv4::Repr::new(source, destination, protocol::UDP, body.len() as u16);
    frame(mac(1, WAN), mac(7, WAN), &[&outer.to_bytes()[..], &body].concat())
}

#[test]
fn what_comes_to_the_ike_ports() {
    let (_, mut b) = pair(Kind { udp: true, ..Kind::PLAIN });
    let cases: [(u16, &[u8], Option<DropReason>); 6] = [
        (4500, &[0xff], Some(DropReason::NatKeepalive)),
        (4500, &[], Some(DropReason::UdpMalformed)),
        (4500, &[0, 0, 0], Some(DropReason::UdpMalformed)),
        (4500, &[0, 0, 1, 0], Some(DropReason::EspTruncated)),
        (4500, &[0, 0, 0, 0, 1, 2, 3], None),
        (500, &[1, 2, 3], None),
    ];
    for (port, payload, want) in cases {
        assert_eq!(b.receive_one(WAN, datagram(port, payload)), want, "{port} {payload:?}");
    }
    assert!(matches!(b.io.punts[..], [Punt::Ike { offset: 32, .. }, Punt::Ike { offset: 28, .. }]));
    for punt in std::mem::take(&mut b.io.punts) {
        b.house.handle_punt(1, punt, &mut b.io);
    }
    assert_eq!(b.house.poll_datagram(), None, "three octets are no IKE message");
}

#[test]
fn no_room_is_a_drop_and_not_a_panic() {
    let (mut a, _) = pair(Kind::PLAIN);
    let octets = from_host(b"x").data().to_vec();
    for (head, tail) in [(0, 100), (100, 0), (30, 100), (64, 17)] {
        let reason = a.receive_one(LAN, VecBuffer::with_room(&octets, head, tail));
        assert_eq!(reason, Some(DropReason::NoHeadroom), "{head}, {tail}");
    }
    assert_eq!(a.receive_one(LAN, VecBuffer::with_room(&octets, 36, 21)), None);
    a.io.punt_room = Some(0);
    assert_eq!(a.receive_one(LAN, datagram_to_box()), Some(DropReason::PuntFull));
}

fn datagram_to_box() -> VecBuffer {
    frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip("10.1.0.1"), b"hello"))
}

/// Counts what leaves, and now and then has no room.
#[derive(Default)]
struct CountingIo {
    out: usize,
    refuse_every: usize,
    offered: usize,
}

impl Io<VecBuffer> for CountingIo {
    fn transmit(&mut self, _: PortId, _: VecBuffer) {
        self.out += 1;
    }

    fn to_housekeeping(&mut self, item: Punt<VecBuffer>) -> Result<(), Punt<VecBuffer>> {
        self.offered += 1;
        if self.offered.is_multiple_of(self.refuse_every) {
            return Err(item);
        }
        self.out += usize::from(carries_packet(&item));
        Ok(())
    }

    fn allocate(&mut self) -> Option<VecBuffer> {
        None
    }
}

/// One of a few sensible frames, then damaged or not.
fn any_frame() -> impl Strategy<Value = (u8, Vec<(u16, u8)>, Option<u16>)> {
    (0u8..8, proptest::collection::vec((any::<u16>(), any::<u8>()), 0..4), proptest::option::of(any::<u16>()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Every packet that goes in goes out, to housekeeping, or is dropped by exactly one name.
    #[test]
    fn every_packet_is_accounted_for(
        recipes in proptest::collection::vec(any_frame(), 1..32), refuse_every in 2usize..9, lan in any::<bool>(),
    ) {
        let (mut a, mut b, wire) = wire_packet(Kind { udp: true, ..Kind::PLAIN });
        a.receive(1, LAN, (0..8).map(|i| from_host(&[i; 100])));
        let sealed = a.sent();
        let frames = recipes.iter().enumerate().map(|(at, (kind, damage, cut))| {
            let mut frame = match kind {
                0 | 1 => sealed[at % sealed.len()].clone(),
                2 => wire.clone(),
                3 => frame(host_mac(7), mac(7, LAN), &packet(ip("10.7.0.2"), ip("10.1.0.2"), b"back")),
                4 => frame(host_mac(7), mac(7, LAN), &packet(ip("fd00:7::2"), ip("fd00:1::2"), b"back")),
                5 => datagram(500, &[0; 40]),
                6 => datagram(4500, &[0xff]),
                _ => frame(mac(1, WAN), mac(7, WAN), &packet(ip("192.0.2.1"), ip("192.0.2.7"), b"hello")),
            };
            for (place, value) in damage {
                let place = usize::from(*place) % frame.data().len();
                frame.data_mut()[place] ^= value;
            }
            if let Some(cut) = cut {
                frame.trim_back(usize::from(*cut) % (frame.data().len() + 1));
            }
            frame
        });
        let mut burst: arrayvec::ArrayVec<_, 32> = frames.collect();
        let count = burst.len();
        let mut io = CountingIo { refuse_every, ..CountingIo::default() };
        b.worker.run_burst(1, if lan { LAN } else { WAN }, &mut burst, &mut io);
        prop_assert_eq!(count as u64, io.out as u64 + b.all_drops());
    }

    /// Octets of no meaning at all.
    #[test]
    fn noise_is_dropped(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..32)) {
        let (_, mut b) = pair(Kind::PLAIN);
        let mut burst: arrayvec::ArrayVec<_, 32> = frames.iter().map(|octets| {
            let mut octets = octets.clone();
            // Half of them get as far as the IP header.
            if octets.len() % 2 == 0 && octets.len() > ethernet::LEN + 1 {
                octets[..6].copy_from_slice(&mac(7, WAN).0);
                let six = octets[14] & 1 == 1;
                octets[12..14].copy_from_slice(if six { &[0x86, 0xdd] } else { &[8, 0] });
                octets[14] = if six { 0x60 } else { 0x45 };
            }
            VecBuffer::new(&octets)
        }).collect();
        let count = burst.len() as u64;
        let mut io = CountingIo { refuse_every: 1000, ..CountingIo::default() };
        b.worker.run_burst(1, WAN, &mut burst, &mut io);
        prop_assert_eq!(b.all_drops() + io.out as u64, count);
    }
}
