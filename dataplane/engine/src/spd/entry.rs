//! One alternative of a policy, and what is held against it.

use super::prefix::Range;
use culvert_model::{Action, AddrRange, Flow, InterfaceId, Policy, PolicyDirection, PortRange, TrafficSelector};
use std::net::IpAddr;

/// Which policy is looked at first: the smaller priority, then the smaller number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order(u64);

impl Order {
    /// After all others.
    pub const LAST: Self = Self(u64::MAX);

    pub fn of(policy: &Policy) -> Self {
        Self(u64::from(policy.priority) << 32 | u64::from(policy.id.0))
    }
}

/// What one side of the SPD says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Action(Action),
    /// A fragment without ports met an entry that asks for ports.
    Unseen,
    Nothing,
}

/// What a search goes by, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Realm,
    Source,
    Destination,
    Protocol,
    SourcePort,
    DestinationPort,
    /// Nothing is left: whoever came so far matches.
    Last,
}

impl Level {
    pub const FIRST: Self = Self::Realm;

    pub const fn next(self) -> Self {
        match self {
            Self::Realm => Self::Source,
            Self::Source => Self::Destination,
            Self::Destination => Self::Protocol,
            Self::Protocol => Self::SourcePort,
            Self::SourcePort => Self::DestinationPort,
            Self::DestinationPort | Self::Last => Self::Last,
        }
    }
}

/// From one selector to one other. A policy is an entry for each pair of its selectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub order: Order,
    /// Which of its policy's entries.
    number: u32,
    realm: Realm,
    protocol: Option<u8>,
    source: Range,
    destination: Range,
    source_port: PortRange,
    destination_port: PortRange,
    pub found: Found,
}

/// A packet as a search sees it.
pub(crate) struct Asked {
    realm: Realm,
    protocol: u8,
    source: u128,
    destination: u128,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

/// What keeps policies apart that no packet meets both of: tunnel interface and family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Realm(u32);

impl Realm {
    /// 65,536 interfaces and none, and two families.
    const WIDTH: u32 = 18;

    fn of(interface: Option<InterfaceId>, addr: IpAddr) -> Self {
        let interface = interface.map_or(0, |InterfaceId(number)| u32::from(number) + 1);
        Self(interface << 1 | u32::from(addr.is_ipv6()))
    }
}

const ADDRESS: u32 = 128;
const PROTOCOL: u32 = 8;
const PORT: u32 = 16;

/// One family's addresses, from the highest bit on; the other's are of another realm.
const fn address(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => (addr.to_bits() as u128) << 96,
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn addresses(range: &AddrRange) -> Range {
    match (range.start(), range.end()) {
        (IpAddr::V4(start), IpAddr::V4(end)) => Range::of(start.to_bits().into(), end.to_bits().into(), 32),
        (start, end) => Range::of(address(start), address(end), ADDRESS),
    }
}

impl Entry {
    /// All entries of a policy.
    pub fn all(policy: &Policy) -> impl Iterator<Item = Self> {
        let (from, to) = match policy.direction {
            PolicyDirection::Outbound => (&policy.local, &policy.remote),
            PolicyDirection::Inbound => (&policy.remote, &policy.local),
        };
        let pairs = from.iter().flat_map(move |from| to.iter().map(move |to| (from, to)));
        (0..).zip(pairs).filter_map(move |(number, (from, to))| Self::of(policy, number, from, to))
    }

    /// `None` where no packet can match: the selectors are of two families or ask for two protocols.
    fn of(policy: &Policy, number: u32, from: &TrafficSelector, to: &TrafficSelector) -> Option<Self> {
        let protocol = match (from.protocol, to.protocol) {
            (Some(a), Some(b)) if a != b => return None,
            (a, b) => a.or(b),
        };
        let realm = Realm::of(policy.interface, from.addrs.start());
        (realm == Realm::of(policy.interface, to.addrs.start())).then(|| Self {
            order: Order::of(policy),
            number,
            realm,
            protocol,
            source: addresses(&from.addrs),
            destination: addresses(&to.addrs),
            source_port: from.ports,
            destination_port: to.ports,
            found: Found::Action(policy.action),
        })
    }

    /// What it is to a fragment whose ports are not seen (RFC 4301 §7.4): where it does not match by itself, the fragment
    /// might be its.
    pub fn held(&self) -> Option<Self> {
        let ports = [self.source_port, self.destination_port];
        let held = !ports.iter().all(|ports| ports.matches(None));
        held.then(|| Self {
            source_port: PortRange::ANY,
            destination_port: PortRange::ANY,
            found: Found::Unseen,
            ..self.clone()
        })
    }

    /// Unlike any other's.
    pub fn key(&self) -> (Order, u32) {
        (self.order, self.number)
    }

    /// Asks for ports that cannot be seen.
    pub fn is_opaque(&self) -> bool {
        self.source_port == PortRange::OPAQUE || self.destination_port == PortRange::OPAQUE
    }

    /// What it takes at a level.
    pub fn range(&self, level: Level) -> Range {
        match level {
            Level::Realm => Range::of(self.realm.0.into(), self.realm.0.into(), Realm::WIDTH),
            Level::Source => self.source,
            Level::Destination => self.destination,
            Level::Protocol => match self.protocol {
                Some(protocol) => Range::of(protocol.into(), protocol.into(), PROTOCOL),
                None => Range::WHOLE,
            },
            Level::SourcePort => ports(self.source_port),
            Level::DestinationPort => ports(self.destination_port),
            Level::Last => Range::WHOLE,
        }
    }

    pub fn matches(&self, asked: &Asked) -> bool {
        self.realm == asked.realm
            && self.protocol.is_none_or(|protocol| protocol == asked.protocol)
            && self.source.contains(asked.source)
            && self.destination.contains(asked.destination)
            && self.source_port.matches(asked.source_port)
            && self.destination_port.matches(asked.destination_port)
    }
}

/// Ports that cannot be seen are no range; entries that ask for them stand apart.
fn ports(ports: PortRange) -> Range {
    match ports {
        PortRange::OPAQUE => Range::WHOLE,
        _ => Range::of(ports.start().into(), ports.end().into(), PORT),
    }
}

impl Asked {
    /// `into`: the tunnel interface it is routed into.
    pub fn of(flow: &Flow, into: Option<InterfaceId>) -> Self {
        Self {
            realm: Realm::of(into, flow.source),
            protocol: flow.protocol,
            source: address(flow.source),
            destination: address(flow.destination),
            source_port: flow.source_port,
            destination_port: flow.destination_port,
        }
    }

    /// A port that cannot be seen.
    pub fn is_opaque(&self) -> bool {
        self.source_port.is_none() || self.destination_port.is_none()
    }

    /// The number to look for at a level; `None` where it cannot be seen, so that only what takes everything matches.
    pub fn key(&self, level: Level) -> Option<u128> {
        let port = |port: Option<u16>| Some(u128::from(port?) << (128 - PORT));
        match level {
            Level::Realm => Some(u128::from(self.realm.0) << (128 - Realm::WIDTH)),
            Level::Source => Some(self.source),
            Level::Destination => Some(self.destination),
            Level::Protocol => Some(u128::from(self.protocol) << (128 - PROTOCOL)),
            Level::SourcePort => port(self.source_port),
            Level::DestinationPort => port(self.destination_port),
            Level::Last => None,
        }
    }
}
