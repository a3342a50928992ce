//! The status document: what control serves on its socket and `culvert status --json` prints.
//!
//! Fields are only ever added. Counters start at zero when the SA, port or worker does and never go back while it lives.
//! `docs/status.schema.json` is generated from these types.
#![forbid(unsafe_code)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One moment of one gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of the control process.
    pub version: String,
    /// Seconds since the control process started.
    pub uptime_seconds: u64,
    pub dataplane: Dataplane,
    /// One entry for every configured child and manual SA, up or not, in the order of the configuration.
    pub tunnels: Vec<Tunnel>,
    pub ike_sas: Vec<IkeSa>,
    pub ports: Vec<Port>,
    pub workers: Vec<Worker>,
    /// Packets dropped, by reason; reasons that never happened are left out.
    pub drops: BTreeMap<String, u64>,
}

/// The poll-mode process as control sees it through the link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dataplane {
    pub alive: bool,
    /// Counts the data-plane processes that have attached since the link was made.
    pub generation: u64,
}

/// A configured child or manual SA and, while it is up, the SA pair that carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tunnel {
    pub connection: String,
    pub child: String,
    pub state: TunnelState,
    /// Why the last attempt failed; cleared when the tunnel comes up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_error: Option<String>,
    /// Outer addresses; absent while down.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub local: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remote: Option<String>,
    /// Eight hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spi_in: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spi_out: Option<String>,
    /// `ESP` or `AH`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub protocol: Option<String>,
    /// `tunnel` or `transport`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode: Option<String>,
    /// swanctl's word, such as `aes256gcm16`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub suite: Option<String>,
    /// Extended sequence numbers.
    pub esn: bool,
    /// ESP in UDP.
    pub encapsulated: bool,
    pub local_ts: Vec<String>,
    pub remote_ts: Vec<String>,
    /// Packets and octets of the current SA pair (a rekey starts a new pair at zero).
    pub packets_in: u64,
    pub packets_out: u64,
    /// Octets of inner packets.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub replay_drops: u64,
    pub icv_failures: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub age_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rekey_in_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TunnelState {
    /// Configured, no SA, nothing under way.
    #[default]
    Down,
    /// Waiting for a packet (`start_action = "trap"`).
    Trapped,
    /// Negotiating.
    Connecting,
    /// Both SAs are in the data plane.
    Installed,
    /// Installed, and its successor is being negotiated.
    Rekeying,
}

/// One IKE SA.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IkeSa {
    pub connection: String,
    pub state: String,
    /// True where we opened it.
    pub initiator: bool,
    pub local: String,
    pub remote: String,
    pub local_id: String,
    pub remote_id: String,
    /// Sixteen hexadecimal digits each.
    pub initiator_spi: String,
    pub responder_spi: String,
    pub proposal: String,
    /// A NAT was seen on the way, or encapsulation is configured.
    pub nat: bool,
    pub age_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rekey_in_seconds: Option<u64>,
}

/// A port of the data plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Port {
    pub name: String,
    pub device: String,
    pub up: bool,
    /// Every port counter by its metric name.
    pub counters: BTreeMap<String, u64>,
}

/// A packet core.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Worker {
    pub core: u16,
    /// Every worker counter by its metric name.
    pub counters: BTreeMap<String, u64>,
}

/// The JSON schema of [`Status`], pretty-printed with a final newline.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_schema_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/status.schema.json");
        let text = serde_json::to_string_pretty(&schema()).expect("a schema is JSON") + "\n";
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &text).expect("docs/ is writable");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(committed, text, "docs/status.schema.json is stale; run UPDATE_DOCS=1 cargo test -p culvert-status");
    }

    #[test]
    fn older_documents_still_read() {
        let text = r#"{"version":"0.1.0","uptime_seconds":1,"dataplane":{"alive":true,"generation":1},"tunnels":[],
            "ike_sas":[],"ports":[],"workers":[],"drops":{"no_sa":3},"field_of_the_future":1}"#;
        let status: Status = serde_json::from_str(text).expect("unknown fields are ignored");
        assert_eq!(status.drops["no_sa"], 3);
    }
}
