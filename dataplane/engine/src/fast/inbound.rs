//! Opening on the fast path.

use super::{Card, Overtaking, Step, dispatch, pair_of};
use crate::buffer::Buffer;
use crate::crypto::{Crypto, Job, MAX_ICV};
use crate::decapsulate::trailer;
use crate::ecn;
use crate::esn;
use crate::fast::key::FlowKey;
use crate::fast::memo::{Course, Memo};
use crate::fast::plain::Plain;
use crate::inbound::{InboundGroup, InboundGroups, flow_between, of_replay, outer_flow};
use crate::io::{BURST, Io, Origin, PortId};
use crate::packet::{Head, Inner, Opening};
use crate::replay::BlockOf;
use crate::sa::InboundSa;
use crate::selectors::Fit;
use crate::shared::View;
use crate::topology::Hop;
use crate::worker::{Batch, Worker};
use arrayvec::ArrayVec;
use culvert_model::{Flow, IpsecProtocol, Spi};
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::ipv4::{self, ChecksumMode};
use culvert_wire::{ethernet, ipv6, protocol, udp};

/// The SAs that open packets of the burst.
pub(super) struct Openings<K> {
    pub groups: InboundGroups<K>,
}

impl<K> Openings<K> {
    pub fn new() -> Self {
        Self { groups: InboundGroups::new() }
    }

    pub fn are_some(&self) -> bool {
        !self.groups.is_empty()
    }

    /// A decrypted frame as the general way's stage behind the replay check takes it.
    pub fn opening<B: Buffer>(&self, card: &Card, port: PortId, mut packet: B) -> Option<Opening<B>> {
        let padding = packet.data().len().checked_sub(ethernet::LEN + card.len())?;
        if !(packet.trim_front(ethernet::LEN) && packet.trim_back(padding)) {
            return None;
        }
        let group = usize::from(card.group);
        let tunnel = self.groups.get(group)?.sa()?.cold.tunnel;
        let udp = if card.plain.key.is_esp() { 0 } else { udp::LEN as u8 };
        Some(Opening {
            packet,
            port,
            offset: u16::from(card.offset),
            udp,
            tos: card.plain.inner.tos,
            local: tunnel.local,
            remote: tunnel.remote,
            group,
            sequence: card.sequence,
            moved: None,
            authentic: true,
        })
    }
}

impl<A: Crypto> Worker<A> {
    /// ESP, or UDP to a port that carries it.
    #[inline]
    pub(super) fn may_be_esp(&self, view: &View, key: &FlowKey) -> bool {
        key.is_esp() || key.protocol() == protocol::UDP && crate::classify::carries_esp(view, key.destination_port())
    }

    /// Finds the SA, and holds the packet against it as far as that goes without decrypting (RFC 4303 §3.4.2, §3.4.3). Answers
    /// the SPI where there is no SA.
    #[inline]
    pub(super) fn admit_inbound<B: Buffer>(
        &self,
        view: &View,
        card: &mut Card,
        frame: &B,
        (openings, general): (&mut Openings<A::Key>, &mut Overtaking),
        io: &mut impl Io<B>,
    ) -> Option<Spi> {
        let (offset, spi, low) = esp_header(card, frame)?;
        let Some(group) = self.inbound_group(view.now, spi, &mut openings.groups) else { return Some(spi) };
        // A peer that moves has two outer addresses and one flow inside.
        let mark = spi_mark(spi);
        if general.may_hold(mark) || self.admit(view, (card, offset), (group, low), openings, io).is_none() {
            general.add(mark);
        }
        None
    }

    /// RFC 4303 §3.4.2: ESP to the box that no SA is for.
    #[inline]
    pub(super) fn refuse_stranger<B>(&self, view: &View, card: &mut Card, spi: Option<Spi>, io: &mut impl Io<B>) {
        let Some(spi) = spi else { return };
        card.step = Step::Gone;
        self.counters.drop(DropReason::UnknownSpi);
        let flow = || {
            let (source, destination) = card.plain.key.addresses();
            flow_between(source, destination, IpsecProtocol::Esp)
        };
        self.audit(view.now, &self.shared.audited, DropReason::UnknownSpi, (None, Some(spi)), flow, io);
    }

    #[inline]
    fn admit<B>(
        &self,
        view: &View,
        (card, offset): (&mut Card, u8),
        (at, low): (usize, u32),
        openings: &Openings<A::Key>,
        io: &mut impl Io<B>,
    ) -> Option<()> {
        let (sa, expired) = openings.groups.get(at).and_then(InboundGroup::state)?;
        let shape = sa.hot.shape;
        let least = u16::from(offset) + u16::from(shape.head) + u16::from(shape.alignment) + u16::from(shape.icv);
        if expired || sa.hot.outer.as_ref() != Some(&card.plain.key) || card.plain.len < least {
            return None;
        }
        let top = sa.hot.slot.replay_top();
        let sequence = if sa.hot.esn { esn::reconstruct(top, sa.hot.window_size, low) } else { u64::from(low) };
        (card.step, card.group, card.offset, card.sequence) = (Step::Open, at as u8, offset, sequence);
        if let Err(replayed) = sa.hot.window.check(top, sequence) {
            card.step = Step::Gone;
            self.refuse(sa, of_replay(replayed), view.now, || outer_of(sa), io);
        }
        Some(())
    }

    /// One cipher burst, whatever the SA of each packet.
    pub(super) fn open_all<B: Buffer>(
        &mut self,
        view: &View,
        cards: &mut Batch<Card>,
        burst: &mut Batch<B>,
        openings: &Openings<A::Key>,
        io: &mut impl Io<B>,
    ) {
        let mut jobs: ArrayVec<Job<'_, A::Key>, BURST> = ArrayVec::new();
        let mut opened: ArrayVec<&mut Card, BURST> = ArrayVec::new();
        for (card, frame) in cards.iter_mut().zip(burst.iter_mut()).filter(|(card, _)| card.step == Step::Open) {
            let sa = openings.groups.get(usize::from(card.group)).and_then(InboundGroup::sa);
            let (start, end) = (ethernet::LEN + usize::from(card.offset), ethernet::LEN + card.len());
            let Some((sa, data)) = sa.zip(frame.data_mut().get_mut(start..end)) else { continue };
            let (key, sequence, esn) = (sa.key.as_ref(), card.sequence, sa.hot.esn);
            jobs.push(Job { key, sequence, esn, data, icv: [0; MAX_ICV], ok: false });
            opened.push(card);
        }
        self.crypto.open_burst(&mut jobs);
        for (_, card) in jobs.iter().zip(opened).filter(|(job, _)| !job.ok) {
            card.step = Step::Gone;
            if let Some(sa) = openings.groups.get(usize::from(card.group)).and_then(InboundGroup::sa) {
                self.refuse(sa, DropReason::IcvFailed, view.now, || outer_of(sa), io);
            }
        }
    }

    /// Only what is authentic moves the window, and before anything is sent on (RFC 4303 §3.4.3). Numbers that follow each
    /// other lie in one word of it and are accepted together.
    pub(super) fn commit_all<B>(
        &self,
        view: &View,
        cards: &mut Batch<Card>,
        openings: &Openings<A::Key>,
        io: &mut impl Io<B>,
    ) {
        let mut rest = cards.as_mut_slice();
        while let Some(first) = rest.iter().position(|card| card.step == Step::Open) {
            rest = rest.get_mut(first..).unwrap_or_default();
            let Some(group) = rest.first().map(|card| card.group) else { return };
            let mut numbers = BlockOf::default();
            let belongs = |card: &Card| card.step != Step::Open || card.group == group && numbers.take(card.sequence);
            let count = rest.iter().map(belongs).take_while(|belongs| *belongs).count();
            let (run, others) = rest.split_at_mut(count.max(1));
            if let Some(sa) = openings.groups.get(usize::from(group)).and_then(InboundGroup::sa) {
                self.commit_run(view, run, (sa, numbers), io);
            }
            rest = others;
        }
    }

    fn commit_run<B>(
        &self,
        view: &View,
        run: &mut [Card],
        (sa, numbers): (&InboundSa<A::Key>, BlockOf),
        io: &mut impl Io<B>,
    ) {
        let (top, mut highest) = (sa.hot.slot.replay_top(), 0);
        let together = sa.hot.window.commit_block(top, numbers).is_some();
        for card in run.iter_mut().filter(|card| card.step == Step::Open) {
            match if together { Ok(()) } else { sa.hot.window.commit(top, card.sequence) } {
                Ok(()) => highest = card.sequence.max(highest),
                Err(replayed) => {
                    card.step = Step::Gone;
                    self.refuse(sa, of_replay(replayed), view.now, || outer_of(sa), io);
                }
            }
        }
        if highest > top {
            sa.hot.slot.advance_top(highest);
        }
    }

    /// What was inside goes on: in clear, or from here by the general way.
    pub(super) fn deliver_all<B: Buffer>(
        &self,
        view: &View,
        memo: &mut Memo,
        cards: &mut Batch<Card>,
        burst: &mut Batch<B>,
        openings: &mut Openings<A::Key>,
        io: &mut impl Io<B>,
    ) {
        let (mut general, mut known) = (Overtaking::default(), 0);
        for (card, frame) in cards.iter_mut().zip(burst.iter_mut()).filter(|(card, _)| card.step == Step::Open) {
            card.step = Step::Opened;
            let Some(group) = openings.groups.get_mut(usize::from(card.group)) else { continue };
            self.deliver(view, (memo, &general, &mut known), card, (frame, group), io);
            if card.step == Step::Opened {
                general.add(pair_inside(card, frame, group));
            }
        }
        self.counters.add(WorkerCounter::FlowCacheHits, known);
        self.count_opened(view.now, &mut openings.groups);
    }

    /// From a decrypted frame to one in clear; what is not plain inside stays [`Step::Opened`], untouched.
    #[inline]
    fn deliver<B: Buffer>(
        &self,
        view: &View,
        (memo, general, known): (&mut Memo, &Overtaking, &mut u64),
        card: &mut Card,
        (frame, group): (&mut B, &mut InboundGroup<A::Key>),
        io: &mut impl Io<B>,
    ) -> Option<()> {
        let sa = group.sa()?;
        let front = ethernet::LEN + usize::from(card.offset) + usize::from(sa.hot.shape.head);
        let end = (ethernet::LEN + card.len()).checked_sub(usize::from(sa.hot.shape.icv))?;
        let (next, trailer_len) = trailer(frame.data().get(front..end)?)?;
        let packet = frame.data().get(front..end.checked_sub(trailer_len)?)?;
        let mut inner = Plain::NONE;
        inner.read(packet, false)?;
        let expected = if inner.inner.is_v6 { protocol::IPV6 } else { protocol::IPV4 };
        let tos = ecn::inner(inner.inner.tos, card.plain.inner.tos)?;
        if next != expected || sa.hot.dscp_inbound || inner.inner.ttl <= 1 {
            return None;
        }
        let key = inner.key.out_of_tunnel();
        let pair = key.pair();
        if general.may_hold(pair) {
            return None;
        }
        let hash = key.hash(pair);
        let entry = memo.get(&key, hash, view.spd.number).filter(|entry| entry.sa == sa.hot.id);
        let target = match entry.map(|entry| (entry.course(), entry.target)) {
            Some((Course::Forward, target)) if view.topology.hop_at(target).is_some() => {
                *known += 1;
                target
            }
            Some((Course::General, _)) => return None,
            _ => self.course_of_inner(view, memo, (key, hash), packet, sa)?,
        };
        let hop = view.topology.hop_at(target)?;
        if usize::from(inner.len) > usize::from(hop.mtu) {
            return None;
        }
        let octets = u64::from(inner.len);
        if sa.hot.limits.are_counted() && !sa.hot.limits.count(&sa.hot.slot, octets) {
            card.step = Step::Gone;
            self.refuse(sa, DropReason::LifetimeExpired, view.now, || outer_of(sa), io);
            return None;
        }
        card.step = unwrap(frame, (front, usize::from(inner.len)), &inner.inner, tos, hop);
        if card.step == Step::Gone {
            self.counters.drop(DropReason::NoHeadroom);
        }
        group.count(octets);
        Some(())
    }

    /// RFC 4301 §5.2 step 4, then what SPD and routes say, as the general way asks it.
    #[cold]
    fn course_of_inner(
        &self,
        view: &View,
        memo: &mut Memo,
        (key, hash): (FlowKey, u64),
        packet: &[u8],
        sa: &InboundSa<A::Key>,
    ) -> Option<u64> {
        let head = Head::parse(packet, ChecksumMode::Trusted).ok()?;
        if sa.cold.delivers(&head.flow, head.fragmentation) != Fit::Yes {
            return None;
        }
        let entry = self.find_course(view, key, packet, Origin::Tunnel, sa.hot.id)?;
        memo.put(hash, entry);
        (entry.course() == Course::Forward).then_some(entry.target)
    }
}

/// The packet inside, its congestion mark set and one taken from its TTL, as a frame.
#[inline]
fn unwrap<B: Buffer>(frame: &mut B, (front, len): (usize, usize), inner: &Inner, tos: u8, hop: &Hop) -> Step {
    // In front stays room for the Ethernet header.
    let behind = frame.data().len().saturating_sub(front + len);
    if !(frame.trim_front(front - ethernet::LEN) && frame.trim_back(behind)) {
        return Step::Gone;
    }
    if tos != inner.tos {
        let packet = frame.data_mut().get_mut(ethernet::LEN..).unwrap_or_default();
        let _ = if inner.is_v6 { ipv6::set_traffic_class(packet, tos) } else { ipv4::set_tos(packet, tos) };
    }
    dispatch(frame, hop, inner)
}

/// For [`Overtaking`].
const fn spi_mark(spi: Spi) -> u64 {
    (spi.get() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Of a decrypted packet that was not read as plain.
#[cold]
fn pair_inside<K, B: Buffer>(card: &Card, frame: &B, group: &InboundGroup<K>) -> u64 {
    let head = group.sa().map_or(0, |sa| usize::from(sa.hot.shape.head));
    pair_of(frame.data().get(ethernet::LEN + usize::from(card.offset) + head..).unwrap_or_default())
}

/// Where ESP starts in the IP packet, its SPI and the low half of its number. `None`: not plain ESP.
#[inline]
fn esp_header<B: Buffer>(card: &Card, frame: &B) -> Option<(u8, Spi, u32)> {
    let mut offset = card.plain.upper();
    let upper = frame.data().get(ethernet::LEN + offset..ethernet::LEN + card.len())?;
    let esp = if card.plain.key.is_esp() {
        upper
    } else {
        let (header, payload) = upper.split_first_chunk::<{ udp::LEN }>()?;
        // Whatever its checksum (RFC 3948 §2.1), but no padding behind it.
        if usize::from(u16::from_be_bytes([header[4], header[5]])) != upper.len() {
            return None;
        }
        offset += udp::LEN;
        payload
    };
    let (header, _) = esp.split_first_chunk::<8>()?;
    let header = u64::from_be_bytes(*header);
    // SPI 0 is IKE's marker (RFC 3948 §2.2).
    Some((offset as u8, Spi::new((header >> 32) as u32).ok()?, header as u32))
}

/// The outer packet as a flow, for audits.
fn outer_of<K>(sa: &InboundSa<K>) -> Flow {
    outer_flow(sa, sa.cold.tunnel.local, sa.cold.tunnel.remote)
}
