use crate::audit::{Audit, count_passing, status};
use crate::guest::Guest;
use crate::network::{GUEST_HOST, Network};
use crate::traffic::{ping_both_ways, tcp_both_ways, warm_up};
use culvert_lab::{Culvert, Family, LabError, Process, wait_for};
use culvert_status::{Tunnel, TunnelState};
use nix::sys::signal::Signal;
use std::time::Duration;

/// A running gateway, and all that is around it.
pub struct Stage<'a> {
    pub network: &'a Network,
    pub guest: &'a mut Guest,
    pub culvert: &'a mut Culvert,
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Stage<'_> {
    pub fn audit(&mut self) -> Result<Audit, LabError> {
        Audit::take(self.network, self.culvert, self.guest)
    }

    /// Ping and TCP between the hosts, both ways, in both families; all of it passes the router as `kind` and is counted alike
    /// by both ends.
    pub fn talk(&mut self, kind: &str) -> Result<(), LabError> {
        count_passing(self.network)?;
        warm_up(self.network, &FAMILIES)?;
        let before = self.audit()?;
        ping_both_ways(self.network, self.guest, &FAMILIES, 56)?;
        tcp_both_ways(self.network, self.guest, &FAMILIES)?;
        self.audit()?.since(&before).expect_clean(kind)
    }

    /// Starts a stream of echo requests from Culvert's host to the guest's.
    pub fn stream(&self) -> Result<Stream, LabError> {
        let line = ["ping", "-n", "-q", "-i", "0.05", GUEST_HOST.v4];
        Ok(Stream(self.network.host.spawn("stream", &line)?))
    }

    /// The only tunnel, once it carries traffic and is not the one with the inbound SPI `old`.
    pub fn tunnel_after(&self, old: Option<&str>) -> Result<Tunnel, LabError> {
        wait_for("a tunnel with new keys", Duration::from_secs(30), || {
            let tunnels = status(self.culvert).ok()?.tunnels;
            tunnels.into_iter().find(|tunnel| tunnel.state == TunnelState::Installed && tunnel.spi_in.as_deref() != old)
        })
    }
}

/// Echo requests on their way.
pub struct Stream(Process);

impl Stream {
    /// Ends it; every request must have been answered, but for one that may still be under way.
    pub fn finish(mut self) -> Result<(), LabError> {
        // `ping` prints its totals on SIGINT.
        self.0.signal(Signal::SIGINT);
        self.0.wait(Duration::from_secs(5))?;
        let totals = self.0.log_tail(2);
        match sent_and_received(&totals) {
            Some((sent, received)) if received >= 20 && sent <= received + 1 => Ok(()),
            _ => Err(LabError::Status(totals)),
        }
    }
}

/// `50 packets transmitted, 49 received, 2% packet loss, time 2502ms`
fn sent_and_received(totals: &str) -> Option<(u64, u64)> {
    let line = totals.lines().find(|line| line.contains("packets transmitted"))?;
    let mut numbers = line.split(", ").filter_map(|part| part.split(' ').next()?.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_ping() {
        let line = "50 packets transmitted, 49 received, 2% packet loss, time 2502ms\nrtt min/avg";
        assert_eq!(sent_and_received(line), Some((50, 49)));
        assert_eq!(sent_and_received("ping: sendmsg: Network is unreachable"), None);
    }
}
