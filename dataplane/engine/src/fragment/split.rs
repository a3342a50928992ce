//! One packet into fragments that fit.

use crate::ah::insertion::insertion_point;
use crate::buffer::Buffer;
use crate::worker::Batch;
use arrayvec::ArrayVec;
use culvert_telemetry::DropReason;
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{checksum, ipv4, ipv6, protocol};

/// Octets of an IPv4 header with all the options it can have.
const MAX_HEADER_V4: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("not an IP packet that can be split")]
    Malformed,
    #[error("fragments of {0} octets have no room for data")]
    Mtu(usize),
    #[error("no buffer, or one without room")]
    NoBuffer,
}

impl Error {
    pub fn reason(self) -> DropReason {
        match self {
            Self::Malformed => DropReason::FragmentMalformed,
            Self::Mtu(_) => DropReason::TooBig,
            Self::NoBuffer => DropReason::NoBuffer,
        }
    }
}

/// A packet on its way into fragments: each is cut when it is asked for, into a buffer of its own, so that the largest packet
/// needs no more buffers at once than a burst has.
#[derive(Debug)]
pub(crate) struct Pieces<B> {
    /// Nothing when all were cut.
    packet: Option<B>,
    form: Form,
    /// Of the packet: where the next piece's data begins, and where all data ends.
    at: usize,
    end: usize,
    /// Of the next piece.
    offset: usize,
    is_first: bool,
    /// The packet itself is a fragment with others behind it.
    more: bool,
}

/// What stands in front of the data.
#[derive(Debug)]
enum Form {
    /// Nothing is cut.
    Whole,
    V4 {
        header_len: usize,
        first_len: usize,
        later: ArrayVec<u8, MAX_HEADER_V4>,
        later_len: usize,
    },
    V6 {
        header_len: usize,
        next_header_at: usize,
        next_header: u8,
        identification: u32,
        data_len: usize,
    },
}

impl<B: Buffer> Pieces<B> {
    fn whole(packet: B) -> Self {
        Self { packet: Some(packet), form: Form::Whole, at: 0, end: 0, offset: 0, is_first: true, more: false }
    }

    /// The next ones in order, a burst at most; none when all were there. `allocate` gives a buffer for each. After an error
    /// there are no more.
    pub fn burst(&mut self, mut allocate: impl FnMut() -> Option<B>) -> Result<Batch<B>, Error> {
        let mut burst = Batch::new();
        while !burst.is_full()
            && let Some(packet) = self.packet.take()
        {
            if matches!(self.form, Form::Whole) {
                burst.push(packet);
                break;
            }
            burst.push(self.cut(packet.data(), &mut allocate)?);
            self.packet = Some(packet).filter(|_| self.at < self.end);
        }
        Ok(burst)
    }

    #[cfg(test)]
    pub fn all(mut self, mut allocate: impl FnMut() -> Option<B>) -> Result<Vec<B>, Error> {
        let mut all = Vec::new();
        loop {
            let burst = self.burst(&mut allocate)?;
            if burst.is_empty() {
                return Ok(all);
            }
            all.extend(burst);
        }
    }

    fn cut(&mut self, packet: &[u8], allocate: &mut impl FnMut() -> Option<B>) -> Result<B, Error> {
        let most = match &self.form {
            Form::Whole => 0,
            Form::V4 { first_len, .. } if self.is_first => *first_len,
            Form::V4 { later_len, .. } => *later_len,
            Form::V6 { data_len, .. } => *data_len,
        };
        let end = self.end.min(self.at + most);
        let data = packet.get(self.at..end).ok_or(Error::Malformed)?;
        let offset = u16::try_from(self.offset).map_err(|_| Error::Malformed)?;
        let more = self.more || end < self.end;
        let mut piece = allocate().ok_or(Error::NoBuffer)?;
        match &self.form {
            Form::Whole => {}
            Form::V4 { header_len, later, .. } => {
                let first = packet.get(..*header_len).ok_or(Error::Malformed)?;
                let header = if self.is_first { first } else { later.as_slice() };
                write(&mut piece, &[header, data])?;
                finish_v4(piece.data_mut(), header.len(), offset, more).ok_or(Error::Malformed)?;
            }
            Form::V6 { header_len, next_header_at, next_header, identification, .. } => {
                let fragment =
                    ipv6::Fragment { next_header: *next_header, offset, more, identification: *identification };
                let header = packet.get(..*header_len).ok_or(Error::Malformed)?;
                write(&mut piece, &[header, &fragment.to_bytes(), data])?;
                finish_v6(piece.data_mut(), *next_header_at).ok_or(Error::Malformed)?;
            }
        }
        self.offset += end - self.at;
        self.at = end;
        self.is_first = false;
        Ok(piece)
    }
}

/// An IPv4 packet, itself a fragment or whole, into such of at most `mtu` octets (RFC 791 §3.2). DF is the caller's to
/// look at; it stays as it is. A packet that fits comes back alone.
pub(crate) fn split_v4<B: Buffer>(packet: B, mtu: usize) -> Result<Pieces<B>, Error> {
    let (header, payload) = ipv4::Header::parse(packet.data(), ChecksumMode::Trusted).map_err(|_| Error::Malformed)?;
    let (header_len, total) = (header.header_len(), usize::from(header.total_len()));
    if total <= mtu {
        return Ok(Pieces::whole(packet));
    }
    let (offset, more) = (usize::from(header.fragment_offset()), header.more_fragments());
    if more && !payload.len().is_multiple_of(8) {
        return Err(Error::Malformed);
    }
    let first_len = units(mtu, header_len)?;
    let later = later_header(packet.data(), header_len)?;
    let later_len = units(mtu, later.len())?;
    let form = Form::V4 { header_len, first_len, later, later_len };
    Ok(Pieces { packet: Some(packet), form, at: header_len, end: total, offset, is_first: true, more })
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
pub(crate) fn split_v6<B: Buffer>(packet: B, mtu: usize, identification: u32) -> Result<Pieces<B>, Error> {
    let (_, payload) = ipv6::Header::parse(packet.data()).map_err(|_| Error::Malformed)?;
    let end = ipv6::LEN + payload.len();
    if end <= mtu {
        return Ok(Pieces::whole(packet));
    }
    // RFC 8200 §4.5: the per-fragment headers end where a header for the destination alone may begin.
    let point = insertion_point(packet.data()).map_err(|_| Error::Malformed)?;
    let data_len = units(mtu, point.offset + ipv6::FRAGMENT_LEN)?;
    if header_chain_len(packet.data()).ok_or(Error::Malformed)? > point.offset + data_len {
        // RFC 7112 §5: all headers belong into the first fragment.
        return Err(Error::Mtu(mtu));
    }
    let (at, next_header_at, next_header) = (point.offset, point.next_header_at, point.next_header);
    let form = Form::V6 { header_len: at, next_header_at, next_header, identification, data_len };
    Ok(Pieces { packet: Some(packet), form, at, end, offset: 0, is_first: true, more: false })
}

/// Octets of data in a fragment that is not the last: a multiple of 8.
fn units(mtu: usize, header_len: usize) -> Result<usize, Error> {
    mtu.checked_sub(header_len).map(|room| room & !7).filter(|room| *room > 0).ok_or(Error::Mtu(mtu))
}

/// The IPv4 header of all fragments but the first: with those options only whose copied flag is set (RFC 791 §3.1).
fn later_header(packet: &[u8], header_len: usize) -> Result<ArrayVec<u8, MAX_HEADER_V4>, Error> {
    const COPIED: u8 = 0x80;
    let (fixed, mut options) = packet
        .get(..header_len)
        .and_then(|header| header.split_first_chunk::<{ ipv4::LEN }>())
        .ok_or(Error::Malformed)?;
    let mut header: ArrayVec<u8, MAX_HEADER_V4> = fixed.iter().copied().collect();
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

/// To the end of the upper-layer header, as far as its length is fixed.
fn header_chain_len(packet: &[u8]) -> Option<usize> {
    let (header, payload) = ipv6::Header::parse(packet).ok()?;
    let upper = header.upper(payload).ok()?;
    Some(upper.offset + super::least_upper_len(upper.protocol))
}

#[cfg(test)]
mod tests;
