//! The model's words as bytes: one pair of functions each.

use super::cursor::{DecodeError, EncodeError, Reader, Writer};
use super::{MAX_KEPT, MAX_SELECTORS};
use core::time::Duration;
use culvert_model::{
    Action, AddrRange, ChildId, DfHandling, Direction, DscpHandling, DscpMap, Encapsulation, Encryption, Flow,
    FragmentWhen, Handling, Integrity, InterfaceId, Lifetime, MssClamp, Pfp, Policy, PolicyDirection, PolicyId,
    PortRange, SaMode, SaSpec, SecretKey, SlotIndex, Spi, Suite, Tfc, TrafficSelector, Tunnel,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Octets one selector takes at most.
pub(super) const SELECTOR_BYTES: usize = 2 * 17 + 2 + 4;
/// Octets of an SA or policy without its selectors; generous.
pub(super) const FIXED_BYTES: usize = 512;

pub(super) fn put_address(w: &mut Writer<'_>, address: IpAddr) {
    match address {
        IpAddr::V4(a) => {
            w.u8(4);
            w.bytes(&a.octets());
        }
        IpAddr::V6(a) => {
            w.u8(6);
            w.bytes(&a.octets());
        }
    }
}

pub(super) fn address(r: &mut Reader<'_>) -> Result<IpAddr, DecodeError> {
    const WHAT: &str = "an address";
    match r.u8(WHAT)? {
        4 => Ok(Ipv4Addr::from(r.array::<4>(WHAT)?).into()),
        6 => Ok(Ipv6Addr::from(r.array::<16>(WHAT)?).into()),
        value => Err(DecodeError::UnknownTag { what: "address family", value }),
    }
}

pub(super) fn put_socket(w: &mut Writer<'_>, socket: SocketAddr) {
    put_address(w, socket.ip());
    w.u16(socket.port());
    if let SocketAddr::V6(socket) = socket {
        w.u32(socket.flowinfo());
        w.u32(socket.scope_id());
    }
}

pub(super) fn socket(r: &mut Reader<'_>) -> Result<SocketAddr, DecodeError> {
    let ip = address(r)?;
    let port = r.u16("a port")?;
    Ok(match ip {
        IpAddr::V4(ip) => SocketAddrV4::new(ip, port).into(),
        IpAddr::V6(ip) => {
            let (flow, scope) = (r.u32("a flow label")?, r.u32("a scope")?);
            SocketAddrV6::new(ip, port, flow, scope).into()
        }
    })
}

pub(super) fn slot(r: &mut Reader<'_>) -> Result<SlotIndex, DecodeError> {
    r.u32("a slot").map(SlotIndex)
}

pub(super) fn child(r: &mut Reader<'_>) -> Result<ChildId, DecodeError> {
    r.u32("a child").map(ChildId)
}

pub(super) fn spi(r: &mut Reader<'_>) -> Result<Spi, DecodeError> {
    let value = r.u32("an SPI")?;
    Spi::new(value).map_err(|_| DecodeError::ReservedSpi { value })
}

pub(super) fn put_direction(w: &mut Writer<'_>, direction: Direction) {
    w.u8(match direction {
        Direction::Inbound => 1,
        Direction::Outbound => 2,
    });
}

pub(super) fn direction(r: &mut Reader<'_>) -> Result<Direction, DecodeError> {
    const WHAT: &str = "direction";
    match r.u8(WHAT)? {
        1 => Ok(Direction::Inbound),
        2 => Ok(Direction::Outbound),
        value => Err(DecodeError::UnknownTag { what: WHAT, value }),
    }
}

/// Registry numbers; 0 is "none", which no transform of a suite has, and a key length of 0 is "no attribute".
fn put_suite(w: &mut Writer<'_>, suite: Suite) {
    w.u16(suite.encryption().map_or(0, |e| e.id()));
    w.u16(suite.encryption().and_then(|e| e.key_bits()).unwrap_or(0));
    w.u16(suite.integrity().map_or(0, |i| i.id()));
}

fn suite(r: &mut Reader<'_>) -> Result<Suite, DecodeError> {
    const INVALID: DecodeError = DecodeError::Invalid { what: "a suite" };
    let (cipher, bits, integrity) = (r.u16("a cipher")?, r.u16("a key length")?, r.u16("an integrity algorithm")?);
    let integrity = match integrity {
        0 => None,
        id => Some(Integrity::from_id(id).ok_or(INVALID)?),
    };
    match (cipher, integrity) {
        (0, Some(integrity)) if bits == 0 => Ok(Suite::ah(integrity)),
        (0, _) => Err(INVALID),
        (id, integrity) => {
            let cipher = Encryption::from_id(id, (bits != 0).then_some(bits)).ok_or(INVALID)?;
            Suite::esp(cipher, integrity).map_err(|_| INVALID)
        }
    }
}

/// A tag for each value of a small enum, both ways.
macro_rules! tags {
    ($put:ident, $get:ident, $type:ident, $what:literal, $($variant:ident = $tag:literal),+) => {
        fn $put(w: &mut Writer<'_>, value: $type) {
            w.u8(match value { $($type::$variant => $tag,)+ });
        }

        fn $get(r: &mut Reader<'_>) -> Result<$type, DecodeError> {
            match r.u8($what)? {
                $($tag => Ok($type::$variant),)+
                value => Err(DecodeError::UnknownTag { what: $what, value }),
            }
        }
    };
}

tags!(put_mode, mode, SaMode, "mode", Tunnel = 1, Transport = 2);
tags!(put_df, df, DfHandling, "DF handling", Copy = 1, Set = 2, Clear = 3);
tags!(put_fragment, fragment, FragmentWhen, "fragmentation", Before = 1, After = 2);

fn put_handling(w: &mut Writer<'_>, h: &Handling) {
    put_df(w, h.df);
    match h.dscp {
        DscpHandling::Copy => w.u8(1),
        DscpHandling::Set(dscp) => {
            w.u8(2);
            w.u8(dscp);
        }
        DscpHandling::Map(map) => {
            w.u8(3);
            w.bytes(map.octets());
        }
    }
    w.bool(h.dscp_inbound);
    w.bool(h.ecn);
    w.u8(h.ttl.unwrap_or(0));
    w.bool(h.flow_label);
    put_fragment(w, h.fragment);
    put_sized(
        w,
        match h.tfc {
            Tfc::Off => (1, 0),
            Tfc::ToMtu => (2, 0),
            Tfc::To(len) => (3, len),
        },
    );
    w.u16(h.dummies);
    put_sized(
        w,
        match h.mss_clamp {
            MssClamp::Off => (1, 0),
            MssClamp::Auto => (2, 0),
            MssClamp::To(len) => (3, len),
        },
    );
    w.bool(h.later_fragments);
}

fn put_sized(w: &mut Writer<'_>, (tag, len): (u8, u16)) {
    w.u8(tag);
    w.u16(len);
}

fn handling(r: &mut Reader<'_>) -> Result<Handling, DecodeError> {
    Ok(Handling {
        df: df(r)?,
        dscp: dscp(r)?,
        dscp_inbound: r.bool("DSCP inbound")?,
        ecn: r.bool("ECN")?,
        ttl: Some(r.u8("a TTL")?).filter(|ttl| *ttl != 0),
        flow_label: r.bool("a flow label")?,
        fragment: fragment(r)?,
        tfc: match (r.u8("TFC")?, r.u16("TFC")?) {
            (1, 0) => Tfc::Off,
            (2, 0) => Tfc::ToMtu,
            (3, len) => Tfc::To(len),
            (value, _) => return Err(DecodeError::UnknownTag { what: "TFC", value }),
        },
        dummies: r.u16("dummies")?,
        mss_clamp: match (r.u8("an MSS")?, r.u16("an MSS")?) {
            (1, 0) => MssClamp::Off,
            (2, 0) => MssClamp::Auto,
            (3, len) => MssClamp::To(len),
            (value, _) => return Err(DecodeError::UnknownTag { what: "MSS", value }),
        },
        later_fragments: r.bool("later fragments")?,
    })
}

fn dscp(r: &mut Reader<'_>) -> Result<DscpHandling, DecodeError> {
    const ABOVE: DecodeError = DecodeError::Invalid { what: "a DSCP above 63" };
    match r.u8("DSCP handling")? {
        1 => Ok(DscpHandling::Copy),
        2 => Some(r.u8("a DSCP")?).filter(|dscp| *dscp < 64).map(DscpHandling::Set).ok_or(ABOVE),
        3 => DscpMap::new(r.array::<64>("a DSCP map")?).map(DscpHandling::Map).ok_or(ABOVE),
        value => Err(DecodeError::UnknownTag { what: "DSCP handling", value }),
    }
}

fn put_interface(w: &mut Writer<'_>, interface: Option<InterfaceId>) {
    w.bool(interface.is_some());
    if let Some(interface) = interface {
        w.u16(interface.0);
    }
}

fn interface(r: &mut Reader<'_>) -> Result<Option<InterfaceId>, DecodeError> {
    Ok(if r.bool("an interface")? { Some(InterfaceId(r.u16("an interface")?)) } else { None })
}

pub(super) fn put_pfp(w: &mut Writer<'_>, pfp: Pfp) {
    let flags = [pfp.local_addr, pfp.remote_addr, pfp.protocol, pfp.local_port, pfp.remote_port];
    w.u8(flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)));
}

pub(super) fn pfp(r: &mut Reader<'_>) -> Result<Pfp, DecodeError> {
    let bits = r.u8("PFP flags")?;
    if bits >= 1 << 5 {
        return Err(DecodeError::Invalid { what: "PFP flags" });
    }
    let flag = |place: u8| bits & 1 << place != 0;
    Ok(Pfp { local_addr: flag(0), remote_addr: flag(1), protocol: flag(2), local_port: flag(3), remote_port: flag(4) })
}

pub(super) fn put_tunnel(w: &mut Writer<'_>, tunnel: &Tunnel) {
    put_address(w, tunnel.local);
    put_address(w, tunnel.remote);
}

pub(super) fn tunnel(r: &mut Reader<'_>) -> Result<Tunnel, DecodeError> {
    let tunnel = Tunnel { local: address(r)?, remote: address(r)? };
    if tunnel.local.is_ipv4() != tunnel.remote.is_ipv4() {
        return Err(DecodeError::Invalid { what: "a tunnel between two address families" });
    }
    Ok(tunnel)
}

pub(super) fn put_encapsulation(w: &mut Writer<'_>, encapsulation: Option<&Encapsulation>) {
    w.bool(encapsulation.is_some());
    if let Some(e) = encapsulation {
        w.u16(e.local_port);
        w.u16(e.remote_port);
        w.u64(e.keepalive.as_secs());
        w.u32(e.keepalive.subsec_nanos());
    }
}

pub(super) fn encapsulation(r: &mut Reader<'_>) -> Result<Option<Encapsulation>, DecodeError> {
    if !r.bool("an encapsulation")? {
        return Ok(None);
    }
    let (local_port, remote_port) = (r.u16("a port")?, r.u16("a port")?);
    let (seconds, nanos) = (r.u64("a keepalive")?, r.u32("a keepalive")?);
    // `Duration::new` would carry, and panic where it cannot.
    if nanos >= 1_000_000_000 {
        return Err(DecodeError::Invalid { what: "a keepalive's nanoseconds" });
    }
    Ok(Some(Encapsulation { local_port, remote_port, keepalive: Duration::new(seconds, nanos) }))
}

fn put_selectors(w: &mut Writer<'_>, selectors: &[TrafficSelector]) -> Result<(), EncodeError> {
    w.count(selectors.len(), MAX_SELECTORS, "selectors")?;
    for ts in selectors {
        put_address(w, ts.addrs.start());
        put_address(w, ts.addrs.end());
        w.bool(ts.protocol.is_some());
        if let Some(protocol) = ts.protocol {
            w.u8(protocol);
        }
        w.u16(ts.ports.start());
        w.u16(ts.ports.end());
    }
    Ok(())
}

fn selectors(r: &mut Reader<'_>) -> Result<Vec<TrafficSelector>, DecodeError> {
    (0..r.count(MAX_SELECTORS, "selectors")?).map(|_| selector(r)).collect()
}

fn selector(r: &mut Reader<'_>) -> Result<TrafficSelector, DecodeError> {
    let (start, end) = (address(r)?, address(r)?);
    let addrs = AddrRange::new(start, end).map_err(|_| DecodeError::Invalid { what: "an address range" })?;
    let protocol = if r.bool("a protocol")? { Some(r.u8("a protocol")?) } else { None };
    let ports = match (r.u16("a port")?, r.u16("a port")?) {
        // The one reversed range with a meaning (RFC 7296 §3.13.1).
        (u16::MAX, 0) => PortRange::OPAQUE,
        (start, end) => PortRange::new(start, end).map_err(|_| DecodeError::Invalid { what: "a port range" })?,
    };
    Ok(TrafficSelector { addrs, protocol, ports })
}

pub(super) fn put_sa(w: &mut Writer<'_>, sa: &SaSpec) -> Result<(), EncodeError> {
    w.u32(sa.spi.get());
    put_direction(w, sa.direction);
    w.u32(sa.slot.0);
    w.u32(sa.child.0);
    put_suite(w, sa.suite);
    let expected = sa.suite.key_len();
    if sa.key.len() != expected {
        return Err(EncodeError::KeyLength { expected, found: sa.key.len() });
    }
    w.bytes(sa.key.expose());
    put_mode(w, sa.mode);
    put_tunnel(w, &sa.tunnel);
    put_encapsulation(w, sa.encapsulation.as_ref());
    w.bool(sa.esn);
    w.u32(sa.replay_window);
    put_selectors(w, &sa.local_ts)?;
    put_selectors(w, &sa.remote_ts)?;
    let l = &sa.lifetime;
    let amounts = [l.soft_bytes, l.hard_bytes, l.soft_packets, l.hard_packets];
    let times = [l.soft_seconds, l.hard_seconds, l.soft_idle, l.hard_idle];
    for limit in amounts.into_iter().chain(times) {
        w.u64(limit);
    }
    put_handling(w, &sa.handling);
    w.bool(sa.bundle.is_some());
    if let Some(bundle) = sa.bundle {
        w.u32(bundle.0);
    }
    put_interface(w, sa.interface);
    Ok(())
}

pub(super) fn sa(r: &mut Reader<'_>) -> Result<SaSpec, DecodeError> {
    let (spi, direction, slot, child_of, suite) = (spi(r)?, direction(r)?, slot(r)?, child(r)?, suite(r)?);
    // The suite decides the length, so that no other can be said.
    let key = SecretKey::from(r.take(suite.key_len(), "a key")?);
    Ok(SaSpec {
        spi,
        direction,
        slot,
        child: child_of,
        suite,
        key,
        mode: mode(r)?,
        tunnel: tunnel(r)?,
        encapsulation: encapsulation(r)?,
        esn: r.bool("esn")?,
        replay_window: r.u32("a replay window")?,
        local_ts: selectors(r)?,
        remote_ts: selectors(r)?,
        lifetime: Lifetime {
            soft_bytes: r.u64("a lifetime")?,
            hard_bytes: r.u64("a lifetime")?,
            soft_packets: r.u64("a lifetime")?,
            hard_packets: r.u64("a lifetime")?,
            soft_seconds: r.u64("a lifetime")?,
            hard_seconds: r.u64("a lifetime")?,
            soft_idle: r.u64("a lifetime")?,
            hard_idle: r.u64("a lifetime")?,
        },
        handling: handling(r)?,
        bundle: if r.bool("a bundle")? { Some(child(r)?) } else { None },
        interface: interface(r)?,
    })
}

pub(super) fn put_policy(w: &mut Writer<'_>, policy: &Policy) -> Result<(), EncodeError> {
    w.u32(policy.id.0);
    w.u8(match policy.direction {
        PolicyDirection::Outbound => 1,
        PolicyDirection::Inbound => 2,
    });
    w.u32(policy.priority);
    put_selectors(w, &policy.local)?;
    put_selectors(w, &policy.remote)?;
    match policy.action {
        Action::Protect { child, trap } => {
            w.u8(1);
            w.u32(child.0);
            w.bool(trap);
        }
        Action::Bypass => w.u8(2),
        Action::Discard => w.u8(3),
    }
    put_interface(w, policy.interface);
    put_pfp(w, policy.pfp);
    Ok(())
}

pub(super) fn policy(r: &mut Reader<'_>) -> Result<Policy, DecodeError> {
    let id = PolicyId(r.u32("a policy")?);
    let direction = match r.u8("a direction")? {
        1 => PolicyDirection::Outbound,
        2 => PolicyDirection::Inbound,
        value => return Err(DecodeError::UnknownTag { what: "policy direction", value }),
    };
    let priority = r.u32("a priority")?;
    let (local, remote) = (selectors(r)?, selectors(r)?);
    let action = match r.u8("an action")? {
        1 => Action::Protect { child: child(r)?, trap: r.bool("trap")? },
        2 => Action::Bypass,
        3 => Action::Discard,
        value => return Err(DecodeError::UnknownTag { what: "action", value }),
    };
    Ok(Policy { id, direction, priority, local, remote, action, interface: interface(r)?, pfp: pfp(r)? })
}

pub(super) fn put_slots(w: &mut Writer<'_>, slots: &[SlotIndex]) -> Result<(), EncodeError> {
    w.count(slots.len(), MAX_KEPT, "slots")?;
    for slot in slots {
        w.u32(slot.0);
    }
    Ok(())
}

pub(super) fn slots(r: &mut Reader<'_>) -> Result<Vec<SlotIndex>, DecodeError> {
    (0..r.count(MAX_KEPT, "slots")?).map(|_| slot(r)).collect()
}

pub(super) fn put_flow(w: &mut Writer<'_>, flow: &Flow) {
    put_address(w, flow.source);
    put_address(w, flow.destination);
    w.u8(flow.protocol);
    for port in [flow.source_port, flow.destination_port] {
        w.bool(port.is_some());
        if let Some(port) = port {
            w.u16(port);
        }
    }
}

pub(super) fn flow(r: &mut Reader<'_>) -> Result<Flow, DecodeError> {
    let (source, destination) = (address(r)?, address(r)?);
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(DecodeError::Invalid { what: "a flow between two address families" });
    }
    let protocol = r.u8("a protocol")?;
    let mut port = || if r.bool("a port")? { r.u16("a port").map(Some) } else { Ok(None) };
    Ok(Flow { source, destination, protocol, source_port: port()?, destination_port: port()? })
}
