//! The cipher: intel-ipsec-mb where the processor has what it needs, else Rust.

use culvert_engine::{Aead, RustCrypto};

/// A cipher that threads can be given.
pub trait Provider: Aead + Sized + 'static {
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
    use culvert_engine::{Aead, CryptoJob, KeyError};
    use culvert_model::Suite;
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

    impl Aead for MultiBuffer {
        type Key = KeySchedule;

        fn key(suite: Suite, key: &[u8]) -> Result<KeySchedule, KeyError> {
            let wrong = || KeyError { expected: suite.key_len(), found: key.len() };
            let schedule = match suite {
                Suite::Aes128Gcm16 => KeySchedule::aes128(key.try_into().map_err(|_| wrong())?),
                Suite::Aes256Gcm16 => KeySchedule::aes256(key.try_into().map_err(|_| wrong())?),
            };
            schedule.map_err(|_| wrong())
        }

        fn seal_burst(&mut self, jobs: &mut [CryptoJob<'_, KeySchedule>]) {
            for job in jobs {
                let aad = &job.aad[..usize::from(job.aad_len).min(job.aad.len())];
                self.0.seal(job.key, &job.nonce, aad, job.data, job.tag);
                job.ok = true;
            }
        }

        fn open_burst(&mut self, jobs: &mut [CryptoJob<'_, KeySchedule>]) {
            for job in jobs {
                let aad = &job.aad[..usize::from(job.aad_len).min(job.aad.len())];
                job.ok = self.0.open(job.key, &job.nonce, aad, job.data, job.tag);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::super::Provider;
        use super::*;
        use culvert_engine::RustCrypto;

        fn seal<A: Provider>(suite: Suite, key: &[u8], data: &mut [u8]) -> [u8; 16] {
            let (key, mut tag) = (A::key(suite, key).expect("a key"), [0; 16]);
            let (nonce, aad) = ([1; 12], [2; 12]);
            let job = CryptoJob { key: &key, nonce, aad, aad_len: 8, data, tag: &mut tag, ok: false };
            A::for_thread().seal_burst(&mut [job]);
            tag
        }

        #[test]
        fn both_ciphers_agree() {
            for suite in Suite::ALL {
                let key: Vec<u8> = (0..suite.key_len() as u8).collect();
                let (mut a, mut b) = ([7; 100], [7; 100]);
                assert_eq!(seal::<MultiBuffer>(suite, &key, &mut a), seal::<RustCrypto>(suite, &key, &mut b));
                assert_eq!(a, b);
            }
        }

        #[test]
        fn a_key_of_the_wrong_length_is_refused() {
            let error = MultiBuffer::key(Suite::Aes256Gcm16, &[0; 16]).err();
            assert_eq!(error, Some(KeyError { expected: 32, found: 16 }));
        }
    }
}
