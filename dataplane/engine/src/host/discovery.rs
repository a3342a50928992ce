//! ARP and neighbour discovery frames, in and out.

use super::address::{self, Destination};
use super::neighbours::{Kind, Neighbours, Report};
use crate::io::Tick;
use crate::topology::Interface;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use culvert_telemetry::DropReason;
use culvert_wire::{EtherType, Mac, arp, ethernet, ipv6, ndp, protocol};

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `out` holds the answer, a frame for the same port.
    Reply,
    /// It was looked at and learned from; there is nothing to say.
    Absorbed,
    /// ICMPv6, but not neighbour discovery: for the host.
    NotDiscovery,
    Refused(DropReason),
}

/// Takes an ARP or neighbour discovery frame from the interface's port. VLAN tags have been taken off.
pub fn handle_frame<P>(
    now: Tick,
    interface: &Interface,
    frame: &[u8],
    neighbours: &mut Neighbours<P>,
    out: &mut Vec<u8>,
) -> Outcome {
    out.clear();
    let Ok((header, payload)) = ethernet::Repr::parse(frame) else { return Outcome::Refused(DropReason::Truncated) };
    if !header.source.is_unicast() {
        return Outcome::Refused(DropReason::NotOurMac);
    }
    if !header.destination.is_multicast() && header.destination != Mac(interface.mac) {
        return Outcome::Refused(DropReason::NotOurMac);
    }
    match header.ether_type {
        EtherType::ARP => handle_arp(now, interface, payload, neighbours, out),
        EtherType::IPV6 => handle_ndp(now, interface, header.source, payload, neighbours, out),
        _ => Outcome::Refused(DropReason::BadEthertype),
    }
}

/// RFC 826's algorithm of reception, with the checks it leaves out.
fn handle_arp<P>(
    now: Tick,
    interface: &Interface,
    payload: &[u8],
    neighbours: &mut Neighbours<P>,
    out: &mut Vec<u8>,
) -> Outcome {
    let Ok(packet) = arp::Repr::parse(payload) else { return Outcome::Refused(DropReason::BadArp) };
    let (own_mac, sender) = (Mac(interface.mac), IpAddr::from(packet.sender));
    if packet.sender_mac == own_mac {
        // Our own, come back by a loop.
        return Outcome::Refused(DropReason::SourceSpoofed);
    }
    if address::is_own(interface, sender) {
        neighbours.conflict(now, interface.port, sender, packet.sender_mac);
        return Outcome::Absorbed;
    }
    let for_us = address::is_own(interface, packet.target.into());
    // RFC 5227 §2.1.1: a probe has no sender address; it asks, and teaches nothing.
    if !packet.sender.is_unspecified() {
        if !is_neighbour(interface, sender, neighbours) {
            return Outcome::Refused(DropReason::BadArp);
        }
        let kind = match packet.operation {
            arp::Operation::Reply if for_us && packet.target_mac == own_mac => {
                Kind::Advertised { solicited: true, overrides: true }
            }
            arp::Operation::Request if for_us => Kind::Asked,
            _ => Kind::Overheard,
        };
        let mac = Some(packet.sender_mac);
        neighbours.report(now, Report { port: interface.port, addr: sender, mac, kind });
    }
    if !for_us || packet.operation != arp::Operation::Request {
        return Outcome::Absorbed;
    }
    let reply = arp::Repr {
        operation: arp::Operation::Reply,
        sender_mac: own_mac,
        sender: packet.target,
        target_mac: packet.sender_mac,
        target: packet.sender,
    };
    arp_frame(packet.sender_mac, &reply, out);
    Outcome::Reply
}

fn handle_ndp<P>(
    now: Tick,
    interface: &Interface,
    from: Mac,
    payload: &[u8],
    neighbours: &mut Neighbours<P>,
    out: &mut Vec<u8>,
) -> Outcome {
    let Ok((header, payload)) = ipv6::Header::parse(payload) else {
        return Outcome::Refused(DropReason::Ipv6Header);
    };
    // RFC 6980 §5: discovery is never in a fragment; other extension headers have no business in it either.
    if header.next_header() != protocol::ICMPV6 {
        return Outcome::Refused(DropReason::BadNeighbourDiscovery);
    }
    let carrier = ndp::Carrier::of(&header);
    let message = match ndp::Message::parse(carrier, payload) {
        Ok(message) => message,
        Err(ndp::Error::Type(_)) => return Outcome::NotDiscovery,
        Err(_) => return Outcome::Refused(DropReason::BadNeighbourDiscovery),
    };
    let Some(kind) = address::destination(interface, carrier.destination.into()) else {
        return Outcome::Refused(DropReason::Multicast);
    };
    match message {
        ndp::Message::NeighbourSolicitation { target, source_mac } => {
            let own_group = ipv6::solicited_node(target) == carrier.destination;
            if !address::is_own(interface, target.into()) || !(kind == Destination::Unicast || own_group) {
                return Outcome::Absorbed;
            }
            solicited(now, interface, carrier, (from, source_mac), target, neighbours, out)
        }
        ndp::Message::NeighbourAdvertisement(na) => advertised(now, interface, carrier, from, na, neighbours),
        // The box is a router with a fixed configuration: it neither asks routers nor believes them, and it does not
        // advertise itself.
        ndp::Message::RouterSolicitation { .. } | ndp::Message::RouterAdvertisement(_) => Outcome::Absorbed,
    }
}

/// RFC 4861 §7.2.3, §7.2.4.
fn solicited<P>(
    now: Tick,
    interface: &Interface,
    carrier: ndp::Carrier,
    (from, source_mac): (Mac, Option<Mac>),
    target: Ipv6Addr,
    neighbours: &mut Neighbours<P>,
    out: &mut Vec<u8>,
) -> Outcome {
    let source = carrier.source;
    let own_mac = Mac(interface.mac);
    if from == own_mac || address::is_own(interface, source.into()) {
        return Outcome::Refused(DropReason::SourceSpoofed);
    }
    let answer = ndp::NeighbourAdvertisement {
        router: true,
        solicited: true,
        overrides: true,
        target,
        target_mac: Some(own_mac),
    };
    if source.is_unspecified() {
        // Somebody wants the address for itself; everybody must hear that it is taken.
        let to_all = ndp::NeighbourAdvertisement { solicited: false, ..answer };
        advertise(interface, ipv6::ALL_NODES, Mac::for_ipv6_multicast(ipv6::ALL_NODES), to_all, out);
        return Outcome::Reply;
    }
    if !is_neighbour(interface, source.into(), neighbours) {
        return Outcome::Refused(DropReason::BadNeighbourDiscovery);
    }
    let report = Report { port: interface.port, addr: source.into(), mac: source_mac, kind: Kind::Asked };
    neighbours.report(now, report);
    advertise(interface, source, source_mac.unwrap_or(from), answer, out);
    Outcome::Reply
}

/// RFC 4861 §7.2.5.
fn advertised<P>(
    now: Tick,
    interface: &Interface,
    carrier: ndp::Carrier,
    from: Mac,
    na: ndp::NeighbourAdvertisement,
    neighbours: &mut Neighbours<P>,
) -> Outcome {
    let (port, target) = (interface.port, IpAddr::from(na.target));
    if from == Mac(interface.mac) {
        return Outcome::Refused(DropReason::SourceSpoofed);
    }
    if address::is_own(interface, target) {
        // RFC 4862 §5.4.4: two stations, one address.
        neighbours.conflict(now, port, target, na.target_mac.unwrap_or(from));
        return Outcome::Absorbed;
    }
    let spoofed = address::is_own(interface, carrier.source.into());
    let real = |addr| is_neighbour(interface, addr, neighbours);
    if spoofed || !real(target) || !real(carrier.source.into()) {
        return Outcome::Refused(DropReason::BadNeighbourDiscovery);
    }
    let kind = Kind::Advertised { solicited: na.solicited, overrides: na.overrides };
    neighbours.report(now, Report { port, addr: target, mac: na.target_mac, kind });
    Outcome::Absorbed
}

/// Can `addr` be on this wire? By its prefix; or because a route to a port says so, and it was asked for.
fn is_neighbour<P>(interface: &Interface, addr: IpAddr, neighbours: &Neighbours<P>) -> bool {
    address::on_link(interface, addr) || neighbours.state(interface.port, addr).is_some()
}

/// Writes the frame that asks for `addr`: everybody, or only `to`. `false`: the interface has no address of the family
/// to ask from.
pub fn solicit(interface: &Interface, addr: IpAddr, to: Option<Mac>, out: &mut Vec<u8>) -> bool {
    out.clear();
    let own_mac = Mac(interface.mac);
    match (address::source_for(interface, addr), addr) {
        (Some(IpAddr::V4(sender)), IpAddr::V4(target)) => {
            let operation = arp::Operation::Request;
            let request = arp::Repr { operation, sender_mac: own_mac, sender, target_mac: Mac::ZERO, target };
            arp_frame(to.unwrap_or(Mac::BROADCAST), &request, out);
            true
        }
        (Some(IpAddr::V6(source)), IpAddr::V6(target)) => {
            let message = ndp::Message::NeighbourSolicitation { target, source_mac: Some(own_mac) };
            let group = ipv6::solicited_node(target);
            let (destination, mac) = to.map_or_else(|| (group, Mac::for_ipv6_multicast(group)), |mac| (target, mac));
            ndp_frame(interface, source, destination, mac, &message, out);
            true
        }
        _ => false,
    }
}

/// Writes the frame that tells everybody where our `addr` is: gratuitous ARP (RFC 5227 §2.3) or unsolicited
/// advertisement (RFC 4861 §7.2.6).
pub fn announce(interface: &Interface, addr: IpAddr, out: &mut Vec<u8>) {
    out.clear();
    let own_mac = Mac(interface.mac);
    match addr {
        IpAddr::V4(addr) => arp_frame(Mac::BROADCAST, &arp::Repr::announcement(own_mac, addr), out),
        IpAddr::V6(target) => {
            let na = ndp::NeighbourAdvertisement {
                router: true,
                solicited: false,
                overrides: true,
                target,
                target_mac: Some(own_mac),
            };
            advertise(interface, ipv6::ALL_NODES, Mac::for_ipv6_multicast(ipv6::ALL_NODES), na, out);
        }
    }
}

/// Every own address that is worth an announcement at start.
pub fn announced(interface: &Interface) -> impl Iterator<Item = IpAddr> + '_ {
    interface.addresses.iter().map(ipnet::IpNet::addr).filter(|addr| *addr != IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

fn arp_frame(destination: Mac, packet: &arp::Repr, out: &mut Vec<u8>) {
    let header = ethernet::Repr { destination, source: packet.sender_mac, ether_type: EtherType::ARP };
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(&packet.to_bytes());
}

/// From the target itself: it is one of ours, and of the right scope.
fn advertise(
    interface: &Interface,
    destination: Ipv6Addr,
    mac: Mac,
    na: ndp::NeighbourAdvertisement,
    out: &mut Vec<u8>,
) {
    ndp_frame(interface, na.target, destination, mac, &ndp::Message::NeighbourAdvertisement(na), out);
}

fn ndp_frame(
    interface: &Interface,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    mac: Mac,
    message: &ndp::Message,
    out: &mut Vec<u8>,
) {
    out.clear();
    let header = ethernet::Repr { destination: mac, source: Mac(interface.mac), ether_type: EtherType::IPV6 };
    out.extend_from_slice(&header.to_bytes());
    let len = message.len();
    let ip = ipv6::Repr::new(source, destination, protocol::ICMPV6, len as u16);
    // RFC 4861 §4: proof that no router passed it on.
    out.extend_from_slice(&ipv6::Repr { hop_limit: 255, ..ip }.to_bytes());
    let at = out.len();
    out.resize(at + len, 0);
    let room = out.get_mut(at..).unwrap_or_default();
    let written = message.emit(source, destination, room);
    debug_assert!(written.is_ok(), "the room is the message's own length");
}

#[cfg(test)]
mod tests {
    use super::super::neighbours::{Limits, Output, State};
    use super::*;
    use crate::io::PortId;
    use crate::topology::Attachment;
    use culvert_wire::testing;
    use proptest::prelude::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);

    /// The station with `.2` and `::2` of the captures.
    fn interface() -> Interface {
        let addresses = ["192.0.2.2/24", "2001:db8::2/64", "fe80::ff:fe00:b/64"];
        Interface {
            port: PortId(3),
            attachment: Attachment::Port,
            mac: B.0,
            mtu: 1500,
            addresses: addresses.map(|a| a.parse().unwrap()).into(),
        }
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    struct Station {
        table: Neighbours<u32>,
        out: Vec<u8>,
    }

    impl Station {
        fn new() -> Self {
            Self { table: Neighbours::new(Limits::default()), out: Vec::new() }
        }

        fn hear(&mut self, frame: &[u8]) -> Outcome {
            handle_frame(0, &interface(), frame, &mut self.table, &mut self.out)
        }

        fn state(&self, text: &str) -> Option<State> {
            self.table.state(PortId(3), addr(text))
        }
    }

    fn arp(change: impl FnOnce(&mut arp::Repr)) -> Vec<u8> {
        let frame = testing::bytes(testing::ARP_REQUEST);
        let mut packet = arp::Repr::parse(&frame[ethernet::LEN..]).unwrap();
        change(&mut packet);
        let mut out = Vec::new();
        arp_frame(Mac::BROADCAST, &packet, &mut out);
        out
    }

    /// A discovery frame from A.
    fn nd(source: &str, destination: &str, message: &ndp::Message) -> Vec<u8> {
        let from = Interface { mac: A.0, ..interface() };
        let (source, destination) = (source.parse().unwrap(), destination.parse::<Ipv6Addr>().unwrap());
        let mac = if destination.is_multicast() { Mac::for_ipv6_multicast(destination) } else { B };
        let mut out = Vec::new();
        ndp_frame(&from, source, destination, mac, message, &mut out);
        out
    }

    fn parsed(frame: &[u8]) -> (ethernet::Repr, ndp::Carrier, ndp::Message) {
        let (eth, payload) = ethernet::Repr::parse(frame).unwrap();
        let (header, payload) = ipv6::Header::parse(payload).unwrap();
        let carrier = ndp::Carrier::of(&header);
        (eth, carrier, ndp::Message::parse(carrier, payload).unwrap())
    }

    #[test]
    fn a_captured_request_gets_the_captured_reply() {
        let mut this = Station::new();
        assert_eq!(this.hear(&testing::bytes(testing::ARP_REQUEST)), Outcome::Reply);
        assert_eq!(this.out, testing::bytes(testing::ARP_REPLY));
        assert_eq!(this.state("192.0.2.1"), Some(State::Stale));
    }

    #[test]
    fn a_captured_solicitation_gets_the_captured_advertisement() {
        let mut this = Station::new();
        assert_eq!(this.hear(&testing::bytes(testing::SOLICITATION)), Outcome::Reply);
        let (eth, carrier, message) = parsed(&this.out);
        let (eth_linux, carrier_linux, message_linux) = parsed(&testing::bytes(testing::ADVERTISEMENT));
        assert_eq!((eth, carrier), (eth_linux, carrier_linux));
        // That Linux was a host; this box is a router.
        let ndp::Message::NeighbourAdvertisement(na) = message_linux else { panic!("not an advertisement") };
        let router = ndp::NeighbourAdvertisement { router: true, ..na };
        assert_eq!(message, ndp::Message::NeighbourAdvertisement(router));
        assert_eq!(this.state("2001:db8::1"), Some(State::Stale));
    }

    #[test]
    fn questions_and_their_captured_answers() {
        let asking = Interface {
            mac: A.0,
            addresses: vec!["192.0.2.1/24".parse().unwrap(), "2001:db8::1/64".parse().unwrap()],
            ..interface()
        };
        let mut this = Station::new();
        for (target, question, answer) in [
            ("192.0.2.2", testing::ARP_REQUEST, testing::ARP_REPLY),
            ("2001:db8::2", testing::SOLICITATION, testing::ADVERTISEMENT),
        ] {
            this.table.resolve(0, PortId(3), addr(target), 1);
            assert!(solicit(&asking, addr(target), None, &mut this.out));
            assert_eq!(this.out, testing::bytes(question));
            let outcome = handle_frame(0, &asking, &testing::bytes(answer), &mut this.table, &mut this.out);
            assert_eq!(outcome, Outcome::Absorbed);
            assert!(this.out.is_empty());
            assert_eq!(this.state(target), Some(State::Reachable));
        }
    }

    #[test]
    fn unicast_probes_go_to_the_station() {
        let mut out = Vec::new();
        assert!(solicit(&interface(), addr("192.0.2.1"), Some(A), &mut out));
        assert_eq!(ethernet::Repr::parse(&out).unwrap().0.destination, A);
        assert!(solicit(&interface(), addr("2001:db8::1"), Some(A), &mut out));
        let (eth, carrier, _) = parsed(&out);
        assert_eq!((eth.destination, IpAddr::from(carrier.destination)), (A, addr("2001:db8::1")));
        assert!(solicit(&interface(), addr("fe80::7"), None, &mut out));
        assert_eq!(IpAddr::from(parsed(&out).1.source), addr("fe80::ff:fe00:b"));
        let only_v6 = Interface { addresses: vec!["2001:db8::2/64".parse().unwrap()], ..interface() };
        assert!(!solicit(&only_v6, addr("192.0.2.1"), None, &mut out));
        assert!(out.is_empty());
    }

    #[test]
    fn arp_teaches_only_what_can_be_true() {
        let cases = [
            ("off-link sender", arp(|p| p.sender = [198, 51, 100, 1].into()), Outcome::Refused(DropReason::BadArp)),
            ("the network's address", arp(|p| p.sender = [192, 0, 2, 0].into()), Outcome::Refused(DropReason::BadArp)),
            (
                "the broadcast address",
                arp(|p| p.sender = [192, 0, 2, 255].into()),
                Outcome::Refused(DropReason::BadArp),
            ),
            ("group hardware address", arp(|p| p.sender_mac = Mac([1; 6])), Outcome::Refused(DropReason::NotOurMac)),
            ("our own, looped back", arp(|p| p.sender_mac = B), Outcome::Refused(DropReason::SourceSpoofed)),
            ("for another", arp(|p| p.target = [192, 0, 2, 9].into()), Outcome::Absorbed),
            ("a reply nobody asked for", arp(|p| p.operation = arp::Operation::Reply), Outcome::Absorbed),
        ];
        for (name, frame, expected) in cases {
            let mut this = Station::new();
            assert_eq!(this.hear(&frame), expected, "{name}");
            assert!(this.table.is_empty() && this.out.is_empty(), "{name}");
            assert_eq!(this.table.poll_output(), None, "{name}");
        }
    }

    #[test]
    fn a_station_outside_the_prefix_is_believed_when_it_was_asked_for() {
        let reply = arp(|p| {
            p.operation = arp::Operation::Reply;
            p.sender = [198, 51, 100, 1].into();
            p.target_mac = B;
        });
        let advertisement = ndp::NeighbourAdvertisement {
            router: true,
            solicited: true,
            overrides: true,
            target: "2001:db8:9::1".parse().unwrap(),
            target_mac: Some(A),
        };
        let advertisement = nd("2001:db8:9::1", "2001:db8::2", &ndp::Message::NeighbourAdvertisement(advertisement));
        for (text, frame) in [("198.51.100.1", reply), ("2001:db8:9::1", advertisement)] {
            let mut this = Station::new();
            assert!(matches!(this.hear(&frame), Outcome::Refused(_)), "{text}");
            this.table.resolve(0, PortId(3), addr(text), 1);
            assert_eq!(this.hear(&frame), Outcome::Absorbed, "{text}");
            assert_eq!(this.state(text), Some(State::Reachable), "{text}");
        }
    }

    #[test]
    fn only_a_reply_to_us_confirms() {
        for (target_mac, target, state) in [
            (B, [192, 0, 2, 2], State::Reachable),
            (A, [192, 0, 2, 2], State::Stale),
            (B, [192, 0, 2, 9], State::Stale),
        ] {
            let mut this = Station::new();
            this.table.resolve(0, PortId(3), addr("192.0.2.1"), 1);
            let reply = arp(|p| {
                p.operation = arp::Operation::Reply;
                (p.target_mac, p.target) = (target_mac, target.into());
            });
            assert_eq!(this.hear(&reply), Outcome::Absorbed);
            assert_eq!(this.state("192.0.2.1"), Some(state), "{target_mac} {target:?}");
        }
    }

    #[test]
    fn an_arp_probe_is_answered_and_teaches_nothing() {
        let mut this = Station::new();
        assert_eq!(this.hear(&arp(|p| p.sender = Ipv4Addr::UNSPECIFIED)), Outcome::Reply);
        assert!(this.table.is_empty());
    }

    #[test]
    fn a_double_of_us_is_reported_and_not_learned() {
        let claim = ndp::NeighbourAdvertisement {
            router: false,
            solicited: false,
            overrides: true,
            target: "2001:db8::2".parse().unwrap(),
            target_mac: Some(A),
        };
        let claim = nd("2001:db8::2", "ff02::1", &ndp::Message::NeighbourAdvertisement(claim));
        for (text, frame) in [("192.0.2.2", arp(|p| p.sender = [192, 0, 2, 2].into())), ("2001:db8::2", claim)] {
            let mut this = Station::new();
            assert_eq!(this.hear(&frame), Outcome::Absorbed);
            let (port, addr) = (PortId(3), addr(text));
            assert_eq!(this.table.poll_output(), Some(Output::Conflict { port, addr, mac: A }));
            assert_eq!(this.table.poll_output(), Some(Output::Announce { port, addr }));
            assert!(this.table.is_empty());
        }
    }

    #[test]
    fn duplicate_address_detection_is_told_to_all() {
        let ours = Interface { addresses: vec!["fe80::ff:fe00:a/64".parse().unwrap()], ..interface() };
        let (mut table, mut out) = (Neighbours::<u32>::new(Limits::default()), Vec::new());
        let frame = testing::bytes(testing::DAD_SOLICITATION);
        assert_eq!(handle_frame(0, &ours, &frame, &mut table, &mut out), Outcome::Reply);
        let (eth, carrier, message) = parsed(&out);
        assert_eq!(eth.destination, Mac([0x33, 0x33, 0, 0, 0, 1]));
        assert_eq!((carrier.destination, carrier.hop_limit), (ipv6::ALL_NODES, 255));
        assert!(matches!(message, ndp::Message::NeighbourAdvertisement(na) if !na.solicited && na.overrides));
        assert!(table.is_empty());
    }

    #[test]
    fn discovery_teaches_only_what_can_be_true() {
        let ns = |target: &str| {
            let target = target.parse().unwrap();
            ndp::Message::NeighbourSolicitation { target, source_mac: Some(A) }
        };
        let na = |target: &str| {
            ndp::Message::NeighbourAdvertisement(ndp::NeighbourAdvertisement {
                router: false,
                solicited: true,
                overrides: true,
                target: target.parse().unwrap(),
                target_mac: Some(A),
            })
        };
        let bad = Outcome::Refused(DropReason::BadNeighbourDiscovery);
        let ra = testing::bytes(testing::ROUTER_ADVERTISEMENT);
        let cases = [
            ("source off-link", nd("2001:db8:9::1", "ff02::1:ff00:2", &ns("2001:db8::2")), bad),
            (
                "source is us",
                nd("2001:db8::2", "ff02::1:ff00:2", &ns("2001:db8::2")),
                Outcome::Refused(DropReason::SourceSpoofed),
            ),
            ("target not ours", nd("2001:db8::1", "2001:db8::2", &ns("2001:db8::9")), Outcome::Absorbed),
            ("group not the target's", nd("2001:db8::1", "ff02::1", &ns("2001:db8::2")), Outcome::Absorbed),
            (
                "group nobody is in",
                nd("2001:db8::1", "ff02::1:ff00:9", &ns("2001:db8::9")),
                Outcome::Refused(DropReason::Multicast),
            ),
            ("advertised off-link target", nd("2001:db8::1", "2001:db8::2", &na("2001:db8:9::1")), bad),
            ("advertised from off-link", nd("2001:db8:9::1", "2001:db8::2", &na("2001:db8::1")), bad),
            ("advertised from us", nd("2001:db8::2", "2001:db8::2", &na("2001:db8::1")), bad),
            ("advertised unasked", nd("2001:db8::1", "2001:db8::2", &na("2001:db8::1")), Outcome::Absorbed),
            ("router advertisement", ra, Outcome::Absorbed),
            ("router solicitation", testing::bytes(testing::ROUTER_SOLICITATION), Outcome::Absorbed),
            ("listener report", testing::bytes(testing::MLD_REPORT), bad),
            ("echo request", testing::bytes(testing::ECHO_REQUEST_V6), Outcome::NotDiscovery),
            ("IPv4", testing::bytes(testing::ECHO_REQUEST_V4), Outcome::Refused(DropReason::BadEthertype)),
        ];
        for (name, frame, expected) in cases {
            let mut this = Station::new();
            assert_eq!(this.hear(&frame), expected, "{name}");
            assert!(this.table.is_empty() && this.out.is_empty(), "{name}");
            assert_eq!(this.table.poll_output(), None, "{name}");
        }
    }

    #[test]
    fn a_routed_solicitation_is_refused() {
        let mut frame = testing::bytes(testing::SOLICITATION);
        frame[ethernet::LEN + 7] = 254;
        assert_eq!(Station::new().hear(&frame), Outcome::Refused(DropReason::BadNeighbourDiscovery));
    }

    #[test]
    fn frames_for_other_stations_are_refused() {
        let mut frame = testing::bytes(testing::ARP_REQUEST);
        frame[..6].copy_from_slice(&[2, 9, 9, 9, 9, 9]);
        assert_eq!(Station::new().hear(&frame), Outcome::Refused(DropReason::NotOurMac));
        let mut frame = testing::bytes(testing::ARP_REQUEST);
        frame[6] |= 1;
        assert_eq!(Station::new().hear(&frame), Outcome::Refused(DropReason::NotOurMac));
    }

    #[test]
    fn every_own_address_is_announced() {
        let mut out = Vec::new();
        for addr in announced(&interface()) {
            announce(&interface(), addr, &mut out);
            let (eth, payload) = ethernet::Repr::parse(&out).unwrap();
            assert!(eth.destination.is_multicast() && eth.source == B);
            match addr {
                IpAddr::V4(addr) => {
                    let packet = arp::Repr::parse(payload).unwrap();
                    assert_eq!((packet.sender, packet.target, packet.sender_mac), (addr, addr, B));
                }
                IpAddr::V6(addr) => {
                    let (_, carrier, message) = parsed(&out);
                    assert_eq!((carrier.source, carrier.destination), (addr, ipv6::ALL_NODES));
                    let announces = matches!(message, ndp::Message::NeighbourAdvertisement(na)
                        if na.target == addr && na.target_mac == Some(B) && na.overrides && !na.solicited);
                    assert!(announces);
                }
            }
        }
        assert_eq!(announced(&interface()).count(), 3);
    }

    #[test]
    fn truncated_at_every_length() {
        for hex in [testing::ARP_REQUEST, testing::SOLICITATION, testing::ADVERTISEMENT] {
            let frame = testing::bytes(hex);
            for len in 0..frame.len() {
                let mut this = Station::new();
                assert!(matches!(this.hear(&frame[..len]), Outcome::Refused(_)), "{len}");
                assert!(this.out.is_empty() && this.table.is_empty(), "{len}");
            }
        }
    }

    proptest! {
        /// Whatever comes: an answer is a valid frame from us, and no longer than a little more than the question.
        #[test]
        fn damaged_frames(which in 0usize..6, damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6)) {
            let hex = [testing::ARP_REQUEST, testing::ARP_REPLY, testing::SOLICITATION, testing::ADVERTISEMENT,
                       testing::ROUTER_ADVERTISEMENT, testing::DAD_SOLICITATION][which];
            let mut frame = testing::bytes(hex);
            for (at, value) in damage {
                let at = at % frame.len();
                frame[at] = value;
            }
            let mut this = Station::new();
            let outcome = this.hear(&frame);
            prop_assert_eq!(outcome == Outcome::Reply, !this.out.is_empty());
            if outcome == Outcome::Reply {
                let (eth, _) = ethernet::Repr::parse(&this.out).unwrap();
                prop_assert_eq!(eth.source, B);
                prop_assert!(this.out.len() <= 86);
            }
            for neighbour in this.table.resolved() {
                prop_assert!(address::on_link(&interface(), neighbour.addr) && !address::is_own(&interface(), neighbour.addr));
                prop_assert!(neighbour.mac.is_unicast());
            }
        }
    }
}
