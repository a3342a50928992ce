//! A bump in the wire.

use super::answers::{echo, house_drops, icmp_of, settle};
use super::rig::*;
use super::transit_errors::{Error, error};
use crate::testing::VecBuffer;
use crate::topology::{Attachment, Neighbour, Topology};
use crate::{Buffer, Interface, PortId, TopologyError};
use culvert_link::{Layout, Region};
use culvert_model::*;
use culvert_telemetry::{DropReason, WorkerCounter};
use culvert_wire::{EtherType, Mac, arp, ethernet, ndp, protocol, vlan};
use std::sync::Arc;

/// Behind the lan port; its router is on the wan side, like everybody else.
const STATION: Mac = Mac([2, 9, 9, 9, 9, 9]);
const ROUTER: Mac = Mac([2, 8, 8, 8, 8, 8]);

/// Site 1 between the station 192.0.2.10 and the rest of 192.0.2.0/24, with an address of its own or none.
fn bump(own_address: bool) -> Gateway {
    let region = Region::anonymous(Layout { slots: 64, ring_bytes: culvert_link::MIN_RING_BYTES }).unwrap();
    let mut all = interfaces(1);
    all[0].attachment = Attachment::Bridge { other: LAN };
    all[1].attachment = Attachment::Side { of: WAN };
    all[1].addresses.clear();
    if !own_address {
        all[0].addresses.clear();
    }
    let mut gateway = Gateway::with(region, 1, 7, all, &[]);
    let tunnel = |id, direction| Policy {
        id: PolicyId(id),
        direction,
        priority: 1,
        local: vec![net("192.0.2.10/32"), net("2001:db8::10/128")],
        remote: lans(7),
        action: Action::Protect { child: CHILD, trap: true },
        interface: None,
        pfp: Pfp::NONE,
    };
    let discard = Policy {
        remote: vec![net("203.0.113.0/24")],
        action: Action::Discard,
        ..tunnel(23, PolicyDirection::Outbound)
    };
    let all = [tunnel(21, PolicyDirection::Outbound), tunnel(22, PolicyDirection::Inbound), discard];
    gateway.policies(bypass_all().into_iter().chain(all));
    gateway
}

fn only(gateway: &mut Gateway) -> (PortId, VecBuffer) {
    assert_eq!(gateway.io.sent.len(), 1);
    gateway.io.sent.remove(0)
}

fn to_router(packet: &[u8]) -> VecBuffer {
    frame(STATION, ROUTER, packet)
}

/// A frame of another kind, with padding.
fn other(destination: Mac, ether_type: u16, payload: &[u8]) -> VecBuffer {
    let header = ethernet::Repr { destination, source: STATION, ether_type: EtherType(ether_type) };
    VecBuffer::new(&[&header.to_bytes()[..], payload, &[0; 20]].concat())
}

fn ask(source: Mac, sender: &str, target: &str) -> VecBuffer {
    let ask = arp::Repr {
        operation: arp::Operation::Request,
        sender_mac: source,
        sender: sender.parse().unwrap(),
        target_mac: Mac::ZERO,
        target: target.parse().unwrap(),
    };
    let header = ethernet::Repr { destination: Mac::BROADCAST, source, ether_type: EtherType::ARP };
    VecBuffer::new(&[&header.to_bytes()[..], &ask.to_bytes()].concat())
}

#[test]
fn what_policy_lets_through_is_not_touched() {
    for own_address in [true, false] {
        let mut a = bump(own_address);
        let tagged = |packet: &[u8], id| {
            let tag = vlan::Repr { priority: 3, drop_eligible: false, id, ether_type: EtherType::IPV4 };
            other(ROUTER, 0x8100, &[&tag.to_bytes()[..], packet].concat())
        };
        let packet4 = packet(ip("192.0.2.10"), ip("198.51.100.1"), b"as it is");
        let bpdu = other(Mac([1, 0x80, 0xc2, 0, 0, 0]), 0x0026, &[0x42, 0x42, 3, 0, 0, 0, 0, 0]);
        for sent in [
            to_router(&packet4),
            to_router(&packet(ip("2001:db8::10"), ip("2001:db8:9::1"), b"as it is")),
            // The last hop is nobody's business here.
            to_router(&echo("192.0.2.10", "198.51.100.1", 1)),
            to_router(&packet(ip("192.0.2.10"), ip("224.0.0.251"), b"to a group")),
            to_router(&packet(ip("192.0.2.10"), ip("255.255.255.255"), b"to everybody")),
            other(ROUTER, 0x0800, &packet4),
            tagged(&packet4, 7),
            bpdu,
            other(ROUTER, 0x88cc, b"link layer discovery"),
            ask(STATION, "192.0.2.10", "192.0.2.254"),
        ] {
            for (port, out) in [(LAN, WAN), (WAN, LAN)] {
                assert_eq!(a.receive_one(port, sent.clone()), None, "{:02x?}", sent.data());
                assert_eq!(only(&mut a), (out, sent.clone()));
            }
        }
        assert_eq!(a.count(WorkerCounter::BypassedPackets), 14);
    }
}

#[test]
fn policy_holds_for_every_ip_packet() {
    let mut a = bump(true);
    let forbidden = packet(ip("192.0.2.10"), ip("203.0.113.5"), b"never");
    let tag = |id, ether_type| vlan::Repr { priority: 0, drop_eligible: false, id, ether_type }.to_bytes();
    let tagged = |tags: &[[u8; 4]]| other(ROUTER, 0x8100, &[&tags.concat()[..], &forbidden].concat());
    for (sent, reason) in [
        (to_router(&forbidden), DropReason::PolicyDiscard),
        (tagged(&[tag(7, EtherType::IPV4)]), DropReason::PolicyDiscard),
        // Where there might be two tags, nobody can tell who would take which off.
        (tagged(&[tag(7, EtherType::VLAN), tag(8, EtherType::IPV4)]), DropReason::UnknownVlan),
        (tagged(&[tag(7, EtherType(0x88a8)), tag(8, EtherType::IPV4)]), DropReason::UnknownVlan),
        (other(ROUTER, 0x88a8, &tag(7, EtherType::IPV4)), DropReason::UnknownVlan),
        (other(ROUTER, 0x86dd, &forbidden), DropReason::Ipv6Header),
        (other(ROUTER, 0x0800, &forbidden[..10]), DropReason::Ipv4Checksum),
        (frame(STATION, ROUTER, &forbidden[..19]), DropReason::Truncated),
        // Who speaks with our address, or our hardware address.
        (to_router(&packet(ip("192.0.2.1"), ip("198.51.100.1"), b"spoofed")), DropReason::SourceSpoofed),
        (frame(mac(1, LAN), ROUTER, &forbidden), DropReason::SourceSpoofed),
        (frame(mac(1, WAN), ROUTER, &forbidden), DropReason::SourceSpoofed),
        (to_router(&packet(ip("192.0.2.10"), ip("192.0.2.1"), b"astray")), DropReason::NotOurMac),
    ] {
        assert_eq!(a.receive_one(LAN, sent.clone()), Some(reason), "{:02x?}", sent.data());
    }
    // What must come through the tunnel, from the other side.
    let clear = frame(ROUTER, STATION, &packet(ip("10.7.0.2"), ip("192.0.2.10"), b"in clear"));
    assert_eq!(a.receive_one(WAN, clear), Some(DropReason::InboundClear));
    for len in 0..14 {
        let cut = to_router(&forbidden).data()[..len].to_vec();
        assert_eq!(a.receive_one(LAN, VecBuffer::new(&cut)), Some(DropReason::Truncated), "{len}");
    }
    assert!(a.sent().is_empty());
}

#[test]
fn protected_traffic_leaves_by_the_boxs_own_address_and_comes_back() {
    let (mut a, mut b) = (bump(true), Gateway::new(7, 1));
    let local = || vec![net("192.0.2.10/32"), net("2001:db8::10/128")];
    let mirror = |id, direction| Policy {
        id: PolicyId(id),
        direction,
        priority: 1,
        local: lans(7),
        remote: local(),
        action: Action::Protect { child: CHILD, trap: true },
        interface: None,
        pfp: Pfp::NONE,
    };
    b.policies([mirror(1, PolicyDirection::Outbound), mirror(2, PolicyDirection::Inbound)]);
    let (inbound, outbound) = specs(&a, &b, Kind::PLAIN, 1);
    b.install(&SaSpec { remote_ts: local(), ..inbound }).unwrap();
    a.install(&SaSpec { local_ts: local(), ..outbound }).unwrap();
    let (inbound, outbound) = specs(&b, &a, Kind::PLAIN, 100);
    a.install(&SaSpec { local_ts: local(), ..inbound }).unwrap();
    b.install(&SaSpec { remote_ts: local(), ..outbound }).unwrap();

    let secret = packet(ip("192.0.2.10"), ip("10.7.0.2"), b"secret");
    assert_eq!(a.receive_one(LAN, to_router(&secret)), None);
    let (port, outer) = only(&mut a);
    assert_eq!((port, inner(&outer)[9]), (WAN, protocol::ESP));
    assert_eq!(b.receive_one(WAN, outer), None);
    assert!(only(&mut b).1.data().ends_with(b"secret"));

    // The answer's destination is looked for on both sides, and found behind the lan.
    let answer = frame(host_mac(7), mac(7, LAN), &packet(ip("10.7.0.2"), ip("192.0.2.10"), b"answer"));
    assert_eq!(b.receive_one(LAN, answer.clone()), None);
    let outer = only(&mut b).1;
    assert_eq!(a.receive_one(WAN, outer), None);
    let asked = settle(&mut a, SECOND);
    let by = |(port, frame): &(PortId, VecBuffer)| (*port, ethernet::Repr::parse(frame.data()).unwrap().0.source);
    assert_eq!(asked.iter().map(by).collect::<Vec<_>>(), [(WAN, mac(1, WAN)), (LAN, mac(1, LAN))]);
    let here = arp::Repr {
        operation: arp::Operation::Reply,
        sender_mac: STATION,
        sender: "192.0.2.10".parse().unwrap(),
        target_mac: mac(1, LAN),
        target: "192.0.2.1".parse().unwrap(),
    };
    let header = ethernet::Repr { destination: mac(1, LAN), source: STATION, ether_type: EtherType::ARP };
    let here = VecBuffer::new(&[&header.to_bytes()[..], &here.to_bytes()].concat());
    assert_eq!(a.receive_one(LAN, here), None);
    let delivered = settle(&mut a, SECOND).remove(0);
    let header = ethernet::Repr::parse(delivered.1.data()).unwrap().0;
    assert_eq!((delivered.0, header.source, header.destination), (LAN, mac(1, LAN), STATION));
    assert!(delivered.1.data().ends_with(b"answer"));
    // Workers know the side too.
    let hop = a.shared.topology.load().hop(ip("192.0.2.10")).unwrap();
    assert_eq!((hop.port, hop.device, hop.source_mac, hop.mac), (WAN, LAN, mac(1, LAN), Some(STATION)));
}

/// RFC 4301 §6.2: of a station that no policy knows, about a packet that came through the tunnel.
#[test]
fn an_error_about_protected_traffic_is_protected() {
    let mut a = bump(true);
    let policy = |direction, id| Policy {
        id: PolicyId(id),
        direction,
        priority: 1,
        local: vec![net("192.0.2.10/32")],
        remote: lans(7),
        action: Action::Protect { child: CHILD, trap: true },
        interface: None,
        pfp: Pfp::NONE,
    };
    a.policies([policy(PolicyDirection::Outbound, 1), policy(PolicyDirection::Inbound, 2)]);
    let (_, outbound) = specs(&a, &Gateway::new(7, 1), Kind::PLAIN, 1);
    a.install(&SaSpec { local_ts: vec![net("192.0.2.10/32")], ..outbound }).unwrap();
    let about =
        |target: &str| error(Error::TimeExceeded, "192.0.2.99", "10.7.0.2", &packet(ip("10.7.0.2"), ip(target), b"x"));
    assert_eq!(a.receive_one(LAN, to_router(&about("192.0.2.10"))), None);
    assert_eq!(inner(&only(&mut a).1)[9], protocol::ESP);
    assert_eq!(a.receive_one(LAN, to_router(&about("192.0.2.11"))), Some(DropReason::IcmpErrorNoSa));
    assert_eq!(a.receive_one(LAN, to_router(&echo("192.0.2.99", "10.7.0.2", 64))), Some(DropReason::NoPolicy));
}

#[test]
fn the_box_answers_on_both_sides() {
    let mut a = bump(true);
    for (port, source, sender) in [(LAN, STATION, "192.0.2.10"), (WAN, ROUTER, "192.0.2.254")] {
        assert_eq!(a.receive_one(port, ask(source, sender, "192.0.2.1")), None);
        let reply = settle(&mut a, SECOND).remove(0);
        assert_eq!(arp::Repr::parse(inner(&reply.1)).unwrap().sender_mac, mac(1, port));
        assert_eq!(reply.0, port);
        let ping = frame(source, mac(1, port), &echo(sender, "192.0.2.1", 64));
        assert_eq!(a.receive_one(port, ping), None);
        let reply = settle(&mut a, SECOND).remove(0);
        assert_eq!(reply.0, port);
        assert_eq!(icmp_of(inner(&reply.1)), (ip("192.0.2.1"), ip(sender), 0));
    }
    // Neighbour discovery about the box is the box's; about others it passes.
    let solicit = |target: &str| {
        let target = target.parse().unwrap();
        let asking = Interface {
            mac: STATION.0,
            addresses: vec!["2001:db8::10/64".parse().unwrap()],
            ..interfaces(1)[0].clone()
        };
        let mut out = Vec::new();
        assert!(crate::host::discovery::solicit(&asking, std::net::IpAddr::V6(target), None, &mut out));
        VecBuffer::new(&out)
    };
    assert_eq!(a.receive_one(LAN, solicit("2001:db8::1")), None);
    let reply = settle(&mut a, SECOND).remove(0);
    let (header, payload) = culvert_wire::ipv6::Header::parse(inner(&reply.1)).unwrap();
    let message = ndp::Message::parse(ndp::Carrier::of(&header), payload).unwrap();
    assert!(matches!(message, ndp::Message::NeighbourAdvertisement(na) if na.target_mac == Some(mac(1, LAN))));
    assert_eq!(a.receive_one(LAN, solicit("2001:db8::99")), None);
    assert_eq!(only(&mut a), (WAN, solicit("2001:db8::99")));
    // It says on both who it is.
    a.house.tick(SECOND, &mut a.io);
    let ports: Vec<_> = a.io.sent.drain(..).map(|(port, _)| port).collect();
    assert_eq!((ports.iter().filter(|p| **p == LAN).count(), ports.len()), (3, 6));
    assert_eq!(house_drops(&a, DropReason::BadArp), 0);
}

#[test]
fn without_an_address_it_is_not_to_be_noticed() {
    let mut a = bump(false);
    a.house.tick(SECOND, &mut a.io);
    assert!(a.sent().is_empty());
    let topology = a.shared.topology.load();
    assert!(topology.interfaces().all(|interface| interface.addresses.is_empty()));
}

#[test]
fn a_station_that_moves_is_followed_and_their_number_is_bounded() {
    let mut a = bump(true);
    let neighbour = Neighbour { port: WAN, addr: ip("192.0.2.10"), mac: STATION };
    let topology = a.shared.topology.load().with_neighbours(vec![neighbour]);
    a.shared.topology.store(Arc::new(topology));
    for port in [LAN, WAN, LAN] {
        assert_eq!(a.receive_one(port, ask(STATION, "192.0.2.10", "192.0.2.1")), None);
        settle(&mut a, SECOND);
        assert_eq!(a.shared.topology.load().hop(ip("192.0.2.10")).unwrap().device, port);
    }
    for n in 0..5000u32 {
        let [_, x, y, z] = n.to_be_bytes();
        a.receive(SECOND, LAN, [ask(Mac([2, 1, 1, x, y, z]), "192.0.2.11", "192.0.2.1")]);
        settle(&mut a, SECOND);
    }
    assert_eq!(a.house.stations.len(), 4096);
}

#[test]
fn bridged_ports_must_fit_together() {
    let refused = |first: Attachment, second: Attachment, addresses: bool| {
        let mut all = interfaces(1);
        (all[0].attachment, all[1].attachment) = (first, second);
        if !addresses {
            all[1].addresses.clear();
        }
        Topology::new(all, &[]).err()
    };
    let (lead, side) = (Attachment::Bridge { other: LAN }, Attachment::Side { of: WAN });
    assert_eq!(refused(lead, side, false), None);
    assert_eq!(refused(lead, side, true), Some(TopologyError::BadBridge(LAN)));
    assert_eq!(refused(lead, Attachment::Port, false), Some(TopologyError::BadBridge(WAN)));
    assert_eq!(refused(Attachment::Port, side, false), Some(TopologyError::BadBridge(LAN)));
    assert_eq!(refused(Attachment::Bridge { other: WAN }, side, false), Some(TopologyError::BadBridge(WAN)));
}
