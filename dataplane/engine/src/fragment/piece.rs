//! What one fragment says of itself, checked.

use super::least_upper_len;
use crate::reason;
use culvert_telemetry::DropReason;
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{ipv4, ipv6, protocol};
use std::net::IpAddr;

/// A datagram, whatever fragment of it one sees (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DatagramId {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// IPv6 does not tell datagrams apart by it, so there it is the fragment header's own number.
    pub protocol: u8,
    pub identification: u32,
}

/// Where in its datagram a fragment belongs. Offsets count from the first octet that is fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub start: usize,
    /// Exclusive.
    pub end: usize,
    /// Others come behind.
    pub more: bool,
    /// Octets of the packet in front of its data, fragment header included.
    pub header_len: usize,
}

impl Piece {
    /// `None`: not a fragment, or an atomic one, which is whole (RFC 6946). `packet` ends where the IP header says.
    pub fn parse(packet: &[u8]) -> Result<Option<(DatagramId, Self)>, DropReason> {
        match packet.first().map(|octet| octet >> 4) {
            Some(4) => Self::parse_v4(packet),
            Some(6) => Self::parse_v6(packet),
            Some(_) => Err(DropReason::BadEthertype),
            None => Err(DropReason::Truncated),
        }
    }

    fn parse_v4(packet: &[u8]) -> Result<Option<(DatagramId, Self)>, DropReason> {
        let (header, payload) = ipv4::Header::parse(packet, ChecksumMode::Trusted).map_err(|error| match error {
            ipv4::Error::FragmentOverflow => DropReason::FragmentMalformed,
            other => reason::of_ipv4(other),
        })?;
        if !header.is_fragment() {
            return Ok(None);
        }
        let start = usize::from(header.fragment_offset());
        let header_len = header.header_len();
        let piece = Self { start, end: start + payload.len(), more: header.more_fragments(), header_len };
        piece.check(header_len)?;
        // RFC 1858 §3.2, RFC 3128 §3: nothing of a TCP header in the second fragment.
        let tiny = match (header.protocol(), start) {
            (protocol::TCP, 8) => true,
            (protocol, 0) => payload.len() < least_upper_len(protocol),
            _ => false,
        };
        if tiny {
            return Err(DropReason::FragmentTiny);
        }
        let id = DatagramId {
            source: header.source().into(),
            destination: header.destination().into(),
            protocol: header.protocol(),
            identification: u32::from(header.identification()),
        };
        Ok(Some((id, piece)))
    }

    fn parse_v6(packet: &[u8]) -> Result<Option<(DatagramId, Self)>, DropReason> {
        let (header, payload) = ipv6::Header::parse(packet).map_err(reason::of_ipv6)?;
        let upper = header.upper(payload).map_err(|error| match error {
            ipv6::Error::FragmentLength | ipv6::Error::FragmentOverflow => DropReason::FragmentMalformed,
            other => reason::of_ipv6(other),
        })?;
        let Some(fragment) = upper.fragment.filter(|fragment| !fragment.is_atomic()) else { return Ok(None) };
        let header_len = behind_fragment_header(packet).ok_or(DropReason::FragmentMalformed)?;
        let start = usize::from(fragment.offset);
        let total = ipv6::LEN + payload.len();
        let data = total.checked_sub(header_len).ok_or(DropReason::FragmentMalformed)?;
        let piece = Self { start, end: start + data, more: fragment.more, header_len };
        piece.check(header_len - ipv6::LEN - ipv6::FRAGMENT_LEN)?;
        // RFC 7112 §5: the first fragment holds all headers, the upper-layer one included.
        if start == 0 && upper.payload.len() < least_upper_len(upper.protocol) {
            return Err(DropReason::FragmentTiny);
        }
        let id = DatagramId {
            source: header.source().into(),
            destination: header.destination().into(),
            protocol: protocol::FRAGMENT,
            identification: fragment.identification,
        };
        Ok(Some((id, piece)))
    }

    /// `counted`: octets in front of the data that will count in the length field of the whole.
    fn check(&self, counted: usize) -> Result<(), DropReason> {
        let empty = self.start == self.end;
        let odd = self.more && !self.end.is_multiple_of(8);
        // RFC 791 §3.2, RFC 8200 §4.5: what is put together must not be longer than its length field can say.
        let long = counted + self.end > 65_535;
        if empty || odd || long { Err(DropReason::FragmentMalformed) } else { Ok(()) }
    }
}

/// Octets up to the end of the fragment header.
fn behind_fragment_header(packet: &[u8]) -> Option<usize> {
    fragment_header(packet).map(|(at, _)| at + ipv6::FRAGMENT_LEN)
}

/// Where the fragment header is, and where the octet that announces it.
pub(super) fn fragment_header(packet: &[u8]) -> Option<(usize, usize)> {
    let (mut at, mut announced_at) = (ipv6::LEN, 6);
    for _ in 0..=ipv6::MAX_EXTENSION_HEADERS {
        let next = *packet.get(announced_at)?;
        if next == protocol::FRAGMENT {
            return Some((at, announced_at));
        }
        if !matches!(next, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS) {
            return None;
        }
        let units = usize::from(*packet.get(at + 1)?);
        (announced_at, at) = (at, at + (units + 1) * 8);
    }
    None
}
