//! What `culvert run` is given wrong: a clear sentence, a non-zero status, nothing left running.

use culvert_e2e::{Kind, LabError, Setup, begin, programs, scenario};
use culvert_lab::{GatewayPlan, Lab, Namespace, PortPlan, wait_for};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// A gateway with one port and nothing to do.
fn small_plan() -> GatewayPlan {
    GatewayPlan {
        workers: vec![0],
        ports: vec![PortPlan {
            name: "wan".to_owned(),
            interface: "wan".to_owned(),
            addresses: vec!["192.0.2.1/24".to_owned()],
        }],
        metrics: "127.0.0.1:9469".to_owned(),
        ..GatewayPlan::default()
    }
}

fn small_lab() -> Result<(Lab, Namespace), LabError> {
    let lab = Lab::new()?;
    let gateway = lab.namespace("gw")?;
    let other = lab.namespace("other")?;
    gateway.link("wan", &other, "wan")?;
    Ok((lab, gateway))
}

/// Runs `prefix culvert run` with the configuration in `directory` and expects a refusal that says `word`.
fn expect_refusal(gateway: &Namespace, prefix: &[&str], directory: &Path, word: &str) -> Result<(), LabError> {
    let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let program = programs().join("culvert").to_string_lossy().into_owned();
    let (config, run, state) = (file("culvert.toml"), file("run"), file("state"));
    let mut line = prefix.to_vec();
    line.extend([&*program, "run", &config, "--run-dir", &run, "--state-dir", &state]);
    let mut process = gateway.spawn("culvert", &line)?;
    let status = process.wait(Duration::from_secs(15))?;
    let log = process.log();
    assert!(!status.success() && status.code().is_some(), "{status}: {log}");
    assert!(log.to_lowercase().contains(&word.to_lowercase()), "`{word}` is not in: {log}");
    assert!(!log.contains("panicked"), "{log}");
    wait_for("the end of all its processes", Duration::from_secs(3), || gateway.pids().is_empty().then_some(()))?;
    assert!(!directory.join("run/control.sock").exists(), "the control socket is left");
    Ok(())
}

/// One refusal: `spoil` makes the configuration wrong.
fn refused(word: &str, plan: &GatewayPlan, spoil: impl FnOnce(&Path, &Namespace) -> Option<TcpListener>) {
    let Some(_turn) = begin() else { return };
    let (lab, gateway) = small_lab().expect("the lab can be built");
    plan.write_culvert(lab.directory()).expect("the lab's directory is writable");
    let _held = spoil(lab.directory(), &gateway);
    expect_refusal(&gateway, &[], lab.directory(), word).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_missing_device() {
    let mut plan = small_plan();
    plan.ports[0].interface = "nosuch0".to_owned();
    refused("nosuch0", &plan, |_, _| None);
}

#[test]
fn a_configuration_error() {
    refused("culvert.toml:", &small_plan(), |directory, _| {
        let path = directory.join("culvert.toml");
        let text = fs::read_to_string(&path).expect("just written") + "\n[dataplan]\nworker = 1\n";
        fs::write(path, text).expect("writable");
        None
    });
}

#[test]
fn no_configuration_at_all() {
    refused("culvert.toml", &small_plan(), |directory, _| {
        fs::remove_file(directory.join("culvert.toml")).expect("just written");
        None
    });
}

fn plan_with_secret() -> GatewayPlan {
    let mut plan = small_plan();
    plan.secrets.push(culvert_lab::Secret { ids: vec!["peer.example".to_owned()], psk: "not told".to_owned() });
    plan
}

#[test]
fn a_secret_that_is_missing() {
    refused("0.psk", &plan_with_secret(), |directory, _| {
        fs::remove_file(directory.join("0.psk")).expect("just written");
        None
    });
}

#[test]
fn a_secret_that_cannot_be_read() {
    // Root reads every file; a directory in its place it cannot.
    refused("0.psk", &plan_with_secret(), |directory, _| {
        fs::remove_file(directory.join("0.psk")).expect("just written");
        fs::create_dir(directory.join("0.psk")).expect("the name is free");
        None
    });
}

#[test]
fn a_secret_that_others_can_read() {
    refused("0.psk", &plan_with_secret(), |directory, _| {
        fs::set_permissions(directory.join("0.psk"), Permissions::from_mode(0o644)).expect("just written");
        None
    });
}

#[test]
fn a_busy_metrics_port() {
    refused("9469", &small_plan(), |_, gateway| {
        Some(gateway.enter(|| TcpListener::bind("127.0.0.1:9469")).expect("enters").expect("the port is free"))
    });
}

#[test]
fn not_root() {
    let Some(_turn) = begin() else { return };
    let (_lab, gateway) = small_lab().expect("the lab can be built");
    // The lab's own directory, and perhaps the build's, is closed to others.
    let open = std::env::temp_dir().join(format!("culvert-e2e-not-root-{}", std::process::id()));
    fs::create_dir_all(&open).expect("temp directory is writable");
    for name in ["culvert", "culvert-control", "culvert-dataplane"] {
        fs::copy(programs().join(name), open.join(name)).expect("programs are built");
    }
    small_plan().write_culvert(&open).expect("writable");
    let run = |line: &[&str]| culvert_lab::run(line);
    let path = open.to_string_lossy().into_owned();
    run(&["chown", "-R", "65534", &path]).expect("root may");
    run(&["chmod", "755", &path]).expect("root may");
    let program = open.join("culvert").to_string_lossy().into_owned();
    let (config, run_dir) = (format!("{path}/culvert.toml"), format!("{path}/run"));
    let line =
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", &program, "run", &config, "--run-dir"];
    let line = [&line[..], &[&run_dir, "--state-dir", &path]].concat();
    let outcome = gateway.spawn("culvert", &line).and_then(|mut process| {
        let status = process.wait(Duration::from_secs(15))?;
        Ok((status, process.log()))
    });
    let left = gateway.pids();
    let _ = fs::remove_dir_all(&open);
    let (status, log) = outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(!status.success(), "{log}");
    assert!(log.contains("root"), "{log}");
    assert!(left.is_empty(), "processes {left:?} are left");
}

#[test]
fn a_wrong_key_is_told_by_its_name() {
    for setup in [Setup::new(Kind::Culvert, Kind::StrongSwan), Setup::new(Kind::Culvert, Kind::Culvert)] {
        scenario(
            setup,
            |plans| plans.b.secrets[0].psk = "something else".to_owned(),
            |s| {
                s.b.start()?;
                s.a.start()?;
                let error = wait_for("the failure in culvert status", Duration::from_secs(15), || {
                    s.a.culvert().status().ok()?.tunnels.first()?.last_error.clone()
                })?;
                assert!(error.to_lowercase().contains("auth"), "{error}");
                assert!(s.a.log().to_lowercase().contains("auth"), "the log tells too: {}", s.a.log());
                assert!(s.a.children()?.is_empty() && s.b.children()?.is_empty());
                assert!(!s.a.log().contains("quick brown fox"), "a log holds no key");
                Ok(())
            },
        );
    }
    // The responder's log names the peer, too.
    scenario(
        Setup::new(Kind::StrongSwan, Kind::Culvert),
        |plans| plans.b.secrets[0].psk = "something else".to_owned(),
        |s| {
            s.b.start()?;
            s.a.start()?;
            assert!(s.a.initiate("lan").is_err());
            wait_for("the failure in the log", Duration::from_secs(5), || {
                let log = s.b.log().to_lowercase();
                (log.contains("auth") && log.contains("a.example")).then_some(())
            })
        },
    );
}

#[test]
fn nothing_in_common_is_told_as_such() {
    scenario(
        Setup::new(Kind::Culvert, Kind::StrongSwan),
        |plans| plans.b.connections[0].proposals = "aes128-sha256-modp2048".to_owned(),
        |s| {
            s.b.start()?;
            s.a.start()?;
            let error = wait_for("the failure in culvert status", Duration::from_secs(15), || {
                s.a.culvert().status().ok()?.tunnels.first()?.last_error.clone()
            })?;
            assert!(error.to_lowercase().contains("proposal"), "{error}");
            Ok(())
        },
    );
}

#[test]
fn without_hugepages_it_warns_and_works() {
    if fs::read_to_string("/proc/sys/vm/nr_hugepages").is_ok_and(|count| count.trim() != "0") {
        eprintln!("skipped: this machine has hugepages");
        return;
    }
    scenario(
        Setup::new(Kind::Culvert, Kind::Culvert),
        |plans| plans.a.hugepages = true,
        |s| {
            s.connect()?;
            let log = s.a.log();
            assert!(log.contains("WARN") && log.contains("nr_hugepages"), "the warning says how to mend it: {log}");
            Ok(())
        },
    );
}

#[test]
fn status_of_nothing() {
    let Some(_turn) = begin() else { return };
    let program = programs().join("culvert");
    let error = culvert_lab::run(&[&program.to_string_lossy(), "status", "--run-dir", "/run/culvert-lab/none"]);
    let text = error.expect_err("nobody answers there").to_string();
    assert!(text.contains("/run/culvert-lab/none") && text.contains("culvert run"), "{text}");
}
