//! Packets larger than their way or their tunnel allows: cut, and on in pieces, a burst at a time.

use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::forward::is_v6;
use crate::fragment::split::{self, Error, Pieces, split_v4, split_v6};
use crate::io::Io;
use crate::packet::{Head, Leaving, Transit};
use crate::policy::Protect;
use crate::shared::View;
use crate::topology::Hop;
use crate::worker::{Batch, Worker};
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::ipv4::ChecksumMode;

impl<A: Crypto> Worker<A> {
    /// RFC 1812 §5.2.6; over IPv6 for what the box itself made (RFC 8200 §4.5). What says DF and comes here all the same
    /// is a tunnel packet around an IPv6 packet that every path must carry.
    #[cold]
    pub(crate) fn send_in_pieces<B: Buffer>(&mut self, mut packet: B, hop: Hop, io: &mut impl Io<B>) {
        if !is_v6(&packet) {
            split::allow(packet.data_mut(), self.shared.next_fragment_id() as u16);
        }
        let pieces = self.split(packet, usize::from(hop.mtu));
        let all = self.each_burst(pieces, io, |worker, burst, io| {
            worker.transmit(burst.into_iter().map(|packet| Leaving { packet, hop }).collect(), io);
        });
        self.counters.add(WorkerCounter::Fragmented, u64::from(all));
    }

    /// RFC 4301 §7, §8.2: a packet too large for its tunnel goes in pieces, each sealed by the SA of the whole. One over IPv6
    /// only if the box itself made it.
    #[cold]
    pub(crate) fn protect_pieces<B: Buffer>(
        &mut self,
        view: &View,
        whole: Protect<B>,
        mtu: usize,
        io: &mut impl Io<B>,
    ) {
        let Protect { transit: Transit { packet, origin, port, .. }, child, trap, pfp, flow, .. } = whole;
        let pieces = self.split(packet, mtu);
        self.each_burst(pieces, io, |worker, burst, io| {
            let mut packets = Batch::new();
            for packet in burst {
                match Head::parse(packet.data(), ChecksumMode::Trusted) {
                    Ok(head) => {
                        let transit = Transit { packet, origin, port, head };
                        packets.push(Protect { transit, child, trap, pfp, flow, settled: true });
                    }
                    Err(reason) => worker.counters.drop(reason),
                }
            }
            let mut oversize = Batch::new();
            worker.protect_all(view, packets, &mut oversize, io);
            // They were made to fit; the SA may have changed meanwhile.
            worker.counters.drops(DropReason::TooBig, oversize.len() as u64);
        });
    }

    fn split<B: Buffer>(&self, packet: B, mtu: usize) -> Result<Pieces<B>, Error> {
        if is_v6(&packet) { split_v6(packet, mtu, self.shared.next_fragment_id()) } else { split_v4(packet, mtu) }
    }

    /// Did all go? Where a buffer is missing, what went before is lost with the rest: its destination waits for the whole.
    fn each_burst<B: Buffer, I: Io<B>>(
        &mut self,
        pieces: Result<Pieces<B>, Error>,
        io: &mut I,
        mut send: impl FnMut(&mut Self, Batch<B>, &mut I),
    ) -> bool {
        let sent = pieces.and_then(|mut pieces| {
            loop {
                let burst = pieces.burst(|| io.allocate())?;
                if burst.is_empty() {
                    return Ok(());
                }
                send(self, burst, io);
            }
        });
        if let Err(error) = sent {
            self.counters.drop(error.reason());
        }
        sent.is_ok()
    }
}
