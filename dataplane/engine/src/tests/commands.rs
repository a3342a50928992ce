//! What control may say, and what it may not.

use super::rig::*;
use crate::{Buffer, Punt};
use culvert_link::record::{Command, Event, Refusal};
use culvert_model::*;
use culvert_telemetry::DropReason;
use std::time::Duration;

fn one_way() -> (Gateway, Gateway, SaSpec, SaSpec) {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    let (inbound, outbound) = connect(&mut a, &mut b, Kind { udp: true, ..Kind::PLAIN }, 1);
    (a, b, inbound, outbound)
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (mut a, mut b, inbound, outbound) = one_way();
    let short = SecretKey::new(vec![1; 19]);
    let v6 = ip("2001:db8::9");
    type Change<'a> = &'a dyn Fn(&mut SaSpec);
    let cases: [(Change, Refusal); 10] = [
        (&|s| s.slot = SlotIndex(64), Refusal::UnknownSlot),
        (&|s| s.slot = SlotIndex(50), Refusal::SlotMismatch),
        (&|s| s.spi = Spi::new(0x1234_5678).unwrap(), Refusal::SlotMismatch),
        (&|s| s.direction = Direction::Outbound, Refusal::SlotMismatch),
        (&|s| s.key = short.clone(), Refusal::BadKey),
        (&|s| s.suite = Suite::AES256_GCM16, Refusal::BadKey),
        (&|s| s.tunnel.remote = v6, Refusal::BadTunnel),
        (&|s| s.tunnel.local = ip("224.0.0.1"), Refusal::BadTunnel),
        (&|s| s.replay_window = 1 << 20, Refusal::BadWindow),
        (&|s| s.child = ChildId(64), Refusal::TableFull),
    ];
    for (change, want) in cases {
        let mut spec = inbound.clone();
        change(&mut spec);
        assert_eq!(b.apply(Command::Install(spec)), Err(want));
    }
    let (slot, spi, direction) = (inbound.slot, inbound.spi, Direction::Outbound);
    assert_eq!(b.apply(Command::Remove { slot, spi, direction }), Err(Refusal::UnknownSa));
    assert_eq!(b.apply(Command::RemovePolicy(PolicyId(77))), Err(Refusal::UnknownPolicy));
    assert_eq!(b.apply(Command::EndSync), Err(Refusal::NotInSync));
    let far = Action::Protect { child: ChildId(64), trap: false };
    let policy = Policy {
        id: PolicyId(5),
        direction: PolicyDirection::Outbound,
        priority: 1,
        local: lans(1),
        remote: lans(7),
        action: far,
        interface: None,
        pfp: Pfp::NONE,
    };
    assert_eq!(a.apply(Command::SetPolicy(policy)), Err(Refusal::TableFull));
    let tunnel = Tunnel { local: v6, ..outbound.tunnel };
    let update = Command::UpdateTunnel { slot: outbound.slot, spi: outbound.spi, tunnel, encapsulation: None };
    assert_eq!(a.apply(update), Err(Refusal::BadTunnel));
    // The tunnel is as it was.
    assert_eq!(a.receive_one(LAN, from_host(b"still")), None);
    let wire = a.sent().pop().unwrap();
    assert_eq!(b.receive_one(WAN, wire), None);
}

#[test]
fn the_same_sa_once_more_goes_on_where_it_was() {
    let (mut a, mut b, inbound, outbound) = one_way();
    assert_eq!(a.receive_one(LAN, from_host(b"1")), None);
    let wire = a.sent().pop().unwrap();
    assert_eq!(b.receive_one(WAN, wire.clone()), None);
    b.apply(Command::Install(inbound.clone())).unwrap();
    a.apply(Command::Install(outbound)).unwrap();
    assert_eq!(b.receive_one(WAN, wire), Some(DropReason::ReplayDuplicate));
    assert_eq!(a.receive_one(LAN, from_host(b"2")), None);
    let wire = a.sent().pop().unwrap();
    assert_eq!(u32::from_be_bytes(inner(&wire)[32..36].try_into().unwrap()), 2);
    assert_eq!(b.receive_one(WAN, wire), None);
    let other = SaSpec { replay_window: 128, ..inbound };
    assert_eq!(b.apply(Command::Install(other)), Err(Refusal::BadWindow));
}

#[test]
fn a_removal_is_answered_when_no_worker_is_left_in_the_sa() {
    let (mut a, mut b, inbound, outbound) = one_way();
    let reader = b.shared.inbound_by_spi(inbound.spi).unwrap();
    b.house.apply(1, 900, Command::Remove { slot: inbound.slot, spi: inbound.spi, direction: Direction::Inbound });
    assert_eq!(b.house.poll_event(), None);
    a.receive(1, LAN, [from_host(b"x")]);
    let wire = a.sent().pop().unwrap();
    assert_eq!(b.receive_one(WAN, wire), Some(DropReason::UnknownSpi));
    drop(reader);
    assert_eq!(b.house.poll_event(), Some(Event::Done { token: 900, result: Ok(()) }));
    let remove = Command::Remove { slot: outbound.slot, spi: outbound.spi, direction: Direction::Outbound };
    a.apply(remove.clone()).unwrap();
    assert_eq!(a.apply(remove), Err(Refusal::UnknownSa));
    assert_eq!(a.receive_one(LAN, from_host(b"x")), Some(DropReason::NoSa));
}

#[test]
fn removing_the_old_sa_leaves_the_new_one_bound() {
    let (mut a, mut b, _, old) = one_way();
    connect(&mut a, &mut b, Kind::PLAIN, 9);
    a.apply(Command::Remove { slot: old.slot, spi: old.spi, direction: Direction::Outbound }).unwrap();
    assert_eq!(a.receive_one(LAN, from_host(b"x")), None);
}

#[test]
fn orphans_go_and_the_kept_stay() {
    let (mut a, mut b, first, _) = one_way();
    let (second, _) = connect(&mut a, &mut b, Kind::PLAIN, 9);
    b.apply(Command::RetireOrphans { child: ChildId(1), keep: vec![] }).unwrap();
    b.apply(Command::RetireOrphans { child: CHILD, keep: vec![second.slot] }).unwrap();
    assert!(b.shared.inbound_by_spi(first.spi).is_none());
    assert!(b.shared.inbound_by_spi(second.spi).is_some());
}

#[test]
fn spis_chosen_elsewhere_are_found_and_unique() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    let (mut inbound, mut outbound) = specs(&a, &b, Kind::PLAIN, 1);
    let spi = Spi::new(0x1000 + (inbound.slot.0 + 1) % 64).unwrap();
    (inbound.spi, outbound.spi) = (spi, spi);
    b.install(&inbound).unwrap();
    a.install(&outbound).unwrap();
    a.receive(1, LAN, [from_host(b"x")]);
    let wire = a.sent().pop().unwrap();
    assert_eq!(b.receive_one(WAN, wire.clone()), None);
    let twin = SaSpec { slot: b.region.claim_slot().unwrap(), ..inbound.clone() };
    assert_eq!(b.install(&twin), Err(Refusal::SpiInUse));
    b.apply(Command::Remove { slot: inbound.slot, spi, direction: Direction::Inbound }).unwrap();
    assert_eq!(b.receive_one(WAN, wire), Some(DropReason::UnknownSpi));
}

#[test]
fn a_sync_states_everything_anew_and_at_once() {
    let (mut a, _, _, _) = one_way();
    a.apply(Command::BeginSync).unwrap();
    assert_eq!(a.receive_one(LAN, from_host(b"during")), None);
    // Control dies here; the next one starts over, with other policies.
    a.policies([]);
    assert_eq!(a.receive_one(LAN, from_host(b"after")), Some(DropReason::NoPolicy));
}

#[test]
fn a_moved_peer_is_followed() {
    let (mut a, mut b, inbound, outbound) = one_way();
    let encapsulation = outbound.encapsulation.map(|e| Encapsulation { remote_port: 1024, ..e });
    let SaSpec { slot, spi, tunnel, .. } = outbound;
    a.apply(Command::UpdateTunnel { slot, spi, tunnel, encapsulation }).unwrap();
    assert_eq!(a.receive_one(LAN, from_host(b"x")), None);
    let wire = a.sent().pop().unwrap();
    assert_eq!(inner(&wire)[22..24], 1024u16.to_be_bytes());
    let encapsulation = inbound.encapsulation.map(|e| Encapsulation { remote_port: 1024, ..e });
    let SaSpec { slot, spi, tunnel, .. } = inbound;
    b.apply(Command::UpdateTunnel { slot, spi, tunnel, encapsulation }).unwrap();
    let mut wire = wire;
    wire.data_mut()[34..36].copy_from_slice(&1024u16.to_be_bytes());
    wire.data_mut()[36..38].copy_from_slice(&4500u16.to_be_bytes());
    assert_eq!(b.receive_one(WAN, wire), None);
    assert!(b.io.punts.is_empty(), "the new address is the peer's own");
}

fn events(gateway: &mut Gateway, now: u64) -> Vec<Event> {
    gateway.house.tick(now, &mut gateway.io);
    std::iter::from_fn(|| gateway.house.poll_event()).collect()
}

#[test]
fn lifetimes_are_told_once_and_end_the_sa() {
    let lifetime = Lifetime { soft_packets: 3, hard_packets: 5, ..Lifetime::default() };
    let (mut a, mut b) = pair(Kind { lifetime, ..Kind::PLAIN });
    a.receive(1, LAN, [from_host(b"1"), from_host(b"2")]);
    assert_eq!(events(&mut a, 1), []);
    a.receive(1, LAN, [from_host(b"3")]);
    assert!(matches!(events(&mut a, 2)[..], [Event::SoftExpire { direction: Direction::Outbound, .. }]));
    a.receive(1, LAN, [from_host(b"4"), from_host(b"5")]);
    assert_eq!(a.receive_one(LAN, from_host(b"6")), Some(DropReason::LifetimeExpired));
    assert!(matches!(events(&mut a, 3)[..], [Event::HardExpire { .. }]));
    assert_eq!(events(&mut a, 4), []);
    let wire: Vec<_> = a.sent().into_iter().filter(|f| inner(f).get(9) == Some(&50)).collect();
    b.receive(1, WAN, wire.clone());
    assert_eq!(b.receive_one(WAN, wire[0].clone()), Some(DropReason::LifetimeExpired));
    assert!(matches!(
        events(&mut b, 1)[..],
        [Event::SoftExpire { .. }, Event::HardExpire { direction: Direction::Inbound, .. }]
    ));
}

#[test]
fn numbers_that_run_out_are_told() {
    let (mut a, _, _, outbound) = one_way();
    let slot = a.region.slot(outbound.slot).unwrap();
    assert_eq!(events(&mut a, 1), []);
    slot.reserve(3 << 30).unwrap();
    let low = Event::SequenceLow { slot: outbound.slot, spi: outbound.spi, direction: Direction::Outbound };
    assert_eq!(events(&mut a, 2), [low]);
    assert_eq!(events(&mut a, 3), []);
}

#[test]
fn reports_reach_control() {
    let (mut a, _, _, outbound) = one_way();
    let flow = Flow {
        source: ip("10.1.0.2"),
        destination: ip("10.7.0.2"),
        protocol: 6,
        source_port: None,
        destination_port: None,
    };
    a.house.handle_punt(1, Punt::Acquire { child: CHILD, flow, pfp: Pfp::NONE }, &mut a.io);
    let remote = "192.0.2.7:9".parse().unwrap();
    let (slot, spi) = (outbound.slot, outbound.spi);
    a.house.handle_punt(1, Punt::NatMapping { slot, spi, remote }, &mut a.io);
    assert_eq!(a.house.poll_event(), Some(Event::Acquire { child: CHILD, flow, pfp: Pfp::NONE }));
    assert_eq!(a.house.poll_event(), Some(Event::NatMappingSeen { slot, spi, remote }));
}

#[test]
fn keepalives_fill_silence_only() {
    let (mut a, _, _, outbound) = one_way();
    assert_eq!(outbound.encapsulation.unwrap().keepalive, Duration::from_secs(20));
    let keepalives = |a: &mut Gateway, now| {
        a.house.tick(now * SECOND, &mut a.io);
        a.sent().iter().filter(|frame| inner(frame).len() == 29 && inner(frame)[28] == 0xff).count()
    };
    a.receive(100 * SECOND, LAN, [from_host(b"x")]);
    assert_eq!(keepalives(&mut a, 119), 0);
    assert_eq!(keepalives(&mut a, 121), 1);
    assert_eq!(keepalives(&mut a, 122), 0);
    a.receive(130 * SECOND, LAN, [from_host(b"x")]);
    assert_eq!(keepalives(&mut a, 142), 0);
    assert_eq!(keepalives(&mut a, 151), 1);
}

#[test]
fn a_manual_sa_may_have_a_port_of_its_own() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    let ports = |local_port, remote_port| Some(Encapsulation { local_port, remote_port, keepalive: Duration::ZERO });
    let (mut inbound, mut outbound) = specs(&a, &b, Kind { udp: true, ..Kind::PLAIN }, 1);
    (inbound.encapsulation, outbound.encapsulation) = (ports(5000, 6000), ports(6000, 5000));
    a.install(&outbound).unwrap();
    let mut send = || {
        assert_eq!(a.receive_one(LAN, from_host(b"x")), None);
        a.sent().pop().unwrap()
    };
    b.receive_one(WAN, send());
    assert!(matches!(b.io.punts[..], [Punt::Host { .. }]), "no SA, no ESP on that port");
    b.install(&inbound).unwrap();
    b.apply(Command::Install(inbound.clone())).unwrap();
    assert_eq!((b.receive_one(WAN, send()), b.sent().len()), (None, 1));
    // To the usual port it is not this SA's.
    let mut usual = send();
    usual.data_mut()[36..38].copy_from_slice(&4500u16.to_be_bytes());
    assert_eq!(b.receive_one(WAN, usual), Some(DropReason::WrongSpiMode));
    let SaSpec { slot, spi, tunnel, .. } = inbound;
    b.apply(Command::UpdateTunnel { slot, spi, tunnel, encapsulation: ports(5001, 6000) }).unwrap();
    assert_eq!(b.shared.foreign.load().ports, [(5001, 1)]);
    b.apply(Command::Remove { slot, spi, direction: Direction::Inbound }).unwrap();
    assert!(b.shared.foreign.load().ports.is_empty());
}
