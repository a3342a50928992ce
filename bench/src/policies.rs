//! What policies cost: a flow's first packet, which searches them, beside its later ones, and their coming and going.

use crate::Error;
use crate::gateway::{Gateway, LAN, Window, frame_to};
use crate::measure::{PACKETS, Samples, timed};
use culvert_engine::BURST;
use culvert_link::record::Command;
use culvert_model::{Action, AddrRange, Pfp, Policy, PolicyDirection, PolicyId, TrafficSelector};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

const SIZES: [u32; 5] = [1, 100, 1_000, 10_000, 100_000];
const CHANGES: u32 = 20_000;
const WARM_UP: u32 = 20;

/// How the policies differ. All are BYPASS for this site's lan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Each for another /24.
    Prefixes,
    /// Each for another prefix of 12 to 32 bits, strewn over an eighth of all addresses and lying in each other.
    MixedLengths,
}

/// One table of policies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub shape: Shape,
    pub policies: u32,
    /// Nanoseconds of the whole path for a packet whose flow is known; median window.
    pub known_ns: f64,
    /// The same where each packet is the first of its flow.
    pub first_ns: f64,
    /// Policies removed and set again one at a time, each published to the workers.
    pub changes_per_second: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub cases: Vec<Case>,
}

impl Report {
    pub fn measure(windows: u32) -> Result<Self, Error> {
        let tables =
            [Shape::Prefixes, Shape::MixedLengths].into_iter().flat_map(|shape| SIZES.map(|size| (shape, size)));
        Ok(Self {
            cases: tables.map(|(shape, size)| Table::new(shape, size)?.measure(windows)).collect::<Result<_, _>>()?,
        })
    }
}

pub struct Table {
    shape: Shape,
    size: u32,
    pub gateway: Gateway,
    window: Window,
    chance: u64,
}

impl Table {
    pub fn new(shape: Shape, size: u32) -> Result<Self, Error> {
        let mut gateway = Gateway::beside(7)?;
        let lan = gateway.lan();
        gateway.state((0..size).map(|n| shape.policy(lan, n)))?;
        Ok(Self { shape, size, gateway, window: Window::new(), chance: 1 })
    }

    fn measure(mut self, windows: u32) -> Result<Case, Error> {
        // Few enough that no two of them want one place in the cache.
        let known: Vec<_> = self.frames()?.into_iter().take(BURST).cycle().take(PACKETS).collect();
        let known_ns = self.windows(windows, |_| Ok(known.clone()))?;
        let first_ns = self.windows(windows, Self::frames)?;
        let changes_per_second = self.changes()?;
        let Self { shape, size, .. } = self;
        Ok(Case { shape, policies: size, known_ns, first_ns, changes_per_second })
    }

    fn windows(
        &mut self,
        windows: u32,
        mut frames: impl FnMut(&mut Self) -> Result<Vec<Vec<u8>>, Error>,
    ) -> Result<f64, Error> {
        let mut samples = Samples::with_room(windows);
        for round in 0..WARM_UP + windows {
            let frames = frames(self)?;
            let taken = self.pass(&frames)?;
            if round >= WARM_UP {
                samples.push(taken);
            }
        }
        Ok((samples.per_packet().1 * 10.0).round() / 10.0)
    }

    /// Nanoseconds for the frames, all of which must leave.
    pub fn pass(&mut self, frames: &[Vec<u8>]) -> Result<u64, Error> {
        self.window.load(frames);
        let taken = timed(|| self.gateway.work(LAN, &mut self.window));
        self.gateway.collect("policies", &mut self.window)?;
        Ok(taken)
    }

    /// Packets of flows that were not there before, each of some policy's.
    pub fn frames(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        (0..PACKETS).map(|_| self.frame()).collect::<Option<_>>().ok_or(Error::Setup("a frame of no possible size"))
    }

    fn frame(&mut self) -> Option<Vec<u8>> {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let chance = strewn((self.chance >> 32) as u32);
        let net = self.shape.net(chance % self.size);
        let host = strewn(chance) & net.hostmask().to_bits();
        let to = Ipv4Addr::from_bits(net.network().to_bits() | host);
        frame_to(to, (chance >> 16) as u16)
    }

    fn changes(&mut self) -> Result<u64, Error> {
        let lan = self.gateway.lan();
        let mut outcome = Ok(());
        let taken = timed(|| {
            outcome = (0..CHANGES / 2).try_for_each(|n| {
                let policy = self.shape.policy(lan, strewn(n) % self.size);
                self.gateway.apply(Command::RemovePolicy(policy.id))?;
                self.gateway.apply(Command::SetPolicy(policy))
            });
        });
        outcome.map(|()| u64::from(CHANGES) * 1_000_000_000 / taken.max(1))
    }
}

impl Shape {
    fn net(self, n: u32) -> Ipv4Net {
        let (bits, len) = match self {
            Self::Prefixes => (0x2000_0000 + (n << 8), 24),
            Self::MixedLengths => (0x2000_0000 | strewn(n) >> 3, 12 + (n % 21) as u8),
        };
        Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), len).trunc()
    }

    fn policy(self, lan: TrafficSelector, n: u32) -> Policy {
        Policy {
            id: PolicyId(n),
            direction: PolicyDirection::Outbound,
            priority: 10,
            local: vec![lan],
            remote: vec![TrafficSelector::any(AddrRange::from(ipnet::IpNet::V4(self.net(n))))],
            action: Action::Bypass,
            interface: None,
            pfp: Pfp::NONE,
        }
    }
}

/// 32 bits that look like chance, each once.
const fn strewn(n: u32) -> u32 {
    let n = (n ^ (n >> 16)).wrapping_mul(0x7feb_352d);
    let n = (n ^ (n >> 15)).wrapping_mul(0x846c_a68b);
    n ^ (n >> 16)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "policies              in all   known flow, ns   first packet, ns   changes/s")?;
        self.cases.iter().try_for_each(|case| {
            let Case { policies, known_ns, first_ns, changes_per_second, .. } = case;
            let shape = match case.shape {
                Shape::Prefixes => "remote /24",
                Shape::MixedLengths => "remote /12 to /32",
            };
            writeln!(f, "{shape:<19} {policies:>8} {known_ns:>16.1} {first_ns:>18.1} {changes_per_second:>11}")
        })
    }
}
