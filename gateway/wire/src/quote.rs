//! What ICMP errors are about: the start of a packet, cut anywhere (RFC 792, RFC 1812 §4.3.2.3, RFC 4443 §2.4(c)).

use crate::flow::{self, Flow, Fragmentation};
use crate::{icmpv4, icmpv6, ipv4, ipv6, protocol};
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("malformed")]
    Malformed,
    #[error("an ICMP message in fragments")]
    Fragment,
    #[error("no ICMP error that quotes a packet")]
    OtherMessage,
}

/// An ICMP or ICMPv6 error that came whole, its sum right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError<'a> {
    pub destination: IpAddr,
    /// What would have fitted; 0 from routers older than RFC 1191. `None`: not about the size of the packet.
    pub mtu: Option<u32>,
    /// The start of the packet that caused it, and what extensions stand behind (RFC 4884).
    quote: &'a [u8],
}

impl<'a> IcmpError<'a> {
    /// From the IP header on. Not of ours are redirects, which are for the line they came by (RFC 1812 §5.2.7.2), and source
    /// quench, which nobody is to heed or to pass on (RFC 6633 §3, §5).
    pub fn parse(packet: &'a [u8]) -> Result<Self, Error> {
        match packet.first().map(|octet| octet >> 4) {
            Some(4) => Self::parse_v4(packet),
            Some(6) => Self::parse_v6(packet),
            _ => Err(Error::Malformed),
        }
    }

    /// By the type alone: might a packet of this protocol and ICMP type be one?
    #[inline]
    pub const fn is(protocol: u8, kind: u8) -> bool {
        match protocol {
            protocol::ICMP => matches!(kind, 3 | 11 | 12),
            protocol::ICMPV6 => matches!(kind, 1..=4),
            _ => false,
        }
    }

    /// The packet it is about, of its own family.
    pub fn quote(&self) -> Result<Quote<'a>, flow::Error> {
        let quote = Quote::parse(self.quote)?;
        if quote.flow.source.is_ipv6() == self.destination.is_ipv6() {
            Ok(quote)
        } else {
            Err(flow::Error::Version(if self.destination.is_ipv6() { 4 } else { 6 }))
        }
    }

    fn parse_v4(packet: &'a [u8]) -> Result<Self, Error> {
        use icmpv4::{Message, UnreachableCode};
        let (header, payload) =
            ipv4::Header::parse(packet, ipv4::ChecksumMode::Trusted).map_err(|_| Error::Malformed)?;
        if header.protocol() != protocol::ICMP {
            return Err(Error::OtherMessage);
        }
        if header.is_fragment() {
            return Err(Error::Fragment);
        }
        let (mtu, quote) = match Message::parse(payload).map_err(|_| Error::Malformed)? {
            Message::Unreachable { code: UnreachableCode::FRAGMENTATION_NEEDED, mtu, quote } => {
                (Some(u32::from(mtu)), quote)
            }
            Message::Unreachable { quote, .. } | Message::TimeExceeded { quote, .. } => (None, quote),
            // Parameter problem: a pointer and three octets of nothing stand before the quote.
            Message::Other { kind: 12, body, .. } => (None, body.get(4..).ok_or(Error::Malformed)?),
            _ => return Err(Error::OtherMessage),
        };
        Ok(Self { destination: header.destination().into(), mtu, quote })
    }

    fn parse_v6(packet: &'a [u8]) -> Result<Self, Error> {
        use icmpv6::Message;
        let (header, payload) = ipv6::Header::parse(packet).map_err(|_| Error::Malformed)?;
        let upper = header.upper(payload).map_err(|_| Error::Malformed)?;
        if upper.protocol != protocol::ICMPV6 {
            return Err(Error::OtherMessage);
        }
        if Fragmentation::of_ipv6(upper.fragment) != Fragmentation::Whole {
            return Err(Error::Fragment);
        }
        let message = Message::parse(header.source(), header.destination(), upper.payload);
        let (mtu, quote) = match message.map_err(|_| Error::Malformed)? {
            Message::PacketTooBig { mtu, quote } => (Some(mtu), quote),
            Message::Unreachable { quote, .. }
            | Message::TimeExceeded { quote, .. }
            | Message::ParameterProblem { quote, .. } => (None, quote),
            _ => return Err(Error::OtherMessage),
        };
        Ok(Self { destination: header.destination().into(), mtu, quote })
    }
}

/// The headers of a quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote<'a> {
    /// As the packet went. Without ports where it has none, where they are cut off, and of a later fragment.
    pub flow: Flow,
    /// It has ports that are not to be seen.
    pub ports_hidden: bool,
    /// Octets of the whole packet, by its own header.
    pub len: usize,
    pub dont_fragment: bool,
    /// What there is from the upper-layer header on.
    pub upper: &'a [u8],
}

impl<'a> Quote<'a> {
    fn parse(quote: &'a [u8]) -> Result<Self, flow::Error> {
        match quote.first().map(|octet| octet >> 4) {
            Some(4) => {
                let (header, upper) = ipv4::Header::parse_start(quote)?;
                let ends = (header.source().into(), header.destination().into());
                let (flow, ports_hidden) = flow_of(ends, header.protocol(), Fragmentation::of_ipv4(&header), upper);
                let len = usize::from(header.total_len());
                Ok(Self { flow, ports_hidden, len, dont_fragment: header.dont_fragment(), upper })
            }
            Some(6) => {
                let (header, payload) = ipv6::Header::parse_start(quote)?;
                let ipv6::Upper { protocol, fragment, payload: upper, .. } = header.upper_of_start(payload)?;
                let ends = (header.source().into(), header.destination().into());
                let (flow, ports_hidden) = flow_of(ends, protocol, Fragmentation::of_ipv6(fragment), upper);
                let len = ipv6::LEN + usize::from(header.payload_len());
                Ok(Self { flow, ports_hidden, len, dont_fragment: true, upper })
            }
            Some(version) => Err(flow::Error::Version(version)),
            None => Err(flow::Error::Empty),
        }
    }

    /// Is it an error itself? None may be said about those (RFC 1122 §3.2.2, RFC 4443 §2.4(e)).
    pub fn is_icmp_error(&self) -> bool {
        let kind = self.flow.source_port.map(|port| (port >> 8) as u8);
        match (self.flow.protocol, kind) {
            (protocol::ICMP, Some(kind)) => icmpv4::is_error(kind),
            (protocol::ICMPV6, Some(kind)) => icmpv6::is_error(kind),
            _ => false,
        }
    }
}

/// And whether ports are there that are not to be seen.
fn flow_of(
    (source, destination): (IpAddr, IpAddr),
    protocol: u8,
    fragmentation: Fragmentation,
    upper: &[u8],
) -> (Flow, bool) {
    let ports = flow::ports(protocol, fragmentation, upper);
    let ports_hidden = fragmentation == Fragmentation::Later || ports.is_err();
    let (source_port, destination_port) = ports.unwrap_or((None, None));
    (Flow { source, destination, protocol, source_port, destination_port, fragmentation }, ports_hidden)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, testing};
    use proptest::prelude::*;

    fn wrap_v4(message: &icmpv4::Message<'_>) -> Vec<u8> {
        let mut body = vec![0; message.len()];
        message.emit(&mut body).unwrap();
        let header = ipv4::Repr::new([10, 9, 0, 1].into(), [10, 1, 0, 2].into(), protocol::ICMP, body.len() as u16);
        [&header.to_bytes()[..], &body].concat()
    }

    fn wrap_v6(message: &icmpv6::Message<'_>) -> Vec<u8> {
        let (source, destination) = ([9; 16].into(), [1; 16].into());
        let mut body = vec![0; message.len()];
        message.emit(source, destination, &mut body).unwrap();
        let header = ipv6::Repr::new(source, destination, protocol::ICMPV6, body.len() as u16);
        [&header.to_bytes()[..], &body].concat()
    }

    /// An error about the packet, of its family.
    fn about(quote: &[u8]) -> Vec<u8> {
        match quote.first() {
            Some(first) if first >> 4 == 6 => wrap_v6(&icmpv6::Message::TimeExceeded { code: 0, quote }),
            _ => wrap_v4(&icmpv4::Message::TimeExceeded { code: 0, quote }),
        }
    }

    fn sent_v4(protocol: u8, upper: &[u8]) -> Vec<u8> {
        let header = ipv4::Repr::new([10, 1, 0, 2].into(), [10, 7, 0, 2].into(), protocol, 1400);
        [&header.to_bytes()[..], upper].concat()
    }

    fn sent_v6(next: u8, behind: &[u8]) -> Vec<u8> {
        let header = ipv6::Repr::new([1; 16].into(), [7; 16].into(), next, 1400);
        [&header.to_bytes()[..], behind].concat()
    }

    /// Protocol, ports, and whether some are hidden.
    fn seen(quote: &[u8]) -> Result<(u8, Option<u16>, Option<u16>, bool), flow::Error> {
        let packet = about(quote);
        let error = IcmpError::parse(&packet).unwrap();
        error.quote().map(|q| (q.flow.protocol, q.flow.source_port, q.flow.destination_port, q.ports_hidden))
    }

    #[test]
    fn captured_errors_are_about_captured_packets() {
        let pairs = [
            (testing::PORT_UNREACHABLE_V4, testing::UDP_V4, None),
            (testing::PORT_UNREACHABLE_V6, testing::UDP_V6, None),
            (testing::TIME_EXCEEDED_V4, testing::TTL_ONE_V4, None),
            (testing::TIME_EXCEEDED_V6, testing::HOP_LIMIT_ONE_V6, None),
        ];
        for (error, cause, mtu) in pairs {
            let (error, cause) = (testing::bytes(error), testing::bytes(cause));
            let error = IcmpError::parse(&error[ethernet::LEN..]).unwrap();
            let flow = Flow::parse(&cause[ethernet::LEN..], ipv4::ChecksumMode::Verify).unwrap();
            let quote = error.quote().unwrap();
            assert_eq!((quote.flow, quote.ports_hidden, error.mtu), (flow, false, mtu));
            assert_eq!((quote.len, error.destination), (cause.len() - ethernet::LEN, flow.source));
            assert!(!quote.is_icmp_error());
        }
        for (hex, mtu) in [(testing::FRAGMENTATION_NEEDED, 1300), (testing::PACKET_TOO_BIG, 1300)] {
            let bytes = testing::bytes(hex);
            let error = IcmpError::parse(&bytes[ethernet::LEN..]).unwrap();
            assert_eq!((error.mtu, error.quote().unwrap().flow.source), (Some(mtu), error.destination));
        }
    }

    #[test]
    fn other_messages_are_none() {
        let none = |packet: &[u8]| IcmpError::parse(packet).map(|_| ());
        for hex in [testing::UDP_V4, testing::UDP_V6, testing::ECHO_REQUEST_V4, testing::ECHO_REPLY_V6, testing::ESP] {
            assert_eq!(none(&testing::bytes(hex)[ethernet::LEN..]), Err(Error::OtherMessage), "{hex}");
        }
        let quote = sent_v4(protocol::UDP, &[0; 8]);
        let body = [&[0; 4][..], &quote].concat();
        for kind in 0..=255 {
            let packet = wrap_v4(&icmpv4::Message::Other { kind, code: 0, body: &body });
            assert_eq!(IcmpError::parse(&packet).is_ok(), IcmpError::is(protocol::ICMP, kind), "{kind}");
        }
        let quote = sent_v6(protocol::UDP, &[0; 8]);
        let body = [&[0; 4][..], &quote].concat();
        for kind in 0..=255 {
            let packet = wrap_v6(&icmpv6::Message::Other { kind, code: 0, body: &body });
            assert_eq!(IcmpError::parse(&packet).is_ok(), IcmpError::is(protocol::ICMPV6, kind), "{kind}");
        }
        assert!(!IcmpError::is(protocol::UDP, 3) && !IcmpError::is(protocol::ICMPV6, 11));
        assert_eq!(none(&[]), Err(Error::Malformed));
        assert_eq!(none(&[0x50; 60]), Err(Error::Malformed));
        // A wrong sum, and a message that is not whole.
        let good = about(&sent_v4(protocol::UDP, &[0; 8]));
        let mut bent = good.clone();
        bent[40] ^= 1;
        assert_eq!(none(&bent), Err(Error::Malformed));
        let mut piece = good.clone();
        piece[6] |= 0x20;
        assert_eq!(none(&piece), Err(Error::Fragment));
        let bare = wrap_v4(&icmpv4::Message::Other { kind: 12, code: 0, body: &[1, 2, 3] });
        assert_eq!(none(&bare), Err(Error::Malformed));
        let whole = about(&sent_v6(protocol::UDP, &[0; 8]));
        let fragment = ipv6::Fragment { next_header: protocol::ICMPV6, offset: 0, more: true, identification: 1 };
        let header = ipv6::Repr::new([9; 16].into(), [1; 16].into(), protocol::FRAGMENT, whole.len() as u16 - 32);
        let piece = [&header.to_bytes()[..], &fragment.to_bytes(), &whole[ipv6::LEN..]].concat();
        assert_eq!(none(&piece), Err(Error::Fragment));
    }

    #[test]
    fn ports_are_seen_where_they_are() {
        let ports = [0x03, 0xe8, 0x07, 0xd0];
        for (protocol, v6) in
            [(protocol::UDP, false), (protocol::TCP, false), (protocol::UDP, true), (protocol::SCTP, true)]
        {
            let sent = |upper: &[u8]| if v6 { sent_v6(protocol, upper) } else { sent_v4(protocol, upper) };
            assert_eq!(seen(&sent(&ports)), Ok((protocol, Some(1000), Some(2000), false)));
            assert_eq!(seen(&sent(&ports[..3])), Ok((protocol, None, None, true)), "cut off");
            assert_eq!(seen(&sent(&[])), Ok((protocol, None, None, true)));
        }
        assert_eq!(seen(&sent_v4(47, &[])), Ok((47, None, None, false)), "has none");
        assert_eq!(seen(&sent_v4(protocol::ICMP, &[8, 0])), Ok((1, Some(0x800), Some(0x800), false)));
        // Behind options.
        let mut options = sent_v4(protocol::UDP, &[&[1; 8][..], &ports].concat());
        options[0] = 0x47;
        assert_eq!(seen(&options), Ok((protocol::UDP, Some(1000), Some(2000), false)));
        assert!(seen(&options[..27]).is_err(), "cut within them");
        // Behind extension headers.
        let hop = [protocol::FRAGMENT, 0, 1, 4, 0, 0, 0, 0];
        let fragment = |offset| ipv6::Fragment { next_header: 17, offset, more: true, identification: 1 }.to_bytes();
        let behind = |offset| sent_v6(0, &[&hop[..], &fragment(offset), &ports].concat());
        assert_eq!(seen(&behind(0)), Ok((protocol::UDP, Some(1000), Some(2000), false)), "a first fragment shows them");
        assert_eq!(seen(&behind(8)), Ok((protocol::UDP, None, None, true)));
        assert!(seen(&behind(0)[..53]).is_err(), "cut within them");
        let mut first = sent_v4(protocol::UDP, &ports);
        first[6] = 0x20;
        assert_eq!(seen(&first), Ok((protocol::UDP, Some(1000), Some(2000), false)));
        first[7] = 1;
        assert_eq!(seen(&first), Ok((protocol::UDP, None, None, true)));
    }

    #[test]
    fn what_quotes_no_packet_is_refused() {
        for quote in [&[][..], &[0x45; 19], &[0x60; 39], &[0x50; 60], &[0x44; 60]] {
            assert!(seen(quote).is_err(), "{quote:?}");
        }
        // Of another family than the error.
        let strange = wrap_v4(&icmpv4::Message::TimeExceeded { code: 0, quote: &sent_v6(protocol::UDP, &[0; 8]) });
        assert_eq!(IcmpError::parse(&strange).unwrap().quote(), Err(flow::Error::Version(6)));
        let strange = wrap_v6(&icmpv6::Message::TimeExceeded { code: 0, quote: &sent_v4(protocol::UDP, &[0; 8]) });
        assert_eq!(IcmpError::parse(&strange).unwrap().quote(), Err(flow::Error::Version(4)));
    }

    #[test]
    fn errors_about_errors_are_known() {
        let is_error = |quote: Vec<u8>| IcmpError::parse(&about(&quote)).unwrap().quote().unwrap().is_icmp_error();
        for (kind, want) in [(3, true), (11, true), (5, true), (8, false), (0, false)] {
            assert_eq!(is_error(sent_v4(protocol::ICMP, &[kind, 0])), want, "{kind}");
        }
        for (kind, want) in [(1, true), (2, true), (127, true), (128, false), (129, false)] {
            assert_eq!(is_error(sent_v6(protocol::ICMPV6, &[kind, 0])), want, "{kind}");
        }
    }

    proptest! {
        /// Cut and damaged quotes; the sums are right, so that every octet is looked at.
        #[test]
        fn any_quote(six: bool, mut quote in proptest::collection::vec(any::<u8>(), 0..120), options in 5u8..16) {
            if let Some(first) = quote.first_mut() { *first = if six { 0x60 } else { 0x40 | options }; }
            let packet = about(&quote);
            let error = IcmpError::parse(&packet).unwrap();
            if let Ok(quote) = error.quote() {
                prop_assert_eq!(quote.flow.source.is_ipv6(), six);
                prop_assert_eq!(quote.flow.source_port.is_some(), quote.flow.destination_port.is_some());
                prop_assert!(!quote.ports_hidden || quote.flow.source_port.is_none());
            }
        }

        #[test]
        fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 1..120), six: bool) {
            bytes[0] = if six { 0x60 } else { 0x45 };
            if let Ok(error) = IcmpError::parse(&bytes) {
                let _ = error.quote();
            }
        }
    }
}
