//! Public-key work, beside the main loop: what one setup computes holds up no other.

use crate::server::Wake;
use culvert_crypto::Provider;
use culvert_ike::ComputeJob;
use std::io;
use std::num::NonZero;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

/// Jobs that wait: some tenths of a second of the dearest. Half-open IKE SAs are bounded too, so few strangers fill it.
const QUEUE: usize = 256;
/// More would take the workers' cores, where there are no others.
const MOST_THREADS: usize = 4;

pub struct Pool {
    jobs: SyncSender<ComputeJob>,
}

impl Pool {
    /// Threads that end with the pool; results go to `done`.
    pub fn start(provider: &Arc<dyn Provider>, done: &SyncSender<Wake>) -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).saturating_sub(1);
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads.clamp(1, MOST_THREADS) {
            let (queue, provider, done) = (Arc::clone(&queue), Arc::clone(provider), done.clone());
            let work = move || {
                while let Some(job) = next(&queue) {
                    if done.send(Wake::Computed(job.run(&*provider))).is_err() {
                        return;
                    }
                }
            };
            std::thread::Builder::new().name("culvert-keys".into()).spawn(work)?;
        }
        Ok(Self { jobs })
    }

    /// The job back where no more may wait: whoever asks does it itself then, and asks for less meanwhile.
    pub fn submit(&self, job: ComputeJob) -> Result<(), ComputeJob> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }
}

/// `None`: the pool is gone.
fn next(queue: &Mutex<Receiver<ComputeJob>>) -> Option<ComputeJob> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
