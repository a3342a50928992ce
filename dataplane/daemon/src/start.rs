//! From a configuration to running threads, and back. What fails, fails before a packet has moved, and leaves nothing.

use crate::clock::Clock;
use crate::error::Error;
use crate::host::HostInterface;
use crate::housekeeping::{self, Running, with_counters};
use crate::io::{Exits, INBOX, Inbox, Punts};
use crate::ports::{self, Ports, Share};
use crate::precheck::HOUSEKEEPING;
use crate::{memory, precheck, worker};
use core::sync::atomic::{AtomicBool, Ordering};
use core_affinity::CoreId;
#[cfg(feature = "ipsec-mb")]
use culvert_cipher::MultiBuffer;
use culvert_cipher::{Provider, RustCrypto};
use culvert_config::{Config, Idle};
use culvert_engine::{Housekeeping, Shared, Worker};
use culvert_link::{DataplaneEnd, Layout, LinkError, Region};
use dpdk::{Eal, EalConfig, Pool};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Everything but the cipher.
struct Parts<'a> {
    config: &'a Config,
    link_path: &'a Path,
    region: Region,
    link: DataplaneEnd,
    eal: Eal,
    /// The ordinary one, and that of large buffers.
    pools: (Pool, Pool),
    ports: Ports,
    stop: &'a Arc<AtomicBool>,
    supervised: bool,
}

/// Runs until `stop`, or until something dies.
pub fn run(config: &Config, link_path: &Path, stop: &Arc<AtomicBool>, supervised: bool) -> Result<(), Error> {
    let cores: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    precheck::check(config, &cores)?;
    for warning in precheck::warnings(config) {
        tracing::warn!("{warning}");
    }
    let memory = memory::choose(config);
    let pool_config = memory::pool(config, memory)?;
    let region = Region::create_or_attach(link_path, Layout { slots: config.dataplane.sa_slots, ..Layout::default() })?;
    let patience = if supervised { culvert_process::TAKE_OVER } else { Duration::ZERO };
    let link = culvert_process::patiently(patience, in_use, || DataplaneEnd::attach(&region))?;
    let spare = spare_cores(&cores, &config.dataplane.workers);
    stay_on(&spare);
    let eal = Eal::start(&EalConfig {
        memory,
        file_prefix: format!("culvert-{}", std::process::id()),
        cores: spare,
        // Errors: its warnings speak of huge pages of sizes that nobody asked for.
        log_level: 4,
        extra: Vec::new(),
    })?;
    let pool = Pool::create(&eal, &pool_config).map_err(|source| Error::Pool { source })?;
    let large = Pool::create(&eal, &memory::large_pool()).map_err(|source| Error::Pool { source })?;
    let ports = ports::open(&eal, config, &pool, &large)?;
    let parts = Parts { config, link_path, region, link, eal, pools: (pool, large), ports, stop, supervised };
    #[cfg(feature = "ipsec-mb")]
    match MultiBuffer::new() {
        Ok(cipher) => {
            tracing::info!("ciphers by {}", cipher.describe());
            return parts.serve::<MultiBuffer>();
        }
        Err(reason) => tracing::warn!("{reason}; ciphers are done in Rust, which is slower"),
    }
    parts.serve::<RustCrypto>()
}

fn in_use(error: &LinkError) -> bool {
    matches!(error, LinkError::InUse { .. })
}

/// Where everything but the workers runs; anywhere, if the workers have all cores.
fn spare_cores(cores: &[usize], workers: &[u16]) -> Vec<usize> {
    let spare: Vec<usize> =
        cores.iter().copied().filter(|core| workers.iter().all(|worker| usize::from(*worker) != *core)).collect();
    if spare.is_empty() { cores.to_vec() } else { spare }
}

fn stay_on(cores: &[usize]) {
    let mut set = CpuSet::new();
    let all_set = cores.iter().all(|core| set.set(*core).is_ok());
    if !all_set || sched_setaffinity(Pid::from_raw(0), &set).is_err() {
        tracing::warn!("housekeeping could not be kept off the workers' cores");
    }
}

impl Parts<'_> {
    fn serve<A: Provider>(mut self) -> Result<(), Error> {
        let interfaces = self.ports.interfaces(self.config)?;
        let shared = Shared::<A>::new(self.region.clone(), interfaces, &ports::routes(self.config)?)?;
        let clock = Clock::new(self.eal.tsc_hz());
        let punts: Arc<Punts> = Arc::default();
        let workers = &self.config.dataplane.workers;
        let inboxes: Vec<Arc<Inbox>> = workers.iter().map(|_| Arc::new(Inbox::new(INBOX))).collect();
        let no_counters = || Error::LinkCounters(self.link_path.to_owned());

        let own = Housekeeping::new(Arc::clone(&shared), HOUSEKEEPING, A::for_thread(), clock.now())
            .ok_or_else(no_counters)?;
        let counters = self.counters(HOUSEKEEPING)?;
        let exits =
            Exits::new(self.ports.exits_by_inbox(&inboxes), Arc::clone(&punts), self.pools.clone(), counters.clone())
                .with_host(HostInterface::open(self.config)?);
        let shares = self.ports.deal(&inboxes);
        let mut loops = Vec::new();
        // Workers go on until housekeeping has ended.
        let ended = Arc::new(AtomicBool::new(false));
        for (index, (Share { rx, exits }, inbox)) in shares.into_iter().zip(inboxes).enumerate() {
            let engine =
                Worker::new(Arc::clone(&shared), index, A::for_thread()).ok_or_else(no_counters)?.with_fast_path();
            let exits = Exits::new(exits, Arc::clone(&punts), self.pools.clone(), engine.counters().clone());
            let (idle, stop, shared) = (self.config.dataplane.idle, Arc::clone(&ended), Arc::clone(&shared));
            loops.push(worker::Loop { engine, shared, rx, exits, inbox, clock, idle, stop });
        }
        let ports = with_counters(self.ports.ports, &self.region).ok_or_else(no_counters)?;
        let grace = if self.supervised { housekeeping::CONTROL_GRACE } else { 0 };
        let housekeeping =
            housekeeping::Loop { engine: own, link: self.link, exits, punts, counters, ports, clock, grace };

        let mut running = Vec::new();
        let mut result = Ok(());
        for (core, work) in workers.iter().zip(loops) {
            match start_worker(*core, work, self.eal.clone()) {
                Ok(thread) => running.push((*core, thread)),
                Err(error) => result = Err(error),
            }
        }
        let _registered = self.eal.register_thread();
        if result.is_ok() {
            tracing::info!("ready; ports stay closed until control has stated the policies");
            result = housekeeping.run(&running, self.stop);
        }
        ended.store(true, Ordering::Relaxed);
        result.and(join(running))
    }

    fn counters(&self, index: usize) -> Result<culvert_engine::Counters, Error> {
        let block = self.region.worker_counters(index);
        block.map(culvert_engine::Counters::new).ok_or_else(|| Error::LinkCounters(self.link_path.to_owned()))
    }
}

fn start_worker<A: Provider>(core: u16, work: worker::Loop<A>, eal: Eal) -> Result<thread::JoinHandle<()>, Error> {
    let body = move || {
        if !core_affinity::set_for_current(CoreId { id: usize::from(core) }) {
            tracing::warn!("the worker of core {core} could not be pinned to it");
        }
        if work.idle == Idle::Adaptive {
            // Linux would add up to 50 µs to each of the short sleeps.
            _ = nix::sys::prctl::set_timerslack(1000);
        }
        let registered = eal.register_thread();
        if let Err(reason) = &registered {
            tracing::warn!("the worker of core {core} has no buffers of its own, which is slower: {reason}");
        }
        work.run();
    };
    thread::Builder::new().name(format!("worker-{core}")).spawn(body).map_err(Error::Thread)
}

fn join(running: Vec<Running>) -> Result<(), Error> {
    let mut result = Ok(());
    for (core, thread) in running {
        if thread.join().is_err() {
            result = Err(Error::WorkerDied(core));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn housekeeping_keeps_off_the_workers_cores() {
        assert_eq!(spare_cores(&[0, 1, 2, 3], &[1, 3]), [0, 2]);
        assert_eq!(spare_cores(&[0, 1], &[0, 1]), [0, 1]);
    }
}
