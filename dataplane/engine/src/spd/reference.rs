//! The SPD as RFC 4301 §4.4.1 tells it, and nothing else: a list that is read from the top. What the index is held against.

use super::{Found, Policy};
use culvert_model::{Flow, InterfaceId, TrafficSelector};

/// The first policy that matches, of one side's in any order. `inbound`: the packet goes from remote to local.
pub(crate) fn find(
    policies: &[Policy],
    inbound: bool,
    flow: &Flow,
    fragment: bool,
    interface: Option<InterfaceId>,
) -> Found {
    let mut policies: Vec<_> = policies.iter().filter(|policy| policy.interface == interface).collect();
    policies.sort_by_key(|policy| (policy.priority, policy.id));
    for policy in policies {
        let (from, to) = if inbound { (&policy.remote, &policy.local) } else { (&policy.local, &policy.remote) };
        if flow.matches(from, to) {
            return Found::Action(policy.action, policy.pfp);
        }
        if fragment && might_match(flow, from, to) {
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
