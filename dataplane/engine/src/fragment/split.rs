//! One packet into fragments that fit.

use crate::ah::insertion::insertion_point;
use crate::buffer::Buffer;
use crate::worker::Batch;
use culvert_telemetry::DropReason;
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{checksum, ipv4, ipv6, protocol};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("not an IP packet that can be split")]
    Malformed,
    #[error("fragments of {0} octets have no room for data")]
    Mtu(usize),
    #[error("more fragments than a burst holds")]
    TooMany,
    #[error("no buffer, or one without room")]
    NoBuffer,
}

impl Error {
    pub fn reason(self) -> DropReason {
        match self {
            Self::Malformed => DropReason::FragmentMalformed,
            Self::Mtu(_) | Self::TooMany => DropReason::TooBig,
            Self::NoBuffer => DropReason::NoBuffer,
        }
    }
}

/// An IPv4 packet, itself a fragment or whole, into such of at most `mtu` octets (RFC 791 §3.2). DF is the caller's to
/// look at; it stays as it is. A packet that fits comes back alone.
///
/// The first piece keeps `packet`'s buffer, the others come from `allocate`.
pub(crate) fn split_v4<B: Buffer>(
    mut packet: B,
    mtu: usize,
    mut allocate: impl FnMut() -> Option<B>,
) -> Result<Batch<B>, Error> {
    let mut pieces = Batch::new();
    let (header, payload) = ipv4::Header::parse(packet.data(), ChecksumMode::Trusted).map_err(|_| Error::Malformed)?;
    let (header_len, total) = (header.header_len(), usize::from(header.total_len()));
    if total <= mtu {
        pieces.push(packet);
        return Ok(pieces);
    }
    if header.more_fragments() && !payload.len().is_multiple_of(8) {
        return Err(Error::Malformed);
    }
    let (start, more) = (header.fragment_offset(), header.more_fragments());
    let first_len = units(mtu, header_len)?;
    let later = later_header(packet.data(), header_len)?;
    let later_len = units(mtu, later.len())?;
    let mut rest = payload.get(first_len..).unwrap_or_default();
    let mut offset = start + first_len as u16;
    while !rest.is_empty() {
        let (data, behind) = rest.split_at_checked(later_len).unwrap_or((rest, &[]));
        let mut piece = allocate().ok_or(Error::NoBuffer)?;
        write(&mut piece, &[later.as_slice(), data])?;
        finish_v4(piece.data_mut(), later.len(), offset, more || !behind.is_empty()).ok_or(Error::Malformed)?;
        // The first is still to come.
        if pieces.len() + 1 == pieces.capacity() {
            return Err(Error::TooMany);
        }
        pieces.push(piece);
        offset += data.len() as u16;
        rest = behind;
    }
    let excess = packet.data().len() - header_len - first_len;
    if !packet.trim_back(excess) {
        return Err(Error::Malformed);
    }
    finish_v4(packet.data_mut(), header_len, start, true).ok_or(Error::Malformed)?;
    pieces.insert(0, packet);
    Ok(pieces)
}

/// Takes DF off an IPv4 packet of the box's own, whose identification then begins to matter (RFC 6864 §4.1). The sum is
/// [`split_v4`]'s to mend.
pub(crate) fn allow(packet: &mut [u8], identification: u16) {
    const DONT_FRAGMENT: u8 = 0x40;
    if let Some(fixed) = packet.first_chunk_mut::<{ ipv4::LEN }>().filter(|fixed| fixed[6] & DONT_FRAGMENT != 0) {
        fixed[6] &= !DONT_FRAGMENT;
        [fixed[4], fixed[5]] = identification.to_be_bytes();
    }
}

/// A whole IPv6 packet of the box's own into fragments of at most `mtu` octets (RFC 8200 §4.5). `identification` must
/// not come again soon between the same addresses. A packet that fits comes back alone and without a fragment header.
pub(crate) fn split_v6<B: Buffer>(
    mut packet: B,
    mtu: usize,
    identification: u32,
    mut allocate: impl FnMut() -> Option<B>,
) -> Result<Batch<B>, Error> {
    let mut pieces = Batch::new();
    let (_, payload) = ipv6::Header::parse(packet.data()).map_err(|_| Error::Malformed)?;
    let total = ipv6::LEN + payload.len();
    if total <= mtu {
        pieces.push(packet);
        return Ok(pieces);
    }
    // RFC 8200 §4.5: the per-fragment headers end where a header for the destination alone may begin.
    let point = insertion_point(packet.data()).map_err(|_| Error::Malformed)?;
    let (fixed, data) =
        packet.data().get(..total).and_then(|whole| whole.split_at_checked(point.offset)).ok_or(Error::Malformed)?;
    let room = units(mtu, point.offset + ipv6::FRAGMENT_LEN)?;
    if header_chain_len(packet.data()).ok_or(Error::Malformed)? > point.offset + room {
        // RFC 7112 §5: all headers belong into the first fragment.
        return Err(Error::Mtu(mtu));
    }
    let mut fragment = ipv6::Fragment { next_header: point.next_header, offset: 0, more: true, identification };
    let mut rest = data.get(room..).unwrap_or_default();
    while !rest.is_empty() {
        let (data, behind) = rest.split_at_checked(room).unwrap_or((rest, &[]));
        fragment.offset += room as u16;
        fragment.more = !behind.is_empty();
        let mut piece = allocate().ok_or(Error::NoBuffer)?;
        write(&mut piece, &[fixed, &fragment.to_bytes(), data])?;
        finish_v6(piece.data_mut(), point.next_header_at).ok_or(Error::Malformed)?;
        if pieces.len() + 1 == pieces.capacity() {
            return Err(Error::TooMany);
        }
        pieces.push(piece);
        rest = behind;
    }
    let excess = packet.data().len() - point.offset - room;
    if !packet.trim_back(excess) {
        return Err(Error::Malformed);
    }
    let first = ipv6::Fragment { offset: 0, more: true, ..fragment };
    packet.prepend(ipv6::FRAGMENT_LEN).ok_or(Error::NoBuffer)?;
    open_gap(packet.data_mut(), point.offset, &first.to_bytes()).ok_or(Error::Malformed)?;
    finish_v6(packet.data_mut(), point.next_header_at).ok_or(Error::Malformed)?;
    pieces.insert(0, packet);
    Ok(pieces)
}

/// Octets of data in a fragment that is not the last: a multiple of 8.
fn units(mtu: usize, header_len: usize) -> Result<usize, Error> {
    mtu.checked_sub(header_len).map(|room| room & !7).filter(|room| *room > 0).ok_or(Error::Mtu(mtu))
}

/// The IPv4 header of all fragments but the first: with those options only whose copied flag is set (RFC 791 §3.1).
fn later_header(packet: &[u8], header_len: usize) -> Result<arrayvec::ArrayVec<u8, 60>, Error> {
    const COPIED: u8 = 0x80;
    let (fixed, mut options) = packet
        .get(..header_len)
        .and_then(|header| header.split_first_chunk::<{ ipv4::LEN }>())
        .ok_or(Error::Malformed)?;
    let mut header: arrayvec::ArrayVec<u8, 60> = fixed.iter().copied().collect();
    loop {
        let len = match *options {
            [] | [0, ..] => break,
            [1, ..] => 1,
            [_, len, ..] if len >= 2 => usize::from(len),
            _ => return Err(Error::Malformed),
        };
        let (option, rest) = options.split_at_checked(len).ok_or(Error::Malformed)?;
        if option.first().is_some_and(|kind| kind & COPIED != 0) {
            // They fitted before, and still do.
            header.try_extend_from_slice(option).map_err(|_| Error::Malformed)?;
        }
        options = rest;
    }
    while !header.len().is_multiple_of(4) {
        header.try_push(0).map_err(|_| Error::Malformed)?;
    }
    Ok(header)
}

fn write<B: Buffer>(piece: &mut B, parts: &[&[u8]]) -> Result<(), Error> {
    for part in parts {
        piece.append(part.len()).ok_or(Error::NoBuffer)?.copy_from_slice(part);
    }
    Ok(())
}

fn finish_v4(piece: &mut [u8], header_len: usize, offset: u16, more: bool) -> Option<()> {
    const DONT_FRAGMENT: u8 = 0x40;
    let total = u16::try_from(piece.len()).ok()?;
    let header = piece.get_mut(..header_len)?;
    let fixed = header.first_chunk_mut::<{ ipv4::LEN }>()?;
    fixed[0] = 0x40 | (header_len / 4) as u8;
    [fixed[2], fixed[3]] = total.to_be_bytes();
    let flags = (offset >> 3) | if more { 0x2000 } else { 0 } | u16::from(fixed[6] & DONT_FRAGMENT) << 8;
    [fixed[6], fixed[7]] = flags.to_be_bytes();
    [fixed[10], fixed[11]] = [0, 0];
    let [c0, c1] = checksum::of(header).to_be_bytes();
    let fixed = header.first_chunk_mut::<{ ipv4::LEN }>()?;
    [fixed[10], fixed[11]] = [c0, c1];
    Some(())
}

/// Payload length, and the fragment header announced where the header before says what follows.
fn finish_v6(piece: &mut [u8], next_header_at: usize) -> Option<()> {
    let payload = u16::try_from(piece.len().checked_sub(ipv6::LEN)?).ok()?;
    *piece.get_mut(next_header_at)? = protocol::FRAGMENT;
    let fixed = piece.first_chunk_mut::<{ ipv6::LEN }>()?;
    [fixed[4], fixed[5]] = payload.to_be_bytes();
    Some(())
}

/// Moves what is in front of the gap to the front, and fills the gap.
fn open_gap(packet: &mut [u8], at: usize, header: &[u8; ipv6::FRAGMENT_LEN]) -> Option<()> {
    packet.get_mut(..at + ipv6::FRAGMENT_LEN)?.copy_within(ipv6::FRAGMENT_LEN.., 0);
    packet.get_mut(at..at + ipv6::FRAGMENT_LEN)?.copy_from_slice(header);
    Some(())
}

/// To the end of the upper-layer header, as far as its length is fixed.
fn header_chain_len(packet: &[u8]) -> Option<usize> {
    let (header, payload) = ipv6::Header::parse(packet).ok()?;
    let upper = header.upper(payload).ok()?;
    Some(upper.offset + super::least_upper_len(upper.protocol))
}

#[cfg(test)]
mod tests;
