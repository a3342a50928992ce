//! The last stages: route, neighbour, Ethernet header.

use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::io::{Io, Punt};
use crate::packet::{Leaving, Transit};
use crate::shared::{View, is_forwarded};
use crate::topology::is_link_local;
use crate::worker::{Batch, Worker};
use culvert_telemetry::DropReason;
use culvert_wire::{EtherType, ethernet, vlan};

impl<A: Crypto> Worker<A> {
    /// Finds the way of packets that leave in clear.
    pub(crate) fn route<B: Buffer>(
        &mut self,
        view: &View,
        packets: Batch<Transit<B>>,
        leaving: &mut Batch<Leaving<B>>,
        io: &mut impl Io<B>,
    ) {
        // Neighbours in a burst are often neighbours in a stream.
        let mut last = None;
        for transit in packets {
            let Some(transit) = self.hop_taken(transit, io) else { continue };
            let destination = transit.head.flow.destination;
            let hop = match last {
                Some((known, hop)) if known == destination => hop,
                // Only the box itself speaks to link-local addresses: there where it was spoken to.
                _ if is_link_local(destination) => view.topology.hop_on(transit.port, destination),
                _ => view.topology.hop(destination),
            };
            last = Some((destination, hop)).filter(|_| !is_link_local(destination));
            match hop {
                None => self.counters.drop(DropReason::NoRoute),
                Some(hop) if transit.packet.data().len() <= usize::from(hop.mtu) || may_split(&transit) => {
                    leaving.push(Leaving { packet: transit.packet, hop });
                }
                Some(hop) => self.too_big(transit, usize::from(hop.mtu), io),
            }
        }
    }

    /// The sender may be told (RFC 1191 §4, RFC 4443 §3.2).
    pub(crate) fn too_big<B>(&mut self, transit: Transit<B>, mtu: usize, io: &mut impl Io<B>) {
        let Transit { packet, origin, port, .. } = transit;
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        self.punt(io, Punt::TooBig { port, origin, mtu, packet });
    }

    /// What is larger than its way allows goes in pieces.
    pub(crate) fn transmit<B: Buffer>(&mut self, packets: Batch<Leaving<B>>, io: &mut impl Io<B>) {
        for Leaving { mut packet, hop } in packets {
            if packet.data().len() > usize::from(hop.mtu) {
                self.send_in_pieces(packet, hop, io);
                continue;
            }
            let Some(destination) = hop.mac else {
                self.punt(io, Punt::Unresolved { port: hop.port, next_hop: hop.next_hop, packet });
                continue;
            };
            // By the packet, not the next hop: an IPv4 packet may go by an IPv6 neighbour.
            let ether_type = if is_v6(&packet) { EtherType::IPV6 } else { EtherType::IPV4 };
            let header = ethernet::Repr { destination, source: hop.source_mac, ether_type };
            match put_header(&mut packet, header, hop.vlan) {
                Some(()) => io.transmit(hop.device, packet),
                None => self.counters.drop(DropReason::NoHeadroom),
            }
        }
    }
}

pub(crate) fn is_v6<B: Buffer>(packet: &B) -> bool {
    packet.data().first().is_some_and(|octet| octet >> 4 == 6)
}

fn may_split<B>(transit: &Transit<B>) -> bool {
    if transit.head.is_v6() { !is_forwarded(transit.origin) } else { !transit.head.dont_fragment }
}

/// The Ethernet header in front of the packet, with a tag where the interface is a VLAN. `None` without room.
pub(crate) fn put_header<B: Buffer>(packet: &mut B, header: ethernet::Repr, vlan: Option<u16>) -> Option<()> {
    let Some(id) = vlan else {
        packet.prepend(ethernet::LEN)?.copy_from_slice(&header.to_bytes());
        return Some(());
    };
    let (header, tag) = tagged(header, id);
    let (first, second) = packet.prepend(ethernet::LEN + vlan::LEN)?.split_at_mut_checked(ethernet::LEN)?;
    first.copy_from_slice(&header.to_bytes());
    second.copy_from_slice(&tag.to_bytes());
    Some(())
}

/// The header that announces a tag, and the tag that takes over what it announced.
pub(crate) fn tagged(header: ethernet::Repr, id: u16) -> (ethernet::Repr, vlan::Repr) {
    let tag = vlan::Repr { priority: 0, drop_eligible: false, id, ether_type: header.ether_type };
    (ethernet::Repr { ether_type: EtherType::VLAN, ..header }, tag)
}
