//! Key daemons in the guest. What one needs is data: its files, and the scripts that make it act.

use culvert_e2e::swanctl_conf;
use culvert_lab::{Connection, Family, GatewayPlan};

/// A key daemon that uses the guest kernel's ESP. Its files are in `/run/peer`; it leaves its process id in `/run/peer/pid`
/// and its words in `/run/peer/log`.
#[derive(Clone, Copy)]
pub struct Daemon {
    pub name: &'static str,
    /// Inner families that one Child SA of it can carry.
    pub families: &'static [Family],
    /// IKE SA proposal in swanctl's words; the daemon's files say the same.
    pub ike: &'static str,
    /// Paths and contents; `true` where the daemon is to begin.
    pub files: fn(&GatewayPlan, bool) -> Vec<(&'static str, String)>,
    /// Returns when it is ready.
    pub start: &'static str,
    pub initiate: &'static str,
    /// Empty where it does so by the clock only.
    pub rekey_child: &'static str,
    pub rekey_ike: &'static str,
    /// It answers CREATE_CHILD_SA before its kernel has the new SA, against RFC 7296 §2.8: what comes in between is lost.
    pub answers_early: bool,
}

pub const STRONGSWAN: Daemon = Daemon {
    name: "strongswan",
    families: &[Family::V4, Family::V6],
    ike: "aes256gcm16-prfsha384-x25519",
    files: |plan, _| vec![("strongswan.conf", CHARON.to_owned()), ("swanctl.conf", swanctl_conf(plan))],
    start: "STRONGSWAN_CONF=/run/peer/strongswan.conf charon-systemd >/run/peer/out 2>&1 &
echo $! >/run/peer/pid
for i in $(seq 60); do swanctl --stats --uri unix:///run/peer/vici >/dev/null 2>&1 && break; sleep 0.2; done
swanctl --load-all --uri unix:///run/peer/vici --file /run/peer/swanctl.conf",
    initiate: "swanctl --initiate --child lan --timeout 20 --uri unix:///run/peer/vici",
    rekey_child: "swanctl --rekey --child lan --uri unix:///run/peer/vici",
    rekey_ike: "swanctl --rekey --ike site --uri unix:///run/peer/vici",
    answers_early: false,
};

const CHARON: &str = "charon-systemd {
  load = random nonce aes sha1 sha2 hmac kdf gcm pem pkcs1 x509 revocation constraints pubkey curve25519 gmp openssl \
drbg ctr ccm chapoly kernel-netlink socket-default vici updown
  plugins { vici { socket = unix:///run/peer/vici } }
  journal { default = -1 }
  filelog { log { path = /run/peer/log
    default = 1
    flush_line = yes } }
}
";

pub const LIBRESWAN: Daemon = Daemon {
    name: "libreswan",
    families: &[Family::V4],
    ike: "aes256gcm16-prfsha384-x25519",
    files: |plan, _| vec![("ipsec.conf", ipsec_conf(plan)), ("ipsec.secrets", secrets(plan))],
    start: "mkdir -p /run/pluto /run/peer/nss
chmod 600 /run/peer/ipsec.secrets
touch /etc/hosts
ipsec initnss --nssdir /run/peer/nss
/usr/libexec/ipsec/pluto --config /run/peer/ipsec.conf
cp /run/pluto/pluto.pid /run/peer/pid
for i in $(seq 60); do ipsec whack --status >/dev/null 2>&1 && break; sleep 0.2; done
ipsec addconn --config /run/peer/ipsec.conf site
ipsec whack --listen",
    initiate: "ipsec whack --initiate --name site",
    rekey_child: "ipsec whack --rekey-ipsec --name site",
    rekey_ike: "ipsec whack --rekey-ike --name site",
    answers_early: false,
};

pub const OPENIKED: Daemon = Daemon {
    name: "openiked",
    families: &[Family::V4],
    ike: "aes256-sha256-prfsha256-x25519",
    files: |plan, begins| vec![("iked.conf", iked_conf(plan, begins))],
    start: "chmod 600 /run/peer/iked.conf
iked -d -v -f /run/peer/iked.conf >/run/peer/log 2>&1 &
echo $! >/run/peer/pid
for i in $(seq 60); do ikectl show sa >/dev/null 2>&1 && break; sleep 0.2; done
# It takes connections away again while it reads its own configuration.
sleep 1",
    // The word `active` in its configuration does it.
    initiate: "true",
    rekey_child: "",
    rekey_ike: "",
    answers_early: true,
};

/// The first networks of both sides.
fn nets(connection: &Connection) -> [&str; 2] {
    let child = &connection.children[0];
    [&child.local_ts, &child.remote_ts].map(|ts| ts[0].as_str())
}

fn ipsec_conf(plan: &GatewayPlan) -> String {
    let connection = &plan.connections[0];
    let [local, remote] = nets(connection);
    // Its words for ours; no other proposal stands in the table.
    let esp = match connection.children[0].esp_proposals.as_str() {
        "aes256gcm16" => "aes_gcm256",
        "sha256" => "sha2_256",
        other => other,
    };
    let child = &connection.children[0];
    let protocol = if child.ah { "ah" } else { "esp" };
    let mode = if child.transport { "transport" } else { "tunnel" };
    // In transport mode the ends themselves.
    let [left, right] = [("left", local), ("right", remote)]
        .map(|(side, net)| if child.transport { String::new() } else { format!("\t{side}subnet={net}\n") });
    format!(
        "config setup
	logfile=/run/peer/log
	nssdir=/run/peer/nss
	secretsfile=/run/peer/ipsec.secrets
	dnssec-enable=no

conn site
	ikev2=insist
	authby=secret
	left={}
	leftid=@{}
{left}	right={}
	rightid=@{}
{right}	ike=aes_gcm256-sha2_384;dh31
	phase2={protocol}
	phase2alg={esp}
	type={mode}
	pfs=no
	fragmentation=no
	rekey=no
	auto=ignore
",
        connection.local_addrs[0], connection.local_id, connection.remote_addrs[0], connection.remote_id
    )
}

fn secrets(plan: &GatewayPlan) -> String {
    let connection = &plan.connections[0];
    format!("@{} @{} : PSK \"{}\"\n", connection.local_id, connection.remote_id, plan.secrets[0].psk)
}

fn iked_conf(plan: &GatewayPlan, begins: bool) -> String {
    let connection = &plan.connections[0];
    let [local, remote] = nets(connection);
    let transforms = match connection.children[0].esp_proposals.as_str() {
        "aes256-sha1" => "enc aes-256 auth hmac-sha1",
        other => other,
    };
    let child = &connection.children[0];
    let mode = if child.transport { "transport" } else { "tunnel" };
    format!(
        "ikev2 site {} {mode} esp from {local} to {remote} local {} peer {} \\
  ikesa enc aes-256 prf hmac-sha2-256 auth hmac-sha2-256 group curve25519 \\
  childsa {transforms} \\
  srcid {} dstid {} \\
  psk \"{}\"
",
        if begins { "active" } else { "passive" },
        connection.local_addrs[0],
        connection.remote_addrs[0],
        connection.local_id,
        connection.remote_id,
        plan.secrets[0].psk
    )
}
