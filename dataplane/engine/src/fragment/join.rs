//! All fragments of a datagram into one packet.

use super::piece::fragment_header;
use crate::buffer::Buffer;
use culvert_telemetry::DropReason;
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{checksum, ipv4, ipv6};

/// Puts fragments together, given in order, without gaps or overlaps, each cut to its IP length. The first one's buffer
/// must have the room.
pub(crate) fn join<B: Buffer>(pieces: impl IntoIterator<Item = B>) -> Result<B, DropReason> {
    let mut pieces = pieces.into_iter();
    let mut whole = pieces.next().ok_or(DropReason::FragmentMalformed)?;
    let is_v6 = whole.data().first().is_some_and(|octet| octet >> 4 == 6);
    let mut marks = Marks::default();
    marks.see(whole.data(), is_v6)?;
    for piece in pieces {
        marks.see(piece.data(), is_v6)?;
        let data = data(piece.data(), is_v6).ok_or(DropReason::FragmentMalformed)?;
        whole.append(data.len()).ok_or(DropReason::FragmentOversized)?.copy_from_slice(data);
    }
    let tos = marks.together()?;
    if is_v6 { finish_v6(&mut whole, tos) } else { finish_v4(whole.data_mut(), tos) }
        .ok_or(DropReason::FragmentMalformed)?;
    Ok(whole)
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

/// Without the fragment header (RFC 8200 §4.5).
fn finish_v6<B: Buffer>(packet: &mut B, tos: u8) -> Option<()> {
    if let Some((at, announced_at)) = fragment_header(packet.data()) {
        let next_header = *packet.data().get(at)?;
        *packet.data_mut().get_mut(announced_at)? = next_header;
        packet.data_mut().get_mut(..at + ipv6::FRAGMENT_LEN)?.copy_within(..at, ipv6::FRAGMENT_LEN);
        if !packet.trim_front(ipv6::FRAGMENT_LEN) {
            return None;
        }
    }
    let payload = u16::try_from(packet.data().len().checked_sub(ipv6::LEN)?).ok()?;
    ipv6::set_traffic_class(packet.data_mut(), tos)?;
    let fixed = packet.data_mut().first_chunk_mut::<{ ipv6::LEN }>()?;
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
