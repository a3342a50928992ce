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
        let (header, rest) = Self::parse_start(packet)?;
        let len = usize::from(header.payload_len());
        let payload = rest.get(..len).ok_or(Error::Short { payload: len, available: rest.len() })?;
        Ok((header, payload))
    }

    /// The header and what is there of its payload, where a packet is cut anywhere.
    #[inline]
    pub fn parse_start(packet: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let (fixed, rest) = packet.split_first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let version = fixed[0] >> 4;
        if version == 6 { Ok((Self { fixed }, rest)) } else { Err(Error::Version(version)) }
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
            first => walk(first, payload, check_fragment),
        }
    }

    /// The same where the payload is cut anywhere, but not within the headers.
    pub fn upper_of_start(&self, payload: &'a [u8]) -> Result<Upper<'a>, Error> {
        walk(self.next_header(), payload, |_, _| Ok(()))
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
    /// Never hop-by-hop, routing, fragment or destination options, except behind a non-initial fragment, where it is the
    /// first header of the fragmented part, whatever that is.
    pub protocol: u8,
    /// From the start of the IPv6 header.
    pub offset: usize,
    pub fragment: Option<Fragment>,
    pub payload: &'a [u8],
}

/// ESP, AH (RFC 4301 §4.4.1.1) and no-next-header end the walk as any upper-layer protocol does.
fn walk(
    first: u8,
    payload: &[u8],
    check_fragment: impl Fn(&Fragment, usize) -> Result<(), Error>,
) -> Result<Upper<'_>, Error> {
    let (mut next, mut rest, mut fragment) = (first, payload, None::<Fragment>);
    let mut seen = 0;
    while is_extension(next) {
        if seen == MAX_EXTENSION_HEADERS {
            return Err(Error::TooManyExtensions);
        }
        let total = match next {
            // RFC 8200 §4.1.
            protocol::HOP_BY_HOP if seen > 0 => return Err(Error::HopByHopNotFirst),
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
    matches!(next, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION_OPTIONS)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, ipv4::Hop, testing};
    use proptest::prelude::*;

    fn captured(hex: &str) -> Vec<u8> {
        testing::bytes(hex)[ethernet::LEN..].to_vec()
    }

    fn chain(first: u8, headers: &[u8]) -> Result<(u8, usize, usize), Error> {
        walk(first, headers, check_fragment).map(|upper| (upper.protocol, upper.offset, upper.payload.len()))
    }

    #[test]
    fn captured_echo() {
        let packet = captured(testing::ECHO_REQUEST_V6);
        let (header, payload) = Header::parse(&packet).unwrap();
        assert_eq!(header.source(), "2001:db8::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(header.destination(), "2001:db8::2".parse::<Ipv6Addr>().unwrap());
        assert_eq!((header.next_header(), header.hop_limit(), payload.len()), (protocol::ICMPV6, 64, 64));
        assert_eq!(header.repr().to_bytes(), packet[..LEN]);
        let upper = header.upper(payload).unwrap();
        assert_eq!((upper.protocol, upper.offset, upper.payload), (protocol::ICMPV6, LEN, payload));
    }

    #[test]
    fn captured_hop_by_hop() {
        let packet = captured(testing::MLD_REPORT);
        let (header, payload) = Header::parse(&packet).unwrap();
        assert_eq!(header.next_header(), protocol::HOP_BY_HOP);
        let upper = header.upper(payload).unwrap();
        assert_eq!((upper.protocol, upper.offset, upper.payload[0]), (protocol::ICMPV6, 48, 143));
    }

    #[test]
    fn captured_fragment() {
        let packet = captured(testing::FRAGMENT_LATER_V6);
        let (header, payload) = Header::parse(&packet).unwrap();
        let upper = header.upper(payload).unwrap();
        let fragment = upper.fragment.unwrap();
        assert_eq!((fragment.offset, fragment.more, fragment.is_atomic()), (1448, false, false));
        assert_eq!(upper.offset, 48);
        assert_eq!(fragment.to_bytes(), packet[LEN..48]);
    }

    #[test]
    fn truncated_at_every_length() {
        for hex in [testing::ECHO_REQUEST_V6, testing::MLD_REPORT] {
            let packet = captured(hex);
            for len in 0..packet.len() {
                assert!(Header::parse(&packet[..len]).is_err(), "{len}");
            }
        }
    }

    #[test]
    fn each_cause_has_its_error() {
        let mut packet = captured(testing::ECHO_REQUEST_V6);
        packet[5] += 1;
        assert_eq!(Header::parse(&packet), Err(Error::Short { payload: 65, available: 64 }));
        packet[0] = 0x45;
        assert_eq!(Header::parse(&packet), Err(Error::Version(4)));
        assert_eq!(Header::parse(&packet[..39]), Err(Error::Truncated));
    }

    #[test]
    fn chains() {
        let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
        let two = [options(protocol::DESTINATION_OPTIONS), options(protocol::UDP)].concat();
        assert_eq!(chain(protocol::HOP_BY_HOP, &two), Ok((protocol::UDP, 56, 0)));
        assert_eq!(chain(protocol::ESP, &two), Ok((protocol::ESP, 40, 16)));
        assert_eq!(chain(protocol::NO_NEXT_HEADER, &two), Ok((protocol::NO_NEXT_HEADER, 40, 16)));
        let late = [options(protocol::HOP_BY_HOP), options(protocol::UDP)].concat();
        assert_eq!(chain(protocol::DESTINATION_OPTIONS, &late), Err(Error::HopByHopNotFirst));
        assert_eq!(chain(protocol::ROUTING, &[17, 0, 0, 1, 0, 0, 0, 0]), Err(Error::SourceRoute));
        assert_eq!(chain(protocol::ROUTING, &[17, 0, 0, 0, 0, 0, 0, 0]), Ok((17, 48, 0)));
        assert_eq!(chain(protocol::ROUTING, &[17, 0, 4, 1, 0, 0, 0, 0]), Ok((17, 48, 0)));
        assert_eq!(chain(protocol::AH, &two), Ok((protocol::AH, 40, 16)));
        assert_eq!(chain(protocol::DESTINATION_OPTIONS, &options(protocol::AH)), Ok((protocol::AH, 48, 0)));
    }

    #[test]
    fn chains_truncated_at_every_length() {
        let good =
            [[protocol::DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0], [protocol::UDP, 0, 1, 4, 0, 0, 0, 0]].concat();
        for len in 0..16 {
            assert!(matches!(chain(protocol::HOP_BY_HOP, &good[..len]), Err(Error::ExtensionTruncated(_))), "{len}");
        }
    }

    #[test]
    fn the_walk_is_bounded() {
        let headers = |n: usize| {
            let mut bytes = vec![[protocol::DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0]; n];
            bytes[n - 1][0] = protocol::UDP;
            bytes.concat()
        };
        assert_eq!(chain(protocol::DESTINATION_OPTIONS, &headers(8)), Ok((protocol::UDP, 104, 0)));
        assert_eq!(chain(protocol::DESTINATION_OPTIONS, &headers(9)), Err(Error::TooManyExtensions));
    }

    #[test]
    fn fragments() {
        let fragment = |offset: u16, more: bool, rest: usize| {
            let header = Fragment { next_header: protocol::UDP, offset, more, identification: 7 };
            [&header.to_bytes()[..], &vec![0; rest]].concat()
        };
        assert_eq!(chain(protocol::FRAGMENT, &fragment(0, true, 16)), Ok((protocol::UDP, 48, 16)));
        assert_eq!(chain(protocol::FRAGMENT, &fragment(0, true, 15)), Err(Error::FragmentLength));
        assert_eq!(chain(protocol::FRAGMENT, &fragment(8, false, 15)), Ok((protocol::UDP, 48, 15)));
        assert_eq!(chain(protocol::FRAGMENT, &fragment(65_528, false, 8)), Err(Error::FragmentOverflow));
        let mut nested = fragment(0, true, 0);
        nested[0] = protocol::FRAGMENT;
        nested.extend(fragment(0, true, 8));
        assert_eq!(chain(protocol::FRAGMENT, &nested), Err(Error::NestedFragment));
        // Behind a later fragment nothing is looked at: it is the middle of something.
        let mut later = fragment(8, false, 3);
        later[0] = protocol::HOP_BY_HOP;
        assert_eq!(chain(protocol::FRAGMENT, &later), Ok((protocol::HOP_BY_HOP, 48, 3)));
    }

    #[test]
    fn a_hop_takes_one_and_the_last_is_kept() {
        let mut packet = captured(testing::ECHO_REQUEST_V6);
        assert_eq!(decrement_hop_limit(&mut packet), Some(Hop::Alive(63)));
        packet[7] = 1;
        assert_eq!(decrement_hop_limit(&mut packet), Some(Hop::Expired));
        assert_eq!(packet[7], 1);
        assert_eq!(decrement_hop_limit(&mut packet[..39]), None);
    }

    #[test]
    fn well_known_addresses() {
        let addr = "2001:db8::1234:5678".parse().unwrap();
        assert_eq!(solicited_node(addr), "ff02::1:ff34:5678".parse::<Ipv6Addr>().unwrap());
        for (addr, source, destination) in [
            ("::", true, true),
            ("::1", true, true),
            ("::ffff:10.0.0.1", true, true),
            ("ff02::1", true, false),
            ("fe80::1", false, false),
            ("2001:db8::1", false, false),
        ] {
            let addr = addr.parse().unwrap();
            assert_eq!((is_martian_source(addr), is_martian_destination(addr)), (source, destination), "{addr}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(fields: (u8, u32, u8, u8), source: [u8; 16], destination: [u8; 16], class: u8) {
            let repr = Repr {
                traffic_class: fields.0,
                flow_label: fields.1 & 0xf_ffff,
                payload_len: 2,
                next_header: fields.2,
                hop_limit: fields.3,
                source: source.into(),
                destination: destination.into(),
            };
            let mut packet = repr.to_bytes().to_vec();
            packet.extend([1, 2]);
            let (header, payload) = Header::parse(&packet).unwrap();
            prop_assert_eq!((header.repr(), payload), (repr, &[1, 2][..]));
            set_traffic_class(&mut packet, class).unwrap();
            prop_assert_eq!(Header::parse(&packet).unwrap().0.repr(), Repr { traffic_class: class, ..repr });
        }

        #[test]
        fn fragment_round_trip(next_header: u8, offset in 0u16..8192, more: bool, identification: u32) {
            let fragment = Fragment { next_header, offset: offset * 8, more, identification };
            let bytes = fragment.to_bytes();
            prop_assert_eq!(Fragment::parse(&bytes), Ok((fragment, &[][..])));
        }

        #[test]
        fn any_chain_ends(first in prop_oneof![Just(0u8), Just(43), Just(44), Just(51), Just(60)],
                          mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for at in (0..bytes.len()).step_by(8) {
                bytes[at] = [0, 43, 44, 51, 60, 17][usize::from(bytes[at] % 6)];
                if let Some(len) = bytes.get_mut(at + 1) { *len %= 2; }
            }
            if let Ok(upper) = walk(first, &bytes, check_fragment) {
                prop_assert_eq!(upper.offset + upper.payload.len(), LEN + bytes.len());
            }
        }
    }
}
