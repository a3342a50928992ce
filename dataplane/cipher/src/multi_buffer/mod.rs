//! Every suite by intel-ipsec-mb.
//!
//! AES-GCM and GMAC are called packet by packet, which is their fastest way. The rest runs side by side, the packets of a
//! burst together whatever their SA: a lane of the processor's vectors each. AES-CCM with keys of 192 bits, which the
//! library has not, is done in Rust.

mod key;
mod open;
mod seal;

use crate::Provider;
use arrayvec::ArrayVec;
use culvert_engine::{Crypto, Job, KeyError, RustCrypto};
use culvert_model::Suite;
use ipsec_mb::{Manager, ManagerError, Task, version};
use key::{Key, Transform};

/// Packets that are in flight together.
const LANES: usize = 64;

/// intel-ipsec-mb. One manager per thread.
pub struct MultiBuffer {
    manager: Manager,
    /// For what the library has not.
    rust: RustCrypto,
}

impl MultiBuffer {
    /// An error where the processor, or the library, is not up to it.
    pub fn new() -> Result<Self, ManagerError> {
        Ok(Self { manager: Manager::new()?, rust: RustCrypto })
    }
}

impl Provider for MultiBuffer {
    fn for_thread() -> Self {
        // Whoever chose this cipher made one before any thread was started; what is left is memory running out.
        Self::new().unwrap_or_else(|error| panic!("{error}"))
    }

    fn describe(&self) -> String {
        format!("intel-ipsec-mb {}, {}", version(), self.manager.architecture())
    }
}

impl Crypto for MultiBuffer {
    type Key = Key;

    fn key(suite: Suite, key: &[u8]) -> Result<Key, KeyError> {
        Key::new(suite, key)
    }

    fn seal_burst(&mut self, jobs: &mut [Job<'_, Key>]) {
        let mut others = false;
        for job in jobs.iter_mut() {
            match &job.key.transform {
                Transform::Gcm(key) => job.ok = seal::gcm(&mut self.manager, key, job).is_some(),
                _ => others = true,
            }
        }
        if others {
            jobs.chunks_mut(LANES).for_each(|jobs| self.seal_side_by_side(jobs));
        }
    }

    fn open_burst(&mut self, jobs: &mut [Job<'_, Key>]) {
        let mut others = false;
        for job in jobs.iter_mut() {
            match &job.key.transform {
                Transform::Gcm(key) => job.ok = open::gcm(&mut self.manager, key, job).unwrap_or(false),
                _ => others = true,
            }
        }
        if others {
            jobs.chunks_mut(LANES).for_each(|jobs| self.open_side_by_side(jobs));
        }
    }
}

impl MultiBuffer {
    /// All but GCM, which is done.
    #[inline(never)]
    fn seal_side_by_side(&mut self, jobs: &mut [Job<'_, Key>]) {
        let mut tasks = ArrayVec::<Task<'_>, LANES>::new();
        let mut results = ArrayVec::<seal::Sealed<'_>, LANES>::new();
        for job in jobs {
            if matches!(job.key.transform, Transform::Gcm(_)) {
                continue;
            }
            job.ok = false;
            match &job.key.transform {
                Transform::Gcm(_) => {}
                Transform::Gmac(key) => job.ok = seal::gmac(&mut self.manager, key, job).is_some(),
                Transform::AhGmac(key) => job.ok = seal::ah_gmac(&mut self.manager, key, job).is_some(),
                Transform::Rust(key) => in_rust(job, key, |job| self.rust.seal_burst(job)),
                Transform::Ccm(_) | Transform::ChaCha20Poly1305(_) | Transform::Esp { .. } | Transform::Ah(_) => {
                    if let Some((task, result)) = seal::task(job) {
                        tasks.push(task);
                        results.push(result);
                    }
                }
            }
        }
        self.manager.run(&mut tasks);
        for (task, result) in tasks.drain(..).zip(results.drain(..)) {
            result.finish(task);
        }
    }

    #[inline(never)]
    fn open_side_by_side(&mut self, jobs: &mut [Job<'_, Key>]) {
        let mut tasks = ArrayVec::<Task<'_>, LANES>::new();
        let mut results = ArrayVec::<open::Expected<'_>, LANES>::new();
        for job in jobs.iter_mut() {
            if matches!(job.key.transform, Transform::Gcm(_)) {
                continue;
            }
            job.ok = false;
            match &job.key.transform {
                Transform::Gcm(_) => {}
                Transform::Gmac(key) => job.ok = open::gmac(&mut self.manager, key, job).unwrap_or(false),
                Transform::AhGmac(key) => job.ok = open::ah_gmac(&mut self.manager, key, job).unwrap_or(false),
                Transform::Rust(key) => in_rust(job, key, |job| self.rust.open_burst(job)),
                Transform::Ccm(_) | Transform::ChaCha20Poly1305(_) | Transform::Esp { .. } | Transform::Ah(_) => {
                    if let Some((task, result)) = open::task(job) {
                        tasks.push(task);
                        results.push(result);
                    }
                }
            }
        }
        self.manager.run(&mut tasks);
        for (task, result) in tasks.drain(..).zip(results.drain(..)) {
            result.compare(task);
        }
        drop((tasks, results));
        self.decrypt(jobs);
    }

    /// What an integrity algorithm found right, and nothing else (RFC 4303 §3.4.4.1).
    fn decrypt(&mut self, jobs: &mut [Job<'_, Key>]) {
        let mut tasks = ArrayVec::<Task<'_>, LANES>::new();
        let mut results = ArrayVec::<&mut bool, LANES>::new();
        for job in jobs.iter_mut().filter(|job| job.ok) {
            let Transform::Esp { cipher: Some(cipher), .. } = &job.key.transform else { continue };
            job.ok = false;
            if let Some((task, ok)) = open::decryption(job, cipher) {
                tasks.push(task);
                results.push(ok);
            }
        }
        self.manager.run(&mut tasks);
        for (task, ok) in tasks.drain(..).zip(results.drain(..)) {
            *ok = task.finish().is_some();
        }
    }
}

/// One job for the other provider.
fn in_rust<K>(job: &mut Job<'_, Key>, key: &K, run: impl FnOnce(&mut [Job<'_, K>])) {
    let Job { sequence, esn, data, icv, .. } = job;
    let mut jobs = [Job { key, sequence: *sequence, esn: *esn, data, icv: *icv, ok: false }];
    run(&mut jobs);
    let [done] = jobs;
    (job.icv, job.ok) = (done.icv, done.ok);
}
