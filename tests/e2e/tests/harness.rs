//! The harness itself, with strongSwan on both sides: the namespaces, the traffic and the measuring are right before
//! Culvert is blamed.

use culvert_e2e::{Family, Kind, Setup, scenario};
use culvert_lab::Nat;

const PAIR: Setup = Setup::new(Kind::StrongSwan, Kind::StrongSwan);

#[test]
fn two_strongswans_agree_and_rekey_without_loss() {
    scenario(
        PAIR,
        |_| {},
        |s| {
            s.connect()?;
            s.ping_all()?;
            let stream = s.stream_a_to_b(500)?;
            s.a.rekey_child("lan")?;
            s.a.rekey_ike()?;
            let received = stream.stop();
            assert_eq!((received.lost(), received.doubled), (0, 0), "{received:?}");
            assert!(s.a.wait_child("lan")?.packets_out > 0);
            Ok(())
        },
    );
}

#[test]
fn nat_and_ipv6_between_two_strongswans() {
    scenario(
        Setup { nat: Nat::SiteA, ..PAIR },
        |_| {},
        |s| {
            s.connect()?;
            s.ping_all()
        },
    );
    scenario(
        Setup { outer: Family::V6, ..PAIR },
        |_| {},
        |s| {
            s.connect()?;
            s.ping_all()
        },
    );
}

#[test]
fn loss_is_seen() {
    scenario(
        PAIR,
        |_| {},
        |s| {
            s.connect()?;
            let stream = s.stream_a_to_b(500)?;
            s.net.wan.ip(&["link", "set", "gw-b", "down"])?;
            std::thread::sleep(std::time::Duration::from_millis(300));
            s.net.wan.ip(&["link", "set", "gw-b", "up"])?;
            std::thread::sleep(std::time::Duration::from_millis(300));
            let received = stream.stop();
            assert!(received.lost() > 50, "{received:?}");
            Ok(())
        },
    );
}

#[test]
fn deletion_and_death_are_seen() {
    scenario(
        PAIR,
        |plans| plans.connection(|c| c.dpd_delay = Some("1s".to_owned())),
        |s| {
            s.connect()?;
            s.a.terminate()?;
            s.b.wait_no_children(std::time::Duration::from_secs(5))?;
            s.a.initiate("lan")?;
            s.a.kill()?;
            s.b.wait_no_children(std::time::Duration::from_secs(20))?;
            s.a.start()?;
            s.a.initiate("lan")?;
            s.warm_up()
        },
    );
}
