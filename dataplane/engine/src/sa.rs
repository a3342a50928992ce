//! A security association as workers see it: what every packet touches apart from what few do.

use crate::replay::ReplayWindow;
use core::mem::size_of;
use core::sync::atomic::AtomicU64;
use culvert_link::{SaSlot, SlotRef};
use culvert_model::{
    ChildId, Direction, Encapsulation, Flow, Lifetime, SaSpec, SlotIndex, Spi, TrafficSelector, Tunnel,
};
use culvert_telemetry::SaCounter;
use culvert_wire::nat_traversal::NAT_TRAVERSAL_PORT;
use culvert_wire::{ipv4, ipv6, protocol, udp};
use std::net::IpAddr;
use std::sync::Arc;

/// Longest outer header: IPv6 and UDP.
pub(crate) const MAX_TEMPLATE: usize = ipv6::LEN + udp::LEN;
/// Octets of ESP header and IV (RFC 4303 §2, RFC 4106 §3).
pub(crate) const ESP_HEAD: usize = 16;
/// Octets of ICV (RFC 4106 §6).
pub(crate) const ICV: usize = 16;

/// An SA we seal with.
pub(crate) struct OutboundSa<K> {
    pub hot: OutboundHot,
    pub key: Arc<K>,
    pub cold: Cold,
}

/// All that sealing a packet needs, but the key.
#[repr(C, align(64))]
pub(crate) struct OutboundHot {
    pub slot: SlotRef,
    pub limits: HardLimits,
    /// [`crate::topology::Topology::hop_cached`].
    pub route: AtomicU64,
    pub spi: [u8; 4],
    template: [u8; MAX_TEMPLATE],
    template_len: u8,
    pub esn: bool,
    pub encapsulated: bool,
    pub outer_v6: bool,
}

const _: () = assert!(size_of::<OutboundHot>() == 128);

/// An SA we open with.
pub(crate) struct InboundSa<K> {
    pub hot: InboundHot,
    pub key: Arc<K>,
    pub cold: Cold,
}

/// All that the replay check and opening need, but the key.
#[repr(C, align(64))]
pub(crate) struct InboundHot {
    pub slot: SlotRef,
    pub limits: HardLimits,
    /// Shared by every form the SA takes in its life: a number accepted once stays accepted.
    pub window: Arc<ReplayWindow>,
    /// When a changed peer address was last reported.
    pub mapping_reported: AtomicU64,
    /// For guessing the high half of sequence numbers; the window checks by itself.
    pub window_size: u32,
    pub spi: [u8; 4],
    pub esn: bool,
}

const _: () = assert!(size_of::<InboundHot>() == 64);

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
    pub local_ts: Vec<TrafficSelector>,
    pub remote_ts: Vec<TrafficSelector>,
}

/// Hard lifetime with "no limit" as the largest number.
#[derive(Clone, Copy)]
pub(crate) struct HardLimits {
    pub bytes: u64,
    pub packets: u64,
}

impl HardLimits {
    fn new(lifetime: &Lifetime) -> Self {
        let limit = |value| if value == 0 { u64::MAX } else { value };
        Self { bytes: limit(lifetime.hard_bytes), packets: limit(lifetime.hard_packets) }
    }

    /// Has the SA carried all it may? Asked once a burst, because a burst is counted as one.
    pub fn are_reached(&self, slot: &SaSlot) -> bool {
        slot.get(SaCounter::Bytes.index()) >= self.bytes || slot.get(SaCounter::Packets.index()) >= self.packets
    }
}

impl Cold {
    fn new(spec: &SaSpec) -> Self {
        Self {
            spi: spec.spi,
            index: spec.slot,
            child: spec.child,
            direction: spec.direction,
            tunnel: spec.tunnel,
            encapsulation: spec.encapsulation,
            lifetime: spec.lifetime,
            local_ts: spec.local_ts.clone(),
            remote_ts: spec.remote_ts.clone(),
        }
    }

    fn moved(&self, tunnel: Tunnel, encapsulation: Option<Encapsulation>) -> Self {
        Self { tunnel, encapsulation, ..self.clone() }
    }

    /// May an outbound packet of this flow use the SA? Policies may be wider than what was negotiated.
    pub fn carries(&self, flow: &Flow) -> bool {
        flow.matches(&self.local_ts, &self.remote_ts)
    }

    /// May an inbound SA have delivered a packet of this flow (RFC 4301 §5.2)?
    pub fn delivers(&self, flow: &Flow) -> bool {
        flow.matches(&self.remote_ts, &self.local_ts)
    }
}

impl<K> OutboundSa<K> {
    /// `None` where the tunnel's addresses are of two families.
    pub fn new(spec: &SaSpec, slot: SlotRef, key: Arc<K>) -> Option<Self> {
        let (template, template_len) = template(spec.tunnel, spec.encapsulation)?;
        let hot = OutboundHot {
            slot,
            limits: HardLimits::new(&spec.lifetime),
            route: AtomicU64::new(0),
            spi: spec.spi.to_be_bytes(),
            template,
            template_len,
            esn: spec.esn,
            encapsulated: spec.encapsulation.is_some(),
            outer_v6: spec.tunnel.remote.is_ipv6(),
        };
        Some(Self { hot, key, cold: Cold::new(spec) })
    }

    /// The same SA with other outer addresses; `None` where they are of two families.
    pub fn moved(&self, tunnel: Tunnel, encapsulation: Option<Encapsulation>) -> Option<Self> {
        let (template, template_len) = template(tunnel, encapsulation)?;
        let hot = OutboundHot {
            slot: self.hot.slot.clone(),
            limits: self.hot.limits,
            route: AtomicU64::new(0),
            spi: self.hot.spi,
            template,
            template_len,
            esn: self.hot.esn,
            encapsulated: encapsulation.is_some(),
            outer_v6: tunnel.remote.is_ipv6(),
        };
        Some(Self { hot, key: self.key.clone(), cold: self.cold.moved(tunnel, encapsulation) })
    }
}

impl OutboundHot {
    /// The outer IP and UDP headers, but for lengths, DSCP and ECN, identification, DF and checksums.
    pub fn template(&self) -> &[u8] {
        self.template.get(..usize::from(self.template_len)).unwrap_or(&self.template)
    }

    /// The largest inner packet whose sealed form has `mtu` octets at most.
    pub fn inner_mtu(&self, mtu: u16) -> usize {
        let room = usize::from(mtu).saturating_sub(self.template().len() + ESP_HEAD + ICV);
        // RFC 4303 §2.4: inner packet, padding and two trailer octets are a multiple of 4.
        (room & !3).saturating_sub(2)
    }
}

impl<K> InboundSa<K> {
    /// Numbers up to the slot's stored top are never accepted: they may have been before a restart.
    pub fn new(spec: &SaSpec, slot: SlotRef, key: Arc<K>) -> Self {
        let window = Arc::new(ReplayWindow::new(spec.replay_window, slot.replay_top()));
        let hot = InboundHot {
            limits: HardLimits::new(&spec.lifetime),
            window,
            mapping_reported: AtomicU64::new(0),
            window_size: spec.replay_window,
            spi: spec.spi.to_be_bytes(),
            esn: spec.esn,
            slot,
        };
        Self { hot, key, cold: Cold::new(spec) }
    }

    /// The UDP port its packets come to, where that is not 4500.
    pub fn own_port(&self) -> Option<u16> {
        self.cold.encapsulation.map(|ports| ports.local_port).filter(|port| *port != NAT_TRAVERSAL_PORT)
    }

    /// The same SA as control states it again: what was accepted stays accepted.
    pub fn renewed(&self, spec: &SaSpec, key: Arc<K>) -> Self {
        let mut new = Self::new(spec, self.hot.slot.clone(), key);
        new.hot.window = self.hot.window.clone();
        new
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
            esn: self.hot.esn,
        };
        Self { hot, key: self.key.clone(), cold: self.cold.moved(tunnel, encapsulation) }
    }
}

fn template(tunnel: Tunnel, encapsulation: Option<Encapsulation>) -> Option<([u8; MAX_TEMPLATE], u8)> {
    let next = if encapsulation.is_some() { protocol::UDP } else { protocol::ESP };
    let mut octets = arrayvec::ArrayVec::<u8, MAX_TEMPLATE>::new();
    match (tunnel.local, tunnel.remote) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            let header = ipv4::Repr::new(local, remote, next, 0).to_bytes_without_checksum();
            octets.try_extend_from_slice(&header).ok()?;
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            octets.try_extend_from_slice(&ipv6::Repr::new(local, remote, next, 0).to_bytes()).ok()?;
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
