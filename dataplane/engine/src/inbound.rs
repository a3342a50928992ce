//! Opening: ESP and AH packets become clear packets (RFC 4303 §3.4, RFC 4302 §3.4).

use crate::ah::mutable::{Saved, Side, mask};
use crate::buffer::Buffer;
use crate::classify::ipsec_inside;
use crate::crypto::{Crypto, Job, MAX_ICV};
use crate::decapsulate::unwrap;
use crate::esn;
use crate::io::{BURST, Io, Origin, Punt, Purpose, Tick};
use crate::mss::clamp_packet;
use crate::packet::{Arrived, Destination, Head, Opening, Transit};
use crate::replay::Replayed;
use crate::sa::{InboundHot, InboundSa};
use crate::selectors::Fit;
use crate::shared::{Held, View, once_a_second};
use crate::transit_errors::may_be_error;
use crate::worker::{Batch, Worker, seconds};
use arrayvec::ArrayVec;
use culvert_model::{Flow, IpsecProtocol, Spi};
use culvert_telemetry::{DropReason, SaCounter, WorkerCounter};
use culvert_wire::{ah, protocol, udp};
use std::net::{IpAddr, SocketAddr};

/// The SAs of one burst.
pub(crate) type InboundGroups<K> = ArrayVec<InboundGroup<K>, BURST>;

/// One SA, for as long as the burst lasts.
pub(crate) struct InboundGroup<K> {
    spi: Spi,
    sa: Held<InboundSa<K>>,
    /// Its hard lifetime is over.
    expired: bool,
    packets: u64,
    bytes: u64,
}

impl<K> InboundGroup<K> {
    pub fn sa(&self) -> Option<&InboundSa<K>> {
        self.sa.as_deref()
    }

    /// And whether its hard lifetime is over.
    pub fn state(&self) -> Option<(&InboundSa<K>, bool)> {
        self.sa().map(|sa| (sa, self.expired))
    }

    pub fn count(&mut self, octets: u64) {
        self.packets += 1;
        self.bytes += octets;
    }
}

impl<A: Crypto> Worker<A> {
    /// Once through an SA: what comes out goes to `transit`, or is to be opened again.
    pub(crate) fn unprotect<B: Buffer>(
        &mut self,
        view: &View,
        packets: Batch<Arrived<B>>,
        transit: &mut Batch<Transit<B>>,
        io: &mut impl Io<B>,
    ) -> Batch<Arrived<B>> {
        let (mut found, mut groups) = self.find_inbound(view, packets, io);
        self.check_replay(view.now, &mut found, &groups, io);
        self.open(&mut found, &groups);
        self.verify(&mut found, &groups);
        self.commit_replay(view.now, &mut found, &groups, io);
        self.accept(view, found, &mut groups, transit, io)
    }

    /// The SA of each packet by its SPI, and whether it may have come as it came (RFC 4303 §3.4.2).
    fn find_inbound<B: Buffer>(
        &mut self,
        view: &View,
        packets: Batch<Arrived<B>>,
        io: &mut impl Io<B>,
    ) -> (Batch<Opening<B>>, InboundGroups<A::Key>) {
        let (mut found, mut groups) = (Batch::new(), InboundGroups::new());
        for arrived in packets {
            let group = self.inbound_group(view.now, arrived.spi, &mut groups);
            let of_group = |at: usize| groups.get(at).and_then(|g| Some((at, g.sa.as_ref()?, g.expired)));
            let Some((group, sa, expired)) = group.and_then(of_group) else {
                self.counters.drop(DropReason::UnknownSpi);
                self.audit_unknown(view.now, &arrived, io);
                continue;
            };
            match admit(sa, expired, &arrived) {
                Ok((sequence, moved)) => found.push(Opening {
                    packet: arrived.packet,
                    port: arrived.port,
                    offset: arrived.offset,
                    udp: if arrived.ports.is_some() { udp::LEN as u8 } else { 0 },
                    local: arrived.local,
                    remote: arrived.remote,
                    tos: arrived.tos,
                    group,
                    sequence,
                    moved,
                    authentic: false,
                }),
                Err(reason) => {
                    self.refuse(sa, reason, view.now, || outer_flow(sa, arrived.local, arrived.remote), io);
                }
            }
        }
        (found, groups)
    }

    pub(crate) fn inbound_group(&self, now: Tick, spi: Spi, groups: &mut InboundGroups<A::Key>) -> Option<usize> {
        if let Some(at) = groups.iter().rposition(|group| group.spi == spi) {
            return Some(at);
        }
        let sa = self.shared.inbound_by_spi(spi)?;
        let expired = sa.as_ref().is_some_and(|sa| sa.hot.limits.are_reached(&sa.hot.slot, now));
        groups.push(InboundGroup { spi, sa, expired, packets: 0, bytes: 0 });
        Some(groups.len() - 1)
    }

    /// Sequence numbers that cannot be accepted cost no decryption (RFC 4303 §3.4.3).
    fn check_replay<B: Buffer>(
        &mut self,
        now: Tick,
        packets: &mut Batch<Opening<B>>,
        groups: &InboundGroups<A::Key>,
        io: &mut impl Io<B>,
    ) {
        packets.retain(|opening| {
            let Some(sa) = sa_of(groups, opening) else {
                self.counters.drop(DropReason::UnknownSpi);
                return false;
            };
            match sa.hot.window.check(sa.hot.slot.replay_top(), opening.sequence) {
                Ok(()) => true,
                Err(replayed) => {
                    let flow = || outer_flow(sa, opening.local, opening.remote);
                    self.refuse(sa, of_replay(replayed), now, flow, io);
                    false
                }
            }
        });
    }

    /// One cipher burst for all ESP packets, whatever their SA.
    fn open<B: Buffer>(&mut self, packets: &mut Batch<Opening<B>>, groups: &InboundGroups<A::Key>) {
        let mut jobs: ArrayVec<Job<'_, A::Key>, BURST> = ArrayVec::new();
        let mut done: ArrayVec<&mut bool, BURST> = ArrayVec::new();
        for Opening { packet, offset, group, sequence, authentic, .. } in packets.iter_mut() {
            let sa = groups.get(*group).and_then(|group| group.sa.as_ref());
            let Some(sa) = sa.filter(|sa| sa.hot.shape.protocol == IpsecProtocol::Esp) else { continue };
            let Some(data) = packet.data_mut().get_mut(usize::from(*offset)..) else { continue };
            let (sequence, esn) = (*sequence, sa.hot.esn);
            jobs.push(Job { key: sa.key.as_ref(), sequence, esn, data, icv: [0; MAX_ICV], ok: false });
            done.push(authentic);
        }
        if jobs.is_empty() {
            return;
        }
        self.crypto.open_burst(&mut jobs);
        for (job, authentic) in jobs.iter().zip(done) {
            *authentic = job.ok;
        }
    }

    /// One burst for all AH packets: mutable fields masked, ICV compared, fields back (RFC 4302 §3.4.4).
    fn verify<B: Buffer>(&mut self, packets: &mut Batch<Opening<B>>, groups: &InboundGroups<A::Key>) {
        let ah_of =
            |opening: &Opening<B>| sa_of(groups, opening).filter(|sa| sa.hot.shape.protocol == IpsecProtocol::Ah);
        if !packets.iter().any(|opening| ah_of(opening).is_some()) {
            return;
        }
        let mut masked: ArrayVec<Option<(Saved, [u8; MAX_ICV])>, BURST> = ArrayVec::new();
        for opening in packets.iter_mut() {
            masked.push(sa_of(groups, opening).and_then(|sa| prepare_ah(opening, &sa.hot)));
        }
        let mut jobs: ArrayVec<Job<'_, A::Key>, BURST> = ArrayVec::new();
        for (opening, masked) in packets.iter_mut().zip(&masked) {
            let Some((sa, (_, icv))) = sa_of(groups, opening).zip(masked.as_ref()) else { continue };
            let (sequence, esn) = (opening.sequence, sa.hot.esn);
            let data = opening.packet.data_mut();
            jobs.push(Job { key: sa.key.as_ref(), sequence, esn, data, icv: *icv, ok: false });
        }
        self.crypto.open_burst(&mut jobs);
        let verdicts: ArrayVec<bool, BURST> = jobs.iter().map(|job| job.ok).collect();
        drop(jobs);
        let mut verdicts = verdicts.into_iter();
        for (opening, masked) in packets.iter_mut().zip(&masked) {
            let Some((saved, _)) = masked else { continue };
            let cut = sa_of(groups, opening).is_none_or(|sa| !sa.hot.esn || opening.packet.trim_back(4));
            saved.restore(opening.packet.data_mut());
            opening.authentic = verdicts.next().unwrap_or(false) && cut;
        }
    }

    /// Only what is authentic moves the window (RFC 4303 §3.4.3), and the window moves before anything is sent on.
    fn commit_replay<B: Buffer>(
        &mut self,
        now: Tick,
        packets: &mut Batch<Opening<B>>,
        groups: &InboundGroups<A::Key>,
        io: &mut impl Io<B>,
    ) {
        let mut tops: ArrayVec<u64, BURST> = groups.iter().map(|_| 0).collect();
        packets.retain(|opening| {
            let (Some(sa), Some(top)) = (sa_of(groups, opening), tops.get_mut(opening.group)) else {
                self.counters.drop(DropReason::UnknownSpi);
                return false;
            };
            let flow = || outer_flow(sa, opening.local, opening.remote);
            if !opening.authentic {
                self.refuse(sa, DropReason::IcvFailed, now, flow, io);
                return false;
            }
            match sa.hot.window.commit(sa.hot.slot.replay_top(), opening.sequence) {
                Ok(()) => {
                    *top = opening.sequence.max(*top);
                    true
                }
                Err(replayed) => {
                    self.refuse(sa, of_replay(replayed), now, flow, io);
                    false
                }
            }
        });
        for (group, top) in groups.iter().zip(tops) {
            if let Some(sa) = group.sa.as_ref().filter(|_| top > 0) {
                sa.hot.slot.advance_top(top);
            }
        }
    }

    /// Padding, inner header, selectors, congestion mark; then the packet is as if it had come in clear, but trusted.
    pub(crate) fn accept<B: Buffer>(
        &mut self,
        view: &View,
        packets: Batch<Opening<B>>,
        groups: &mut InboundGroups<A::Key>,
        transit: &mut Batch<Transit<B>>,
        io: &mut impl Io<B>,
    ) -> Batch<Arrived<B>> {
        let mut again = Batch::new();
        for mut opening in packets {
            let Some(sa) = sa_of(groups, &opening) else {
                self.counters.drop(DropReason::UnknownSpi);
                continue;
            };
            if let Some(remote) = opening.moved.filter(|_| once_a_second(&sa.hot.mapping_reported, view.now)) {
                // A full queue loses the report, not a packet; there will be another.
                let _ = io.to_housekeeping(Punt::NatMapping { slot: sa.cold.index, spi: sa.cold.spi, remote });
            }
            let outer = outer_flow(sa, opening.local, opening.remote);
            let unwrapped = unwrap(&mut opening, &sa.hot)
                .map_err(|reason| (reason, outer))
                .and_then(|head| self.fits(view, sa, &head).map_err(|reason| (reason, head.flow)).map(|to| (head, to)));
            let unwrapped = unwrapped.or_else(|(reason, flow)| match reason {
                DropReason::SelectorMismatch if may_be_error(&flow) => {
                    self.error_fits(view, sa, opening.packet.data()).map_err(|reason| (reason, flow))
                }
                _ => Err((reason, flow)),
            });
            let (head, destination) = match unwrapped {
                Ok(found) => found,
                Err((DropReason::FragmentInner, _)) => {
                    let purpose = Purpose::Selectors(sa.cold.index);
                    let Opening { packet, port, .. } = opening;
                    self.punt(io, Punt::Fragment { port, origin: Origin::Tunnel, purpose, packet });
                    continue;
                }
                Err((reason, flow)) => {
                    self.refuse(sa, reason, view.now, || flow, io);
                    continue;
                }
            };
            let octets = opening.packet.data().len() as u64;
            if sa.hot.limits.are_counted() && !sa.hot.limits.count(&sa.hot.slot, octets) {
                self.refuse(sa, DropReason::LifetimeExpired, view.now, || head.flow, io);
                continue;
            }
            let child = sa.cold.child;
            clamp_packet(&mut opening.packet, &head, sa.hot.mss_clamp, || self.inner_mtu(view, child));
            let Opening { packet, port, group, .. } = opening;
            if let Some(group) = groups.get_mut(group) {
                group.packets += 1;
                group.bytes += octets;
            }
            match destination {
                Destination::Elsewhere => transit.push(Transit { packet, origin: Origin::Tunnel, port, head }),
                Destination::Own => match ipsec_inside(view, packet, head, port, child) {
                    Ok(arrived) => again.push(arrived),
                    Err(packet) => self.punt(io, Punt::Host { port, origin: Origin::Tunnel, packet }),
                },
                Destination::Group => self.counters.drop(DropReason::Multicast),
            }
        }
        self.count_opened(view.now, groups);
        again
    }

    /// RFC 4301 §5.2 step 4: does the SA carry such packets?
    fn fits(&self, view: &View, sa: &InboundSa<A::Key>, head: &Head) -> Result<Destination, DropReason> {
        let fit = sa.cold.delivers(&head.flow, head.fragmentation);
        if fit == Fit::No {
            return Err(DropReason::SelectorMismatch);
        }
        let destination = head.destination(&view.topology)?;
        if fit == Fit::Unseen { Err(DropReason::FragmentInner) } else { Ok(destination) }
    }

    pub(crate) fn count_opened(&self, now: Tick, groups: &mut InboundGroups<A::Key>) {
        for group in groups.iter_mut().filter(|group| group.packets > 0) {
            let (packets, bytes) = (core::mem::take(&mut group.packets), core::mem::take(&mut group.bytes));
            let Some(sa) = group.sa.as_ref() else { continue };
            if !sa.hot.limits.are_counted() {
                sa.hot.slot.add(SaCounter::Packets.index(), packets);
                sa.hot.slot.add(SaCounter::Bytes.index(), bytes);
            }
            sa.hot.slot.touch(seconds(now));
            self.counters.add(WorkerCounter::OpenedPackets, packets);
            self.counters.add(WorkerCounter::OpenedBytes, bytes);
        }
    }

    /// One drop, on the worker's count and on the SA's; told once a second for each SA.
    pub(crate) fn refuse<B>(
        &self,
        sa: &InboundSa<A::Key>,
        reason: DropReason,
        now: Tick,
        flow: impl FnOnce() -> Flow,
        io: &mut impl Io<B>,
    ) {
        self.counters.drop(reason);
        let counter = match reason {
            DropReason::ReplayDuplicate | DropReason::ReplayTooOld => SaCounter::ReplayDrops,
            DropReason::IcvFailed => SaCounter::IcvFailures,
            DropReason::SelectorMismatch => SaCounter::SelectorMismatches,
            DropReason::BadPadding => SaCounter::PaddingErrors,
            // As its sender wanted.
            DropReason::DummyPacket => return,
            _ => SaCounter::OtherDrops,
        };
        sa.hot.slot.add(counter.index(), 1);
        self.audit(now, &sa.audited, reason, (Some(sa.cold.index), Some(sa.cold.spi)), flow, io);
    }

    /// RFC 4303 §3.4.2, RFC 4302 §3.4.2: "an auditable event".
    fn audit_unknown<B>(&self, now: Tick, arrived: &Arrived<B>, io: &mut impl Io<B>) {
        let flow = || flow_between(arrived.remote, arrived.local, arrived.protocol);
        self.audit(now, &self.shared.audited, DropReason::UnknownSpi, (None, Some(arrived.spi)), flow, io);
    }
}

/// The outer packet as a flow, for audits.
pub(crate) fn outer_flow<K>(sa: &InboundSa<K>, local: IpAddr, remote: IpAddr) -> Flow {
    flow_between(remote, local, sa.hot.shape.protocol)
}

pub(crate) fn flow_between(source: IpAddr, destination: IpAddr, protocol: IpsecProtocol) -> Flow {
    let protocol = match protocol {
        IpsecProtocol::Esp => protocol::ESP,
        IpsecProtocol::Ah => protocol::AH,
    };
    Flow { source, destination, protocol, source_port: None, destination_port: None }
}

/// `None`: no AH, or the headers do not allow it, or its ICV has another length. The ICV as it came.
fn prepare_ah<B: Buffer>(opening: &mut Opening<B>, hot: &InboundHot) -> Option<(Saved, [u8; MAX_ICV])> {
    if hot.shape.protocol != IpsecProtocol::Ah {
        return None;
    }
    let (offset, icv_len) = (usize::from(opening.offset), usize::from(hot.shape.icv));
    let (_, field, _) = ah::Repr::parse(opening.packet.data().get(offset..)?).ok()?;
    let mut icv = [0; MAX_ICV];
    icv.get_mut(..icv_len)?.copy_from_slice(field.get(..icv_len)?);
    let saved = mask(opening.packet.data_mut(), offset, icv_len, Side::Opening).ok()?;
    if hot.esn {
        let high = (opening.sequence >> 32) as u32;
        let Some(room) = opening.packet.append(4) else {
            saved.restore(opening.packet.data_mut());
            return None;
        };
        room.copy_from_slice(&high.to_be_bytes());
    }
    Some((saved, icv))
}

fn sa_of<'a, K, B>(groups: &'a InboundGroups<K>, opening: &Opening<B>) -> Option<&'a InboundSa<K>> {
    groups.get(opening.group)?.sa.as_deref()
}

pub(crate) fn of_replay(replayed: Replayed) -> DropReason {
    match replayed {
        Replayed::Duplicate => DropReason::ReplayDuplicate,
        Replayed::TooOld => DropReason::ReplayTooOld,
    }
}

/// May this SA receive such a packet? Its full sequence number, and its source where that is not the peer's.
fn admit<K, B: Buffer>(
    sa: &InboundSa<K>,
    expired: bool,
    arrived: &Arrived<B>,
) -> Result<(u64, Option<SocketAddr>), DropReason> {
    let tunnel = sa.cold.tunnel;
    if arrived.local != tunnel.local || arrived.protocol != sa.hot.shape.protocol {
        return Err(DropReason::WrongSpiMode);
    }
    // RFC 7296 §2.23: with NAT traversal both forms must be accepted at any time, and a NAT may move the peer.
    let moved = match (sa.cold.encapsulation, arrived.ports) {
        (Some(own), Some((local, _))) if local != own.local_port => return Err(DropReason::WrongSpiMode),
        (Some(own), Some((_, port))) if arrived.remote != tunnel.remote || port != own.remote_port => {
            Some(SocketAddr::new(arrived.remote, port))
        }
        _ if arrived.remote != tunnel.remote => return Err(DropReason::WrongSpiMode),
        _ => None,
    };
    if sa.cold.bundle.is_some_and(|outer| arrived.inside != Some(outer)) {
        return Err(DropReason::NotInBundle);
    }
    check_length(&sa.hot, arrived)?;
    if expired {
        return Err(DropReason::LifetimeExpired);
    }
    let sequence = if sa.hot.esn {
        esn::reconstruct(sa.hot.slot.replay_top(), sa.hot.window_size, arrived.low)
    } else {
        u64::from(arrived.low)
    };
    Ok((sequence, moved))
}

fn check_length<B: Buffer>(hot: &InboundHot, arrived: &Arrived<B>) -> Result<(), DropReason> {
    let packet = arrived.packet.data().get(usize::from(arrived.offset)..).unwrap_or_default();
    match hot.shape.protocol {
        IpsecProtocol::Esp => {
            // ESP header, IV, one unit of data with the trailer, ICV.
            let least = usize::from(hot.shape.head) + usize::from(hot.shape.alignment) + usize::from(hot.shape.icv);
            if packet.len() < least { Err(DropReason::EspTruncated) } else { Ok(()) }
        }
        IpsecProtocol::Ah => {
            // RFC 4302 §2.2: the ICV's length is the SA's, and so is the header's.
            let (header, _, _) = ah::Repr::parse(packet).map_err(|_| DropReason::AhHeader)?;
            let expected = hot.shape.ah_len(arrived.remote.is_ipv6());
            if header.header_len() == expected { Ok(()) } else { Err(DropReason::AhHeader) }
        }
    }
}
