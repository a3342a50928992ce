//! Verdicts by hand, and the index against the list it stands for.

use super::random::{Random, Shape};
use super::*;
use culvert_model::{AddrRange, Pfp, PolicyId, PortRange, TrafficSelector};
use ipnet::IpNet;
use proptest::prelude::*;

fn ts(net: &str) -> TrafficSelector {
    TrafficSelector::any(AddrRange::from(net.parse::<IpNet>().unwrap()))
}

fn policy(id: u32, direction: PolicyDirection, local: &str, remote: &str, action: Action) -> Policy {
    Policy {
        id: PolicyId(id),
        direction,
        priority: 10,
        local: vec![ts(local)],
        remote: vec![ts(remote)],
        action,
        interface: None,
        pfp: Pfp::NONE,
    }
}

fn flow(source: &str, destination: &str) -> Flow {
    Flow {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: 6,
        source_port: Some(1000),
        destination_port: Some(80),
    }
}

const PROTECT: Action = Action::Protect { child: ChildId(7), trap: false };

pub(super) fn table(policies: impl IntoIterator<Item = Policy>) -> Spd {
    let mut spd = Spd::default();
    policies.into_iter().for_each(|policy| spd.insert(&policy));
    spd
}

fn tunnel() -> Spd {
    table([
        policy(1, PolicyDirection::Outbound, "10.1.0.0/16", "10.7.0.0/16", PROTECT),
        policy(2, PolicyDirection::Inbound, "10.1.0.0/16", "10.7.0.0/16", PROTECT),
    ])
}

#[test]
fn a_tunnel_protects_both_ways() {
    let spd = tunnel();
    let (out, back) = (flow("10.1.0.1", "10.7.0.1"), flow("10.7.0.1", "10.1.0.1"));
    let protect = Verdict::Protect { child: ChildId(7), trap: false, pfp: Pfp::NONE };
    assert_eq!(spd.judge(&out, false, Origin::Clear, None), protect);
    assert_eq!(spd.judge(&out, false, Origin::Own, None), protect);
    assert_eq!(spd.judge(&back, false, Origin::Clear, None), Verdict::Drop(DropReason::InboundClear));
    assert_eq!(spd.judge(&back, false, Origin::Tunnel, None), Verdict::Forward);
    assert_eq!(spd.admits_to_box(&back, false), Err(DropReason::InboundClear));
    let other = flow("10.1.0.1", "192.0.2.1");
    assert_eq!(spd.judge(&other, false, Origin::Clear, None), Verdict::Drop(DropReason::NoPolicy));
    assert_eq!(spd.judge(&other, false, Origin::Own, None), Verdict::Forward);
    assert_eq!(spd.judge(&other, false, Origin::OwnAnswer, None), Verdict::Drop(DropReason::NoPolicy));
    assert_eq!(spd.judge(&out, false, Origin::OwnAnswer, None), protect);
    assert_eq!(spd.admits_to_box(&other, false), Ok(()));
}

#[test]
fn out_of_one_tunnel_into_another() {
    let spd = table([policy(1, PolicyDirection::Outbound, "10.0.0.0/8", "10.8.0.0/16", PROTECT)]);
    let verdict = spd.judge(&flow("10.7.0.1", "10.8.0.1"), false, Origin::Tunnel, None);
    assert_eq!(verdict, Verdict::Protect { child: ChildId(7), trap: false, pfp: Pfp::NONE });
}

#[test]
fn bypass_of_either_direction_forwards_but_never_what_is_protected() {
    let mut entries = vec![policy(5, PolicyDirection::Inbound, "10.1.0.0/16", "0.0.0.0/0", Action::Bypass)];
    assert_eq!(
        table(entries.clone()).judge(&flow("8.8.8.8", "10.1.0.1"), false, Origin::Clear, None),
        Verdict::Forward
    );
    entries.push(policy(6, PolicyDirection::Outbound, "8.0.0.0/8", "10.1.0.0/16", PROTECT));
    let verdict = table(entries.clone()).judge(&flow("8.8.8.8", "10.1.0.1"), false, Origin::Clear, None);
    assert!(matches!(verdict, Verdict::Protect { .. }));
    entries.push(policy(1, PolicyDirection::Outbound, "8.0.0.0/8", "10.1.0.0/16", Action::Discard));
    let verdict = table(entries).judge(&flow("8.8.8.8", "10.1.0.1"), false, Origin::Clear, None);
    assert_eq!(verdict, Verdict::Drop(DropReason::PolicyDiscard));
}

#[test]
fn a_fragment_never_slips_past_a_port_policy() {
    let web = TrafficSelector { protocol: Some(6), ports: PortRange::single(80), ..ts("10.7.0.0/16") };
    let protect =
        Policy { remote: vec![web], ..policy(1, PolicyDirection::Outbound, "10.1.0.0/16", "10.7.0.0/16", PROTECT) };
    let bypass = policy(2, PolicyDirection::Outbound, "10.0.0.0/8", "10.0.0.0/8", Action::Bypass);
    let spd = table([protect.clone(), bypass]);
    let whole = flow("10.1.0.1", "10.7.0.1");
    assert!(matches!(spd.judge(&whole, false, Origin::Clear, None), Verdict::Protect { .. }));
    let part = Flow { source_port: None, destination_port: None, ..whole };
    assert_eq!(spd.judge(&part, true, Origin::Clear, None), Verdict::Drop(DropReason::FragmentInner));
    let udp = Flow { protocol: 17, ..part };
    assert_eq!(spd.judge(&udp, true, Origin::Clear, None), Verdict::Forward);
    // Nor is it left to the PROTECT behind a bypass for ports, where it would miss its first fragment.
    let spd = table([
        Policy { action: Action::Bypass, ..protect },
        policy(3, PolicyDirection::Outbound, "10.1.0.0/16", "10.7.0.0/16", PROTECT),
    ]);
    assert_eq!(spd.judge(&part, true, Origin::Clear, None), Verdict::Drop(DropReason::FragmentInner));
}

#[test]
fn the_very_last_policy_is_one_too() {
    let last = policy(u32::MAX, PolicyDirection::Outbound, "10.1.0.0/16", "10.7.0.0/16", Action::Discard);
    let last = Policy { priority: u32::MAX, ..last };
    let few = table([last.clone()]);
    let other = |id| policy(id, PolicyDirection::Outbound, &format!("10.2.{id}.0/24"), "10.7.0.0/16", PROTECT);
    let many = table((0..20).map(other).chain([last]));
    for spd in [few, many] {
        let verdict = spd.judge(&flow("10.1.0.1", "10.7.0.1"), false, Origin::Own, None);
        assert_eq!(verdict, Verdict::Drop(DropReason::PolicyDiscard));
    }
}

#[test]
fn policies_of_a_tunnel_interface_see_only_what_is_routed_into_it() {
    let protect = |child| Action::Protect { child: ChildId(child), trap: false };
    let bound = |id, child, interface| Policy {
        interface,
        ..policy(id, PolicyDirection::Outbound, "0.0.0.0/0", "0.0.0.0/0", protect(child))
    };
    let (here, there) = (Some(InterfaceId(2)), Some(InterfaceId(3)));
    let spd = table([bound(1, 7, here), bound(2, 8, there), bound(3, 9, None)]);
    let flow = flow("10.1.0.1", "10.7.0.1");
    for (interface, child) in [(here, 7), (there, 8), (None, 9)] {
        let verdict = spd.judge(&flow, false, Origin::Clear, interface);
        assert_eq!(verdict, Verdict::Protect { child: ChildId(child), trap: false, pfp: Pfp::NONE }, "{interface:?}");
    }
    let verdict = spd.judge(&flow, false, Origin::Clear, Some(InterfaceId(4)));
    assert_eq!(verdict, Verdict::Drop(DropReason::NoPolicy));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_index_finds_what_the_list_finds(seed: u64) {
        change_and_compare(seed)?;
    }
}

/// A table of some shape through its changes, with 40 packets after each: in all cases together more than a million. In
/// the end an earlier version is still what it was, and nothing is left where nothing should be.
fn change_and_compare(seed: u64) -> Result<(), TestCaseError> {
    let mut random = Random::new(seed);
    let shape = Shape::of(&mut random);
    let (mut list, mut table) = (Vec::new(), Spd::default());
    let mut earlier = (list.clone(), table.clone());
    let steps = if random.one_in(5) { 600 } else { 100 };
    for step in 0..steps {
        if random.one_in(3) && !list.is_empty() {
            let old = list.swap_remove(random.below(list.len()));
            table.remove(&old);
        } else {
            let new = shape.policy(&mut random, step);
            table.insert(&new);
            list.push(new);
        }
        compare(&mut random, &shape, &list, &table)?;
        if random.one_in(50) {
            earlier = (list.clone(), table.clone());
        }
    }
    for old in list {
        table.remove(&old);
    }
    for side in [&table.outbound, &table.inbound] {
        prop_assert!(side.seen.is_empty() && side.opaque.is_empty() && side.held.is_empty());
    }
    compare(&mut random, &shape, &earlier.0, &earlier.1)
}

fn compare(random: &mut Random, shape: &Shape, list: &[Policy], table: &Spd) -> Result<(), TestCaseError> {
    let is_outbound = |policy: &Policy| policy.direction == PolicyDirection::Outbound;
    let (outbound, inbound): (Vec<_>, Vec<_>) = list.iter().cloned().partition(is_outbound);
    for _ in 0..40 {
        let (flow, fragment) = shape.flow(random, list);
        let into = shape.interface(random);
        let want = reference::find(&outbound, false, &flow, fragment, into);
        prop_assert_eq!(table.outbound.find(&flow, fragment, into), want, "{} of {:#?}", flow, outbound);
        let want = reference::find(&inbound, true, &flow, fragment, into);
        prop_assert_eq!(table.inbound.find(&flow, fragment, into), want, "{} of {:#?}", flow, inbound);
    }
    Ok(())
}
