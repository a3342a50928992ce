//! Traffic selectors (RFC 4301 §4.4.1.1, RFC 7296 §3.13.1) and the packets they are held against.

use core::{cmp, fmt};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a selector has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("{0} and {1} are of different address families")]
    MixedFamilies(IpAddr, IpAddr),
    #[error("the range {0}-{1} ends before it starts")]
    Reversed(IpAddr, IpAddr),
    #[error("the port range {0}-{1} ends before it starts")]
    ReversedPorts(u16, u16),
}

/// An inclusive range of addresses of one family.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddrRange {
    start: IpAddr,
    end: IpAddr,
}

impl AddrRange {
    pub const ANY_V4: Self = Self { start: IpAddr::V4(Ipv4Addr::UNSPECIFIED), end: IpAddr::V4(Ipv4Addr::BROADCAST) };
    pub const ANY_V6: Self =
        Self { start: IpAddr::V6(Ipv6Addr::UNSPECIFIED), end: IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)) };

    pub fn new(start: IpAddr, end: IpAddr) -> Result<Self, SelectorError> {
        if start.is_ipv4() != end.is_ipv4() {
            return Err(SelectorError::MixedFamilies(start, end));
        }
        if end < start {
            return Err(SelectorError::Reversed(start, end));
        }
        Ok(Self { start, end })
    }

    pub fn single(addr: IpAddr) -> Self {
        Self { start: addr, end: addr }
    }

    pub fn start(&self) -> IpAddr {
        self.start
    }

    pub fn end(&self) -> IpAddr {
        self.end
    }

    pub fn is_ipv4(&self) -> bool {
        self.start.is_ipv4()
    }

    pub fn contains(&self, addr: IpAddr) -> bool {
        addr.is_ipv4() == self.is_ipv4() && self.start <= addr && addr <= self.end
    }

    pub fn intersect(&self, other: &Self) -> Option<Self> {
        if self.is_ipv4() != other.is_ipv4() {
            return None;
        }
        let (start, end) = (cmp::max(self.start, other.start), cmp::min(self.end, other.end));
        (start <= end).then_some(Self { start, end })
    }
}

impl From<IpNet> for AddrRange {
    fn from(net: IpNet) -> Self {
        Self { start: net.network(), end: net.broadcast() }
    }
}

impl fmt::Display for AddrRange {
    /// `10.1.0.0/16` where the range is a prefix, else `10.1.0.1-10.1.0.9`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = if self.is_ipv4() { 32 } else { 128 };
        let prefix = (0..=max)
            .filter_map(|len| IpNet::new(self.start, len).ok())
            .find(|net| net.network() == self.start && net.broadcast() == self.end);
        match prefix {
            Some(net) => write!(f, "{net}"),
            None => write!(f, "{}-{}", self.start, self.end),
        }
    }
}

impl fmt::Debug for AddrRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An inclusive range of ports. [`PortRange::ANY`] matches packets without ports too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    start: u16,
    end: u16,
}

impl PortRange {
    pub const ANY: Self = Self { start: 0, end: u16::MAX };
    /// Ports that cannot be seen; on the wire start 65535, end 0 (RFC 7296 §3.13.1).
    pub const OPAQUE: Self = Self { start: u16::MAX, end: 0 };

    pub fn new(start: u16, end: u16) -> Result<Self, SelectorError> {
        if end < start {
            return Err(SelectorError::ReversedPorts(start, end));
        }
        Ok(Self { start, end })
    }

    pub const fn single(port: u16) -> Self {
        Self { start: port, end: port }
    }

    pub const fn start(&self) -> u16 {
        self.start
    }

    pub const fn end(&self) -> u16 {
        self.end
    }

    /// `None` is a packet whose ports cannot be seen.
    pub fn matches(&self, port: Option<u16>) -> bool {
        match port {
            _ if *self == Self::ANY => true,
            Some(port) => self.start <= port && port <= self.end,
            None => *self == Self::OPAQUE,
        }
    }

    pub fn intersect(&self, other: &Self) -> Option<Self> {
        match (*self, *other) {
            (Self::ANY, any) | (any, Self::ANY) => Some(any),
            (Self::OPAQUE, Self::OPAQUE) => Some(Self::OPAQUE),
            (Self::OPAQUE, _) | (_, Self::OPAQUE) => None,
            (a, b) => {
                let (start, end) = (cmp::max(a.start, b.start), cmp::min(a.end, b.end));
                (start <= end).then_some(Self { start, end })
            }
        }
    }
}

/// One side of a selector: addresses, upper-layer protocol, ports.
///
/// For ICMP and ICMPv6 the "port" is type × 256 + code, for the mobility header type × 256 (RFC 7296 §3.13.1), on both
/// sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrafficSelector {
    pub addrs: AddrRange,
    /// `None` is ANY.
    pub protocol: Option<u8>,
    pub ports: PortRange,
}

impl TrafficSelector {
    pub fn any(addrs: AddrRange) -> Self {
        Self { addrs, protocol: None, ports: PortRange::ANY }
    }

    pub fn matches(&self, addr: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        self.addrs.contains(addr) && self.protocol.is_none_or(|p| p == protocol) && self.ports.matches(port)
    }

    /// Of ports, ICMP types and codes, or mobility header types, some and not others: what a later fragment does not show.
    pub fn names_ports(&self) -> bool {
        self.ports != PortRange::ANY && self.ports != PortRange::OPAQUE
    }

    /// What both allow, if anything (RFC 7296 §2.9 narrowing of one selector).
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let protocol = match (self.protocol, other.protocol) {
            (None, p) | (p, None) => p,
            (a, b) if a == b => a,
            _ => return None,
        };
        Some(Self { addrs: self.addrs.intersect(&other.addrs)?, protocol, ports: self.ports.intersect(&other.ports)? })
    }

    /// Every packet that `other` matches, this matches.
    pub fn covers(&self, other: &Self) -> bool {
        self.intersect(other).as_ref() == Some(other)
    }
}

impl fmt::Display for TrafficSelector {
    /// swanctl's notation: `10.1.0.0/16[tcp/80]`, protocol and ports by number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addrs)?;
        if self.protocol.is_none() && self.ports == PortRange::ANY {
            return Ok(());
        }
        match self.protocol {
            Some(protocol) => write!(f, "[{protocol}")?,
            None => write!(f, "[any")?,
        }
        match self.ports {
            PortRange::ANY => {}
            PortRange::OPAQUE => write!(f, "/opaque")?,
            p if p.start == p.end => write!(f, "/{}", p.start)?,
            p => write!(f, "/{}-{}", p.start, p.end)?,
        }
        f.write_str("]")
    }
}

/// What of a packet selectors look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// Source port, or what stands for it; `None` where it cannot be seen (non-initial fragment, other protocol).
    pub source_port: Option<u16>,
    /// Destination port, or what stands for it.
    pub destination_port: Option<u16>,
}

impl Flow {
    /// Does the packet go from a selector of `from` to a selector of `to`?
    pub fn matches(&self, from: &[TrafficSelector], to: &[TrafficSelector]) -> bool {
        from.iter().any(|ts| ts.matches(self.source, self.protocol, self.source_port))
            && to.iter().any(|ts| ts.matches(self.destination, self.protocol, self.destination_port))
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = |p: Option<u16>| p.map_or_else(String::new, |p| format!("[{p}]"));
        write!(
            f,
            "{}{} -> {}{} protocol {}",
            self.source,
            port(self.source_port),
            self.destination,
            port(self.destination_port),
            self.protocol
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> AddrRange {
        AddrRange::from(text.parse::<IpNet>().expect("a prefix"))
    }

    #[test]
    fn ranges_know_their_order_and_family() {
        let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.9".parse().unwrap());
        assert!(AddrRange::new(a, b).is_ok());
        assert_eq!(AddrRange::new(b, a), Err(SelectorError::Reversed(b, a)));
        let six = "::1".parse().unwrap();
        assert_eq!(AddrRange::new(a, six), Err(SelectorError::MixedFamilies(a, six)));
        assert!(!AddrRange::ANY_V4.contains(six));
    }

    #[test]
    fn display_prefers_prefix() {
        assert_eq!(net("10.1.0.0/16").to_string(), "10.1.0.0/16");
        assert_eq!(AddrRange::ANY_V6.to_string(), "::/0");
        let odd = AddrRange::new("10.0.0.1".parse().unwrap(), "10.0.0.3".parse().unwrap()).unwrap();
        assert_eq!(odd.to_string(), "10.0.0.1-10.0.0.3");
    }

    #[test]
    fn intersections() {
        let wide = TrafficSelector::any(net("10.0.0.0/8"));
        let web = TrafficSelector { addrs: net("10.7.0.0/16"), protocol: Some(6), ports: PortRange::single(80) };
        assert_eq!(wide.intersect(&web), Some(web));
        assert!(wide.covers(&web) && !web.covers(&wide));
        let udp = TrafficSelector { protocol: Some(17), ..web };
        assert_eq!(web.intersect(&udp), None);
        assert_eq!(PortRange::OPAQUE.intersect(&PortRange::single(80)), None);
    }

    #[test]
    fn unseen_ports_match_any_and_opaque_only() {
        assert!(PortRange::ANY.matches(None));
        assert!(PortRange::OPAQUE.matches(None));
        assert!(!PortRange::single(80).matches(None));
        assert!(!PortRange::OPAQUE.matches(Some(80)));
    }
}
