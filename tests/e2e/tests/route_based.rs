//! Tunnel interfaces: routes choose what is protected.

use culvert_e2e::{Kind, LabError, Plans, Scenario, Setup, ping, scenario, wait_for_ping};
use culvert_lab::{Census, FrameKind, GatewayPlan};
use std::time::Duration;

/// Everything of both families by routes into `ipsec0`; beside it a child by selectors. `10.N.8.0/24` and `10.N.9.0/24`
/// are networks on the lan of site N.
fn route_based(plan: &mut GatewayPlan, own: u8) {
    let other = 3 - own;
    let lan = &mut plan.connections[0].children[0];
    let direct = culvert_lab::Child {
        name: "direct".to_owned(),
        local_ts: vec![format!("10.{own}.8.0/24")],
        remote_ts: vec![format!("10.{other}.8.0/24")],
        ..lan.clone()
    };
    lan.interface = Some("ipsec0".to_owned());
    (lan.local_ts, lan.remote_ts) = (Vec::new(), Vec::new());
    plan.connections[0].children.push(direct);
    plan.more = format!(
        "[[interface]]\nname = \"ipsec0\"\ndevice = \"tunnel\"\naddresses = [\"10.255.0.{own}/30\", \
         \"fd00:255::{own}/64\"]\n"
    );
    for (destination, interface) in [
        (format!("10.{other}.0.0/24"), "ipsec0"),
        (format!("fd00:{other}::/64"), "ipsec0"),
        (format!("10.{other}.9.0/24"), "ipsec0"),
        (format!("10.{own}.8.0/23"), "lan"),
    ] {
        plan.more += &format!("[[route]]\ndestination = \"{destination}\"\ninterface = \"{interface}\"\n");
    }
}

fn ping_from(s: &Scenario, source: &str, to: &str) -> Result<(), LabError> {
    let line = ["ping", "-n", "-q", "-c", "5", "-i", "0.1", "-W", "3", "-I", source, to];
    s.net.a.host.run_for(&line, Duration::from_secs(15)).map(drop)
}

#[test]
fn routes_lead_into_a_tunnel_beside_one_by_selectors() {
    let change = |plans: &mut Plans| {
        route_based(&mut plans.a, 1);
        route_based(&mut plans.b, 2);
    };
    scenario(Setup::new(Kind::Culvert, Kind::Culvert), change, |s| {
        for (side, site) in [(&s.net.a, 1), (&s.net.b, 2)] {
            side.host.add_addresses("eth0", &[&format!("10.{site}.8.10/24"), &format!("10.{site}.9.10/24")])?;
        }
        let census = Census::start(&s.net.wan)?;
        s.connect()?;
        s.b.wait_child("direct")?;
        s.ping_all()?;

        // Another prefix, of which IKE was told nothing.
        let before = s.a.wait_child("lan")?;
        wait_for_ping(&s.net.a.host, "10.2.9.10", Duration::from_secs(10))?;
        ping_from(s, "10.1.9.10", "10.2.0.10")?;
        ping_from(s, "10.1.0.10", "10.2.9.10")?;
        // The other end's own addresses on its tunnel interface.
        for address in ["10.255.0.2", "fd00:255::2"] {
            ping(&s.net.a.host, address)?;
        }
        let after = s.a.wait_child("lan")?;
        assert!(after.packets_out >= before.packets_out + 20, "{before:?} {after:?}");
        assert_eq!(s.a.wait_child("direct")?.packets_out, 0, "it has its own");

        ping_from(s, "10.1.8.10", "10.2.8.10")?;
        let direct = s.a.wait_child("direct")?;
        assert!(direct.packets_out >= 5 && direct.packets_in >= 5, "{direct:?}");
        assert_eq!(s.a.wait_child("lan")?.packets_out, after.packets_out, "and nothing of the other's");

        let counts = census.counts()?;
        assert_eq!(counts[&FrameKind::Other], 0, "nothing but ESP, IKE and ARP between them: {counts:?}");
        Ok(())
    });
}

#[test]
fn what_is_routed_into_a_tunnel_waits_for_it() {
    let change = |plans: &mut Plans| {
        route_based(&mut plans.a, 1);
        plans.a.connections[0].children[0].start = culvert_lab::Start::None;
    };
    scenario(Setup::new(Kind::Culvert, Kind::Culvert), change, |s| {
        let census = Census::start(&s.net.wan)?;
        s.a.start()?;
        for to in [s.net.b.host4, "10.2.9.10", "10.255.0.2"] {
            assert!(ping(&s.net.a.host, to).is_err(), "{to}");
        }
        assert!(s.a.culvert().drops("no_sa")? >= 10);
        assert_eq!(census.counts()?[&FrameKind::Other], 0);
        Ok(())
    });
}
