//! Around one packet: ESP or AH, in tunnel or transport mode (RFC 4303 §3.1, §3.3; RFC 4302 §3.1, §3.3).

use crate::ah::insertion::insertion_point;
use crate::buffer::Buffer;
use crate::ecn;
use crate::packet::Inner;
use crate::sa::OutboundHot;
use culvert_model::{DfHandling, DscpHandling, IpsecProtocol, SaMode};
use culvert_telemetry::DropReason;
use culvert_wire::{ah, checksum, esp, ipv4, ipv6, protocol, udp};
use std::net::IpAddr;

/// What is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    Packet,
    /// RFC 4303 §2.6: nobody's data, for tunnel mode.
    Dummy,
}

/// Header, padding and trailer around the packet, with room for IV and ICV. Answers where the ESP or AH header is.
pub(crate) fn wrap<B: Buffer>(
    packet: &mut B,
    hot: &OutboundHot,
    sequence: u64,
    head: &Inner,
    inside: Inside,
    padded_to: usize,
) -> Result<u16, DropReason> {
    let at = match (hot.shape.protocol, hot.shape.mode) {
        (IpsecProtocol::Esp, SaMode::Tunnel) => esp_tunnel(packet, hot, sequence, head, inside, padded_to),
        (IpsecProtocol::Esp, SaMode::Transport) => return esp_transport(packet, hot, sequence),
        (IpsecProtocol::Ah, SaMode::Tunnel) => ah_tunnel(packet, hot, sequence, head),
        (IpsecProtocol::Ah, SaMode::Transport) => return ah_transport(packet, hot, sequence),
    };
    let at = at.ok_or(DropReason::NoHeadroom)?;
    let total = packet.data().len();
    finish_outer(packet.data_mut(), hot, total, sequence, head).ok_or(DropReason::TooBig)?;
    Ok(at as u16)
}

fn esp_tunnel<B: Buffer>(
    packet: &mut B,
    hot: &OutboundHot,
    sequence: u64,
    head: &Inner,
    inside: Inside,
    padded_to: usize,
) -> Option<usize> {
    let next = match inside {
        Inside::Dummy => protocol::NO_NEXT_HEADER,
        Inside::Packet => version_protocol(head),
    };
    // RFC 4303 §2.7: behind the packet, whose own length tells where it ends.
    let hidden = padded_to.saturating_sub(packet.data().len());
    if hidden > 0 {
        packet.append(hidden)?.fill(0);
    }
    let payload = packet.data().len();
    put_trailer(packet, payload, hot, next)?;
    let template = hot.template();
    let front = packet.prepend(template.len() + usize::from(hot.shape.head))?;
    let (outer, head) = front.split_at_mut_checked(template.len())?;
    hot.put_template(outer)?;
    put_esp_header(head, hot, sequence)?;
    Some(template.len())
}

/// RFC 4303 §2.4: padding 1, 2, 3, ..., then how many, then what was padded; then room for the ICV. `payload`: octets of
/// the packet that are encrypted.
#[inline]
pub(crate) fn put_trailer<B: Buffer>(packet: &mut B, payload: usize, hot: &OutboundHot, next: u8) -> Option<()> {
    let pad = pad_len(payload, usize::from(hot.shape.alignment));
    let trailer = packet.append(usize::from(pad) + 2 + usize::from(hot.shape.icv))?;
    let (padding, rest) = trailer.split_at_mut_checked(usize::from(pad))?;
    for (octet, value) in padding.iter_mut().zip(1..=pad) {
        *octet = value;
    }
    *rest.first_chunk_mut()? = [pad, next];
    Some(())
}

/// Octets until payload, padding and the two trailer octets are a multiple of `alignment`.
const fn pad_len(payload: usize, alignment: usize) -> u8 {
    ((payload + 2).next_multiple_of(alignment) - (payload + 2)) as u8
}

/// The IV behind it is the cipher's to write.
#[inline]
pub(crate) fn put_esp_header(head: &mut [u8], hot: &OutboundHot, sequence: u64) -> Option<()> {
    let header = esp::Repr { spi: u32::from_be_bytes(hot.spi), sequence: sequence as u32 };
    head.first_chunk_mut().map(|octets| *octets = header.to_bytes())
}

/// Between the IP header and what follows it; with UDP encapsulation the UDP header stands before ESP (RFC 3948 §3.2).
fn esp_transport<B: Buffer>(packet: &mut B, hot: &OutboundHot, sequence: u64) -> Result<u16, DropReason> {
    let point = insertion_point(packet.data()).map_err(|error| error.reason())?;
    let no_room = DropReason::NoHeadroom;
    let payload = packet.data().len() - point.offset;
    put_trailer(packet, payload, hot, point.next_header).ok_or(no_room)?;
    let udp = hot.udp_header().unwrap_or_default();
    let head = udp.len() + usize::from(hot.shape.head);
    let gap = open_gap(packet, point.offset, head).ok_or(no_room)?;
    let (udp_room, esp_head) = gap.split_at_mut_checked(udp.len()).ok_or(no_room)?;
    udp_room.copy_from_slice(udp);
    put_esp_header(esp_head, hot, sequence).ok_or(no_room)?;
    let next = if udp.is_empty() { protocol::ESP } else { protocol::UDP };
    announce(packet.data_mut(), point.next_header_at, next).ok_or(no_room)?;
    if !udp.is_empty() {
        let length = packet.data().len() - point.offset;
        let header = packet.data_mut().get_mut(point.offset..).ok_or(no_room)?;
        set_udp_length(header, length).ok_or(DropReason::TooBig)?;
    }
    Ok((point.offset + udp.len()) as u16)
}

fn ah_tunnel<B: Buffer>(packet: &mut B, hot: &OutboundHot, sequence: u64, head: &Inner) -> Option<usize> {
    let template = hot.template();
    let front = packet.prepend(template.len() + hot.shape.ah_len(hot.outer_v6))?;
    let (outer, header) = front.split_at_mut_checked(template.len())?;
    outer.copy_from_slice(template);
    put_ah_header(header, hot, sequence, version_protocol(head))?;
    Some(template.len())
}

fn ah_transport<B: Buffer>(packet: &mut B, hot: &OutboundHot, sequence: u64) -> Result<u16, DropReason> {
    let point = insertion_point(packet.data()).map_err(|error| error.reason())?;
    let no_room = DropReason::NoHeadroom;
    let gap = open_gap(packet, point.offset, hot.shape.ah_len(hot.outer_v6)).ok_or(no_room)?;
    put_ah_header(gap, hot, sequence, point.next_header).ok_or(no_room)?;
    announce(packet.data_mut(), point.next_header_at, protocol::AH).ok_or(no_room)?;
    Ok(point.offset as u16)
}

/// The ICV is still to come.
fn put_ah_header(header: &mut [u8], hot: &OutboundHot, sequence: u64, next_header: u8) -> Option<()> {
    let icv_len = header.len().checked_sub(ah::LEN)?;
    let repr = ah::Repr { next_header, icv_len, spi: u32::from_be_bytes(hot.spi), sequence: sequence as u32 };
    let (fixed, icv) = header.split_first_chunk_mut()?;
    *fixed = repr.to_bytes()?;
    icv.fill(0);
    Some(())
}

/// Room of `len` octets behind the first `offset`, which move to the front.
fn open_gap<B: Buffer>(packet: &mut B, offset: usize, len: usize) -> Option<&mut [u8]> {
    packet.prepend(len)?;
    let front = packet.data_mut().get_mut(..len + offset)?;
    front.copy_within(len.., 0);
    front.get_mut(offset..)
}

/// The opposite: the `len` octets behind the first `offset` go.
pub(crate) fn close_gap<B: Buffer>(packet: &mut B, offset: usize, len: usize) -> Option<()> {
    packet.data_mut().get_mut(..offset + len)?.copy_within(..offset, len);
    packet.trim_front(len).then_some(())
}

/// Transport mode: another header follows, and the packet has another length.
pub(crate) fn announce(packet: &mut [u8], next_header_at: usize, next: u8) -> Option<()> {
    *packet.get_mut(next_header_at)? = next;
    let total = packet.len();
    match packet.first()? >> 4 {
        4 => {
            let header_len = usize::from(packet.first()? & 0x0f) * 4;
            let header = packet.get_mut(..header_len)?;
            let fixed = header.first_chunk_mut::<{ ipv4::LEN }>()?;
            [fixed[2], fixed[3]] = u16::try_from(total).ok()?.to_be_bytes();
            [fixed[10], fixed[11]] = [0, 0];
            let sum = checksum::of(header).to_be_bytes();
            header.get_mut(10..12)?.copy_from_slice(&sum);
        }
        _ => {
            let payload = u16::try_from(total.checked_sub(ipv6::LEN)?).ok()?;
            packet.get_mut(4..6)?.copy_from_slice(&payload.to_be_bytes());
        }
    }
    Some(())
}

fn version_protocol(head: &Inner) -> u8 {
    if head.is_v6 { protocol::IPV6 } else { protocol::IPV4 }
}

/// Lengths and copied fields of a tunnel's outer header (RFC 4301 §5.1.2), UDP's included; `total`: octets of the packet. An
/// IPv4 header's checksum too.
#[inline]
pub(crate) fn finish_outer(
    outer: &mut [u8],
    hot: &OutboundHot,
    total: usize,
    sequence: u64,
    head: &Inner,
) -> Option<()> {
    if hot.outer_v6 { finish_v6(outer, hot, total, head) } else { finish_v4(outer, hot, total, sequence, head) }
}

/// The outer traffic class.
fn outer_tos(hot: &OutboundHot, inner: u8) -> u8 {
    let dscp = match hot.handling.dscp {
        DscpHandling::Copy => inner & !ecn::MASK,
        DscpHandling::Set(dscp) => dscp << 2,
        DscpHandling::Map(map) => map.outer(inner >> 2) << 2,
    };
    dscp | ecn::outer(inner, hot.handling.ecn)
}

fn outer_df(hot: &OutboundHot, head: &Inner) -> bool {
    match hot.handling.df {
        DfHandling::Copy => head.dont_fragment,
        DfHandling::Set => true,
        DfHandling::Clear => false,
    }
}

/// May the sealed packet of such an inner one be cut?
pub(crate) fn may_be_cut(hot: &OutboundHot, head: &Inner) -> bool {
    hot.outer_v6 || !outer_df(hot, head)
}

#[inline]
fn finish_v4(outer: &mut [u8], hot: &OutboundHot, total: usize, sequence: u64, head: &Inner) -> Option<()> {
    let (outer, rest) = outer.split_first_chunk_mut::<{ ipv4::LEN }>()?;
    outer[1] = outer_tos(hot, head.tos);
    [outer[2], outer[3]] = u16::try_from(total).ok()?.to_be_bytes();
    // RFC 6864 §4.1: without DF the identification must not repeat soon.
    if outer_df(hot, head) {
        [outer[6], outer[7]] = [0x40, 0];
    } else {
        [outer[4], outer[5]] = (sequence as u16).to_be_bytes();
    }
    if hot.handling.ttl.is_none() {
        outer[8] = head.ttl;
    }
    if hot.encapsulated {
        set_udp_length(rest, total.checked_sub(ipv4::LEN)?)?;
    }
    [outer[10], outer[11]] = checksum::of(outer).to_be_bytes();
    Some(())
}

fn finish_v6(packet: &mut [u8], hot: &OutboundHot, total: usize, head: &Inner) -> Option<()> {
    let payload = total.checked_sub(ipv6::LEN)?;
    ipv6::set_traffic_class(packet, outer_tos(hot, head.tos))?;
    let (outer, rest) = packet.split_first_chunk_mut::<{ ipv6::LEN }>()?;
    [outer[4], outer[5]] = u16::try_from(payload).ok()?.to_be_bytes();
    if hot.handling.ttl.is_none() {
        outer[7] = head.ttl;
    }
    if hot.handling.flow_label {
        let [_, high, mid, low] = head.flow_label.to_be_bytes();
        outer[1] = outer[1] & 0xf0 | high & 0x0f;
        [outer[2], outer[3]] = [mid, low];
    }
    if hot.encapsulated {
        set_udp_length(rest, payload)?;
    }
    Some(())
}

fn set_udp_length(header: &mut [u8], length: usize) -> Option<()> {
    let header = header.first_chunk_mut::<{ udp::LEN }>()?;
    [header[4], header[5]] = u16::try_from(length).ok()?.to_be_bytes();
    Some(())
}

/// RFC 8200 §8.1: UDP over IPv6 needs its checksum; over IPv4 it is sent as zero (RFC 3948 §2.1). `at`: of the UDP header.
pub(crate) fn udp_checksum_v6(packet: &mut [u8], at: usize) -> Option<()> {
    let (header, _) = ipv6::Header::parse(packet).ok()?;
    let (source, destination) = (IpAddr::V6(header.source()), IpAddr::V6(header.destination()));
    let (_, datagram) = packet.split_at_mut_checked(at)?;
    let sum = checksum::Sum::pseudo(source, destination, protocol::UDP, datagram.len())?.add_bytes(datagram);
    let header = datagram.first_chunk_mut::<{ udp::LEN }>()?;
    [header[6], header[7]] = sum.finish_udp().to_be_bytes();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::VecBuffer;

    #[test]
    fn padding_fills_blocks() {
        for alignment in [4, 16] {
            for len in 0..64usize {
                let pad = usize::from(pad_len(len, alignment));
                assert!(pad < alignment && (len + pad + 2).is_multiple_of(alignment), "{len}: {pad}");
            }
        }
    }

    #[test]
    fn gaps_open_and_close() {
        let octets: Vec<u8> = (0..60).collect();
        for offset in [0, 20, 40, 60] {
            let mut packet = VecBuffer::with_room(&octets, 64, 0);
            open_gap(&mut packet, offset, 24).expect("there is room").fill(0xee);
            assert_eq!(packet.data().len(), 84);
            assert_eq!(packet.data()[offset..offset + 24], [0xee; 24]);
            close_gap(&mut packet, offset, 24).expect("it was there");
            assert_eq!(packet.data(), octets);
        }
        let mut packet = VecBuffer::with_room(&octets, 8, 0);
        assert!(open_gap(&mut packet, 20, 24).is_none());
        assert!(close_gap(&mut packet, 50, 24).is_none());
    }
}
