//! Two endpoints in this process: what a setup, an idle tunnel, a sign of life and a rekey cost.

use crate::clock::{Stopwatch, ThreadTime, WallTime};
use crate::world::{INITIATOR, Node, RESPONDER, World};
use crate::{Error, machine};
use core::time::Duration;
use culvert_crypto::{AwsLc, Provider};
use culvert_ike::Event;
use culvert_model::{Direction, KeGroup, Spi};
use serde::Serialize;

/// How often an idle peer is asked whether it lives.
pub const DPD: Duration = Duration::from_secs(30);
/// Tunnels that come up at once.
const AT_ONCE: usize = 64;
/// Setups between two looks at the provider alone.
const BETWEEN: u32 = 256;
/// Runs of the provider alone at each look.
const ALONE: u32 = 32;
/// Tunnels that are rekeyed, to know what it costs.
const REKEYED: u32 = 2000;
/// Virtual time for which the tunnels are held.
const HELD: Duration = Duration::from_secs(300);

#[derive(Serialize)]
pub struct Inside {
    pub tunnels: u32,
    pub dpd_seconds: u64,
    pub setups: [Setup; 2],
    pub held: Held,
    pub rekeys: [Rekey; 2],
}

/// One side's processor time for a setup.
#[derive(Serialize)]
pub struct Setup {
    pub role: &'static str,
    pub setup_ns: f64,
    /// Of which in public-key operations.
    pub inside_public_key_ns: f64,
    /// The same operations with nothing around them, between the setups.
    pub public_key_ns: f64,
    pub ratio: f64,
    pub setups_per_core_second: f64,
}

#[derive(Serialize)]
pub struct Held {
    /// What two tunnels' ends have grown the process by, over two.
    pub resident_bytes_per_tunnel: f64,
    /// The same with connection and key of the configuration.
    pub resident_bytes_per_tunnel_and_connection: f64,
    pub virtual_seconds: u64,
    pub dpd_exchanges: u64,
    pub dpd_exchange_ns: [f64; 2],
    pub lost: u64,
}

#[derive(Serialize)]
pub struct Rekey {
    pub what: &'static str,
    /// Processor time of initiator and responder.
    pub ns: [f64; 2],
    pub rekeyed: u64,
}

pub fn measure(tunnels: u32) -> Result<Inside, Error> {
    // The library gathers entropy for its first number: some milliseconds, once.
    public_key_alone(1)?;
    let empty = machine::resident()?;
    let mut world = World::new(tunnels, DPD);
    let configured = machine::resident()?;
    let setups = set_up(&mut world, tunnels)?;
    let grown = machine::resident()?;
    let per = |octets: u64| octets as f64 / f64::from(tunnels) / 2.0;
    let (alone, all) = (per(grown.saturating_sub(configured)), per(grown.saturating_sub(empty)));
    let held = hold(&mut world, alone, all)?;
    let rekeys = [rekey(&mut world, "child", tunnels)?, rekey(&mut world, "ike", tunnels)?];
    Ok(Inside { tunnels, dpd_seconds: DPD.as_secs(), setups, held, rekeys })
}

fn set_up(world: &mut World, tunnels: u32) -> Result<[Setup; 2], Error> {
    let (mut alone, mut looks) = (Duration::ZERO, 0);
    let mut begun = 0;
    while begun < tunnels {
        let until = tunnels.min(begun + BETWEEN);
        world.set_up(begun..until, AT_ONCE);
        begun = until;
        alone += public_key_alone(ALONE)?;
        looks += ALONE;
    }
    let up = |node: &Node| node.counts.child_up == u64::from(tunnels) && node.counts.failed == 0;
    if !world.nodes.iter().all(up) {
        return Err(Error::Wrong("not every tunnel came up"));
    }
    let public_key_ns = nanoseconds(alone, looks);
    Ok([("initiator", INITIATOR), ("responder", RESPONDER)].map(|(role, side)| {
        let spent = world.nodes[side].spent;
        let setup_ns = nanoseconds(spent.protocol + spent.public_key, tunnels);
        Setup {
            role,
            setup_ns,
            inside_public_key_ns: nanoseconds(spent.public_key, tunnels),
            public_key_ns,
            ratio: setup_ns / public_key_ns,
            setups_per_core_second: 1e9 / setup_ns,
        }
    }))
}

/// A key pair and the shared secret: what either side does once a setup.
fn public_key_alone(times: u32) -> Result<Duration, Error> {
    let wrong = |_| Error::Wrong("the provider refuses X25519");
    let peer = AwsLc.generate(KeGroup::X25519).map_err(wrong)?.public().to_vec();
    let clock = Stopwatch::<ThreadTime>::start();
    for _ in 0..times {
        AwsLc.generate(KeGroup::X25519).and_then(|key| key.agree(&peer)).map_err(wrong)?;
    }
    Ok(clock.elapsed())
}

fn hold(world: &mut World, alone: f64, all: f64) -> Result<Held, Error> {
    world.reset_clock();
    let before: u64 = world.nodes.iter().map(|node| node.counts.messages).sum();
    let wall = Stopwatch::<WallTime>::start();
    world.pass(world.now + HELD);
    if wall.elapsed() > HELD {
        return Err(Error::Wrong("the tunnels could not be held in real time"));
    }
    let after: u64 = world.nodes.iter().map(|node| node.counts.messages).sum();
    // A question and its answer.
    let exchanges = (after - before) / 2;
    let ns = |side: usize| world.nodes[side].spent.protocol.as_nanos() as f64 / exchanges.max(1) as f64;
    Ok(Held {
        resident_bytes_per_tunnel: alone,
        resident_bytes_per_tunnel_and_connection: all,
        virtual_seconds: HELD.as_secs(),
        dpd_exchanges: exchanges,
        dpd_exchange_ns: [ns(INITIATOR), ns(RESPONDER)],
        lost: world.nodes.iter().map(|node| node.counts.down).sum(),
    })
}

fn rekey(world: &mut World, what: &'static str, tunnels: u32) -> Result<Rekey, Error> {
    let some = REKEYED.min(tunnels);
    let spis: Vec<Spi> = world.inbound_spis(some as usize);
    world.reset_clock();
    let done = |world: &World| {
        let counts = world.nodes[INITIATOR].counts;
        if what == "child" { counts.child_rekeyed } else { counts.ike_rekeyed }
    };
    let before = done(world);
    for (tunnel, spi) in (0..some).zip(spis) {
        world.tell(
            INITIATOR,
            match what {
                "child" => Event::SoftExpire { spi, direction: Direction::Inbound },
                _ => Event::RekeyIke { connection: format!("branch-{tunnel}") },
            },
        );
    }
    let rekeyed = done(world) - before;
    if rekeyed != u64::from(some) {
        return Err(Error::Wrong("not everything was rekeyed"));
    }
    let ns = |side: usize| nanoseconds(world.nodes[side].spent.protocol + world.nodes[side].spent.public_key, some);
    Ok(Rekey { what, ns: [ns(INITIATOR), ns(RESPONDER)], rekeyed })
}

fn nanoseconds(spent: Duration, times: u32) -> f64 {
    spent.as_nanos() as f64 / f64::from(times.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4 KiB an idle tunnel, with what the indices and the configuration take; each side apart.
    #[test]
    fn an_idle_tunnel_takes_little() {
        let tunnels = 4000;
        let mut world = World::new(tunnels, DPD);
        world.set_up(0..tunnels, AT_ONCE);
        world.pass(world.now + HELD);
        for node in &world.nodes {
            assert_eq!((node.counts.child_up, node.counts.failed, node.counts.down), (u64::from(tunnels), 0, 0));
            let octets = node.held / i64::from(tunnels);
            assert!((1000..4096).contains(&octets), "{octets} octets a tunnel");
        }
    }

    #[test]
    fn peers_are_asked_and_pairs_replaced() {
        let tunnels = 40;
        let mut world = World::new(tunnels, DPD);
        world.set_up(0..tunnels, AT_ONCE);
        let held = hold(&mut world, 0.0, 0.0).expect("held");
        // Once in thirty seconds by one side or the other.
        assert!(held.dpd_exchanges >= 9 * u64::from(tunnels) && held.dpd_exchanges <= 20 * u64::from(tunnels));
        assert_eq!(held.lost, 0);
        for what in ["child", "ike"] {
            assert_eq!(rekey(&mut world, what, tunnels).expect("rekeyed").rekeyed, u64::from(tunnels));
        }
    }
}
