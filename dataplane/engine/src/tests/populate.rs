//! Selectors populated from packets (RFC 4301 §4.4.1.2): one child, an SA for each of its values.

use super::rig::*;
use crate::Punt;
use crate::testing::VecBuffer;
use culvert_link::record::Command;
use culvert_model::*;
use culvert_telemetry::DropReason;
use culvert_wire::ipv4;

/// Site 1, which wants an SA for each value of `pfp`'s fields, and its peer.
fn gateways(pfp: Pfp) -> (Gateway, Gateway) {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.policies([Policy {
        id: PolicyId(1),
        direction: PolicyDirection::Outbound,
        priority: 1,
        local: lans(1),
        remote: lans(7),
        action: Action::Protect { child: CHILD, trap: true },
        interface: None,
        pfp,
    }]);
    b.protect(1);
    (a, b)
}

const EACH_HOST: Pfp = Pfp { remote_addr: true, ..Pfp::NONE };

/// To host `host` of site 7.
fn to(host: u8) -> VecBuffer {
    frame(host_mac(1), mac(1, LAN), &packet(ip("10.1.0.2"), ip(&format!("10.7.0.{host}")), b"x"))
}

fn only(host: u8) -> Vec<TrafficSelector> {
    vec![net(&format!("10.7.0.{host}/32"))]
}

/// An SA from a to b for packets to that host alone.
fn connect_host(a: &mut Gateway, b: &mut Gateway, host: u8) -> SaSpec {
    let (inbound, outbound) = specs(a, b, Kind { udp: true, ..Kind::PLAIN }, host);
    b.install(&SaSpec { local_ts: only(host), ..inbound }).unwrap();
    let outbound = SaSpec { remote_ts: only(host), ..outbound };
    a.install(&outbound).unwrap();
    outbound
}

/// The SPI each packet left with; behind IPv4 and UDP headers.
fn spis(a: &mut Gateway) -> Vec<u32> {
    a.sent().iter().map(|frame| u32::from_be_bytes(inner(frame)[28..32].try_into().unwrap())).collect()
}

fn remove(a: &mut Gateway, spec: &SaSpec) {
    let SaSpec { slot, spi, direction, .. } = *spec;
    a.apply(Command::Remove { slot, spi, direction }).unwrap();
}

#[test]
fn each_value_asks_for_an_sa_of_its_own_once_a_second() {
    let (mut a, mut b) = gateways(EACH_HOST);
    connect_host(&mut a, &mut b, 2);
    for host in [3, 4, 3, 4, 2] {
        a.receive(SECOND, LAN, [to(host)]);
    }
    assert_eq!((a.dropped(DropReason::NoSa), a.sent().len()), (4, 1));
    let asked = |a: &mut Gateway| -> Vec<_> {
        let of = |punt| match punt {
            Punt::Acquire { child: CHILD, flow, pfp: EACH_HOST } => flow.destination,
            other => panic!("{other:?}"),
        };
        a.io.punts.drain(..).map(of).collect()
    };
    assert_eq!(asked(&mut a), [ip("10.7.0.3"), ip("10.7.0.4")]);
    a.receive(2 * SECOND, LAN, [to(3)]);
    assert_eq!(asked(&mut a), [ip("10.7.0.3")]);
}

#[test]
fn each_packet_takes_the_sa_that_carries_it() {
    let (mut a, mut b) = gateways(EACH_HOST);
    let sas: Vec<SaSpec> = (2..30).map(|host| connect_host(&mut a, &mut b, host)).collect();
    let of = |host: u8| sas[usize::from(host) - 2].spi.get();
    a.receive(SECOND, LAN, [29, 2, 17, 2, 3].map(to));
    assert_eq!(spis(&mut a), [29, 2, 17, 2, 3].map(of));
    a.receive(SECOND, LAN, [to(5)]);
    let wire = a.sent().pop().unwrap();
    assert_eq!(b.receive_one(WAN, wire), None, "the peer takes it for the host the SA is for");
}

#[test]
fn a_rekey_of_one_leaves_the_others_alone() {
    let (mut a, mut b) = gateways(EACH_HOST);
    let (two, three) = (connect_host(&mut a, &mut b, 2), connect_host(&mut a, &mut b, 3));
    let new = connect_host(&mut a, &mut b, 2);
    a.receive(SECOND, LAN, [to(2), to(3)]);
    assert_eq!(spis(&mut a), [new.spi.get(), three.spi.get()]);
    remove(&mut a, &two);
    a.receive(SECOND, LAN, [to(2), to(3)]);
    assert_eq!(spis(&mut a), [new.spi.get(), three.spi.get()]);
    remove(&mut a, &new);
    assert_eq!(a.receive_one(LAN, to(2)), Some(DropReason::NoSa));
    assert_eq!(a.receive_one(LAN, to(3)), None);
    remove(&mut a, &three);
    assert_eq!(a.receive_one(LAN, to(3)), Some(DropReason::NoSa));
    assert!(a.shared.child_sas[CHILD.0 as usize].load().is_none());
}

#[test]
fn a_moved_peer_is_followed_by_every_sa() {
    let (mut a, mut b) = gateways(EACH_HOST);
    let (two, _three) = (connect_host(&mut a, &mut b, 2), connect_host(&mut a, &mut b, 3));
    let encapsulation = two.encapsulation.map(|e| Encapsulation { remote_port: 1024, ..e });
    let SaSpec { slot, spi, tunnel, .. } = two;
    a.apply(Command::UpdateTunnel { slot, spi, tunnel, encapsulation }).unwrap();
    a.receive(SECOND, LAN, [to(2), to(3)]);
    let ports: Vec<_> = a.sent().iter().map(|frame| inner(frame)[22..24].to_vec()).collect();
    assert_eq!(ports, [1024u16.to_be_bytes(), 4500u16.to_be_bytes()]);
}

/// Fragments do not all show the ports by which their SA would be found: put together first.
#[test]
fn fragments_wait_for_the_ports_that_choose_their_sa() {
    let (mut a, _) = gateways(Pfp { remote_port: true, ..Pfp::NONE });
    let mut whole = packet(ip("10.1.0.2"), ip("10.7.0.2"), &[0; 24]);
    let header = ipv4::Repr {
        more_fragments: true,
        ..ipv4::Repr::new([10, 1, 0, 2].into(), [10, 7, 0, 2].into(), 17, whole.len() as u16 - 20)
    };
    whole[..20].copy_from_slice(&header.to_bytes());
    a.receive(SECOND, LAN, [frame(host_mac(1), mac(1, LAN), &whole)]);
    assert!(matches!(a.io.punts[..], [Punt::Fragment { .. }]), "{:?}", a.io.punts);
}
