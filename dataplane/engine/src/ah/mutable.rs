//! What AH's integrity check value counts as zero (RFC 4302 §3.3.3.1): the fields of the headers before it that may
//! change on the way, and the ICV itself.
//!
//! As in Linux, KAME's successors and Scapy, options behind the AH header count as they are.

use super::Error;
use culvert_wire::{ah, ipv4, ipv6, protocol};

/// IPv6 with every header that may stand before AH once, each of usual size, and AH with the longest ICV.
pub(crate) const MAX_HEADERS: usize = 320;

/// Which end computes the ICV: the sender must foresee what a source route makes of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Sealing,
    Opening,
}

/// The headers as they were.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    octets: [u8; MAX_HEADERS],
    len: usize,
}

impl Saved {
    /// Undoes [`mask`]. The new ICV, if there is to be one, goes in afterwards.
    pub fn restore(&self, packet: &mut [u8]) {
        if let Some((headers, saved)) = packet.get_mut(..self.len).zip(self.octets.get(..self.len)) {
            headers.copy_from_slice(saved);
        }
    }
}

/// Makes `packet` what the ICV is computed over. `offset`: of its AH header, to which all headers before must lead.
/// `icv_len`: without padding, which counts as it is (RFC 4302 §3.3.3.2.1). After an error the packet is as it was.
pub(crate) fn mask(packet: &mut [u8], offset: usize, icv_len: usize, side: Side) -> Result<Saved, Error> {
    let len = offset.checked_add(ah::LEN + icv_len).ok_or(Error::TooLong)?;
    let headers = packet.get_mut(..len).ok_or(Error::Truncated)?;
    let mut octets = [0; MAX_HEADERS];
    octets.get_mut(..len).ok_or(Error::TooLong)?.copy_from_slice(headers);
    let saved = Saved { octets, len };
    match mask_headers(headers, offset, side) {
        Ok(()) => Ok(saved),
        Err(error) => {
            saved.restore(packet);
            Err(error)
        }
    }
}

fn mask_headers(headers: &mut [u8], offset: usize, side: Side) -> Result<(), Error> {
    let (before, own) = headers.split_at_mut_checked(offset).ok_or(Error::Position)?;
    own.get_mut(ah::LEN..).ok_or(Error::Truncated)?.fill(0);
    match before.first().map(|octet| octet >> 4) {
        Some(4) => mask_ipv4(before, side),
        Some(6) => mask_ipv6(before, side),
        Some(version) => Err(Error::Version(version)),
        None => Err(Error::Position),
    }
}

/// RFC 4302 §3.3.3.1.1.
fn mask_ipv4(header: &mut [u8], side: Side) -> Result<(), Error> {
    let len = header.len();
    let (fixed, options) = header.split_first_chunk_mut::<{ ipv4::LEN }>().ok_or(Error::Position)?;
    if usize::from(fixed[0] & 0x0f) * 4 != len || fixed[9] != protocol::AH {
        return Err(Error::Position);
    }
    // TOS, flags and fragment offset, TTL, checksum. Only whole datagrams are protected; DF may be set on the way.
    if fixed[6] & 0x3f != 0 || fixed[7] != 0 {
        return Err(Error::Fragment);
    }
    fixed[1] = 0;
    [fixed[6], fixed[7], fixed[8], fixed[10], fixed[11]] = [0; 5];
    if let Some(last) = mask_ipv4_options(options, side)? {
        [fixed[16], fixed[17], fixed[18], fixed[19]] = last;
    }
    Ok(())
}

/// RFC 4302 appendix A1: what is mutable is zeroed whole, type and length too. Answers the address a source route ends
/// at, which the receiver will see as the destination.
fn mask_ipv4_options(options: &mut [u8], side: Side) -> Result<Option<[u8; 4]>, Error> {
    let (mut rest, mut last) = (options, None);
    loop {
        let len = match *rest {
            [] | [0, ..] => return Ok(last),
            [1, ..] => 1,
            [_, len, ..] if len >= 2 => usize::from(len),
            _ => return Err(Error::Ipv4Options),
        };
        let (option, after) = rest.split_at_mut_checked(len).ok_or(Error::Ipv4Options)?;
        rest = after;
        match *option {
            // No operation, security (basic, extended, commercial), router alert, sender directed delivery.
            [1 | 130 | 133 | 134 | 148 | 149, ..] => continue,
            [ipv4::Opt::LOOSE_SOURCE_ROUTE | ipv4::Opt::STRICT_SOURCE_ROUTE, ..] => {
                last = end_of_source_route(option, side)?.or(last);
            }
            _ => {}
        }
        option.fill(0);
    }
}

/// `None`: used up, the destination is the last one already.
fn end_of_source_route(option: &[u8], side: Side) -> Result<Option<[u8; 4]>, Error> {
    let [_, len, pointer, addresses @ ..] = option else { return Err(Error::Ipv4Options) };
    let ([.., last], []) = addresses.as_chunks::<4>() else { return Err(Error::Ipv4Options) };
    match side {
        _ if pointer > len => Ok(None),
        Side::Sealing => Ok(Some(*last)),
        Side::Opening => Err(Error::SourceRoute),
    }
}

/// RFC 4302 §3.3.3.1.2.
fn mask_ipv6(headers: &mut [u8], side: Side) -> Result<(), Error> {
    let (fixed, mut rest) = headers.split_first_chunk_mut::<{ ipv6::LEN }>().ok_or(Error::Position)?;
    // Traffic class and flow label, hop limit.
    [fixed[0], fixed[1], fixed[2], fixed[3], fixed[7]] = [0x60, 0, 0, 0, 0];
    let mut next = fixed[6];
    while !rest.is_empty() {
        let [after, units, ..] = *rest else { return Err(Error::Position) };
        let len = (usize::from(units) + 1) * 8;
        let (header, behind) = rest.split_at_mut_checked(len).ok_or(Error::Position)?;
        match next {
            protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS => mask_ipv6_options(header)?,
            protocol::ROUTING => foresee_route(fixed, header, side)?,
            protocol::FRAGMENT => return Err(Error::Fragment),
            _ => return Err(Error::Position),
        }
        (next, rest) = (after, behind);
    }
    if next == protocol::AH { Ok(()) } else { Err(Error::Position) }
}

/// RFC 4302 §3.3.3.1.2.2: an option that may change counts with its type and length, its data as zero.
fn mask_ipv6_options(header: &mut [u8]) -> Result<(), Error> {
    const MAY_CHANGE: u8 = 0x20;
    let mut rest = header.get_mut(2..).ok_or(Error::Ipv6Extensions)?;
    loop {
        let (kind, len) = match *rest {
            [] => return Ok(()),
            [0, ..] => (0, 1),
            [kind, len, ..] => (kind, 2 + usize::from(len)),
            _ => return Err(Error::Ipv6Extensions),
        };
        let (option, after) = rest.split_at_mut_checked(len).ok_or(Error::Ipv6Extensions)?;
        rest = after;
        if kind & MAY_CHANGE != 0 {
            option.get_mut(2..).unwrap_or_default().fill(0);
        }
    }
}

/// RFC 4302 §3.3.3.1.2.2: "the sender must order the field so that it appears as it will at the receiver". Type 2
/// (RFC 6275 §6.4) is moved along as type 0 is; of other types nobody says what becomes of them.
fn foresee_route(fixed: &mut [u8; ipv6::LEN], header: &mut [u8], side: Side) -> Result<(), Error> {
    let (start, addresses) = header.split_first_chunk_mut::<8>().ok_or(Error::Ipv6Extensions)?;
    let [_, _, kind, segments_left, ..] = start;
    if !matches!(*kind, 0 | 2) {
        return Err(Error::RoutingType(*kind));
    }
    if *segments_left == 0 {
        return Ok(());
    }
    if side == Side::Opening {
        return Err(Error::SourceRoute);
    }
    let (addresses, odd) = addresses.as_chunks_mut::<16>();
    let visited = addresses.len().checked_sub(usize::from(*segments_left)).filter(|_| odd.is_empty());
    let to_visit = visited.and_then(|visited| addresses.get_mut(visited..)).ok_or(Error::Ipv6Extensions)?;
    *segments_left = 0;
    to_visit.rotate_right(1);
    let destination = fixed.last_chunk_mut::<16>().zip(to_visit.first_mut());
    destination.map(|(destination, first)| core::mem::swap(destination, first)).ok_or(Error::Ipv6Extensions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_wire::checksum;
    use proptest::prelude::*;

    const ICV: usize = 12;

    fn ah_header(icv: u8, payload: &[u8]) -> Vec<u8> {
        let header = ah::Repr { next_header: 17, icv_len: ICV, spi: 0x1234_5678, sequence: 7 };
        [&header.to_bytes().unwrap()[..], &[icv; ICV], payload].concat()
    }

    /// An IPv4 packet with these options, padded, and where its AH header is.
    fn v4(tos: u8, flags: u16, ttl: u8, options: &[u8]) -> (Vec<u8>, usize) {
        let mut options = options.to_vec();
        options.resize(options.len().next_multiple_of(4), 0);
        let rest = ah_header(0xee, b"\0\x01\0\x02\0\x0c\0\0data");
        let header =
            ipv4::Repr::new([10, 1, 2, 3].into(), [10, 4, 5, 6].into(), 51, (rest.len() + options.len()) as u16);
        let header = ipv4::Repr { tos, ttl, identification: 0x1234, ..header };
        let mut packet = [&header.to_bytes_without_checksum()[..], &options].concat();
        packet[0] = 0x40 | (packet.len() / 4) as u8;
        packet[6..8].copy_from_slice(&flags.to_be_bytes());
        let sum = checksum::of(&packet).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
        let at = packet.len();
        packet.extend(rest);
        (packet, at)
    }

    /// An IPv6 packet with these extension headers, each of a kind and its octets behind the next header.
    fn v6(class: u8, label: u32, hop_limit: u8, headers: &[(u8, Vec<u8>)]) -> (Vec<u8>, usize) {
        let kinds: Vec<u8> = headers.iter().map(|(kind, _)| *kind).chain([51]).collect();
        let mut body = Vec::new();
        for ((_, octets), next) in headers.iter().zip(&kinds[1..]) {
            body.push(*next);
            body.extend(octets);
        }
        let at = 40 + body.len();
        body.extend(ah_header(0xee, b"\0\x01\0\x02\0\x0c\0\0data"));
        let (source, destination) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let header = ipv6::Repr::new(source, destination, kinds[0], body.len() as u16);
        let header = ipv6::Repr { traffic_class: class, flow_label: label, hop_limit, ..header };
        ([&header.to_bytes()[..], &body].concat(), at)
    }

    /// Length octet, options padded with PadN.
    fn options(options: &[u8]) -> Vec<u8> {
        let mut octets = options.to_vec();
        let missing = (octets.len() + 2).next_multiple_of(8) - 2 - octets.len();
        match missing {
            0 => {}
            1 => octets.push(0),
            n => octets.extend([1, n as u8 - 2].into_iter().chain(std::iter::repeat_n(0, n - 2))),
        }
        octets.insert(0, ((octets.len() + 2) / 8 - 1) as u8);
        octets
    }

    fn route(kind: u8, left: u8, addresses: &[u8]) -> Vec<u8> {
        let mut octets = vec![addresses.len() as u8 * 2, kind, left, 0, 0, 0, 0];
        octets.extend(addresses.iter().flat_map(|last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, *last]));
        octets
    }

    fn masked(packet: &(Vec<u8>, usize), side: Side) -> Result<Vec<u8>, Error> {
        let (mut octets, at) = packet.clone();
        let saved = mask(&mut octets, at, ICV, side);
        if saved.is_err() {
            assert_eq!(octets, packet.0, "changed by a refusal");
        }
        let saved = saved?;
        let result = octets.clone();
        saved.restore(&mut octets);
        assert_eq!(octets, packet.0, "not restored");
        Ok(result)
    }

    #[test]
    fn table_of_ipv4_fields() {
        let packet = v4(0xff, 0x4000, 33, &[]);
        let mut expected = packet.0.clone();
        for at in [1, 6, 7, 8, 10, 11].into_iter().chain(32..44) {
            expected[at] = 0;
        }
        assert_eq!(masked(&packet, Side::Opening).unwrap(), expected);
    }

    #[test]
    fn table_of_ipv4_options() {
        // RFC 4302 appendix A1; each option alone, four octets long.
        for kind in 2..=255u8 {
            let immutable = matches!(kind, 130 | 133 | 134 | 148 | 149);
            if matches!(kind, 131 | 137) {
                continue;
            }
            let option = [kind, 4, 0xaa, 0xbb];
            let result = masked(&v4(0, 0, 64, &option), Side::Sealing).unwrap();
            assert_eq!(result[20..24], if immutable { option } else { [0; 4] }, "{kind}");
        }
        // What is behind the end of the list is padding, and counts.
        let result = masked(&v4(0, 0, 64, &[1, 0, 7, 7]), Side::Sealing).unwrap();
        assert_eq!(result[20..24], [1, 0, 7, 7]);
    }

    #[test]
    fn a_source_route_is_foreseen() {
        for kind in [131, 137] {
            let option = |pointer| [kind, 11, pointer, 10, 9, 9, 1, 10, 9, 9, 2];
            let sealed = masked(&v4(0, 0, 64, &option(4)), Side::Sealing).unwrap();
            assert_eq!((&sealed[16..20], &sealed[20..32]), (&[10, 9, 9, 2][..], &[0; 12][..]));
            assert_eq!(masked(&v4(0, 0, 64, &option(4)), Side::Opening), Err(Error::SourceRoute));
            let arrived = masked(&v4(0, 0, 64, &option(12)), Side::Opening).unwrap();
            assert_eq!((&arrived[16..20], &arrived[20..32]), (&[10, 4, 5, 6][..], &[0; 12][..]));
        }
        for bad in [&[131, 2][..], &[131, 3, 4], &[131, 6, 4, 1, 2, 3], &[131, 8, 4, 1, 2, 3, 4, 5]] {
            assert_eq!(masked(&v4(0, 0, 64, bad), Side::Sealing), Err(Error::Ipv4Options), "{bad:?}");
        }
    }

    #[test]
    fn an_ipv6_route_is_foreseen() {
        for kind in [0, 2] {
            let packet = v6(0, 0, 64, &[(43, route(kind, 2, &[0xa, 0xb, 0xc]))]);
            let sealed = masked(&packet, Side::Sealing).unwrap();
            // One was visited already: the destination moves to the second place, the last becomes the destination.
            let last = |range: std::ops::Range<usize>| sealed[range].last().copied().unwrap();
            assert_eq!((last(24..40), last(48..64), last(64..80), last(80..96)), (0xc, 0xa, 2, 0xb));
            assert_eq!(sealed[43], 0);
            assert_eq!(masked(&packet, Side::Opening), Err(Error::SourceRoute));
            let arrived = v6(0, 0, 64, &[(43, route(kind, 0, &[0xa, 2, 0xb]))]);
            assert!(masked(&arrived, Side::Opening).is_ok());
            let too_many = v6(0, 0, 64, &[(43, route(kind, 4, &[0xa, 0xb, 0xc]))]);
            assert_eq!(masked(&too_many, Side::Sealing), Err(Error::Ipv6Extensions));
            let mut odd = route(kind, 1, &[0xa]);
            odd[0] = 3;
            odd.extend([0; 8]);
            assert_eq!(masked(&v6(0, 0, 64, &[(43, odd)]), Side::Sealing), Err(Error::Ipv6Extensions));
        }
        for kind in [1, 3, 4, 253] {
            let packet = v6(0, 0, 64, &[(43, route(kind, 0, &[0xa]))]);
            assert_eq!(masked(&packet, Side::Opening), Err(Error::RoutingType(kind)));
        }
    }

    #[test]
    fn refusals() {
        let whole = v4(0, 0x4000, 64, &[]);
        let refused = |packet: &(Vec<u8>, usize)| masked(packet, Side::Opening).unwrap_err();
        assert_eq!(refused(&v4(0, 0x2000, 64, &[])), Error::Fragment);
        assert_eq!(refused(&v4(0, 0x0001, 64, &[])), Error::Fragment);
        for bad in [&[7][..], &[7, 0], &[7, 1], &[7, 5, 0, 0], &[1, 1, 1, 7]] {
            assert_eq!(refused(&v4(0, 0, 64, bad)), Error::Ipv4Options, "{bad:?}");
        }
        for at in [0, 16, 24, 32] {
            let refusal = refused(&(whole.0.clone(), at));
            assert!(matches!(refusal, Error::Position | Error::Version(0)), "{at}: {refusal}");
        }
        for len in 0..44 {
            assert_eq!(refused(&(whole.0[..len].to_vec(), 20)), Error::Truncated, "{len}");
        }
        let mut other = whole.clone();
        other.0[9] = 50;
        assert_eq!(refused(&other), Error::Position);
        other.0[0] = 0x55;
        assert_eq!(refused(&other), Error::Version(5));

        let long =
            v6(0, 0, 64, &[(0, options(&[5, 2, 0, 0])), (60, options(&[[5, 254].as_slice(), &[0; 254]].concat()))]);
        assert_eq!(refused(&long), Error::TooLong);
        assert_eq!(refused(&v6(0, 0, 64, &[(44, vec![0; 7])])), Error::Fragment);
        assert_eq!(refused(&v6(0, 0, 64, &[(50, vec![0; 7])])), Error::Position);
        // An option that reaches out of its header, one without a length, and headers that do not meet AH.
        assert_eq!(refused(&v6(0, 0, 64, &[(0, vec![0, 5, 5, 0, 0, 0, 0])])), Error::Ipv6Extensions);
        assert_eq!(refused(&v6(0, 0, 64, &[(0, vec![0, 1, 3, 0, 0, 0, 5])])), Error::Ipv6Extensions);
        assert_eq!(refused(&v6(0, 0, 64, &[(0, vec![1, 1, 4, 0, 0, 0, 0])])), Error::Position);
        let mut unmarked = v6(0, 0, 64, &[]);
        unmarked.0[6] = 17;
        assert_eq!(refused(&unmarked), Error::Position);
        assert_eq!(mask(&mut [0x45; 400], usize::MAX, ICV, Side::Opening).unwrap_err(), Error::TooLong);
    }

    /// Scapy's own `zero_mutable_fields`, which knows no source routes over IPv4 and has its own idea of the offset.
    fn scapy(packets: &[(Vec<u8>, Side)]) -> Option<Vec<Vec<u8>>> {
        const SCRIPT: &str = "
from scapy.layers.ipsec import zero_mutable_fields
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
for line in sys.stdin:
    side, octets = line.split()
    octets = bytes.fromhex(octets)
    packet = (IPv6 if octets[0] >> 4 == 6 else IP)(octets)
    print(bytes(zero_mutable_fields(packet, sending=side == 'Sealing')).hex())
";
        let lines = packets.iter().map(|(packet, side)| format!("{side:?} {}", crate::testing::hex(packet)));
        let answers = crate::testing::scapy(SCRIPT, lines)?;
        Some(answers.iter().map(|answer| culvert_wire::testing::bytes(answer)).collect())
    }

    #[test]
    fn scapy_masks_the_same() {
        let mut packets = Vec::new();
        for (tos, flags, ttl) in [(0, 0, 64), (0xb8, 0x4000, 1), (3, 0, 255)] {
            let lists: [&[u8]; 6] = [
                &[],
                &[1, 1, 148, 4, 0, 0],
                &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0],
                &[130, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1],
                &[68, 8, 5, 0, 1, 2, 3, 4, 148, 4, 0, 0],
                &[82, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 1, 1, 0],
            ];
            packets.extend(lists.map(|list| v4(tos, flags, ttl, list)));
        }
        for (class, label, hops) in [(0, 0, 64), (0xff, 0xf_ffff, 1), (0xb8, 0x12345, 255)] {
            let alert = (0, options(&[5, 2, 0, 0]));
            let changing = (0, options(&[0x3e, 4, 1, 2, 3, 4, 5, 2, 0, 0]));
            let fixed = (60, options(&[0x1e, 3, 9, 9, 9]));
            let changing_destination = (60, options(&[0x3e, 7, 1, 2, 3, 4, 5, 6, 7]));
            let old_route = (43, route(0, 0, &[0xa, 0xb]));
            let lists: [Vec<(u8, Vec<u8>)>; 5] = [
                vec![],
                vec![alert.clone()],
                vec![changing.clone(), fixed],
                vec![changing, changing_destination],
                vec![alert, old_route],
            ];
            packets.extend(lists.map(|list| v6(class, label, hops, &list)));
        }
        let mut asked: Vec<_> = packets.into_iter().map(|packet| (packet, Side::Opening)).collect();
        let routes = [route(0, 1, &[0xa]), route(0, 3, &[0xa, 0xb, 0xc])];
        asked.extend(routes.map(|route| (v6(0, 0, 64, &[(43, route)]), Side::Sealing)));
        let questions: Vec<_> = asked.iter().map(|((octets, _), side)| (octets.clone(), *side)).collect();
        let Some(answers) = scapy(&questions) else { return };
        for ((packet, side), answer) in asked.iter().zip(answers) {
            assert_eq!(masked(packet, *side).unwrap(), answer, "{side:?} {packet:02x?}");
        }
    }

    proptest! {
        /// The octets that routers change make no difference; all others do.
        #[test]
        fn only_what_may_change_is_masked(six: bool, at in 0usize..20, flip in 1u8..) {
            let packet = if six { v6(0, 0, 64, &[]) } else { v4(0, 0, 64, &[]) };
            let mut changed = packet.clone();
            let mutable: &[usize] = if six { &[1, 2, 3, 7] } else { &[1, 8, 10, 11] };
            changed.0[at] ^= flip;
            let (before, after) = (masked(&packet, Side::Opening), masked(&changed, Side::Opening));
            if let (Ok(before), Ok(after)) = (before, after) {
                // The low half of the first octet is traffic class, the two high bits of the seventh are flags.
                let masked = mutable.contains(&at) || (six && at == 0) || (!six && at == 6);
                prop_assert_eq!(before == after, masked, "octet {}", at);
            }
        }

        #[test]
        fn any_bytes_are_masked_and_restored_or_refused(
            mut bytes in proptest::collection::vec(any::<u8>(), 1..200), six: bool, units in 0usize..12,
            icv in 0usize..40, sealing: bool,
        ) {
            bytes[0] = if six { 0x60 } else { 0x40 | bytes[0] & 15 };
            if let Some(next) = bytes.get_mut(if six { 6 } else { 9 }) {
                *next = [0, 43, 60, 51][usize::from(*next & 3)];
            }
            let before = bytes.clone();
            let side = if sealing { Side::Sealing } else { Side::Opening };
            if let Ok(saved) = mask(&mut bytes, 20 + 4 * units, icv, side) {
                saved.restore(&mut bytes);
            }
            prop_assert_eq!(bytes, before);
        }
    }
}
