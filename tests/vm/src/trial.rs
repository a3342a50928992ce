use crate::case::Case;
use crate::guest::Guest;
use crate::network::{FAR, GUEST, GUEST_HOST, GUEST_LAN, HOST, HOST_MTU, Network, Pair};
use crate::stage::Stage;
use crate::traffic::{ECHO_PORT, serve};
use culvert_lab::{Culvert, LabError, Process};
use std::path::{Path, PathBuf};

/// The booted guest and all that rows need of it.
#[derive(Debug)]
pub struct Trials {
    guest: Guest,
    network: Network,
    /// Where the gateway's programs are.
    programs: PathBuf,
    /// Octets of the gateways' log that belong to earlier rows.
    log_seen: usize,
    /// Answers TCP on the host behind Culvert.
    _echo: [Process; 2],
}

impl Trials {
    pub fn begin(image: &Path, programs: PathBuf) -> Result<Self, LabError> {
        let network = Network::build()?;
        let mut guest = Guest::boot(image, &network)?;
        guest.run(&guest_setup())?;
        let [echo4, echo6] = [HOST.v4, HOST.v6].map(|address| serve(&network.host, address));
        Ok(Self { guest, _echo: [echo4?, echo6?], network, programs, log_seen: 0 })
    }

    /// Tries one case; the gateway's last words are part of the error.
    pub fn run(&mut self, case: &Case, number: u16) -> Result<(), LabError> {
        let directory = self.network.lab.subdirectory(&format!("case{number}"))?;
        let plan = case.culvert(number, &directory)?;
        let mut culvert = Culvert::new(&self.network.gateway, &self.programs, directory, &plan)?;
        let Self { network, guest, .. } = self;
        let stage = Stage { network, guest, culvert: &mut culvert };
        let done = case.run(number, stage);
        // One file holds the words of all gateways of this namespace.
        let log = culvert.log();
        let earlier = std::mem::replace(&mut self.log_seen, log.len());
        culvert.stop()?;
        done.map_err(|error| {
            let lines: Vec<_> = log.get(earlier..).unwrap_or_default().lines().collect();
            LabError::Status(format!("{error}\n{}", lines[lines.len().saturating_sub(12)..].join("\n")))
        })
    }
}

/// Addresses and routes; the host behind the guest.
fn guest_setup() -> String {
    let mut lines = "netns add host
netns attach gateway 1
link add lan type veth peer name eth0 netns host
link set eth0 up
link set eth1 up
link set lan up
"
    .to_owned();
    let mut host = format!("link set lo up\nlink set eth0 up\nlink set eth0 mtu {HOST_MTU}\n");
    addresses(&mut lines, "eth0", &GUEST);
    addresses(&mut lines, "lan", &GUEST_LAN);
    addresses(&mut host, "eth0", &GUEST_HOST);
    for via in [FAR.v4, FAR.v6] {
        lines += &format!("route add default via {via}\n");
    }
    for via in [GUEST_LAN.v4, GUEST_LAN.v6] {
        host += &format!("route add default via {via}\n");
    }
    let serve = |address: &str| format!("python3 /guest/echo.py serve {address} {ECHO_PORT} >>/run/echo.log 2>&1 &\n");
    let [own, behind] = [["0.0.0.0", "::"], [GUEST_HOST.v4, GUEST_HOST.v6]].map(|pair| pair.map(serve));
    format!(
        "set -e
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0 \
  net.ipv6.conf.eth1.disable_ipv6=1 'net.ipv4.ping_group_range=0 0'
ip -batch - <<'END OF LINES'
{lines}END OF LINES
ip netns exec host sysctl -qw 'net.ipv4.ping_group_range=0 0'
ip -n host -batch - <<'END OF LINES'
{host}END OF LINES
{}{}ip netns exec host {}ip netns exec host {}echo $! >/run/host.pid
for i in $(seq 200); do [ \"$(grep -c ready /run/echo.log)\" = 4 ] && exit; sleep 0.1; done
exit 1
",
        own[0], own[1], behind[0], behind[1]
    )
}

fn addresses(lines: &mut String, device: &str, pair: &Pair) {
    let [v4, v6] = pair.with_lengths();
    *lines += &format!("address add {v4} dev {device}\naddress add {v6} dev {device} nodad\n");
}
