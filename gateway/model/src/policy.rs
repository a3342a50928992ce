//! Entries of the security policy database (RFC 4301 §4.4.1).

use crate::sa::InterfaceId;
use crate::selector::TrafficSelector;
use core::fmt;

/// A policy's identity between the planes; chosen by control, stable while the configuration entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId(pub u32);

/// The Child SA configuration (connection + child) that PROTECT policies and SAs belong to. An outbound SA is bound to
/// its child; a rekey replaces the binding and leaves the policies alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildId(pub u32);

/// SPD-O or SPD-I. `Outbound` is clear side to protected side of the IPsec boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyDirection {
    Outbound,
    Inbound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Outbound: send through the child's SA. Inbound: such a packet must have come through one of the child's SAs;
    /// in clear it is dropped.
    Protect {
        child: ChildId,
        /// A packet without an SA raises an acquire (`start_action = "trap"`); it is dropped and counted either way.
        trap: bool,
    },
    Bypass,
    Discard,
}

/// Populate from packet (RFC 4301 §4.4.1.2): an acquire asks for an SA with the packet's own value in these fields instead
/// of the entry's range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pfp {
    pub local_addr: bool,
    pub remote_addr: bool,
    pub protocol: bool,
    pub local_port: bool,
    pub remote_port: bool,
}

impl Pfp {
    pub const NONE: Self =
        Self { local_addr: false, remote_addr: false, protocol: false, local_port: false, remote_port: false };
}

/// One ordered SPD entry: any `local` selector with any `remote` selector. "Local" is the side of the box that the
/// networks it protects are on, for both directions: outbound packets go local → remote, inbound ones remote → local.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub id: PolicyId,
    pub direction: PolicyDirection,
    /// Smaller is looked at first; ties by `id`. Where nothing matches, the packet is discarded (RFC 4301 §4.4.1).
    pub priority: u32,
    pub local: Vec<TrafficSelector>,
    pub remote: Vec<TrafficSelector>,
    pub action: Action,
    /// Only packets routed into this tunnel interface, or out of it; `None`: only packets of no tunnel interface.
    pub interface: Option<InterfaceId>,
    pub pfp: Pfp,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Protect { .. } => f.write_str("PROTECT"),
            Action::Bypass => f.write_str("BYPASS"),
            Action::Discard => f.write_str("DISCARD"),
        }
    }
}
