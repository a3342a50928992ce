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
