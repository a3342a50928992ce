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
