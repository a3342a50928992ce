//! Longest-prefix match.

use crate::io::PortId;
use ipnet::IpNet;
use std::net::IpAddr;

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    pub port: PortId,
    /// `None`: the destination itself is the neighbour.
    pub gateway: Option<IpAddr>,
}

/// A forwarding table. Immutable: a change publishes a new one.
pub trait Fib: Send + Sync {
    /// The next hop of the longest prefix that holds `destination`.
    fn lookup(&self, destination: IpAddr) -> Option<NextHop>;
}

/// One sorted list for each prefix length in use, longest first: a binary search for each length. Good for the routes of
/// a configuration file; a full BGP table wants `rte_fib` behind the same trait.
#[derive(Clone, Debug, Default)]
pub struct SortedFib {
    v4: Vec<Level>,
    v6: Vec<Level>,
}

#[derive(Clone, Debug)]
struct Level {
    mask: u128,
    routes: Vec<(u128, NextHop)>,
}

impl SortedFib {
    /// A later route replaces an earlier one to the same prefix.
    pub fn new(routes: impl IntoIterator<Item = (IpNet, NextHop)>) -> Self {
        let mut fib = Self::default();
        for (prefix, next_hop) in routes {
            fib.insert(prefix, next_hop);
        }
        fib
    }

    fn insert(&mut self, prefix: IpNet, next_hop: NextHop) {
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix.prefix_len())).unwrap_or(0);
        let levels = if prefix.addr().is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let key = left_aligned(prefix.network());
        let level = match levels.binary_search_by(|level| mask.cmp(&level.mask)) {
            Ok(at) => levels.get_mut(at),
            Err(at) => {
                levels.insert(at, Level { mask, routes: Vec::new() });
                levels.get_mut(at)
            }
        };
        let Some(level) = level else { return };
        match level.routes.binary_search_by_key(&key, |route| route.0) {
            Ok(at) => {
                if let Some(route) = level.routes.get_mut(at) {
                    route.1 = next_hop;
                }
            }
            Err(at) => level.routes.insert(at, (key, next_hop)),
        }
    }
}

impl Fib for SortedFib {
    fn lookup(&self, destination: IpAddr) -> Option<NextHop> {
        let key = left_aligned(destination);
        let levels = if destination.is_ipv4() { &self.v4 } else { &self.v6 };
        levels.iter().find_map(|level| {
            let at = level.routes.binary_search_by_key(&(key & level.mask), |route| route.0).ok()?;
            level.routes.get(at).map(|route| route.1)
        })
    }
}

fn left_aligned(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()) << 96,
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn hop(port: u16) -> NextHop {
        NextHop { port: PortId(port), gateway: None }
    }

    fn fib(routes: &[(&str, u16)]) -> SortedFib {
        SortedFib::new(routes.iter().map(|(prefix, port)| (prefix.parse().unwrap(), hop(*port))))
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let fib = fib(&[("10.0.0.0/8", 1), ("0.0.0.0/0", 0), ("10.1.2.3/32", 3), ("10.1.0.0/16", 2), ("::/0", 9)]);
        let found = |addr: &str| fib.lookup(addr.parse().unwrap()).map(|hop| hop.port.0);
        assert_eq!(found("10.1.2.3"), Some(3));
        assert_eq!(found("10.1.2.4"), Some(2));
        assert_eq!(found("10.2.0.0"), Some(1));
        assert_eq!(found("192.0.2.1"), Some(0));
        assert_eq!(found("2001:db8::1"), Some(9));
    }

    #[test]
    fn families_stay_apart_and_no_route_is_none() {
        let fib = fib(&[("0.0.0.0/0", 1), ("2001:db8::/32", 2)]);
        assert_eq!(fib.lookup("::1".parse().unwrap()), None);
        assert_eq!(SortedFib::default().lookup("10.0.0.1".parse().unwrap()), None);
    }

    #[test]
    fn an_equal_prefix_is_replaced() {
        let fib = fib(&[("10.0.0.0/8", 1), ("10.9.9.9/8", 2)]);
        assert_eq!(fib.lookup("10.0.0.1".parse().unwrap()), Some(hop(2)));
    }

    fn prefix() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (0u32..1024, 0u8..=32)
                .prop_map(|(n, len)| IpNet::new(Ipv4Addr::from_bits(n << 22 | n).into(), len).unwrap()),
            (0u128..1024, 0u8..=128)
                .prop_map(|(n, len)| { IpNet::new(Ipv6Addr::from_bits(n << 118 | n).into(), len).unwrap() }),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_trying_all(prefixes in proptest::collection::vec(prefix(), 0..40), probes in proptest::collection::vec(prefix(), 20)) {
            let routes: Vec<_> = (0..).zip(&prefixes).map(|(port, prefix)| (*prefix, hop(port))).collect();
            let fib = SortedFib::new(routes.clone());
            for addr in probes.iter().chain(&prefixes).map(IpNet::addr) {
                let slow = routes.iter().filter(|r| r.0.contains(&addr)).max_by_key(|r| r.0.prefix_len()).map(|r| r.1);
                prop_assert_eq!(fib.lookup(addr), slow, "{}", addr);
            }
        }
    }
}
