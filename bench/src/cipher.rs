//! The cipher under the engine: what `dataplane/daemon/src/aead.rs` does, which no other crate can link.

use crate::Error;
use culvert_engine::Crypto;

/// A cipher to measure.
pub trait Provider: Crypto + Sized + 'static {
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
    use culvert_engine::{Crypto, EspParts, Job, KeyError, additional_data, iv};
    use culvert_model::{Encryption, Suite};
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
}
