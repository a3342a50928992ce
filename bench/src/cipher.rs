//! The cipher under the engine: what `dataplane/daemon/src/aead.rs` does, which no other crate can link.

use crate::Error;
use culvert_engine::Aead;

/// A cipher to measure.
pub trait Provider: Aead + Sized + 'static {
    fn new() -> Result<Self, Error>;
    /// Library, version and instructions.
    fn describe(&self) -> String;
}

#[cfg(feature = "ipsec-mb")]
pub use multi_buffer::MultiBuffer as Cipher;

#[cfg(not(feature = "ipsec-mb"))]
pub use culvert_engine::RustCrypto as Cipher;

#[cfg(not(feature = "ipsec-mb"))]
impl Provider for Cipher {
    fn new() -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> String {
        "RustCrypto aes-gcm (built without intel-ipsec-mb)".to_owned()
    }
}

#[cfg(feature = "ipsec-mb")]
mod multi_buffer {
    use crate::Error;
    use culvert_engine::{Aead, CryptoJob, KeyError};
    use culvert_model::Suite;
    use ipsec_mb::{KeySchedule, Manager, version};

    /// intel-ipsec-mb.
    pub struct MultiBuffer(Manager);

    impl super::Provider for MultiBuffer {
        fn new() -> Result<Self, Error> {
            Manager::new().map(Self).map_err(|error| Error::Cipher(error.to_string()))
        }

        fn describe(&self) -> String {
            format!("intel-ipsec-mb {}, {}", version(), self.0.architecture())
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
}
