//! Policies and packets by chance, of shapes that crowd in one place or another.

use culvert_model::{
    Action, AddrRange, ChildId, Flow, InterfaceId, Pfp, Policy, PolicyDirection, PolicyId, PortRange, TrafficSelector,
};
use std::net::IpAddr;

/// SplitMix64 (S. Vigna): the same numbers from the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// How the policies of a table are alike.
pub(crate) struct Shape {
    /// Bits in which addresses differ, of 32 and of 128.
    v4_bits: u32,
    v6_bits: u32,
    /// One in so many is a range and not a prefix; has ports; has a protocol.
    ranges: usize,
    ports: usize,
    protocols: usize,
    port_limit: usize,
    priorities: usize,
    interfaces: usize,
}

impl Shape {
    pub fn of(random: &mut Random) -> Self {
        let one_of = |random: &mut Random, of: &[usize]| of.get(random.below(of.len())).copied().unwrap_or(1);
        Self {
            v4_bits: one_of(random, &[2, 4, 8, 16, 32]) as u32,
            v6_bits: one_of(random, &[2, 4, 16, 70, 128]) as u32,
            ranges: one_of(random, &[1, 3, 1000]),
            ports: one_of(random, &[1, 2, 1000]),
            protocols: one_of(random, &[1, 2, 1000]),
            port_limit: one_of(random, &[4, 64, 65536]),
            priorities: one_of(random, &[1, 3, 1000]),
            interfaces: one_of(random, &[1, 1, 3]),
        }
    }

    pub fn policy(&self, random: &mut Random, id: u32) -> Policy {
        let action = match random.below(3) {
            0 => Action::Protect { child: ChildId(id), trap: random.one_in(2) },
            1 => Action::Bypass,
            _ => Action::Discard,
        };
        let direction = if random.one_in(3) { PolicyDirection::Inbound } else { PolicyDirection::Outbound };
        let priority = random.below(self.priorities) as u32;
        let (local, remote) = (self.selectors(random), self.selectors(random));
        let interface = self.interface(random);
        Policy {
            id: PolicyId(id),
            direction,
            priority,
            local,
            remote,
            action,
            interface,
            pfp: Pfp { remote_addr: random.one_in(4), ..Pfp::NONE },
        }
    }

    pub fn interface(&self, random: &mut Random) -> Option<InterfaceId> {
        let interfaces = [None, Some(InterfaceId(0)), Some(InterfaceId(u16::MAX))];
        interfaces.get(random.below(self.interfaces)).copied().flatten()
    }

    fn selectors(&self, random: &mut Random) -> Vec<TrafficSelector> {
        let count = if random.one_in(4) { 1 + random.below(3) } else { 1 };
        (0..count).map(|_| self.selector(random)).collect()
    }

    fn selector(&self, random: &mut Random) -> TrafficSelector {
        let addrs = self.addrs(random);
        let protocol = random.one_in(self.protocols).then(|| protocol(random));
        let ports = if random.one_in(self.ports) { self.port_range(random) } else { PortRange::ANY };
        TrafficSelector { addrs, protocol, ports }
    }

    fn addrs(&self, random: &mut Random) -> AddrRange {
        let v6 = random.one_in(3);
        let (a, b) = (self.addr(random, v6), self.addr(random, v6));
        if random.one_in(self.ranges) {
            return AddrRange::new(a.min(b), a.max(b)).unwrap();
        }
        let (width, bits) = if v6 { (128, self.v6_bits) } else { (32, self.v4_bits) };
        let len = width - random.below(bits as usize + 1) as u32;
        ipnet::IpNet::new(a, len as u8).unwrap().into()
    }

    fn addr(&self, random: &mut Random, v6: bool) -> IpAddr {
        let number = u128::from(random.next()) << 64 | u128::from(random.next());
        if v6 {
            let low = if self.v6_bits == 128 { number } else { number & ((1 << self.v6_bits) - 1) };
            IpAddr::from((0x2001_0db8_u128 << 96 ^ low).to_be_bytes())
        } else {
            let low = number as u32 & ((1_u64 << self.v4_bits) - 1) as u32;
            IpAddr::from((0x0a00_0000 ^ low).to_be_bytes())
        }
    }

    fn port_range(&self, random: &mut Random) -> PortRange {
        let (a, b) = (self.port(random), self.port(random));
        match random.below(5) {
            0 => PortRange::OPAQUE,
            1 => PortRange::single(a),
            2 => PortRange::new(a, u16::MAX).unwrap(),
            _ => PortRange::new(a.min(b), a.max(b)).unwrap(),
        }
    }

    fn port(&self, random: &mut Random) -> u16 {
        random.below(self.port_limit) as u16
    }

    /// Mostly at the ends of what some policy says; and whether it is a later fragment.
    pub fn flow(&self, random: &mut Random, policies: &[Policy]) -> (Flow, bool) {
        let v6 = random.one_in(3);
        let (mut source, mut destination) = (self.addr(random, v6), self.addr(random, v6));
        let mut ports = [self.port(random), self.port(random)];
        let mut upper = protocol(random);
        if let Some(policy) = policies.get(random.below(policies.len() + 1)) {
            let pick = |random: &mut Random, of: &[TrafficSelector]| of.get(random.below(of.len())).copied();
            if let (Some(a), Some(b)) = (pick(random, &policy.local), pick(random, &policy.remote)) {
                (source, destination) = (edge(random, a.addrs), edge(random, b.addrs));
                ports = [port_edge(random, a.ports), port_edge(random, b.ports)];
                upper = a.protocol.or(b.protocol).unwrap_or(upper);
                if policy.direction == PolicyDirection::Inbound || random.one_in(8) {
                    (source, destination) = (destination, source);
                    ports.reverse();
                }
                if source.is_ipv4() != destination.is_ipv4() {
                    destination = self.addr(random, source.is_ipv6());
                }
            }
        }
        let fragment = random.one_in(4);
        let seen = !fragment && !random.one_in(4);
        let [source_port, destination_port] = ports.map(|port| seen.then_some(port));
        (Flow { source, destination, protocol: upper, source_port, destination_port }, fragment)
    }
}

fn protocol(random: &mut Random) -> u8 {
    [1, 6, 17, 135][random.below(4)]
}

fn edge(random: &mut Random, range: AddrRange) -> IpAddr {
    let addr = if random.one_in(2) { range.start() } else { range.end() };
    let step = [0, 0, 1, u32::MAX][random.below(4)];
    match addr {
        IpAddr::V4(addr) => IpAddr::from(addr.to_bits().wrapping_add(step).to_be_bytes()),
        IpAddr::V6(addr) => IpAddr::from(addr.to_bits().wrapping_add(step as i32 as u128).to_be_bytes()),
    }
}

fn port_edge(random: &mut Random, range: PortRange) -> u16 {
    let port = if random.one_in(2) { range.start() } else { range.end() };
    port.wrapping_add([0, 0, 1, u16::MAX][random.below(4)])
}
