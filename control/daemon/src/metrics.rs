//! `/metrics`: every declared metric with its value.

use crate::daemon::Daemon;
use crate::exposition::Exposition;
use crate::status::{self, HOUSEKEEPING};
use culvert_ike::IkeSaStatus;
use culvert_link::SlotState;
use culvert_model::{ChildId, Direction, SaSpec, SlotIndex};
use culvert_telemetry::{DropReason, SaCounter, metrics};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

pub fn text(daemon: &Daemon, now: Instant) -> String {
    let mut out = Exposition::default();
    let ike = daemon.endpoint.status(now);
    process(&mut out, daemon);
    ports_and_workers(&mut out, daemon);
    connections(&mut out, daemon, &ike, now);
    children(&mut out, daemon);
    messages(&mut out, daemon, &ike);
    link(&mut out, daemon);
    out.text()
}

fn process(out: &mut Exposition, daemon: &Daemon) {
    out.add(metrics::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    out.add(metrics::START_TIME, &[], daemon.started_unix as f64);
    out.add(metrics::DATAPLANE_UP, &[], f64::from(u8::from(daemon.dataplane_alive)));
    out.add(metrics::DATAPLANE_STARTS, &[], daemon.plane.peer().generation() as f64);
}

/// The housekeeping thread is shown as worker "housekeeping", the others by their core.
fn thread_name(daemon: &Daemon, thread: usize) -> String {
    match daemon.config.dataplane.workers.get(thread) {
        Some(core) if thread != HOUSEKEEPING => core.to_string(),
        _ => "housekeeping".to_owned(),
    }
}

fn ports_and_workers(out: &mut Exposition, daemon: &Daemon) {
    let region = daemon.plane.region();
    for (index, (_, interface)) in daemon.config.ports().enumerate() {
        for (counter, value) in status::port_counters(region, index) {
            out.add(counter.metric(), &[&interface.name], value as f64);
        }
    }
    let workers = daemon.config.dataplane.workers.len().min(HOUSEKEEPING);
    let threads: Vec<usize> = (0..workers).chain([HOUSEKEEPING]).collect();
    for thread in &threads {
        let name = thread_name(daemon, *thread);
        for (counter, value) in status::worker_counters(region, *thread) {
            out.add(counter.metric(), &[&name], value as f64);
        }
    }
    let counted: BTreeMap<(usize, DropReason), u64> =
        status::drops(&daemon.config, region).into_iter().map(|(thread, reason, n)| ((thread, reason), n)).collect();
    for thread in threads {
        let name = thread_name(daemon, thread);
        for reason in DropReason::ALL {
            let value = counted.get(&(thread, *reason)).copied().unwrap_or(0);
            out.add(metrics::DROPS, &[&name, reason.name()], value as f64);
        }
    }
}

fn connections(out: &mut Exposition, daemon: &Daemon, ike: &[IkeSaStatus], now: Instant) {
    let mut ages: HashMap<&str, Duration> = HashMap::new();
    for sa in ike.iter().filter(|sa| sa.state == "established") {
        let oldest = ages.entry(sa.connection.as_str()).or_default();
        *oldest = sa.age.unwrap_or_default().max(*oldest);
    }
    for connection in &daemon.config.connections {
        let name = connection.name.as_str();
        let age = ages.get(name);
        out.add(metrics::CONNECTION_UP, &[name], f64::from(u8::from(age.is_some())));
        if let Some(age) = age {
            let up = now.duration_since(daemon.started).as_secs_f64();
            out.add(metrics::CONNECTION_ESTABLISHED, &[name], daemon.started_unix as f64 + up - age.as_secs_f64());
        }
        let count = |map: &BTreeMap<String, u64>| map.get(name).copied().unwrap_or(0) as f64;
        out.add(metrics::IKE_REKEYS, &[name], count(&daemon.tally.ike_rekeys));
        out.add(metrics::IKE_DPD_TIMEOUTS, &[name], count(&daemon.tally.dpd_timeouts));
    }
}

fn children(out: &mut Exposition, daemon: &Daemon) {
    let region = daemon.plane.region();
    let mut sas: HashMap<(ChildId, Direction), Vec<&SaSpec>> = HashMap::new();
    daemon.plane.sas().for_each(|spec| sas.entry((spec.child, spec.direction)).or_default().push(spec));
    for (id, child) in daemon.config.children() {
        let (connection, name) = (child.connection_name(), child.name());
        let rekeys = daemon.tally.child_rekeys.get(&(connection.to_owned(), name.to_owned())).copied().unwrap_or(0);
        out.add(metrics::CHILD_REKEYS, &[connection, name], rekeys as f64);
        let mut sending = false;
        for (direction, word) in [(Direction::Inbound, "in"), (Direction::Outbound, "out")] {
            let past = daemon.plane.past(id, direction);
            let (mut installed, mut packets, mut bytes) = (0u32, past.packets, past.bytes);
            for spec in sas.get(&(id, direction)).into_iter().flatten() {
                let Some(slot) = region.slot(spec.slot) else { continue };
                installed += u32::from(slot.state() == SlotState::Installed);
                packets += slot.get(SaCounter::Packets.index());
                bytes += slot.get(SaCounter::Bytes.index());
                let spi = spec.spi.to_string();
                for counter in SaCounter::ALL {
                    let value = slot.get(counter.index());
                    out.add(counter.metric(), &[connection, name, word, &spi], value as f64);
                }
            }
            sending |= direction == Direction::Outbound && installed > 0;
            let labels = [connection, name, word];
            out.add(metrics::CHILD_INSTALLED, &labels, f64::from(installed));
            out.add(metrics::CHILD_PACKETS, &labels, packets as f64);
            out.add(metrics::CHILD_BYTES, &labels, bytes as f64);
        }
        out.add(metrics::CHILD_UP, &[connection, name], f64::from(u8::from(sending)));
    }
}

fn messages(out: &mut Exposition, daemon: &Daemon, ike: &[IkeSaStatus]) {
    let mut states: BTreeMap<&str, u32> = BTreeMap::new();
    for sa in ike {
        *states.entry(sa.state).or_default() += 1;
    }
    for (state, count) in states {
        out.add(metrics::IKE_SAS, &[state], f64::from(count));
    }
    let half_open = ike.iter().filter(|sa| !sa.initiator && sa.state == "connecting").count();
    out.add(metrics::IKE_HALF_OPEN, &[], half_open as f64);
    for ((direction, exchange), count) in &daemon.messages.0 {
        out.add(metrics::IKE_MESSAGES, &[direction, exchange], *count as f64);
    }
    for (reason, count) in &daemon.tally.failures {
        out.add(metrics::IKE_FAILURES, &[reason], *count as f64);
    }
    for (reason, count) in &daemon.tally.discarded {
        out.add(metrics::IKE_DISCARDED, &[reason], *count as f64);
    }
}

fn link(out: &mut Exposition, daemon: &Daemon) {
    let counters = daemon.plane.counters();
    let rings = [
        ("commands", counters.commands),
        ("inject", counters.injected),
        ("events", counters.events),
        ("punt", counters.punted),
    ];
    for (ring, records) in rings {
        out.add(metrics::LINK_RECORDS, &[ring], records as f64);
    }
    out.add(metrics::LINK_FULL, &["inject"], counters.inject_full as f64);
    for (ring, count) in daemon.plane.corruptions() {
        out.add(metrics::LINK_CORRUPT, &[ring], count as f64);
    }
    let mut states = [0u32; 4];
    let region = daemon.plane.region();
    for slot in (0..region.slots()).filter_map(|index| region.slot(SlotIndex(index))) {
        states[slot.state() as usize] += 1;
    }
    for (state, count) in ["free", "allocated", "installed", "dying"].into_iter().zip(states) {
        out.add(metrics::LINK_SLOTS, &[state], f64::from(count));
    }
}
