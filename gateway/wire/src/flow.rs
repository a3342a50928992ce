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

/// Addresses, upper-layer protocol and ports of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// ICMP: type × 256 + code, in both. `None`: a later fragment, or a protocol without ports.
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
        let fragmentation = match (header.fragment_offset(), header.more_fragments()) {
            (0, false) => Fragmentation::Whole,
            (0, true) => Fragmentation::First,
            _ => Fragmentation::Later,
        };
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
        let fragmentation = match upper.fragment {
            None => Fragmentation::Whole,
            Some(f) if f.is_atomic() => Fragmentation::Whole,
            Some(f) if f.offset == 0 => Fragmentation::First,
            Some(_) => Fragmentation::Later,
        };
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
fn ports(protocol: u8, fragmentation: Fragmentation, payload: &[u8]) -> Result<Ports, Error> {
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
        _ => return Ok((None, None)),
    };
    match found {
        Some((source, destination)) => Ok((Some(source), Some(destination))),
        None if fragmentation == Fragmentation::First => Err(Error::TinyFragment(protocol)),
        None => Err(Error::PortsTruncated(protocol)),
    }
}
