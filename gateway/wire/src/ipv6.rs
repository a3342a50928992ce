//! IPv6 and its extension headers (RFC 8200).

use crate::protocol;
use std::net::Ipv6Addr;

pub const LEN: usize = 40;
pub const FRAGMENT_LEN: usize = 8;

/// Extension headers looked through before a packet is given up: RFC 8200 §4.1's own order has seven; more is an
/// attempt to keep us busy (RFC 8504 §5.3 allows the limit).
pub const MAX_EXTENSION_HEADERS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("IPv6 header truncated")]
    Truncated,
    #[error("IP version {0}, not 6")]
    Version(u8),
    #[error("IPv6 payload length {payload}, but only {available} octets came")]
    Short { payload: usize, available: usize },
    #[error("IPv6 extension header {0} truncated")]
    ExtensionTruncated(u8),
    #[error("IPv6 hop-by-hop options not first")]
    HopByHopNotFirst,
    #[error("more than {MAX_EXTENSION_HEADERS} IPv6 extension headers")]
    TooManyExtensions,
    #[error("IPv6 source route (type 0 routing header)")]
    SourceRoute,
    #[error("second IPv6 fragment header")]
    NestedFragment,
    #[error("IPv6 fragment length is not a multiple of 8")]
    FragmentLength,
    #[error("IPv6 fragment reaches past 65535")]
    FragmentOverflow,
}

/// A checked fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    fixed: &'a [u8; LEN],
}

impl<'a> Header<'a> {
    /// The header and its payload, extension headers included, cut to the payload length. Jumbograms (RFC 2675) are
    /// not known: a payload length of 0 is an empty payload.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let (fixed, rest) = packet.split_first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let version = fixed[0] >> 4;
        if version != 6 {
            return Err(Error::Version(version));
        }
        let header = Self { fixed };
        let len = usize::from(header.payload_len());
        let payload = rest.get(..len).ok_or(Error::Short { payload: len, available: rest.len() })?;
        Ok((header, payload))
    }

    #[inline]
    pub const fn traffic_class(&self) -> u8 {
        self.fixed[0] << 4 | self.fixed[1] >> 4
    }

    #[inline]
    pub const fn flow_label(&self) -> u32 {
        u32::from_be_bytes([0, self.fixed[1] & 0x0f, self.fixed[2], self.fixed[3]])
    }

    #[inline]
    pub const fn payload_len(&self) -> u16 {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]])
    }

    #[inline]
    pub const fn next_header(&self) -> u8 {
        self.fixed[6]
    }

    #[inline]
    pub const fn hop_limit(&self) -> u8 {
        self.fixed[7]
    }

    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.address::<8>())
    }

    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.address::<24>())
    }

    #[inline]
    fn address<const AT: usize>(&self) -> [u8; 16] {
        const { assert!(AT + 16 <= LEN) };
        self.fixed.get(AT..).and_then(|tail| tail.first_chunk()).copied().unwrap_or_default()
    }

    /// The upper-layer protocol behind the extension headers of `payload`.
    #[inline]
    pub fn upper(&self, payload: &'a [u8]) -> Result<Upper<'a>, Error> {
        match self.next_header() {
            protocol @ (protocol::TCP | protocol::UDP | protocol::ESP | protocol::ICMPV6) => {
                Ok(Upper { protocol, offset: LEN, fragment: None, payload })
            }
            first => walk(first, payload),
        }
    }

    pub fn repr(&self) -> Repr {
        Repr {
            traffic_class: self.traffic_class(),
            flow_label: self.flow_label(),
            payload_len: self.payload_len(),
            next_header: self.next_header(),
            hop_limit: self.hop_limit(),
            source: self.source(),
            destination: self.destination(),
        }
    }
}

/// The fields of a fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub next_header: u8,
    /// In octets, a multiple of 8.
    pub offset: u16,
    pub more: bool,
    pub identification: u32,
}

impl Fragment {
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (h, rest) =
            bytes.split_first_chunk::<FRAGMENT_LEN>().ok_or(Error::ExtensionTruncated(protocol::FRAGMENT))?;
        let [next_header, _reserved, o0, o1, i0, i1, i2, i3] = *h;
        let offset = u16::from_be_bytes([o0, o1]);
        let fragment = Self {
            next_header,
            offset: offset & 0xfff8,
            more: offset & 1 != 0,
            identification: u32::from_be_bytes([i0, i1, i2, i3]),
        };
        Ok((fragment, rest))
    }

    pub const fn to_bytes(&self) -> [u8; FRAGMENT_LEN] {
        let [o0, o1] = ((self.offset & 0xfff8) | self.more as u16).to_be_bytes();
        let [i0, i1, i2, i3] = self.identification.to_be_bytes();
        [self.next_header, 0, o0, o1, i0, i1, i2, i3]
    }

    /// Offset 0 and no more to come: a whole packet that only looks like a fragment (RFC 6946).
    #[inline]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// What the extension headers lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper<'a> {
    /// Never hop-by-hop, routing, fragment, destination options or AH, except behind a non-initial fragment, where it
    /// is the first header of the fragmented part, whatever that is.
    pub protocol: u8,
    /// From the start of the IPv6 header.
    pub offset: usize,
    pub fragment: Option<Fragment>,
    pub payload: &'a [u8],
}

/// ESP and no-next-header end the walk as any upper-layer protocol does.
fn walk(first: u8, payload: &[u8]) -> Result<Upper<'_>, Error> {
    let (mut next, mut rest, mut fragment) = (first, payload, None::<Fragment>);
    let mut seen = 0;
    while is_extension(next) {
        if seen == MAX_EXTENSION_HEADERS {
            return Err(Error::TooManyExtensions);
        }
        let total = match next {
            // RFC 8200 §4.1.
            protocol::HOP_BY_HOP if seen > 0 => return Err(Error::HopByHopNotFirst),
            // RFC 4302 §2.2: AH counts in 32-bit words, less two.
            protocol::AH => (usize::from(length_octet(next, rest)?) + 2) * 4,
            protocol::FRAGMENT => {
                if fragment.is_some() {
                    return Err(Error::NestedFragment);
                }
                let (f, after) = Fragment::parse(rest)?;
                check_fragment(&f, after.len())?;
                fragment = Some(f);
                FRAGMENT_LEN
            }
            _ => option_header_len(next, rest)?,
        };
        let (header, after) = rest.split_at_checked(total).ok_or(Error::ExtensionTruncated(next))?;
        next = header.first().copied().ok_or(Error::ExtensionTruncated(next))?;
        rest = after;
        seen += 1;
        if fragment.is_some_and(|f| f.offset != 0) {
            break;
        }
    }
    Ok(Upper { protocol: next, offset: LEN + payload.len() - rest.len(), fragment, payload: rest })
}

const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::AH | protocol::DESTINATION_OPTIONS
    )
}

fn length_octet(kind: u8, bytes: &[u8]) -> Result<u8, Error> {
    bytes.get(1).copied().ok_or(Error::ExtensionTruncated(kind))
}

fn option_header_len(kind: u8, bytes: &[u8]) -> Result<usize, Error> {
    let len = length_octet(kind, bytes)?;
    match (kind, bytes) {
        // RFC 5095 §3: type 0 with segments left must not be processed.
        (protocol::ROUTING, [_, _, 0, segments_left, ..]) if *segments_left != 0 => Err(Error::SourceRoute),
        _ => Ok((usize::from(len) + 1) * 8),
    }
}

fn check_fragment(fragment: &Fragment, len: usize) -> Result<(), Error> {
    // RFC 8200 §4.5.
    if fragment.more && !len.is_multiple_of(8) {
        return Err(Error::FragmentLength);
    }
    if usize::from(fragment.offset) + len > 65_535 {
        return Err(Error::FragmentOverflow);
    }
    Ok(())
}

/// A fixed header to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub traffic_class: u8,
    /// 20 bits.
    pub flow_label: u32,
    pub payload_len: u16,
    pub next_header: u8,
    pub hop_limit: u8,
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
}

impl Repr {
    /// Hop limit 64, no flow label.
    pub const fn new(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload_len: u16) -> Self {
        Self { traffic_class: 0, flow_label: 0, payload_len, next_header, hop_limit: 64, source, destination }
    }

    #[inline]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | (self.flow_label & 0xf_ffff);
        let mut h = [0; LEN];
        let [a, b, c, d] = first.to_be_bytes();
        let [l0, l1] = self.payload_len.to_be_bytes();
        let start = [a, b, c, d, l0, l1, self.next_header, self.hop_limit];
        h[..8].copy_from_slice(&start);
        h[8..24].copy_from_slice(&self.source.octets());
        h[24..].copy_from_slice(&self.destination.octets());
        h
    }
}

/// Takes one from the hop limit. `None`: not even a fixed header.
#[inline]
pub fn decrement_hop_limit(packet: &mut [u8]) -> Option<crate::ipv4::Hop> {
    let h = packet.first_chunk_mut::<LEN>()?;
    if h[7] <= 1 {
        return Some(crate::ipv4::Hop::Expired);
    }
    h[7] -= 1;
    Some(crate::ipv4::Hop::Alive(h[7]))
}

/// `None`: not even a fixed header.
#[inline]
pub fn set_traffic_class(packet: &mut [u8], class: u8) -> Option<()> {
    let h = packet.first_chunk_mut::<LEN>()?;
    h[0] = h[0] & 0xf0 | class >> 4;
    h[1] = class << 4 | h[1] & 0x0f;
    Some(())
}

/// The group every holder of `addr` listens on (RFC 4291 §2.7.1).
#[inline]
pub const fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let bits = 0xff02_0000_0000_0000_0000_0001_ff00_0000 | (addr.to_bits() & 0xff_ffff);
    Ipv6Addr::from_bits(bits)
}

pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// A source no router forwards: unspecified, loopback, multicast, IPv4-mapped (RFC 4291 §2.5, RFC 6890 §2.2.3).
#[inline]
pub fn is_martian_source(addr: Ipv6Addr) -> bool {
    addr.is_unspecified() || addr.is_loopback() || addr.is_multicast() || addr.to_ipv4_mapped().is_some()
}

/// A destination no router forwards; multicast is another matter.
#[inline]
pub fn is_martian_destination(addr: Ipv6Addr) -> bool {
    addr.is_unspecified() || addr.is_loopback() || addr.to_ipv4_mapped().is_some()
}
