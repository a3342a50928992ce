//! What a plain packet is known by: addresses, protocol and ports, as words that compare at once.

use culvert_wire::protocol;
use std::net::IpAddr;

/// One flow of whole packets. IPv4 addresses stand in the first word.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct FlowKey {
    addrs: [u64; 4],
    /// Source port, destination port, protocol, and [`Self::MARKS`].
    rest: u64,
}

impl FlowKey {
    const V6: u64 = 1;
    const OUT_OF_TUNNEL: u64 = 2;

    /// `ports`: source port, destination port.
    #[inline]
    pub const fn v4(addrs: u64, protocol: u8, ports: u32) -> Self {
        Self { addrs: [addrs, 0, 0, 0], rest: Self::rest(protocol, ports) }
    }

    #[inline]
    pub const fn v6(addrs: [u64; 4], protocol: u8, ports: u32) -> Self {
        Self { addrs, rest: Self::rest(protocol, ports) | Self::V6 }
    }

    #[inline]
    const fn rest(protocol: u8, ports: u32) -> u64 {
        (ports as u64) << 32 | (protocol as u64) << 24
    }

    /// Of packets from `source` to `destination`; `None` for two families.
    pub fn of(source: IpAddr, destination: IpAddr, protocol: u8, ports: Option<(u16, u16)>) -> Option<Self> {
        let ports = ports.map_or(0, |(source, destination)| u32::from(source) << 16 | u32::from(destination));
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let addrs = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
                Some(Self::v4(addrs, protocol, ports))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (source, destination) = (source.to_bits(), destination.to_bits());
                let words = |bits: u128| [(bits >> 64) as u64, bits as u64];
                let ([a, b], [c, d]) = (words(source), words(destination));
                Some(Self::v6([a, b, c, d], protocol, ports))
            }
            _ => None,
        }
    }

    /// The same flow, come out of a tunnel: another verdict.
    #[inline]
    #[must_use]
    pub const fn out_of_tunnel(self) -> Self {
        Self { rest: self.rest | Self::OUT_OF_TUNNEL, ..self }
    }

    #[inline]
    pub const fn is_v6(&self) -> bool {
        self.rest & Self::V6 != 0
    }

    /// Source and destination.
    pub fn addresses(&self) -> (IpAddr, IpAddr) {
        let [a, b, c, d] = self.addrs;
        if self.is_v6() {
            let of = |high: u64, low: u64| IpAddr::from((u128::from(high) << 64 | u128::from(low)).to_be_bytes());
            (of(a, b), of(c, d))
        } else {
            (IpAddr::from(((a >> 32) as u32).to_be_bytes()), IpAddr::from((a as u32).to_be_bytes()))
        }
    }

    #[inline]
    pub const fn protocol(&self) -> u8 {
        (self.rest >> 24) as u8
    }

    #[inline]
    pub const fn destination_port(&self) -> u16 {
        (self.rest >> 32) as u16
    }

    #[inline]
    pub const fn is_esp(&self) -> bool {
        self.protocol() == protocol::ESP
    }

    /// Of the addresses alone: what packets of one flow have in common, whether they show their ports or not.
    #[inline]
    pub const fn pair(&self) -> u64 {
        let [a, b, c, d] = self.addrs;
        if self.is_v6() { mix(mix(mix(a, b), c), d) } else { mix(a, 0) }
    }

    /// Its upper bits depend on every bit of the key.
    #[inline]
    pub const fn hash(&self, pair: u64) -> u64 {
        mix(pair, self.rest)
    }
}

impl PartialEq for FlowKey {
    /// Of IPv4 flows two words say all. They are compared as they were written, word by word: a wider load would wait for
    /// the stores to have left the processor.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.addrs, other.addrs);
        self.rest == other.rest && a == e && (!self.is_v6() || (b, c, d) == (f, g, h))
    }
}

impl Eq for FlowKey {}

#[inline]
const fn mix(state: u64, word: u64) -> u64 {
    (state.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source: &str, destination: &str, protocol: u8, ports: (u16, u16)) -> FlowKey {
        FlowKey::of(source.parse().unwrap(), destination.parse().unwrap(), protocol, Some(ports)).unwrap()
    }

    #[test]
    fn every_part_counts() {
        let base = key("10.0.0.1", "10.7.0.1", 17, (1000, 53));
        let others = [
            key("10.0.0.2", "10.7.0.1", 17, (1000, 53)),
            key("10.0.0.1", "10.7.0.2", 17, (1000, 53)),
            key("10.0.0.1", "10.7.0.1", 6, (1000, 53)),
            key("10.0.0.1", "10.7.0.1", 17, (1001, 53)),
            key("10.0.0.1", "10.7.0.1", 17, (1000, 54)),
            key("::a00:1", "::a07:1", 17, (1000, 53)),
            base.out_of_tunnel(),
        ];
        for other in others {
            assert_ne!(base, other);
            assert_ne!(base.hash(base.pair()), other.hash(other.pair()));
        }
        for (source, destination) in [("10.0.0.1", "10.7.0.1"), ("2001:db8::1", "fd00::7")] {
            let addresses = (source.parse().unwrap(), destination.parse().unwrap());
            assert_eq!(key(source, destination, 6, (1, 2)).addresses(), addresses);
        }
        assert_eq!((base.protocol(), base.destination_port(), base.is_v6()), (17, 53, false));
        assert!(FlowKey::of("::1".parse().unwrap(), "10.0.0.1".parse().unwrap(), 6, None).is_none());
    }

    #[test]
    fn neighbouring_flows_spread() {
        let places = |keys: Vec<FlowKey>| {
            let mut places: Vec<_> = keys.iter().map(|key| key.hash(key.pair()) >> 52).collect();
            places.sort_unstable();
            places.dedup();
            places.len()
        };
        let v4 = |n: u32| FlowKey::v4(u64::from(0x0a01_0000 + n) << 32 | u64::from(0x0a07_0000 + n), 17, 0x03e8_0035);
        let ports = |n: u32| FlowKey::v4(0x0a01_0001_0a07_0001, 17, n << 16 | 443);
        let v6 = |n: u64| FlowKey::v6([0xfd01 << 48, n, 0xfd07 << 48, 1], 6, 0x03e8_0035);
        // Random throws would fill 63 %.
        assert!(places((0..4096).map(v4).collect()) > 2300);
        assert!(places((0..4096).map(ports).collect()) > 2300);
        assert!(places((0..4096).map(v6).collect()) > 2300);
    }
}
