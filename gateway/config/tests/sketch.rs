//! The configuration a reader meets first.

use culvert_config::{Config, Idle, Memory, StartAction, policies};
use culvert_model::{Action, ChildId, IpsecProtocol, PolicyDirection};
use std::path::Path;
use std::time::Duration;

const SKETCH: &str = r#"
[dataplane]
workers = [1]                # cores
memory = "hugepages"         # or "plain"
idle = "poll"                # or "adaptive"
[[interface]]
name = "wan"
device = "0000:3b:00.0"      # or "net_af_packet,iface=eth1", "net_memif,...", ...
addresses = ["192.0.2.1/24", "2001:db8::1/64"]
[[route]]
destination = "0.0.0.0/0"
via = "192.0.2.254"
[[connection]]
name = "branch-7"
local_addrs = ["192.0.2.1"]
remote_addrs = ["198.51.100.7"]
proposals = ["aes256gcm16-prfsha384-x25519"]
local = { auth = "psk", id = "hq.example" }
remote = { auth = "psk", id = "branch-7.example" }
[[connection.child]]
name = "lan"
local_ts = ["10.1.0.0/16"]
remote_ts = ["10.7.0.0/16"]
esp_proposals = ["aes256gcm16-x25519"]
start_action = "start"
[[secret]]
ids = ["hq.example", "branch-7.example"]
file = "branch-7.psk"
[metrics]
listen = "127.0.0.1:9469"
"#;

fn parse(text: &str) -> Config {
    Config::parse(Path::new("/etc/culvert/culvert.toml"), text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn sketch_is_accepted_as_it_stands() {
    let config = parse(SKETCH);
    assert!(config.warnings().is_empty(), "{}", config.warnings());
    assert_eq!(config.dataplane.workers, [1]);
    assert_eq!((config.dataplane.memory, config.dataplane.idle), (Memory::Hugepages, Idle::Poll));
    assert_eq!(config.interfaces[0].addresses.len(), 2);
    assert_eq!(config.interfaces[0].device.to_string(), "0000:3b:00.0");
    let connection = &config.connections[0];
    assert_eq!(connection.proposals[0].to_string(), "aes256gcm16-prfsha384-x25519");
    assert_eq!(connection.local.id, Some("hq.example".parse().unwrap()));
    let child = &connection.children[0];
    assert_eq!((child.name.as_str(), child.start_action), ("lan", StartAction::Start));
    assert_eq!(config.resolve(&config.secrets[0].file), Path::new("/etc/culvert/branch-7.psk"));
    assert_eq!(config.metrics.map(|m| m.listen), "127.0.0.1:9469".parse().ok());
}

#[test]
fn defaults_are_swanctls() {
    let config = parse(SKETCH);
    let connection = &config.connections[0];
    assert_eq!(connection.rekey_time, Duration::from_secs(4 * 3600));
    assert_eq!(connection.over_time(), Duration::from_secs(24 * 60));
    assert_eq!(connection.dpd_delay, Duration::ZERO);
    assert_eq!((connection.remote_port, connection.keyingtries), (500, 1));
    let child = &connection.children[0];
    assert_eq!(child.rekey_time, Duration::from_secs(3600));
    assert_eq!(child.life_time(), Duration::from_secs(3960));
    assert_eq!(child.rand_time(), Duration::from_secs(360));
    assert_eq!(child.lifetime(), culvert_model::Lifetime { hard_seconds: 3960, ..Default::default() });
    assert_eq!(child.replay_window, 1024);
}

#[test]
fn children_have_protect_policies_whatever_their_start_action() {
    for action in ["none", "start", "trap"] {
        let text = SKETCH.replace("start_action = \"start\"", &format!("start_action = \"{action}\""));
        let all = policies(&parse(&text));
        let directions: Vec<_> = all.iter().map(|p| p.direction).collect();
        assert_eq!(directions, [PolicyDirection::Outbound, PolicyDirection::Inbound]);
        for policy in all {
            assert_eq!(policy.action, Action::Protect { child: ChildId(0), trap: action == "trap" });
        }
    }
}

#[test]
fn the_annotated_example_is_accepted_without_a_warning() {
    let text = include_str!("../../../deploy/culvert.toml");
    let config = parse(text);
    assert!(config.warnings().is_empty(), "{}", config.warnings());
    assert_eq!(config.children().count(), 5);
    let names: Vec<_> = config.children().map(|(id, child)| (id.0, child.connection_name(), child.name())).collect();
    assert_eq!(
        names,
        [
            (0, "branch-7", "lan"),
            (1, "van", "web"),
            (2, "lab", "lab"),
            (3, "hosts", "hosts"),
            (4, "hosts-ah", "hosts-ah")
        ]
    );
}

#[test]
fn explicit_policies_come_first_by_priority_then_by_file() {
    let text = include_str!("../../../deploy/culvert.toml");
    let more = r#"
[[policy]]
name = "first"
action = "discard"
priority = 1
direction = "in"
local_ts = ["10.1.0.0/16"]
remote_ts = ["10.2.0.0/16"]
"#;
    let all = policies(&parse(&format!("{text}{more}")));
    assert_eq!((all[0].action, all[0].direction, all[0].priority), (Action::Discard, PolicyDirection::Inbound, 1));
    assert_eq!((all[1].action, all[1].direction), (Action::Bypass, PolicyDirection::Outbound));
    assert_eq!((all[2].action, all[2].direction), (Action::Bypass, PolicyDirection::Inbound));
    assert!(all[3..].iter().all(|p| matches!(p.action, Action::Protect { .. })));
    assert_eq!(all.len(), 1 + 2 + 10);
    let mut ids: Vec<_> = all.iter().map(|p| p.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all.len());
    // The ids of what stood there before are the same.
    let before = policies(&parse(text));
    assert!(before.iter().all(|p| all.contains(p)));
}

const BUNDLE: &str = r#"
[[interface]]
name = "wan"
device = "net_null0"
addresses = ["192.0.2.1/24"]
[[manual_sa]]
name = "inner"
local = "192.0.2.1"
remote = "198.51.100.9"
mode = "transport"
suite = "null-sha256"
bundle = "outer"
spi_in = 0x1000
spi_out = 0x2000
key_in_file = "1.key"
key_out_file = "2.key"
[[manual_sa]]
name = "outer"
local = "192.0.2.1"
remote = "198.51.100.9"
mode = "transport"
ah = "aes256gmac"
spi_in = 0x1001
spi_out = 0x2001
key_in_file = "3.key"
key_out_file = "4.key"
"#;

#[test]
fn ah_over_esp_in_transport_mode() {
    let config = parse(BUNDLE);
    assert!(config.warnings().is_empty(), "{}", config.warnings());
    let [inner, outer] = config.manual_sas.as_slice() else { panic!("two SAs") };
    assert_eq!((inner.suite().to_string().as_str(), outer.suite().to_string().as_str()), ("null-sha256", "aes256gmac"));
    assert_eq!((inner.suite().protocol(), outer.suite().protocol()), (IpsecProtocol::Esp, IpsecProtocol::Ah));
    // What transport mode carries needs no words.
    assert_eq!(inner.local_ts[0].to_string(), "192.0.2.1/32");
    assert_eq!(inner.remote_ts[0].to_string(), "198.51.100.9/32");
    let bundles: Vec<_> = config.children().map(|(_, child)| config.bundle(&child)).collect();
    assert_eq!(bundles, [Some(ChildId(1)), None]);
}
