//! Combined modes: one function encrypts and authenticates.

use super::aes::Aes;
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::{U8, U11, U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use ccm::Ccm;
use chacha20poly1305::ChaCha20Poly1305;
use culvert_model::{CipherMode, Encryption};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use zeroize::Zeroize;

/// As [`crate::crypto::nonce`] makes it.
type NonceOctets = [u8; 12];

/// What [`AeadInOut`] is for one cipher, for whichever.
pub(super) trait Aead: Send + Sync {
    /// Encrypts in place and writes the ICV.
    fn seal(&self, nonce: &NonceOctets, aad: &[u8], data: &mut [u8], icv: &mut [u8]) -> Option<()>;

    /// `None` where the ICV is wrong: it is compared in constant time.
    fn open(&self, nonce: &NonceOctets, aad: &[u8], data: &mut [u8], icv: &[u8]) -> Option<()>;
}

impl<C: AeadInOut + Send + Sync> Aead for C {
    fn seal(&self, octets: &NonceOctets, aad: &[u8], data: &mut [u8], icv: &mut [u8]) -> Option<()> {
        let tag = self.encrypt_inout_detached(nonce::<C>(octets)?, aad, data.into()).ok()?;
        (icv.len() == tag.len()).then(|| icv.copy_from_slice(&tag))
    }

    fn open(&self, octets: &NonceOctets, aad: &[u8], data: &mut [u8], icv: &[u8]) -> Option<()> {
        let tag = <&Tag<C>>::try_from(icv).ok()?;
        self.decrypt_inout_detached(nonce::<C>(octets)?, aad, data.into(), tag).ok()
    }
}

fn nonce<C: AeadInOut>(octets: &NonceOctets) -> Option<&Nonce<C>> {
    let unused = octets.len().checked_sub(Nonce::<C>::default().len())?;
    octets.get(unused..)?.try_into().ok()
}

/// `None` where this is no AEAD that encrypts, or the key has another length.
pub(super) fn new(encryption: Encryption, key: &[u8]) -> Option<Box<dyn Aead>> {
    match (encryption.mode(), encryption.icv_len(), key.len()) {
        (CipherMode::Gcm, 8, 16) => boxed::<AesGcm<Aes128, U12, U8>>(key),
        (CipherMode::Gcm, 8, 24) => boxed::<AesGcm<Aes192, U12, U8>>(key),
        (CipherMode::Gcm, 8, 32) => boxed::<AesGcm<Aes256, U12, U8>>(key),
        (CipherMode::Gcm, 12, 16) => boxed::<AesGcm<Aes128, U12, U12>>(key),
        (CipherMode::Gcm, 12, 24) => boxed::<AesGcm<Aes192, U12, U12>>(key),
        (CipherMode::Gcm, 12, 32) => boxed::<AesGcm<Aes256, U12, U12>>(key),
        (CipherMode::Gcm, 16, 16) => boxed::<AesGcm<Aes128, U12, U16>>(key),
        (CipherMode::Gcm, 16, 24) => boxed::<AesGcm<Aes192, U12, U16>>(key),
        (CipherMode::Gcm, 16, 32) => boxed::<AesGcm<Aes256, U12, U16>>(key),
        (CipherMode::Ccm, 8, 16) => boxed::<Ccm<Aes128, U8, U11>>(key),
        (CipherMode::Ccm, 8, 24) => boxed::<Ccm<Aes192, U8, U11>>(key),
        (CipherMode::Ccm, 8, 32) => boxed::<Ccm<Aes256, U8, U11>>(key),
        (CipherMode::Ccm, 12, 16) => boxed::<Ccm<Aes128, U12, U11>>(key),
        (CipherMode::Ccm, 12, 24) => boxed::<Ccm<Aes192, U12, U11>>(key),
        (CipherMode::Ccm, 12, 32) => boxed::<Ccm<Aes256, U12, U11>>(key),
        (CipherMode::Ccm, 16, 16) => boxed::<Ccm<Aes128, U16, U11>>(key),
        (CipherMode::Ccm, 16, 24) => boxed::<Ccm<Aes192, U16, U11>>(key),
        (CipherMode::Ccm, 16, 32) => boxed::<Ccm<Aes256, U16, U11>>(key),
        (CipherMode::ChaCha20Poly1305, 16, 32) => boxed::<ChaCha20Poly1305>(key),
        _ => None,
    }
}

fn boxed<C: AeadInOut + KeyInit + Send + Sync + 'static>(key: &[u8]) -> Option<Box<dyn Aead>> {
    let cipher = C::new_from_slice(key).ok()?;
    Some(Box::new(cipher))
}

/// GCM with nothing to encrypt (RFC 4543 §2). GHASH by hand, because what is authenticated may be in two pieces
/// ([`crate::crypto::gmac_data`]), and the AEAD's interface takes one.
pub(super) struct Gmac {
    aes: Aes,
    /// Keyed, nothing hashed yet.
    hash: GHash,
}

impl Gmac {
    pub fn new(key: &[u8]) -> Option<Self> {
        let aes = Aes::new(key)?;
        let mut hash_key = [0; 16];
        aes.encrypt_block(&mut hash_key);
        let hash = GHash::new(&hash_key.into());
        hash_key.zeroize();
        Some(Self { aes, hash })
    }

    /// Tag of `head`, if any, and `data` behind it (NIST SP 800-38D §7.1 with an empty plaintext).
    pub fn tag(&self, nonce: &NonceOctets, head: Option<[u8; 16]>, data: &[u8]) -> [u8; 16] {
        let mut hash = self.hash.clone();
        let mut len = data.len();
        if let Some(head) = head {
            hash.update(&[head.into()]);
            len += head.len();
        }
        hash.update_padded(data);
        hash.update(&[(((len as u128) * 8) << 64).to_be_bytes().into()]);
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *nonce;
        let mut mask = [a, b, c, d, e, f, g, h, i, j, k, l, 0, 0, 0, 1];
        self.aes.encrypt_block(&mut mask);
        (u128::from_be_bytes(mask) ^ u128::from_be_bytes(hash.finalize().into())).to_be_bytes()
    }
}
