//! ICMP errors that no entry of the SPD takes by their own header: they go by the SA that carries the answers to the
//! packet they are about, and are let out of that one (RFC 4301 §6.2).
//!
//! "Takes" is any entry, DISCARD too: the RFC speaks of messages that "map to no extant SA or SPD entry". Who wants errors
//! carried without a look into them writes an entry that matches their own header; who does not gets this.

use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::io::{Io, Origin};
use crate::packet::{Destination, Head, Transit};
use crate::policy::{Protect, search};
use crate::sa::InboundSa;
use crate::selectors::Fit;
use crate::shared::View;
use crate::spd::Verdict;
use crate::worker::{Batch, Worker};
use culvert_model::{ChildId, Flow, Pfp};
use culvert_telemetry::DropReason;
use culvert_wire::Fragmentation;
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::quote::{self, IcmpError};

/// By its type, might a packet be an ICMP error? All that the others pay.
#[inline]
pub(crate) fn may_be_error(flow: &Flow) -> bool {
    flow.source_port.is_some_and(|port| IcmpError::is(flow.protocol, (port >> 8) as u8))
}

/// What would answer the packet that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    /// ICMP has no ports to reverse: its type and code stay, as they do in Linux, so an error about an echo goes by the pair of
    /// SAs that the echo came by.
    flow: Flow,
    ports_hidden: bool,
}

impl Answer {
    /// `None`: to an error that shows no packet, or one that is an error itself or came from elsewhere than the error goes.
    fn to(packet: &[u8]) -> Result<Option<Self>, quote::Error> {
        let error = IcmpError::parse(packet)?;
        let quote = error.quote().ok();
        let quote = quote.filter(|quote| quote.flow.source == error.destination && !quote.is_icmp_error());
        Ok(quote.map(|quote| {
            let flow = Flow {
                source: quote.flow.destination,
                destination: quote.flow.source,
                protocol: quote.flow.protocol,
                source_port: quote.flow.destination_port,
                destination_port: quote.flow.source_port,
            };
            Self { flow, ports_hidden: quote.ports_hidden }
        }))
    }

    /// As if it had come the way the error came. Where entries ask for ports that are hidden, none of them speaks.
    fn verdict(&self, view: &View, origin: Origin) -> Verdict {
        let origin = if origin == Origin::Clear { Origin::Clear } else { Origin::OwnAnswer };
        search(view, &self.flow, self.ports_hidden, origin)
    }
}

impl<A: Crypto> Worker<A> {
    /// Sends an ICMP error that no entry takes, or whose SA does not carry it. Nothing else: that is dropped for `reason`.
    /// Answers whether an SA was found.
    #[cold]
    pub(crate) fn protect_error<B: Buffer>(
        &mut self,
        view: &View,
        transit: Transit<B>,
        reason: DropReason,
        io: &mut impl Io<B>,
    ) -> bool {
        let Ok(answer) = Answer::to(transit.packet.data()) else {
            self.counters.drop(reason);
            return false;
        };
        let found = answer.and_then(|answer| Some((answer.flow, self.child_of(view, &transit, &answer)?)));
        let Some((flow, (child, pfp))) = found else {
            // "No SA will be created, and this is an auditable event."
            self.counters.drop(DropReason::IcmpErrorNoSa);
            let (last, told) = (&self.shared.audited_errors, DropReason::IcmpErrorNoSa);
            self.audit(view.now, last, told, (None, None), || transit.head.flow, io);
            return false;
        };
        // Whose SA was found before has paid.
        let transit = if reason == DropReason::NoPolicy { self.hop_taken(transit, io) } else { Some(transit) };
        let Some(transit) = transit else { return true };
        let mut packets = Batch::new();
        packets.push(Protect { transit, child, trap: false, pfp, flow, settled: true });
        self.protect_batch(view, packets, io);
        true
    }

    /// An ICMP error out of a tunnel, or of the box, that may leave in clear; given back if it still may. Where no entry takes
    /// it and the answers to its packet are protected, so is the error, which quotes it.
    #[cold]
    pub(crate) fn forward_error<B: Buffer>(
        &mut self,
        view: &View,
        transit: Transit<B>,
        io: &mut impl Io<B>,
    ) -> Option<Transit<B>> {
        let own = search(view, &transit.head.flow, false, Origin::OwnAnswer);
        let answer = Answer::to(transit.packet.data()).ok().flatten();
        let answer = answer.map(|answer| answer.verdict(view, transit.origin));
        if own == Verdict::Drop(DropReason::NoPolicy) && matches!(answer, Some(Verdict::Protect { .. })) {
            self.protect_error(view, transit, DropReason::NoPolicy, io);
            return None;
        }
        Some(transit)
    }

    /// Whose active SA carries the answers.
    fn child_of<B>(&self, view: &View, transit: &Transit<B>, answer: &Answer) -> Option<(ChildId, Pfp)> {
        let Verdict::Protect { child, pfp, .. } = answer.verdict(view, transit.origin) else { return None };
        let sa = self.shared.outbound_carrying(child, pfp, &answer.flow)?;
        let sa = sa.as_ref()?;
        let carries = sa.cold.carries(&answer.flow, Fragmentation::Whole) == Fit::Yes;
        (carries && sa.joins(&transit.head.flow)).then_some((child, pfp))
    }

    /// An ICMP error out of an SA whose selectors do not fit its own header. Is it about a packet whose answers the SA
    /// delivers?
    #[cold]
    pub(crate) fn error_fits(
        &self,
        view: &View,
        sa: &InboundSa<A::Key>,
        packet: &[u8],
    ) -> Result<(Head, Destination), DropReason> {
        let answer = Answer::to(packet).ok().flatten().ok_or(DropReason::SelectorMismatch)?;
        if sa.cold.delivers(&answer.flow, Fragmentation::Whole) != Fit::Yes {
            return Err(DropReason::SelectorMismatch);
        }
        let head = Head::parse(packet, ChecksumMode::Trusted)?;
        let destination = head.destination(&view.topology)?;
        Ok((head, destination))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_wire::{icmpv4, icmpv6, ipv4, ipv6, protocol};

    /// A time exceeded to 10.1.0.2, or fd00:1::2.
    fn about(quote: &[u8]) -> Vec<u8> {
        if quote.first().is_some_and(|octet| octet >> 4 == 6) {
            let message = icmpv6::Message::TimeExceeded { code: 0, quote };
            let (source, destination) = ("fd00:99::9".parse().unwrap(), "fd00:1::2".parse().unwrap());
            let mut body = vec![0; message.len()];
            message.emit(source, destination, &mut body).unwrap();
            let header = ipv6::Repr::new(source, destination, protocol::ICMPV6, body.len() as u16);
            return [&header.to_bytes()[..], &body].concat();
        }
        let message = icmpv4::Message::TimeExceeded { code: 0, quote };
        let mut body = vec![0; message.len()];
        message.emit(&mut body).unwrap();
        let header = ipv4::Repr::new([172, 16, 0, 9].into(), [10, 1, 0, 2].into(), protocol::ICMP, body.len() as u16);
        [&header.to_bytes()[..], &body].concat()
    }

    fn sent_v4(protocol: u8, upper: &[u8]) -> Vec<u8> {
        let header = ipv4::Repr::new([10, 1, 0, 2].into(), [10, 7, 0, 2].into(), protocol, upper.len() as u16);
        [&header.to_bytes()[..], upper].concat()
    }

    fn sent_v6(next: u8, upper: &[u8]) -> Vec<u8> {
        let (source, destination) = ("fd00:1::2".parse().unwrap(), "fd00:7::2".parse().unwrap());
        let header = ipv6::Repr::new(source, destination, next, upper.len() as u16);
        [&header.to_bytes()[..], upper].concat()
    }

    #[test]
    fn addresses_and_ports_are_reversed() {
        let ports = [0x03, 0xe8, 0x07, 0xd0];
        let (tcp, udp) = (protocol::TCP, protocol::UDP);
        // Protocol, what is quoted of its header; ports of the answer, and whether they are hidden.
        type Row<'a> = (u8, &'a [u8], Option<(u16, u16)>, bool);
        let rows: [Row<'_>; 7] = [
            (udp, &ports, Some((2000, 1000)), false),
            (tcp, &ports, Some((2000, 1000)), false),
            (udp, &ports[..3], None, true),
            (udp, &[], None, true),
            (47, &[], None, false),
            (protocol::ICMP, &[8, 0], Some((0x800, 0x800)), false),
            (protocol::ICMPV6, &[128, 0], Some((0x8000, 0x8000)), false),
        ];
        for (number, upper, ports, ports_hidden) in rows {
            for quote in [sent_v4(number, upper), sent_v6(number, upper)] {
                let answer = Answer::to(&about(&quote)).unwrap().unwrap();
                let ends: (std::net::IpAddr, std::net::IpAddr) = if quote[0] >> 4 == 6 {
                    ("fd00:7::2".parse().unwrap(), "fd00:1::2".parse().unwrap())
                } else {
                    ("10.7.0.2".parse().unwrap(), "10.1.0.2".parse().unwrap())
                };
                assert_eq!((answer.flow.source, answer.flow.destination), ends);
                let got = answer.flow.source_port.zip(answer.flow.destination_port);
                assert_eq!((answer.flow.protocol, got, answer.ports_hidden), (number, ports, ports_hidden));
            }
        }
    }

    #[test]
    fn some_errors_have_no_answer() {
        let none = |quote: &[u8]| assert_eq!(Answer::to(&about(quote)), Ok(None), "{quote:?}");
        none(&[]);
        none(&sent_v4(protocol::UDP, &[])[..19]);
        none(&sent_v6(protocol::UDP, &[])[..39]);
        // About an error, and about a packet of somebody else than the one it goes to.
        none(&sent_v4(protocol::ICMP, &[11, 0]));
        none(&sent_v6(protocol::ICMPV6, &[1, 0]));
        let mut other = sent_v4(protocol::UDP, &[0; 8]);
        other[15] ^= 1;
        none(&other);
        let mut other = sent_v6(protocol::UDP, &[0; 8]);
        other[23] ^= 1;
        none(&other);
        let good = about(&sent_v4(protocol::UDP, &[0; 8]));
        let mut bent = good.clone();
        bent[21] = 1;
        assert_eq!(Answer::to(&bent), Err(quote::Error::Malformed));
        assert_eq!(Answer::to(&sent_v4(protocol::UDP, &[0; 8])), Err(quote::Error::OtherMessage));
    }

    #[test]
    fn only_types_of_errors_are_looked_into() {
        let flow = |protocol, port| Flow {
            source: [10, 1, 0, 2].into(),
            destination: [10, 7, 0, 2].into(),
            protocol,
            source_port: port,
            destination_port: port,
        };
        let of_kind = |protocol, kind: u16| may_be_error(&flow(protocol, Some(kind << 8 | 1)));
        assert!([3, 11, 12].into_iter().all(|kind| of_kind(protocol::ICMP, kind)));
        assert!([0, 4, 5, 8, 13].into_iter().all(|kind| !of_kind(protocol::ICMP, kind)));
        assert!((1..=4).all(|kind| of_kind(protocol::ICMPV6, kind)));
        assert!([0, 5, 100, 128, 129, 137].into_iter().all(|kind| !of_kind(protocol::ICMPV6, kind)));
        assert!(!of_kind(protocol::UDP, 3) && !may_be_error(&flow(protocol::ICMP, None)));
    }
}
