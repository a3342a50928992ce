//! Either process may die at any moment.

use culvert_e2e::{Kind, LabError, Scenario, Setup, scenario};
use std::time::Duration;

const PAIR: Setup = Setup::new(Kind::Culvert, Kind::Culvert);
const RECOVERY: Duration = Duration::from_secs(15);

/// Kills a process of gateway A or B and waits for its successor.
fn kill_and_wait(s: &mut Scenario, site_a: bool, name: &str) -> Result<(), LabError> {
    let peer = if site_a { s.a.culvert() } else { s.b.culvert() };
    let dead = peer.inner.kill_plane(name)?;
    culvert_lab::wait_for(&format!("the next {name}"), RECOVERY, || {
        peer.inner.plane(name).is_some_and(|pid| pid != dead).then_some(())
    })?;
    peer.inner.wait_ready(RECOVERY)
}

#[test]
fn the_stream_outlives_both_control_processes() {
    scenario(
        PAIR,
        |_| {},
        |s| {
            s.connect()?;
            let (there, back) = (s.stream_a_to_b(400)?, s.stream_b_to_a(400)?);
            there.wait_flow(200)?;
            for site_a in [true, false] {
                kill_and_wait(s, site_a, "culvert-control")?;
                there.wait_flow(400)?;
                back.wait_flow(400)?;
            }
            for received in [there.stop(), back.stop()] {
                assert!(received.lost() == 0 && received.doubled == 0, "{received:?}");
            }
            // A begins again by its start action; B, which only answers otherwise, because it finds SAs it lost.
            s.a.wait_child("lan")?;
            s.b.wait_child("lan").map(drop)
        },
    );
}

#[test]
fn a_killed_data_plane_recovers_by_itself() {
    scenario(
        PAIR,
        |_| {},
        |s| {
            s.connect()?;
            for site_a in [true, false] {
                let before = s.b.wait_child("lan")?;
                kill_and_wait(s, site_a, "culvert-dataplane")?;
                s.warm_up()?;
                s.ping_all()?;
                let after = s.b.wait_child("lan")?;
                assert_eq!(before.spi_in, after.spi_in, "the SAs outlive the process");
                let drops = s.b.culvert().status()?.drops;
                assert_eq!(drops.get("replay_duplicate"), None, "no sequence number is used twice: {drops:?}");
            }
            Ok(())
        },
    );
}

#[test]
fn a_killed_supervisor_leaves_no_process() {
    scenario(
        PAIR,
        |_| {},
        |s| {
            s.connect()?;
            let inner = &mut s.a.culvert().inner;
            inner.process().expect("runs").kill()?;
            culvert_lab::wait_for("the end of both planes", Duration::from_secs(10), || {
                inner.pids().is_empty().then_some(())
            })
        },
    );
}
