//! The security policy database (RFC 4301 §4.4.1): ordered entries for each direction.
//!
//! The box's interfaces have no sides, so the packet's addresses tell its direction. A packet received in clear is held
//! against SPD-I first: where an entry there says it must have come through a tunnel, it is dropped. Then SPD-O says how
//! it leaves. What came out of a tunnel was judged by its SA and only asks SPD-O, which may send it into another tunnel.
//! What the box itself sends asks SPD-O too, so that an answer into a protected network is protected; where no entry
//! matches it goes in clear. ARP, neighbour discovery and IKE never ask.

use crate::io::Origin;
use culvert_model::{Action, ChildId, Flow, InterfaceId, Policy, PolicyDirection, TrafficSelector};
use culvert_telemetry::DropReason;

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Protect { child: ChildId, trap: bool },
    Forward,
    Drop(DropReason),
}

/// What one direction's list says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Action(Action),
    /// A fragment without ports met an entry that asks for ports.
    Unseen,
    Nothing,
}

#[derive(Clone, Debug, Default)]
pub struct Spd {
    outbound: Vec<Policy>,
    inbound: Vec<Policy>,
}

impl Spd {
    pub fn new(policies: impl IntoIterator<Item = Policy>) -> Self {
        let mut spd = Self::default();
        for policy in policies {
            match policy.direction {
                PolicyDirection::Outbound => spd.outbound.push(policy),
                PolicyDirection::Inbound => spd.inbound.push(policy),
            }
        }
        spd.outbound.sort_by_key(order);
        spd.inbound.sort_by_key(order);
        spd
    }

    /// Judges a packet that is not addressed to the box. `fragment`: not the first of its packet, so that the flow has
    /// no ports. `interface`: the tunnel interface it is routed into.
    pub fn judge(&self, flow: &Flow, fragment: bool, origin: Origin, interface: Option<InterfaceId>) -> Verdict {
        let admitted = match origin {
            Origin::Tunnel | Origin::Own => true,
            Origin::OwnAnswer => false,
            Origin::Clear => match self.inbound(flow, fragment) {
                Found::Nothing => false,
                Found::Action(Action::Bypass) => true,
                Found::Action(Action::Protect { .. }) => return Verdict::Drop(DropReason::InboundClear),
                Found::Action(Action::Discard) => return Verdict::Drop(DropReason::PolicyDiscard),
                Found::Unseen => return Verdict::Drop(DropReason::FragmentInner),
            },
        };
        match self.outbound(flow, fragment, interface) {
            Found::Action(Action::Protect { child, trap }) => Verdict::Protect { child, trap },
            Found::Action(Action::Bypass) => Verdict::Forward,
            Found::Action(Action::Discard) => Verdict::Drop(DropReason::PolicyDiscard),
            Found::Unseen => Verdict::Drop(DropReason::FragmentInner),
            Found::Nothing if admitted => Verdict::Forward,
            Found::Nothing => Verdict::Drop(DropReason::NoPolicy),
        }
    }

    /// May this packet, received in clear, reach the box itself? Where no entry matches it may.
    pub fn admits_to_box(&self, flow: &Flow, fragment: bool) -> Result<(), DropReason> {
        match self.inbound(flow, fragment) {
            Found::Nothing | Found::Action(Action::Bypass) => Ok(()),
            Found::Action(Action::Protect { .. }) => Err(DropReason::InboundClear),
            Found::Action(Action::Discard) => Err(DropReason::PolicyDiscard),
            Found::Unseen => Err(DropReason::FragmentInner),
        }
    }

    fn outbound(&self, flow: &Flow, fragment: bool, interface: Option<InterfaceId>) -> Found {
        search(&self.outbound, flow, fragment, interface, |p| (&p.local, &p.remote))
    }

    /// Of packets in clear, which never come from a tunnel interface.
    fn inbound(&self, flow: &Flow, fragment: bool) -> Found {
        search(&self.inbound, flow, fragment, None, |p| (&p.remote, &p.local))
    }
}

fn order(policy: &Policy) -> (u32, u32) {
    (policy.priority, policy.id.0)
}

/// The first entry that matches. A fragment that might be of a protected or discarded flow is held back rather than let
/// through to a later BYPASS (RFC 4301 §7.4); one that might be of a bypassed flow only goes on to the next entry.
fn search<'a>(
    policies: &'a [Policy],
    flow: &Flow,
    fragment: bool,
    interface: Option<InterfaceId>,
    sides: impl Fn(&'a Policy) -> (&'a Vec<TrafficSelector>, &'a Vec<TrafficSelector>),
) -> Found {
    for policy in policies.iter().filter(|policy| policy.interface == interface) {
        let (from, to) = sides(policy);
        if flow.matches(from, to) {
            return Found::Action(policy.action);
        }
        if fragment && policy.action != Action::Bypass && might_match(flow, from, to) {
            return Found::Unseen;
        }
    }
    Found::Nothing
}

/// Would some ports make it match?
fn might_match(flow: &Flow, from: &[TrafficSelector], to: &[TrafficSelector]) -> bool {
    let fits = |ts: &TrafficSelector, addr| ts.addrs.contains(addr) && ts.protocol.is_none_or(|p| p == flow.protocol);
    from.iter().any(|ts| fits(ts, flow.source)) && to.iter().any(|ts| fits(ts, flow.destination))
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_model::{AddrRange, Pfp, PolicyId, PortRange};
    use ipnet::IpNet;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

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

    fn tunnel() -> Spd {
        Spd::new([
            policy(1, PolicyDirection::Outbound, "10.1.0.0/16", "10.7.0.0/16", PROTECT),
            policy(2, PolicyDirection::Inbound, "10.1.0.0/16", "10.7.0.0/16", PROTECT),
        ])
    }

    #[test]
    fn a_tunnel_protects_both_ways() {
        let spd = tunnel();
        let (out, back) = (flow("10.1.0.1", "10.7.0.1"), flow("10.7.0.1", "10.1.0.1"));
        let protect = Verdict::Protect { child: ChildId(7), trap: false };
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
        let spd = Spd::new([policy(1, PolicyDirection::Outbound, "10.0.0.0/8", "10.8.0.0/16", PROTECT)]);
        let verdict = spd.judge(&flow("10.7.0.1", "10.8.0.1"), false, Origin::Tunnel, None);
        assert_eq!(verdict, Verdict::Protect { child: ChildId(7), trap: false });
    }

    #[test]
    fn bypass_of_either_direction_forwards_but_never_what_is_protected() {
        let mut entries = vec![policy(5, PolicyDirection::Inbound, "10.1.0.0/16", "0.0.0.0/0", Action::Bypass)];
        assert_eq!(
            Spd::new(entries.clone()).judge(&flow("8.8.8.8", "10.1.0.1"), false, Origin::Clear, None),
            Verdict::Forward
        );
        entries.push(policy(6, PolicyDirection::Outbound, "8.0.0.0/8", "10.1.0.0/16", PROTECT));
        let verdict = Spd::new(entries.clone()).judge(&flow("8.8.8.8", "10.1.0.1"), false, Origin::Clear, None);
        assert!(matches!(verdict, Verdict::Protect { .. }));
        entries.push(policy(1, PolicyDirection::Outbound, "8.0.0.0/8", "10.1.0.0/16", Action::Discard));
        let verdict = Spd::new(entries).judge(&flow("8.8.8.8", "10.1.0.1"), false, Origin::Clear, None);
        assert_eq!(verdict, Verdict::Drop(DropReason::PolicyDiscard));
    }

    #[test]
    fn a_fragment_never_slips_past_a_port_policy() {
        let web = TrafficSelector { protocol: Some(6), ports: PortRange::single(80), ..ts("10.7.0.0/16") };
        let protect =
            Policy { remote: vec![web], ..policy(1, PolicyDirection::Outbound, "10.1.0.0/16", "10.7.0.0/16", PROTECT) };
        let bypass = policy(2, PolicyDirection::Outbound, "10.0.0.0/8", "10.0.0.0/8", Action::Bypass);
        let spd = Spd::new([protect.clone(), bypass]);
        let whole = flow("10.1.0.1", "10.7.0.1");
        assert!(matches!(spd.judge(&whole, false, Origin::Clear, None), Verdict::Protect { .. }));
        let part = Flow { source_port: None, destination_port: None, ..whole };
        assert_eq!(spd.judge(&part, true, Origin::Clear, None), Verdict::Drop(DropReason::FragmentInner));
        let udp = Flow { protocol: 17, ..part };
        assert_eq!(spd.judge(&udp, true, Origin::Clear, None), Verdict::Forward);
        // A bypass for ports leaves the fragment to the PROTECT behind it.
        let spd = Spd::new([
            Policy { action: Action::Bypass, ..protect },
            policy(3, PolicyDirection::Outbound, "10.1.0.0/16", "10.7.0.0/16", PROTECT),
        ]);
        assert!(matches!(spd.judge(&part, true, Origin::Clear, None), Verdict::Protect { .. }));
    }

    #[test]
    fn policies_of_a_tunnel_interface_see_only_what_is_routed_into_it() {
        let bound = |id, child, interface| Policy {
            interface,
            ..policy(id, PolicyDirection::Outbound, "0.0.0.0/0", "0.0.0.0/0", protect(child))
        };
        let (here, there) = (Some(InterfaceId(2)), Some(InterfaceId(3)));
        let spd = Spd::new([bound(1, 7, here), bound(2, 8, there), bound(3, 9, None)]);
        let flow = flow("10.1.0.1", "10.7.0.1");
        for (interface, child) in [(here, 7), (there, 8), (None, 9)] {
            let verdict = spd.judge(&flow, false, Origin::Clear, interface);
            assert_eq!(verdict, Verdict::Protect { child: ChildId(child), trap: false }, "{interface:?}");
        }
        let verdict = spd.judge(&flow, false, Origin::Clear, Some(InterfaceId(4)));
        assert_eq!(verdict, Verdict::Drop(DropReason::NoPolicy));
    }

    fn protect(child: u32) -> Action {
        Action::Protect { child: ChildId(child), trap: false }
    }

    fn selectors() -> impl Strategy<Value = Vec<TrafficSelector>> {
        let one = (0u8..4, 0u8..=32, proptest::option::of(6u8..8), 0u16..4).prop_map(|(last, len, protocol, port)| {
            let net = IpNet::new(Ipv4Addr::new(10, 0, 0, last).into(), len.max(28)).unwrap();
            let ports = if port == 0 { PortRange::ANY } else { PortRange::new(port - 1, port).unwrap() };
            TrafficSelector { addrs: AddrRange::from(net), protocol, ports }
        });
        proptest::collection::vec(one, 1..3)
    }

    proptest! {
        #[test]
        fn agrees_with_looking_at_all(
            entries in proptest::collection::vec((0u32..3, selectors(), selectors(), 0u8..3), 0..12),
            source in 0u8..8, destination in 0u8..8, protocol in 6u8..8, ports in (0u16..4, 0u16..4),
        ) {
            let policies: Vec<Policy> = (0..).zip(entries).map(|(id, (priority, local, remote, action))| {
                let action = match action { 0 => PROTECT, 1 => Action::Bypass, _ => Action::Discard };
                Policy { id: PolicyId(id), direction: PolicyDirection::Outbound, priority, local, remote, action, interface: None, pfp: Pfp::NONE, }
            }).collect();
            let flow = Flow {
                source: Ipv4Addr::new(10, 0, 0, source).into(), destination: Ipv4Addr::new(10, 0, 0, destination).into(),
                protocol, source_port: Some(ports.0), destination_port: Some(ports.1),
            };
            let first = policies.iter().filter(|p| {
                p.local.iter().any(|ts| ts.matches(flow.source, protocol, flow.source_port))
                    && p.remote.iter().any(|ts| ts.matches(flow.destination, protocol, flow.destination_port))
            }).min_by_key(|p| (p.priority, p.id));
            let want = match first.map(|p| p.action) {
                Some(Action::Protect { child, trap }) => Verdict::Protect { child, trap },
                Some(Action::Bypass) => Verdict::Forward,
                Some(Action::Discard) => Verdict::Drop(DropReason::PolicyDiscard),
                None => Verdict::Drop(DropReason::NoPolicy),
            };
            let mut shuffled = policies;
            shuffled.reverse();
            prop_assert_eq!(Spd::new(shuffled).judge(&flow, false, Origin::Clear, None), want);
        }
    }
}
