use crate::audit::{Audit, status};
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

impl Stage<'_> {
    pub fn audit(&mut self) -> Result<Audit, LabError> {
        Audit::take(self.network, self.culvert, self.guest)
    }

    /// Ping and TCP between the hosts, both ways; all of it passes the router as `kind` and is counted alike
    /// by both ends.
    pub fn talk(&mut self, kind: &str, families: &[Family]) -> Result<(), LabError> {
        warm_up(self.network, families)?;
        let before = self.audit()?;
        ping_both_ways(self.network, self.guest, families, "-s 56")?;
        tcp_both_ways(self.network, self.guest, families)?;
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

    /// SPIs of the only IKE SA, once they are not `old`.
    pub fn ike_sa_after(&self, old: Option<&str>) -> Result<String, LabError> {
        wait_for("an IKE SA with new keys", Duration::from_secs(10), || {
            let sas = status(self.culvert).ok()?.ike_sas;
            let [sa] = sas.as_slice() else { return None };
            let spis = format!("{}-{}", sa.initiator_spi, sa.responder_spi);
            (sa.state.eq_ignore_ascii_case("established") && Some(spis.as_str()) != old).then_some(spis)
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
            Some((sent, received)) if received >= 5 && sent <= received + 1 => Ok(()),
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
