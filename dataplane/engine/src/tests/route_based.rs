//! Tunnel interfaces: routes choose the traffic.

use super::answers::{echo, icmp_of, settle};
use super::rig::*;
use super::transit_errors::{Error, error};
use crate::topology::Attachment;
use crate::{Interface, PortId, Punt, Route};
use culvert_link::record::Event;
use culvert_link::{Layout, Region};
use culvert_model::*;
use culvert_telemetry::DropReason;

const TUNNEL: PortId = PortId(2);

fn any() -> Vec<TrafficSelector> {
    vec![net("0.0.0.0/0"), net("::/0")]
}

/// A site whose peer's networks, and 172.16.0.0/12, are routed into a tunnel interface with an address of its own.
fn site(site: u8, peer: u8) -> Gateway {
    site_of(site, peer, 1500)
}

fn site_of(site: u8, peer: u8, mtu: u16) -> Gateway {
    let region = Region::anonymous(Layout { slots: 64, ring_bytes: culvert_link::MIN_RING_BYTES }).unwrap();
    let mut all = interfaces(site);
    all.push(Interface {
        port: TUNNEL,
        attachment: Attachment::Tunnel,
        mac: [0; 6],
        mtu,
        addresses: vec![format!("10.255.0.{site}/24").parse().unwrap()],
    });
    let into = |destination: String| Route { destination: destination.parse().unwrap(), via: None, port: Some(TUNNEL) };
    let beyond = if site < peer { "172.16.0.0/12" } else { "172.15.0.0/16" };
    let routes = [format!("10.{peer}.0.0/16"), format!("fd00:{peer:x}::/64"), beyond.to_owned()].map(into);
    let mut gateway = Gateway::with(region, site, peer, all, &routes);
    let bound = |id, direction| Policy {
        id: PolicyId(id),
        direction,
        priority: 100,
        local: any(),
        remote: any(),
        action: Action::Protect { child: CHILD, trap: true },
        interface: Some(InterfaceId(TUNNEL.0)),
        pfp: Pfp::NONE,
    };
    let mut policies = bypass_all();
    policies.extend([bound(11, PolicyDirection::Outbound), bound(12, PolicyDirection::Inbound)]);
    gateway.policies(policies);
    gateway
}

fn connect_wide(from: &mut Gateway, to: &mut Gateway, key: u8) {
    let (inbound, outbound) = specs(from, to, Kind::PLAIN, key);
    let wide = |spec: SaSpec| SaSpec { local_ts: any(), remote_ts: any(), ..spec };
    to.install(&wide(inbound)).unwrap();
    from.install(&wide(outbound)).unwrap();
}

fn tunnel() -> (Gateway, Gateway) {
    let (mut a, mut b) = (site(1, 7), site(7, 1));
    connect_wide(&mut a, &mut b, 1);
    connect_wide(&mut b, &mut a, 100);
    (a, b)
}

#[test]
fn what_is_routed_into_it_is_protected_whatever_its_addresses() {
    let (mut a, mut b) = tunnel();
    for (source, destination) in [
        ("10.1.0.2", "10.7.0.2"),
        ("fd00:1::2", "fd00:7::2"),
        // A network behind the lan, that no selector names.
        ("172.15.3.4", "10.7.0.2"),
    ] {
        let packet = frame(host_mac(1), mac(1, LAN), &packet(ip(source), ip(destination), b"through"));
        assert_eq!(a.receive_one(LAN, packet), None, "{source} to {destination}");
        let outer = a.sent().remove(0);
        assert_eq!(inner(&outer)[9], 50, "ESP");
        assert_eq!(b.receive_one(WAN, outer), None);
        let (port, delivered) = b.io.sent.remove(0);
        assert_eq!(port, LAN);
        assert!(crate::Buffer::data(&delivered).ends_with(b"through"));
    }
    // What is routed elsewhere asks the other policies.
    let clear = frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip("192.0.2.7"), b"clear"));
    assert_eq!(a.receive_one(LAN, clear), None);
    assert!(crate::Buffer::data(&a.sent()[0]).ends_with(b"clear"));
}

#[test]
fn its_addresses_answer_through_the_tunnel_and_from_the_lan() {
    let (mut a, mut b) = tunnel();
    let ask = frame(host_mac(7), mac(7, LAN), &echo("10.7.0.2", "10.255.0.1", 64));
    // 10.255.0.0/24 is connected to the tunnel interface.
    assert_eq!(b.receive_one(LAN, ask), None);
    let outer = b.sent().remove(0);
    assert_eq!(a.receive_one(WAN, outer), None);
    let answer = settle(&mut a, SECOND).remove(0);
    assert_eq!((answer.0, inner(&answer.1)[9]), (WAN, 50));
    assert_eq!(b.receive_one(WAN, answer.1), None);
    assert_eq!(icmp_of(inner(&b.sent()[0])), (ip("10.255.0.1"), ip("10.7.0.2"), 0));

    let local = frame(host_mac(1), mac(1, LAN), &echo("10.1.0.2", "10.255.0.1", 64));
    assert_eq!(a.receive_one(LAN, local), None);
    assert_eq!(icmp_of(inner(&settle(&mut a, SECOND)[0].1)), (ip("10.255.0.1"), ip("10.1.0.2"), 0));
    // Nothing is said on its behalf on any wire.
    a.house.tick(SECOND, &mut a.io);
    assert_eq!(a.io.sent.len(), 6, "two addresses and a link-local one on each of two ports");
}

#[test]
fn its_own_mtu_holds_where_it_is_less_than_the_tunnels() {
    for (interface, told) in [(Some(InterfaceId(TUNNEL.0)), true), (None, false)] {
        let (mut a, mut b) = (small_site(), site(7, 1));
        let (inbound, outbound) = specs(&a, &b, Kind::PLAIN, 1);
        b.install(&SaSpec { local_ts: any(), remote_ts: any(), ..inbound }).unwrap();
        a.install(&SaSpec { local_ts: any(), remote_ts: any(), interface, ..outbound }).unwrap();
        let fits = frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip("10.7.0.2"), &[0; 972]));
        assert_eq!(a.receive_one(LAN, fits), None);
        assert_eq!(a.sent().len(), 1);
        let large = frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip("10.7.0.2"), &[0; 973]));
        assert_eq!(a.receive_one(LAN, large), None);
        assert_eq!(matches!(a.io.punts.as_slice(), [Punt::TooBig { mtu: 1000, .. }]), told, "{:?}", a.io.punts);
        assert_eq!(a.sent().is_empty(), told);
    }
}

/// [`site`] 1, whose tunnel interface takes packets of 1000 octets.
fn small_site() -> Gateway {
    site_of(1, 7, 1000)
}

#[test]
fn without_an_sa_nothing_leaves_and_an_acquire_is_raised() {
    let mut a = site(1, 7);
    let lost = frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip("10.7.0.2"), b"secret"));
    assert_eq!(a.receive_one(LAN, lost), Some(DropReason::NoSa));
    assert!(matches!(a.io.punts.as_slice(), [Punt::Acquire { child: CHILD, .. }]));
    settle(&mut a, SECOND);
    assert!(matches!(a.house.poll_event(), Some(Event::Acquire { child: CHILD, .. })));
}

#[test]
fn no_policy_lets_anything_into_it_in_clear() {
    // The bypass policies speak of everything, but not of what is routed into a tunnel.
    let mut a = site(1, 7);
    a.policies(bypass_all());
    let secret = || frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip("10.7.0.2"), b"secret"));
    assert_eq!(a.receive_one(LAN, secret()), Some(DropReason::NoPolicy));
    // Nor one that is bound to it.
    let bound = bypass_all().into_iter().map(|policy| Policy { interface: Some(InterfaceId(TUNNEL.0)), ..policy });
    a.policies(bound);
    assert_eq!(a.receive_one(LAN, secret()), Some(DropReason::NoPolicy));
    assert!(a.sent().is_empty());
}

#[test]
fn what_should_have_come_through_it_is_dropped_in_clear() {
    let (mut a, _) = tunnel();
    for source in ["10.7.0.2", "172.16.9.9", "10.255.0.7"] {
        let spoofed = frame(mac(7, WAN), mac(1, WAN), &packet(ip(source), ip("10.1.0.2"), b"spoofed"));
        assert_eq!(a.receive_one(WAN, spoofed), Some(DropReason::InboundClear), "{source}");
        let to_box = frame(mac(7, WAN), mac(1, WAN), &echo(source, "10.1.0.1", 64));
        assert_eq!(a.receive_one(WAN, to_box), Some(DropReason::InboundClear), "{source}");
    }
    let spoofed = frame(mac(7, WAN), mac(1, WAN), &packet(ip("fd00:7::2"), ip("fd00:1::2"), b"spoofed"));
    assert_eq!(a.receive_one(WAN, spoofed), Some(DropReason::InboundClear));
}

#[test]
fn the_way_to_a_peer_does_not_lead_into_a_tunnel_in_clear() {
    // A route to the peer itself into the interface of its tunnel.
    let region = Region::anonymous(Layout { slots: 64, ring_bytes: culvert_link::MIN_RING_BYTES }).unwrap();
    let mut all = interfaces(1);
    let tunnel = Interface { port: TUNNEL, attachment: Attachment::Tunnel, mac: [0; 6], mtu: 1500, addresses: vec![] };
    all.push(tunnel);
    let into = |text: &str| Route { destination: text.parse().unwrap(), via: None, port: Some(TUNNEL) };
    let shared = Gateway::with(region, 1, 7, all, &[into("0.0.0.0/0"), into("192.0.2.7/32")]).shared;
    let topology = shared.topology.load();
    assert_eq!(topology.hop(ip("192.0.2.7")), None);
    assert_eq!(topology.tunnel_interface(ip("192.0.2.7")), Some(InterfaceId(TUNNEL.0)));
    assert_eq!(topology.tunnel_interface(ip("192.0.2.8")), None, "connected networks are closer");
    assert_eq!(topology.tunnel_interface(ip("fd00:9::1")), None);
}

/// RFC 4301 §6.2, where the SA is narrower than "everything": the route of an error's destination leads into the tunnel.
#[test]
fn errors_of_routers_that_the_sa_does_not_hold_are_judged_by_what_they_quote() {
    let (mut a, mut b) = (site(1, 7), site(7, 1));
    connect(&mut b, &mut a, Kind::PLAIN, 1);
    let cause = |source: &str, destination: &str| packet(ip(source), ip(destination), b"x");
    let from_router = |quote: &[u8]| {
        let error = error(Error::TimeExceeded, "203.0.113.9", "10.1.0.2", quote);
        frame(host_mac(7), mac(7, LAN), &error)
    };
    assert_eq!(b.receive_one(LAN, from_router(&cause("10.1.0.2", "10.7.0.2"))), None);
    let wire = b.sent().remove(0);
    assert_eq!(inner(&wire)[9], 50, "ESP");
    assert_eq!(a.receive_one(WAN, wire), None);
    let (port, got) = a.io.sent.remove(0);
    assert_eq!((port, icmp_of(inner(&got))), (LAN, (ip("203.0.113.9"), ip("10.1.0.2"), 11)));
    // About what the SA does not carry; and what came by another way than the tunnel.
    let refused = Some(DropReason::IcmpErrorNoSa);
    assert_eq!(b.receive_one(LAN, from_router(&cause("10.1.0.2", "203.0.113.77"))), refused);
    let inside = error(Error::TimeExceeded, "172.16.0.9", "10.1.0.2", &cause("10.1.0.2", "10.7.0.2"));
    assert_eq!(a.receive_one(WAN, frame(mac(7, WAN), mac(1, WAN), &inside)), Some(DropReason::InboundClear));
}
