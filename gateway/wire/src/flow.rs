//! What a policy looks at in an IP packet (RFC 4301 §4.4.1.1).

use crate::{ipv4, ipv6, protocol};
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Ipv4(#[from] ipv4::Error),
    #[error(transparent)]
    Ipv6(#[from] ipv6::Error),
    #[error("IP version {0}")]
    Version(u8),
    #[error("empty packet")]
    Empty,
    #[error("protocol {0}: too short to hold its ports")]
    PortsTruncated(u8),
    /// RFC 1858 §3, RFC 7112 §5: the selectors of a first fragment must be in it.
    #[error("protocol {0}: first fragment too short to hold its ports")]
    TinyFragment(u8),
}

/// Where in its datagram a packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fragmentation {
    Whole,
    First,
    /// Not the first one: has no ports.
    Later,
}

impl Fragmentation {
    #[inline]
    pub(crate) const fn of_ipv4(header: &ipv4::Header<'_>) -> Self {
        match (header.fragment_offset(), header.more_fragments()) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            _ => Self::Later,
        }
    }

    #[inline]
    pub(crate) const fn of_ipv6(fragment: Option<ipv6::Fragment>) -> Self {
        match fragment {
            None => Self::Whole,
            Some(f) if f.is_atomic() => Self::Whole,
            Some(f) if f.offset == 0 => Self::First,
            Some(_) => Self::Later,
        }
    }
}

/// Addresses, upper-layer protocol and ports of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// ICMP: type × 256 + code; mobility header: type × 256 (RFC 7296 §3.13.1); in both. `None`: a later fragment, or a
    /// protocol without ports.
    pub source_port: Option<u16>,
    pub destination_port: Option<u16>,
    pub fragmentation: Fragmentation,
}

impl Flow {
    /// From a whole IP packet of either version, fully checked.
    #[inline]
    pub fn parse(packet: &[u8], mode: ipv4::ChecksumMode) -> Result<Self, Error> {
        match packet.first().map(|b| b >> 4) {
            Some(4) => {
                let (header, payload) = ipv4::Header::parse(packet, mode)?;
                Self::of_ipv4(&header, payload)
            }
            Some(6) => {
                let (header, payload) = ipv6::Header::parse(packet)?;
                Self::of_ipv6(&header, &header.upper(payload)?)
            }
            Some(version) => Err(Error::Version(version)),
            None => Err(Error::Empty),
        }
    }

    #[inline]
    pub fn of_ipv4(header: &ipv4::Header<'_>, payload: &[u8]) -> Result<Self, Error> {
        let fragmentation = Fragmentation::of_ipv4(header);
        let (source_port, destination_port) = ports(header.protocol(), fragmentation, payload)?;
        Ok(Self {
            source: header.source().into(),
            destination: header.destination().into(),
            protocol: header.protocol(),
            source_port,
            destination_port,
            fragmentation,
        })
    }

    #[inline]
    pub fn of_ipv6(header: &ipv6::Header<'_>, upper: &ipv6::Upper<'_>) -> Result<Self, Error> {
        let fragmentation = Fragmentation::of_ipv6(upper.fragment);
        let (source_port, destination_port) = ports(upper.protocol, fragmentation, upper.payload)?;
        Ok(Self {
            source: header.source().into(),
            destination: header.destination().into(),
            protocol: upper.protocol,
            source_port,
            destination_port,
            fragmentation,
        })
    }
}

type Ports = (Option<u16>, Option<u16>);

#[inline]
pub(crate) fn ports(protocol: u8, fragmentation: Fragmentation, payload: &[u8]) -> Result<Ports, Error> {
    if fragmentation == Fragmentation::Later {
        return Ok((None, None));
    }
    let found = match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP | protocol::UDP_LITE | protocol::DCCP => match payload {
            [a, b, c, d, ..] => Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))),
            _ => None,
        },
        protocol::ICMP | protocol::ICMPV6 => match payload {
            [kind, code, ..] => {
                let port = u16::from_be_bytes([*kind, *code]);
                Some((port, port))
            }
            _ => None,
        },
        // RFC 6275 §6.1.1: payload protocol, header length, type.
        protocol::MOBILITY => match payload {
            [_, _, kind, ..] => {
                let port = u16::from_be_bytes([*kind, 0]);
                Some((port, port))
            }
            _ => None,
        },
        _ => return Ok((None, None)),
    };
    match found {
        Some((source, destination)) => Ok((Some(source), Some(destination))),
        None if fragmentation == Fragmentation::First => Err(Error::TinyFragment(protocol)),
        None => Err(Error::PortsTruncated(protocol)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, testing};
    use proptest::prelude::*;

    fn captured(hex: &str) -> Result<Flow, Error> {
        Flow::parse(&testing::bytes(hex)[ethernet::LEN..], ipv4::ChecksumMode::Verify)
    }

    /// An IPv4 packet, fragment flags and offset as in the header.
    fn packet(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut header = ipv4::Repr::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol, payload.len() as u16);
        header.more_fragments = fragment & 0x2000 != 0;
        header.fragment_offset = (fragment & 0x1fff) * 8;
        [&header.to_bytes()[..], payload].concat()
    }

    fn flow(packet: &[u8]) -> Result<Flow, Error> {
        Flow::parse(packet, ipv4::ChecksumMode::Verify)
    }

    #[test]
    fn captured_packets() {
        let ports = |hex: &str| captured(hex).map(|f| (f.protocol, f.source_port, f.destination_port)).unwrap();
        assert_eq!(ports(testing::ECHO_REQUEST_V4), (1, Some(0x0800), Some(0x0800)));
        assert_eq!(ports(testing::PORT_UNREACHABLE_V4), (1, Some(0x0303), Some(0x0303)));
        assert_eq!(ports(testing::ECHO_REPLY_V6), (58, Some(129 << 8), Some(129 << 8)));
        assert_eq!(ports(testing::MLD_REPORT), (58, Some(143 << 8), Some(143 << 8)));
        assert_eq!(ports(testing::UDP_V6).2, Some(9));
        assert_eq!(ports(testing::TCP_SYN).2, Some(9));
        assert_eq!(ports(testing::ESP), (50, None, None));
        for hex in [testing::FRAGMENT_LATER_V4, testing::FRAGMENT_LATER_V6] {
            let flow = captured(hex).unwrap();
            assert_eq!((flow.source_port, flow.destination_port), (None, None));
            assert_eq!(flow.fragmentation, Fragmentation::Later);
        }
    }

    #[test]
    fn whole_first_later() {
        let kind = |fragment: u16| flow(&packet(17, fragment, &[0, 1, 0, 2, 0, 0, 0, 0])).unwrap();
        assert_eq!(kind(0).fragmentation, Fragmentation::Whole);
        assert_eq!((kind(0).source_port, kind(0).destination_port), (Some(1), Some(2)));
        assert_eq!(kind(0x2000).fragmentation, Fragmentation::First);
        assert_eq!(kind(0x2000).source_port, Some(1));
        assert_eq!(kind(1).fragmentation, Fragmentation::Later);
        assert_eq!(kind(0x2001).source_port, None);
    }

    #[test]
    fn an_atomic_ipv6_fragment_is_whole() {
        let addr = std::net::Ipv6Addr::from([1; 16]);
        let fragment = ipv6::Fragment { next_header: 17, offset: 0, more: false, identification: 1 };
        let header = ipv6::Repr::new(addr, addr, protocol::FRAGMENT, 12);
        let bytes = [&header.to_bytes()[..], &fragment.to_bytes(), &[0, 1, 0, 2]].concat();
        let flow = flow(&bytes).unwrap();
        assert_eq!((flow.fragmentation, flow.source_port), (Fragmentation::Whole, Some(1)));
    }

    #[test]
    fn ports_that_are_not_there() {
        for protocol in [6, 17, 33, 132, 136] {
            assert_eq!(flow(&packet(protocol, 0, &[0, 1, 0])), Err(Error::PortsTruncated(protocol)));
            assert_eq!(flow(&packet(protocol, 0x2000, &[])), Err(Error::TinyFragment(protocol)));
            assert!(flow(&packet(protocol, 1, &[])).is_ok());
        }
        for protocol in [1, 58] {
            assert_eq!(flow(&packet(protocol, 0, &[8])), Err(Error::PortsTruncated(protocol)));
            assert_eq!(flow(&packet(protocol, 0, &[8, 3])).unwrap().source_port, Some(0x0803));
        }
        assert_eq!(flow(&packet(135, 0, &[59, 1])), Err(Error::PortsTruncated(135)));
        assert_eq!(flow(&packet(135, 0x2000, &[59, 1])), Err(Error::TinyFragment(135)));
        assert_eq!(flow(&packet(135, 1, &[59, 1])).unwrap().source_port, None);
        assert_eq!(flow(&packet(47, 0, &[])).unwrap().source_port, None);
    }

    #[test]
    fn a_mobility_header_shows_its_type() {
        let addr = std::net::Ipv6Addr::from([1; 16]);
        // A binding update (RFC 6275 §6.1.7).
        let update = [59, 1, 5, 0, 0x12, 0x34, 0, 1, 0x80, 0, 0, 60, 1, 2, 0, 0];
        let bytes = [&ipv6::Repr::new(addr, addr, protocol::MOBILITY, 16).to_bytes()[..], &update].concat();
        let flow = flow(&bytes).unwrap();
        assert_eq!((flow.source_port, flow.destination_port), (Some(0x0500), Some(0x0500)));
    }

    #[test]
    fn no_ip_at_all() {
        assert_eq!(flow(&[]), Err(Error::Empty));
        assert_eq!(flow(&[0x50; 40]), Err(Error::Version(5)));
        assert_eq!(flow(&[0x45]), Err(Error::Ipv4(ipv4::Error::Truncated)));
        assert_eq!(flow(&[0x60]), Err(Error::Ipv6(ipv6::Error::Truncated)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_flow_or_error(mut bytes in proptest::collection::vec(any::<u8>(), 1..120), six: bool) {
            bytes[0] = if six { 0x60 } else { 0x45 };
            if let Ok(flow) = Flow::parse(&bytes, ipv4::ChecksumMode::Trusted) {
                prop_assert_eq!(flow.source.is_ipv6(), six);
                prop_assert_eq!(flow.source_port.is_some(), flow.destination_port.is_some());
                prop_assert!(flow.fragmentation != Fragmentation::Later || flow.source_port.is_none());
            }
        }
    }
}
