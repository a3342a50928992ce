//! News of the path MTU, to the SAs it concerns.

use super::quote::Quote;
use super::{Ends, Implausible, TooBig};
use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::housekeeping::Housekeeping;
use crate::io::Tick;
use crate::sa::OutboundSa;
use culvert_model::{IpsecProtocol, SlotIndex};
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::protocol;

impl<A: Crypto, B: Buffer> Housekeeping<A, B> {
    /// Reads an ICMP message to the box. Answers what it is counted as, if it speaks of the size of a tunnel packet.
    pub(crate) fn path_news(&mut self, now: Tick, packet: &[u8]) -> Option<DropReason> {
        let news = TooBig::parse(packet).ok()?;
        // Each looks through all SAs.
        if !self.path_news.take(now) {
            return Some(DropReason::IcmpRateLimited);
        }
        let Some(sa) = self.sad.outbound().find(|sa| sent(sa, &news.quote)) else {
            return Some(DropReason::IcmpImplausible);
        };
        let ends = ends_of(sa);
        let way = self.shared.topology.load().hop(ends.1).map_or(u16::MAX, |hop| hop.mtu);
        match news.judge(sa.hot.slot.sequence(), sa.hot.way_mtu(way)) {
            Ok(mtu) => {
                if let Some(forgotten) = self.paths.learn(now, ends, mtu) {
                    self.tell_path(forgotten, 0);
                }
                self.tell_path(ends, mtu);
                self.own.counters.add(WorkerCounter::PathMtuChanges, 1);
                Some(DropReason::IcmpIgnored)
            }
            // Others of the same burst said so already.
            Err(Implausible::NotLower) => Some(DropReason::IcmpIgnored),
            Err(_) => Some(DropReason::IcmpImplausible),
        }
    }

    /// Old news end.
    pub(crate) fn forget_paths(&mut self, now: Tick) {
        for ends in self.paths.forget(now) {
            self.tell_path(ends, 0);
        }
    }

    /// An SA that came or moved takes over what is known of its way.
    pub(crate) fn know_path(&mut self, slot: SlotIndex) {
        if let Some(sa) = self.sad.outbound_in(slot) {
            sa.hot.set_path_mtu(self.paths.of(ends_of(sa)).unwrap_or(0));
        }
    }

    fn tell_path(&self, ends: Ends, mtu: u16) {
        for sa in self.sad.outbound().filter(|sa| ends_of(sa) == ends) {
            sa.hot.set_path_mtu(mtu);
        }
    }
}

fn ends_of<K>(sa: &OutboundSa<K>) -> Ends {
    (sa.cold.tunnel.local, sa.cold.tunnel.remote)
}

fn sent<K>(sa: &OutboundSa<K>, quote: &Quote) -> bool {
    let protocol = match sa.hot.shape.protocol {
        IpsecProtocol::Esp => protocol::ESP,
        IpsecProtocol::Ah => protocol::AH,
    };
    let ports = sa.cold.encapsulation.map(|ports| (ports.local_port, ports.remote_port));
    (sa.cold.spi, protocol, ports, ends_of(sa)) == (quote.spi, quote.protocol, quote.ports, (quote.local, quote.remote))
}
