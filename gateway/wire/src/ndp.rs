//! Neighbour discovery messages (RFC 4861), with every check of §6.1 and §7.1 made while parsing.

use crate::{Mac, NoRoom, Reader, Truncated, Writer, checksum::Sum, icmpv6, ipv6, protocol};
use std::net::Ipv6Addr;

pub const ROUTER_SOLICITATION: u8 = 133;
pub const ROUTER_ADVERTISEMENT: u8 = 134;
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("neighbour discovery message truncated")]
    Truncated,
    #[error("neighbour discovery with hop limit {0}, not 255")]
    HopLimit(u8),
    #[error("ICMPv6 checksum is wrong")]
    Checksum,
    #[error("neighbour discovery with code {0}")]
    Code(u8),
    #[error("ICMPv6 type {0} is not neighbour discovery")]
    Type(u8),
    #[error("neighbour discovery target {0} is multicast")]
    MulticastTarget(Ipv6Addr),
    #[error("neighbour discovery option of length 0")]
    ZeroOption,
    #[error("link-layer address option is not an Ethernet station's")]
    LinkLayerAddress,
    #[error("solicitation from the unspecified address not to a solicited-node group")]
    UnspecifiedToUnicast,
    #[error("source link-layer address from the unspecified address")]
    UnspecifiedWithAddress,
    #[error("solicited advertisement to a multicast address")]
    SolicitedMulticast,
    #[error("router advertisement from {0}, which is not link-local")]
    RouterNotLinkLocal(Ipv6Addr),
    #[error("neighbour discovery from multicast address {0}")]
    MulticastSource(Ipv6Addr),
}

impl From<Truncated> for Error {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    RouterSolicitation { source_mac: Option<Mac> },
    RouterAdvertisement(RouterAdvertisement),
    NeighbourSolicitation { target: Ipv6Addr, source_mac: Option<Mac> },
    NeighbourAdvertisement(NeighbourAdvertisement),
}

/// RFC 4861 §4.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourAdvertisement {
    pub router: bool,
    pub solicited: bool,
    pub overrides: bool,
    pub target: Ipv6Addr,
    pub target_mac: Option<Mac>,
}

/// RFC 4861 §4.2; of the options, the first prefix only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement {
    pub hop_limit: u8,
    pub managed: bool,
    pub other_config: bool,
    /// Seconds.
    pub router_lifetime: u16,
    /// Milliseconds.
    pub reachable_time: u32,
    /// Milliseconds.
    pub retransmit_timer: u32,
    pub source_mac: Option<Mac>,
    pub mtu: Option<u32>,
    pub prefix: Option<Prefix>,
}

/// RFC 4861 §4.6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub prefix: Ipv6Addr,
    pub prefix_len: u8,
    pub on_link: bool,
    pub autonomous: bool,
    /// Seconds.
    pub valid_lifetime: u32,
    /// Seconds.
    pub preferred_lifetime: u32,
}

const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_TARGET_MAC: u8 = 2;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;

/// The options known here; the others are skipped (RFC 4861 §4.6).
#[derive(Default)]
struct Options {
    source_mac: Option<Mac>,
    target_mac: Option<Mac>,
    mtu: Option<u32>,
    prefix: Option<Prefix>,
}

/// The header of the packet a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carrier {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub hop_limit: u8,
}

impl Carrier {
    pub fn of(header: &ipv6::Header<'_>) -> Self {
        Self { source: header.source(), destination: header.destination(), hop_limit: header.hop_limit() }
    }
}

impl Message {
    /// `bytes` is the whole ICMPv6 message. Types other than the four are [`Error::Type`].
    pub fn parse(carrier: Carrier, bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let [kind, code, _, _] = r.take_array()?;
        if !(ROUTER_SOLICITATION..=NEIGHBOUR_ADVERTISEMENT).contains(&kind) {
            return Err(Error::Type(kind));
        }
        // Proof that no router passed it on (RFC 4861 §3.1).
        if carrier.hop_limit != 255 {
            return Err(Error::HopLimit(carrier.hop_limit));
        }
        let sum = Sum::pseudo_v6(&carrier.source, &carrier.destination, protocol::ICMPV6, bytes.len());
        if !sum.add_bytes(bytes).is_valid() {
            return Err(Error::Checksum);
        }
        if code != 0 {
            return Err(Error::Code(code));
        }
        // RFC 4291 §2.7: never a source.
        if carrier.source.is_multicast() {
            return Err(Error::MulticastSource(carrier.source));
        }
        match kind {
            ROUTER_SOLICITATION => router_solicitation(carrier, r),
            ROUTER_ADVERTISEMENT => router_advertisement(carrier, r),
            NEIGHBOUR_SOLICITATION => neighbour_solicitation(carrier, r),
            _ => neighbour_advertisement(carrier, r),
        }
    }

    /// Octets that `emit` writes.
    pub const fn len(&self) -> usize {
        match self {
            Self::RouterSolicitation { source_mac } => 8 + option_len(source_mac),
            Self::NeighbourSolicitation { source_mac, .. } => 24 + option_len(source_mac),
            Self::NeighbourAdvertisement(na) => 24 + option_len(&na.target_mac),
            Self::RouterAdvertisement(ra) => {
                let mtu = if ra.mtu.is_some() { 8 } else { 0 };
                let prefix = if ra.prefix.is_some() { 32 } else { 0 };
                16 + option_len(&ra.source_mac) + mtu + prefix
            }
        }
    }

    /// Never: every message has a type.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the message with its checksum to the front of `out`. The packet's hop limit must be 255.
    pub fn emit(&self, source: Ipv6Addr, destination: Ipv6Addr, out: &mut [u8]) -> Result<(), NoRoom> {
        let out = out.get_mut(..self.len()).ok_or(NoRoom)?;
        let mut w = Writer::new(out);
        match self {
            Self::RouterSolicitation { source_mac } => {
                w.put(&[ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0])?;
                put_mac(&mut w, OPTION_SOURCE_MAC, *source_mac)?;
            }
            Self::NeighbourSolicitation { target, source_mac } => {
                w.put(&[NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0])?;
                w.put(&target.octets())?;
                put_mac(&mut w, OPTION_SOURCE_MAC, *source_mac)?;
            }
            Self::NeighbourAdvertisement(na) => {
                let flags = (na.router as u8) << 7 | (na.solicited as u8) << 6 | (na.overrides as u8) << 5;
                w.put(&[NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0])?;
                w.put(&na.target.octets())?;
                put_mac(&mut w, OPTION_TARGET_MAC, na.target_mac)?;
            }
            Self::RouterAdvertisement(ra) => ra.emit(&mut w)?,
        }
        icmpv6::fill_checksum(source, destination, out)
    }
}

impl RouterAdvertisement {
    fn emit(&self, w: &mut Writer<'_>) -> Result<(), NoRoom> {
        let flags = (self.managed as u8) << 7 | (self.other_config as u8) << 6;
        w.put(&[ROUTER_ADVERTISEMENT, 0, 0, 0, self.hop_limit, flags])?;
        w.u16(self.router_lifetime)?;
        w.u32(self.reachable_time)?;
        w.u32(self.retransmit_timer)?;
        put_mac(w, OPTION_SOURCE_MAC, self.source_mac)?;
        if let Some(mtu) = self.mtu {
            w.put(&[OPTION_MTU, 1, 0, 0])?;
            w.u32(mtu)?;
        }
        if let Some(p) = self.prefix {
            w.put(&[OPTION_PREFIX, 4, p.prefix_len, (p.on_link as u8) << 7 | (p.autonomous as u8) << 6])?;
            w.u32(p.valid_lifetime)?;
            w.u32(p.preferred_lifetime)?;
            w.u32(0)?;
            w.put(&p.prefix.octets())?;
        }
        Ok(())
    }
}

const fn option_len(mac: &Option<Mac>) -> usize {
    if mac.is_some() { 8 } else { 0 }
}

fn put_mac(w: &mut Writer<'_>, kind: u8, mac: Option<Mac>) -> Result<(), NoRoom> {
    match mac {
        Some(mac) => {
            w.put(&[kind, 1])?;
            w.put(&mac.0)
        }
        None => Ok(()),
    }
}

/// RFC 4861 §6.1.1.
fn router_solicitation(carrier: Carrier, mut r: Reader<'_>) -> Result<Message, Error> {
    r.take(4)?;
    let options = parse_options(r)?;
    if carrier.source.is_unspecified() && options.source_mac.is_some() {
        return Err(Error::UnspecifiedWithAddress);
    }
    Ok(Message::RouterSolicitation { source_mac: options.source_mac })
}

/// RFC 4861 §6.1.2.
fn router_advertisement(carrier: Carrier, mut r: Reader<'_>) -> Result<Message, Error> {
    if !carrier.source.is_unicast_link_local() {
        return Err(Error::RouterNotLinkLocal(carrier.source));
    }
    let [hop_limit, flags] = r.take_array()?;
    let (router_lifetime, reachable_time, retransmit_timer) = (r.u16()?, r.u32()?, r.u32()?);
    let options = parse_options(r)?;
    Ok(Message::RouterAdvertisement(RouterAdvertisement {
        hop_limit,
        managed: flags & 0x80 != 0,
        other_config: flags & 0x40 != 0,
        router_lifetime,
        reachable_time,
        retransmit_timer,
        source_mac: options.source_mac,
        mtu: options.mtu,
        prefix: options.prefix,
    }))
}

/// RFC 4861 §7.1.1.
fn neighbour_solicitation(carrier: Carrier, mut r: Reader<'_>) -> Result<Message, Error> {
    r.take(4)?;
    let target = target(&mut r)?;
    let options = parse_options(r)?;
    if carrier.source.is_unspecified() {
        if carrier.destination != ipv6::solicited_node(carrier.destination) {
            return Err(Error::UnspecifiedToUnicast);
        }
        if options.source_mac.is_some() {
            return Err(Error::UnspecifiedWithAddress);
        }
    }
    Ok(Message::NeighbourSolicitation { target, source_mac: options.source_mac })
}

/// RFC 4861 §7.1.2.
fn neighbour_advertisement(carrier: Carrier, mut r: Reader<'_>) -> Result<Message, Error> {
    let [flags, _, _, _] = r.take_array()?;
    let target = target(&mut r)?;
    let solicited = flags & 0x40 != 0;
    if solicited && carrier.destination.is_multicast() {
        return Err(Error::SolicitedMulticast);
    }
    let options = parse_options(r)?;
    Ok(Message::NeighbourAdvertisement(NeighbourAdvertisement {
        router: flags & 0x80 != 0,
        solicited,
        overrides: flags & 0x20 != 0,
        target,
        target_mac: options.target_mac,
    }))
}

fn target(r: &mut Reader<'_>) -> Result<Ipv6Addr, Error> {
    let target = Ipv6Addr::from(r.take_array::<16>()?);
    if target.is_multicast() { Err(Error::MulticastTarget(target)) } else { Ok(target) }
}

fn parse_options(mut r: Reader<'_>) -> Result<Options, Error> {
    let mut options = Options::default();
    while !r.is_empty() {
        let [kind, units] = r.take_array()?;
        let len = (usize::from(units) * 8).checked_sub(2).ok_or(Error::ZeroOption)?;
        let mut body = r.sub(len)?;
        match kind {
            OPTION_SOURCE_MAC => options.source_mac = options.source_mac.or(Some(station(body)?)),
            OPTION_TARGET_MAC => options.target_mac = options.target_mac.or(Some(station(body)?)),
            OPTION_MTU => {
                body.take(2)?;
                options.mtu = options.mtu.or(Some(body.u32()?));
            }
            OPTION_PREFIX => options.prefix = options.prefix.or(Some(prefix(body)?)),
            _ => {}
        }
    }
    Ok(options)
}

fn station(body: Reader<'_>) -> Result<Mac, Error> {
    let mac = <[u8; 6]>::try_from(body.rest()).map(Mac).map_err(|_| Error::LinkLayerAddress)?;
    if mac.is_unicast() { Ok(mac) } else { Err(Error::LinkLayerAddress) }
}

fn prefix(mut body: Reader<'_>) -> Result<Prefix, Error> {
    let [prefix_len, flags] = body.take_array()?;
    let (valid_lifetime, preferred_lifetime) = (body.u32()?, body.u32()?);
    body.take(4)?;
    let prefix = Ipv6Addr::from(body.take_array::<16>()?);
    Ok(Prefix {
        prefix,
        prefix_len,
        on_link: flags & 0x80 != 0,
        autonomous: flags & 0x40 != 0,
        valid_lifetime,
        preferred_lifetime,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, testing};
    use proptest::prelude::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);

    fn captured(hex: &str) -> (Carrier, Vec<u8>) {
        let frame = testing::bytes(hex);
        let (header, payload) = ipv6::Header::parse(&frame[ethernet::LEN..]).unwrap();
        (Carrier::of(&header), payload.to_vec())
    }

    fn addr(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    /// `bytes` with a fresh checksum, parsed.
    fn summed(carrier: Carrier, mut bytes: Vec<u8>) -> Result<Message, Error> {
        bytes[2..4].fill(0);
        icmpv6::fill_checksum(carrier.source, carrier.destination, &mut bytes).unwrap();
        Message::parse(carrier, &bytes)
    }

    #[test]
    fn captured_messages() {
        let parse = |hex: &str| {
            let (carrier, bytes) = captured(hex);
            Message::parse(carrier, &bytes)
        };
        assert_eq!(
            parse(testing::SOLICITATION),
            Ok(Message::NeighbourSolicitation { target: addr("2001:db8::2"), source_mac: Some(A) })
        );
        assert_eq!(
            parse(testing::ADVERTISEMENT),
            Ok(Message::NeighbourAdvertisement(NeighbourAdvertisement {
                router: false,
                solicited: true,
                overrides: true,
                target: addr("2001:db8::2"),
                target_mac: Some(B),
            }))
        );
        assert_eq!(parse(testing::ROUTER_SOLICITATION), Ok(Message::RouterSolicitation { source_mac: Some(A) }));
        assert_eq!(
            parse(testing::DAD_SOLICITATION),
            Ok(Message::NeighbourSolicitation { target: addr("fe80::ff:fe00:a"), source_mac: None })
        );
        let Ok(Message::RouterAdvertisement(ra)) = parse(testing::ROUTER_ADVERTISEMENT) else {
            panic!("no router advertisement");
        };
        assert_eq!((ra.router_lifetime, ra.reachable_time, ra.retransmit_timer), (1800, 30_000, 1000));
        assert_eq!((ra.managed, ra.other_config, ra.mtu, ra.source_mac), (true, false, Some(1400), Some(A)));
        let prefix = ra.prefix.unwrap();
        assert_eq!((prefix.prefix, prefix.prefix_len), (addr("2001:db8::"), 64));
    }

    #[test]
    fn emit_gives_the_captured_bytes() {
        for hex in [testing::SOLICITATION, testing::ADVERTISEMENT, testing::ROUTER_SOLICITATION] {
            let (carrier, bytes) = captured(hex);
            let message = Message::parse(carrier, &bytes).unwrap();
            let mut out = vec![0xaa; message.len()];
            message.emit(carrier.source, carrier.destination, &mut out).unwrap();
            assert_eq!(out, bytes);
            assert_eq!(message.emit(carrier.source, carrier.destination, &mut out[1..]), Err(NoRoom));
        }
    }

    #[test]
    fn truncated_at_every_length() {
        for hex in
            [testing::SOLICITATION, testing::ADVERTISEMENT, testing::ROUTER_SOLICITATION, testing::ROUTER_ADVERTISEMENT]
        {
            let (carrier, bytes) = captured(hex);
            for len in 0..bytes.len() {
                assert!(Message::parse(carrier, &bytes[..len]).is_err(), "{len}");
            }
            // With a right checksum as well: headers and options are multiples of 8.
            for len in (4..bytes.len()).filter(|len| !len.is_multiple_of(8)) {
                assert_eq!(summed(carrier, bytes[..len].to_vec()), Err(Error::Truncated), "{len}");
            }
        }
    }

    /// RFC 4861 §6.1 and §7.1, line by line.
    #[test]
    fn each_check_has_its_error() {
        let (carrier, ns) = captured(testing::SOLICITATION);
        let with = |at: usize, value: u8| {
            let mut bytes = ns.clone();
            bytes[at] = value;
            bytes
        };
        assert_eq!(summed(Carrier { hop_limit: 254, ..carrier }, ns.clone()), Err(Error::HopLimit(254)));
        assert_eq!(Message::parse(carrier, &with(30, 9)), Err(Error::Checksum));
        assert_eq!(summed(carrier, with(1, 1)), Err(Error::Code(1)));
        assert_eq!(summed(carrier, with(0, 137)), Err(Error::Type(137)));
        assert_eq!(summed(carrier, with(25, 0)), Err(Error::ZeroOption));
        assert_eq!(summed(carrier, with(25, 2)), Err(Error::Truncated));
        assert_eq!(summed(carrier, with(26, 3)), Err(Error::LinkLayerAddress));
        assert!(matches!(summed(carrier, with(8, 0xff)), Err(Error::MulticastTarget(_))));
        let unspecified = Carrier { source: Ipv6Addr::UNSPECIFIED, ..carrier };
        assert_eq!(summed(unspecified, ns.clone()), Err(Error::UnspecifiedWithAddress));
        assert!(summed(unspecified, ns[..24].to_vec()).is_ok());
        let unicast = Carrier { destination: addr("2001:db8::2"), ..unspecified };
        assert_eq!(summed(unicast, ns[..24].to_vec()), Err(Error::UnspecifiedToUnicast));
        let group = Carrier { source: addr("ff02::1"), ..carrier };
        assert_eq!(summed(group, ns), Err(Error::MulticastSource(addr("ff02::1"))));

        let (carrier, na) = captured(testing::ADVERTISEMENT);
        let all = Carrier { destination: ipv6::ALL_NODES, ..carrier };
        assert_eq!(summed(all, na.clone()), Err(Error::SolicitedMulticast));
        let mut unsolicited = na;
        unsolicited[4] &= !0x40;
        assert!(summed(all, unsolicited).is_ok());

        let (carrier, rs) = captured(testing::ROUTER_SOLICITATION);
        let unspecified = Carrier { source: Ipv6Addr::UNSPECIFIED, ..carrier };
        assert_eq!(summed(unspecified, rs), Err(Error::UnspecifiedWithAddress));

        let (carrier, ra) = captured(testing::ROUTER_ADVERTISEMENT);
        let routable = Carrier { source: addr("2001:db8::1"), ..carrier };
        assert_eq!(summed(routable, ra), Err(Error::RouterNotLinkLocal(addr("2001:db8::1"))));
    }

    fn mac() -> impl Strategy<Value = Option<Mac>> {
        proptest::option::of(any::<[u8; 6]>().prop_map(|mut mac| {
            mac[0] = mac[0] & 0xfe | 2;
            Mac(mac)
        }))
    }

    fn message() -> impl Strategy<Value = Message> {
        let target = any::<[u8; 16]>().prop_map(|mut octets| {
            octets[0] &= 0x7f;
            Ipv6Addr::from(octets)
        });
        let prefix = (any::<[u8; 16]>(), any::<(u8, bool, bool, u32, u32)>()).prop_map(|(octets, f)| Prefix {
            prefix: octets.into(),
            prefix_len: f.0,
            on_link: f.1,
            autonomous: f.2,
            valid_lifetime: f.3,
            preferred_lifetime: f.4,
        });
        let fields = any::<(u8, bool, bool, u16, u32, u32)>();
        let ra = (fields, mac(), any::<Option<u32>>(), proptest::option::of(prefix)).prop_map(
            |(f, source_mac, mtu, prefix)| {
                Message::RouterAdvertisement(RouterAdvertisement {
                    hop_limit: f.0,
                    managed: f.1,
                    other_config: f.2,
                    router_lifetime: f.3,
                    reachable_time: f.4,
                    retransmit_timer: f.5,
                    source_mac,
                    mtu,
                    prefix,
                })
            },
        );
        prop_oneof![
            mac().prop_map(|source_mac| Message::RouterSolicitation { source_mac }),
            (target.clone(), mac())
                .prop_map(|(target, source_mac)| Message::NeighbourSolicitation { target, source_mac }),
            (any::<(bool, bool, bool)>(), target, mac()).prop_map(|(f, target, target_mac)| {
                Message::NeighbourAdvertisement(NeighbourAdvertisement {
                    router: f.0,
                    solicited: f.1,
                    overrides: f.2,
                    target,
                    target_mac,
                })
            }),
            ra,
        ]
    }

    proptest! {
        #[test]
        fn round_trip(message in message()) {
            let carrier = Carrier { source: addr("fe80::1"), destination: addr("fe80::2"), hop_limit: 255 };
            let mut out = vec![0xaa; message.len()];
            message.emit(carrier.source, carrier.destination, &mut out).unwrap();
            prop_assert_eq!(Message::parse(carrier, &out), Ok(message));
        }

        #[test]
        fn any_bytes_are_message_or_error(kind in 133u8..=136, mut bytes in proptest::collection::vec(any::<u8>(), 4..120)) {
            (bytes[0], bytes[1]) = (kind, 0);
            for at in (9..bytes.len()).step_by(8) { bytes[at] %= 4; }
            let carrier = Carrier { source: addr("fe80::1"), destination: addr("fe80::2"), hop_limit: 255 };
            let _ = summed(carrier, bytes);
        }
    }
}
