//! Where ESP or AH stand in transport mode (RFC 4303 §3.1.1, RFC 4302 §3.1.1).

use super::Error;
use culvert_wire::{ipv4, ipv6, protocol};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InsertionPoint {
    /// Octets of the packet that stay in front.
    pub offset: usize,
    /// Where in front the number of the header is that follows.
    pub next_header_at: usize,
    /// What stands there.
    pub next_header: u8,
}

/// Behind the IPv4 header and its options; behind hop-by-hop options, routing header and the destination options that
/// go with it. Destination options for the last destination alone stay behind: ESP hides them.
///
/// A fragment has no place for either (RFC 4302 §3.3.4, RFC 4303 §3.3.4).
pub(crate) fn insertion_point(packet: &[u8]) -> Result<InsertionPoint, Error> {
    match packet.first().map(|octet| octet >> 4) {
        Some(4) => behind_ipv4(packet),
        Some(6) => behind_ipv6(packet),
        Some(version) => Err(Error::Version(version)),
        None => Err(Error::Truncated),
    }
}

/// Where the number of the header at `offset` stands, which ESP or AH that arrived is.
pub(crate) fn announced_at(packet: &[u8], offset: usize) -> Option<usize> {
    if packet.first()? >> 4 == 4 {
        return Some(9);
    }
    let (mut at, mut announced_at, mut next) = (ipv6::LEN, 6, *packet.get(6)?);
    for _ in 0..=ipv6::MAX_EXTENSION_HEADERS {
        if at == offset {
            return Some(announced_at);
        }
        let len = match next {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                (usize::from(*packet.get(at + 1)?) + 1) * 8
            }
            protocol::FRAGMENT => ipv6::FRAGMENT_LEN,
            _ => return None,
        };
        (announced_at, next) = (at, *packet.get(at)?);
        at += len;
    }
    None
}

fn behind_ipv4(packet: &[u8]) -> Result<InsertionPoint, Error> {
    let fixed = packet.first_chunk::<{ ipv4::LEN }>().ok_or(Error::Truncated)?;
    let offset = usize::from(fixed[0] & 0x0f) * 4;
    if offset < ipv4::LEN || offset > packet.len() {
        return Err(Error::Truncated);
    }
    // More fragments, or an offset.
    if fixed[6] & 0x3f != 0 || fixed[7] != 0 {
        return Err(Error::Fragment);
    }
    Ok(InsertionPoint { offset, next_header_at: 9, next_header: fixed[9] })
}

fn behind_ipv6(packet: &[u8]) -> Result<InsertionPoint, Error> {
    let (fixed, mut rest) = packet.split_first_chunk::<{ ipv6::LEN }>().ok_or(Error::Truncated)?;
    let mut at = InsertionPoint { offset: ipv6::LEN, next_header_at: 6, next_header: fixed[6] };
    let mut best = at;
    for _ in 0..ipv6::MAX_EXTENSION_HEADERS {
        match at.next_header {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {}
            protocol::FRAGMENT => return Err(Error::Fragment),
            _ => return Ok(best),
        }
        let [next_header, units, ..] = *rest else { return Err(Error::Truncated) };
        let len = (usize::from(units) + 1) * 8;
        rest = rest.get(len..).ok_or(Error::Truncated)?;
        let stays_in_front = at.next_header != protocol::DESTINATION_OPTIONS;
        at = InsertionPoint { offset: at.offset + len, next_header_at: at.offset, next_header };
        if stays_in_front {
            best = at;
        }
    }
    Err(Error::Ipv6Extensions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_wire::{ethernet, testing};
    use proptest::prelude::*;

    /// An IPv6 packet of extension headers, 8 octets each where nothing else is said, and a UDP header.
    fn chain(kinds: &[u8]) -> Vec<u8> {
        let next = |at: usize| kinds.get(at).copied().unwrap_or(protocol::UDP);
        let body: Vec<u8> = (0..kinds.len()).flat_map(|at| [next(at + 1), 0, 1, 4, 0, 0, 0, 0]).chain([0; 8]).collect();
        let addr = [1; 16].into();
        [&ipv6::Repr::new(addr, addr, next(0), body.len() as u16).to_bytes()[..], &body].concat()
    }

    #[test]
    fn table_of_ipv6_chains() {
        use protocol::{DESTINATION_OPTIONS as D, ESP, HOP_BY_HOP as H, ROUTING as R};
        // How many of the headers stay in front.
        let rows: [(&[u8], usize); 10] = [
            (&[], 0),
            (&[H], 1),
            (&[R], 1),
            (&[H, R], 2),
            (&[D], 0),
            (&[H, D], 1),
            (&[D, R], 2),
            (&[H, D, R, D], 3),
            (&[D, R, R, D, D], 3),
            (&[H, ESP, D], 1),
        ];
        for (kinds, front) in rows {
            let expected = InsertionPoint {
                offset: 40 + 8 * front,
                next_header_at: if front == 0 { 6 } else { 40 + 8 * (front - 1) },
                next_header: kinds.get(front).copied().unwrap_or(protocol::UDP),
            };
            assert_eq!(insertion_point(&chain(kinds)), Ok(expected), "{kinds:?}");
        }
        assert_eq!(insertion_point(&chain(&[H, protocol::FRAGMENT])), Err(Error::Fragment));
        assert_eq!(insertion_point(&chain(&[D; 9])), Err(Error::Ipv6Extensions));
    }

    #[test]
    fn ipv4_with_and_without_options() {
        for (hex, offset) in [(testing::ECHO_REQUEST_V4, 20), (testing::RECORD_ROUTE, 60)] {
            let packet = &testing::bytes(hex)[ethernet::LEN..];
            let expected = InsertionPoint { offset, next_header_at: 9, next_header: protocol::ICMP };
            assert_eq!(insertion_point(packet), Ok(expected));
            assert_eq!(insertion_point(&packet[..offset - 1]), Err(Error::Truncated));
        }
    }

    #[test]
    fn refusals() {
        assert_eq!(insertion_point(&[]), Err(Error::Truncated));
        assert_eq!(insertion_point(&[0x10; 40]), Err(Error::Version(1)));
        assert_eq!(insertion_point(&[0x44; 40]), Err(Error::Truncated), "a header of 16 octets");
        for hex in [testing::FRAGMENT_LATER_V4, testing::FRAGMENT_LATER_V6] {
            assert_eq!(insertion_point(&testing::bytes(hex)[ethernet::LEN..]), Err(Error::Fragment));
        }
        let packet = chain(&[protocol::HOP_BY_HOP, protocol::ROUTING]);
        for len in 0..56 {
            assert_eq!(insertion_point(&packet[..len]), Err(Error::Truncated), "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 1..120), six: bool) {
            bytes[0] = if six { 0x60 } else { 0x40 | bytes[0] & 15 };
            if let Ok(point) = insertion_point(&bytes) {
                prop_assert!(point.offset <= bytes.len());
                prop_assert_eq!(bytes[point.next_header_at], point.next_header);
            }
        }
    }
}
