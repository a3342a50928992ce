//! A bump in the wire between a host and everybody else.

use culvert_e2e::{Kind, LabError, Plans, Setup, ping, scenario, wait_for_ping};
use culvert_lab::Namespace;
use std::time::Duration;

const BUMP: &str = r#"
[[bridge]]
ports = ["lan", "wan"]
[[policy]]
name = "rest"
action = "bypass"
local_ts = ["0.0.0.0/0", "::/0"]
remote_ts = ["192.0.2.0/24", "2001:db8::/64", "224.0.0.0/4", "ff00::/8"]
[[policy]]
name = "never"
action = "discard"
priority = 1
local_ts = ["192.0.2.10"]
remote_ts = ["203.0.113.0/24"]
"#;

/// Host A sits on the wan's network, behind a box that bridges. What it says to site B is protected; the rest passes.
fn bump(plans: &mut Plans) {
    plans.a.ports[0].addresses.clear();
    plans.a.more = BUMP.to_owned();
    let host = ["192.0.2.10/32".to_owned(), "2001:db8::10/128".to_owned()];
    plans.a.connections[0].children[0].local_ts = host.to_vec();
    plans.b.connections[0].children[0].remote_ts = host.to_vec();
}

/// The TTL that an answer from `to` comes with.
fn ttl(from: &Namespace, to: &str) -> Result<String, LabError> {
    let text = from.run_for(&["ping", "-n", "-c", "1", "-W", "3", to], Duration::from_secs(10))?;
    let found = text.split_once("ttl=").and_then(|(_, rest)| rest.split_whitespace().next());
    found.map(str::to_owned).ok_or(LabError::Status(text))
}

#[test]
fn a_host_behind_a_bump_in_the_wire() {
    scenario(Setup::new(Kind::Culvert, Kind::Culvert), bump, |s| {
        let (host, wan) = (&s.net.a.host, &s.net.wan);
        host.ip(&["address", "flush", "dev", "eth0", "scope", "global"])?;
        host.add_addresses("eth0", &["192.0.2.10/24", "2001:db8::10/64"])?;
        for router in [s.net.b.wan4, s.net.b.wan6] {
            host.ip(&["route", "replace", "default", "via", router])?;
        }
        // Somebody on the other side who is no gateway.
        wan.sysctl("net/ipv6/conf/br0/disable_ipv6", "0")?;
        wan.add_addresses("br0", &["192.0.2.99/24", "2001:db8::99/64"])?;
        s.b.start()?;
        s.a.start()?;
        s.a.initiate("lan")?;
        s.b.wait_child("lan")?;

        // Through the bridge in clear, both ways, as if nothing stood between.
        for to in ["192.0.2.99", "2001:db8::99"] {
            wait_for_ping(host, to, Duration::from_secs(10))?;
            ping(host, to)?;
            assert_eq!(ttl(host, to)?, "64", "nobody forwards");
        }
        ping(wan, "192.0.2.10")?;
        let full = ["ping", "-n", "-c", "2", "-i", "0.2", "-W", "3", "-M", "do", "-s", "1472", "192.0.2.99"];
        host.ip(&["link", "set", "eth0", "mtu", "1500"])?;
        host.run_for(&full, Duration::from_secs(10))?;
        let before = s.a.wait_child("lan")?;
        assert_eq!(before.packets_out, 0, "none of it by the tunnel");

        // Protected: to the network behind B, and back.
        for to in [s.net.b.host4, s.net.b.host6] {
            wait_for_ping(host, to, Duration::from_secs(10))?;
            ping(host, to)?;
        }
        wait_for_ping(&s.net.b.host, "192.0.2.10", Duration::from_secs(10))?;
        ping(&s.net.b.host, "2001:db8::10")?;
        let after = s.a.wait_child("lan")?;
        assert!(after.packets_out >= 18 && after.packets_in >= 18, "{after:?}");

        // The box itself, from both sides.
        for from in [host, wan] {
            for address in [s.net.a.wan4, s.net.a.wan6] {
                wait_for_ping(from, address, Duration::from_secs(10))?;
            }
        }
        // What policy forbids does not pass.
        wan.add_addresses("br0", &["203.0.113.1/24"])?;
        host.ip(&["route", "add", "203.0.113.0/24", "via", "192.0.2.99"])?;
        assert!(ping(host, "203.0.113.1").is_err());
        assert!(s.a.culvert().drops("policy_discard")? >= 5);
        Ok(())
    });
}
