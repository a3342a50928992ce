//! ICMP errors of routers that no selector holds, by the SA of the packet they are about (RFC 4301 §6.2).

use super::answers::{echo, house_drops, icmp_of, settle};
use super::audit::told;
use super::rig::*;
use crate::testing::VecBuffer;
use crate::{Buffer, PortId, Punt};
use culvert_model::*;
use culvert_telemetry::{DropReason, SaCounter};
use culvert_wire::{icmpv4, icmpv6, ipv4, ipv6, protocol};
use proptest::prelude::*;
use std::net::IpAddr;

/// Behind gateway 7, of no network that is protected.
pub(super) const ROUTERS: [&str; 2] = ["172.16.0.9", "fd00:99::9"];

#[derive(Clone, Copy, Debug)]
pub(super) enum Error {
    Unreachable,
    TimeExceeded,
    TooBig,
    Parameter,
}

const ERRORS: [Error; 4] = [Error::Unreachable, Error::TimeExceeded, Error::TooBig, Error::Parameter];

/// To `to`, about the packet whose start is quoted.
pub(super) fn error(kind: Error, from: &str, to: &str, quote: &[u8]) -> Vec<u8> {
    match (ip(from), ip(to)) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let body = [&[20, 0, 0, 0][..], quote].concat();
            let code = icmpv4::UnreachableCode::PORT;
            wrap_v4(
                s,
                d,
                &match kind {
                    Error::Unreachable => icmpv4::Message::Unreachable { code, mtu: 0, quote },
                    Error::TimeExceeded => icmpv4::Message::TimeExceeded { code: 0, quote },
                    Error::TooBig => {
                        let code = icmpv4::UnreachableCode::FRAGMENTATION_NEEDED;
                        icmpv4::Message::Unreachable { code, mtu: 1300, quote }
                    }
                    Error::Parameter => icmpv4::Message::Other { kind: 12, code: 0, body: &body },
                },
            )
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let message = match kind {
                Error::Unreachable => icmpv6::Message::Unreachable { code: icmpv6::UnreachableCode::PORT, quote },
                Error::TimeExceeded => icmpv6::Message::TimeExceeded { code: 0, quote },
                Error::TooBig => icmpv6::Message::PacketTooBig { mtu: 1300, quote },
                Error::Parameter => icmpv6::Message::ParameterProblem { code: 0, pointer: 40, quote },
            };
            let mut body = vec![0; message.len()];
            message.emit(s, d, &mut body).unwrap();
            let header = ipv6::Repr::new(s, d, protocol::ICMPV6, body.len() as u16);
            [&header.to_bytes()[..], &body].concat()
        }
        _ => panic!("mixed families"),
    }
}

fn wrap_v4(source: std::net::Ipv4Addr, destination: std::net::Ipv4Addr, message: &icmpv4::Message<'_>) -> Vec<u8> {
    let mut body = vec![0; message.len()];
    message.emit(&mut body).unwrap();
    let header = ipv4::Repr::new(source, destination, protocol::ICMP, body.len() as u16);
    [&header.to_bytes()[..], &body].concat()
}

/// What host 1 sends to host 7: the cause.
pub(super) fn sent(v6: bool) -> Vec<u8> {
    let (source, destination) = hosts(v6);
    packet(ip(source), ip(destination), &[7; 40])
}

const fn hosts(v6: bool) -> (&'static str, &'static str) {
    if v6 { ("fd00:1::2", "fd00:7::2") } else { ("10.1.0.2", "10.7.0.2") }
}

/// From the router behind gateway 7 to host 1, about its packet.
pub(super) fn usual(kind: Error, v6: bool) -> Vec<u8> {
    error(kind, ROUTERS[usize::from(v6)], hosts(v6).0, &sent(v6))
}

fn at_lan(site: u8, packet: &[u8]) -> VecBuffer {
    frame(host_mac(site), mac(site, LAN), packet)
}

/// Everything but TTL, hop limit and header checksum.
fn same_but_hops(sent: &[u8], got: &[u8]) -> bool {
    let mask = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        if packet[0] >> 4 == 6 {
            packet[7] = 0
        } else {
            packet[8..12].fill(0)
        }
        packet
    };
    mask(sent) == mask(got)
        && sent[if sent[0] >> 4 == 6 { 7 } else { 8 }] == got[if got[0] >> 4 == 6 { 7 } else { 8 }] + 2
}

fn is_esp(frame: &VecBuffer) -> bool {
    let packet = inner(frame);
    packet[if packet[0] >> 4 == 6 { 6 } else { 9 }] == protocol::ESP
}

/// An error at gateway 7's lan, through the tunnel, to host 1.
fn passes(a: &mut Gateway, b: &mut Gateway, packet: &[u8]) {
    assert_eq!(b.receive_one(LAN, at_lan(7, packet)), None);
    let wire = b.sent().remove(0);
    assert!(is_esp(&wire));
    assert_eq!(a.receive_one(WAN, wire), None);
    let (port, got) = a.io.sent.remove(0);
    assert!(port == LAN && same_but_hops(packet, inner(&got)));
}

fn policy(id: u32, local: &str, remote: &str, action: Action) -> Policy {
    Policy {
        id: PolicyId(id),
        direction: PolicyDirection::Outbound,
        priority: 50,
        local: vec![net(local)],
        remote: vec![net(remote)],
        action,
        interface: None,
        pfp: Pfp::NONE,
    }
}

/// What [`Gateway::protect`] states, and these.
fn protect_and(gateway: &mut Gateway, peer: u8, more: Vec<Policy>) {
    let (local, remote) = (lans(gateway.site), lans(peer));
    let action = Action::Protect { child: CHILD, trap: true };
    let of = |id, direction| Policy {
        direction,
        priority: 100,
        local: local.clone(),
        remote: remote.clone(),
        ..policy(id, "::/0", "::/0", action)
    };
    gateway.policies([of(1, PolicyDirection::Outbound), of(2, PolicyDirection::Inbound)].into_iter().chain(more));
}

fn change_sas(a: &mut Gateway, b: &mut Gateway, change: impl Fn(&mut SaSpec)) {
    for (from_b, key) in [(true, 1), (false, 100)] {
        let (from, to) = if from_b { (&mut *b, &mut *a) } else { (&mut *a, &mut *b) };
        let (mut inbound, mut outbound) = specs(from, to, Kind::PLAIN, key);
        change(&mut inbound);
        change(&mut outbound);
        to.install(&inbound).unwrap();
        from.install(&outbound).unwrap();
    }
}

#[test]
fn routers_on_the_way_are_heard_through_the_tunnel() {
    for kind in [Kind::PLAIN, Kind { outer_v6: true, ..Kind::PLAIN }] {
        let (mut a, mut b) = pair(kind);
        for (error, v6) in ERRORS.into_iter().flat_map(|error| [(error, false), (error, true)]) {
            passes(&mut a, &mut b, &usual(error, v6));
        }
        assert_eq!((a.all_drops(), b.all_drops()), (0, 0));
        assert!(told(&mut a).is_empty() && told(&mut b).is_empty());
    }
}

#[test]
fn a_router_within_the_selectors_needs_no_look_at_what_it_quotes() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    // About a packet of nobody's.
    passes(&mut a, &mut b, &error(Error::TimeExceeded, "10.7.0.9", "10.1.0.2", &[]));
}

/// Gateway 7 sends nothing but errors this way, and only those about packets that it might have got out of the tunnel.
#[test]
fn what_goes_by_no_sa_is_dropped_and_named() {
    use DropReason::{IcmpErrorNoSa, NoPolicy, PolicyDiscard};
    let router = ROUTERS[0];
    let to_host = |quote: &[u8]| error(Error::TimeExceeded, router, "10.1.0.2", quote);
    let about = |source: &str, destination: &str| to_host(&packet(ip(source), ip(destination), b"x"));
    let mut wrong_sum = usual(Error::TimeExceeded, false);
    wrong_sum[23] ^= 1;
    let mut piece = usual(Error::TimeExceeded, false);
    (piece[6], piece[7]) = (0x20, 0);
    super::bad_input::reseal_header(&mut piece);
    let body = [&[0; 4][..], &sent(false)].concat();
    let other = |kind| {
        wrap_v4([172, 16, 0, 9].into(), [10, 1, 0, 2].into(), &icmpv4::Message::Other { kind, code: 0, body: &body })
    };
    let an_error = to_host(&sent(false));
    let later = {
        let mut cause = sent(false);
        cause[7] = 9;
        to_host(&cause)
    };
    let cases: Vec<(&str, Vec<u8>, Option<DropReason>)> = vec![
        ("as it should be", usual(Error::TimeExceeded, false), None),
        ("about a later fragment, where no port is asked for", later, None),
        ("no error", echo(router, "10.1.0.2", 64), Some(NoPolicy)),
        ("no ICMP", packet(ip(router), ip("10.1.0.2"), b"x"), Some(NoPolicy)),
        ("redirect", other(5), Some(NoPolicy)),
        ("source quench", other(4), Some(NoPolicy)),
        ("its sum is wrong", wrong_sum, Some(NoPolicy)),
        ("in fragments", piece, Some(NoPolicy)),
        ("quotes nothing", to_host(&[]), Some(IcmpErrorNoSa)),
        ("quotes half a header", to_host(&sent(false)[..19]), Some(IcmpErrorNoSa)),
        ("about an error", to_host(&an_error), Some(IcmpErrorNoSa)),
        ("about another host's packet", about("10.1.0.3", "10.7.0.2"), Some(IcmpErrorNoSa)),
        ("about its own destination's answer", about("10.7.0.2", "10.1.0.2"), Some(IcmpErrorNoSa)),
        ("about a packet to elsewhere", about("10.1.0.2", "10.8.0.2"), Some(IcmpErrorNoSa)),
        ("of the other family", to_host(&sent(true)), Some(IcmpErrorNoSa)),
        (
            "between strangers",
            error(Error::TimeExceeded, router, "8.8.8.8", &packet(ip("8.8.8.8"), ip("9.9.9.9"), b"x")),
            Some(IcmpErrorNoSa),
        ),
        ("about a discarded answer", about("10.1.0.2", "10.6.0.2"), Some(IcmpErrorNoSa)),
        (
            "of a discarded sender",
            error(Error::TimeExceeded, "172.17.0.9", "10.1.0.2", &sent(false)),
            Some(PolicyDiscard),
        ),
    ];
    let (_, mut b) = pair(Kind::PLAIN);
    protect_and(
        &mut b,
        1,
        vec![
            policy(5, "172.17.0.0/16", "0.0.0.0/0", Action::Discard),
            policy(6, "10.6.0.0/16", "0.0.0.0/0", Action::Discard),
        ],
    );
    for (what, packet, want) in cases {
        b.io.sent.clear();
        assert_eq!(b.receive_one(LAN, at_lan(7, &packet)), want, "{what}");
        assert!(b.io.sent.iter().all(|(port, frame)| *port == WAN && is_esp(frame)), "{what}");
    }
    assert!(!b.io.punts.iter().any(|punt| matches!(punt, Punt::Acquire { .. })));
}

#[test]
fn without_an_sa_none_is_asked_for_and_it_is_told_once_a_second() {
    let mut b = Gateway::new(7, 1);
    b.protect(1);
    for (now, want) in [(SECOND, 1), (SECOND + 1, 0), (3 * SECOND, 1)] {
        for v6 in [false, true] {
            b.receive(now, LAN, [at_lan(7, &usual(Error::Unreachable, v6))]);
        }
        assert!(!b.io.punts.iter().any(|punt| matches!(punt, Punt::Acquire { .. })));
        let told = told(&mut b);
        assert_eq!(told.len(), want, "at {now}");
        for (reason, slot, spi, flow) in told {
            assert_eq!((reason, slot, spi), (DropReason::IcmpErrorNoSa, None, None));
            assert_eq!((flow.source, flow.destination), (ip(ROUTERS[0]), ip("10.1.0.2")));
        }
    }
    assert_eq!((b.dropped(DropReason::IcmpErrorNoSa), b.all_drops()), (6, 6));
    assert!(b.io.sent.is_empty());
}

/// Who writes an entry for an error's own header gets what it says.
#[test]
fn entries_for_the_errors_themselves_come_first() {
    let from_routers = |action| vec![policy(5, "172.16.0.0/12", "10.1.0.0/16", action)];
    let usual = || at_lan(7, &usual(Error::TimeExceeded, false));
    let (_, mut b) = pair(Kind::PLAIN);
    protect_and(&mut b, 1, from_routers(Action::Discard));
    assert_eq!(b.receive_one(LAN, usual()), Some(DropReason::PolicyDiscard));
    protect_and(&mut b, 1, from_routers(Action::Bypass));
    assert_eq!(b.receive_one(LAN, usual()), None);
    settle(&mut b, SECOND);
    // To a child of its own, which has no SA yet and may ask for one.
    protect_and(&mut b, 1, from_routers(Action::Protect { child: ChildId(9), trap: true }));
    assert_eq!(b.receive_one(LAN, usual()), Some(DropReason::NoSa));
    assert!(matches!(b.io.punts[..], [Punt::Acquire { child: ChildId(9), .. }]));
    assert!(b.io.sent.is_empty());
    // And at the other end, of what came out of the tunnel.
    let (mut a, mut b) = pair(Kind::PLAIN);
    protect_and(&mut a, 7, from_routers(Action::Discard));
    assert_eq!(b.receive_one(LAN, usual()), None);
    let wire = b.sent().remove(0);
    assert_eq!(a.receive_one(WAN, wire), Some(DropReason::PolicyDiscard));
}

/// From outside, in clear: the answers to what host 1 sends come by the tunnel, and so do the errors.
#[test]
fn errors_about_protected_packets_do_not_come_in_clear() {
    let (mut a, _) = pair(Kind::PLAIN);
    for v6 in [false, true] {
        let (host, peer) = hosts(v6);
        let forged = |from: &str| frame(mac(7, WAN), mac(1, WAN), &error(Error::TooBig, from, host, &sent(v6)));
        assert_eq!(a.receive_one(WAN, forged(ROUTERS[usize::from(v6)])), Some(DropReason::IcmpErrorNoSa));
        assert_eq!(a.receive_one(WAN, forged(peer)), Some(DropReason::InboundClear));
    }
    assert!(a.io.sent.is_empty());
}

/// The policy takes the router's address, or ICMP; the SA that was agreed on does not.
#[test]
fn an_sa_narrower_than_its_policy_takes_what_is_about_its_packets() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    protect_and(
        &mut b,
        1,
        vec![policy(5, "172.16.0.0/12", "10.1.0.0/16", Action::Protect { child: CHILD, trap: true })],
    );
    let to_port = |ts: &mut TrafficSelector| (ts.protocol, ts.ports) = (Some(protocol::UDP), PortRange::single(2000));
    change_sas(&mut a, &mut b, |spec| {
        let of_7 =
            |ts: &&mut TrafficSelector| [ip("10.7.0.2"), ip("fd00:7::2")].iter().any(|host| ts.addrs.contains(*host));
        spec.local_ts.iter_mut().chain(&mut spec.remote_ts).filter(of_7).for_each(to_port);
    });
    // 172.16.0.9 by the policy of its own; 10.7.0.9 by that of the network; fd00:99::9 by none.
    let about = |from: &str, v6| error(Error::Unreachable, from, hosts(v6).0, &sent(v6));
    for (from, v6) in [(ROUTERS[0], false), ("10.7.0.9", false), (ROUTERS[1], true), ("fd00:7::9", true)] {
        passes(&mut a, &mut b, &about(from, v6));
    }
    assert_eq!((a.all_drops(), b.all_drops()), (0, 0));
    let outbound = b.shared.outbound_of(CHILD).unwrap().as_ref().unwrap().cold.index;
    // Another port, and none to be seen: cut off, or of a later fragment.
    let mut other_port = sent(false);
    other_port[23] ^= 1;
    let mut later = sent(false);
    later[7] = 9;
    let cut = sent(false)[..22].to_vec();
    for (quote, number) in [other_port, later, cut].into_iter().zip(1..) {
        let error = error(Error::Unreachable, ROUTERS[0], "10.1.0.2", &quote);
        assert_eq!(b.receive_one(LAN, at_lan(7, &error)), Some(DropReason::IcmpErrorNoSa));
        assert_eq!(b.region.slot(outbound).unwrap().get(SaCounter::OtherDrops.index()), number);
    }
    // What is no error is what it was.
    assert_eq!(
        b.receive_one(LAN, at_lan(7, &echo(ROUTERS[0], "10.1.0.2", 64))),
        Some(DropReason::OutboundSelectorMismatch)
    );
    assert!(b.io.sent.is_empty());
}

/// An SA of echo requests and one of replies: an error goes by that of its packet.
#[test]
fn errors_about_pings_go_by_type_and_code() {
    for (selected, quoted, want) in [(0x0800, 8, None), (0x0800, 0, Some(DropReason::IcmpErrorNoSa))] {
        let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
        a.protect(7);
        b.protect(1);
        change_sas(&mut a, &mut b, |spec| {
            for ts in spec.local_ts.iter_mut().chain(&mut spec.remote_ts) {
                (ts.protocol, ts.ports) = (Some(protocol::ICMP), PortRange::single(selected));
            }
        });
        let mut ping = echo("10.1.0.2", "10.7.0.2", 1);
        ping[20] = quoted;
        let error = error(Error::TimeExceeded, ROUTERS[0], "10.1.0.2", &ping);
        match want {
            None => passes(&mut a, &mut b, &error),
            want => assert_eq!(b.receive_one(LAN, at_lan(7, &error)), want),
        }
    }
}

/// A peer that sends whatever it likes: gateway 1 looks into what its selectors do not hold.
#[test]
fn the_receiver_looks_for_itself() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.policies([policy(1, "0.0.0.0/0", "0.0.0.0/0", Action::Protect { child: CHILD, trap: false })]);
    let (inbound, outbound) = specs(&b, &a, Kind::PLAIN, 1);
    a.install(&inbound).unwrap();
    b.install(&SaSpec { local_ts: vec![net("0.0.0.0/0")], remote_ts: vec![net("0.0.0.0/0")], ..outbound }).unwrap();
    let router = ROUTERS[0];
    let to_host = |quote: &[u8]| error(Error::TimeExceeded, router, "10.1.0.2", quote);
    let about = |source: &str, destination: &str| packet(ip(source), ip(destination), b"x");
    let mut wrong_sum = usual(Error::TimeExceeded, false);
    wrong_sum[23] ^= 1;
    let mut piece = usual(Error::TimeExceeded, false);
    (piece[6], piece[7]) = (0x20, 0);
    super::bad_input::reseal_header(&mut piece);
    let mismatch = Some(DropReason::SelectorMismatch);
    let own = error(Error::TimeExceeded, "10.1.0.1", "10.1.0.2", &sent(false));
    let cases: Vec<(&str, Vec<u8>, Option<DropReason>)> = vec![
        ("as it should be", usual(Error::TimeExceeded, false), None),
        ("about another peer's network", to_host(&about("10.1.0.2", "10.9.0.2")), mismatch),
        ("about another host's packet", to_host(&about("10.1.0.3", "10.7.0.2")), mismatch),
        (
            "to a host of nobody's",
            error(Error::TimeExceeded, router, "8.8.8.8", &about("8.8.8.8", "10.7.0.2")),
            mismatch,
        ),
        ("about an error", to_host(&to_host(&sent(false))), mismatch),
        ("quotes nothing", to_host(&[]), mismatch),
        ("its sum is wrong", wrong_sum, mismatch),
        ("in fragments", piece, mismatch),
        ("no error", echo(router, "10.1.0.2", 64), mismatch),
        ("as if from the box itself", own, Some(DropReason::SourceSpoofed)),
    ];
    let mut mismatches = 0;
    for ((what, packet, want), now) in cases.into_iter().zip(1..) {
        b.receive(SECOND, LAN, [at_lan(7, &packet)]);
        let before = a.dropped(DropReason::SelectorMismatch);
        let dropped = a.all_drops();
        a.receive(2 * now * SECOND, WAN, b.sent());
        mismatches += a.dropped(DropReason::SelectorMismatch) - before;
        let told = told(&mut a);
        match want {
            None => assert_eq!((a.sent().len(), told.len(), a.all_drops()), (1, 0, dropped), "{what}"),
            Some(want) => {
                assert_eq!((a.sent().len(), a.all_drops()), (0, dropped + 1), "{what}");
                let [(reason, slot, spi, flow)] = told[..] else { panic!("{what}: {told:?}") };
                assert_eq!((reason, slot, spi), (want, Some(inbound.slot), Some(inbound.spi)), "{what}");
                assert_eq!(flow.protocol, protocol::ICMP);
            }
        }
    }
    let slot = a.region.slot(inbound.slot).unwrap();
    assert_eq!((slot.get(SaCounter::SelectorMismatches.index()), mismatches), (8, 8));
}

/// RFC 4301 §4.1: between its two ends; a router is neither.
#[test]
fn an_sa_in_transport_mode_takes_no_errors_of_routers() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    change_sas(&mut a, &mut b, |spec| spec.mode = SaMode::Transport);
    let usual = usual(Error::TimeExceeded, false);
    assert_eq!(b.receive_one(LAN, at_lan(7, &usual)), Some(DropReason::IcmpErrorNoSa));
}

/// To the box itself: about what it sent through the tunnel.
#[test]
fn errors_to_the_box_come_out_of_its_tunnel() {
    let (mut a, mut b) = pair(Kind::PLAIN);
    let cause = packet(ip("10.1.0.1"), ip("10.7.0.2"), b"x");
    let error = error(Error::Unreachable, ROUTERS[0], "10.1.0.1", &cause);
    assert_eq!(b.receive_one(LAN, at_lan(7, &error)), None);
    let wire = b.sent().remove(0);
    a.io.host = Some(Vec::new());
    assert_eq!(a.receive_one(WAN, wire), None);
    settle(&mut a, SECOND);
    let host = a.io.host.take().unwrap();
    assert_eq!(host.len(), 1);
    assert_eq!(icmp_of(host[0].data()), (ip(ROUTERS[0]), ip("10.1.0.1"), 3));
}

/// The gateway's own address is of no selector.
#[test]
fn the_boxs_own_errors_go_back_by_the_sa_too() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    let hosts_of_7 = || vec![net("10.7.0.2/32"), net("fd00:7::2/128")];
    let action = Action::Protect { child: CHILD, trap: true };
    let of = |id, direction, local: Vec<TrafficSelector>, remote: Vec<TrafficSelector>| Policy {
        direction,
        local,
        remote,
        ..policy(id, "::/0", "::/0", action)
    };
    let both = [(1, PolicyDirection::Outbound), (2, PolicyDirection::Inbound)];
    a.policies(both.map(|(id, direction)| of(id, direction, lans(1), hosts_of_7())));
    b.policies(both.map(|(id, direction)| of(id, direction, hosts_of_7(), lans(1))));
    change_sas(&mut a, &mut b, |spec| {
        for side in [&mut spec.local_ts, &mut spec.remote_ts] {
            if side[0].addrs.contains(ip("10.7.0.2")) {
                *side = hosts_of_7();
            }
        }
    });
    for (v6, own) in [(false, "10.7.0.1"), (true, "fd00:7::1")] {
        let (host, peer) = hosts(v6);
        // Two hops: the second is gateway 7.
        assert_eq!(a.receive_one(LAN, at_lan(1, &echo(host, peer, 2))), None);
        let wire = a.sent().remove(0);
        assert_eq!(b.receive_one(WAN, wire), None);
        let answer = settle(&mut b, SECOND).remove(0);
        assert!(answer.0 == WAN && is_esp(&answer.1));
        assert_eq!(a.receive_one(WAN, answer.1), None);
        assert_eq!(icmp_of(inner(&a.sent()[0])), (ip(own), ip(host), if v6 { 3 } else { 11 }));
    }
    // And nowhere else, once there is none.
    assert_eq!(a.receive_one(LAN, at_lan(1, &echo("10.1.0.2", "10.7.0.2", 2))), None);
    let wire = a.sent().remove(0);
    b.receive(SECOND, WAN, [wire]);
    b.policies([]);
    assert!(settle(&mut b, SECOND).is_empty());
    assert_eq!(house_drops(&b, DropReason::IcmpErrorNoSa), 1);
}

#[test]
fn an_error_that_dies_on_the_way_is_not_told_of() {
    let (_, mut b) = pair(Kind::PLAIN);
    let mut last_hop = usual(Error::TimeExceeded, false);
    last_hop[8] = 1;
    super::bad_input::reseal_header(&mut last_hop);
    assert_eq!(b.receive_one(LAN, at_lan(7, &last_hop)), None);
    assert!(matches!(b.io.punts[..], [Punt::TtlExceeded { .. }]));
    assert!(settle(&mut b, SECOND).is_empty());
}

/// Spokes 1 and 9, hub 7: the error comes by one tunnel and goes by the other, never in clear.
#[test]
fn a_hub_hands_errors_from_tunnel_to_tunnel() {
    for connected in [true, false] {
        let (mut a, mut hub, mut spoke) = (Gateway::new(1, 7), Gateway::new(7, 1), Gateway::new(9, 7));
        let protect = |child| Action::Protect { child, trap: true };
        let of = |id, local, remote, child| Policy { local, remote, ..policy(id, "::/0", "::/0", protect(child)) };
        const TO_SPOKE: ChildId = ChildId(4);
        a.policies([of(1, lans(1), lans(9), CHILD)]);
        spoke.policies([of(1, lans(9), lans(1), CHILD)]);
        let from_spoke = Policy { direction: PolicyDirection::Inbound, ..of(3, lans(1), lans(9), TO_SPOKE) };
        let all = [of(1, lans(9), lans(1), CHILD), of(2, lans(1), lans(9), TO_SPOKE), from_spoke];
        hub.policies(all.clone());
        let (inbound, outbound) = specs(&spoke, &hub, Kind::PLAIN, 1);
        hub.install(&SaSpec { child: TO_SPOKE, local_ts: lans(1), ..inbound }).unwrap();
        spoke.install(&SaSpec { remote_ts: lans(1), ..outbound }).unwrap();
        if connected {
            let (inbound, outbound) = specs(&hub, &a, Kind::PLAIN, 2);
            a.install(&SaSpec { remote_ts: lans(9), ..inbound }).unwrap();
            hub.install(&SaSpec { local_ts: lans(9), ..outbound }).unwrap();
        }
        // What spoke 9's hosts say comes by its tunnel, and so does what is said of packets to them.
        let clear = error(Error::TimeExceeded, ROUTERS[0], "10.1.0.2", &packet(ip("10.1.0.2"), ip("10.9.0.2"), b"x"));
        assert_eq!(hub.receive_one(LAN, at_lan(7, &clear)), Some(DropReason::IcmpErrorNoSa));
        for v6 in [false, true] {
            let (host, peer) = if v6 { ("fd00:1::2", "fd00:9::2") } else { ("10.1.0.2", "10.9.0.2") };
            let error = error(Error::TimeExceeded, ROUTERS[usize::from(v6)], host, &packet(ip(host), ip(peer), b"x"));
            assert_eq!(spoke.receive_one(LAN, at_lan(9, &error)), None);
            let wire = spoke.sent().remove(0);
            if !connected {
                assert_eq!(hub.receive_one(WAN, wire), Some(DropReason::IcmpErrorNoSa));
                continue;
            }
            assert_eq!(hub.receive_one(WAN, wire), None);
            let wire = hub.sent().remove(0);
            assert!(is_esp(&wire));
            assert_eq!(a.receive_one(WAN, wire), None);
            assert_eq!(icmp_of(inner(&a.sent()[0])), (ip(ROUTERS[usize::from(v6)]), ip(host), if v6 { 3 } else { 11 }));
        }
        // An entry for the routers' own addresses is heard all the same.
        hub.policies(all.into_iter().chain([policy(9, "172.16.0.0/12", "10.1.0.0/16", Action::Bypass)]));
        assert_eq!(spoke.receive_one(LAN, at_lan(9, &clear)), None);
        let wire = spoke.sent().remove(0);
        hub.io.punts.clear();
        assert_eq!(hub.receive_one(WAN, wire), None);
        // In clear, to the next router.
        assert!(matches!(hub.io.punts[..], [Punt::Unresolved { .. }]) && hub.io.sent.is_empty());
    }
}

/// Ports that cannot be seen might be those of an entry.
#[test]
fn an_error_without_ports_does_not_slip_past_an_entry_that_asks_for_them() {
    let (_, mut b) = pair(Kind::PLAIN);
    let ports = (Some(protocol::UDP), PortRange::single(2001));
    let mut telnet = policy(5, "10.7.0.0/16", "10.1.0.0/16", Action::Discard);
    (telnet.local[0].protocol, telnet.local[0].ports) = ports;
    protect_and(&mut b, 1, vec![telnet]);
    let mut discarded = sent(false);
    discarded[23] ^= 1;
    for (quote, want) in [
        (&sent(false)[..], None),
        (&sent(false)[..23], Some(DropReason::IcmpErrorNoSa)),
        (&discarded, Some(DropReason::IcmpErrorNoSa)),
    ] {
        let error = error(Error::TimeExceeded, ROUTERS[0], "10.1.0.2", quote);
        assert_eq!(b.receive_one(LAN, at_lan(7, &error)), want);
    }
}

/// The sealed one is as large as any other packet, and goes the way of those.
#[test]
fn an_error_too_large_for_the_tunnel_is_cut_or_dropped() {
    let (_, mut b) = pair(Kind::PLAIN);
    let large = error(Error::TimeExceeded, ROUTERS[0], "10.1.0.2", &packet(ip("10.1.0.2"), ip("10.7.0.2"), &[1; 1400]));
    assert_eq!(large.len(), 1456);
    b.receive(SECOND, LAN, [at_lan(7, &large)]);
    let wire = b.sent();
    assert!(wire.len() == 2 && wire.iter().all(is_esp));
    let mut whole = large;
    whole[6] = 0x40;
    super::bad_input::reseal_header(&mut whole);
    assert_eq!(b.receive_one(LAN, at_lan(7, &whole)), None);
    assert!(matches!(b.io.punts[..], [Punt::TooBig { .. }]));
    assert!(settle(&mut b, SECOND).is_empty(), "nothing is said about errors");
}

/// Whatever an error quotes: one way out, and in clear none.
#[test]
fn any_quote() {
    let (_, b) = pair(Kind::PLAIN);
    let gateway = std::cell::RefCell::new(b);
    let run = |v6: bool, quote: &[u8], port: PortId| {
        let mut b = gateway.borrow_mut();
        let packet = error(Error::TimeExceeded, ROUTERS[usize::from(v6)], hosts(v6).0, quote);
        b.io.punts.clear();
        let dropped = b.receive_one(port, frame(host_mac(7), mac(7, port), &packet));
        assert!(matches!(dropped, None | Some(DropReason::IcmpErrorNoSa)), "{dropped:?}");
        assert!(b.sent().iter().all(is_esp));
    };
    let change = proptest::collection::vec((0usize..60, any::<u8>()), 0..4);
    proptest!(|(v6: bool, len in 0usize..90, changes in change, lan: bool)| {
        let mut quote = sent(v6);
        quote.truncate(len);
        for (at, octet) in changes {
            if let Some(place) = quote.get_mut(at) {
                *place = octet;
            }
        }
        run(v6, &quote, if lan { LAN } else { WAN });
    });
    proptest!(|(v6: bool, quote in proptest::collection::vec(any::<u8>(), 0..90))| run(v6, &quote, LAN));
}
