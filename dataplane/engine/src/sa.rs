//! A security association as workers see it: what every packet touches apart from what few do.

use crate::fast::key::FlowKey;
use crate::io::Tick;
use crate::replay::ReplayWindow;
use crate::selectors::{Fit, fit};
use core::mem::size_of;
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use culvert_link::{SaSlot, SlotRef};
use culvert_model::{
    ChildId, Direction, Encapsulation, Flow, Handling, InterfaceId, IpsecProtocol, Lifetime, MssClamp, SaMode, SaSpec,
    SlotIndex, Spi, Suite, Tfc, TrafficSelector, Tunnel,
};
use culvert_telemetry::SaCounter;
use culvert_wire::nat_traversal::NAT_TRAVERSAL_PORT;
use culvert_wire::{Fragmentation, ah, esp, ipv4, ipv6, protocol, udp};
use std::net::IpAddr;
use std::sync::Arc;

/// Nanoseconds.
pub(crate) const SECOND: Tick = 1_000_000_000;
/// Longest outer header: IPv6 and UDP.
pub(crate) const MAX_TEMPLATE: usize = ipv6::LEN + udp::LEN;

/// What an SA puts around a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub protocol: IpsecProtocol,
    pub mode: SaMode,
    /// ESP: octets of header and IV. AH: of the whole header over IPv4.
    pub head: u8,
    /// ESP: octets of ICV. AH: of the ICV field without padding.
    pub icv: u8,
    /// ESP: payload, padding and the two trailer octets are a multiple of this.
    pub alignment: u8,
}

impl Shape {
    pub fn of(suite: Suite, mode: SaMode) -> Self {
        let (head, icv) = match suite.protocol() {
            IpsecProtocol::Esp => (esp::LEN + suite.iv_len(), suite.icv_len()),
            IpsecProtocol::Ah => (ah::LEN + ah::icv_field_len(suite.icv_field(), false), suite.icv_field()),
        };
        Self { protocol: suite.protocol(), mode, head: head as u8, icv: icv as u8, alignment: suite.alignment() as u8 }
    }

    /// Octets that AH's header has in a packet of this family, whose length is padded (RFC 4302 §3.3.3.2.1).
    pub fn ah_len(self, is_v6: bool) -> usize {
        ah::LEN + ah::icv_field_len(usize::from(self.icv), is_v6)
    }

    fn is_plain(self) -> bool {
        self.is_tunnel() && self.protocol == IpsecProtocol::Esp
    }

    pub fn is_tunnel(self) -> bool {
        self.mode == SaMode::Tunnel
    }

    /// The most octets that can be protected in `room` octets behind the outer headers.
    pub fn largest(self, room: usize, outer_v6: bool) -> usize {
        match self.protocol {
            IpsecProtocol::Ah => room.saturating_sub(self.ah_len(outer_v6)),
            IpsecProtocol::Esp => {
                let room = room.saturating_sub(usize::from(self.head) + usize::from(self.icv));
                // RFC 4303 §2.4: payload, padding and two trailer octets are a multiple.
                (room / usize::from(self.alignment) * usize::from(self.alignment)).saturating_sub(2)
            }
        }
    }
}

/// An SA we seal with.
pub(crate) struct OutboundSa<K> {
    pub hot: OutboundHot,
    pub key: Arc<K>,
    /// When a drop was last told of.
    pub audited: AtomicU64,
    pub cold: Cold,
}

/// All that sealing a packet needs, but the key.
#[repr(C, align(64))]
pub(crate) struct OutboundHot {
    pub slot: SlotRef,
    /// No other SA of this process has it, and no other form of this one.
    pub id: u64,
    pub limits: HardLimits,
    /// [`crate::topology::Topology::hop_cached`].
    pub route: AtomicU64,
    /// What the path was found to carry, octets of IP packet; 0 where nothing is known.
    path_mtu: AtomicU16,
    pub spi: [u8; 4],
    template: [u8; MAX_TEMPLATE],
    template_len: u8,
    pub shape: Shape,
    pub esn: bool,
    pub encapsulated: bool,
    pub outer_v6: bool,
    /// Another SA's headers come around its own.
    pub bundled: bool,
    /// ESP in tunnel mode with nothing around it and no padding of its own: the fast path may seal with it.
    pub plain: bool,
    pub handling: Handling,
}

const _: () = assert!(size_of::<OutboundHot>() == 256);

/// An SA we open with.
pub(crate) struct InboundSa<K> {
    pub hot: InboundHot,
    pub key: Arc<K>,
    /// When a drop was last told of.
    pub audited: AtomicU64,
    pub cold: Cold,
}

/// All that the replay check and opening need, but the key.
#[repr(C, align(64))]
pub(crate) struct InboundHot {
    pub slot: SlotRef,
    /// As of [`OutboundHot`].
    pub id: u64,
    /// What its packets look like from outside, where the fast path may open them: ESP in tunnel mode, not in a bundle.
    pub outer: Option<FlowKey>,
    pub limits: HardLimits,
    /// Shared by every form the SA takes in its life: a number accepted once stays accepted.
    pub window: Arc<ReplayWindow>,
    /// When a changed peer address was last reported.
    pub mapping_reported: AtomicU64,
    /// For guessing the high half of sequence numbers; the window checks by itself.
    pub window_size: u32,
    pub spi: [u8; 4],
    pub shape: Shape,
    pub esn: bool,
    pub dscp_inbound: bool,
    pub mss_clamp: MssClamp,
}

const _: () = assert!(size_of::<InboundHot>() == 192);

/// What selectors and control ask for.
#[derive(Clone)]
pub(crate) struct Cold {
    pub spi: Spi,
    pub index: SlotIndex,
    pub child: ChildId,
    pub direction: Direction,
    pub tunnel: Tunnel,
    pub encapsulation: Option<Encapsulation>,
    pub lifetime: Lifetime,
    pub installed: Tick,
    pub handling: Handling,
    pub bundle: Option<ChildId>,
    /// The tunnel interface it carries the packets of.
    pub interface: Option<InterfaceId>,
    pub local_ts: Vec<TrafficSelector>,
    pub remote_ts: Vec<TrafficSelector>,
}

/// Hard lifetime with "no limit" as the largest number.
#[derive(Clone, Copy)]
pub(crate) struct HardLimits {
    pub bytes: u64,
    pub packets: u64,
    /// Not at this moment or after it.
    pub until: Tick,
    /// Seconds without a packet.
    pub idle: u64,
    /// Seconds.
    pub installed: u64,
}

impl HardLimits {
    fn new(lifetime: &Lifetime, installed: Tick) -> Self {
        let limit = |value| if value == 0 { u64::MAX } else { value };
        let until = match lifetime.hard_seconds {
            0 => Tick::MAX,
            seconds => installed.saturating_add(seconds.saturating_mul(SECOND)),
        };
        Self {
            bytes: limit(lifetime.hard_bytes),
            packets: limit(lifetime.hard_packets),
            until,
            idle: limit(lifetime.hard_idle),
            installed: installed / SECOND,
        }
    }

    /// Has the SA carried all it may, or its time passed? Asked once a burst, before anything is spent on its packets;
    /// [`Self::count`] draws the line within a burst.
    pub fn are_reached(&self, slot: &SaSlot, now: Tick) -> bool {
        slot.get(SaCounter::Bytes.index()) >= self.bytes
            || slot.get(SaCounter::Packets.index()) >= self.packets
            || now >= self.until
            || (self.idle != u64::MAX && idle_seconds(slot, self.installed, now) >= self.idle)
    }

    /// Are packets or octets limited?
    pub fn are_counted(&self) -> bool {
        self.bytes != u64::MAX || self.packets != u64::MAX
    }

    /// Counts a packet of this many octets, unless the SA has carried all it may: exactly, whatever other workers send
    /// through it meanwhile. The packet that reaches the limit of octets still passes.
    #[must_use]
    pub fn count(&self, slot: &SaSlot, octets: u64) -> bool {
        if !slot.add_below(SaCounter::Packets.index(), 1, self.packets) {
            return false;
        }
        let counted = slot.add_below(SaCounter::Bytes.index(), octets, self.bytes);
        if !counted {
            slot.take_back(SaCounter::Packets.index(), 1);
        }
        counted
    }
}

/// Seconds since the SA carried a packet, or since it was installed here.
pub(crate) fn idle_seconds(slot: &SaSlot, installed: u64, now: Tick) -> u64 {
    let now = now / SECOND;
    // A time to come was written by an earlier process, whose clock was ahead.
    let used = Some(slot.last_used()).filter(|used| *used <= now).unwrap_or(0);
    now.saturating_sub(used.max(installed))
}

impl Cold {
    fn new(spec: &SaSpec, installed: Tick) -> Self {
        Self {
            spi: spec.spi,
            index: spec.slot,
            child: spec.child,
            direction: spec.direction,
            tunnel: spec.tunnel,
            encapsulation: spec.encapsulation,
            lifetime: spec.lifetime,
            installed,
            handling: spec.handling,
            bundle: spec.bundle,
            interface: spec.interface,
            local_ts: spec.local_ts.clone(),
            remote_ts: spec.remote_ts.clone(),
        }
    }

    fn moved(&self, tunnel: Tunnel, encapsulation: Option<Encapsulation>) -> Self {
        Self { tunnel, encapsulation, ..self.clone() }
    }

    /// May an outbound packet of this flow use the SA? Policies may be wider than what was negotiated.
    pub fn carries(&self, flow: &Flow, fragmentation: Fragmentation) -> Fit {
        fit(flow, fragmentation, &self.local_ts, &self.remote_ts)
    }

    /// May an inbound SA have delivered a packet of this flow (RFC 4301 §5.2)?
    pub fn delivers(&self, flow: &Flow, fragmentation: Fragmentation) -> Fit {
        fit(flow, fragmentation, &self.remote_ts, &self.local_ts)
    }
}

impl<K> OutboundSa<K> {
    /// `None` where the tunnel's addresses are of two families.
    pub fn new(spec: &SaSpec, slot: SlotRef, key: Arc<K>, now: Tick) -> Option<Self> {
        let limits = HardLimits::new(&spec.lifetime, now);
        let hot = OutboundHot::new(spec.tunnel, spec.encapsulation, slot, limits, Rules::of(spec))?;
        Some(Self { hot, key, audited: AtomicU64::new(0), cold: Cold::new(spec, now) })
    }

    /// RFC 4301 §4.1: transport mode is between the two ends themselves.
    pub fn joins(&self, flow: &Flow) -> bool {
        let ends = self.cold.tunnel;
        self.hot.shape.is_tunnel() || (flow.source, flow.destination) == (ends.local, ends.remote)
    }

    /// The same SA with other outer addresses; `None` where they are of two families.
    pub fn moved(&self, tunnel: Tunnel, encapsulation: Option<Encapsulation>) -> Option<Self> {
        let old = &self.hot;
        let rules =
            Rules { spi: old.spi, shape: old.shape, esn: old.esn, bundled: old.bundled, handling: old.handling };
        let hot = OutboundHot::new(tunnel, encapsulation, old.slot.clone(), old.limits, rules)?;
        let cold = self.cold.moved(tunnel, encapsulation);
        Some(Self { hot, key: self.key.clone(), audited: AtomicU64::new(0), cold })
    }
}

/// What stays when an SA moves.
struct Rules {
    spi: [u8; 4],
    shape: Shape,
    esn: bool,
    bundled: bool,
    handling: Handling,
}

impl Rules {
    fn of(spec: &SaSpec) -> Self {
        let shape = Shape::of(spec.suite, spec.mode);
        let (esn, bundled) = (spec.esn, spec.bundle.is_some());
        Self { spi: spec.spi.to_be_bytes(), shape, esn, bundled, handling: spec.handling }
    }
}

impl OutboundHot {
    fn new(
        tunnel: Tunnel,
        encapsulation: Option<Encapsulation>,
        slot: SlotRef,
        limits: HardLimits,
        rules: Rules,
    ) -> Option<Self> {
        let (template, template_len) = template(tunnel, encapsulation, &rules)?;
        Some(Self {
            slot,
            id: next_id(),
            limits,
            route: AtomicU64::new(0),
            path_mtu: AtomicU16::new(0),
            spi: rules.spi,
            template,
            template_len,
            shape: rules.shape,
            esn: rules.esn,
            encapsulated: encapsulation.is_some(),
            outer_v6: tunnel.remote.is_ipv6(),
            bundled: rules.bundled,
            plain: rules.shape.is_plain() && !rules.bundled && rules.handling.tfc == Tfc::Off,
            handling: rules.handling,
        })
    }

    /// Tunnel mode: the outer IP and UDP headers, but for lengths, DSCP and ECN, identification, DF, a copied TTL and flow
    /// label, and checksums.
    pub fn template(&self) -> &[u8] {
        self.template.get(..usize::from(self.template_len)).unwrap_or(&self.template)
    }

    /// [`Self::template`] into room of its length: one of four, so that each is copied by a few moves.
    #[inline]
    pub fn put_template(&self, room: &mut [u8]) -> Option<()> {
        const V4_UDP: usize = ipv4::LEN + udp::LEN;
        fn put<const LEN: usize>(room: &mut [u8], template: &[u8; MAX_TEMPLATE]) -> Option<()> {
            *room.first_chunk_mut::<LEN>()? = *template.first_chunk()?;
            Some(())
        }
        match room.len() {
            ipv4::LEN => put::<{ ipv4::LEN }>(room, &self.template),
            V4_UDP => put::<V4_UDP>(room, &self.template),
            ipv6::LEN => put::<{ ipv6::LEN }>(room, &self.template),
            _ => put::<MAX_TEMPLATE>(room, &self.template),
        }
    }

    /// The UDP header alone, where there is one.
    pub fn udp_header(&self) -> Option<&[u8]> {
        let ip_len = if self.outer_v6 { ipv6::LEN } else { ipv4::LEN };
        self.template().get(ip_len..).filter(|header| !header.is_empty())
    }

    /// What the path carries, of the `mtu` that the way out does.
    pub fn way_mtu(&self, mtu: u16) -> u16 {
        // Relaxed: a number by itself.
        match self.path_mtu.load(Ordering::Relaxed) {
            0 => mtu,
            path => mtu.min(path),
        }
    }

    /// 0: nothing is known.
    pub fn set_path_mtu(&self, mtu: u16) {
        self.path_mtu.store(mtu, Ordering::Relaxed);
    }

    /// The largest inner packet whose sealed form has `mtu` octets at most. Transport mode: with an IP header without
    /// options.
    pub fn inner_mtu(&self, mtu: usize) -> usize {
        let outer = self.template().len();
        let inner = self.shape.largest(mtu.saturating_sub(outer), self.outer_v6);
        match self.shape.mode {
            SaMode::Tunnel => inner,
            SaMode::Transport if self.outer_v6 => inner + ipv6::LEN,
            SaMode::Transport => inner + ipv4::LEN,
        }
    }
}

impl<K> InboundSa<K> {
    /// Numbers up to the slot's stored top are never accepted: they may have been before a restart.
    pub fn new(spec: &SaSpec, slot: SlotRef, key: Arc<K>, now: Tick) -> Self {
        let window = Arc::new(ReplayWindow::new(spec.replay_window, slot.replay_top()));
        let hot = InboundHot {
            limits: HardLimits::new(&spec.lifetime, now),
            window,
            mapping_reported: AtomicU64::new(0),
            window_size: spec.replay_window,
            spi: spec.spi.to_be_bytes(),
            shape: Shape::of(spec.suite, spec.mode),
            esn: spec.esn,
            dscp_inbound: spec.handling.dscp_inbound,
            mss_clamp: spec.handling.mss_clamp,
            slot,
            id: next_id(),
            outer: None,
        };
        Self { hot, key, audited: AtomicU64::new(0), cold: Cold::new(spec, now) }
    }

    /// The UDP port its packets come to, where that is not 4500.
    pub fn own_port(&self) -> Option<u16> {
        self.cold.encapsulation.map(|ports| ports.local_port).filter(|port| *port != NAT_TRAVERSAL_PORT)
    }

    /// The same SA as control states it again: what was accepted stays accepted.
    pub fn renewed(&self, spec: &SaSpec, key: Arc<K>, now: Tick) -> Self {
        let mut new = Self::new(spec, self.hot.slot.clone(), key, now);
        new.hot.window = self.hot.window.clone();
        new
    }

    /// Lets the fast path open its packets, whose outer addresses are known to be possible.
    pub fn with_fast_path(mut self) -> Self {
        if self.hot.shape.is_plain() && self.cold.bundle.is_none() {
            let Tunnel { local, remote } = self.cold.tunnel;
            let ports = self.cold.encapsulation.map(|ports| (ports.remote_port, ports.local_port));
            let protocol = if ports.is_some() { protocol::UDP } else { protocol::ESP };
            self.hot.outer = FlowKey::of(remote, local, protocol, ports);
        }
        self
    }

    /// The same SA with other outer addresses.
    pub fn moved(&self, tunnel: Tunnel, encapsulation: Option<Encapsulation>) -> Self {
        let hot = InboundHot {
            slot: self.hot.slot.clone(),
            limits: self.hot.limits,
            window: self.hot.window.clone(),
            mapping_reported: AtomicU64::new(0),
            window_size: self.hot.window_size,
            spi: self.hot.spi,
            shape: self.hot.shape,
            esn: self.hot.esn,
            dscp_inbound: self.hot.dscp_inbound,
            mss_clamp: self.hot.mss_clamp,
            id: next_id(),
            outer: None,
        };
        let cold = self.cold.moved(tunnel, encapsulation);
        Self { hot, key: self.key.clone(), audited: AtomicU64::new(0), cold }
    }
}

fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // Relaxed: nothing but the number itself is shared.
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

fn template(tunnel: Tunnel, encapsulation: Option<Encapsulation>, rules: &Rules) -> Option<([u8; MAX_TEMPLATE], u8)> {
    let next = match (encapsulation, rules.shape.protocol) {
        (Some(_), IpsecProtocol::Esp) => protocol::UDP,
        (None, IpsecProtocol::Esp) => protocol::ESP,
        (None, IpsecProtocol::Ah) => protocol::AH,
        // RFC 3948 §1: AH would not survive a NAT.
        (Some(_), IpsecProtocol::Ah) => return None,
    };
    let ttl = rules.handling.ttl.unwrap_or(0);
    let mut octets = arrayvec::ArrayVec::<u8, MAX_TEMPLATE>::new();
    match (tunnel.local, tunnel.remote) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            let header = ipv4::Repr { ttl, ..ipv4::Repr::new(local, remote, next, 0) };
            octets.try_extend_from_slice(&header.to_bytes_without_checksum()).ok()?;
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            let header = ipv6::Repr { hop_limit: ttl, ..ipv6::Repr::new(local, remote, next, 0) };
            octets.try_extend_from_slice(&header.to_bytes()).ok()?;
        }
        _ => return None,
    }
    if let Some(ports) = encapsulation {
        let header =
            udp::Repr { source_port: ports.local_port, destination_port: ports.remote_port, length: 0, checksum: 0 };
        octets.try_extend_from_slice(&header.to_bytes()).ok()?;
    }
    let len = u8::try_from(octets.len()).ok()?;
    let mut template = [0; MAX_TEMPLATE];
    template.get_mut(..octets.len())?.copy_from_slice(&octets);
    Some((template, len))
}
