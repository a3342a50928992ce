//! Interfaces that share a port by tags.

use super::answers::{echo, house_drops, icmp_of, settle};
use super::rig::*;
use crate::testing::VecBuffer;
use crate::topology::{Attachment, Neighbour, Topology};
use crate::{Buffer, Interface, PortId, TopologyError};
use culvert_link::{Layout, Region};
use culvert_telemetry::DropReason;
use culvert_wire::{EtherType, Mac, arp, ethernet, vlan};
use std::sync::Arc;

const TEN: PortId = PortId(2);
const STATION: Mac = Mac([2, 9, 9, 9, 9, 9]);

fn ten(parent: PortId, port: PortId) -> Interface {
    Interface {
        port,
        attachment: Attachment::Vlan { parent, id: 10 },
        mac: mac(1, parent).0,
        mtu: 1500,
        addresses: ["10.10.0.1/24", "fd00:10::1/64"].map(|text| text.parse().unwrap()).into(),
    }
}

/// Site 1 with VLAN 10 on its lan, and no secrets.
fn gateway() -> Gateway {
    let region = Region::anonymous(Layout { slots: 64, ring_bytes: culvert_link::MIN_RING_BYTES }).unwrap();
    let mut all = interfaces(1);
    all.push(ten(LAN, TEN));
    let mut gateway = Gateway::with(region, 1, 7, all, &[]);
    gateway.policies(bypass_all());
    gateway
}

/// The frame with a tag (and a second one inside it).
fn tagged(frame: &VecBuffer, priority: u8, ids: &[u16]) -> VecBuffer {
    let (header, payload) = ethernet::Repr::parse(frame.data()).unwrap();
    let mut octets = ethernet::Repr { ether_type: EtherType::VLAN, ..header }.to_bytes().to_vec();
    for (n, id) in ids.iter().enumerate() {
        let ether_type = if n + 1 < ids.len() { EtherType::VLAN } else { header.ether_type };
        let tag = vlan::Repr { priority, drop_eligible: false, id: *id, ether_type };
        octets.extend_from_slice(&tag.to_bytes());
    }
    octets.extend_from_slice(payload);
    VecBuffer::new(&octets)
}

/// Identifier, and the frame as it would be without tag.
fn untagged(frame: &VecBuffer) -> (u16, VecBuffer) {
    let (header, payload) = ethernet::Repr::parse(frame.data()).unwrap();
    assert_eq!(header.ether_type, EtherType::VLAN);
    let (tag, payload) = vlan::Repr::parse(payload).unwrap();
    let header = ethernet::Repr { ether_type: tag.ether_type, ..header };
    (tag.id, VecBuffer::new(&[&header.to_bytes(), payload].concat()))
}

fn ask(target: &str) -> VecBuffer {
    let ask = arp::Repr {
        operation: arp::Operation::Request,
        sender_mac: STATION,
        sender: "10.10.0.2".parse().unwrap(),
        target_mac: Mac::ZERO,
        target: target.parse().unwrap(),
    };
    let header = ethernet::Repr { destination: Mac::BROADCAST, source: STATION, ether_type: EtherType::ARP };
    VecBuffer::new(&[&header.to_bytes()[..], &ask.to_bytes()].concat())
}

#[test]
fn a_vlan_is_an_interface_of_its_own() {
    let mut a = gateway();
    // Asked and answered with the tag, and only with the tag.
    assert_eq!(a.receive_one(LAN, tagged(&ask("10.10.0.1"), 0, &[10])), None);
    let sent = settle(&mut a, SECOND);
    let (id, reply) = untagged(&sent[0].1);
    let body = arp::Repr::parse(inner(&reply)).unwrap();
    assert_eq!((sent.len(), sent[0].0, id, body.sender.to_string().as_str()), (1, LAN, 10, "10.10.0.1"));
    assert_eq!(a.receive_one(LAN, ask("10.10.0.1")), None);
    assert!(settle(&mut a, SECOND).is_empty(), "nobody has that address on the port itself");
    assert_eq!(house_drops(&a, DropReason::BadArp), 1);

    // The box answers on it too.
    let ping = frame(STATION, mac(1, LAN), &echo("10.10.0.2", "10.10.0.1", 64));
    assert_eq!(a.receive_one(LAN, tagged(&ping, 0, &[10])), None);
    let (id, reply) = untagged(&settle(&mut a, SECOND)[0].1);
    assert_eq!((id, icmp_of(inner(&reply))), (10, (ip("10.10.0.1"), ip("10.10.0.2"), 0)));
}

#[test]
fn packets_go_from_and_to_a_vlan() {
    let mut a = gateway();
    let station = Neighbour { port: TEN, addr: ip("10.10.0.2"), mac: STATION };
    let host = Neighbour { port: LAN, addr: ip("10.1.0.2"), mac: host_mac(1) };
    a.shared.topology.store(Arc::new(a.shared.topology.load().with_neighbours(vec![station, host])));
    let there = frame(STATION, mac(1, LAN), &packet(ip("10.10.0.2"), ip("10.1.0.2"), b"there"));
    assert_eq!(a.receive_one(LAN, tagged(&there, 3, &[10])), None);
    let (port, sent) = a.io.sent.remove(0);
    let header = ethernet::Repr::parse(sent.data()).unwrap().0;
    assert_eq!((port, header.ether_type, header.destination), (LAN, EtherType::IPV4, host_mac(1)));
    let back = frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip("10.10.0.2"), b"back"));
    assert_eq!(a.receive_one(LAN, back), None);
    let (port, sent) = a.io.sent.remove(0);
    let (id, plain) = untagged(&sent);
    assert_eq!((port, id), (LAN, 10));
    assert_eq!(ethernet::Repr::parse(plain.data()).unwrap().0.destination, STATION);
    assert!(plain.data().ends_with(b"back"));
}

#[test]
fn an_unknown_neighbour_is_asked_for_with_the_tag() {
    let mut a = gateway();
    for (from, to, ether_type) in
        [("10.1.0.2", "10.10.0.9", EtherType::ARP), ("fd00:1::2", "fd00:10::9", EtherType::IPV6)]
    {
        let lost = frame(host_mac(1), mac(1, LAN), &packet(ip(from), ip(to), b"where are you"));
        assert_eq!(a.receive_one(LAN, lost), None);
        let sent = settle(&mut a, SECOND);
        let (id, question) = untagged(&sent[0].1);
        let header = ethernet::Repr::parse(question.data()).unwrap().0;
        assert_eq!((sent[0].0, id, header.ether_type), (LAN, 10, ether_type));
        assert!(header.destination.is_multicast());
    }
}

#[test]
fn it_announces_its_addresses_with_the_tag() {
    let mut a = gateway();
    a.house.tick(SECOND, &mut a.io);
    let tags: Vec<u16> = a
        .sent()
        .iter()
        .filter(|frame| ethernet::Repr::parse(frame.data()).unwrap().0.ether_type == EtherType::VLAN)
        .map(|frame| untagged(frame).0)
        .collect();
    assert_eq!(tags, [10, 10, 10], "both addresses and the link-local one");
}

#[test]
fn other_tags_are_dropped() {
    let mut a = gateway();
    let plain = frame(STATION, mac(1, LAN), &packet(ip("10.1.0.2"), ip("192.0.2.7"), b"hello"));
    assert_eq!(a.receive_one(LAN, tagged(&plain, 7, &[0])), None, "a priority tag belongs to the port");
    for ids in [&[11][..], &[4094], &[4095], &[10, 10], &[0, 10], &[10, 0]] {
        assert_eq!(a.receive_one(LAN, tagged(&plain, 0, ids)), Some(DropReason::UnknownVlan), "{ids:?}");
    }
    let outside = frame(STATION, mac(1, WAN), &packet(ip("192.0.2.7"), ip("10.1.0.2"), b"hello"));
    assert_eq!(a.receive_one(WAN, tagged(&outside, 0, &[10])), Some(DropReason::UnknownVlan), "of another port");
    let mut other = plain.data().to_vec();
    other[5] ^= 1;
    assert_eq!(a.receive_one(LAN, tagged(&VecBuffer::new(&other), 0, &[10])), Some(DropReason::NotOurMac));
    for len in 14..18 {
        let cut = tagged(&plain, 0, &[10]).data()[..len].to_vec();
        assert_eq!(a.receive_one(LAN, VecBuffer::new(&cut)), Some(DropReason::Truncated), "{len}");
    }
}

#[test]
fn a_vlan_needs_a_port_and_an_identifier_of_its_own() {
    let refused = |more: &[Interface]| {
        let all = [&interfaces(1)[..], more].concat();
        Topology::new(all, &[]).err()
    };
    assert_eq!(refused(&[ten(LAN, TEN)]), None);
    assert_eq!(refused(&[ten(LAN, TEN), ten(WAN, PortId(3))]), None);
    let twice = refused(&[ten(LAN, TEN), ten(LAN, PortId(3))]);
    assert_eq!(twice, Some(TopologyError::BadVlan(LAN, 10)));
    assert_eq!(refused(&[ten(PortId(9), TEN)]), Some(TopologyError::BadVlan(PortId(9), 10)));
    assert_eq!(refused(&[ten(LAN, TEN), ten(TEN, PortId(3))]), Some(TopologyError::BadVlan(TEN, 10)));
}
