//! AES-GCM by the RustCrypto crates: for tests, and for processors that intel-ipsec-mb does not serve.

use crate::aead::{Aead, CryptoJob, KeyError};
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use culvert_model::Suite;

#[derive(Clone, Copy, Debug, Default)]
pub struct RustCrypto;

/// An expanded key.
pub enum Key {
    Aes128(Box<Aes128Gcm>),
    Aes256(Box<Aes256Gcm>),
}

impl Aead for RustCrypto {
    type Key = Key;

    fn key(suite: Suite, key: &[u8]) -> Result<Key, KeyError> {
        let wrong = |_| KeyError { expected: suite.key_len(), found: key.len() };
        Ok(match suite {
            Suite::Aes128Gcm16 => Key::Aes128(Box::new(Aes128Gcm::new_from_slice(key).map_err(wrong)?)),
            Suite::Aes256Gcm16 => Key::Aes256(Box::new(Aes256Gcm::new_from_slice(key).map_err(wrong)?)),
        })
    }

    fn seal_burst(&mut self, jobs: &mut [CryptoJob<'_, Key>]) {
        for job in jobs {
            match job.key {
                Key::Aes128(cipher) => seal(cipher.as_ref(), job),
                Key::Aes256(cipher) => seal(cipher.as_ref(), job),
            }
        }
    }

    fn open_burst(&mut self, jobs: &mut [CryptoJob<'_, Key>]) {
        for job in jobs {
            match job.key {
                Key::Aes128(cipher) => open(cipher.as_ref(), job),
                Key::Aes256(cipher) => open(cipher.as_ref(), job),
            }
        }
    }
}

fn seal<C: AeadInOut>(cipher: &C, job: &mut CryptoJob<'_, Key>) {
    let aad = job.aad.get(..usize::from(job.aad_len)).unwrap_or(&job.aad);
    let Ok(nonce) = <&Nonce<C>>::try_from(job.nonce.as_slice()) else { return job.ok = false };
    match cipher.encrypt_inout_detached(nonce, aad, (&mut *job.data).into()) {
        Ok(tag) if tag.len() == job.tag.len() => {
            job.tag.copy_from_slice(&tag);
            job.ok = true;
        }
        _ => job.ok = false,
    }
}

fn open<C: AeadInOut>(cipher: &C, job: &mut CryptoJob<'_, Key>) {
    let aad = job.aad.get(..usize::from(job.aad_len)).unwrap_or(&job.aad);
    let (Ok(nonce), Ok(tag)) = (<&Nonce<C>>::try_from(job.nonce.as_slice()), <&Tag<C>>::try_from(job.tag.as_slice()))
    else {
        return job.ok = false;
    };
    job.ok = cipher.decrypt_inout_detached(nonce, aad, (&mut *job.data).into(), tag).is_ok();
}
