//! Every suite by the RustCrypto crates: for tests, for processors that intel-ipsec-mb does not serve, and as the second
//! opinion on it.

mod aead;
mod aes;
mod mac;
#[cfg(test)]
mod tests;

use crate::crypto::{
    Crypto, EspFields, EspParts, Job, KeyError, additional_data, counter_block, gmac_data, high_half, iv, nonce, salt,
};
use aead::{Aead, Gmac};
use aes::Aes;
use culvert_model::{CipherMode, Suite};
use mac::Mac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

#[derive(Clone, Copy, Debug, Default)]
pub struct RustCrypto;

/// The expanded keys of an SA.
pub struct Key {
    suite: Suite,
    salt: Zeroizing<[u8; 4]>,
    transform: Transform,
}

/// On the heap, so that moving a key leaves no copy behind.
enum Transform {
    Aead(Box<dyn Aead>),
    Gmac(Box<Gmac>),
    Separate(Box<(Cipher, Mac)>),
    AhMac(Box<Mac>),
    AhGmac(Box<Gmac>),
}

/// Encrypts, authenticates nothing.
enum Cipher {
    Null,
    Cbc(Aes),
    Ctr(Aes),
}

impl Crypto for RustCrypto {
    type Key = Key;

    fn key(suite: Suite, key: &[u8]) -> Result<Key, KeyError> {
        let wrong = KeyError::Length { expected: suite.key_len(), found: key.len() };
        let parts = suite.split_key(key).ok_or(wrong)?;
        let transform = Transform::new(suite, parts.encryption, parts.integrity).ok_or(KeyError::Unsupported(suite))?;
        Ok(Key { suite, salt: Zeroizing::new(salt(&parts)), transform })
    }

    fn seal_burst(&mut self, jobs: &mut [Job<'_, Key>]) {
        for job in jobs {
            job.ok = seal(job).is_some();
        }
    }

    fn open_burst(&mut self, jobs: &mut [Job<'_, Key>]) {
        for job in jobs {
            job.ok = open(job).is_some();
        }
    }
}

impl Transform {
    fn new(suite: Suite, encryption: &[u8], integrity: &[u8]) -> Option<Self> {
        let cipher = match (suite.encryption(), suite.integrity()) {
            (None, Some(algorithm)) if algorithm.is_gmac() => {
                return Gmac::new(integrity).map(Box::new).map(Self::AhGmac);
            }
            (None, Some(algorithm)) => return Mac::new(algorithm, integrity).map(Box::new).map(Self::AhMac),
            (Some(cipher), _) => cipher,
            (None, None) => return None,
        };
        let plain = match cipher.mode() {
            CipherMode::Gmac => return Gmac::new(encryption).map(Box::new).map(Self::Gmac),
            CipherMode::Null => Cipher::Null,
            CipherMode::Cbc => Cipher::Cbc(Aes::new(encryption)?),
            CipherMode::Ctr => Cipher::Ctr(Aes::new(encryption)?),
            CipherMode::Gcm | CipherMode::Ccm | CipherMode::ChaCha20Poly1305 => {
                return aead::new(cipher, encryption).map(Self::Aead);
            }
        };
        Some(Self::Separate(Box::new((plain, Mac::new(suite.integrity()?, integrity)?))))
    }
}

fn seal(job: &mut Job<'_, Key>) -> Option<()> {
    match &job.key.transform {
        Transform::AhMac(mac) => {
            let len = job.key.suite.icv_len();
            job.icv.get_mut(..len)?.copy_from_slice(mac.tag(job.data, &[]).get(..len)?);
        }
        Transform::AhGmac(gmac) => {
            let iv = iv(job.sequence);
            let tag = gmac.tag(&nonce(*job.key.salt, iv), None, job.data);
            *job.icv.first_chunk_mut()? = iv;
            *job.icv.get_mut(iv.len()..)?.first_chunk_mut()? = tag;
        }
        Transform::Aead(cipher) => {
            let (aad, aad_len) = additional_data(*job.data.first_chunk()?, job.sequence, job.esn);
            let parts = EspFields::of(job.key.suite, job.data)?;
            // An implicit IV (RFC 8750 §4) has no place in the packet.
            if let Some(place) = parts.iv.first_chunk_mut() {
                *place = iv(job.sequence);
            }
            cipher.seal(&nonce(*job.key.salt, iv(job.sequence)), aad.get(..aad_len)?, parts.payload, parts.icv)?;
        }
        Transform::Gmac(gmac) => {
            let iv = iv(job.sequence);
            *EspFields::of(job.key.suite, job.data)?.iv.first_chunk_mut()? = iv;
            let tag = esp_gmac(gmac, job, iv)?;
            EspFields::of(job.key.suite, job.data)?.icv.copy_from_slice(&tag);
        }
        Transform::Separate(both) => {
            let (cipher, mac) = both.as_ref();
            let parts = EspFields::of(job.key.suite, job.data)?;
            cipher.seal(*job.key.salt, job.sequence, parts.iv, parts.payload)?;
            let high = high_half(job.sequence, job.esn);
            let (authenticated, icv) = authenticated(job)?;
            let tag = mac.tag(authenticated, high.as_slice().as_flattened());
            icv.copy_from_slice(tag.get(..icv.len())?);
        }
    }
    Some(())
}

fn open(job: &mut Job<'_, Key>) -> Option<()> {
    match &job.key.transform {
        Transform::AhMac(mac) => {
            let tag = mac.tag(job.data, &[]);
            equal(tag.get(..job.key.suite.icv_len())?, job.icv.get(..job.key.suite.icv_len())?)
        }
        Transform::AhGmac(gmac) => {
            let (iv, rest) = job.icv.split_first_chunk()?;
            equal(&gmac.tag(&nonce(*job.key.salt, *iv), None, job.data), rest.get(..job.key.suite.icv_len())?)
        }
        Transform::Aead(cipher) => {
            let (aad, aad_len) = additional_data(*job.data.first_chunk()?, job.sequence, job.esn);
            let parts = EspFields::of(job.key.suite, job.data)?;
            let iv = parts.iv.first_chunk().copied().unwrap_or_else(|| iv(job.sequence));
            cipher.open(&nonce(*job.key.salt, iv), aad.get(..aad_len)?, parts.payload, parts.icv)
        }
        Transform::Gmac(gmac) => {
            let iv = *EspFields::of(job.key.suite, job.data)?.iv.first_chunk()?;
            let tag = esp_gmac(gmac, job, iv)?;
            equal(&tag, EspFields::of(job.key.suite, job.data)?.icv)
        }
        Transform::Separate(both) => {
            let (cipher, mac) = both.as_ref();
            // RFC 4303 §3.4.4.1: the ICV first, then decrypt.
            let high = high_half(job.sequence, job.esn);
            let (authenticated, icv) = authenticated(job)?;
            let tag = mac.tag(authenticated, high.as_slice().as_flattened());
            equal(tag.get(..icv.len())?, icv)?;
            let parts = EspFields::of(job.key.suite, job.data)?;
            cipher.open(*job.key.salt, parts.iv, parts.payload)
        }
    }
}

impl Cipher {
    /// Writes the IV and encrypts.
    fn seal(&self, salt: [u8; 4], sequence: u64, iv: &mut [u8], payload: &mut [u8]) -> Option<()> {
        match self {
            Self::Null => {}
            Self::Cbc(aes) => {
                let iv: &mut [u8; 16] = iv.try_into().ok()?;
                *iv = u128::from(u64::from_be_bytes(crate::crypto::iv(sequence))).to_be_bytes();
                // Unpredictable for who has no key, and never the same twice (NIST SP 800-38A Appendix C).
                aes.encrypt_block(iv);
                aes.cbc_encrypt(iv, payload)?;
            }
            Self::Ctr(aes) => {
                let iv: &mut [u8; 8] = iv.try_into().ok()?;
                *iv = crate::crypto::iv(sequence);
                aes.ctr(&counter_block(salt, *iv), payload)?;
            }
        }
        Some(())
    }

    fn open(&self, salt: [u8; 4], iv: &[u8], payload: &mut [u8]) -> Option<()> {
        match self {
            Self::Null => Some(()),
            Self::Cbc(aes) => aes.cbc_decrypt(iv.try_into().ok()?, payload),
            Self::Ctr(aes) => aes.ctr(&counter_block(salt, iv.try_into().ok()?), payload),
        }
    }
}

/// What is authenticated of an ESP packet, and its ICV (RFC 4303 §3.3.2.1).
fn authenticated<'a>(job: &'a mut Job<'_, Key>) -> Option<(&'a [u8], &'a mut [u8])> {
    let parts = EspParts::of(job.key.suite, job.data.len())?;
    let (authenticated, icv) = job.data.split_at_mut_checked(parts.icv.start)?;
    Some((authenticated, icv))
}

/// The tag that the ICV should be.
fn esp_gmac(gmac: &Gmac, job: &Job<'_, Key>, iv: [u8; 8]) -> Option<[u8; 16]> {
    let places = EspParts::of(job.key.suite, job.data.len())?;
    let (head, rest) = gmac_data(job.data.get(..places.icv.start)?, job.sequence, job.esn)?;
    Some(gmac.tag(&nonce(*job.key.salt, iv), head, rest))
}

/// In constant time.
fn equal(a: &[u8], b: &[u8]) -> Option<()> {
    bool::from(a.ct_eq(b)).then_some(())
}
