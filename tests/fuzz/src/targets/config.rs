//! The configuration file.

use culvert_config::Config;
use std::path::Path;

/// An error always says where and what, in both renderings; never a panic.
pub fn config(bytes: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(bytes) else { return false };
    match Config::parse(Path::new("/etc/culvert/culvert.toml"), text) {
        Ok(config) => {
            let _ = config.warnings().to_string();
            let _ = culvert_config::policies(&config);
            true
        }
        Err(diagnostics) => {
            assert!(diagnostics.errors() > 0, "refused without an error");
            assert!(!diagnostics.to_string().is_empty());
            assert!(!diagnostics.graphical().is_empty());
            false
        }
    }
}

pub fn files() -> Vec<Vec<u8>> {
    [TUNNEL, MANUAL].map(|text| text.as_bytes().to_vec()).into()
}

const TUNNEL: &str = r#"[dataplane]
workers = [1]
memory = "hugepages"
idle = "poll"
[[interface]]
name = "wan"
device = "0000:3b:00.0"
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

const MANUAL: &str = r#"[dataplane]
workers = [1, 2]
memory = "plain"
idle = "adaptive"
[[interface]]
name = "lan"
device = "net_af_packet,iface=eth1"
addresses = ["10.1.0.1/16"]
[[policy]]
name = "no-telnet"
action = "discard"
local_ts = ["10.1.0.0/16[tcp/23]"]
remote_ts = ["0.0.0.0/0"]
[[manual_sa]]
name = "lab"
local = "10.1.0.1"
remote = "10.1.0.2"
local_ts = ["10.2.0.0/16", "2001:db8:1::/48"]
remote_ts = ["10.3.0.0-10.3.0.9", "2001:db8::/32[udp/53]"]
suite = "aes128gcm16"
spi_in = 0x1000
spi_out = 4097
key_in_file = "in.key"
key_out_file = "out.key"
esn = false
encap = { local_port = 4500, keepalive = "20s" }
"#;
