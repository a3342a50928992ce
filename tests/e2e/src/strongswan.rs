use crate::gateway::{ChildView, Gateway, PROMPT};
use culvert_lab::{GatewayPlan, LabError, Namespace, Process, Start, wait_for};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// charon in a namespace, with its user-space ESP (kernel-libipsec; always in UDP).
#[derive(Debug)]
pub struct StrongSwan {
    namespace: Namespace,
    directory: PathBuf,
    process: Option<Process>,
    log: String,
}

impl StrongSwan {
    pub fn new(namespace: &Namespace, directory: PathBuf, plan: &GatewayPlan) -> Result<Self, LabError> {
        let this = Self { namespace: namespace.clone(), directory, process: None, log: String::new() };
        this.write("strongswan.conf", &this.daemon_settings())?;
        this.write("swanctl.conf", &swanctl_conf(plan))?;
        Ok(this)
    }

    fn write(&self, name: &str, content: &str) -> Result<(), LabError> {
        let path = self.directory.join(name);
        fs::write(&path, content).map_err(|source| LabError::File { path, source })
    }

    /// Retransmission is quick, so that a dead peer is noticed within a test's time.
    fn daemon_settings(&self) -> String {
        format!(
            "charon-systemd {{
  load = random nonce aes sha1 sha2 hmac kdf gcm pem pkcs1 x509 revocation constraints pubkey curve25519 gmp openssl \
drbg ctr ccm chapoly kernel-libipsec kernel-netlink socket-default vici updown
  retransmit_tries = 3
  retransmit_timeout = 1.0
  retransmit_base = 1.4
  plugins {{ vici {{ socket = unix://{directory}/vici }} }}
  journal {{ default = -1 }}
  filelog {{ log {{ path = {directory}/charon.log
    default = 1
    flush_line = yes }} }}
}}
",
            directory = self.directory.display()
        )
    }

    fn uri(&self) -> String {
        format!("unix://{}/vici", self.directory.display())
    }

    /// `swanctl ARGS` against this charon.
    pub fn swanctl(&self, args: &[&str]) -> Result<String, LabError> {
        let uri = self.uri();
        let mut line = vec!["swanctl"];
        line.extend(args);
        line.extend(["--uri", &uri]);
        culvert_lab::run(&line)
    }
}

impl Gateway for StrongSwan {
    fn start(&mut self) -> Result<(), LabError> {
        let mut command = self.namespace.command("charon-systemd");
        command.env("STRONGSWAN_CONF", self.directory.join("strongswan.conf"));
        let mut process = self.namespace.spawn_command("charon", &mut command)?;
        let mut ended = None;
        wait_for("charon's socket", PROMPT, || {
            ended = process.expect_running().err();
            (ended.is_some() || self.swanctl(&["--stats"]).is_ok()).then_some(())
        })?;
        self.process = Some(process);
        if let Some(error) = ended {
            return Err(error);
        }
        let file = self.directory.join("swanctl.conf");
        self.swanctl(&["--load-all", "--file", &file.to_string_lossy()]).map(drop)
    }

    fn initiate(&mut self, child: &str) -> Result<(), LabError> {
        self.swanctl(&["--initiate", "--child", child, "--timeout", "15"])?;
        self.wait_child(child).map(drop)
    }

    fn terminate(&mut self) -> Result<(), LabError> {
        self.swanctl(&["--terminate", "--ike", "site"]).map(drop)
    }

    fn rekey_child(&mut self, child: &str) -> Result<(), LabError> {
        let before = self.wait_child(child)?;
        self.swanctl(&["--rekey", "--child", child])?;
        wait_for("the rekeyed child", PROMPT, || {
            let children = self.children().ok()?;
            (children.len() == 1 && children[0].spi_in != before.spi_in).then_some(())
        })
    }

    fn rekey_ike(&mut self) -> Result<(), LabError> {
        let before = self.ike_spis()?;
        self.swanctl(&["--rekey", "--ike", "site"])?;
        wait_for("the rekeyed IKE SA", PROMPT, || {
            let now = self.ike_spis().ok()?;
            (now.len() == 1 && now != before).then_some(())
        })
    }

    fn children(&self) -> Result<Vec<ChildView>, LabError> {
        Ok(parse_children(&self.swanctl(&["--list-sas"])?))
    }

    fn ike_spis(&self) -> Result<Vec<(String, String)>, LabError> {
        Ok(parse_ike(&self.swanctl(&["--list-sas"])?))
    }

    fn kill(&mut self) -> Result<(), LabError> {
        self.log = self.log();
        if let Some(mut process) = self.process.take() {
            process.kill()?;
        }
        // What a killed charon leaves behind would stop the next one.
        let _ = fs::remove_file(self.directory.join("vici"));
        self.namespace.output(&["ip", "link", "delete", "ipsec0"], Duration::from_secs(5)).map(drop)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("charon.log")).unwrap_or_else(|_| self.log.clone())
    }
}

/// The same plan in strongSwan's language.
pub fn swanctl_conf(plan: &GatewayPlan) -> String {
    let mut out = String::from("connections {\n");
    let into = &mut out;
    for connection in &plan.connections {
        let _ = writeln!(
            into,
            "  {} {{\n    version = 2\n    local_addrs = {}\n    remote_addrs = {}\n    proposals = {}\n    rand_time = 0",
            connection.name,
            connection.local_addrs.join(","),
            connection.remote_addrs.join(","),
            connection.proposals
        );
        let _ = writeln!(into, "    local {{\n      auth = psk\n      id = {}\n    }}", connection.local_id);
        let _ = writeln!(into, "    remote {{\n      auth = psk\n      id = {}\n    }}", connection.remote_id);
        optional(into, "dpd_delay", connection.dpd_delay.as_deref());
        optional(into, "rekey_time", connection.rekey_time.as_deref());
        into.push_str("    children {\n");
        for child in &connection.children {
            let _ = writeln!(
                into,
                "      {} {{\n    local_ts = {}\n    remote_ts = {}\n    {} = {}\n    start_action = {}\n    \
                 rand_time = 0",
                child.name,
                child.local_ts.join(","),
                child.remote_ts.join(","),
                child.proposals_key(),
                child.esp_proposals,
                child.start.word()
            );
            optional(into, "mode", child.transport.then_some("transport"));
            optional(into, "rekey_time", child.rekey_time.as_deref());
            optional(into, "dpd_action", child.dpd_action.map(Start::word));
            optional(into, "close_action", child.close_action.map(Start::word));
            into.push_str("      }\n");
        }
        into.push_str("    }\n  }\n");
    }
    into.push_str("}\nsecrets {\n");
    for (n, secret) in plan.secrets.iter().enumerate() {
        let _ = writeln!(into, "  ike-{n} {{");
        for (m, id) in secret.ids.iter().enumerate() {
            let _ = writeln!(into, "    id-{m} = {id}");
        }
        let _ = writeln!(into, "    secret = \"{}\"\n  }}", secret.psk);
    }
    into.push_str("}\n");
    out
}

fn optional(into: &mut String, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        let _ = writeln!(into, "    {key} = {value}");
    }
}

/// Children in state INSTALLED, out of what `swanctl --list-sas` prints.
fn parse_children(text: &str) -> Vec<ChildView> {
    let mut children: Vec<ChildView> = Vec::new();
    let mut installed = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().map(|word| word.trim_end_matches(',')).collect();
        if line.starts_with("  ") && line.contains(", reqid ") {
            installed = words.contains(&"INSTALLED");
            if installed {
                let name = words[0].trim_end_matches(':').to_owned();
                let empty = String::new;
                children.push(ChildView { name, spi_in: empty(), spi_out: empty(), packets_in: 0, packets_out: 0 });
            }
        } else if let ([direction @ ("in" | "out"), spi, rest @ ..], true) = (words.as_slice(), installed) {
            let packets = rest.iter().zip(rest.iter().skip(1)).find(|(_, unit)| **unit == "packets");
            let packets = packets.and_then(|(count, _)| count.parse().ok()).unwrap_or(0);
            if let Some(child) = children.last_mut() {
                if *direction == "in" {
                    (child.spi_in, child.packets_in) = ((*spi).to_owned(), packets);
                } else {
                    (child.spi_out, child.packets_out) = ((*spi).to_owned(), packets);
                }
            }
        }
    }
    children
}

/// SPIs of IKE SAs in state ESTABLISHED.
fn parse_ike(text: &str) -> Vec<(String, String)> {
    let mut spis = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with(' ') && line.contains(", ESTABLISHED,")) {
        let spi = |mark: &str| {
            let word = line.split_whitespace().find_map(|word| word.trim_end_matches('*').strip_suffix(mark));
            word.map(str::to_owned)
        };
        if let (Some(initiator), Some(responder)) = (spi("_i"), spi("_r")) {
            spis.push((initiator, responder));
        }
    }
    spis
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "\
site: #2, ESTABLISHED, IKEv2, 5a3d2b6f0c1d2e3f_i* 1b2c3d4e5f607182_r
  local  'a.example' @ 192.0.2.1[4500]
  remote 'b.example' @ 192.0.2.2[4500]
  AES_GCM_16-256/PRF_HMAC_SHA2_384/CURVE_25519
  established 1s ago, rekeying in 13204s
  lan: #1, reqid 1, REKEYED, TUNNEL-in-UDP, ESP:AES_GCM_16-256
    installed 1s ago, rekeying in 3283s, expires in 3959s
    in  c0000001,   1680 bytes,    20 packets,     0s ago
    out c0000002,   1680 bytes,    20 packets,     0s ago
    local  10.1.0.0/24
    remote 10.2.0.0/24
  lan: #3, reqid 1, INSTALLED, TUNNEL-in-UDP, ESP:AES_GCM_16-256/ESN
    installed 1s ago, rekeying in 3283s, expires in 3959s
    in  c0b1d4a7,    168 bytes,     2 packets,     0s ago
    out d0e1f2a3,    252 bytes,     3 packets
    local  10.1.0.0/24
    remote 10.2.0.0/24
site: #3, CONNECTING, IKEv2, 0000000000000001_i* 0000000000000000_r
";

    #[test]
    fn only_what_carries_traffic_is_listed() {
        let children = parse_children(LISTED);
        assert_eq!(children.len(), 1, "{children:?}");
        assert_eq!((children[0].spi_in.as_str(), children[0].spi_out.as_str()), ("c0b1d4a7", "d0e1f2a3"));
        assert_eq!((children[0].packets_in, children[0].packets_out), (2, 3));
        assert_eq!(parse_ike(LISTED), [("5a3d2b6f0c1d2e3f".to_owned(), "1b2c3d4e5f607182".to_owned())]);
        assert!(parse_children("").is_empty());
    }
}
