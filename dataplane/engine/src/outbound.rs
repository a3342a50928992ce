//! Sealing: clear packets become ESP packets (RFC 4303 §3.3).

use crate::buffer::Buffer;
use crate::crypto::{Crypto, Job, MAX_ICV};
use crate::ecn;
use crate::io::{BURST, Io, Punt, Tick};
use crate::packet::{Head, Leaving, Sealing, Transit};
use crate::policy::Protect;
use crate::sa::{ESP_HEAD, ICV, OutboundHot, OutboundSa};
use crate::shared::{Held, View};
use crate::topology::Hop;
use crate::worker::{Batch, Worker, seconds};
use arrayvec::ArrayVec;
use culvert_model::{ChildId, Pfp};
use culvert_telemetry::{DropReason, SaCounter, WorkerCounter};
use culvert_wire::{checksum, esp, ethernet, ipv4, ipv6, protocol, udp};
use std::net::IpAddr;

/// The SAs of one burst.
pub(crate) type OutboundGroups<K> = ArrayVec<OutboundGroup<K>, BURST>;

/// One SA, for as long as the burst lasts.
pub(crate) struct OutboundGroup<K> {
    child: ChildId,
    sa: Held<OutboundSa<K>>,
    hop: Option<Hop>,
    /// Its hard lifetime is over.
    expired: bool,
    /// Packets of the burst without a number.
    wanting: u32,
    /// The number the next of them gets, and how many there are.
    next: u64,
    left: u32,
}

impl<A: Crypto> Worker<A> {
    /// The SA of each packet, or an acquire; then everything that can be refused before a number is spent on it.
    pub(crate) fn find_outbound<B: Buffer>(
        &mut self,
        view: &View,
        packets: Batch<Protect<B>>,
        io: &mut impl Io<B>,
    ) -> (Batch<Sealing<B>>, OutboundGroups<A::Key>) {
        let (mut found, mut groups) = (Batch::new(), OutboundGroups::new());
        for Protect { transit, child, trap } in packets {
            let Some(group) = self.outbound_group(view, child, &mut groups) else {
                self.counters.drop(DropReason::NoSa);
                if trap && self.shared.may_acquire(view.now, child) {
                    self.counters.add(WorkerCounter::Acquires, 1);
                    // A full queue loses the acquire, not a packet; the next packet raises another.
                    let _ = io.to_housekeeping(Punt::Acquire { child, flow: transit.head.flow, pfp: Pfp::NONE });
                }
                continue;
            };
            let Some(transit) = self.hop_taken(transit, io) else { continue };
            let Some((sa, wanting, hop, expired)) = groups.get_mut(group).and_then(OutboundGroup::parts) else {
                self.counters.drop(DropReason::NoSa);
                continue;
            };
            match admit(sa, expired, hop, &transit) {
                Ok(()) => {}
                Err(DropReason::TooBig) if transit.head.dont_fragment => {
                    let mtu = sa.hot.inner_mtu(hop.map_or(0, |hop| hop.mtu));
                    self.too_big(transit, mtu, io);
                    continue;
                }
                Err(reason) => {
                    self.counters.drop(reason);
                    sa.hot.slot.add(SaCounter::OtherDrops.index(), 1);
                    continue;
                }
            }
            *wanting += 1;
            let Transit { packet, head, .. } = transit;
            let inner_len = packet.data().len();
            found.push(Sealing { packet, head, group, sequence: 0, inner_len, sealed: false });
        }
        (found, groups)
    }

    fn outbound_group(&self, view: &View, child: ChildId, groups: &mut OutboundGroups<A::Key>) -> Option<usize> {
        if let Some(at) = groups.iter().rposition(|group| group.child == child) {
            return Some(at);
        }
        let sa = self.shared.outbound_of(child)?;
        let hop = sa.as_ref().and_then(|sa| view.topology.hop_cached(sa.cold.tunnel.remote, &sa.hot.route));
        let expired = sa.as_ref().is_some_and(|sa| sa.hot.limits.are_reached(&sa.hot.slot));
        groups.push(OutboundGroup { child, sa, hop, expired, wanting: 0, next: 0, left: 0 });
        Some(groups.len() - 1)
    }

    /// Sequence numbers: one atomic operation for each SA of the burst.
    pub(crate) fn reserve<B: Buffer>(&mut self, packets: &mut Batch<Sealing<B>>, groups: &mut OutboundGroups<A::Key>) {
        for group in groups.iter_mut() {
            if let Some(first) = group.hot().and_then(|hot| hot.slot.reserve(group.wanting)) {
                (group.next, group.left) = (first, group.wanting);
            }
        }
        packets.retain(|sealing| match groups.get_mut(sealing.group).and_then(OutboundGroup::take_number) {
            Some(sequence) => {
                sealing.sequence = sequence;
                true
            }
            None => {
                self.counters.drop(DropReason::SequenceExhausted);
                false
            }
        });
    }

    /// Trailer, ESP header, IV and outer header around each packet.
    pub(crate) fn encapsulate<B: Buffer>(&mut self, packets: &mut Batch<Sealing<B>>, groups: &OutboundGroups<A::Key>) {
        packets.retain(|sealing| {
            let hot = groups.get(sealing.group).and_then(OutboundGroup::hot);
            let wrapped = hot.and_then(|hot| wrap(&mut sealing.packet, hot, sealing.sequence, &sealing.head));
            if wrapped.is_none() {
                self.counters.drop(DropReason::NoHeadroom);
            }
            wrapped.is_some()
        });
    }

    /// One cipher burst for all packets, whatever their SA.
    pub(crate) fn seal<B: Buffer>(&mut self, packets: &mut Batch<Sealing<B>>, groups: &OutboundGroups<A::Key>) {
        let mut jobs: ArrayVec<Job<'_, A::Key>, BURST> = ArrayVec::new();
        let mut done: ArrayVec<&mut bool, BURST> = ArrayVec::new();
        for Sealing { packet, group, sequence, sealed, .. } in packets.iter_mut() {
            let Some(sa) = groups.get(*group).and_then(|group| group.sa.as_ref()) else { continue };
            let Some(data) = packet.data_mut().get_mut(sa.hot.template().len()..) else { continue };
            let (sequence, esn) = (*sequence, sa.hot.esn);
            jobs.push(Job { key: sa.key.as_ref(), sequence, esn, data, icv: [0; MAX_ICV], ok: false });
            done.push(sealed);
        }
        self.aead.seal_burst(&mut jobs);
        for (job, sealed) in jobs.iter().zip(done) {
            *sealed = job.ok;
        }
    }

    /// Counts, and hands over to transmission.
    pub(crate) fn sealed<B: Buffer>(
        &mut self,
        now: Tick,
        packets: Batch<Sealing<B>>,
        groups: &OutboundGroups<A::Key>,
        leaving: &mut Batch<Leaving<B>>,
    ) {
        let mut sums: ArrayVec<(u64, u64), BURST> = groups.iter().map(|_| (0, 0)).collect();
        for mut sealing in packets {
            let group = groups.get(sealing.group);
            let parts = group.and_then(|group| Some((group.hot()?, group.hop?))).filter(|_| sealing.sealed);
            let Some((hot, hop)) = parts else {
                self.counters.drop(DropReason::SealFailed);
                continue;
            };
            if hot.encapsulated && hot.outer_v6 {
                udp_checksum_v6(sealing.packet.data_mut());
            }
            if let Some((count, bytes)) = sums.get_mut(sealing.group) {
                *count += 1;
                *bytes += sealing.inner_len as u64;
            }
            leaving.push(Leaving { packet: sealing.packet, hop });
        }
        for (group, (count, bytes)) in groups.iter().zip(sums) {
            let Some(hot) = group.hot().filter(|_| count > 0) else { continue };
            hot.slot.add(SaCounter::Packets.index(), count);
            hot.slot.add(SaCounter::Bytes.index(), bytes);
            hot.slot.touch(seconds(now));
            self.counters.add(WorkerCounter::SealedPackets, count);
            self.counters.add(WorkerCounter::SealedBytes, bytes);
        }
    }
}

impl<K> OutboundGroup<K> {
    fn hot(&self) -> Option<&OutboundHot> {
        self.sa.as_ref().map(|sa| &sa.hot)
    }

    fn parts(&mut self) -> Option<(&OutboundSa<K>, &mut u32, Option<Hop>, bool)> {
        Some((self.sa.as_ref()?, &mut self.wanting, self.hop, self.expired))
    }

    /// Where the burst's range could not be reserved, the last numbers of the SA are handed out singly.
    fn take_number(&mut self) -> Option<u64> {
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

/// Everything an SA asks of a packet before it seals it.
fn admit<K, B: Buffer>(
    sa: &OutboundSa<K>,
    expired: bool,
    hop: Option<Hop>,
    transit: &Transit<B>,
) -> Result<(), DropReason> {
    if !sa.cold.carries(&transit.head.flow) {
        return Err(DropReason::OutboundSelectorMismatch);
    }
    if expired {
        return Err(DropReason::LifetimeExpired);
    }
    let hop = hop.ok_or(DropReason::NoRoute)?;
    if transit.packet.data().len() > sa.hot.inner_mtu(hop.mtu) {
        return Err(DropReason::TooBig);
    }
    Ok(())
}

/// `None` without room in the buffer.
fn wrap<B: Buffer>(packet: &mut B, hot: &OutboundHot, sequence: u64, head: &Head) -> Option<()> {
    let pad = pad_len(packet.data().len());
    let next = if head.is_v6() { protocol::IPV6 } else { protocol::IPV4 };
    let trailer = packet.append(usize::from(pad) + 2 + ICV)?;
    // RFC 4303 §2.4: 1, 2, 3, ..., then how many, then what was padded.
    for (octet, value) in trailer.iter_mut().zip((1..=pad).chain([pad, next])) {
        *octet = value;
    }
    let template = hot.template();
    let front = packet.prepend(template.len() + ESP_HEAD)?;
    let (outer, esp_head) = front.split_at_mut_checked(template.len())?;
    outer.copy_from_slice(template);
    let header = esp::Repr { spi: u32::from_be_bytes(hot.spi), sequence: sequence as u32 };
    esp_head.first_chunk_mut().map(|octets| *octets = header.to_bytes())?;
    let total = packet.data().len();
    if hot.outer_v6 {
        finish_v6(packet.data_mut(), hot, total, head)?
    } else {
        finish_v4(packet, hot, total, sequence, head)?
    }
    Some(())
}

/// Octets until packet, padding and the two trailer octets are a multiple of 4 (RFC 4303 §2.4).
const fn pad_len(inner: usize) -> u8 {
    (2usize.wrapping_sub(inner) & 3) as u8
}

fn finish_v4<B: Buffer>(packet: &mut B, hot: &OutboundHot, total: usize, sequence: u64, head: &Head) -> Option<()> {
    let (outer, rest) = packet.data_mut().split_first_chunk_mut::<{ ipv4::LEN }>()?;
    outer[1] = ecn::outer(head.tos);
    [outer[2], outer[3]] = u16::try_from(total).ok()?.to_be_bytes();
    // RFC 4301 §8.1: DF is the inner one. RFC 6864 §4.1: without it the identification must not repeat soon.
    if head.dont_fragment {
        [outer[6], outer[7]] = [0x40, 0];
    } else {
        [outer[4], outer[5]] = (sequence as u16).to_be_bytes();
    }
    if hot.encapsulated {
        set_udp_length(rest, total.checked_sub(ipv4::LEN)?)?;
    }
    if !packet.request_ipv4_checksum(ethernet::LEN as u16, ipv4::LEN as u16) {
        let outer = packet.data_mut().first_chunk_mut::<{ ipv4::LEN }>()?;
        [outer[10], outer[11]] = checksum::of(outer).to_be_bytes();
    }
    Some(())
}

fn finish_v6(packet: &mut [u8], hot: &OutboundHot, total: usize, head: &Head) -> Option<()> {
    let payload = total.checked_sub(ipv6::LEN)?;
    ipv6::set_traffic_class(packet, ecn::outer(head.tos))?;
    let (outer, rest) = packet.split_first_chunk_mut::<{ ipv6::LEN }>()?;
    [outer[4], outer[5]] = u16::try_from(payload).ok()?.to_be_bytes();
    if hot.encapsulated {
        set_udp_length(rest, payload)?;
    }
    Some(())
}

fn set_udp_length(header: &mut [u8], length: usize) -> Option<()> {
    let header = header.first_chunk_mut::<{ udp::LEN }>()?;
    [header[4], header[5]] = u16::try_from(length).ok()?.to_be_bytes();
    Some(())
}

/// RFC 8200 §8.1: UDP over IPv6 needs its checksum; over IPv4 it is sent as zero (RFC 3948 §2.1).
fn udp_checksum_v6(packet: &mut [u8]) -> Option<()> {
    let (header, _) = ipv6::Header::parse(packet).ok()?;
    let (source, destination) = (IpAddr::V6(header.source()), IpAddr::V6(header.destination()));
    let (_, datagram) = packet.split_at_mut_checked(ipv6::LEN)?;
    let sum = checksum::Sum::pseudo(source, destination, protocol::UDP, datagram.len())?.add_bytes(datagram);
    let header = datagram.first_chunk_mut::<{ udp::LEN }>()?;
    [header[6], header[7]] = sum.finish_udp().to_be_bytes();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_fills_words() {
        for len in 0..64usize {
            let pad = usize::from(pad_len(len));
            assert!(pad < 4 && (len + pad + 2).is_multiple_of(4), "{len}: {pad}");
        }
    }
}
