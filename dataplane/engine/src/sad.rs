//! The writing side of the security association database: install, remove, move.

use crate::child_sas::{AllChildSas, ChildSas};
use crate::crypto::{Crypto, KeyError};
use crate::io::Tick;
use crate::packet::{Destination, destination};
use crate::retire::{Retired, Retiring};
use crate::sa::{Cold, InboundSa, OutboundSa};
use crate::shared::{Foreign, Shared};
use culvert_link::SlotRef;
use culvert_link::record::Refusal;
use culvert_model::{ChildId, Direction, Encapsulation, IpsecProtocol, SaSpec, SlotIndex, Spi, Tunnel};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Largest replay window, packets: 8 KiB of bits.
const MAX_WINDOW: u32 = 65_536;

/// What is installed, by slot. Workers see it through [`Shared`]. The handle here outlives the published one, so that a
/// worker never drops the last.
pub(crate) struct Sad<A: Crypto> {
    shared: Arc<Shared<A>>,
    entries: BTreeMap<SlotIndex, Entry<A::Key>>,
    foreign: Foreign,
    child_sas: AllChildSas<A::Key>,
}

pub(crate) struct Entry<K> {
    pub sa: Installed<K>,
    pub marks: Marks,
}

pub(crate) enum Installed<K> {
    Inbound(Arc<InboundSa<K>>),
    Outbound(Arc<OutboundSa<K>>),
}

/// What was already told of an SA.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks {
    pub soft: bool,
    pub hard: bool,
    /// The slot's limit when it was last looked at, and the sequence number then.
    pub limit_seen: Option<(u64, u64)>,
    pub low: bool,
    pub keepalive: Tick,
    /// When dummies were last sent.
    pub dummies: Tick,
}

impl<K> Installed<K> {
    pub fn cold(&self) -> &Cold {
        match self {
            Self::Inbound(sa) => &sa.cold,
            Self::Outbound(sa) => &sa.cold,
        }
    }

    pub fn slot(&self) -> &SlotRef {
        match self {
            Self::Inbound(sa) => &sa.hot.slot,
            Self::Outbound(sa) => &sa.hot.slot,
        }
    }

    /// The UDP port its packets come to, where that is not 4500.
    fn own_port(&self) -> Option<u16> {
        match self {
            Self::Inbound(sa) => sa.own_port(),
            Self::Outbound(_) => None,
        }
    }

    fn is(&self, spi: Spi, direction: Direction) -> bool {
        self.cold().spi == spi && self.cold().direction == direction
    }
}

impl<K> From<Installed<K>> for Retired<K> {
    fn from(sa: Installed<K>) -> Self {
        match sa {
            Installed::Inbound(sa) => Retired::Inbound(sa),
            Installed::Outbound(sa) => Retired::Outbound(sa),
        }
    }
}

impl<A: Crypto> Sad<A> {
    pub fn new(shared: Arc<Shared<A>>) -> Self {
        Self { shared, entries: BTreeMap::new(), foreign: Foreign::default(), child_sas: AllChildSas::default() }
    }

    /// Everything is checked before anything changes. The same SA once more (its slot, SPI and direction) renews it:
    /// sequence number, window and counters go on.
    pub fn install(&mut self, now: Tick, spec: &SaSpec, retired: &mut Retiring<A::Key>) -> Result<(), Refusal> {
        let slot = self.shared.region.slot(spec.slot).ok_or(Refusal::UnknownSlot)?;
        // Control sets the slot up before it sends the SA; anything else is a mistake that could repeat a nonce.
        if slot.spi() != Some(spec.spi) || slot.direction() != Some(spec.direction) {
            return Err(Refusal::SlotMismatch);
        }
        let old = self.entries.get(&spec.slot);
        if old.is_some_and(|old| !old.sa.is(spec.spi, spec.direction)) {
            return Err(Refusal::SlotMismatch);
        }
        check_tunnel(spec.tunnel, spec.encapsulation)?;
        check_headers(spec)?;
        // Before the key is touched: a child beyond the table is a configuration of more children than slots.
        if self.shared.outbound.len() <= spec.child.0 as usize {
            return Err(Refusal::TableFull);
        }
        let key = key_of::<A>(spec)?;
        let sa = match spec.direction {
            Direction::Inbound => self.build_inbound(now, spec, slot, key)?,
            Direction::Outbound => {
                let sa = OutboundSa::new(spec, slot, key, now).ok_or(Refusal::BadTunnel)?;
                Installed::Outbound(Arc::new(sa))
            }
        };
        let marks = self.entries.get(&spec.slot).map(|old| old.marks).unwrap_or_default();
        self.publish(&sa, retired);
        if let Installed::Outbound(sa) = &sa {
            self.bind(sa.clone());
            let all = self.child_sas.bind(sa);
            self.publish_child(sa.cold.child, Some(all), retired);
        }
        let old = self.entries.insert(spec.slot, Entry { sa, marks });
        retired.extend(old.map(|old| old.sa.into()));
        Ok(())
    }

    fn build_inbound(
        &self,
        now: Tick,
        spec: &SaSpec,
        slot: SlotRef,
        key: Arc<A::Key>,
    ) -> Result<Installed<A::Key>, Refusal> {
        if spec.replay_window > MAX_WINDOW {
            return Err(Refusal::BadWindow);
        }
        let holder = self.shared.inbound_by_spi(spec.spi);
        if holder.as_ref().and_then(|sa| sa.as_ref()).is_some_and(|sa| sa.cold.index != spec.slot) {
            return Err(Refusal::SpiInUse);
        }
        let sa = match self.entries.get(&spec.slot).map(|old| &old.sa) {
            // A window of another size would forget what was accepted while workers still use the old one.
            Some(Installed::Inbound(old)) if old.hot.window_size != spec.replay_window => {
                return Err(Refusal::BadWindow);
            }
            Some(Installed::Inbound(old)) => old.renewed(spec, key, now),
            _ => InboundSa::new(spec, slot, key, now),
        };
        Ok(self.inbound(sa))
    }

    /// Addresses of the box stay as they are, so what is possible now always is.
    fn inbound(&self, sa: InboundSa<A::Key>) -> Installed<A::Key> {
        let Tunnel { local, remote } = sa.cold.tunnel;
        let possible = destination(&self.shared.topology.load(), remote, local) == Ok(Destination::Own);
        Installed::Inbound(Arc::new(if possible { sa.with_fast_path() } else { sa }))
    }

    /// `Err` where the slot holds no such SA.
    pub fn remove(
        &mut self,
        slot: SlotIndex,
        spi: Spi,
        direction: Direction,
        retired: &mut Retiring<A::Key>,
    ) -> Result<(), Refusal> {
        if !self.entries.get(&slot).is_some_and(|entry| entry.sa.is(spi, direction)) {
            return Err(Refusal::UnknownSa);
        }
        if let Some(entry) = self.entries.remove(&slot) {
            self.withdraw(&entry.sa, retired);
            retired.push(entry.sa.into());
        }
        Ok(())
    }

    /// Removes the child's SAs that control does not know of.
    pub fn retire_orphans(&mut self, child: ChildId, keep: &[SlotIndex], retired: &mut Retiring<A::Key>) {
        let of_child = self.entries.values().map(|entry| entry.sa.cold()).filter(|cold| cold.child == child);
        let orphans: Vec<_> = of_child.filter(|cold| !keep.contains(&cold.index)).map(|cold| cold.index).collect();
        for slot in orphans {
            if let Some(entry) = self.entries.remove(&slot) {
                self.withdraw(&entry.sa, retired);
                retired.push(entry.sa.into());
            }
        }
    }

    /// The peer has moved: other outer addresses for the same SA.
    pub fn update_tunnel(
        &mut self,
        slot: SlotIndex,
        spi: Spi,
        tunnel: Tunnel,
        encapsulation: Option<Encapsulation>,
        retired: &mut Retiring<A::Key>,
    ) -> Result<(), Refusal> {
        let entry = self.entries.get(&slot).filter(|entry| entry.sa.cold().spi == spi).ok_or(Refusal::UnknownSa)?;
        check_tunnel(tunnel, encapsulation)?;
        let marks = entry.marks;
        let (sa, bound) = match &entry.sa {
            Installed::Inbound(sa) => (self.inbound(sa.moved(tunnel, encapsulation)), false),
            Installed::Outbound(sa) => {
                let moved = sa.moved(tunnel, encapsulation).ok_or(Refusal::BadTunnel)?;
                (Installed::Outbound(Arc::new(moved)), self.is_bound(sa))
            }
        };
        self.publish(&sa, retired);
        if let Installed::Outbound(sa) = &sa {
            if bound {
                self.bind(sa.clone());
            }
            let all = self.child_sas.replace(sa);
            self.publish_child(sa.cold.child, all, retired);
        }
        let old = self.entries.insert(slot, Entry { sa, marks });
        retired.extend(old.map(|old| old.sa.into()));
        Ok(())
    }

    /// The next `count` entries after `cursor`, which moves along and starts again at the end.
    pub fn some(&mut self, cursor: &mut SlotIndex, count: usize) -> Vec<&mut Entry<A::Key>> {
        let from = *cursor;
        let slice: Vec<_> = self.entries.range_mut(from..).take(count).collect();
        *cursor = match slice.last() {
            Some((last, _)) if slice.len() == count => SlotIndex(last.0.saturating_add(1)),
            _ => SlotIndex(0),
        };
        slice.into_iter().map(|(_, entry)| entry).collect()
    }

    /// All that send.
    pub fn outbound(&self) -> impl Iterator<Item = &Arc<OutboundSa<A::Key>>> {
        self.entries.values().filter_map(|entry| match &entry.sa {
            Installed::Outbound(sa) => Some(sa),
            Installed::Inbound(_) => None,
        })
    }

    pub fn outbound_in(&self, slot: SlotIndex) -> Option<&Arc<OutboundSa<A::Key>>> {
        match &self.entries.get(&slot)?.sa {
            Installed::Outbound(sa) => Some(sa),
            Installed::Inbound(_) => None,
        }
    }

    /// Is this the SA its child sends by?
    pub fn is_bound(&self, sa: &Arc<OutboundSa<A::Key>>) -> bool {
        let bound = self.shared.outbound_of(sa.cold.child);
        bound.as_ref().and_then(|bound| bound.as_ref()).is_some_and(|bound| bound.cold.index == sa.cold.index)
    }

    fn publish(&mut self, sa: &Installed<A::Key>, retired: &mut Retiring<A::Key>) {
        let Installed::Inbound(sa) = sa else { return };
        let slot = sa.cold.index;
        if let Some(place) = self.shared.inbound.get(slot.0 as usize) {
            place.store(Some(sa.clone()));
        }
        let strange = self.shared.region.slot_for_spi(sa.cold.spi) != slot;
        let new_spi = strange && self.foreign.spis.insert(sa.cold.spi, slot).is_none();
        // The former form of the SA is still in its entry.
        let old = self.entries.get(&slot).and_then(|entry| entry.sa.own_port());
        let new_port = self.count_ports(sa.own_port(), old);
        if new_spi || new_port {
            self.publish_foreign(retired);
        }
    }

    fn bind(&mut self, sa: Arc<OutboundSa<A::Key>>) {
        if let Some(place) = self.shared.outbound.get(sa.cold.child.0 as usize) {
            place.store(Some(sa));
        }
    }

    fn withdraw(&mut self, sa: &Installed<A::Key>, retired: &mut Retiring<A::Key>) {
        match sa {
            Installed::Inbound(sa) => {
                let old_spi = self.foreign.spis.remove(&sa.cold.spi).is_some();
                if self.count_ports(None, sa.own_port()) || old_spi {
                    self.publish_foreign(retired);
                }
                if let Some(place) = self.shared.inbound.get(sa.cold.index.0 as usize) {
                    place.store(None);
                }
            }
            Installed::Outbound(sa) => {
                let all = self.child_sas.withdraw(sa);
                self.publish_child(sa.cold.child, all, retired);
                if self.is_bound(sa)
                    && let Some(place) = self.shared.outbound.get(sa.cold.child.0 as usize)
                {
                    place.store(None);
                }
            }
        }
    }

    /// Before the SAs it lets go of are retired: they wait for it.
    fn publish_child(&self, child: ChildId, all: Option<Arc<ChildSas<A::Key>>>, retired: &mut Retiring<A::Key>) {
        if let Some(place) = self.shared.child_sas.get(child.0 as usize) {
            retired.extend(place.swap(all).map(Retired::ChildSas));
        }
    }

    fn publish_foreign(&self, retired: &mut Retiring<A::Key>) {
        let old = self.shared.foreign.swap(Arc::new(self.foreign.clone()));
        retired.push(Retired::Foreign(old));
    }

    /// One SA more on the one port, one less on the other. Are there others than before?
    fn count_ports(&mut self, more: Option<u16>, less: Option<u16>) -> bool {
        if more == less {
            return false;
        }
        let ports = &mut self.foreign.ports;
        let before = ports.len();
        if let Some(port) = more {
            match ports.iter_mut().find(|(known, _)| *known == port) {
                Some((_, count)) => *count += 1,
                None => ports.push((port, 1)),
            }
        }
        let grown = ports.len() != before;
        if let Some((_, count)) = less.and_then(|port| ports.iter_mut().find(|(known, _)| *known == port)) {
            *count = count.saturating_sub(1);
        }
        let before = ports.len();
        ports.retain(|(_, count)| *count > 0);
        grown || ports.len() != before
    }
}

fn key_of<A: Crypto>(spec: &SaSpec) -> Result<Arc<A::Key>, Refusal> {
    let key = A::key(spec.suite, spec.key.expose()).map_err(|error| match error {
        KeyError::Length { .. } => Refusal::BadKey,
        KeyError::Unsupported(_) => Refusal::Unsupported,
    })?;
    Ok(Arc::new(key))
}

/// What no SA can do, whatever its keys.
fn check_headers(spec: &SaSpec) -> Result<(), Refusal> {
    let ah = spec.suite.protocol() == IpsecProtocol::Ah;
    // RFC 3948 §1: AH does not survive a NAT. A bundle that is its own outer SA has no end.
    if (ah && spec.encapsulation.is_some()) || spec.bundle == Some(spec.child) {
        return Err(Refusal::BadTunnel);
    }
    Ok(())
}

fn check_tunnel(tunnel: Tunnel, encapsulation: Option<Encapsulation>) -> Result<(), Refusal> {
    let possible = |addr: IpAddr| !addr.is_unspecified() && !addr.is_multicast() && !addr.is_loopback();
    let ports = encapsulation.is_none_or(|e| e.local_port != 0 && e.remote_port != 0);
    let families = tunnel.local.is_ipv4() == tunnel.remote.is_ipv4();
    let good = families && ports && possible(tunnel.local) && possible(tunnel.remote);
    if good { Ok(()) } else { Err(Refusal::BadTunnel) }
}
