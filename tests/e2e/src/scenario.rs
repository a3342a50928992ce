use crate::culvert::CulvertPeer;
use crate::gateway::Gateway;
use crate::prerequisites::{Turn, begin};
use crate::stream::Stream;
use crate::strongswan::StrongSwan;
use crate::traffic::{ping, wait_for_ping};
use culvert_lab::{Family, GatewayPlan, LabError, Nat, Plans, Side, Start, TwoGateways};
use std::time::Duration;

/// Who stands at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Culvert,
    StrongSwan,
}

/// What a scenario is made from.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub a: Kind,
    pub b: Kind,
    pub nat: Nat,
    pub outer: Family,
    /// A's `start_action`; B's is always none.
    pub start: Start,
}

impl Setup {
    pub const fn new(a: Kind, b: Kind) -> Self {
        Self { a, b, nat: Nat::None, outer: Family::V4, start: Start::Start }
    }
}

/// Two gateways in a lab, not started yet.
pub struct Scenario {
    pub a: Box<dyn Gateway>,
    pub b: Box<dyn Gateway>,
    pub net: TwoGateways,
    _turn: Turn,
}

/// Runs a test: builds the lab, lets `change` adapt the two configurations, then runs `body`. When the body fails, by an
/// error or a panic, both gateways' logs are printed.
pub fn scenario(
    setup: Setup,
    change: impl FnOnce(&mut Plans),
    body: impl FnOnce(&mut Scenario) -> Result<(), LabError>,
) {
    let Some(turn) = begin() else { return };
    let mut scenario = build(setup, change, turn).expect("the lab can be built");
    if let Err(error) = body(&mut scenario) {
        panic!("{error}");
    }
}

fn build(setup: Setup, change: impl FnOnce(&mut Plans), turn: Turn) -> Result<Scenario, LabError> {
    let net = TwoGateways::build(setup.nat)?;
    let mut plans = Plans::new(&net, setup.outer, setup.start);
    if setup.a == Kind::StrongSwan {
        // `initiate` starts it, so that its outcome can be waited for.
        plans.a.connections[0].children[0].start = Start::None;
    }
    change(&mut plans);
    let a = peer(&net, &net.a, setup.a, &plans.a)?;
    let b = peer(&net, &net.b, setup.b, &plans.b)?;
    Ok(Scenario { a, b, net, _turn: turn })
}

fn peer(net: &TwoGateways, side: &Side, kind: Kind, plan: &GatewayPlan) -> Result<Box<dyn Gateway>, LabError> {
    let directory = net.lab.subdirectory(side.gateway.name())?;
    Ok(match kind {
        Kind::Culvert => Box::new(CulvertPeer::new(&side.gateway, directory, plan)?),
        Kind::StrongSwan => {
            side.give_to_kernel()?;
            Box::new(StrongSwan::new(&side.gateway, directory, plan)?)
        }
    })
}

impl Scenario {
    /// Starts both, B first as it waits; A brings the child up; then the tunnel has carried a packet each way.
    pub fn connect(&mut self) -> Result<(), LabError> {
        self.b.start()?;
        self.a.start()?;
        self.a.initiate("lan")?;
        self.b.wait_child("lan")?;
        self.warm_up()
    }

    /// Both ways, so that every neighbour is known.
    pub fn warm_up(&self) -> Result<(), LabError> {
        let limit = Duration::from_secs(10);
        wait_for_ping(&self.net.a.host, self.net.b.host4, limit)?;
        wait_for_ping(&self.net.b.host, self.net.a.host4, limit)
    }

    /// Pings both ways in IPv4 and IPv6; nothing may be lost.
    pub fn ping_all(&self) -> Result<(), LabError> {
        let (a, b) = (&self.net.a, &self.net.b);
        wait_for_ping(&a.host, b.host6, Duration::from_secs(10))?;
        for (from, to) in [(a, b), (b, a)] {
            ping(&from.host, to.host4)?;
            ping(&from.host, to.host6)?;
        }
        Ok(())
    }

    /// Numbered packets from A's host to B's.
    pub fn stream_a_to_b(&self, per_second: u32) -> Result<Stream, LabError> {
        Stream::start(&self.net.a.host, &self.net.b.host, self.net.b.host4, per_second)
    }

    pub fn stream_b_to_a(&self, per_second: u32) -> Result<Stream, LabError> {
        Stream::start(&self.net.b.host, &self.net.a.host, self.net.a.host4, per_second)
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (site, gateway) in [("A", &self.a), ("B", &self.b)] {
                let log = gateway.log();
                let lines: Vec<_> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(60)..].join("\n");
                eprintln!("---- log of gateway {site}, last 60 lines ----\n{tail}");
            }
        }
    }
}
