//! The status document, and the numbers both it and the metrics are made of.

use crate::daemon::Daemon;
use culvert_config::{ChildRef, Config, StartAction};
use culvert_ike::{ChildStatus, IkeSaStatus};
use culvert_link::{PORTS, Region, WORKERS};
use culvert_model::{ChildId, Direction, SaMode, SlotIndex, Suite};
use culvert_status::{Dataplane, IkeSa, Port, Status, Tunnel, TunnelState, Worker};
use culvert_telemetry::{DropReason, PortCounter, SaCounter, WorkerCounter, layout};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Block of the housekeeping thread.
pub const HOUSEKEEPING: usize = WORKERS - 1;

pub fn document(daemon: &Daemon, now: Instant) -> Status {
    let ike = daemon.endpoint.status(now);
    let config = &daemon.config;
    let known = Known::new(daemon, &ike);
    let region = daemon.plane.region();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: now.duration_since(daemon.started).as_secs(),
        dataplane: Dataplane { alive: daemon.dataplane_alive, generation: daemon.plane.peer().generation() },
        tunnels: config.children().map(|(id, child)| tunnel(daemon, &known, id, child)).collect(),
        ike_sas: ike.iter().map(ike_sa).collect(),
        ports: ports(config, region),
        workers: workers(config, region),
        drops: drops(config, region).into_iter().fold(BTreeMap::new(), |mut sums, (_, reason, count)| {
            *sums.entry(reason.name().to_owned()).or_default() += count;
            sums
        }),
    }
}

/// What belongs to which child, found once for all of them.
struct Known<'a> {
    pairs: HashMap<ChildId, Vec<(&'a IkeSaStatus, &'a ChildStatus)>>,
    /// Names of connections that are coming up.
    connecting: HashSet<&'a str>,
    /// Slots of manual SAs, and of others.
    slots: HashMap<(ChildId, Direction), SlotIndex>,
}

impl<'a> Known<'a> {
    fn new(daemon: &'a Daemon, ike: &'a [IkeSaStatus]) -> Self {
        let mut pairs: HashMap<_, Vec<_>> = HashMap::new();
        for sa in ike {
            sa.children.iter().for_each(|child| pairs.entry(child.child).or_default().push((sa, child)));
        }
        let connecting = ike.iter().filter(|sa| sa.state == "connecting").map(|sa| sa.connection.as_str()).collect();
        let mut slots = HashMap::new();
        for spec in daemon.plane.sas() {
            slots.entry((spec.child, spec.direction)).or_insert(spec.slot);
        }
        Self { pairs, connecting, slots }
    }
}

fn tunnel(daemon: &Daemon, known: &Known<'_>, id: ChildId, child: ChildRef<'_>) -> Tunnel {
    let (connection, name) = (child.connection_name(), child.name());
    let mut tunnel = Tunnel {
        connection: connection.to_owned(),
        child: name.to_owned(),
        last_error: daemon.tally.last_error(connection, name).cloned(),
        ..Tunnel::default()
    };
    match child {
        ChildRef::Manual(sa) => {
            let ports = sa.encap.is_some();
            (tunnel.encapsulated, tunnel.esn) = (ports, sa.esn);
            protection(&mut tunnel, sa.suite(), sa.mode);
            (tunnel.local, tunnel.remote) = (Some(sa.local.to_string()), Some(sa.remote.to_string()));
            (tunnel.spi_in, tunnel.spi_out) = (Some(sa.spi_in.to_string()), Some(sa.spi_out.to_string()));
            (tunnel.local_ts, tunnel.remote_ts) = (words(&sa.local_ts), words(&sa.remote_ts));
            let slot = |direction| known.slots.get(&(id, direction)).copied();
            let (slot_in, slot_out) = (slot(Direction::Inbound), slot(Direction::Outbound));
            if slot_in.is_some() && slot_out.is_some() {
                tunnel.state = TunnelState::Installed;
            }
            count(&mut tunnel, daemon.plane.region(), slot_in, slot_out);
        }
        ChildRef::Ike(_, configured) => {
            let of_child = known.pairs.get(&id).into_iter().flatten();
            match of_child.max_by_key(|(_, status)| (standing(status), std::cmp::Reverse(status.age))) {
                Some((sa, status)) => fill(&mut tunnel, daemon.plane.region(), sa, status),
                None => {
                    (tunnel.local_ts, tunnel.remote_ts) = (words(&configured.local_ts), words(&configured.remote_ts));
                    let connecting = known.connecting.contains(connection);
                    tunnel.state = match configured.start_action {
                        _ if connecting => TunnelState::Connecting,
                        StartAction::Trap => TunnelState::Trapped,
                        _ => TunnelState::Down,
                    };
                }
            }
        }
    }
    tunnel
}

/// The SA that best stands for its child.
fn standing(status: &ChildStatus) -> u8 {
    match status.state {
        "installed" | "rekeying" => 2,
        "installing" => 1,
        _ => 0,
    }
}

fn fill(tunnel: &mut Tunnel, region: &Region, sa: &IkeSaStatus, status: &ChildStatus) {
    tunnel.state = match status.state {
        "rekeying" => TunnelState::Rekeying,
        "installing" => TunnelState::Connecting,
        "deleting" => TunnelState::Down,
        _ => TunnelState::Installed,
    };
    (tunnel.local, tunnel.remote) = (Some(sa.local.ip().to_string()), Some(sa.remote.ip().to_string()));
    (tunnel.spi_in, tunnel.spi_out) = (Some(status.spi_in.to_string()), Some(status.spi_out.to_string()));
    protection(tunnel, status.suite, status.mode);
    tunnel.esn = status.esn;
    tunnel.encapsulated = sa.local.port() != 500;
    (tunnel.local_ts, tunnel.remote_ts) = (words(&status.local_ts), words(&status.remote_ts));
    tunnel.age_seconds = Some(status.age.as_secs());
    tunnel.rekey_in_seconds = status.rekey_in.map(|time| time.as_secs());
    count(tunnel, region, Some(status.slot_in), status.slot_out);
}

fn protection(tunnel: &mut Tunnel, suite: Suite, mode: SaMode) {
    let mode = match mode {
        SaMode::Tunnel => "tunnel",
        SaMode::Transport => "transport",
    };
    tunnel.protocol = Some(suite.protocol().keyword().to_owned());
    (tunnel.suite, tunnel.mode) = (Some(suite.to_string()), Some(mode.to_owned()));
}

fn count(tunnel: &mut Tunnel, region: &Region, slot_in: Option<SlotIndex>, slot_out: Option<SlotIndex>) {
    let get = |slot: Option<SlotIndex>, counter: SaCounter| {
        slot.and_then(|index| region.slot(index)).map_or(0, |slot| slot.get(counter.index()))
    };
    tunnel.packets_in = get(slot_in, SaCounter::Packets);
    tunnel.bytes_in = get(slot_in, SaCounter::Bytes);
    tunnel.packets_out = get(slot_out, SaCounter::Packets);
    tunnel.bytes_out = get(slot_out, SaCounter::Bytes);
    tunnel.replay_drops = get(slot_in, SaCounter::ReplayDrops);
    tunnel.icv_failures = get(slot_in, SaCounter::IcvFailures);
}

fn ike_sa(sa: &IkeSaStatus) -> IkeSa {
    let id = |id: &Option<culvert_model::Identity>| id.as_ref().map_or_else(String::new, ToString::to_string);
    let (own, peer) = (sa.local_spi.to_string(), sa.remote_spi.to_string());
    let (initiator_spi, responder_spi) = if sa.initiator { (own, peer) } else { (peer, own) };
    IkeSa {
        connection: sa.connection.clone(),
        state: sa.state.to_owned(),
        initiator: sa.initiator,
        local: sa.local.to_string(),
        remote: sa.remote.to_string(),
        local_id: id(&sa.local_id),
        remote_id: id(&sa.remote_id),
        initiator_spi,
        responder_spi,
        proposal: sa.proposal.clone().unwrap_or_default(),
        nat: sa.nat,
        age_seconds: sa.age.map_or(0, |age| age.as_secs()),
        rekey_in_seconds: sa.rekey_in.map(|time| time.as_secs()),
    }
}

fn words(selectors: &[culvert_model::TrafficSelector]) -> Vec<String> {
    selectors.iter().map(ToString::to_string).collect()
}

fn ports(config: &Config, region: &Region) -> Vec<Port> {
    let interfaces = config.ports().take(PORTS).enumerate();
    let port = |(index, (_, interface)): (usize, (usize, &culvert_config::Interface))| {
        let counters = port_counters(region, index);
        Port {
            name: interface.name.clone(),
            device: interface.device.to_string(),
            up: counters.iter().any(|(counter, value)| *counter == PortCounter::LinkUp && *value > 0),
            counters: counters.iter().map(|(counter, value)| (counter.name().to_owned(), *value)).collect(),
        }
    };
    interfaces.map(port).collect()
}

pub fn port_counters(region: &Region, port: usize) -> Vec<(PortCounter, u64)> {
    let Some(block) = region.port_counters(port) else { return Vec::new() };
    let value = |counter: PortCounter| block.get(layout::port_word(counter)).map_or(0, |w| w.load(Ordering::Relaxed));
    PortCounter::ALL.iter().map(|counter| (*counter, value(*counter))).collect()
}

pub fn worker_counters(region: &Region, worker: usize) -> Vec<(WorkerCounter, u64)> {
    let Some(block) = region.worker_counters(worker) else { return Vec::new() };
    let value =
        |counter: WorkerCounter| block.get(layout::worker_word(counter)).map_or(0, |w| w.load(Ordering::Relaxed));
    WorkerCounter::ALL.iter().map(|counter| (*counter, value(*counter))).collect()
}

fn workers(config: &Config, region: &Region) -> Vec<Worker> {
    let cores = config.dataplane.workers.iter().enumerate();
    let worker = |(index, core): (usize, &u16)| Worker {
        core: *core,
        counters: worker_counters(region, index).iter().map(|(c, value)| (c.name().to_owned(), *value)).collect(),
    };
    cores.map(worker).collect()
}

/// (worker, reason, packets) where there are any; housekeeping is a worker too.
pub fn drops(config: &Config, region: &Region) -> Vec<(usize, DropReason, u64)> {
    let threads = (0..config.dataplane.workers.len().min(HOUSEKEEPING)).chain([HOUSEKEEPING]);
    let of_thread = |thread: usize| {
        let block = region.worker_counters(thread);
        let value = move |reason: DropReason| {
            let word = block.as_ref().and_then(|block| block.get(layout::drop_word(reason)));
            word.map_or(0, |word| word.load(Ordering::Relaxed))
        };
        DropReason::ALL.iter().map(move |reason| (thread, *reason, value(*reason))).filter(|(_, _, count)| *count > 0)
    };
    threads.flat_map(of_thread).collect()
}
