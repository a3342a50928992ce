//! TCP's maximum segment size, lowered in passing so that no segment needs a fragment (RFC 4459 §3.2).

use crate::buffer::Buffer;
use crate::packet::Head;
use culvert_model::MssClamp;
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{Fragmentation, checksum, protocol, tcp};

/// Does to a packet that goes through a tunnel, either way, what its SA says. `inner_mtu`, asked only for a SYN: the
/// largest packet the tunnel carries, 0 where that is not known.
pub(crate) fn clamp_packet<B: Buffer>(
    packet: &mut B,
    head: &Head,
    clamp_to: MssClamp,
    inner_mtu: impl FnOnce() -> usize,
) {
    if clamp_to == MssClamp::Off || head.flow.protocol != protocol::TCP || head.fragmentation == Fragmentation::Later {
        return;
    }
    let Some(segment) = packet.data().get(usize::from(head.upper)..head.len) else { return };
    if option_value(segment).is_none() || is_later_fragment(packet.data()) {
        return;
    }
    let Some(segment) = packet.data_mut().get_mut(usize::from(head.upper)..head.len) else { return };
    let limit = match clamp_to {
        MssClamp::Off => return,
        MssClamp::To(limit) => limit,
        MssClamp::Auto => fitting(inner_mtu(), head.is_v6()),
    };
    if limit > 0 {
        clamp(segment, limit);
    }
}

/// What was held for its ports goes on with the flow of its first fragment, as if it were whole; what it holds may look like
/// the start of a connection.
#[cold]
fn is_later_fragment(packet: &[u8]) -> bool {
    Head::parse(packet, ChecksumMode::Trusted).is_ok_and(|head| head.fragmentation == Fragmentation::Later)
}

/// Lowers the MSS option of a SYN to `limit`, and mends the checksum (RFC 1624). Answers whether it did. Never raises
/// it, and never puts one in: without the option the sender is held to 536 or 1220 octets anyhow (RFC 9293 §3.7.1).
///
/// `segment`: from the TCP header on. What is malformed is left as it is.
fn clamp(segment: &mut [u8], limit: u16) -> bool {
    let Some(at) = option_value(segment) else { return false };
    let Some(value) = segment.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) else { return false };
    let old = u16::from_be_bytes(*value);
    if old <= limit {
        return false;
    }
    *value = limit.to_be_bytes();
    // At an odd place the octets count in each other's column of the sum.
    let column = |value: u16| if at.is_multiple_of(2) { value } else { value.swap_bytes() };
    if let Some(fixed) = segment.first_chunk_mut::<{ tcp::LEN }>() {
        let sum = u16::from_be_bytes([fixed[16], fixed[17]]);
        [fixed[16], fixed[17]] = checksum::update(sum, column(old), column(limit)).to_be_bytes();
    }
    true
}

/// The largest segment of an IP packet of `mtu` octets, headers without options (RFC 6691 §2).
fn fitting(mtu: usize, is_v6: bool) -> u16 {
    let headers = tcp::LEN + if is_v6 { culvert_wire::ipv6::LEN } else { culvert_wire::ipv4::LEN };
    u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX)
}

/// Where the two octets of the value stand in a SYN.
fn option_value(segment: &[u8]) -> Option<usize> {
    const MAXIMUM_SEGMENT_SIZE: u8 = 2;
    let fixed = segment.first_chunk::<{ tcp::LEN }>()?;
    if fixed[13] & tcp::Repr::SYN == 0 {
        return None;
    }
    let end = usize::from(fixed[12] >> 4) * 4;
    let mut rest = segment.get(tcp::LEN..end)?;
    loop {
        let len = match *rest {
            [] | [0, ..] => return None,
            [1, ..] => 1,
            [MAXIMUM_SEGMENT_SIZE, 4, _, _, ..] => return Some(end - rest.len() + 2),
            [MAXIMUM_SEGMENT_SIZE, ..] => return None,
            [_, len, ..] if len >= 2 => usize::from(len),
            _ => return None,
        };
        rest = rest.get(len..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::VecBuffer;
    use culvert_wire::{ethernet, ipv4, ipv6, testing};
    use proptest::prelude::*;

    /// A TCP segment whose sum is right over an empty pseudo header.
    fn segment(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut options = options.to_vec();
        options.resize(options.len().next_multiple_of(4), 0);
        let header = tcp::Repr {
            source_port: 1000,
            destination_port: 443,
            sequence: 0x1234_5678,
            acknowledgement: 0,
            flags,
            window: 500,
            checksum: 0,
            urgent: 0,
        };
        let mut bytes = [&header.to_bytes()[..], &options, payload].concat();
        bytes[12] = ((tcp::LEN + options.len()) as u8 / 4) << 4;
        let sum = checksum::of(&bytes).to_be_bytes();
        bytes[16..18].copy_from_slice(&sum);
        bytes
    }

    fn is_right(segment: &[u8]) -> bool {
        checksum::Sum::new().add_bytes(segment).is_valid()
    }

    #[test]
    fn captured_syn() {
        let mut segment = testing::bytes(testing::TCP_SYN)[ethernet::LEN + ipv4::LEN..].to_vec();
        let before = segment.clone();
        assert!(!clamp(&mut segment, 1460) && segment == before);
        assert!(clamp(&mut segment, 1360));
        assert_eq!(segment[20..24], [2, 4, 0x05, 0x50]);
        assert_eq!(segment[24..], before[24..]);
        // The capture's checksum was left to a card; the change of the sum is what counts.
        let sum = |bytes: &[u8]| checksum::Sum::new().add_bytes(bytes).fold();
        assert_eq!(sum(&segment) % 0xffff, sum(&before) % 0xffff);
    }

    #[test]
    fn table() {
        const SYN: u8 = tcp::Repr::SYN;
        let mss = [2, 4, 0x05, 0xb4];
        let rows: [(u8, &[u8], Option<usize>); 14] = [
            (SYN, &mss, Some(20)),
            (SYN | tcp::Repr::ACK, &mss, Some(20)),
            (tcp::Repr::ACK, &mss, None),
            (SYN, &[], None),
            (SYN, &[1, 2, 4, 0x05, 0xb4], Some(21)),
            (SYN, &[3, 3, 7, 2, 4, 0x05, 0xb4], Some(23)),
            (SYN, &[4, 2, 1, 1, 2, 4, 0x05, 0xb4], Some(24)),
            (SYN, &[0, 2, 4, 0x05, 0xb4], None),
            // Wrong lengths: of this option, of one before it, and beyond the header.
            (SYN, &[2, 3, 0x05, 0xb4], None),
            (SYN, &[2, 0, 0x05, 0xb4], None),
            (SYN, &[8, 0, 2, 4, 0x05, 0xb4], None),
            (SYN, &[8, 1, 2, 4, 0x05, 0xb4], None),
            (SYN, &[8, 40, 2, 4, 0x05, 0xb4, 0, 0], None),
            (SYN, &[1, 1, 2, 4], None),
        ];
        for (flags, options, at) in rows {
            let before = segment(flags, options, b"odd");
            let mut after = before.clone();
            assert_eq!(clamp(&mut after, 1200), at.is_some(), "{options:?}");
            assert!(is_right(&after), "{options:?}");
            if let Some(at) = at {
                assert_eq!(after[at..at + 4], [2, 4, 0x04, 0xb0], "{options:?}");
            } else {
                assert_eq!(after, before, "{options:?}");
            }
        }
    }

    #[test]
    fn truncated_segments() {
        let whole = segment(tcp::Repr::SYN, &[1, 1, 2, 4, 0x05, 0xb4], &[]);
        for len in 0..whole.len() {
            let mut cut = whole[..len].to_vec();
            assert!(!clamp(&mut cut, 100) && cut == whole[..len], "{len}");
        }
        let mut short_offset = whole.clone();
        short_offset[12] = 0x40;
        assert!(!clamp(&mut short_offset, 100));
    }

    #[test]
    fn packets_of_both_families() {
        let syn = segment(tcp::Repr::SYN, &[2, 4, 0x05, 0xb4], &[]);
        let v4 = ipv4::Repr::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::TCP, 24).to_bytes().to_vec();
        let v6 = ipv6::Repr::new([1; 16].into(), [2; 16].into(), protocol::TCP, 24).to_bytes().to_vec();
        let mut later = v4.clone();
        later[7] = 1;
        let other = ipv4::Repr::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::SCTP, 24).to_bytes().to_vec();
        // Header, what the SA says, MTU of the tunnel, MSS that comes out.
        let table = [
            (&v4, MssClamp::Auto, 1400, 1360),
            (&v6, MssClamp::Auto, 1400, 1340),
            (&v4, MssClamp::To(1000), 1400, 1000),
            (&v6, MssClamp::To(2000), 1400, 1460),
            (&v4, MssClamp::Off, 1400, 1460),
            (&v4, MssClamp::Auto, 0, 1460),
            (&later, MssClamp::Auto, 1400, 1460),
            (&other, MssClamp::Auto, 1400, 1460),
        ];
        for (header, clamp_to, mtu, expected) in table {
            let mut packet = VecBuffer::new(&[&header[..], &syn].concat());
            let head = Head::parse(packet.data(), ipv4::ChecksumMode::Trusted).unwrap();
            clamp_packet(&mut packet, &head, clamp_to, || mtu);
            let at = header.len() + 22;
            let value = u16::from_be_bytes([packet.data()[at], packet.data()[at + 1]]);
            assert_eq!(value, expected, "{clamp_to:?} {mtu}");
        }
        // What is no SYN asks nobody for the MTU.
        let ack = segment(tcp::Repr::ACK, &[], &[]);
        let mut packet = VecBuffer::new(&[&v4[..], &[0; 4]].concat());
        packet.data_mut()[20..].copy_from_slice(&ack[..4]);
        packet.append(16).unwrap().copy_from_slice(&ack[4..]);
        packet.data_mut()[3] = 40;
        let head = Head::parse(packet.data(), ipv4::ChecksumMode::Trusted).unwrap();
        clamp_packet(&mut packet, &head, MssClamp::Auto, || panic!("asked"));
    }

    /// Of a datagram that was held for its ports: judged as whole, and what it holds is data.
    #[test]
    fn data_that_looks_like_a_syn_is_left_alone() {
        let data = segment(tcp::Repr::SYN, &[2, 4, 0x05, 0xb4], &[]);
        for offset in [0, 1480] {
            let header = ipv4::Repr {
                fragment_offset: offset,
                ..ipv4::Repr::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::TCP, data.len() as u16)
            };
            let sent = [&header.to_bytes()[..], &data].concat();
            let mut packet = VecBuffer::new(&sent);
            let head = Head::parse(packet.data(), ChecksumMode::Verify).unwrap();
            let head = Head { fragmentation: Fragmentation::Whole, ..head };
            clamp_packet(&mut packet, &head, MssClamp::To(1000), || 0);
            assert_eq!(packet.data() != sent, offset == 0, "{offset}");
        }
    }

    #[test]
    fn what_fits() {
        assert_eq!((fitting(1500, false), fitting(1500, true)), (1460, 1440));
        assert_eq!((fitting(40, false), fitting(0, true), fitting(100_000, true)), (0, 0, u16::MAX));
    }

    proptest! {
        /// Against the whole sum anew, the option wherever it stands.
        #[test]
        fn the_sum_stays_right(nops in 0usize..8, old: u16, limit: u16,
                               payload in proptest::collection::vec(any::<u8>(), 0..9)) {
            let [high, low] = old.to_be_bytes();
            let options = [&[1].repeat(nops)[..], &[2, 4, high, low]].concat();
            let mut bytes = segment(tcp::Repr::SYN, &options, &payload);
            prop_assert_eq!(clamp(&mut bytes, limit), limit < old);
            let value = u16::from_be_bytes([bytes[22 + nops], bytes[23 + nops]]);
            prop_assert_eq!(value, old.min(limit));
            prop_assert!(is_right(&bytes));
        }

        #[test]
        fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), limit: u16) {
            if let Some(flags) = bytes.get_mut(13) { *flags |= tcp::Repr::SYN; }
            let before = bytes.clone();
            let changed = clamp(&mut bytes, limit);
            // The value and the sum, nothing else.
            let differing = bytes.iter().zip(&before).filter(|(a, b)| a != b).count();
            prop_assert!(differing <= 4 * usize::from(changed));
        }
    }
}
