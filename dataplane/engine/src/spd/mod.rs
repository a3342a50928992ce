//! The security policy database (RFC 4301 §4.4.1): ordered entries for each direction.
//!
//! The box's interfaces have no sides, so the packet's addresses tell its direction. A packet received in clear is held
//! against SPD-I first: where an entry there says it must have come through a tunnel, it is dropped. Then SPD-O says how
//! it leaves. What came out of a tunnel was judged by its SA and only asks SPD-O, which may send it into another tunnel.
//! What the box itself sends asks SPD-O too, so that an answer into a protected network is protected; where no entry
//! matches it goes in clear. ARP, neighbour discovery and IKE never ask.

#[cfg(test)]
mod random;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod tests;

use crate::index::{Asked, Entry, Index, Order, Search};
use crate::io::Origin;
use culvert_model::{Action, ChildId, Flow, InterfaceId, Pfp, Policy, PolicyDirection};
use culvert_telemetry::DropReason;
use std::sync::Arc;

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Protect { child: ChildId, trap: bool, pfp: Pfp },
    Forward,
    Drop(DropReason),
}

#[derive(Clone, Default)]
pub(crate) struct Spd {
    outbound: Side,
    inbound: Side,
}

/// What one side of the SPD says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Action(Action, Pfp),
    /// A fragment without ports met an entry that asks for ports.
    Unseen,
    Nothing,
}

/// SPD-O or SPD-I.
#[derive(Clone, Default)]
struct Side {
    /// Entries for packets whose ports are seen, or that ask for none.
    seen: Index<Found>,
    /// Entries that ask for ports that cannot be seen.
    opaque: Index<Found>,
    /// What a fragment without ports might be of.
    held: Index<Found>,
}

impl Spd {
    /// One that is not there yet.
    pub fn insert(&mut self, policy: &Policy) {
        self.change(policy, Index::insert);
    }

    /// One that is there.
    pub fn remove(&mut self, policy: &Policy) {
        self.change(policy, Index::remove);
    }

    fn change(&mut self, policy: &Policy, change: fn(&mut Index<Found>, &Arc<Entry<Found>>)) {
        let (side, from, to) = match policy.direction {
            PolicyDirection::Outbound => (&mut self.outbound, &policy.local, &policy.remote),
            PolicyDirection::Inbound => (&mut self.inbound, &policy.remote, &policy.local),
        };
        // The smaller priority is looked at first, then the smaller number.
        let order = Order(u64::from(policy.priority) << 32 | u64::from(policy.id.0));
        for entry in Entry::all(order, policy.interface, from, to, Found::Action(policy.action, policy.pfp)) {
            if let Some(held) = entry.without_ports(Found::Unseen) {
                change(&mut side.held, &Arc::new(held));
            }
            let index = if entry.is_opaque() { &mut side.opaque } else { &mut side.seen };
            change(index, &Arc::new(entry));
        }
    }

    /// Judges a packet that is not addressed to the box. `fragment`: not the first of its packet, so that the flow has
    /// no ports. `into`: the tunnel interface it is routed into; what comes in clear came out of none.
    pub fn judge(&self, flow: &Flow, fragment: bool, origin: Origin, into: Option<InterfaceId>) -> Verdict {
        let admitted = match origin {
            Origin::Tunnel | Origin::Own => true,
            Origin::OwnAnswer => false,
            Origin::Clear => match self.inbound.find(flow, fragment, None) {
                Found::Nothing => false,
                Found::Action(Action::Bypass, _) => true,
                Found::Action(Action::Protect { .. }, _) => return Verdict::Drop(DropReason::InboundClear),
                Found::Action(Action::Discard, _) => return Verdict::Drop(DropReason::PolicyDiscard),
                Found::Unseen => return Verdict::Drop(DropReason::FragmentInner),
            },
        };
        match self.outbound.find(flow, fragment, into) {
            // An SA of certain ports is for packets that show theirs.
            Found::Action(Action::Protect { .. }, pfp) if fragment && (pfp.local_port || pfp.remote_port) => {
                Verdict::Drop(DropReason::FragmentInner)
            }
            Found::Action(Action::Protect { child, trap }, pfp) => Verdict::Protect { child, trap, pfp },
            Found::Action(Action::Bypass, _) => Verdict::Forward,
            Found::Action(Action::Discard, _) => Verdict::Drop(DropReason::PolicyDiscard),
            Found::Unseen => Verdict::Drop(DropReason::FragmentInner),
            Found::Nothing if admitted => Verdict::Forward,
            Found::Nothing => Verdict::Drop(DropReason::NoPolicy),
        }
    }

    /// May this packet, received in clear, reach the box itself? Where no entry matches it may.
    pub fn admits_to_box(&self, flow: &Flow, fragment: bool) -> Result<(), DropReason> {
        match self.inbound.find(flow, fragment, None) {
            Found::Nothing | Found::Action(Action::Bypass, _) => Ok(()),
            Found::Action(Action::Protect { .. }, _) => Err(DropReason::InboundClear),
            Found::Action(Action::Discard, _) => Err(DropReason::PolicyDiscard),
            Found::Unseen => Err(DropReason::FragmentInner),
        }
    }
}

impl Side {
    fn find(&self, flow: &Flow, fragment: bool, interface: Option<InterfaceId>) -> Found {
        let asked = Asked::of(flow, interface);
        let mut search = Search::new(&asked);
        self.search(fragment, &mut search);
        search.found().copied().unwrap_or(Found::Nothing)
    }

    /// The first entry that matches. A fragment that might be of an entry's flow is held back rather than let through to a
    /// later one (RFC 4301 §7.4), whatever that entry says: its datagram must not be torn apart.
    fn search<'a>(&'a self, fragment: bool, search: &mut Search<'a, '_, Found>) {
        self.seen.search(search);
        if search.asked.is_opaque() {
            self.opaque.search(search);
        }
        // Last: where a policy has an entry that matches and one that might, it matches.
        if fragment {
            self.held.search(search);
        }
    }
}
