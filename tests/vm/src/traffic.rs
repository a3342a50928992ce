//! Ping and TCP between the two hosts, or between the gateways themselves, each way.

use crate::guest::Guest;
use crate::network::{GUEST, GUEST_HOST, HOST, Network, Pair, WAN};
use culvert_lab::{Family, LabError, Namespace, Process, wait_for};
use serde::Serialize;
use std::net::{IpAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// Where all ends answer TCP.
pub const ECHO_PORT: u16 = 7;
const TALK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/talk.py");

/// What one end does, in the words of `guest/talk.py`.
#[derive(Clone, Debug, Serialize)]
pub struct Talk {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'static str>,
    /// Address, octets, and whether it must not be fragmented.
    pings: Vec<(&'static str, u16, bool)>,
    tcp: Vec<&'static str>,
    port: u16,
    octets: u32,
    patience: f64,
}

/// What both ends do at once. Nothing may be lost, whichever side asks.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub families: &'a [Family],
    /// Octets of the echo requests to be made, some of each.
    pub pings: &'a [u16],
    /// Where packets that do not fit are to be cut.
    pub cut: bool,
    pub tcp: bool,
    /// By TCP, each way.
    pub octets: u32,
    /// How long to wait for the last echo reply, seconds.
    pub patience: f64,
}

/// Between whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Behind Culvert and behind the guest.
    Hosts,
    /// The programs of both gateways.
    Gateways,
}

impl<'a> Subject<'a> {
    pub fn usual(families: &'a [Family]) -> Self {
        Self { families, pings: &[56], cut: false, tcp: true, octets: 40_000, patience: 5.0 }
    }

    /// Between the guest itself and `address`, on the guest's side.
    pub fn of_guest(&self, guest: &mut Guest, addresses: &Pair) -> Result<String, LabError> {
        guest.talk(&self.with(addresses, None))
    }

    /// Between Culvert's host and `address`, on the host's side.
    pub fn of_host(&self, network: &Network, addresses: &Pair) -> Result<String, LabError> {
        talk_in(&network.host, &self.with(addresses, None))
    }

    fn with(&self, addresses: &Pair, namespace: Option<&'static str>) -> Talk {
        let addresses = || self.families.iter().map(|family| addresses.of(*family));
        let ping = |address| move |octets: &u16| (address, *octets, !self.cut);
        Talk {
            namespace,
            pings: addresses().flat_map(|address| self.pings.iter().map(ping(address))).collect(),
            tcp: if self.tcp { addresses().collect() } else { Vec::new() },
            port: ECHO_PORT,
            octets: self.octets,
            patience: self.patience,
        }
    }

    /// Between `ends`; returns what both sides printed.
    pub fn exchange(&self, network: &Network, guest: &mut Guest, ends: Ends) -> Result<[String; 2], LabError> {
        let (near, there, back) = match ends {
            Ends::Hosts => (&network.host, self.with(&GUEST_HOST, None), self.with(&HOST, Some("host"))),
            Ends::Gateways => (&network.gateway, self.with(&GUEST, None), self.with(&WAN, None)),
        };
        thread::scope(|scope| {
            let here = scope.spawn(|| talk_in(near, &there));
            let far = guest.talk(&back);
            let near = here.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok([near?, far?])
        })
    }
}

/// Starts a stream of echo requests to `address`. At its end (SIGTERM) every request must have been answered.
pub fn stream(namespace: &Namespace, address: &str) -> Result<Process, LabError> {
    namespace.spawn("stream", &["python3", "-B", TALK, "stream", address])
}

/// Answers TCP at `address`, which may not be there yet, until it is dropped.
pub fn serve(namespace: &Namespace, address: &str) -> Result<Process, LabError> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/echo.py");
    let ip: IpAddr = address.parse().map_err(|_| LabError::Status(format!("{address} is no address")))?;
    let any = if ip.is_ipv4() { "0.0.0.0" } else { "::" };
    let server = namespace.spawn("echo", &["python3", "-B", program, "serve", any, &ECHO_PORT.to_string()])?;
    wait_for("the start of the server", Duration::from_secs(15), || {
        namespace.enter(|| TcpStream::connect((ip, ECHO_PORT))).ok()?.ok()
    })?;
    Ok(server)
}

fn talk_in(namespace: &Namespace, talk: &Talk) -> Result<String, LabError> {
    let words = serde_json::to_string(talk).map_err(|error| LabError::Status(error.to_string()))?;
    // `-B`: leaves nothing in the source tree.
    namespace.run_for(&["python3", "-B", TALK, &words], Duration::from_secs(30))
}

/// Single echo requests until one is answered: the first ones go while neighbours are being found.
pub fn warm_up(network: &Network, families: &[Family]) -> Result<(), LabError> {
    for &family in families {
        echo_from(&network.host, GUEST_HOST.of(family))?;
    }
    Ok(())
}

/// Waits until `address` answers an echo request of `namespace`.
pub fn echo_from(namespace: &Namespace, address: &str) -> Result<(), LabError> {
    wait_for(&format!("an echo reply from {address}"), Duration::from_secs(15), || {
        let line = ["ping", "-n", "-q", "-c", "1", "-W", "1", address];
        namespace.output(&line, Duration::from_secs(5)).is_ok_and(|output| output.status.success()).then_some(())
    })
}

/// Runs a command on the guest's own host.
pub fn inside(guest: &mut Guest, line: &str) -> Result<String, LabError> {
    guest.run(&format!("ip netns exec host {line}"))
}
