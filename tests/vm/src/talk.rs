//! What the ends say to each other in a row with keys set by hand.

use crate::network::{FAR, GUEST_HOST, HOST, HOST_MTU, NEAR, WAN};
use crate::row::{Row, Talk};
use crate::stage::Stage;
use crate::traffic::{inside, ping_both_ways, tcp_both_ways, warm_up};
use culvert_lab::{Family, LabError, wait_for};
use culvert_model::SaMode;
use std::time::Duration;

const BOTH: [Family; 2] = [Family::V4, Family::V6];
/// Of the router's links where the way is narrow: more than 1280 inside the tunnel, below which IPv6 packets are cut sealed.
const NARROW: &str = "1400";
const WIDE: &str = "1500";

pub fn talk(row: &Row, stage: &mut Stage<'_>) -> Result<(), LabError> {
    match (row.talk, row.mode) {
        (Talk::Plain, SaMode::Tunnel) => stage.talk(row.kind(), &BOTH),
        (Talk::Plain, SaMode::Transport) => between_gateways(row, stage),
        (Talk::Fragments, _) => on_narrow_links(stage, |stage| fragments(row, stage)),
        (Talk::PathMtu, _) => on_narrow_links(stage, |stage| {
            set_host_mtu(stage, WIDE)?;
            let done = path_mtu(row, stage);
            set_host_mtu(stage, HOST_MTU)?;
            done
        }),
        (Talk::WrongKey, _) => wrong_key(row, stage),
    }
}

/// The guest's kernel asks Culvert itself.
fn between_gateways(row: &Row, stage: &mut Stage<'_>) -> Result<(), LabError> {
    let line = format!("ping -n -q -W 2 {}", WAN.of(row.outer));
    wait_for("an echo reply from the gateway", Duration::from_secs(8), || {
        stage.guest.run(&format!("{line} -c 1")).is_ok().then_some(())
    })?;
    let before = stage.audit()?;
    for size in [0, 56, 1000] {
        let text = stage.guest.run(&format!("{line} -c 4 -i 0.05 -s {size}"))?;
        if !text.contains("4 received") {
            return Err(LabError::Status(text));
        }
    }
    stage.audit()?.since(&before).expect_clean(row.kind())
}

/// One packet that is cut once it is sealed, by the IPv4 router or by `fragment = "after"`, and one in pieces before.
fn fragments(row: &Row, stage: &mut Stage<'_>) -> Result<(), LabError> {
    const SIZES: [u16; 2] = [1350, 3000];
    warm_up(stage.network, &[Family::V4])?;
    // Those of the path may be lost to learning its MTU.
    let _ = ping_both_ways(stage.network, stage.guest, &[Family::V4], "-M dont -s 3000");
    let before = stage.audit()?;
    for size in SIZES {
        ping_both_ways(stage.network, stage.guest, &[Family::V4], &format!("-M dont -s {size}"))?;
    }
    let audit = stage.audit()?.since(&before);
    // A router cuts IPv4 only; over IPv6 Linux cuts what it has sealed, and Culvert where it is told to: else it seals
    // more and smaller packets than came.
    let by_router = row.outer == Family::V4;
    let by_ends = row.outer == Family::V6;
    let in_pieces = by_ends && !row.more.contains("after");
    let good = audit.culvert_out == audit.linux_in
        && audit.culvert_in == audit.linux_out
        && (audit.cut > 0) == by_router
        && audit.passed.contains_key("fragment") == by_ends
        && (audit.culvert_out > audit.culvert_in) == in_pieces
        && audit.passed_only(&[row.kind(), "fragment"])
        && audit.failed_only_by(&[]);
    audit.judged(good, "fragments were lost, or cut elsewhere")
}

/// A full segment is refused by the router, which tells the gateway, which tells the host.
fn path_mtu(row: &Row, stage: &mut Stage<'_>) -> Result<(), LabError> {
    warm_up(stage.network, &BOTH)?;
    let before = stage.audit()?;
    tcp_both_ways(stage.network, stage.guest, &BOTH)?;
    let audit = stage.audit()?.since(&before);
    // The second is Linux' word for the same; the third is the router's news, which is taken and not answered.
    let good = audit.refused > 0
        && audit.passed_only(&[row.kind()])
        && audit.failed_only_by(&["too_big", "XfrmOutStateModeError", "icmp_ignored"]);
    audit.judged(good, "nothing was too big for the router, or something was dropped for another reason, or cut")
}

fn wrong_key(row: &Row, stage: &mut Stage<'_>) -> Result<(), LabError> {
    let before = stage.audit()?;
    let answered = || LabError::Status("an echo request was answered".to_owned());
    let line = ["ping", "-n", "-q", "-c", "6", "-i", "0.3", "-W", "1", GUEST_HOST.v4];
    if stage.network.host.run(&line).is_ok() {
        return Err(answered());
    }
    if inside(stage.guest, &format!("ping -n -q -c 6 -i 0.3 -W 1 {}", HOST.v4)).is_ok() {
        return Err(answered());
    }
    let audit = stage.audit()?.since(&before);
    let good = audit.culvert_in == 0
        && audit.linux_in == 0
        && audit.culvert_drops.get("icv_failed").is_some_and(|&count| count == audit.linux_out)
        && audit.linux_errors.contains_key("XfrmInStateProtoError")
        && audit.passed_only(&[row.kind()]);
    audit.judged(good, "wrong keys are not what was counted")
}

/// Both ways from the router, so that what is too long is refused or cut there.
fn on_narrow_links(
    stage: &mut Stage<'_>,
    action: impl FnOnce(&mut Stage<'_>) -> Result<(), LabError>,
) -> Result<(), LabError> {
    set_router_mtu(stage, NARROW)?;
    let done = action(stage);
    set_router_mtu(stage, WIDE)?;
    forget_paths(stage)?;
    done
}

/// By its routes: a veth port with a smaller MTU would refuse the larger frames that come in, without a word.
fn set_router_mtu(stage: &Stage<'_>, mtu: &str) -> Result<(), LabError> {
    for (pair, port) in [(&NEAR, "gateway"), (&FAR, "guest")] {
        // The metrics are those that the kernel gives its own routes: others would stand beside them.
        for (family, net, metric) in [("-4", pair.net(Family::V4), "0"), ("-6", pair.net(Family::V6), "256")] {
            let mtu = ["proto", "kernel", "metric", metric, "mtu", "lock", mtu];
            let route = [&[family, "route", "replace", &net, "dev", port][..], &mtu].concat();
            stage.network.router.ip(&route)?;
        }
    }
    Ok(())
}

fn set_host_mtu(stage: &mut Stage<'_>, mtu: &str) -> Result<(), LabError> {
    stage.network.host.ip(&["link", "set", "eth0", "mtu", mtu])?;
    stage.guest.run(&format!("ip -n host link set eth0 mtu {mtu}")).map(drop)
}

/// No row knows from an earlier one how narrow the way was.
fn forget_paths(stage: &mut Stage<'_>) -> Result<(), LabError> {
    for family in ["-4", "-6"] {
        stage.network.host.ip(&[family, "route", "flush", "cache"])?;
        stage.guest.run(&format!("ip {family} route flush cache; ip -n host {family} route flush cache"))?;
    }
    Ok(())
}
