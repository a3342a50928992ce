//! The harness itself, with strongSwan on both sides: the namespaces, the traffic and the measuring are right before
//! Culvert is blamed.

use culvert_e2e::{Family, Kind, Nat, Setup, begin, scenario};
use culvert_lab::{Census, FrameKind, Lab, Process, is_alive, wait_for};
use std::time::Duration;

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
            std::thread::sleep(Duration::from_millis(300));
            s.net.wan.ip(&["link", "set", "gw-b", "up"])?;
            std::thread::sleep(Duration::from_millis(300));
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
            s.b.wait_no_children(Duration::from_secs(5))?;
            s.a.initiate("lan")?;
            s.a.kill()?;
            s.b.wait_no_children(Duration::from_secs(20))?;
            s.a.start()?;
            s.a.initiate("lan")?;
            s.warm_up()
        },
    );
}

#[test]
fn the_census_counts_what_crosses_the_switch() {
    scenario(
        PAIR,
        |_| {},
        |s| {
            let census = Census::start(&s.net.wan)?;
            s.connect()?;
            s.ping_all()?;
            let counts = census.counts()?;
            assert!(counts[&FrameKind::Ike] >= 4, "{counts:?}");
            assert!(counts[&FrameKind::EspInUdp] >= 40, "{counts:?}");
            assert!(counts[&FrameKind::Arp] >= 2, "{counts:?}");
            s.net.a.gateway.run(&["ping", "-c", "1", "-W", "1", s.net.b.wan4])?;
            let after = census.counts()?;
            assert_eq!(
                after[&FrameKind::Other],
                counts[&FrameKind::Other] + 2,
                "an echo in clear is not what may be there"
            );
            Ok(())
        },
    );
}

/// Run a second time, by itself, as the process that is killed.
const VICTIM: &str = "CULVERT_E2E_VICTIM";

#[test]
fn a_killed_lab_leaves_nothing() {
    if std::env::var_os(VICTIM).is_some() {
        let lab = Lab::new().expect("the lab can be built");
        let inside = lab.namespace("victim").expect("a namespace can be made");
        let sleeper = inside.spawn("sleeper", &["sleep", "1000"]).expect("sleep exists");
        // Before `setpriv` has run, nothing ties the process to this one: only then is the next lab's sweep its end.
        let comm = format!("/proc/{}/comm", sleeper.pid());
        let sleeps = || std::fs::read_to_string(&comm).is_ok_and(|comm| comm.trim() == "sleep").then_some(());
        wait_for("sleep", Duration::from_secs(8), sleeps).expect("it comes to run");
        println!("READY {} {}", inside.name(), sleeper.pid());
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let Some(_turn) = begin() else { return };
    let own = std::env::current_exe().expect("Linux knows");
    let mut command = std::process::Command::new(own);
    command.args(["--exact", "a_killed_lab_leaves_nothing", "--nocapture"]).env(VICTIM, "1");
    let log = std::env::temp_dir().join(format!("culvert-e2e-victim-{}.log", std::process::id()));
    let mut victim = Process::spawn("victim", &mut command, &log).expect("a test can be run again");
    let words = wait_for("the victim's lab", Duration::from_secs(10), || {
        let log = victim.log();
        let line = log.lines().find_map(|line| line.split_once("READY "))?.1.to_owned();
        line.split_once(' ').map(|(name, pid)| (name.to_owned(), pid.parse::<i32>()))
    });
    let (namespace, pid) = words.expect("it comes up");
    let pid = pid.expect("a number");
    assert!(is_alive(pid));
    victim.kill().expect("SIGKILL works");
    let _ = std::fs::remove_file(log);
    wait_for("the sleeper's death", Duration::from_secs(2), || (!is_alive(pid)).then_some(())).expect("it dies along");
    let path = std::path::Path::new("/run/netns").join(namespace);
    assert!(path.exists(), "a killed process cannot clean up");
    Lab::sweep();
    assert!(!path.exists(), "the next one does");
}
