//! What the ends say to each other in a row with keys set by hand.

use crate::network::{FAR, GUEST, GUEST_HOST, HOST, HOST_MTU, NEAR, WAN};
use crate::row::{Row, Talk};
use crate::stage::Stage;
use crate::tagged::tagged;
use crate::traffic::{Ends, Subject, echo_from, inside, serve, warm_up};
use culvert_lab::{Deadline, Family, LabError, wait_for};
use culvert_model::SaMode;
use std::time::Duration;

const BOTH: [Family; 2] = [Family::V4, Family::V6];
/// Of the router's links where the way is narrow: more than 1280 inside the tunnel, below which IPv6 packets are cut sealed.
const NARROW: &str = "1400";
const WIDE: &str = "1500";
/// Of the hosts, with room for two tunnels' headers.
const DEEP: &str = "1300";

pub fn talk(row: &Row, stage: &mut Stage<'_>) -> Result<(), LabError> {
    match (row.talk, row.mode) {
        (Talk::Plain, SaMode::Tunnel) if row.vlan => tagged(stage),
        (Talk::Plain, SaMode::Tunnel) if row.layers() > 1 => with_host_mtu(stage, DEEP, |stage| {
            // No host is to learn what fits.
            stage.talk(row.kind(), row.layers(), row.inside())
        }),
        (Talk::Plain | Talk::Padded, SaMode::Tunnel) => stage.talk(row.kind(), 1, row.inside()),
        (Talk::Plain | Talk::Padded, SaMode::Transport) => between_gateways(row, stage),
        (Talk::Programs, _) => programs(stage, row.kind(), row.outer),
        (Talk::Dummies, _) => dummies(stage),
        (Talk::Fragments, _) => on_narrow_links(stage, |stage| fragments(row, stage)),
        (Talk::PathMtu, _) => on_narrow_links(stage, |stage| with_host_mtu(stage, WIDE, |stage| path_mtu(row, stage))),
        (Talk::WrongKey, _) => wrong_key(row, stage),
    }
}

/// The guest's kernel asks Culvert itself.
fn between_gateways(row: &Row, stage: &mut Stage<'_>) -> Result<(), LabError> {
    let line = format!("ping -n -q -W 2 -c 1 {}", WAN.of(row.outer));
    wait_for("an echo reply from the gateway", Duration::from_secs(15), || {
        stage.guest.run(&line).is_ok().then_some(())
    })?;
    let before = stage.audit()?;
    let families = [row.outer];
    let subject = Subject { pings: &[0, 56, 1000], tcp: false, ..Subject::usual(&families) };
    subject.of_guest(stage.guest, &WAN)?;
    stage.settled(&before, |audit| audit.expect_clean(row.kind(), row.layers()))
}

/// One packet that is cut once it is sealed, by the IPv4 router or by `fragment = "after"`, and one in pieces before.
fn fragments(row: &Row, stage: &mut Stage<'_>) -> Result<(), LabError> {
    const V4: [Family; 1] = [Family::V4];
    warm_up(stage.network, &V4)?;
    // Those of the path may be lost to learning its MTU.
    let cut = Subject { cut: true, tcp: false, ..Subject::usual(&V4) };
    let _ = stage.exchange(&Subject { pings: &[3000], patience: 0.5, ..cut });
    let before = stage.audit()?;
    stage.exchange(&Subject { pings: &[1350, 3000], ..cut })?;
    // A router cuts IPv4 only; over IPv6 Linux cuts what it has sealed, and Culvert where it is told to: else it seals
    // more and smaller packets than came.
    let by_router = row.outer == Family::V4;
    let by_ends = row.outer == Family::V6;
    let in_pieces = by_ends && !row.more.contains("after");
    stage.settled(&before, |audit| {
        let good = audit.culvert_out == audit.linux_in
            && audit.culvert_in == audit.linux_out
            && (audit.cut > 0) == by_router
            && audit.passed.contains_key("fragment") == by_ends
            && (audit.culvert_out > audit.culvert_in) == in_pieces
            && audit.passed_only(&[row.kind(), "fragment"])
            && audit.failed_only_by(&[]);
        audit.judged(good, "fragments were lost, or cut elsewhere")
    })
}

/// A full segment is refused by the router, which tells the gateway, which tells the host.
fn path_mtu(row: &Row, stage: &mut Stage<'_>) -> Result<(), LabError> {
    warm_up(stage.network, &BOTH)?;
    let before = stage.audit()?;
    stage.exchange(&Subject { pings: &[], ..Subject::usual(&BOTH) })?;
    let audit = stage.audit()?.since(&before);
    // The second is Linux' word for the same; the third is the router's news, which is taken and not answered.
    let good = audit.refused > 0
        && audit.passed_only(&[row.kind()])
        && audit.failed_only_by(&["too_big", "XfrmOutStateModeError", "icmp_ignored"]);
    audit.judged(good, "nothing was too big for the router, or something was dropped for another reason, or cut")
}

fn wrong_key(row: &Row, stage: &mut Stage<'_>) -> Result<(), LabError> {
    let before = stage.audit()?;
    let deadline = Deadline::after(Duration::from_secs(15));
    // The first ones go while neighbours are being found.
    loop {
        let answered = || LabError::Status("an echo request was answered".to_owned());
        let line = ["ping", "-n", "-q", "-c", "4", "-i", "0.05", "-W", "0.5", GUEST_HOST.v4];
        if stage.network.host.run(&line).is_ok() {
            return Err(answered());
        }
        if inside(stage.guest, &format!("ping -n -q -c 4 -i 0.05 -W 0.5 {}", HOST.v4)).is_ok() {
            return Err(answered());
        }
        let audit = stage.audit()?.since(&before);
        let good = audit.culvert_in == 0
            && audit.linux_in == 0
            && audit.culvert_drops.get("icv_failed").is_some_and(|&count| count == audit.linux_out)
            && audit.linux_errors.get("XfrmInStateProtoError").is_some_and(|&count| count == audit.culvert_out)
            && audit.passed_only(&[row.kind()]);
        if good || deadline.passed() {
            return audit.judged(good, "wrong keys are not what was counted");
        }
    }
}

/// Ping and TCP between programs of both gateways, Culvert's over the host interface: full segments fit the SA, so that
/// nothing is cut.
pub fn programs(stage: &mut Stage<'_>, kind: &str, outer: Family) -> Result<(), LabError> {
    let _server = serve(&stage.network.gateway, WAN.of(outer))?;
    echo_from(&stage.network.gateway, GUEST.of(outer))?;
    let subject = Subject { octets: 100_000, ..Subject::usual(std::slice::from_ref(&outer)) };
    // The first full segments may be refused: so the stack learns what the SA takes.
    subject.exchange(stage.network, stage.guest, Ends::Gateways)?;
    let before = stage.still_audit()?;
    let printed = subject.exchange(stage.network, stage.guest, Ends::Gateways)?;
    stage.settled(&before, |audit| audit.expect_clean(kind, 1))?;
    // What 1500 octets leave to TCP without any IPsec, and less by its largest overhead.
    let sane = |text: &String| {
        let segment = text.lines().find_map(|line| line.strip_prefix("mss ")?.parse().ok());
        segment.is_some_and(|segment: u16| (1340..=1440).contains(&segment))
    };
    if printed.iter().all(sane) { Ok(()) } else { Err(LabError::Status(format!("segments of {printed:?}"))) }
}

/// Linux drops dummies (RFC 4303 §2.6) and counts them as errors; nothing else suffers.
fn dummies(stage: &mut Stage<'_>) -> Result<(), LabError> {
    warm_up(stage.network, &BOTH)?;
    let before = stage.audit()?;
    stage.exchange(&Subject::usual(&BOTH))?;
    stage.settled(&before, |audit| {
        let dropped = audit.linux_errors.get("XfrmInStateProtoError").copied().unwrap_or(0);
        let good = dropped >= 10
            && audit.culvert_in == audit.linux_out
            && audit.linux_in > 0
            && audit.culvert_out >= audit.linux_in
            && audit.passed_only(&["esp"])
            && audit.garbled == 0
            && audit.failed_only_by(&["XfrmInStateProtoError"]);
        audit.judged(good, "no dummies, or more suffered than they")
    })
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

fn with_host_mtu(
    stage: &mut Stage<'_>,
    mtu: &str,
    action: impl FnOnce(&mut Stage<'_>) -> Result<(), LabError>,
) -> Result<(), LabError> {
    set_host_mtu(stage, mtu)?;
    let done = action(stage);
    set_host_mtu(stage, HOST_MTU)?;
    done
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
