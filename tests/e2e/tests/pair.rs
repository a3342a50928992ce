//! Two Culverts.

use culvert_e2e::{Family, Kind, Nat, Plans, Setup, Start, ping, scenario, wait_for_ping};
use culvert_lab::{Capture, Census, FrameKind, ManualSa, examine};
use culvert_status::TunnelState;
use std::time::Duration;

const PAIR: Setup = Setup::new(Kind::Culvert, Kind::Culvert);

fn works(setup: Setup) {
    scenario(
        setup,
        |_| {},
        |s| {
            s.connect()?;
            s.ping_all()
        },
    );
}

#[test]
fn ike_over_ipv4_and_nothing_else_on_the_wire() {
    scenario(
        PAIR,
        |_| {},
        |s| {
            let census = Census::start(&s.net.wan)?;
            let file = s.net.lab.directory().join("wan.pcap");
            let capture = Capture::start(&s.net.wan, s.net.wan_port(), file, 10_000)?;
            s.connect()?;
            s.ping_all()?;
            let inner = s.net.a.host4.parse::<std::net::Ipv4Addr>().expect("is one").octets();
            let other = s.net.b.host4.parse::<std::net::Ipv4Addr>().expect("is one").octets();
            let verdict = examine(&capture.stop()?, &[("inner addresses", [inner, other].concat())])?;
            assert!(verdict.is_clean(), "{verdict:?}");
            assert!(verdict.count(FrameKind::Esp) >= 40, "{verdict:?}");
            let counts = census.counts()?;
            assert_eq!(counts[&FrameKind::Other], 0, "{counts:?}");
            Ok(())
        },
    );
}

#[test]
fn ike_over_ipv6() {
    works(Setup { outer: Family::V6, ..PAIR });
}

#[test]
fn behind_nat() {
    works(Setup { nat: Nat::SiteA, ..PAIR });
}

#[test]
fn esn_and_pfs() {
    for esp in ["aes128gcm16-esn", "aes256gcm16-x25519-esn"] {
        scenario(
            PAIR,
            |plans| plans.child(|child| child.esp_proposals = esp.to_owned()),
            |s| {
                s.connect()?;
                s.ping_all()?;
                let tunnel = s.a.culvert().status()?.tunnels.remove(0);
                assert!(tunnel.esn, "{tunnel:?}");
                assert!(esp.starts_with(tunnel.suite.as_deref().unwrap_or("none")), "{tunnel:?}");
                Ok(())
            },
        );
    }
}

#[test]
fn a_packet_raises_the_tunnel() {
    scenario(
        Setup { start: Start::Trap, ..PAIR },
        |_| {},
        |s| {
            s.b.start()?;
            s.a.start()?;
            let trapped = |s: &mut culvert_e2e::Scenario| {
                Ok::<_, culvert_e2e::LabError>(s.a.culvert().status()?.tunnels[0].state)
            };
            culvert_lab::wait_for("the trap", Duration::from_secs(5), || {
                matches!(trapped(s), Ok(TunnelState::Trapped)).then_some(())
            })?;
            std::thread::sleep(Duration::from_millis(500));
            assert!(s.a.ike_spis()?.is_empty(), "no packet, no IKE");
            s.warm_up()?;
            assert!(s.a.culvert().drops("no_sa")? >= 1, "the first packet was dropped and counted");
            s.a.wait_child("lan").map(drop)
        },
    );
}

/// RFC 4301 §4.4.1.2: each destination gets an SA of its own, which carries nothing else.
#[test]
fn packets_populate_the_selectors() {
    scenario(
        Setup { start: Start::Trap, ..PAIR },
        |plans| {
            for plan in [&mut plans.a, &mut plans.b] {
                plan.connections[0].children[0].populate = vec!["remote_addr".to_owned(), "local_addr".to_owned()];
            }
        },
        |s| {
            s.b.start()?;
            s.a.start()?;
            let inside = s.net.b.lan[0].split('/').next().expect("an address");
            for to in [s.net.b.host4, inside, s.net.b.host4] {
                wait_for_ping(&s.net.a.host, to, Duration::from_secs(10))?;
                ping(&s.net.a.host, to)?;
            }
            for gateway in [&mut s.a, &mut s.b] {
                assert_eq!(gateway.culvert().drops("outbound_selector_mismatch")?, 0);
                assert_eq!(gateway.culvert().drops("selector_mismatch")?, 0);
            }
            // One for each destination, both ways.
            let fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9469/metrics').read().decode())";
            let metrics = s.net.a.gateway.run(&["python3", "-c", fetch])?;
            let sas = metrics.lines().filter(|line| line.starts_with("culvert_sa_packets_total{")).count();
            assert!(sas >= 4, "{sas} SAs: {metrics}");
            Ok(())
        },
    );
}

#[test]
fn manual_sas_need_no_ike() {
    scenario(PAIR, manual, |s| {
        s.b.start()?;
        s.a.start()?;
        s.warm_up()?;
        s.ping_all()?;
        assert!(s.a.culvert().status()?.ike_sas.is_empty());
        // Sequence numbers go on after a restart: what the peer has seen is never used again.
        s.a.terminate()?;
        s.a.start()?;
        s.warm_up()?;
        assert_eq!(s.b.culvert().drops("replay_duplicate")?, 0);
        Ok(())
    });
}

fn manual(plans: &mut Plans) {
    let keys = ["11", "22"].map(|octet| format!("0x{}", octet.repeat(36)));
    let (a, b) = (&plans.a.connections[0], &plans.b.connections[0]);
    let mut sa = ManualSa {
        name: "manual".to_owned(),
        local: a.local_addrs[0].clone(),
        remote: b.local_addrs[0].clone(),
        spi_in: 0x1001,
        spi_out: 0x1002,
        local_ts: a.children[0].local_ts.clone(),
        remote_ts: a.children[0].remote_ts.clone(),
        suite: "aes256gcm16".to_owned(),
        key_in: keys[0].clone(),
        key_out: keys[1].clone(),
    };
    plans.a.manual.push(sa.clone());
    std::mem::swap(&mut sa.local, &mut sa.remote);
    std::mem::swap(&mut sa.local_ts, &mut sa.remote_ts);
    std::mem::swap(&mut sa.spi_in, &mut sa.spi_out);
    std::mem::swap(&mut sa.key_in, &mut sa.key_out);
    plans.b.manual.push(sa);
    for plan in [&mut plans.a, &mut plans.b] {
        plan.connections.clear();
        plan.secrets.clear();
    }
}

#[test]
fn iperf3_passes_and_both_sides_count() {
    scenario(
        PAIR,
        |_| {},
        |s| {
            s.connect()?;
            let mut server = s.net.b.host.spawn("iperf3", &["iperf3", "-s", "-1", "--forceflush"])?;
            culvert_lab::wait_for("iperf3", Duration::from_secs(5), || {
                server.log().contains("listening").then_some(())
            })?;
            let line = ["iperf3", "-c", s.net.b.host4, "-t", "3"];
            s.net.a.host.run_for(&line, Duration::from_secs(15))?;
            server.wait(Duration::from_secs(5))?;
            let (a, b) = (s.a.wait_child("lan")?, s.b.wait_child("lan")?);
            assert!(a.packets_out > 500 && b.packets_in > 500, "{a:?} {b:?}");
            assert!(a.packets_in > 10 && b.packets_out > 10, "acknowledgements go back: {a:?} {b:?}");
            Ok(())
        },
    );
}

/// What the sender of a packet was told about it.
fn complaint(from: &culvert_lab::Namespace, line: &[&str]) -> Result<String, culvert_e2e::LabError> {
    let output = from.output(line, Duration::from_secs(10))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_box_answers_for_itself() {
    scenario(
        PAIR,
        |_| {},
        |s| {
            s.connect()?;
            for address in ["10.1.0.1", "fd00:1::1"] {
                culvert_e2e::ping(&s.net.a.host, address)?;
            }
            for (to, words) in [(s.net.b.host4, "Time to live exceeded"), (s.net.b.host6, "Time exceeded")] {
                let told = complaint(&s.net.a.host, &["ping", "-n", "-c", "1", "-W", "2", "-t", "1", to])?;
                assert!(told.contains(words), "{told}");
            }
            // Larger than the tunnel takes, and not to be fragmented.
            s.net.a.host.ip(&["link", "set", "eth0", "mtu", "1500"])?;
            let told = complaint(
                &s.net.a.host,
                &["ping", "-n", "-c", "2", "-W", "2", "-M", "do", "-s", "1472", s.net.b.host4],
            )?;
            assert!(told.contains("Frag needed") || told.contains("too long"), "{told}");
            let told = complaint(
                &s.net.a.host,
                &["ping", "-n", "-c", "2", "-W", "2", "-M", "do", "-s", "1452", s.net.b.host6],
            )?;
            assert!(told.contains("too big") || told.contains("too long"), "{told}");
            Ok(())
        },
    );
}

#[test]
fn policies_decide_without_ipsec_too() {
    let bypass = "[[policy]]\nname = \"clear\"\naction = \"bypass\"\nlocal_ts = [\"LOCAL\"]\nremote_ts = [\"REMOTE\"]\n\
                  [[policy]]\nname = \"never\"\naction = \"discard\"\npriority = 10\nlocal_ts = [\"LOCAL[udp/7001]\"]\n\
                  remote_ts = [\"REMOTE\"]\n";
    scenario(
        PAIR,
        |plans| {
            for (plan, local, remote, via) in [
                (&mut plans.a, "10.1.0.0/24", "10.2.0.0/24", "192.0.2.2"),
                (&mut plans.b, "10.2.0.0/24", "10.1.0.0/24", "192.0.2.1"),
            ] {
                plan.connections.clear();
                plan.secrets.clear();
                plan.routes.push(culvert_lab::Route { destination: remote.to_owned(), via: via.to_owned() });
                plan.more = bypass.replace("LOCAL", local).replace("REMOTE", remote);
            }
        },
        |s| {
            s.a.start()?;
            s.b.start()?;
            s.warm_up()?;
            // The stream goes to port 7001 of host-b, whose gateway discards it.
            let received = {
                let stream = s.stream_a_to_b(100)?;
                std::thread::sleep(Duration::from_millis(500));
                stream.stop()
            };
            assert_eq!(received.received, 0, "{received:?}");
            assert!(s.b.culvert().drops("policy_discard")? > 0);
            // No policy speaks of IPv6.
            assert!(culvert_e2e::ping(&s.net.a.host, s.net.b.host6).is_err());
            assert!(s.a.culvert().drops("no_policy")? > 0);
            Ok(())
        },
    );
}
