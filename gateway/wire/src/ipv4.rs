//! IPv4 (RFC 791), checked as a router must (RFC 1812 §5.2.2).

use crate::checksum;
use std::net::Ipv4Addr;

/// Octets without options.
pub const LEN: usize = 20;

/// In the order the checks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("IPv4 header truncated")]
    Truncated,
    #[error("IPv4 header checksum is wrong")]
    Checksum,
    #[error("IP version {0}, not 4")]
    Version(u8),
    #[error("IPv4 header length {0} is below 20")]
    HeaderLength(usize),
    #[error("IPv4 total length {total} is below the header's {header}")]
    TotalLength { total: usize, header: usize },
    #[error("IPv4 total length {total}, but only {available} octets came")]
    Short { total: usize, available: usize },
    #[error("IPv4 fragment reaches past 65535")]
    FragmentOverflow,
    #[error("IPv4 options are malformed")]
    Options,
}

/// Who looks at the header checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumMode {
    Verify,
    /// The card found it good.
    Trusted,
}

/// A checked header. Copying it copies two references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    fixed: &'a [u8; LEN],
    options: &'a [u8],
}

impl<'a> Header<'a> {
    /// The header and its payload, cut to the total length (what follows is link padding).
    #[inline]
    pub fn parse(packet: &'a [u8], mode: ChecksumMode) -> Result<(Self, &'a [u8]), Error> {
        // RFC 1812 §5.2.2 (1).
        let fixed = packet.first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let header_len = usize::from(fixed[0] & 0x0f) * 4;
        // (2). The length the sum runs over is itself not checked yet.
        let header = packet.get(..header_len).ok_or(Error::Truncated)?;
        if mode == ChecksumMode::Verify && !checksum::Sum::new().add_bytes(header).is_valid() {
            return Err(Error::Checksum);
        }
        // (3).
        let version = fixed[0] >> 4;
        if version != 4 {
            return Err(Error::Version(version));
        }
        // (4).
        let options = header.get(LEN..).ok_or(Error::HeaderLength(header_len))?;
        // (5).
        let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if total < header_len {
            return Err(Error::TotalLength { total, header: header_len });
        }
        let payload = packet.get(header_len..total).ok_or(Error::Short { total, available: packet.len() })?;
        let header = Self { fixed, options };
        // RFC 791 §3.2 leaves no room for such a datagram; reassembly must never see one.
        if usize::from(header.fragment_offset()) + payload.len() > 65_535 - LEN {
            return Err(Error::FragmentOverflow);
        }
        Ok((header, payload))
    }

    /// The header and what is there of its payload, where a packet is cut anywhere. The sum may have been mended or not on
    /// the way, and nobody looks at lengths.
    pub fn parse_start(packet: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let fixed = packet.first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let version = fixed[0] >> 4;
        if version != 4 {
            return Err(Error::Version(version));
        }
        let header_len = usize::from(fixed[0] & 0x0f) * 4;
        let (header, payload) = packet.split_at_checked(header_len).ok_or(Error::Truncated)?;
        let options = header.get(LEN..).ok_or(Error::HeaderLength(header_len))?;
        Ok((Self { fixed, options }, payload))
    }

    /// 20 to 60.
    #[inline]
    pub const fn header_len(&self) -> usize {
        LEN + self.options.len()
    }

    #[inline]
    pub const fn total_len(&self) -> u16 {
        u16::from_be_bytes([self.fixed[2], self.fixed[3]])
    }

    /// DSCP and ECN, the whole octet.
    #[inline]
    pub const fn tos(&self) -> u8 {
        self.fixed[1]
    }

    #[inline]
    pub const fn identification(&self) -> u16 {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]])
    }

    #[inline]
    pub const fn dont_fragment(&self) -> bool {
        self.fixed[6] & 0x40 != 0
    }

    #[inline]
    pub const fn more_fragments(&self) -> bool {
        self.fixed[6] & 0x20 != 0
    }

    /// In octets.
    #[inline]
    pub const fn fragment_offset(&self) -> u16 {
        u16::from_be_bytes([self.fixed[6] & 0x1f, self.fixed[7]]) << 3
    }

    #[inline]
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments() || self.fragment_offset() != 0
    }

    #[inline]
    pub const fn ttl(&self) -> u8 {
        self.fixed[8]
    }

    #[inline]
    pub const fn protocol(&self) -> u8 {
        self.fixed[9]
    }

    #[inline]
    pub const fn source(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.fixed[12], self.fixed[13], self.fixed[14], self.fixed[15])
    }

    #[inline]
    pub const fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.fixed[16], self.fixed[17], self.fixed[18], self.fixed[19])
    }

    #[inline]
    pub const fn options(&self) -> Options<'a> {
        Options { rest: self.options }
    }

    /// The fields, without the options.
    pub const fn repr(&self) -> Repr {
        Repr {
            tos: self.tos(),
            payload_len: self.total_len() - self.header_len() as u16,
            identification: self.identification(),
            dont_fragment: self.dont_fragment(),
            more_fragments: self.more_fragments(),
            fragment_offset: self.fragment_offset(),
            ttl: self.ttl(),
            protocol: self.protocol(),
            source: self.source(),
            destination: self.destination(),
        }
    }
}

/// One option of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt<'a> {
    pub kind: u8,
    pub data: &'a [u8],
}

impl Opt<'_> {
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
    pub const RECORD_ROUTE: u8 = 7;
    pub const ROUTER_ALERT: u8 = 148;

    /// RFC 7126 §4.3, §4.4: to be refused by default.
    pub const fn is_source_route(&self) -> bool {
        matches!(self.kind, Self::LOOSE_SOURCE_ROUTE | Self::STRICT_SOURCE_ROUTE)
    }
}

/// The options one after the other, padding left out; after an error it ends.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl Options<'_> {
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<Opt<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match core::mem::take(&mut self.rest) {
                // RFC 791 §3.1: 0 ends the list, 1 is padding.
                [] | [0, ..] => return None,
                [1, rest @ ..] => self.rest = rest,
                [kind, len, rest @ ..] => {
                    let split = usize::from(*len).checked_sub(2).and_then(|n| rest.split_at_checked(n));
                    let Some((data, rest)) = split else { return Some(Err(Error::Options)) };
                    self.rest = rest;
                    return Some(Ok(Opt { kind: *kind, data }));
                }
                [_] => return Some(Err(Error::Options)),
            }
        }
    }
}

/// A header without options, to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub tos: u8,
    /// At most 65515.
    pub payload_len: u16,
    pub identification: u16,
    pub dont_fragment: bool,
    pub more_fragments: bool,
    /// In octets, a multiple of 8.
    pub fragment_offset: u16,
    pub ttl: u8,
    pub protocol: u8,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
}

impl Repr {
    /// A datagram in one piece, TTL 64, fragmentation allowed.
    pub const fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload_len: u16) -> Self {
        Self {
            tos: 0,
            payload_len,
            identification: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol,
            source,
            destination,
        }
    }

    /// With the checksum filled in.
    #[inline]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let mut h = self.to_bytes_without_checksum();
        let [c0, c1] = checksum::of(&h).to_be_bytes();
        (h[10], h[11]) = (c0, c1);
        h
    }

    /// With a zero checksum, for a card that fills it in or a template that is finished per packet.
    #[inline]
    pub const fn to_bytes_without_checksum(&self) -> [u8; LEN] {
        let [l0, l1] = (self.payload_len.saturating_add(LEN as u16)).to_be_bytes();
        let [i0, i1] = self.identification.to_be_bytes();
        let df = if self.dont_fragment { 0x4000 } else { 0 };
        let mf = if self.more_fragments { 0x2000 } else { 0 };
        let [f0, f1] = ((self.fragment_offset >> 3) | df | mf).to_be_bytes();
        let [s0, s1, s2, s3] = self.source.octets();
        let [d0, d1, d2, d3] = self.destination.octets();
        [0x45, self.tos, l0, l1, i0, i1, f0, f1, self.ttl, self.protocol, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3]
    }
}

/// What is left of the TTL after a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// To be sent on with this TTL, now in the header.
    Alive(u8),
    /// To be answered with time exceeded; the header is as it was (RFC 1812 §5.3.1).
    Expired,
}

/// Takes one from the TTL and mends the checksum (RFC 1624). `None`: not even a fixed header.
#[inline]
pub fn decrement_ttl(packet: &mut [u8]) -> Option<Hop> {
    let h = packet.first_chunk_mut::<LEN>()?;
    if h[8] <= 1 {
        return Some(Hop::Expired);
    }
    let old = u16::from_be_bytes([h[8], h[9]]);
    h[8] -= 1;
    let new = u16::from_be_bytes([h[8], h[9]]);
    let [c0, c1] = checksum::update(u16::from_be_bytes([h[10], h[11]]), old, new).to_be_bytes();
    (h[10], h[11]) = (c0, c1);
    Some(Hop::Alive(h[8]))
}

/// Sets the DSCP and ECN octet and mends the checksum. `None`: not even a fixed header.
#[inline]
pub fn set_tos(packet: &mut [u8], tos: u8) -> Option<()> {
    let h = packet.first_chunk_mut::<LEN>()?;
    let old = u16::from_be_bytes([h[0], h[1]]);
    h[1] = tos;
    let new = u16::from_be_bytes([h[0], h[1]]);
    let [c0, c1] = checksum::update(u16::from_be_bytes([h[10], h[11]]), old, new).to_be_bytes();
    (h[10], h[11]) = (c0, c1);
    Some(())
}

/// A source no router forwards (RFC 1812 §5.3.7): this network, loopback, multicast, class E, broadcast.
#[inline]
pub const fn is_martian_source(addr: Ipv4Addr) -> bool {
    matches!(addr.octets(), [0, ..] | [127, ..] | [224..=255, ..])
}

/// A destination no router forwards: this network, loopback, class E and limited broadcast. Multicast is another
/// matter: legal, but not routed here.
#[inline]
pub const fn is_martian_destination(addr: Ipv4Addr) -> bool {
    matches!(addr.octets(), [0, ..] | [127, ..] | [240..=255, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, protocol, testing};
    use proptest::prelude::*;

    fn captured(hex: &str) -> Vec<u8> {
        testing::bytes(hex)[ethernet::LEN..].to_vec()
    }

    fn parse(packet: &[u8]) -> Result<(Header<'_>, &[u8]), Error> {
        Header::parse(packet, ChecksumMode::Verify)
    }

    /// Changes bytes and mends the checksum, so that only the change is wrong.
    fn changed(changes: &[(usize, u8)]) -> Vec<u8> {
        let mut packet = captured(testing::ECHO_REQUEST_V4);
        for (at, value) in changes {
            packet[*at] = *value;
        }
        packet[10..12].fill(0);
        let len = (usize::from(packet[0] & 15) * 4).min(packet.len());
        let sum = checksum::of(&packet[..len]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    #[test]
    fn captured_echo() {
        let packet = captured(testing::ECHO_REQUEST_V4);
        let (header, payload) = parse(&packet).unwrap();
        assert_eq!(header.source(), Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(header.destination(), Ipv4Addr::new(192, 0, 2, 2));
        assert_eq!((header.protocol(), header.ttl(), header.total_len()), (protocol::ICMP, 64, 84));
        assert!(header.dont_fragment() && !header.is_fragment());
        assert_eq!(payload.len(), 64);
        assert!(header.options().is_empty());
        assert_eq!(header.repr().to_bytes(), packet[..LEN]);
    }

    #[test]
    fn captured_fragment() {
        let packet = captured(testing::FRAGMENT_LATER_V4);
        let (header, _) = parse(&packet).unwrap();
        assert_eq!((header.fragment_offset(), header.more_fragments(), header.is_fragment()), (1480, false, true));
        assert_eq!(header.repr().to_bytes(), packet[..LEN]);
    }

    #[test]
    fn captured_options() {
        let packet = captured(testing::RECORD_ROUTE);
        let (header, _) = parse(&packet).unwrap();
        assert_eq!(header.header_len(), 60);
        let options: Vec<_> = header.options().collect::<Result<_, _>>().unwrap();
        assert_eq!(options.len(), 1);
        assert_eq!((options[0].kind, options[0].data.len()), (Opt::RECORD_ROUTE, 37));
        assert!(!options[0].is_source_route());
    }

    #[test]
    fn truncated_at_every_length() {
        for hex in [testing::ECHO_REQUEST_V4, testing::RECORD_ROUTE] {
            let packet = captured(hex);
            for len in 0..packet.len() {
                assert!(parse(&packet[..len]).is_err(), "{len}");
            }
            assert!(parse(&packet).is_ok());
        }
    }

    #[test]
    fn link_padding_is_cut_off() {
        let mut packet = captured(testing::ECHO_REQUEST_V4);
        packet.resize(100, 0xaa);
        assert_eq!(parse(&packet).unwrap().1.len(), 64);
    }

    #[test]
    fn each_cause_has_its_error() {
        let err = |packet: &[u8]| parse(packet).unwrap_err();
        assert_eq!(err(&[]), Error::Truncated);
        assert_eq!(err(&changed(&[(0, 0x65)])), Error::Version(6));
        assert_eq!(err(&changed(&[(0, 0x44)])), Error::HeaderLength(16));
        assert_eq!(err(&changed(&[(2, 0), (3, 19)])), Error::TotalLength { total: 19, header: 20 });
        assert_eq!(err(&changed(&[(3, 85)])), Error::Short { total: 85, available: 84 });
        assert_eq!(err(&changed(&[(6, 0x1f), (7, 0xff)])), Error::FragmentOverflow);
        let mut bad = changed(&[]);
        bad[8] ^= 1;
        assert_eq!(err(&bad), Error::Checksum);
        assert!(Header::parse(&bad, ChecksumMode::Trusted).is_ok());
    }

    #[test]
    fn a_datagram_ends_at_65535_header_included() {
        let fragment = |len: u16| {
            let header = Repr::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::UDP, len);
            let header = Repr { fragment_offset: 65_512, ..header };
            [&header.to_bytes()[..], &vec![0; usize::from(len)]].concat()
        };
        assert!(parse(&fragment(3)).is_ok());
        assert_eq!(parse(&fragment(4)).unwrap_err(), Error::FragmentOverflow);
    }

    #[test]
    fn the_checksum_is_looked_at_before_the_version() {
        let mut packet = captured(testing::ECHO_REQUEST_V4);
        packet[0] = 0x65;
        assert_eq!(parse(&packet).unwrap_err(), Error::Checksum);
    }

    #[test]
    fn options_end_at_the_first_malformed_one() {
        let list = |bytes: &'static [u8]| Options { rest: bytes }.collect::<Vec<_>>();
        assert_eq!(list(&[]), []);
        assert_eq!(list(&[1, 1, 1, 0, 7]), []);
        let route = Opt { kind: 131, data: &[4] };
        assert!(route.is_source_route());
        assert_eq!(list(&[1, 131, 3, 4, 0]), [Ok(route)]);
        assert_eq!(list(&[131, 3, 4, 7, 1, 0]), [Ok(route), Err(Error::Options)]);
        assert_eq!(list(&[7, 0, 1]), [Err(Error::Options)]);
        assert_eq!(list(&[7, 4, 1]), [Err(Error::Options)]);
        assert_eq!(list(&[7]), [Err(Error::Options)]);
    }

    #[test]
    fn a_hop_takes_one_and_the_last_is_kept() {
        let mut packet = captured(testing::ECHO_REQUEST_V4);
        for left in (1..64).rev() {
            assert_eq!(decrement_ttl(&mut packet), Some(Hop::Alive(left)));
            assert!(parse(&packet).is_ok(), "checksum at {left}");
        }
        let before = packet.clone();
        assert_eq!(decrement_ttl(&mut packet), Some(Hop::Expired));
        assert_eq!(packet, before);
        assert_eq!(decrement_ttl(&mut packet[..19]), None);
    }

    #[test]
    fn martians() {
        let cases = [
            ([0, 0, 0, 0], true, true),
            ([0, 1, 2, 3], true, true),
            ([127, 0, 0, 1], true, true),
            ([10, 0, 0, 1], false, false),
            ([223, 255, 255, 255], false, false),
            ([224, 0, 0, 1], true, false),
            ([239, 1, 1, 1], true, false),
            ([240, 0, 0, 1], true, true),
            ([255, 255, 255, 255], true, true),
        ];
        for (addr, source, destination) in cases {
            assert_eq!(is_martian_source(addr.into()), source, "{addr:?}");
            assert_eq!(is_martian_destination(addr.into()), destination, "{addr:?}");
        }
    }

    pub(crate) fn header(payload_len: u16) -> impl Strategy<Value = Repr> {
        let flags = (any::<bool>(), any::<bool>(), 0u16..=0x1fff);
        (any::<(u8, u16, u8, u8)>(), flags, any::<([u8; 4], [u8; 4])>()).prop_map(move |(fields, flags, addrs)| Repr {
            tos: fields.0,
            payload_len,
            identification: fields.1,
            dont_fragment: flags.0,
            more_fragments: flags.1,
            fragment_offset: (flags.2 % 8000) * 8,
            ttl: fields.2,
            protocol: fields.3,
            source: addrs.0.into(),
            destination: addrs.1.into(),
        })
    }

    proptest! {
        #[test]
        fn round_trip(repr in header(3)) {
            let mut packet = repr.to_bytes().to_vec();
            packet.extend([1, 2, 3]);
            let (header, payload) = parse(&packet).unwrap();
            prop_assert_eq!((header.repr(), payload), (repr, &[1, 2, 3][..]));
        }

        #[test]
        fn tos_keeps_the_checksum(repr in header(0), tos: u8) {
            let mut packet = repr.to_bytes();
            set_tos(&mut packet, tos).unwrap();
            prop_assert_eq!(parse(&packet).unwrap().0.repr(), Repr { tos, ..repr });
        }

        #[test]
        fn any_bytes_are_header_or_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok((header, payload)) = Header::parse(&bytes, ChecksumMode::Trusted) {
                prop_assert_eq!(header.header_len() + payload.len(), usize::from(header.total_len()));
                prop_assert!(header.options().count() <= 40);
            }
        }
    }
}
