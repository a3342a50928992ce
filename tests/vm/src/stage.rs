use crate::audit::{Audit, status};
use crate::guest::Guest;
use crate::network::{GUEST_HOST, Network};
use crate::traffic::{Ends, Subject, stream, warm_up};
use culvert_lab::{Culvert, Deadline, Family, LabError, Process, wait_for};
use culvert_status::{Tunnel, TunnelState};
use nix::sys::signal::Signal;
use std::time::Duration;

/// How long a gateway may take to start.
const START: Duration = Duration::from_secs(20);
/// How long packets may be under way.
const SETTLED: Duration = Duration::from_secs(2);

/// A gateway, which the case starts, and all that is around it.
pub struct Stage<'a> {
    pub network: &'a Network,
    pub guest: &'a mut Guest,
    pub culvert: &'a mut Culvert,
}

impl Stage<'_> {
    pub fn audit(&mut self) -> Result<Audit, LabError> {
        Audit::take(self.network, self.culvert, self.guest)
    }

    /// Waits until the gateway can be asked.
    pub fn ready(&mut self) -> Result<(), LabError> {
        self.culvert.wait_ready(START)
    }

    /// Ping and TCP between the hosts, both ways; all of it passes the router as `kind`, in so many `layers` of SAs, and is
    /// counted alike by both ends.
    pub fn talk(&mut self, kind: &str, layers: u64, families: &[Family]) -> Result<(), LabError> {
        warm_up(self.network, families)?;
        let before = self.audit()?;
        self.exchange(&Subject::usual(families))?;
        self.settled(&before, |audit| audit.expect_clean(kind, layers))
    }

    /// What was counted since `before`, judged until it is good: the last segments of TCP may be under way, and the places
    /// are not asked at the same moment.
    pub fn settled(&mut self, before: &Audit, judge: impl Fn(&Audit) -> Result<(), LabError>) -> Result<(), LabError> {
        let deadline = Deadline::after(SETTLED);
        loop {
            let judged = judge(&self.audit()?.since(before));
            if judged.is_ok() || deadline.passed() {
                return judged;
            }
        }
    }

    /// Once nothing moves any more.
    pub fn still_audit(&mut self) -> Result<Audit, LabError> {
        let deadline = Deadline::after(SETTLED);
        let mut last = self.audit()?;
        loop {
            let now = self.audit()?;
            if now == last || deadline.passed() {
                return Ok(now);
            }
            last = now;
        }
    }

    /// Between the hosts.
    pub fn exchange(&mut self, subject: &Subject<'_>) -> Result<(), LabError> {
        subject.exchange(self.network, self.guest, Ends::Hosts).map(drop)
    }

    /// Starts a stream of echo requests from Culvert's host to the guest's.
    pub fn stream(&self) -> Result<Stream, LabError> {
        stream(&self.network.host, GUEST_HOST.v4).map(Stream)
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
    /// Ends it, and returns how many requests were not answered.
    pub fn finish(mut self) -> Result<u64, LabError> {
        self.0.signal(Signal::SIGTERM);
        self.0.wait(Duration::from_secs(10))?;
        let words = self.0.log_tail(1);
        match sent_and_answered(&words) {
            Some((sent, answered)) if answered >= 5 => Ok(sent.saturating_sub(answered)),
            _ => Err(LabError::Status(self.0.log_tail(8))),
        }
    }
}

/// `10.2.0.10: 50 sent, 49 answered, 0 answered wrongly`; a wrong answer is none.
fn sent_and_answered(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.split_once(": ")?;
    let mut numbers = counts.split(", ").filter_map(|part| part.split(' ').next()?.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_a_stream() {
        assert_eq!(sent_and_answered("10.2.0.10: 50 sent, 49 answered, 0 answered wrongly"), Some((50, 49)));
        assert_eq!(sent_and_answered("PermissionError: [Errno 13] Permission denied"), None);
    }
}
