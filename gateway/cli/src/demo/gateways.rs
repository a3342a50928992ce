use super::Failure;
use culvert_lab::{Culvert, Family, LabError, Nat, Plans, Start, TwoGateways, wait_for};
use culvert_status::{Status, TunnelState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const START: Duration = Duration::from_secs(20);

/// The two gateways under show, and the lab they stand in.
pub struct Gateways<'a> {
    // Before the lab: they end first, and say goodbye to each other.
    a: Culvert,
    b: Culvert,
    net: TwoGateways,
    programs: PathBuf,
    stop: &'a AtomicBool,
}

impl<'a> Gateways<'a> {
    pub fn build(stop: &'a AtomicBool) -> Result<Self, Failure> {
        let programs = own_directory()?;
        let net = TwoGateways::build(Nat::None)?;
        let plans = Plans::new(&net, Family::V4, Start::Start);
        let directory = |name: &str| net.lab.subdirectory(name);
        let a = Culvert::new(&net.a.gateway, &programs, directory("gw-a")?, &plans.a)?;
        let b = Culvert::new(&net.b.gateway, &programs, directory("gw-b")?, &plans.b)?;
        Ok(Self { a, b, net, programs, stop })
    }

    pub fn net(&self) -> &TwoGateways {
        &self.net
    }

    pub fn tag(&self) -> &str {
        self.net.lab.tag()
    }

    /// The one that waits first, so that the other finds it.
    pub fn start(&mut self) -> Result<(), Failure> {
        self.b.start()?;
        self.a.start()?;
        self.wait("the start of both gateways", |this| this.status().ok().map(drop))
    }

    /// Returns the suites agreed on for IKE and ESP.
    pub fn wait_tunnel(&mut self) -> Result<(String, String), Failure> {
        let up = self.wait("IKEv2's agreement", |this| {
            let [a, b] = this.status().ok()?;
            let both = [&a, &b].map(|status| status.tunnels.first().map(|tunnel| tunnel.state));
            (both == [Some(TunnelState::Installed); 2]).then_some(a)
        });
        let status = match up {
            Ok(status) => status,
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(_) => return Err(Failure::Said(self.complaint())),
        };
        let ike = status.ike_sas.first().map_or_else(String::new, |sa| sa.proposal.clone());
        let esp = status.tunnels.first().and_then(|tunnel| tunnel.suite.clone()).unwrap_or_default();
        Ok((ike, esp))
    }

    /// Of gw-a and gw-b.
    pub fn status(&self) -> Result<[Status; 2], Failure> {
        let parse = |text: String| {
            serde_json::from_str(&text)
                .map_err(|error| Failure::Said(format!("the status document is broken: {error}")))
        };
        Ok([parse(self.a.status_json()?)?, parse(self.b.status_json()?)?])
    }

    pub fn expect_running(&mut self) -> Result<(), Failure> {
        for gateway in [&mut self.a, &mut self.b] {
            if let Some(process) = gateway.process() {
                process.expect_running()?;
            }
        }
        Ok(())
    }

    /// Command lines for a second terminal, each with what it shows.
    pub fn commands(&self) -> Vec<(&'static str, String)> {
        let culvert = self.programs.join("culvert");
        let metrics = "curl -s http://127.0.0.1:9469/metrics";
        vec![
            ("metrics", format!("ip netns exec {} {metrics}", self.net.a.gateway.name())),
            ("status", format!("{} status --watch --run-dir {}", culvert.display(), self.a.run_directory().display())),
            ("the wire", format!("ip netns exec {} tcpdump -ni {}", self.net.wan.name(), self.net.wan_port())),
            ("a host", format!("ip netns exec {} ping {}", self.net.a.host.name(), self.net.b.host4)),
            ("the files", format!("ls {}", self.net.lab.directory().display())),
        ]
    }

    fn wait<T>(&mut self, what: &str, mut ask: impl FnMut(&mut Self) -> Option<T>) -> Result<T, Failure> {
        let answer = wait_for(what, START, || {
            if self.stop.load(Ordering::Relaxed) {
                return Some(Err(Failure::Interrupted));
            }
            if let Err(ended) = self.expect_running() {
                return Some(Err(ended));
            }
            ask(self).map(Ok)
        });
        match answer {
            Ok(answer) => answer,
            Err(error @ LabError::NeverHappened { .. }) => Err(Failure::Said(format!("{error}\n{}", self.complaint()))),
            Err(error) => Err(error.into()),
        }
    }

    /// Why there is no tunnel, in the gateways' own words.
    fn complaint(&mut self) -> String {
        let mut text = String::from("the tunnel did not come up.");
        match self.status() {
            Ok(both) => {
                for (name, status) in ["gw-a", "gw-b"].iter().zip(&both) {
                    for error in status.tunnels.iter().filter_map(|tunnel| tunnel.last_error.as_ref()) {
                        text += &format!("\n{name}: {error}");
                    }
                }
            }
            Err(failure) => text += &format!("\nTheir status cannot be had: {failure}"),
        }
        for (name, gateway) in [("gw-a", &mut self.a), ("gw-b", &mut self.b)] {
            if let Some(process) = gateway.process() {
                text += &format!("\n--- the end of {name}'s log ---\n{}", process.log_tail(15));
            }
        }
        text
    }
}

impl Drop for Gateways<'_> {
    /// Both are told before either is waited for.
    fn drop(&mut self) {
        for gateway in [&mut self.a, &mut self.b] {
            if let Some(process) = gateway.process() {
                process.signal(nix::sys::signal::Signal::SIGTERM);
            }
        }
        let _ = self.a.stop();
        let _ = self.b.stop();
    }
}

/// Where this program is, the planes' programs are too.
fn own_directory() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|e| Failure::Said(format!("cannot tell where this program is: {e}")))?;
    let directory = own.parent().map(PathBuf::from).unwrap_or_default();
    for name in ["culvert-control", "culvert-dataplane"] {
        let program = directory.join(name);
        if !program.is_file() {
            return Err(Failure::Said(format!("{} is missing; build it first: make build", program.display())));
        }
    }
    Ok(directory)
}
