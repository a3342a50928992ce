//! Inner fragments that show no ports, where the peer has not agreed to them (RFC 4301 §7.3): an SA whose selectors ask for
//! ports carries the packet whole, and its tunnel packet is cut instead.

use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::fragment::join::join;
use crate::housekeeping::Housekeeping;
use crate::io::{Io, Origin, PortId};
use crate::own::OwnIo;
use crate::packet::{Head, Transit};
use crate::policy::search;
use crate::sa::OutboundSa;
use crate::selectors::Fit;
use crate::shared::View;
use crate::spd::Verdict;
use crate::worker::Batch;
use culvert_model::Flow;
use culvert_telemetry::WorkerCounter;
use culvert_wire::Fragmentation;
use culvert_wire::ipv4::ChecksumMode;

impl<K> OutboundSa<K> {
    /// Does the SA take no piece of such a packet but the first?
    pub fn must_go_whole(&self, flow: &Flow) -> bool {
        if self.hot.handling.later_fragments || !self.hot.shape.is_tunnel() {
            return false;
        }
        let later = Flow { source_port: None, destination_port: None, ..*flow };
        self.cold.carries(&later, Fragmentation::Whole) != Fit::Yes
    }
}

impl<A: Crypto, B: Buffer> Housekeeping<A, B> {
    /// Of a datagram that came in pieces, by the flow of its first: is it for such an SA?
    pub(crate) fn must_join(&self, view: &View, origin: Origin, flow: &Flow) -> bool {
        let Verdict::Protect { child, pfp, .. } = search(view, flow, false, origin) else { return false };
        let sa = self.shared.outbound_carrying(child, pfp, flow);
        sa.as_ref().and_then(|sa| sa.as_ref()).is_some_and(|sa| sa.must_go_whole(flow))
    }

    /// Puts the pieces together and sends the whole. Its sender has cut it already, so nobody minds if its tunnel packet is.
    pub(crate) fn judge_joined(&mut self, view: &View, origin: Origin, pieces: Vec<(PortId, B)>, io: &mut impl Io<B>) {
        let count = pieces.len() as u64;
        let Some((port, _)) = pieces.first() else { return };
        let port = *port;
        let joined = join(pieces.into_iter().map(|(_, packet)| packet), |len| io.allocate_large(len))
            .and_then(|packet| Head::parse(packet.data(), ChecksumMode::Trusted).map(|head| (packet, head)));
        let (packet, head) = match joined {
            Ok(joined) => joined,
            Err(reason) => return self.own.counters.drops(reason, count),
        };
        self.own.counters.add(WorkerCounter::Reassembled, 1);
        let mut batch = Batch::new();
        batch.push(Transit { packet, origin, port, head: Head { dont_fragment: false, ..head } });
        self.own.send(view, batch, &mut OwnIo { io, returned: &mut self.returned });
    }
}
