//! Sealing on the fast path.

use super::{Card, Step, cut_padding, hop_taken, put_ethernet, tag};
use crate::buffer::Buffer;
use crate::crypto::{Crypto, Job, MAX_ICV};
use crate::encapsulate::{finish_outer, put_esp_header, put_trailer, udp_checksum_v6};
use crate::fast::memo::Entry;
use crate::io::BURST;
use crate::outbound::{OutboundGroup, OutboundGroups};
use crate::packet::Head;
use crate::sa::OutboundSa;
use crate::selectors::Fit;
use crate::shared::View;
use crate::topology::Hop;
use crate::worker::{Batch, Worker};
use arrayvec::ArrayVec;
use culvert_model::ChildId;
use culvert_telemetry::{DropReason, SaCounter};
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{ethernet, protocol, udp};

const HINTS: usize = 64;
const NO_GROUP: u8 = u8::MAX;

/// The SAs that seal packets of the burst.
pub(super) struct Sealings<K> {
    pub groups: OutboundGroups<K>,
    /// By the low bits of the child: its group, perhaps.
    hints: [u8; HINTS],
}

impl<K> Sealings<K> {
    pub fn new() -> Self {
        Self { groups: OutboundGroups::new(), hints: [NO_GROUP; HINTS] }
    }

    pub fn are_some(&self) -> bool {
        !self.groups.is_empty()
    }
}

impl<A: Crypto> Worker<A> {
    /// Finds the SA, and whether it takes such packets; else the packet is left as it is.
    #[inline]
    pub(super) fn admit_outbound<B: Buffer>(
        &self,
        view: &View,
        card: &mut Card,
        entry: &mut Entry,
        frame: &B,
        sealings: &mut Sealings<A::Key>,
    ) {
        let child = ChildId(entry.target as u32);
        let Some(at) = self.sealing_group(view, child, sealings) else { return };
        let Some(group) = sealings.groups.get_mut(usize::from(at)) else { return };
        let Some(sa) = group.fast() else { return };
        if entry.sa != sa.hot.id {
            if !carries(sa, frame) {
                return;
            }
            entry.sa = sa.hot.id;
        }
        if card.len() > group.inner_mtu() || card.plain.inner.ttl <= 1 {
            return;
        }
        group.want();
        (card.step, card.group) = (Step::Seal, at);
    }

    #[inline]
    fn sealing_group(&self, view: &View, child: ChildId, sealings: &mut Sealings<A::Key>) -> Option<u8> {
        let Sealings { groups, hints } = sealings;
        let hint = hints.get_mut(child.0 as usize % HINTS)?;
        if groups.get(usize::from(*hint)).is_some_and(|group| group.is_of_child(child)) {
            return Some(*hint);
        }
        // Perhaps once more for the same SA: its numbers go on behind those of the first.
        groups.try_push(self.open_group(view, child)?).ok()?;
        *hint = (groups.len() - 1) as u8;
        Some(*hint)
    }

    /// Numbers for all, by one atomic operation for each SA; headers and trailers.
    pub(super) fn encapsulate_all<B: Buffer>(
        &self,
        cards: &mut Batch<Card>,
        burst: &mut Batch<B>,
        sealings: &mut Sealings<A::Key>,
    ) {
        for group in &mut sealings.groups {
            group.reserve();
        }
        for (card, frame) in cards.iter_mut().zip(burst.iter_mut()).filter(|(card, _)| card.step == Step::Seal) {
            // Without a number the packet is as it came: the general way says why.
            card.step = Step::General;
            let Some(group) = sealings.groups.get_mut(usize::from(card.group)) else { continue };
            let Some(sequence) = group.take_number() else { continue };
            let Some(way) = group.way() else { continue };
            if let Some(offset) = encapsulate(card, frame, way, sequence) {
                (card.step, card.offset, card.sequence) = (Step::Seal, offset, sequence);
            } else {
                card.step = Step::Gone;
                self.counters.drop(DropReason::NoHeadroom);
            }
        }
    }

    /// One cipher burst, whatever the SA of each packet.
    pub(super) fn seal_all<B: Buffer>(
        &mut self,
        cards: &mut Batch<Card>,
        burst: &mut Batch<B>,
        sealings: &Sealings<A::Key>,
    ) {
        let mut jobs: ArrayVec<Job<'_, A::Key>, BURST> = ArrayVec::new();
        let mut sealed: ArrayVec<&mut Step, BURST> = ArrayVec::new();
        for (card, frame) in cards.iter_mut().zip(burst.iter_mut()).filter(|(card, _)| card.step == Step::Seal) {
            let sa = sealings.groups.get(usize::from(card.group)).and_then(OutboundGroup::way).map(|way| way.0);
            let data = frame.data_mut().get_mut(usize::from(card.offset)..);
            let Some((sa, data)) = sa.zip(data) else { continue };
            let (key, sequence, esn) = (sa.key.as_ref(), card.sequence, sa.hot.esn);
            jobs.push(Job { key, sequence, esn, data, icv: [0; MAX_ICV], ok: false });
            sealed.push(&mut card.step);
        }
        self.crypto.seal_burst(&mut jobs);
        for (job, step) in jobs.iter().zip(sealed) {
            if !job.ok {
                *step = Step::Gone;
                self.counters.drop(DropReason::SealFailed);
            }
        }
    }

    /// Counts, for each SA once; what is left to be written of the headers.
    pub(super) fn finish_all<B: Buffer>(
        &self,
        view: &View,
        cards: &mut Batch<Card>,
        burst: &mut Batch<B>,
        sealings: &mut Sealings<A::Key>,
    ) {
        for (card, frame) in cards.iter_mut().zip(burst.iter_mut()).filter(|(card, _)| card.step == Step::Seal) {
            let group = sealings.groups.get_mut(usize::from(card.group));
            card.step = group.map_or(Step::Gone, |group| finish(card, frame, group, &self.counters));
        }
        self.count_sealed(view.now, &sealings.groups);
    }
}

/// RFC 4301 §5.1, as the general way asks it.
#[cold]
fn carries<K, B: Buffer>(sa: &OutboundSa<K>, frame: &B) -> bool {
    let packet = frame.data().get(ethernet::LEN..).unwrap_or_default();
    Head::parse(packet, ChecksumMode::Trusted)
        .is_ok_and(|head| sa.cold.carries(&head.flow, head.fragmentation) == Fit::Yes)
}

/// From a frame in clear to a frame with an ESP packet that is not encrypted yet. Answers where in it the ESP header is.
#[inline]
fn encapsulate<K, B: Buffer>(
    card: &Card,
    frame: &mut B,
    (sa, hop): (&OutboundSa<K>, &Hop),
    sequence: u64,
) -> Option<u8> {
    cut_padding(card, frame)?;
    let (hot, inner) = (&sa.hot, &card.plain.inner);
    hop_taken(frame.data_mut().get_mut(ethernet::LEN..)?, inner.is_v6);
    let next = if inner.is_v6 { protocol::IPV6 } else { protocol::IPV4 };
    put_trailer(frame, card.len(), hot, next)?;
    // Over the old Ethernet header.
    let grown = hot.template().len() + usize::from(hot.shape.head);
    frame.prepend(grown)?;
    let total = frame.data().len() - ethernet::LEN;
    let (header, packet) = frame.data_mut().split_first_chunk_mut()?;
    put_ethernet(header, hop, hot.outer_v6);
    let (outer, esp) = packet.split_at_mut_checked(hot.template().len())?;
    hot.put_template(outer)?;
    put_esp_header(esp, hot, sequence)?;
    finish_outer(outer, hot, total, sequence, inner)?;
    Some((ethernet::LEN + outer.len()) as u8)
}

/// Counts, and makes a frame of it.
#[inline]
fn finish<K, B: Buffer>(
    card: &Card,
    frame: &mut B,
    group: &mut OutboundGroup<K>,
    counters: &crate::counters::Counters,
) -> Step {
    let octets = card.len() as u64;
    let Some((sa, hop)) = group.way() else { return Step::Gone };
    if sa.hot.limits.are_counted() && !sa.hot.limits.count(&sa.hot.slot, octets) {
        counters.drop(DropReason::LifetimeExpired);
        sa.hot.slot.add(SaCounter::OtherDrops.index(), 1);
        return Step::Gone;
    }
    if sa.hot.encapsulated && sa.hot.outer_v6 {
        let (offset, packet) = (usize::from(card.offset), frame.data_mut().get_mut(ethernet::LEN..));
        packet.and_then(|packet| udp_checksum_v6(packet, offset.saturating_sub(ethernet::LEN + udp::LEN)));
    }
    let step = tag(frame, hop, sa.hot.outer_v6);
    group.count(octets);
    if step == Step::Gone {
        counters.drop(DropReason::NoHeadroom);
    }
    step
}
