//! The cipher: intel-ipsec-mb where the processor has what it needs, else Rust.

use culvert_engine::{Crypto, RustCrypto};

/// A cipher that threads can be given.
pub trait Provider: Crypto + Sized + 'static {
    /// For one thread.
    fn for_thread() -> Self;
}

impl Provider for RustCrypto {
    fn for_thread() -> Self {
        Self
    }
}

#[cfg(feature = "ipsec-mb")]
pub use multi_buffer::MultiBuffer;

#[cfg(feature = "ipsec-mb")]
mod multi_buffer {
    use culvert_engine::{Crypto, EspParts, Job, KeyError, additional_data, iv};
    use culvert_model::{Encryption, Suite};
    use ipsec_mb::{KeySchedule, Manager, ManagerError};

    /// intel-ipsec-mb. One manager per thread.
    pub struct MultiBuffer(Manager);

    impl MultiBuffer {
        /// Can it be used here? Says which instructions it takes.
        pub fn probe() -> Result<&'static str, ManagerError> {
            Manager::new().map(|manager| manager.architecture())
        }
    }

    impl super::Provider for MultiBuffer {
        fn for_thread() -> Self {
            // `probe` made one before any thread was started; what is left is memory running out.
            Self(Manager::new().unwrap_or_else(|error| panic!("{error}")))
        }
    }

    impl Crypto for MultiBuffer {
        type Key = Key;

        fn key(suite: Suite, key: &[u8]) -> Result<Key, KeyError> {
            let wrong = KeyError::Length { expected: suite.key_len(), found: key.len() };
            let parts = suite.split_key(key).ok_or(wrong)?;
            let schedule = match suite.encryption() {
                Some(Encryption::Aes128Gcm16) => KeySchedule::aes128(parts.encryption.try_into().map_err(|_| wrong)?),
                Some(Encryption::Aes256Gcm16) => KeySchedule::aes256(parts.encryption.try_into().map_err(|_| wrong)?),
                _ => return Err(KeyError::Unsupported(suite)),
            };
            let schedule = schedule.map_err(|_| KeyError::Unsupported(suite))?;
            Ok(Key { suite, schedule, salt: parts.salt.try_into().map_err(|_| wrong)? })
        }

        fn seal_burst(&mut self, jobs: &mut [Job<'_, Key>]) {
            for job in jobs {
                job.ok = seal(&mut self.0, job).is_some();
            }
        }

        fn open_burst(&mut self, jobs: &mut [Job<'_, Key>]) {
            for job in jobs {
                job.ok = open(&mut self.0, job).unwrap_or(false);
            }
        }
    }

    /// One SA's keys.
    pub struct Key {
        suite: Suite,
        schedule: KeySchedule,
        salt: [u8; 4],
    }

    fn seal(manager: &mut Manager, job: &mut Job<'_, Key>) -> Option<()> {
        let parts = EspParts::of(job.key.suite, job.data.len())?;
        let (aad, aad_len) = additional_data(*job.data.first_chunk()?, job.sequence, job.esn);
        job.data.get_mut(parts.iv)?.copy_from_slice(&iv(job.sequence));
        let nonce = nonce(job.key.salt, iv(job.sequence));
        let (data, tag) = job.data.get_mut(parts.payload.start..)?.split_last_chunk_mut()?;
        manager.seal(&job.key.schedule, &nonce, aad.get(..aad_len)?, data, tag);
        Some(())
    }

    fn open(manager: &mut Manager, job: &mut Job<'_, Key>) -> Option<bool> {
        let parts = EspParts::of(job.key.suite, job.data.len())?;
        let (aad, aad_len) = additional_data(*job.data.first_chunk()?, job.sequence, job.esn);
        let nonce = nonce(job.key.salt, *job.data.get(parts.iv)?.first_chunk()?);
        let (data, tag) = job.data.get_mut(parts.payload.start..)?.split_last_chunk_mut()?;
        Some(manager.open(&job.key.schedule, &nonce, aad.get(..aad_len)?, data, tag))
    }

    /// RFC 4106 §4: salt, then the IV of the packet.
    fn nonce(salt: [u8; 4], iv: [u8; 8]) -> [u8; 12] {
        let ([a, b, c, d], [e, f, g, h, i, j, k, l]) = (salt, iv);
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    #[cfg(test)]
    mod tests {
        use super::super::Provider;
        use super::*;
        use culvert_engine::{MAX_ICV, RustCrypto};

        fn seal<A: Provider>(suite: Suite, key: &[u8], data: &mut [u8]) {
            let key = A::key(suite, key).expect("a key");
            let mut jobs = [Job { key: &key, sequence: 1 << 33 | 7, esn: true, data, icv: [0; MAX_ICV], ok: false }];
            A::for_thread().seal_burst(&mut jobs);
            assert!(jobs[0].ok, "{suite}");
        }

        #[test]
        fn both_ciphers_agree() {
            for suite in [Suite::AES128_GCM16, Suite::AES256_GCM16] {
                let key: Vec<u8> = (0..suite.key_len() as u8).collect();
                let (mut a, mut b) = ([7; 100], [7; 100]);
                seal::<MultiBuffer>(suite, &key, &mut a);
                seal::<RustCrypto>(suite, &key, &mut b);
                assert_eq!(a, b);
            }
        }

        #[test]
        fn a_key_of_the_wrong_length_is_refused() {
            let error = MultiBuffer::key(Suite::AES256_GCM16, &[0; 16]).err();
            assert_eq!(error, Some(KeyError::Length { expected: 36, found: 16 }));
        }
    }
}
