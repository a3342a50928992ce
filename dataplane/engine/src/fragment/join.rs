//! All fragments of a datagram into one packet.

use super::piece::fragment_header;
use crate::buffer::Buffer;
use crate::io::LARGEST;
use culvert_telemetry::DropReason;
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{checksum, ipv4, ipv6};

/// Puts fragments together, given in order, without gaps or overlaps, each cut to its IP length: in the first one's buffer
/// if that has the room, else in one of `allocate`, which is told how many octets the whole has.
pub(crate) fn join<B: Buffer>(
    pieces: impl IntoIterator<Item = B>,
    allocate: impl FnOnce(usize) -> Option<B>,
) -> Result<B, DropReason> {
    let mut pieces = pieces.into_iter();
    let mut first = pieces.next().ok_or(DropReason::FragmentMalformed)?;
    let later: Vec<B> = pieces.collect();
    let is_v6 = first.data().first().is_some_and(|octet| octet >> 4 == 6);
    let mut marks = Marks::default();
    marks.see(first.data(), is_v6)?;
    let mut datas = Vec::new();
    for piece in &later {
        marks.see(piece.data(), is_v6)?;
        datas.push(data(piece.data(), is_v6).ok_or(DropReason::FragmentMalformed)?);
    }
    let tos = marks.together()?;
    if is_v6 {
        take_fragment_header(&mut first).ok_or(DropReason::FragmentMalformed)?;
    }
    let start = first.data().len();
    let mut whole = grown(first, datas.iter().map(|data| data.len()).sum(), allocate)?;
    let mut room = whole.data_mut().get_mut(start..).unwrap_or_default();
    for data in datas {
        let (here, behind) = room.split_at_mut_checked(data.len()).ok_or(DropReason::FragmentMalformed)?;
        here.copy_from_slice(data);
        room = behind;
    }
    let packet = whole.data_mut();
    if is_v6 { finish_v6(packet, tos) } else { finish_v4(packet, tos) }.ok_or(DropReason::FragmentMalformed)?;
    Ok(whole)
}

/// The packet with `more` octets of any content behind it.
fn grown<B: Buffer>(mut packet: B, more: usize, allocate: impl FnOnce(usize) -> Option<B>) -> Result<B, DropReason> {
    if packet.append(more).is_some() {
        return Ok(packet);
    }
    let total = packet.data().len() + more;
    // What each fragment says of its end leaves out the headers that only the first one has.
    if total > LARGEST {
        return Err(DropReason::FragmentOversized);
    }
    let mut large = allocate(total).ok_or(DropReason::NoLargeBuffer)?;
    let room = large.append(total).ok_or(DropReason::NoLargeBuffer)?;
    let front = room.get_mut(..packet.data().len()).ok_or(DropReason::NoLargeBuffer)?;
    front.copy_from_slice(packet.data());
    Ok(large)
}

fn data(packet: &[u8], is_v6: bool) -> Option<&[u8]> {
    let at = if is_v6 {
        fragment_header(packet)?.0 + ipv6::FRAGMENT_LEN
    } else {
        ipv4::Header::parse(packet, ChecksumMode::Trusted).ok()?.0.header_len()
    };
    packet.get(at..)
}

/// Whole, with a right length, sum and mark.
fn finish_v4(packet: &mut [u8], tos: u8) -> Option<()> {
    let total = u16::try_from(packet.len()).ok()?;
    let fixed = packet.first_chunk_mut::<{ ipv4::LEN }>()?;
    fixed[1] = tos;
    [fixed[2], fixed[3]] = total.to_be_bytes();
    // DF stays: it says what the sender wants of the whole.
    [fixed[6], fixed[7]] = [fixed[6] & 0x40, 0];
    [fixed[10], fixed[11]] = [0, 0];
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let [c0, c1] = checksum::of(packet.get(..header_len)?).to_be_bytes();
    let fixed = packet.first_chunk_mut::<{ ipv4::LEN }>()?;
    [fixed[10], fixed[11]] = [c0, c1];
    Some(())
}

/// RFC 8200 §4.5: the whole has no fragment header.
fn take_fragment_header<B: Buffer>(packet: &mut B) -> Option<()> {
    let Some((at, announced_at)) = fragment_header(packet.data()) else { return Some(()) };
    let next_header = *packet.data().get(at)?;
    *packet.data_mut().get_mut(announced_at)? = next_header;
    packet.data_mut().get_mut(..at + ipv6::FRAGMENT_LEN)?.copy_within(..at, ipv6::FRAGMENT_LEN);
    packet.trim_front(ipv6::FRAGMENT_LEN).then_some(())
}

fn finish_v6(packet: &mut [u8], tos: u8) -> Option<()> {
    let payload = u16::try_from(packet.len().checked_sub(ipv6::LEN)?).ok()?;
    ipv6::set_traffic_class(packet, tos)?;
    let fixed = packet.first_chunk_mut::<{ ipv6::LEN }>()?;
    [fixed[4], fixed[5]] = payload.to_be_bytes();
    Some(())
}

const NOT_ECT: u8 = 0;
const CE: u8 = 3;

/// The congestion marks of the pieces.
#[derive(Default)]
struct Marks {
    first: Option<u8>,
    congestion: bool,
    not_capable: bool,
}

impl Marks {
    fn see(&mut self, packet: &[u8], is_v6: bool) -> Result<(), DropReason> {
        let tos = match packet {
            [a, b, ..] if is_v6 => a << 4 | b >> 4,
            [_, tos, ..] => *tos,
            _ => return Err(DropReason::FragmentMalformed),
        };
        self.first.get_or_insert(tos);
        self.congestion |= tos & 3 == CE;
        self.not_capable |= tos & 3 == NOT_ECT;
        Ok(())
    }

    /// RFC 3168 §5.3: a mark on one is a mark on the whole, which must not be lost, nor put on what knows no marks.
    fn together(&self) -> Result<u8, DropReason> {
        let first = self.first.unwrap_or(0);
        match (self.congestion, self.not_capable) {
            (true, true) => Err(DropReason::CongestionMarked),
            (true, false) => Ok(first | CE),
            (false, _) => Ok(first),
        }
    }
}

#[cfg(test)]
mod tests;
