//! Sealing: clear packets become ESP or AH packets (RFC 4303 §3.3, RFC 4302 §3.3).

use crate::ah::mutable::{Saved, Side, mask};
use crate::buffer::Buffer;
use crate::crypto::{Crypto, Job, MAX_ICV};
use crate::encapsulate::{Inside, may_be_cut, udp_checksum_v6, wrap};
use crate::io::{BURST, Io, Origin, PortId, Punt, Purpose, Tick};
use crate::mss::clamp_packet;
use crate::packet::{Head, Leaving, Sealing, Transit};
use crate::pmtu::LEAST_V6;
use crate::policy::Protect;
use crate::sa::{OutboundHot, OutboundSa};
use crate::selectors::Fit;
use crate::shared::{Held, View};
use crate::topology::Hop;
use crate::transit_errors::may_be_error;
use crate::worker::{Batch, MAX_LAYERS, Worker, seconds};
use arrayvec::ArrayVec;
use culvert_model::{ChildId, Flow, FragmentWhen, IpsecProtocol, Pfp, Tfc};
use culvert_telemetry::{DropReason, SaCounter, WorkerCounter};
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{ah, udp};
use std::sync::Arc;

/// The SAs of one burst.
pub(crate) type OutboundGroups<K> = ArrayVec<OutboundGroup<K>, BURST>;

/// One SA, for as long as the burst lasts.
pub(crate) struct OutboundGroup<K> {
    child: ChildId,
    /// One of several of its child.
    populated: bool,
    sa: Held<OutboundSa<K>>,
    hop: Option<Hop>,
    /// The largest packet it can seal; 0 without a way out.
    inner_mtu: usize,
    /// Its hard lifetime is over.
    expired: bool,
    /// Packets of the burst without a number.
    wanting: u32,
    /// The number the next of them gets, and how many there are.
    next: u64,
    left: u32,
    /// What was sealed.
    packets: u64,
    bytes: u64,
}

/// What became of sealed packets.
pub(crate) struct Sealed<B> {
    /// To be sealed again, by the next SA of a bundle.
    pub again: Batch<Protect<B>>,
    pub leaving: Batch<Leaving<B>>,
}

impl<A: Crypto> Worker<A> {
    /// Once through an SA. What is too large and may be fragmented goes into `oversize`.
    pub(crate) fn protect<B: Buffer>(
        &mut self,
        view: &View,
        packets: Batch<Protect<B>>,
        oversize: &mut Batch<(Protect<B>, usize)>,
        io: &mut impl Io<B>,
    ) -> Sealed<B> {
        let (mut found, mut groups) = self.find_outbound(view, packets, oversize, io);
        self.reserve(view.now, &mut found, &mut groups, io);
        self.encapsulate(&mut found, &groups);
        self.seal(&mut found, &groups);
        self.authenticate(&mut found, &groups);
        self.sealed(view.now, found, &mut groups)
    }

    /// The SA of each packet, or an acquire; then everything that can be refused before a number is spent on it.
    fn find_outbound<B: Buffer>(
        &mut self,
        view: &View,
        packets: Batch<Protect<B>>,
        oversize: &mut Batch<(Protect<B>, usize)>,
        io: &mut impl Io<B>,
    ) -> (Batch<Sealing<B>>, OutboundGroups<A::Key>) {
        let (mut found, mut groups) = (Batch::new(), OutboundGroups::new());
        for Protect { transit, child, trap, pfp, flow, settled } in packets {
            let Some(group) = self.outbound_group(view, child, populated(pfp, &flow), &mut groups) else {
                self.counters.drop(DropReason::NoSa);
                if trap && self.shared.may_acquire(view.now, child, &flow, pfp) {
                    self.counters.add(WorkerCounter::Acquires, 1);
                    // A full queue loses the acquire, not a packet; the next packet raises another.
                    let _ = io.to_housekeeping(Punt::Acquire { child, flow, pfp });
                }
                continue;
            };
            let Some((sa, group_of)) = groups.get_mut(group).and_then(OutboundGroup::parts) else {
                self.counters.drop(DropReason::NoSa);
                continue;
            };
            let admitted = if settled { Ok(()) } else { admit(sa, &transit) };
            if admitted == Err(DropReason::FragmentInner) {
                self.hold(transit, Purpose::Policy, io);
                continue;
            }
            let transit = if settled { Some(transit) } else { self.hop_taken(transit, io) };
            let Some(mut transit) = transit else { continue };
            match admitted.and_then(|()| group_of.admit(sa, &transit)) {
                Ok(()) => {}
                Err(DropReason::TooBig) => {
                    let mtu = group_of.inner_mtu;
                    let whole = Protect { transit, child, trap, pfp, flow, settled: true };
                    self.too_big_for_tunnel(whole, mtu, oversize, io);
                    continue;
                }
                Err(reason @ DropReason::OutboundSelectorMismatch) if may_be_error(&transit.head.flow) => {
                    if !self.protect_error(view, transit, reason, io) {
                        sa.hot.slot.add(SaCounter::OtherDrops.index(), 1);
                    }
                    continue;
                }
                Err(reason) => {
                    self.counters.drop(reason);
                    sa.hot.slot.add(SaCounter::OtherDrops.index(), 1);
                    continue;
                }
            }
            clamp_packet(&mut transit.packet, &transit.head, sa.hot.handling.mss_clamp, || group_of.inner_mtu);
            *group_of.wanting += 1;
            let padded_to = padded_to(&sa.hot, group_of.inner_mtu);
            found.push(sealing(transit, group, Inside::Packet, padded_to));
        }
        (found, groups)
    }

    /// Fragmented first, if it may be; else its sender is told.
    fn too_big_for_tunnel<B: Buffer>(
        &mut self,
        packet: Protect<B>,
        mtu: usize,
        oversize: &mut Batch<(Protect<B>, usize)>,
        io: &mut impl Io<B>,
    ) {
        if packet.transit.head.dont_fragment && !is_cut_by_source(&packet.transit) {
            let mtu = if packet.transit.head.is_v6() { mtu.max(usize::from(LEAST_V6)) } else { mtu };
            return self.too_big(packet.transit, mtu, io);
        }
        if let Err(refused) = oversize.try_push((packet, mtu)) {
            self.counters.drop(DropReason::TooBig);
            drop(refused);
        }
    }

    /// `flow`: by which the SA is found, where the child may have one for each value of some field.
    fn outbound_group(
        &self,
        view: &View,
        child: ChildId,
        flow: Option<&Flow>,
        groups: &mut OutboundGroups<A::Key>,
    ) -> Option<usize> {
        let populated = flow.is_some();
        let chosen = match flow {
            Some(flow) => Some(self.shared.outbound_for(child, flow)?),
            None => None,
        };
        let known = groups.iter().rposition(|group| match chosen.as_ref().and_then(|sa| sa.as_ref()) {
            Some(sa) => group.is_of(sa),
            None => group.child == child && !group.populated,
        });
        if known.is_some() {
            return known;
        }
        let sa = match chosen {
            Some(sa) => sa,
            None => self.shared.outbound_of(child)?,
        };
        groups.push(self.group_of(view, child, populated, sa));
        Some(groups.len() - 1)
    }

    fn group_of(
        &self,
        view: &View,
        child: ChildId,
        populated: bool,
        sa: Held<OutboundSa<A::Key>>,
    ) -> OutboundGroup<A::Key> {
        let (hop, mut inner_mtu) = sa.as_ref().map_or((None, 0), |sa| self.way_of(view, sa, MAX_LAYERS));
        if let Some(tunnel) = sa.as_ref().and_then(|sa| view.topology.tunnel_mtu(sa.cold.interface?)) {
            inner_mtu = inner_mtu.min(usize::from(tunnel));
        }
        let expired = sa.as_ref().is_some_and(|sa| sa.hot.limits.are_reached(&sa.hot.slot, view.now));
        let (packets, bytes) = (0, 0);
        OutboundGroup { child, populated, sa, hop, inner_mtu, expired, wanting: 0, next: 0, left: 0, packets, bytes }
    }

    /// The one SA of a child, for the fast path.
    pub(crate) fn open_group(&self, view: &View, child: ChildId) -> Option<OutboundGroup<A::Key>> {
        Some(self.group_of(view, child, false, self.shared.outbound_of(child)?))
    }

    /// The largest packet the child can send; 0 without an SA or a way.
    pub(crate) fn inner_mtu(&self, view: &View, child: ChildId) -> usize {
        let sa = self.shared.outbound_of(child);
        sa.as_ref().and_then(|sa| sa.as_ref()).map_or(0, |sa| self.way_of(view, sa, MAX_LAYERS).1)
    }

    /// The way out, and the largest packet that can be sealed for it, also through the SAs of a bundle.
    fn way_of(&self, view: &View, sa: &OutboundSa<A::Key>, layers: usize) -> (Option<Hop>, usize) {
        let Some(outer) = sa.cold.bundle else {
            let hop = view.topology.hop_cached(sa.cold.tunnel.remote, &sa.hot.route);
            let hop = hop.map(|hop| Hop { mtu: sa.hot.way_mtu(hop.mtu), ..hop });
            return (hop, hop.map_or(0, |hop| sa.hot.inner_mtu(usize::from(hop.mtu))));
        };
        let next = if layers == 0 { None } else { self.shared.outbound_of(outer) };
        let next = next.as_ref().and_then(|next| next.as_ref());
        next.map_or((None, 0), |next| {
            let (hop, mtu) = self.way_of(view, next, layers - 1);
            (hop, sa.hot.inner_mtu(mtu))
        })
    }

    /// Sequence numbers: one atomic operation for each SA of the burst.
    fn reserve<B: Buffer>(
        &mut self,
        now: Tick,
        packets: &mut Batch<Sealing<B>>,
        groups: &mut OutboundGroups<A::Key>,
        io: &mut impl Io<B>,
    ) {
        groups.iter_mut().for_each(OutboundGroup::reserve);
        packets.retain(|sealing| match groups.get_mut(sealing.group).and_then(OutboundGroup::take_number) {
            Some(sequence) => {
                sealing.sequence = sequence;
                true
            }
            None => {
                self.counters.drop(DropReason::SequenceExhausted);
                let sa = groups.get(sealing.group).and_then(|group| group.sa.as_ref());
                if let Some(sa) = sa {
                    // RFC 4303 §3.3.3, RFC 4302 §3.3.2: "an auditable event".
                    let named = (Some(sa.cold.index), Some(sa.cold.spi));
                    self.audit(now, &sa.audited, DropReason::SequenceExhausted, named, || sealing.head.flow, io);
                }
                false
            }
        });
    }

    /// Headers and trailer around each packet.
    fn encapsulate<B: Buffer>(&mut self, packets: &mut Batch<Sealing<B>>, groups: &OutboundGroups<A::Key>) {
        packets.retain(|sealing| {
            let Some(hot) = groups.get(sealing.group).and_then(OutboundGroup::hot) else {
                self.counters.drop(DropReason::NoSa);
                return false;
            };
            let Sealing { packet, sequence, head, inside, padded_to, .. } = sealing;
            match wrap(packet, hot, *sequence, &head.inner(), *inside, usize::from(*padded_to)) {
                Ok(front) => {
                    sealing.front = front;
                    true
                }
                Err(reason) => {
                    self.counters.drop(reason);
                    false
                }
            }
        });
    }

    /// One cipher burst for all ESP packets, whatever their SA.
    fn seal<B: Buffer>(&mut self, packets: &mut Batch<Sealing<B>>, groups: &OutboundGroups<A::Key>) {
        let mut jobs: ArrayVec<Job<'_, A::Key>, BURST> = ArrayVec::new();
        let mut done: ArrayVec<&mut bool, BURST> = ArrayVec::new();
        for Sealing { packet, group, sequence, front, sealed, .. } in packets.iter_mut() {
            let sa = groups.get(*group).and_then(|group| group.sa.as_ref());
            let Some(sa) = sa.filter(|sa| sa.hot.shape.protocol == IpsecProtocol::Esp) else { continue };
            let Some(data) = packet.data_mut().get_mut(usize::from(*front)..) else { continue };
            let (sequence, esn) = (*sequence, sa.hot.esn);
            jobs.push(Job { key: sa.key.as_ref(), sequence, esn, data, icv: [0; MAX_ICV], ok: false });
            done.push(sealed);
        }
        if jobs.is_empty() {
            return;
        }
        self.crypto.seal_burst(&mut jobs);
        for (job, sealed) in jobs.iter().zip(done) {
            *sealed = job.ok;
        }
    }

    /// One burst for all AH packets: mutable fields masked, ICV computed, fields back (RFC 4302 §3.3.3).
    fn authenticate<B: Buffer>(&mut self, packets: &mut Batch<Sealing<B>>, groups: &OutboundGroups<A::Key>) {
        let is_ah = |sealing: &Sealing<B>| {
            let hot = groups.get(sealing.group).and_then(OutboundGroup::hot);
            hot.filter(|hot| hot.shape.protocol == IpsecProtocol::Ah).is_some()
        };
        if !packets.iter().any(is_ah) {
            return;
        }
        let mut masked: ArrayVec<Option<Saved>, BURST> = ArrayVec::new();
        for sealing in packets.iter_mut() {
            let hot = groups.get(sealing.group).and_then(OutboundGroup::hot);
            let hot = hot.filter(|hot| hot.shape.protocol == IpsecProtocol::Ah);
            masked.push(hot.and_then(|hot| prepare_ah(sealing, hot)));
        }
        let mut jobs: ArrayVec<Job<'_, A::Key>, BURST> = ArrayVec::new();
        for (sealing, saved) in packets.iter_mut().zip(&masked) {
            let sa = groups.get(sealing.group).and_then(|group| group.sa.as_ref());
            let Some(sa) = sa.filter(|_| saved.is_some()) else { continue };
            let (sequence, esn) = (sealing.sequence, sa.hot.esn);
            let data = sealing.packet.data_mut();
            jobs.push(Job { key: sa.key.as_ref(), sequence, esn, data, icv: [0; MAX_ICV], ok: false });
        }
        self.crypto.seal_burst(&mut jobs);
        let icvs: ArrayVec<Option<[u8; MAX_ICV]>, BURST> = jobs.iter().map(|job| job.ok.then_some(job.icv)).collect();
        drop(jobs);
        let mut icvs = icvs.into_iter();
        for (sealing, saved) in packets.iter_mut().zip(&masked) {
            let Some((saved, icv)) = saved.as_ref().and_then(|saved| Some((saved, icvs.next()?))) else { continue };
            let hot = groups.get(sealing.group).and_then(OutboundGroup::hot);
            sealing.sealed = hot.zip(icv).is_some_and(|(hot, icv)| finish_ah(sealing, hot, saved, &icv).is_some());
        }
    }

    /// Counts, and hands over to transmission or to the next SA.
    fn sealed<B: Buffer>(
        &mut self,
        now: Tick,
        packets: Batch<Sealing<B>>,
        groups: &mut OutboundGroups<A::Key>,
    ) -> Sealed<B> {
        let mut out = Sealed { again: Batch::new(), leaving: Batch::new() };
        for mut sealing in packets {
            let Some(group) = groups.get_mut(sealing.group) else { continue };
            let Some((sa, hop)) = group.sa.as_ref().zip(group.hop).filter(|_| sealing.sealed) else {
                self.counters.drop(DropReason::SealFailed);
                continue;
            };
            // Only now: what fails to be sealed does not count. What is too much has cost a number, of which none is needed.
            if sa.hot.limits.are_counted() && !sa.hot.limits.count(&sa.hot.slot, sealing.inner_len as u64) {
                self.counters.drop(DropReason::LifetimeExpired);
                sa.hot.slot.add(SaCounter::OtherDrops.index(), 1);
                continue;
            }
            if sa.hot.encapsulated && sa.hot.outer_v6 {
                udp_checksum_v6(sealing.packet.data_mut(), usize::from(sealing.front).saturating_sub(udp::LEN));
            }
            let bundle = sa.cold.bundle;
            group.count(sealing.inner_len as u64);
            match bundle {
                None => out.leaving.push(Leaving { packet: sealing.packet, hop }),
                Some(child) => match next_layer(sealing, child) {
                    Ok(protect) => out.again.push(protect),
                    Err(reason) => self.counters.drop(reason),
                },
            }
        }
        self.count_sealed(now, groups);
        out
    }

    pub(crate) fn count_sealed(&self, now: Tick, groups: &OutboundGroups<A::Key>) {
        for group in groups.iter().filter(|group| group.packets > 0) {
            let (Some(hot), count, bytes) = (group.hot(), group.packets, group.bytes) else { continue };
            if !hot.limits.are_counted() {
                hot.slot.add(SaCounter::Packets.index(), count);
                hot.slot.add(SaCounter::Bytes.index(), bytes);
            }
            hot.slot.touch(seconds(now));
            self.counters.add(WorkerCounter::SealedPackets, count);
            self.counters.add(WorkerCounter::SealedBytes, bytes);
        }
    }

    /// A packet of nobody's data through the child's SA (RFC 4303 §2.6): `packet` is what is to be inside, as long as a
    /// packet may be.
    pub(crate) fn send_dummy<B: Buffer>(&mut self, view: &View, child: ChildId, mut packet: B, io: &mut impl Io<B>) {
        let mut groups = OutboundGroups::new();
        let group = self.outbound_group(view, child, None, &mut groups);
        let Some((sa, group_of)) = group.and_then(|at| groups.get_mut(at)).and_then(OutboundGroup::parts) else {
            return;
        };
        let tunnel = sa.hot.shape.is_tunnel() && sa.hot.shape.protocol == IpsecProtocol::Esp;
        if !tunnel || group_of.expired || group_of.hop.is_none() || !fit(&mut packet, group_of.inner_mtu) {
            return;
        }
        *group_of.wanting = 1;
        let transit =
            Transit { packet, origin: Origin::Own, port: PortId(u16::MAX), head: Head::of_dummy(sa.cold.tunnel) };
        let mut packets = Batch::new();
        packets.push(sealing(transit, 0, Inside::Dummy, 0));
        self.reserve(view.now, &mut packets, &mut groups, io);
        self.encapsulate(&mut packets, &groups);
        self.seal(&mut packets, &groups);
        let sealed = self.sealed(view.now, packets, &mut groups);
        self.counters.add(WorkerCounter::DummiesSent, sealed.leaving.len() as u64);
        self.transmit(sealed.leaving, io);
    }
}

/// Octets of the largest inner packet that is sealed before it is cut: all headers and trailers around it still fit the
/// length field and the buffer. What is larger is cut before.
const LARGEST_SEALED: usize = 65_000;

/// The flow by which an SA is found, where the policy populates selectors from it.
fn populated(pfp: Pfp, flow: &Flow) -> Option<&Flow> {
    (pfp != Pfp::NONE).then_some(flow)
}

impl<K> OutboundGroup<K> {
    fn is_of(&self, sa: &Arc<OutboundSa<K>>) -> bool {
        self.sa.as_ref().is_some_and(|own| Arc::ptr_eq(own, sa))
    }

    fn hot(&self) -> Option<&OutboundHot> {
        self.sa.as_ref().map(|sa| &sa.hot)
    }

    fn parts(&mut self) -> Option<(&OutboundSa<K>, GroupOf<'_>)> {
        let Self { sa, hop, inner_mtu, expired, wanting, .. } = self;
        Some((sa.as_ref()?, GroupOf { hop: *hop, inner_mtu: *inner_mtu, expired: *expired, wanting }))
    }

    /// With a known way out, inside its lifetime, and fit for the fast path.
    pub fn fast(&self) -> Option<&OutboundSa<K>> {
        let usable = !self.expired && self.hop.as_ref().is_some_and(|hop| hop.mac.is_some());
        self.sa.as_deref().filter(|sa| usable && sa.hot.plain)
    }

    pub fn way(&self) -> Option<(&OutboundSa<K>, &Hop)> {
        Some((self.sa.as_deref()?, self.hop.as_ref()?))
    }

    pub fn is_of_child(&self, child: ChildId) -> bool {
        self.child == child
    }

    pub fn inner_mtu(&self) -> usize {
        self.inner_mtu
    }

    /// One packet more wants a number.
    pub fn want(&mut self) {
        self.wanting += 1;
    }

    /// Numbers for all that want one, by one atomic operation.
    pub fn reserve(&mut self) {
        if let Some(first) = self.hot().and_then(|hot| hot.slot.reserve(self.wanting)) {
            (self.next, self.left) = (first, self.wanting);
        }
    }

    pub fn count(&mut self, octets: u64) {
        self.packets += 1;
        self.bytes += octets;
    }

    /// Where the burst's range could not be reserved, the last numbers of the SA are handed out singly.
    pub fn take_number(&mut self) -> Option<u64> {
        let hot = self.sa.as_ref().map(|sa| &sa.hot)?;
        let number = if self.left > 0 {
            self.left -= 1;
            let number = self.next;
            self.next = number.checked_add(1).unwrap_or(number);
            number
        } else {
            hot.slot.reserve(1)?
        };
        // RFC 4303 §3.3.3. The slot's limit is shared memory; a short counter must not cycle whatever it says.
        (hot.esn || number <= u64::from(u32::MAX)).then_some(number)
    }
}

/// What a group says beside its SA.
struct GroupOf<'a> {
    hop: Option<Hop>,
    inner_mtu: usize,
    expired: bool,
    wanting: &'a mut u32,
}

impl GroupOf<'_> {
    fn admit<K, B: Buffer>(&self, sa: &OutboundSa<K>, transit: &Transit<B>) -> Result<(), DropReason> {
        if self.expired {
            return Err(DropReason::LifetimeExpired);
        }
        if self.hop.is_none() {
            return Err(DropReason::NoRoute);
        }
        let len = transit.packet.data().len();
        if len <= self.inner_mtu { Ok(()) } else { admit_large(sa, transit, len) }
    }
}

/// May a packet that does not fit be sealed whole, and what comes of it cut?
#[cold]
fn admit_large<K, B: Buffer>(sa: &OutboundSa<K>, transit: &Transit<B>, len: usize) -> Result<(), DropReason> {
    let head = &transit.head;
    let whole = !head.dont_fragment && sa.must_go_whole(&head.flow);
    let after = sa.hot.handling.fragment == FragmentWhen::After && sa.hot.shape.is_tunnel();
    let after = after && !is_cut_by_source(transit);
    let cut_later = (after || whole) && len <= LARGEST_SEALED && may_be_cut(&sa.hot, &head.inner());
    // RFC 2473 §7.1: no IPv6 sender goes below this, so the tunnel packet is cut instead.
    let must_carry = sa.hot.shape.is_tunnel() && head.is_v6() && len <= usize::from(LEAST_V6);
    match sa.cold.bundle {
        None if cut_later || must_carry => Ok(()),
        _ if whole => Err(DropReason::FragmentNotAgreed),
        _ => Err(DropReason::TooBig),
    }
}

/// RFC 8200 §5: the source of an IPv6 packet may cut it, and nobody behind it; of the box's own answers nobody is to be told.
fn is_cut_by_source<B>(transit: &Transit<B>) -> bool {
    transit.head.is_v6() && transit.origin == Origin::OwnAnswer
}

/// May this SA carry such a packet (RFC 4301 §5.1)?
fn admit<K, B: Buffer>(sa: &OutboundSa<K>, transit: &Transit<B>) -> Result<(), DropReason> {
    let flow = &transit.head.flow;
    let between_ends = sa.joins(flow);
    match sa.cold.carries(flow, transit.head.fragmentation) {
        Fit::Yes if between_ends => Ok(()),
        Fit::Unseen if between_ends => Err(DropReason::FragmentInner),
        _ => Err(DropReason::OutboundSelectorMismatch),
    }
}

fn padded_to(hot: &OutboundHot, inner_mtu: usize) -> u16 {
    let target = match hot.handling.tfc {
        Tfc::Off => return 0,
        Tfc::ToMtu => inner_mtu,
        Tfc::To(len) => inner_mtu.min(usize::from(len)),
    };
    target as u16
}

fn sealing<B: Buffer>(transit: Transit<B>, group: usize, inside: Inside, padded_to: u16) -> Sealing<B> {
    let Transit { packet, head, port, .. } = transit;
    let inner_len = packet.data().len();
    Sealing { packet, port, inside, front: 0, padded_to, head, group, sequence: 0, inner_len, sealed: false }
}

/// At most `len` octets.
fn fit<B: Buffer>(packet: &mut B, len: usize) -> bool {
    let excess = packet.data().len().saturating_sub(len);
    packet.trim_back(excess)
}

/// `None`: the headers do not allow it, or there is no room for the upper half of the sequence number.
fn prepare_ah<B: Buffer>(sealing: &mut Sealing<B>, hot: &OutboundHot) -> Option<Saved> {
    let offset = usize::from(sealing.front);
    let saved = mask(sealing.packet.data_mut(), offset, usize::from(hot.shape.icv), Side::Sealing).ok()?;
    if hot.esn {
        // RFC 4302 §2.5.1: authenticated and not sent.
        let high = (sealing.sequence >> 32) as u32;
        sealing.packet.append(4)?.copy_from_slice(&high.to_be_bytes());
    }
    Some(saved)
}

fn finish_ah<B: Buffer>(sealing: &mut Sealing<B>, hot: &OutboundHot, saved: &Saved, icv: &[u8; MAX_ICV]) -> Option<()> {
    if hot.esn && !sealing.packet.trim_back(4) {
        return None;
    }
    let packet = sealing.packet.data_mut();
    saved.restore(packet);
    let (at, len) = (usize::from(sealing.front) + ah::LEN, usize::from(hot.shape.icv));
    packet.get_mut(at..at + len)?.copy_from_slice(icv.get(..len)?);
    Some(())
}

/// A sealed packet as one to be sealed by another SA.
fn next_layer<B: Buffer>(sealing: Sealing<B>, child: ChildId) -> Result<Protect<B>, DropReason> {
    let Sealing { packet, port, .. } = sealing;
    let head = Head::parse(packet.data(), ChecksumMode::Trusted)?;
    let transit = Transit { packet, origin: Origin::Own, port, head };
    let flow = head.flow;
    Ok(Protect { transit, child, trap: false, pfp: Pfp::NONE, flow, settled: false })
}
