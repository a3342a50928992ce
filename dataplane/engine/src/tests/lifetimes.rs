//! The end of an SA: lifetimes to the very packet and moment, and the last sequence number.

use super::rig::*;
use super::threads::run;
use crate::testing::VecBuffer;
use crate::{BURST, Counters, Tick};
use arrayvec::ArrayVec;
use culvert_link::SlotInit;
use culvert_link::record::{Command, Event};
use culvert_model::{Direction, Lifetime, SaSpec};
use culvert_telemetry::{DropReason, SaCounter, WorkerCounter};

const PAYLOAD: [u8; 40] = [7; 40];
/// Of the packet that goes into the tunnel.
const INNER_LEN: u64 = 20 + 8 + PAYLOAD.len() as u64;
const NEVER: Lifetime = Kind::PLAIN.lifetime;

/// One SA from site 1 to site 7; the ends may live for different times.
fn one_way(kind: Kind, sealing: Lifetime, opening: Lifetime) -> (Gateway, Gateway, SaSpec, SaSpec) {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    let (mut inbound, mut outbound) = specs(&a, &b, kind, 1);
    (inbound.lifetime, outbound.lifetime) = (opening, sealing);
    b.install(&inbound).unwrap();
    a.install(&outbound).unwrap();
    (a, b, inbound, outbound)
}

fn burst(count: usize) -> impl Iterator<Item = VecBuffer> {
    (0..count).map(|_| from_host(&PAYLOAD))
}

fn used(gateway: &Gateway, spec: &SaSpec) -> (u64, u64) {
    let slot = gateway.region.slot(spec.slot).unwrap();
    (slot.get(SaCounter::Packets.index()), slot.get(SaCounter::Bytes.index()))
}

/// Of all the workers.
fn dropped(gateway: &Gateway, reason: DropReason) -> u64 {
    [0, 1, 2].iter().map(|index| Counters::new(gateway.region.worker_counters(*index).unwrap()).dropped(reason)).sum()
}

/// Also where the burst is larger than what is left, or was sealed before.
#[test]
fn packets_and_octets_end_at_the_very_packet() {
    let packets = |hard_packets| Lifetime { hard_packets, ..NEVER };
    let octets = |hard_bytes| Lifetime { hard_bytes, ..NEVER };
    let cases: [(Lifetime, usize); 9] = [
        (packets(1), 1),
        (packets(5), 5),
        (packets(40), 40),
        (octets(1), 1),
        (octets(INNER_LEN), 1),
        (octets(INNER_LEN + 1), 2),
        (octets(7 * INNER_LEN), 7),
        (Lifetime { hard_packets: 9, hard_bytes: 4 * INNER_LEN, ..NEVER }, 4),
        (Lifetime { hard_packets: 4, hard_bytes: 9 * INNER_LEN, ..NEVER }, 4),
    ];
    for (lifetime, pass) in cases {
        let (mut a, _, _, outbound) = one_way(Kind::PLAIN, lifetime, NEVER);
        a.receive(1, LAN, burst(64));
        assert_eq!((a.sent().len(), a.all_drops()), (pass, 64 - pass as u64), "{lifetime:?}");
        assert_eq!(a.dropped(DropReason::LifetimeExpired), 64 - pass as u64);
        assert_eq!(a.count(WorkerCounter::SealedPackets), pass as u64);
        assert_eq!(used(&a, &outbound), (pass as u64, pass as u64 * INNER_LEN));

        let (mut a, mut b, inbound, _) = one_way(Kind::PLAIN, NEVER, lifetime);
        a.receive(1, LAN, burst(64));
        let wire = a.sent();
        assert_eq!(wire.len(), 64);
        b.receive(1, WAN, wire);
        assert_eq!((b.sent().len(), b.all_drops()), (pass, 64 - pass as u64), "{lifetime:?}");
        assert_eq!(b.dropped(DropReason::LifetimeExpired), 64 - pass as u64);
        assert_eq!(b.count(WorkerCounter::OpenedPackets), pass as u64);
        assert_eq!(used(&b, &inbound), (pass as u64, pass as u64 * INNER_LEN));
    }
}

/// What a stranger forges does not use up an SA's life.
#[test]
fn only_authentic_packets_count() {
    let (mut a, mut b, inbound, _) = one_way(Kind::PLAIN, NEVER, Lifetime { hard_packets: 3, ..NEVER });
    a.receive(1, LAN, burst(3));
    let good = a.sent();
    let forged = (0..50).flat_map(|_| good.clone()).map(|mut frame| {
        *crate::Buffer::data_mut(&mut frame).last_mut().unwrap() ^= 1;
        frame
    });
    b.receive(1, WAN, forged);
    assert_eq!((b.dropped(DropReason::IcvFailed), used(&b, &inbound).0), (150, 0));
    b.receive(1, WAN, good);
    assert_eq!((b.sent().len(), used(&b, &inbound).0), (3, 3));
}

#[test]
fn time_ends_at_the_very_moment() {
    let lifetime = Lifetime { hard_seconds: 10, ..NEVER };
    // The rig installs at 1 ns.
    let end: Tick = 10 * SECOND + 1;
    let (mut a, mut b, ..) = one_way(Kind::PLAIN, lifetime, lifetime);
    a.receive(end - 1, LAN, burst(3));
    let wire = a.sent();
    let (early, late) = wire.split_at(2);
    b.receive(end - 1, WAN, early.iter().cloned());
    assert_eq!((b.sent().len(), b.all_drops()), (2, 0));
    b.receive(end, WAN, late.iter().cloned());
    assert_eq!((b.sent().len(), b.dropped(DropReason::LifetimeExpired)), (0, 1));
    a.receive(end, LAN, burst(3));
    assert_eq!((a.sent().len(), a.dropped(DropReason::LifetimeExpired)), (0, 3));
}

/// In whole seconds of the clock: the slot tells no more of when an SA was last used.
#[test]
fn idleness_ends_an_sa_and_traffic_keeps_it() {
    let lifetime = Lifetime { hard_idle: 10, ..NEVER };
    let (mut a, mut b, ..) = one_way(Kind::PLAIN, lifetime, lifetime);
    for now in [9, 18, 27] {
        a.receive(now * SECOND + 5, LAN, burst(1));
        let wire = a.sent();
        b.receive(now * SECOND + 5, WAN, wire);
        assert_eq!((b.sent().len(), a.all_drops(), b.all_drops()), (1, 0, 0), "at {now} s");
    }
    a.receive(37 * SECOND - 1, LAN, burst(2));
    let wire = a.sent();
    assert_eq!(wire.len(), 2, "a nanosecond before its tenth second of silence");
    b.receive(37 * SECOND, WAN, wire);
    assert_eq!((b.sent().len(), b.dropped(DropReason::LifetimeExpired)), (0, 2));
    a.receive(46 * SECOND, LAN, burst(1));
    assert_eq!((a.sent().len(), a.dropped(DropReason::LifetimeExpired)), (0, 1));
    // It stays over: a dropped packet is no use.
    a.receive(46 * SECOND + 1, LAN, burst(1));
    assert_eq!(a.dropped(DropReason::LifetimeExpired), 2);
}

fn events(gateway: &mut Gateway, now: Tick) -> Vec<Event> {
    gateway.house.tick(now, &mut gateway.io);
    std::iter::from_fn(|| gateway.house.poll_event()).collect()
}

#[test]
fn each_end_is_told_once() {
    let both = |packets, octets, seconds, idle| {
        let soft =
            Lifetime { soft_packets: packets, soft_bytes: octets, soft_seconds: seconds, soft_idle: idle, ..NEVER };
        let hard =
            Lifetime { hard_packets: packets, hard_bytes: octets, hard_seconds: seconds, hard_idle: idle, ..NEVER };
        [soft, hard]
    };
    // By 3 packets at 1 s, or by time at 8 s.
    let cases =
        [(both(3, 0, 0, 0), 1), (both(0, 3 * INNER_LEN, 0, 0), 1), (both(0, 0, 8, 0), 9), (both(0, 0, 0, 7), 8)];
    for ([soft, hard], at) in cases {
        for (lifetime, is_soft) in [(soft, true), (hard, false)] {
            let (mut a, _, _, outbound) = one_way(Kind::PLAIN, lifetime, NEVER);
            a.receive(SECOND, LAN, burst(2));
            assert_eq!(events(&mut a, SECOND), [], "{lifetime:?}");
            a.receive(SECOND, LAN, burst(1));
            let SaSpec { slot, spi, .. } = outbound;
            let direction = Direction::Outbound;
            let event = match is_soft {
                true => Event::SoftExpire { slot, spi, direction },
                false => Event::HardExpire { slot, spi, direction },
            };
            let told: Vec<_> =
                (1..20).flat_map(|now| events(&mut a, now * SECOND).into_iter().map(move |e| (now, e))).collect();
            assert_eq!(told, [(at, event)], "{lifetime:?}");
            // A soft end is control's to act on; packets go on.
            a.sent();
            a.receive(20 * SECOND, LAN, burst(1));
            assert_eq!(a.sent().len(), usize::from(is_soft), "{lifetime:?}");
        }
    }
}

/// `total` packets to each of the two workers of the gateway, in full bursts.
fn on_two(gateway: &Gateway, port: crate::PortId, frames: [Vec<VecBuffer>; 2]) -> [Vec<VecBuffer>; 2] {
    let bursts = frames.map(|frames| {
        let chunks = frames.chunks(BURST).map(|chunk| chunk.iter().cloned().collect::<ArrayVec<_, BURST>>());
        chunks.collect::<Vec<_>>()
    });
    std::thread::scope(|scope| {
        let [first, second] = bursts;
        let workers = [(1, first), (2, second)];
        let workers = workers.map(|(index, bursts)| scope.spawn(move || run(gateway, index, port, bursts).sent));
        workers.map(|worker| worker.join().unwrap().into_iter().map(|(_, frame)| frame).collect())
    })
}

#[test]
fn two_workers_share_what_is_left_of_an_sa() {
    const LIMIT: u64 = 3001;
    for lifetime in [Lifetime { hard_packets: LIMIT, ..NEVER }, Lifetime { hard_bytes: LIMIT * INNER_LEN - 5, ..NEVER }]
    {
        let (a, _, _, outbound) = one_way(Kind::PLAIN, lifetime, NEVER);
        let sent = on_two(&a, LAN, [burst(3000).collect(), burst(3000).collect()]);
        assert_eq!(sent.concat().len() as u64, LIMIT);
        assert_eq!(used(&a, &outbound), (LIMIT, LIMIT * INNER_LEN));
        assert_eq!(dropped(&a, DropReason::LifetimeExpired), 6000 - LIMIT);

        let (a, b, inbound, _) = one_way(Kind { window: 65_536, ..Kind::PLAIN }, NEVER, lifetime);
        let wire = on_two(&a, LAN, [burst(3000).collect(), burst(3000).collect()]);
        let opened = on_two(&b, WAN, wire);
        assert_eq!(opened.concat().len() as u64, LIMIT);
        assert_eq!(used(&b, &inbound), (LIMIT, LIMIT * INNER_LEN));
        assert_eq!(dropped(&b, DropReason::LifetimeExpired), 6000 - LIMIT);
    }
}

/// As control does for a manual SA: numbers go on behind `sequence`.
fn install_at(gateway: &mut Gateway, spec: &SaSpec, sequence: u64, limit: u64) {
    let slot = gateway.region.slot(spec.slot).unwrap();
    let SaSpec { spi, direction, child, .. } = *spec;
    let replay_top = sequence;
    assert!(slot.reset(&SlotInit {
        spi,
        direction,
        child,
        sequence,
        replay_top,
        limit,
        generation: 1,
        installed_at: 0
    }));
    gateway.apply(Command::Install(spec.clone())).unwrap();
}

/// RFC 4303 §3.3.3: "the sender MUST NOT send a packet on an SA if doing so would cause the sequence number to cycle".
#[test]
fn two_workers_that_race_for_the_last_numbers_never_wrap() {
    const LEFT: u64 = 1003;
    let low = u64::from(u32::MAX);
    // With ESN, past the place where the lower half begins anew.
    for (esn, limit) in [(false, low), (true, low + 500), (true, u64::MAX), (false, 5000)] {
        let kind = Kind { esn, window: 4096, ..Kind::PLAIN };
        let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
        a.protect(7);
        b.protect(1);
        let (inbound, outbound) = specs(&a, &b, kind, 1);
        install_at(&mut a, &outbound, limit - LEFT, limit);
        install_at(&mut b, &inbound, limit - LEFT, limit);
        let sent = on_two(&a, LAN, [burst(1000).collect(), burst(1000).collect()]).concat();
        // The IV is the whole number (RFC 4106 §3.1).
        let mut numbers: Vec<u64> =
            sent.iter().map(|f| u64::from_be_bytes(inner(f)[28..36].try_into().unwrap())).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (limit - LEFT + 1..=limit).collect::<Vec<u64>>(), "{esn} {limit}");
        assert_eq!(dropped(&a, DropReason::SequenceExhausted), 2000 - LEFT);
        assert_eq!(a.region.slot(outbound.slot).unwrap().sequence(), limit);
        a.receive(1, LAN, burst(40));
        assert_eq!((a.sent().len(), a.dropped(DropReason::SequenceExhausted)), (0, 40));
        // The peer follows to the last number, and does not take any of them twice.
        b.receive(1, WAN, sent.iter().cloned());
        assert_eq!((b.sent().len() as u64, b.all_drops()), (LEFT, 0), "{esn} {limit}");
        b.receive(1, WAN, sent);
        assert_eq!((b.sent().len(), b.dropped(DropReason::ReplayDuplicate)), (0, LEFT as usize as u64));
    }
}

/// The limit is in memory that control writes.
#[test]
fn a_short_number_does_not_cycle_whatever_the_slot_says() {
    let (mut a, b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    let (_, outbound) = specs(&a, &b, Kind::PLAIN, 1);
    install_at(&mut a, &outbound, u64::from(u32::MAX) - 70, u64::MAX);
    let sent = on_two(&a, LAN, [burst(320).collect(), burst(320).collect()]).concat();
    let mut numbers: Vec<u32> = sent.iter().map(|f| u32::from_be_bytes(inner(f)[24..28].try_into().unwrap())).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (u32::MAX - 69..=u32::MAX).collect::<Vec<u32>>());
    assert_eq!(dropped(&a, DropReason::SequenceExhausted), 640 - 70);
}
