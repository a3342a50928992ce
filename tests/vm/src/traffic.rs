//! Ping and TCP between the two hosts, each way.

use crate::guest::Guest;
use crate::network::{GUEST_HOST, HOST, Network};
use culvert_lab::{Family, LabError, wait_for};
use std::time::Duration;

/// Where both hosts answer TCP.
pub const ECHO_PORT: u16 = 7;
/// Some tens of segments each way.
const OCTETS: usize = 40_000;
const ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/echo.py");

/// Single echo requests until one is answered: the first ones go while neighbours are being found.
pub fn warm_up(network: &Network, families: &[Family]) -> Result<(), LabError> {
    for &family in families {
        let to = GUEST_HOST.of(family);
        wait_for(&format!("an echo reply from {to}"), Duration::from_secs(8), || {
            let line = ["ping", "-n", "-q", "-c", "1", "-W", "1", to];
            network.host.output(&line, Duration::from_secs(5)).is_ok_and(|output| output.status.success()).then_some(())
        })?;
    }
    Ok(())
}

/// Nothing may be lost, whichever side asks.
pub fn ping_both_ways(network: &Network, guest: &mut Guest, families: &[Family], words: &str) -> Result<(), LabError> {
    let line = format!("ping -n -q -c 4 -i 0.05 -W 3 {words}");
    for &family in families {
        let there = format!("{line} {}", GUEST_HOST.of(family));
        network.host.run(&there.split(' ').collect::<Vec<_>>()).and_then(|text| all_answered(&text, 1))?;
    }
    // At once, as starting a program takes long in there.
    let back: String = families.iter().map(|family| format!("{line} {} & ", HOST.of(*family))).collect();
    let text = inside(guest, &format!("sh -c '{back} wait'"))?;
    all_answered(&text, families.len())
}

fn all_answered(text: &str, pings: usize) -> Result<(), LabError> {
    if text.matches("4 received").count() == pings { Ok(()) } else { Err(LabError::Status(text.to_owned())) }
}

/// Octets go and come back over TCP, from either side.
pub fn tcp_both_ways(network: &Network, guest: &mut Guest, families: &[Family]) -> Result<(), LabError> {
    let (port, octets) = (ECHO_PORT.to_string(), OCTETS.to_string());
    let mut line = vec!["python3", ECHO, "ask", &port, &octets];
    line.extend(families.iter().map(|family| GUEST_HOST.of(*family)));
    network.host.run(&line)?;
    let addresses: Vec<_> = families.iter().map(|family| HOST.of(*family)).collect();
    inside(guest, &format!("python3 /guest/echo.py ask {port} {octets} {}", addresses.join(" "))).map(drop)
}

/// Runs a command on the guest's own host.
pub fn inside(guest: &mut Guest, line: &str) -> Result<String, LabError> {
    guest.run(&format!("ip netns exec host {line}"))
}
