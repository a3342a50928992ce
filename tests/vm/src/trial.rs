use crate::case::Case;
use crate::guest::Guest;
use crate::network::{FAR, GUEST, GUEST_HOST, GUEST_LAN, HOST, HOST_MTU, Network};
use crate::stage::Stage;
use crate::traffic::ECHO_PORT;
use culvert_lab::{Culvert, LabError, Process};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a gateway may take to start.
const START: Duration = Duration::from_secs(20);

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
        let echo = [HOST.v4, HOST.v6].map(|address| {
            let program = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/echo.py");
            let name = if address == HOST.v4 { "echo4" } else { "echo6" };
            network.host.spawn(name, &["python3", program, "serve", address, &ECHO_PORT.to_string()])
        });
        let [echo4, echo6] = echo;
        Ok(Self { guest, _echo: [echo4?, echo6?], network, programs, log_seen: 0 })
    }

    /// Tries one case; the gateway's last words are part of the error.
    pub fn run(&mut self, case: &Case, number: u16) -> Result<(), LabError> {
        let directory = self.network.lab.subdirectory(&format!("case{number}"))?;
        let plan = case.culvert(number, &directory)?;
        let mut culvert = Culvert::new(&self.network.gateway, &self.programs, directory, &plan)?;
        culvert.start()?;
        let Self { network, guest, .. } = self;
        let stage = Stage { network, guest, culvert: &mut culvert };
        let done = stage.culvert.wait_ready(START).and_then(|()| case.run(number, stage));
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
    let add = |namespace: &str, device: &str, pair: &crate::network::Pair| {
        let [v4, v6] = pair.with_lengths();
        format!(
            "ip -n {namespace} address add {v4} dev {device}\nip -n {namespace} address add {v6} dev {device} nodad\n"
        )
    };
    let mut script = "set -e
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0
ip netns add host
ip netns attach gateway 1
ip link add lan type veth peer name eth0 netns host
ip link set eth0 up
ip link set lan up
ip -n host link set lo up
ip -n host link set eth0 up
"
    .to_owned();
    script += &format!("ip -n host link set eth0 mtu {HOST_MTU}\n");
    script += &add("gateway", "eth0", &GUEST);
    script += &add("gateway", "lan", &GUEST_LAN);
    script += &add("host", "eth0", &GUEST_HOST);
    for via in [FAR.v4, FAR.v6] {
        script += &format!("ip route add default via {via}\n");
    }
    for (via, own) in [(GUEST_LAN.v4, GUEST_HOST.v4), (GUEST_LAN.v6, GUEST_HOST.v6)] {
        script += &format!("ip -n host route add default via {via}\n");
        script += &format!("ip netns exec host python3 /guest/echo.py serve {own} {ECHO_PORT} >/dev/null 2>&1 &\n");
    }
    script
}
