//! What an ICMP error says of a tunnel packet of ours (RFC 4301 §8.2.1). Nobody vouches for a word of it.

use culvert_model::Spi;
use culvert_wire::nat_traversal::{self, Payload};
use culvert_wire::quote::{self, IcmpError};
use culvert_wire::{Fragmentation, flow, ipv4, ipv6, protocol};
use std::net::IpAddr;

/// A packet did not fit somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooBig {
    /// What would have fitted; 0 from routers older than RFC 1191.
    pub mtu: u32,
    pub quote: Quote,
}

/// The start of a packet we are said to have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quote {
    pub local: IpAddr,
    pub remote: IpAddr,
    /// ESP or AH.
    pub protocol: u8,
    /// Local and remote UDP port around ESP.
    pub ports: Option<(u16, u16)>,
    pub spi: Spi,
    /// Low half of the sequence number, where the quote reaches that far.
    pub low: Option<u32>,
    /// Octets of the whole packet, by its own header.
    pub len: usize,
    pub dont_fragment: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("malformed")]
    Malformed,
    #[error("not about the size of a packet")]
    OtherMessage,
    #[error("about a packet that is neither ESP nor AH")]
    OtherProtocol,
    #[error("the quote is too short to hold the SPI")]
    Short,
    #[error("about a later fragment, which shows no SPI")]
    Fragment,
}

impl TooBig {
    /// From a whole ICMP or ICMPv6 packet.
    pub fn parse(packet: &[u8]) -> Result<Self, Unusable> {
        let error = IcmpError::parse(packet).map_err(|error| match error {
            quote::Error::OtherMessage => Unusable::OtherMessage,
            quote::Error::Malformed | quote::Error::Fragment => Unusable::Malformed,
        })?;
        let mtu = error.mtu.ok_or(Unusable::OtherMessage)?;
        let quoted = error.quote().map_err(|error| match error {
            flow::Error::Empty
            | flow::Error::Ipv4(ipv4::Error::Truncated)
            | flow::Error::Ipv6(ipv6::Error::Truncated | ipv6::Error::ExtensionTruncated(_)) => Unusable::Short,
            _ => Unusable::Malformed,
        })?;
        if quoted.flow.fragmentation == Fragmentation::Later {
            return Err(Unusable::Fragment);
        }
        Ok(Self { mtu, quote: inside(quoted.flow.protocol, quoted.upper)?.quote(&quoted) })
    }
}

/// The IPsec header in a quote.
struct Inside {
    protocol: u8,
    ports: Option<(u16, u16)>,
    spi: Spi,
    low: Option<u32>,
}

impl Inside {
    fn quote(self, of: &quote::Quote<'_>) -> Quote {
        let Self { protocol, ports, spi, low } = self;
        let (local, remote) = (of.flow.source, of.flow.destination);
        Quote { local, remote, protocol, ports, spi, low, len: of.len, dont_fragment: of.dont_fragment }
    }
}

fn inside(next: u8, rest: &[u8]) -> Result<Inside, Unusable> {
    match (next, rest) {
        (protocol::ESP, rest) => of_esp(rest, None),
        // Next header, length, reserved, then as ESP (RFC 4302 §2).
        (protocol::AH, [_, _, _, _, rest @ ..]) => Ok(Inside { protocol: protocol::AH, ..of_esp(rest, None)? }),
        (protocol::UDP, [s0, s1, d0, d1, _, _, _, _, rest @ ..]) => {
            let ports = (u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1]));
            match nat_traversal::classify(rest) {
                Payload::Ike(_) | Payload::Keepalive => Err(Unusable::OtherProtocol),
                Payload::Esp(_) | Payload::Runt => of_esp(rest, Some(ports)),
            }
        }
        (protocol::AH | protocol::UDP, _) => Err(Unusable::Short),
        _ => Err(Unusable::OtherProtocol),
    }
}

fn of_esp(rest: &[u8], ports: Option<(u16, u16)>) -> Result<Inside, Unusable> {
    let (spi, rest) = rest.split_first_chunk::<4>().ok_or(Unusable::Short)?;
    let spi = Spi::new(u32::from_be_bytes(*spi)).map_err(|_| Unusable::Malformed)?;
    let low = rest.first_chunk::<4>().map(|low| u32::from_be_bytes(*low));
    Ok(Inside { protocol: protocol::ESP, ports, spi, low })
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_wire::{ah, esp, ethernet, icmpv4, icmpv6, testing, udp};
    use proptest::prelude::*;

    const SPI: u32 = 0xc0ff_ee01;

    fn wrap_v4(message: &icmpv4::Message<'_>) -> Vec<u8> {
        let mut body = vec![0; message.len()];
        message.emit(&mut body).unwrap();
        let header =
            ipv4::Repr::new([198, 51, 100, 1].into(), [192, 0, 2, 1].into(), protocol::ICMP, body.len() as u16);
        [&header.to_bytes()[..], &body].concat()
    }

    fn needed(mtu: u16, quote: &[u8]) -> Vec<u8> {
        let code = icmpv4::UnreachableCode::FRAGMENTATION_NEEDED;
        wrap_v4(&icmpv4::Message::Unreachable { code, mtu, quote })
    }

    fn too_big(mtu: u32, quote: &[u8]) -> Vec<u8> {
        let message = icmpv6::Message::PacketTooBig { mtu, quote };
        let (source, destination) = ([3; 16].into(), [1; 16].into());
        let mut body = vec![0; message.len()];
        message.emit(source, destination, &mut body).unwrap();
        let header = ipv6::Repr::new(source, destination, protocol::ICMPV6, body.len() as u16);
        [&header.to_bytes()[..], &body].concat()
    }

    /// A tunnel packet of 1400 octets by its header, as much of it as is quoted.
    fn sent(is_v6: bool, next: u8, inside: &[u8]) -> Vec<u8> {
        let header = if is_v6 {
            ipv6::Repr::new([1; 16].into(), [2; 16].into(), next, 1360).to_bytes().to_vec()
        } else {
            let header = ipv4::Repr::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), next, 1380);
            ipv4::Repr { dont_fragment: true, ..header }.to_bytes().to_vec()
        };
        [&header[..], inside].concat()
    }

    fn quoted(is_v6: bool, next: u8, inside: &[u8]) -> Result<TooBig, Unusable> {
        let quote = sent(is_v6, next, inside);
        TooBig::parse(&if is_v6 { too_big(1300, &quote) } else { needed(1300, &quote) })
    }

    #[test]
    fn esp_ah_and_udp_in_both_families() {
        let esp = esp::Repr { spi: SPI, sequence: 9 }.to_bytes();
        let ah = ah::Repr { next_header: 4, icv_len: 12, spi: SPI, sequence: 9 }.to_bytes().unwrap();
        let udp = udp::Repr { source_port: 4500, destination_port: 4501, length: 1380, checksum: 0 }.to_bytes();
        for is_v6 in [false, true] {
            let found = quoted(is_v6, protocol::ESP, &esp).unwrap();
            let (local, remote): (IpAddr, IpAddr) = if is_v6 {
                (IpAddr::from([1; 16]), IpAddr::from([2; 16]))
            } else {
                (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]))
            };
            let quote = Quote {
                local,
                remote,
                protocol: protocol::ESP,
                ports: None,
                spi: Spi::new(SPI).unwrap(),
                low: Some(9),
                len: 1400,
                dont_fragment: true,
            };
            assert_eq!(found, TooBig { mtu: 1300, quote });
            let found = quoted(is_v6, protocol::AH, &ah).unwrap();
            assert_eq!(found.quote, Quote { protocol: protocol::AH, ..quote });
            let found = quoted(is_v6, protocol::UDP, &[&udp[..], &esp].concat()).unwrap();
            assert_eq!(found.quote, Quote { ports: Some((4500, 4501)), ..quote });
            // RFC 792: routers need not quote more than 8 octets, which leaves AH without a number, and UDP without all.
            assert_eq!(quoted(is_v6, protocol::AH, &ah[..8]).unwrap().quote.low, None);
            assert_eq!(quoted(is_v6, protocol::UDP, &udp), Err(Unusable::Short));
            assert_eq!(quoted(is_v6, protocol::ESP, &esp[..3]), Err(Unusable::Short));
            assert_eq!(quoted(is_v6, protocol::AH, &ah[..3]), Err(Unusable::Short));
            assert_eq!(
                quoted(is_v6, protocol::UDP, &[&udp[..], &[0; 8]].concat()),
                Err(Unusable::OtherProtocol),
                "IKE"
            );
            assert_eq!(quoted(is_v6, protocol::TCP, &esp), Err(Unusable::OtherProtocol));
            assert_eq!(quoted(is_v6, protocol::ESP, &[0, 0, 0, 9]), Err(Unusable::Malformed), "a reserved SPI");
        }
    }

    #[test]
    fn a_quoted_fragment_shows_its_header_if_it_is_the_first() {
        let esp = esp::Repr { spi: SPI, sequence: 9 }.to_bytes();
        let fragment = |offset| {
            let header = ipv6::Fragment { next_header: protocol::ESP, offset, more: true, identification: 1 };
            [&header.to_bytes()[..], &esp].concat()
        };
        assert_eq!(quoted(true, protocol::FRAGMENT, &fragment(0)).unwrap().quote.low, Some(9));
        assert_eq!(quoted(true, protocol::FRAGMENT, &fragment(8)), Err(Unusable::Fragment));
        let mut quote = sent(false, protocol::ESP, &esp);
        quote[7] = 1;
        assert_eq!(TooBig::parse(&needed(1300, &quote)), Err(Unusable::Fragment));
    }

    #[test]
    fn captured_messages_are_about_other_packets() {
        let parse = |hex: &str| TooBig::parse(&testing::bytes(hex)[ethernet::LEN..]);
        assert_eq!(parse(testing::FRAGMENTATION_NEEDED), Err(Unusable::OtherProtocol));
        assert_eq!(parse(testing::PACKET_TOO_BIG), Err(Unusable::OtherProtocol));
        assert_eq!(parse(testing::PORT_UNREACHABLE_V4), Err(Unusable::OtherMessage));
        assert_eq!(parse(testing::TIME_EXCEEDED_V6), Err(Unusable::OtherMessage));
        assert_eq!(parse(testing::UDP_V4), Err(Unusable::OtherMessage));
        assert_eq!(parse(testing::UDP_V6), Err(Unusable::OtherMessage));
    }

    proptest! {
        /// Cut and damaged quotes; the sums are right, so that every octet is looked at.
        #[test]
        fn any_quote(is_v6: bool, mut quote in proptest::collection::vec(any::<u8>(), 0..100), next in 0usize..4) {
            if let Some(first) = quote.first_mut() { *first = if is_v6 { 0x60 } else { 0x45 }; }
            let next = [protocol::ESP, protocol::AH, protocol::UDP, protocol::FRAGMENT][next];
            if let Some(at) = quote.get_mut(if is_v6 { 6 } else { 9 }) { *at = next; }
            let packet = if is_v6 { too_big(9, &quote) } else { needed(9, &quote) };
            if let Ok(found) = TooBig::parse(&packet) {
                prop_assert!(found.mtu == 9 && found.quote.local.is_ipv6() == is_v6);
                prop_assert!(matches!(found.quote.protocol, protocol::ESP | protocol::AH));
            }
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = TooBig::parse(&bytes);
        }
    }
}
