//! Opening: ESP packets become clear packets (RFC 4303 §3.4).

use crate::buffer::Buffer;
use crate::crypto::{Crypto, Job, MAX_ICV};
use crate::ecn;
use crate::esn;
use crate::io::{BURST, Io, Origin, Punt, Tick};
use crate::packet::{Arrived, Destination, Head, Opening, Transit};
use crate::replay::Replayed;
use crate::sa::{Cold, ESP_HEAD, ICV, InboundSa};
use crate::shared::{Held, View, once_a_second};
use crate::worker::{Batch, Worker, seconds};
use arrayvec::ArrayVec;
use culvert_model::Spi;
use culvert_telemetry::{DropReason, SaCounter, WorkerCounter};
use culvert_wire::ipv4::{self, ChecksumMode};
use culvert_wire::{ipv6, protocol};
use std::net::SocketAddr;

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

impl<A: Crypto> Worker<A> {
    /// The SA of each packet by its SPI, and whether it may have come as it came (RFC 4303 §3.4.2).
    pub(crate) fn find_inbound<B: Buffer>(
        &mut self,
        packets: Batch<Arrived<B>>,
    ) -> (Batch<Opening<B>>, InboundGroups<A::Key>) {
        let (mut found, mut groups) = (Batch::new(), InboundGroups::new());
        for arrived in packets {
            let group = self.inbound_group(arrived.spi, &mut groups);
            let of_group = |at: usize| groups.get(at).and_then(|g| Some((at, g.sa.as_ref()?, g.expired)));
            let Some((group, sa, expired)) = group.and_then(of_group) else {
                self.counters.drop(DropReason::UnknownSpi);
                continue;
            };
            match admit(sa, expired, &arrived) {
                Ok((sequence, moved)) => found.push(Opening {
                    packet: arrived.packet,
                    port: arrived.port,
                    offset: arrived.offset,
                    tos: arrived.tos,
                    group,
                    sequence,
                    moved,
                    authentic: false,
                }),
                Err(reason) => self.refuse(sa, reason),
            }
        }
        (found, groups)
    }

    fn inbound_group(&self, spi: Spi, groups: &mut InboundGroups<A::Key>) -> Option<usize> {
        if let Some(at) = groups.iter().rposition(|group| group.spi == spi) {
            return Some(at);
        }
        let sa = self.shared.inbound_by_spi(spi)?;
        let expired = sa.as_ref().is_some_and(|sa| sa.hot.limits.are_reached(&sa.hot.slot));
        groups.push(InboundGroup { spi, sa, expired, packets: 0, bytes: 0 });
        Some(groups.len() - 1)
    }

    /// Sequence numbers that cannot be accepted cost no decryption (RFC 4303 §3.4.3).
    pub(crate) fn check_replay<B: Buffer>(&mut self, packets: &mut Batch<Opening<B>>, groups: &InboundGroups<A::Key>) {
        packets.retain(|opening| {
            let Some(sa) = sa_of(groups, opening) else {
                self.counters.drop(DropReason::UnknownSpi);
                return false;
            };
            match sa.hot.window.check(sa.hot.slot.replay_top(), opening.sequence) {
                Ok(()) => true,
                Err(replayed) => {
                    self.refuse(sa, of_replay(replayed));
                    false
                }
            }
        });
    }

    /// One cipher burst for all packets, whatever their SA.
    pub(crate) fn open<B: Buffer>(&mut self, packets: &mut Batch<Opening<B>>, groups: &InboundGroups<A::Key>) {
        let mut jobs: ArrayVec<Job<'_, A::Key>, BURST> = ArrayVec::new();
        let mut done: ArrayVec<&mut bool, BURST> = ArrayVec::new();
        for Opening { packet, offset, group, sequence, authentic, .. } in packets.iter_mut() {
            let Some(sa) = groups.get(*group).and_then(|group| group.sa.as_ref()) else { continue };
            let Some(data) = packet.data_mut().get_mut(usize::from(*offset)..) else { continue };
            let (sequence, esn) = (*sequence, sa.hot.esn);
            jobs.push(Job { key: sa.key.as_ref(), sequence, esn, data, icv: [0; MAX_ICV], ok: false });
            done.push(authentic);
        }
        self.aead.open_burst(&mut jobs);
        for (job, authentic) in jobs.iter().zip(done) {
            *authentic = job.ok;
        }
    }

    /// Only what is authentic moves the window (RFC 4303 §3.4.3), and the window moves before anything is sent on.
    pub(crate) fn commit_replay<B: Buffer>(&mut self, packets: &mut Batch<Opening<B>>, groups: &InboundGroups<A::Key>) {
        let mut tops: ArrayVec<u64, BURST> = groups.iter().map(|_| 0).collect();
        packets.retain(|opening| {
            let (Some(sa), Some(top)) = (sa_of(groups, opening), tops.get_mut(opening.group)) else {
                self.counters.drop(DropReason::UnknownSpi);
                return false;
            };
            if !opening.authentic {
                self.refuse(sa, DropReason::IcvFailed);
                return false;
            }
            match sa.hot.window.commit(sa.hot.slot.replay_top(), opening.sequence) {
                Ok(()) => {
                    *top = opening.sequence.max(*top);
                    true
                }
                Err(replayed) => {
                    self.refuse(sa, of_replay(replayed));
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
    ) {
        for mut opening in packets {
            let Some(sa) = sa_of(groups, &opening) else {
                self.counters.drop(DropReason::UnknownSpi);
                continue;
            };
            if let Some(remote) = opening.moved.filter(|_| once_a_second(&sa.hot.mapping_reported, view.now)) {
                // A full queue loses the report, not a packet; there will be another.
                let _ = io.to_housekeeping(Punt::NatMapping { slot: sa.cold.index, spi: sa.cold.spi, remote });
            }
            let unwrapped =
                unwrap(&mut opening, &sa.cold).and_then(|head| Ok((head, head.destination(&view.topology)?)));
            let (head, destination) = match unwrapped {
                Ok(found) => found,
                Err(reason) => {
                    self.refuse(sa, reason);
                    continue;
                }
            };
            let Opening { packet, port, group, .. } = opening;
            if let Some(group) = groups.get_mut(group) {
                group.packets += 1;
                group.bytes += packet.data().len() as u64;
            }
            match destination {
                Destination::Elsewhere => transit.push(Transit { packet, origin: Origin::Tunnel, port, head }),
                Destination::Own => self.punt(io, Punt::Host { port, origin: Origin::Tunnel, packet }),
                Destination::Group => self.counters.drop(DropReason::Multicast),
            }
        }
        self.count_opened(view.now, groups);
    }

    fn count_opened(&self, now: Tick, groups: &InboundGroups<A::Key>) {
        for group in groups.iter().filter(|group| group.packets > 0) {
            let Some(sa) = group.sa.as_ref() else { continue };
            sa.hot.slot.add(SaCounter::Packets.index(), group.packets);
            sa.hot.slot.add(SaCounter::Bytes.index(), group.bytes);
            sa.hot.slot.touch(seconds(now));
            self.counters.add(WorkerCounter::OpenedPackets, group.packets);
            self.counters.add(WorkerCounter::OpenedBytes, group.bytes);
        }
    }

    /// One drop, on the worker's count and on the SA's.
    fn refuse(&self, sa: &InboundSa<A::Key>, reason: DropReason) {
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
    }
}

fn sa_of<'a, K, B>(groups: &'a InboundGroups<K>, opening: &Opening<B>) -> Option<&'a InboundSa<K>> {
    groups.get(opening.group)?.sa.as_deref()
}

fn of_replay(replayed: Replayed) -> DropReason {
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
    if arrived.local != tunnel.local {
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
    // ESP header, IV, one word of data with the trailer, ICV.
    let len = arrived.packet.data().len().saturating_sub(usize::from(arrived.offset));
    if len < ESP_HEAD + 4 + ICV {
        return Err(DropReason::EspTruncated);
    }
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

/// Takes outer header, ESP header, trailer and ICV off; what is left is checked as any packet is.
fn unwrap<B: Buffer>(opening: &mut Opening<B>, sa: &Cold) -> Result<Head, DropReason> {
    let packet = &mut opening.packet;
    if !packet.trim_front(usize::from(opening.offset) + ESP_HEAD) || !packet.trim_back(ICV) {
        return Err(DropReason::EspTruncated);
    }
    let (next, trailer_len) = trailer(packet.data()).ok_or(DropReason::BadPadding)?;
    // RFC 4303 §2.6: not an error, and nobody else's business.
    if next == protocol::NO_NEXT_HEADER {
        return Err(DropReason::DummyPacket);
    }
    if !packet.trim_back(trailer_len) {
        return Err(DropReason::BadPadding);
    }
    let version = packet.data().first().map(|octet| octet >> 4);
    if !matches!((next, version), (protocol::IPV4, Some(4)) | (protocol::IPV6, Some(6))) {
        return Err(DropReason::BadInnerHeader);
    }
    let head = Head::parse(packet.data(), ChecksumMode::Verify).map_err(|_| DropReason::BadInnerHeader)?;
    // RFC 4303 §2.7: what follows the packet's own length hides its size from onlookers.
    let padding = packet.data().len().saturating_sub(head.len);
    if !packet.trim_back(padding) {
        return Err(DropReason::BadInnerHeader);
    }
    if !sa.delivers(&head.flow) {
        return Err(DropReason::SelectorMismatch);
    }
    let tos = ecn::inner(head.tos, opening.tos).ok_or(DropReason::CongestionMarked)?;
    if tos != head.tos {
        let packet = packet.data_mut();
        let set = if head.is_v6() { ipv6::set_traffic_class(packet, tos) } else { ipv4::set_tos(packet, tos) };
        set.ok_or(DropReason::BadInnerHeader)?;
    }
    Ok(Head { tos, ..head })
}

/// Next header, and octets of padding and trailer, where the padding is 1, 2, 3, ... (RFC 4303 §2.4).
fn trailer(data: &[u8]) -> Option<(u8, usize)> {
    let (rest, &[pad_len, next]) = data.split_last_chunk()?;
    let padding = rest.get(rest.len().checked_sub(usize::from(pad_len))?..)?;
    padding.iter().copied().eq(1..=pad_len).then_some((next, usize::from(pad_len) + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers() {
        assert_eq!(trailer(&[9, 9, 0, 4]), Some((4, 2)));
        assert_eq!(trailer(&[9, 1, 2, 2, 41]), Some((41, 4)));
        assert_eq!(trailer(&[1, 2, 3, 3, 59]), Some((59, 5)));
        for bad in [&[9u8, 9, 1, 4][..], &[9, 1, 3, 2, 4], &[9, 2, 1, 2, 4], &[1, 2, 3, 4], &[2, 255, 4], &[4], &[]] {
            assert_eq!(trailer(bad), None, "{bad:?}");
        }
        let longest: Vec<u8> = (1..=255).chain([255, 4]).collect();
        assert_eq!(trailer(&longest), Some((4, 257)));
    }
}
