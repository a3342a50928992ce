//! Out of ESP or AH: what an authentic packet holds (RFC 4303 §3.4.4.1, RFC 4302 §3.4, RFC 4301 §5.2).

use crate::ah::insertion::announced_at;
use crate::buffer::Buffer;
use crate::ecn;
use crate::encapsulate::{announce, close_gap};
use crate::packet::{Head, Opening};
use crate::sa::InboundHot;
use culvert_model::{IpsecProtocol, SaMode};
use culvert_telemetry::DropReason;
use culvert_wire::ipv4::{self, ChecksumMode};
use culvert_wire::{ipv6, protocol};

/// Takes off what the SA put on; what is left is checked as any packet is. Selectors are the caller's to ask.
pub(crate) fn unwrap<B: Buffer>(opening: &mut Opening<B>, hot: &InboundHot) -> Result<Head, DropReason> {
    let offset = usize::from(opening.offset);
    let next = match hot.shape.protocol {
        IpsecProtocol::Esp => take_trailer(&mut opening.packet, offset, hot)?,
        IpsecProtocol::Ah => *opening.packet.data().get(offset).ok_or(DropReason::EspTruncated)?,
    };
    // RFC 4303 §2.6: not an error, and nobody else's business.
    if next == protocol::NO_NEXT_HEADER && hot.shape.protocol == IpsecProtocol::Esp {
        return Err(DropReason::DummyPacket);
    }
    let head_len = match hot.shape.protocol {
        IpsecProtocol::Esp => usize::from(hot.shape.head),
        IpsecProtocol::Ah => hot.shape.ah_len(opening.remote.is_ipv6()),
    };
    match hot.shape.mode {
        SaMode::Tunnel => from_tunnel(opening, offset + head_len, next, hot),
        SaMode::Transport => from_transport(opening, offset, head_len, next),
    }
}

/// Cuts ICV, trailer and padding off; answers what was inside.
fn take_trailer<B: Buffer>(packet: &mut B, offset: usize, hot: &InboundHot) -> Result<u8, DropReason> {
    if !packet.trim_back(usize::from(hot.shape.icv)) {
        return Err(DropReason::EspTruncated);
    }
    let payload = packet.data().get(offset + usize::from(hot.shape.head)..).ok_or(DropReason::EspTruncated)?;
    let (next, trailer_len) = trailer(payload).ok_or(DropReason::BadPadding)?;
    if !packet.trim_back(trailer_len) {
        return Err(DropReason::BadPadding);
    }
    Ok(next)
}

fn from_tunnel<B: Buffer>(
    opening: &mut Opening<B>,
    front: usize,
    next: u8,
    hot: &InboundHot,
) -> Result<Head, DropReason> {
    let packet = &mut opening.packet;
    if !packet.trim_front(front) {
        return Err(DropReason::EspTruncated);
    }
    let version = packet.data().first().map(|octet| octet >> 4);
    if !matches!((next, version), (protocol::IPV4, Some(4)) | (protocol::IPV6, Some(6))) {
        return Err(DropReason::BadInnerHeader);
    }
    let head = whole_packet(packet)?;
    let tos = ecn::inner(head.tos, opening.tos).ok_or(DropReason::CongestionMarked)?;
    let tos = if hot.dscp_inbound { opening.tos & !ecn::MASK | tos & ecn::MASK } else { tos };
    if tos != head.tos {
        let packet = packet.data_mut();
        let set = if head.is_v6() { ipv6::set_traffic_class(packet, tos) } else { ipv4::set_tos(packet, tos) };
        set.ok_or(DropReason::BadInnerHeader)?;
    }
    Ok(Head { tos, ..head })
}

/// The IP header stays, and announces what was inside.
fn from_transport<B: Buffer>(
    opening: &mut Opening<B>,
    offset: usize,
    head_len: usize,
    next: u8,
) -> Result<Head, DropReason> {
    let udp = usize::from(opening.udp);
    let start = offset.checked_sub(udp).ok_or(DropReason::EspTruncated)?;
    let packet = &mut opening.packet;
    let announced = announced_at(packet.data(), start).ok_or(DropReason::Ipv6Extensions)?;
    close_gap(packet, start, udp + head_len).ok_or(DropReason::EspTruncated)?;
    announce(packet.data_mut(), announced, next).ok_or(DropReason::BadInnerHeader)?;
    whole_packet(packet)
}

/// RFC 4303 §2.7: what follows the packet's own length hides its size from onlookers.
fn whole_packet<B: Buffer>(packet: &mut B) -> Result<Head, DropReason> {
    let head = Head::parse(packet.data(), ChecksumMode::Verify).map_err(|_| DropReason::BadInnerHeader)?;
    let padding = packet.data().len().saturating_sub(head.len);
    if packet.trim_back(padding) { Ok(head) } else { Err(DropReason::BadInnerHeader) }
}

/// Next header, and octets of padding and trailer, where the padding is 1, 2, 3, ... (RFC 4303 §2.4).
#[inline]
pub(crate) fn trailer(data: &[u8]) -> Option<(u8, usize)> {
    let (rest, &[pad_len, next]) = data.split_last_chunk()?;
    let padding = rest.get(rest.len().checked_sub(usize::from(pad_len))?..)?;
    padding.iter().copied().eq(1..=pad_len).then_some((next, usize::from(pad_len) + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers() {
        assert_eq!(trailer(&[9, 9, 0, 4]), Some((4, 2)));
        assert_eq!(trailer(&[9, 1, 2, 2, 41]), Some((41, 4)));
        assert_eq!(trailer(&[1, 2, 3, 3, 59]), Some((59, 5)));
        for bad in [&[9u8, 9, 1, 4][..], &[9, 1, 3, 2, 4], &[9, 2, 1, 2, 4], &[1, 2, 3, 4], &[2, 255, 4], &[4], &[]] {
            assert_eq!(trailer(bad), None, "{bad:?}");
        }
        let longest: Vec<u8> = (1..=255).chain([255, 4]).collect();
        assert_eq!(trailer(&longest), Some((4, 257)));
    }
}
