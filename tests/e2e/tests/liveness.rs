//! Peers that go, die and come back.

use culvert_e2e::{Kind, Setup, Start, scenario};
use std::time::Duration;

const WE_BEGIN: Setup = Setup::new(Kind::Culvert, Kind::StrongSwan);
const THEY_BEGIN: Setup = Setup::new(Kind::StrongSwan, Kind::Culvert);
/// Dead peer detection with the quick retransmissions that both kinds are given here.
const DEATH: Duration = Duration::from_secs(40);

#[test]
fn a_dead_peer_is_noticed_and_its_tunnel_comes_back() {
    scenario(
        WE_BEGIN,
        |plans| {
            plans.connection(|connection| connection.dpd_delay = Some("1s".to_owned()));
            plans.a.connections[0].children[0].dpd_action = Some(Start::Start);
        },
        |s| {
            s.connect()?;
            s.b.kill()?;
            s.a.wait_no_children(DEATH)?;
            s.b.start()?;
            s.b.wait_child_for("lan", Duration::from_secs(30))?;
            s.warm_up()
        },
    );
}

#[test]
fn strongswan_notices_the_death_of_a_culvert() {
    scenario(
        THEY_BEGIN,
        |plans| plans.connection(|connection| connection.dpd_delay = Some("1s".to_owned())),
        |s| {
            s.connect()?;
            s.b.kill()?;
            s.a.wait_no_children(DEATH)?;
            s.b.start()?;
            s.a.initiate("lan")?;
            s.warm_up()
        },
    );
}

#[test]
fn a_restarted_peer_replaces_its_old_tunnel() {
    // It begins anew with INITIAL_CONTACT (RFC 7296 §2.4): the old SAs go without any time-out.
    scenario(
        THEY_BEGIN,
        |_| {},
        |s| {
            s.connect()?;
            let before = s.b.wait_child("lan")?;
            s.a.kill()?;
            s.a.start()?;
            s.a.initiate("lan")?;
            s.warm_up()?;
            let after = s.b.children()?;
            assert_eq!(after.len(), 1, "{after:?}");
            assert_ne!(after[0].spi_in, before.spi_in);
            assert_eq!(s.b.ike_spis()?.len(), 1);
            Ok(())
        },
    );
}

#[test]
fn deletion_by_strongswan() {
    for setup in [WE_BEGIN, THEY_BEGIN] {
        scenario(
            setup,
            |_| {},
            |s| {
                s.connect()?;
                let culvert_is_a = setup.a == Kind::Culvert;
                let (ours, theirs) = if culvert_is_a { (&mut s.a, &mut s.b) } else { (&mut s.b, &mut s.a) };
                theirs.terminate()?;
                ours.wait_no_children(Duration::from_secs(5))?;
                assert!(ours.ike_spis()?.is_empty());
                Ok(())
            },
        );
    }
}

#[test]
fn a_clean_end_deletes_the_tunnel_at_the_peer() {
    for setup in [WE_BEGIN, THEY_BEGIN] {
        scenario(
            setup,
            |_| {},
            |s| {
                s.connect()?;
                let culvert_is_a = setup.a == Kind::Culvert;
                let (ours, theirs) = if culvert_is_a { (&mut s.a, &mut s.b) } else { (&mut s.b, &mut s.a) };
                let status = ours.culvert().inner.stop()?.expect("it ran");
                assert_eq!(status.code(), Some(0), "{}", ours.log());
                theirs.wait_no_children(Duration::from_secs(3))?;
                let left = ours.culvert().inner.pids();
                assert!(left.is_empty(), "processes {left:?} are left");
                Ok(())
            },
        );
    }
}

#[test]
fn a_child_that_was_closed_comes_back_if_told_so() {
    scenario(
        WE_BEGIN,
        |plans| plans.a.connections[0].children[0].close_action = Some(Start::Start),
        |s| {
            s.connect()?;
            let before = s.a.wait_child("lan")?;
            s.b.terminate()?;
            culvert_lab::wait_for("the next tunnel", Duration::from_secs(15), || {
                let children = s.a.children().ok()?;
                children.iter().any(|child| child.spi_in != before.spi_in).then_some(())
            })?;
            s.warm_up()
        },
    );
}
