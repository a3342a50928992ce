//! AES-GCM by the RustCrypto crates: for tests, and for processors that intel-ipsec-mb does not serve.

use crate::crypto::{Crypto, EspParts, Job, KeyError, additional_data, iv};
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use culvert_model::{Encryption, Suite};

#[derive(Clone, Copy, Debug, Default)]
pub struct RustCrypto;

/// An expanded key.
pub struct Key {
    suite: Suite,
    cipher: Cipher,
    salt: [u8; 4],
}

enum Cipher {
    Aes128(Box<Aes128Gcm>),
    Aes256(Box<Aes256Gcm>),
}

impl Crypto for RustCrypto {
    type Key = Key;

    fn key(suite: Suite, key: &[u8]) -> Result<Key, KeyError> {
        let wrong = KeyError::Length { expected: suite.key_len(), found: key.len() };
        let parts = suite.split_key(key).ok_or(wrong)?;
        let cipher = match suite.encryption() {
            Some(Encryption::Aes128Gcm16) => {
                Cipher::Aes128(Box::new(Aes128Gcm::new_from_slice(parts.encryption).map_err(|_| wrong)?))
            }
            Some(Encryption::Aes256Gcm16) => {
                Cipher::Aes256(Box::new(Aes256Gcm::new_from_slice(parts.encryption).map_err(|_| wrong)?))
            }
            _ => return Err(KeyError::Unsupported(suite)),
        };
        Ok(Key { suite, cipher, salt: parts.salt.try_into().map_err(|_| wrong)? })
    }

    fn seal_burst(&mut self, jobs: &mut [Job<'_, Key>]) {
        for job in jobs {
            job.ok = match &job.key.cipher {
                Cipher::Aes128(cipher) => seal(cipher.as_ref(), job),
                Cipher::Aes256(cipher) => seal(cipher.as_ref(), job),
            }
            .is_some();
        }
    }

    fn open_burst(&mut self, jobs: &mut [Job<'_, Key>]) {
        for job in jobs {
            job.ok = match &job.key.cipher {
                Cipher::Aes128(cipher) => open(cipher.as_ref(), job),
                Cipher::Aes256(cipher) => open(cipher.as_ref(), job),
            }
            .is_some();
        }
    }
}

fn seal<C: AeadInOut>(cipher: &C, job: &mut Job<'_, Key>) -> Option<()> {
    let parts = EspParts::of(job.key.suite, job.data.len())?;
    let (aad, aad_len) = additional_data(*job.data.first_chunk()?, job.sequence, job.esn);
    job.data.get_mut(parts.iv)?.copy_from_slice(&iv(job.sequence));
    let nonce = nonce(job.key.salt, iv(job.sequence));
    let nonce = <&Nonce<C>>::try_from(nonce.as_slice()).ok()?;
    let (_, rest) = job.data.split_at_mut_checked(parts.payload.start)?;
    let (data, icv) = rest.split_at_mut_checked(parts.payload.len())?;
    let tag = cipher.encrypt_inout_detached(nonce, aad.get(..aad_len)?, data.into()).ok()?;
    icv.copy_from_slice(tag.get(..icv.len())?);
    Some(())
}

fn open<C: AeadInOut>(cipher: &C, job: &mut Job<'_, Key>) -> Option<()> {
    let parts = EspParts::of(job.key.suite, job.data.len())?;
    let (aad, aad_len) = additional_data(*job.data.first_chunk()?, job.sequence, job.esn);
    let nonce = nonce(job.key.salt, *job.data.get(parts.iv)?.first_chunk()?);
    let nonce = <&Nonce<C>>::try_from(nonce.as_slice()).ok()?;
    let (_, rest) = job.data.split_at_mut_checked(parts.payload.start)?;
    let (data, icv) = rest.split_at_mut_checked(parts.payload.len())?;
    let tag = <&Tag<C>>::try_from(&*icv).ok()?;
    cipher.decrypt_inout_detached(nonce, aad.get(..aad_len)?, data.into(), tag).ok()
}

/// RFC 4106 §4: salt, then the IV of the packet.
fn nonce(salt: [u8; 4], iv: [u8; 8]) -> [u8; 12] {
    let ([a, b, c, d], [e, f, g, h, i, j, k, l]) = (salt, iv);
    [a, b, c, d, e, f, g, h, i, j, k, l]
}
