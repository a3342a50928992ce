//! What is found, and what it is found by.

use super::prefix::Range;
use culvert_model::{AddrRange, Flow, InterfaceId, PortRange, TrafficSelector};
use std::net::IpAddr;

/// Which entry is found where several match: the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order(pub u64);

impl Order {
    /// After all others.
    pub const LAST: Self = Self(u64::MAX);
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

/// From one selector to one other.
#[derive(Clone, Debug)]
pub(crate) struct Entry<T> {
    pub order: Order,
    /// Which of those with this order.
    number: u32,
    realm: Realm,
    protocol: Option<u8>,
    source: Range,
    destination: Range,
    source_port: PortRange,
    destination_port: PortRange,
    pub found: T,
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

/// What keeps entries apart that no packet meets both of: tunnel interface and family of addresses.
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

impl<T: Clone> Entry<T> {
    /// For all pairs of selectors that a packet can match: they are of one family and ask for one protocol at most.
    pub fn all<'a>(
        order: Order,
        interface: Option<InterfaceId>,
        from: &'a [TrafficSelector],
        to: &'a [TrafficSelector],
        found: T,
    ) -> impl Iterator<Item = Self> + use<'a, T> {
        let pairs = from.iter().flat_map(move |from| to.iter().map(move |to| (from, to)));
        (0..).zip(pairs).filter_map(move |(number, (from, to))| {
            let protocol = match (from.protocol, to.protocol) {
                (Some(a), Some(b)) if a != b => return None,
                (a, b) => a.or(b),
            };
            let realm = Realm::of(interface, from.addrs.start());
            (realm == Realm::of(interface, to.addrs.start())).then(|| Self {
                order,
                number,
                realm,
                protocol,
                source: addresses(&from.addrs),
                destination: addresses(&to.addrs),
                source_port: from.ports,
                destination_port: to.ports,
                found: found.clone(),
            })
        })
    }

    /// The same without its ports, where a packet whose ports are not seen does not match them.
    pub fn without_ports(&self, found: T) -> Option<Self> {
        let unseen = [self.source_port, self.destination_port].iter().all(|ports| ports.matches(None));
        let any = PortRange::ANY;
        (!unseen).then(|| Self { source_port: any, destination_port: any, found, ..self.clone() })
    }
}

impl<T> Entry<T> {
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
