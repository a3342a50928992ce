//! What a search and a change cost in tables of any size.

use super::random::Random;
use super::tests::table;
use super::*;
use culvert_model::{AddrRange, Pfp, PolicyId, PortRange, TrafficSelector};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn v4(bits: u32) -> IpAddr {
    Ipv4Addr::from_bits(bits).into()
}

fn net(addr: IpAddr, len: u8) -> TrafficSelector {
    TrafficSelector::any(ipnet::IpNet::new(addr, len).unwrap().into())
}

fn range(start: u32, end: u32) -> TrafficSelector {
    TrafficSelector::any(AddrRange::new(v4(start), v4(end)).unwrap())
}

fn tcp(ts: TrafficSelector, start: u16, end: u16) -> TrafficSelector {
    TrafficSelector { protocol: Some(6), ports: PortRange::new(start, end).unwrap(), ..ts }
}

fn site() -> TrafficSelector {
    net(v4(0x0a00_0000), 16)
}

/// The `n`th policy of a large table: local and remote selector.
type Make = fn(u32) -> (TrafficSelector, TrafficSelector);

struct Shape {
    name: &'static str,
    make: Make,
    /// Of the largest table; where ranges by chance overlap, the writing is slow and not the reading.
    size: u32,
    /// Probes of a packet.
    most: usize,
    /// Octets of a policy, and of a change.
    octets: i64,
    way: u64,
}

const fn shape(name: &'static str, size: u32, most: usize, octets: i64, way: u64, make: Make) -> Shape {
    Shape { name, make, size, most, octets, way }
}

const SHAPES: [Shape; 12] = [
    shape("remote /24", 100_000, 20, 300, 10_000, |n| (site(), net(v4(0x0b00_0000 + (n << 8)), 24))),
    shape("remote /32, strewn", 100_000, 20, 600, 10_000, |n| (site(), net(v4(strewn(n)), 32))),
    shape("local and remote /32", 100_000, 20, 600, 10_000, |n| (net(v4(strewn(n)), 32), net(v4(strewn(!n)), 32))),
    shape("remote /64 of IPv6", 100_000, 20, 400, 10_000, |n| {
        (net(v6(0xfd00), 16), net(v6(0x2001_0db8_0000_0000 | u64::from(n)), 64))
    }),
    shape("mixed lengths, remote", 100_000, 40, 500, 15_000, |n| (site(), net(v4(strewn(n)), 8 + (n % 25) as u8))),
    shape("mixed lengths, both", 100_000, 80, 500, 15_000, |n| {
        (net(v4(strewn(!n)), 8 + (n % 23) as u8), net(v4(strewn(n)), 8 + (n % 25) as u8))
    }),
    shape("single ports", 100_000, 30, 500, 10_000, |n| {
        let (local, remote) = ((n >> 8) as u16, n as u16 & 255);
        (tcp(site(), local, local), tcp(site(), remote, remote))
    }),
    shape("port ranges by chance", 20_000, 160, 700, 40_000, |n| {
        let (a, b) = (strewn(n) as u16, (strewn(n) >> 16) as u16);
        (site(), tcp(site(), a.min(b), a.max(b)))
    }),
    shape("port ranges by chance, both", 3_000, 400, 2000, 80_000, |n| {
        let (a, b) = (strewn(n) as u16, (strewn(n) >> 16) as u16);
        let (c, d) = (strewn(!n) as u16, (strewn(!n) >> 16) as u16);
        (tcp(site(), c.min(d), c.max(d)), tcp(site(), a.min(b), a.max(b)))
    }),
    shape("address ranges by chance", 20_000, 120, 700, 40_000, |n| {
        let (a, b) = (strewn(n), strewn(!n));
        (site(), range(a.min(b), a.max(b)))
    }),
    shape("ranges inside of each other, the smallest first", 20_000, 160, 1200, 150_000, |n| {
        (site(), range(0x0b00_0000 + 100_000 - n, 0x0bff_fff0))
    }),
    shape("all the same", 100_000, 16, 200, 10_000, |_| (site(), site())),
];

/// 32 bits that look like chance, each once.
const fn strewn(n: u32) -> u32 {
    let n = (n ^ (n >> 16)).wrapping_mul(0x7feb_352d);
    let n = (n ^ (n >> 15)).wrapping_mul(0x846c_a68b);
    n ^ (n >> 16)
}

fn v6(high: u64) -> IpAddr {
    Ipv6Addr::from_bits(u128::from(high) << 64).into()
}

fn policy(make: Make, n: u32) -> Policy {
    let (local, remote) = make(n);
    let action = if n.is_multiple_of(2) { Action::Discard } else { Action::Bypass };
    let direction = PolicyDirection::Outbound;
    let (local, remote) = (vec![local], vec![remote]);
    Policy { id: PolicyId(n), direction, priority: 7, local, remote, action, interface: None, pfp: Pfp::NONE }
}

/// Often the first of a range, which is just outside of the next smaller one.
fn some_addr(random: &mut Random, of: &TrafficSelector) -> IpAddr {
    if random.one_in(2) {
        return of.addrs.start();
    }
    match (of.addrs.start(), of.addrs.end()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let size = u64::from(b.to_bits() - a.to_bits()) + 1;
            v4(a.to_bits() + (random.next() % size) as u32)
        }
        (addr, _) => addr,
    }
}

/// A packet of the policy's, or one beside it.
fn flow(random: &mut Random, policy: &Policy) -> Flow {
    let (local, remote) = (&policy.local[0], &policy.remote[0]);
    let port = |random: &mut Random, of: &TrafficSelector| {
        let size = usize::from(of.ports.end() - of.ports.start()) + 1;
        of.ports.start().wrapping_add(random.below(size) as u16).wrapping_sub(u16::from(random.one_in(4)))
    };
    Flow {
        source: some_addr(random, local),
        destination: some_addr(random, remote),
        protocol: 6,
        source_port: Some(port(random, local)),
        destination_port: Some(port(random, remote)),
    }
}

/// Most probes of any of some packets.
fn probes(spd: &Spd, make: Make, size: u32) -> usize {
    let mut random = Random::new(u64::from(size));
    let probes = (0..1000).map(|_| {
        let policy = policy(make, random.below(size as usize) as u32);
        let asked = Asked::of(&flow(&mut random, &policy), None);
        let mut search = Search::new(&asked);
        spd.outbound.search(false, &mut search);
        search.probes
    });
    probes.max().unwrap_or(0)
}

/// Octets that the removal and the insertion of a policy allocate, where other versions of the table are in use.
fn copied(spd: &mut Spd, policy: &Policy) -> u64 {
    let (before, mut between) = (spd.clone(), Spd::default());
    let removed = allocation_counter::measure(|| spd.remove(policy));
    let inserted = allocation_counter::measure(|| {
        between = spd.clone();
        spd.insert(policy);
    });
    drop((before, between));
    removed.bytes_total.max(inserted.bytes_total)
}

/// A packet is held against no more, and a change copies no more, than its own way through the trees.
#[test]
fn neither_search_nor_change_nor_memory_grows_out_of_hand() {
    for Shape { name, make, size, most, octets, way } in SHAPES {
        let some = [1, 100, 1000].map(|size| probes(&table((0..size).map(|n| policy(make, n))), make, size));
        let mut spd = Spd::default();
        let built = allocation_counter::measure(|| spd = table((0..size).map(|n| policy(make, n))));
        let all = probes(&spd, make, size);
        assert_eq!(some[0], 1, "{name}");
        assert!(all.max(some[2]) <= most, "{name}: {some:?}, {all} of {most}");
        let each = built.bytes_current / i64::from(size);
        assert!(each <= octets, "{name}: {each} octets a policy");
        for n in [0, size / 3, size - 1] {
            let copied = copied(&mut spd, &policy(make, n));
            assert!(copied <= way, "{name}: {copied} octets for policy {n}");
        }
    }
}

/// Where many entries crowd and few of them match, the first of those is found nevertheless.
#[test]
fn crowds_are_searched_to_the_end() {
    for Shape { name, make, .. } in SHAPES {
        let list: Vec<Policy> = (0..1000).map(|n| policy(make, n)).collect();
        let spd = table(list.iter().cloned());
        let mut random = Random::new(7);
        for _ in 0..200 {
            let at = random.below(1000);
            let flow = flow(&mut random, &list[at]);
            let want = reference::find(&list, false, &flow, false, None);
            assert_eq!(spd.outbound.find(&flow, false, None), want, "{name}: {flow}");
        }
    }
}

#[test]
fn a_search_allocates_nothing() {
    for Shape { make, .. } in SHAPES {
        let spd = table((0..1000).map(|n| policy(make, n)));
        let mut random = Random::new(1);
        let flows: Vec<Flow> = (0..100).map(|n| flow(&mut random, &policy(make, n * 10))).collect();
        let search = || flows.iter().filter(|flow| spd.outbound.find(flow, false, None) == Found::Nothing).count();
        let cost = allocation_counter::measure(|| {
            core::hint::black_box(search());
        });
        assert_eq!(cost.count_total, 0);
    }
}
