//! Two endpoints under a virtual clock and a network that loses, doubles, reorders and delays.
//!
//! `CULVERT_SIM_SEEDS=n` runs n seeds of each scenario, `CULVERT_SIM_SEED=s` only that one.

mod world;

use core::time::Duration;
use culvert_ike::{DownAction, StartAction};
use world::{Options, World};

fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|t| t.parse::<u64>().ok());
    match number("CULVERT_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("CULVERT_SIM_SEEDS").unwrap_or(default)).collect(),
    }
}

/// Runs a scenario for each seed; a failure names its seed.
fn each(default: u64, scenario: fn(u64)) {
    for seed in seeds(default) {
        if let Err(panic) = std::panic::catch_unwind(|| scenario(seed)) {
            eprintln!("seed {seed} failed; run it again with CULVERT_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn establish_rekey_delete() {
    let mut world = World::new(1, &Options::calm());
    world.initiate(0);
    world.run(secs(5));
    world.assert_converged();
    for node in [0, 1] {
        world.rekey_child(node);
        world.run(secs(10));
        world.assert_converged();
        world.rekey_ike(node);
        world.run(secs(10));
        world.assert_converged();
    }
    assert!(world.carried() > 50, "traffic flowed");
    world.assert_no_loss();
    world.terminate(0);
    world.run(secs(10));
    world.assert_empty();
}

/// Rekeys of every kind, at once or not, lose no packet.
#[test]
fn rekeys_lose_nothing() {
    each(1500, |seed| {
        let mut world = World::new(seed, &Options::rough(seed));
        world.initiate(0);
        world.run_until_up();
        for _ in 0..8 {
            match world.pick(6) {
                0 => world.rekey_child(0),
                1 => world.rekey_child(1),
                2 => {
                    world.rekey_child(0);
                    let pause = world.pick(300);
                    world.run(Duration::from_millis(pause));
                    world.rekey_child(1);
                }
                3 => world.rekey_ike(0),
                4 => world.rekey_ike(1),
                _ => {
                    world.rekey_ike(0);
                    let pause = world.pick(300);
                    world.run(Duration::from_millis(pause));
                    world.rekey_ike(1);
                    world.rekey_child(0);
                }
            }
            let pause = world.pick(12_000);
            world.run(Duration::from_millis(pause));
        }
        world.assert_no_loss();
        world.calm_down();
        world.assert_converged();
        world.assert_no_loss();
        world.assert_leaves_nothing();
    });
}

/// Anything may happen; in the end there is one pair per child on both sides, and after a shutdown nothing at all.
#[test]
fn anything_converges() {
    each(2000, |seed| {
        let mut options = Options::rough(seed);
        options.start =
            if seed.is_multiple_of(3) { [StartAction::Start; 2] } else { [StartAction::Start, StartAction::None] };
        options.down = if seed.is_multiple_of(2) { DownAction::Restart } else { DownAction::Trap };
        let mut world = World::new(seed, &options);
        world.start();
        for _ in 0..8 {
            let node = world.pick(2) as usize;
            match world.pick(9) {
                0 => world.initiate(node),
                1 => {
                    world.initiate(0);
                    world.initiate(1);
                }
                2 => world.rekey_child(node),
                3 => world.rekey_ike(node),
                4 => {
                    world.rekey_child(0);
                    world.rekey_ike(1);
                }
                5 => world.restart(node),
                6 => world.terminate(node),
                7 => world.partition(),
                _ => world.heal(),
            }
            let pause = world.pick(15_000);
            world.run(Duration::from_millis(pause));
        }
        world.calm_down();
        world.initiate(0);
        world.run(secs(30));
        world.assert_converged();
        world.assert_leaves_nothing();
    });
}

/// Both ends begin at the same moment.
#[test]
fn simultaneous_start_settles() {
    each(500, |seed| {
        let mut options = Options::rough(seed);
        options.start = [StartAction::Start; 2];
        let mut world = World::new(seed, &options);
        world.start();
        world.run(secs(60));
        world.calm_down();
        world.assert_converged();
        world.assert_leaves_nothing();
    });
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
