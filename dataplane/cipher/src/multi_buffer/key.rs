//! Expanded keys of an SA.

use culvert_engine::{Crypto, KeyError, RustCrypto, salt};
use culvert_model::{CipherMode, Integrity, Suite};
use ipsec_mb::{AesKey, ChaChaKey, KeySchedule, MacAlgorithm, MacKey};
use zeroize::Zeroizing;

/// The expanded keys of an SA. Every part wipes itself on drop.
pub struct Key {
    pub(super) suite: Suite,
    /// An IV and an ICV of the usual length: 8 and 16 octets.
    pub(super) is_usual: bool,
    pub(super) salt: Zeroizing<[u8; 4]>,
    pub(super) transform: Transform,
}

pub(super) enum Transform {
    Gcm(KeySchedule),
    Gmac(KeySchedule),
    Ccm(AesKey),
    ChaCha20Poly1305(ChaChaKey),
    Esp {
        /// `None`: NULL.
        cipher: Option<Cipher>,
        mac: MacKey,
    },
    Ah(MacKey),
    AhGmac(KeySchedule),
    Rust(<RustCrypto as Crypto>::Key),
}

/// Encrypts, authenticates nothing.
pub(super) enum Cipher {
    Cbc(AesKey),
    Ctr(AesKey),
}

impl Key {
    pub(super) fn new(suite: Suite, key: &[u8]) -> Result<Self, KeyError> {
        let wrong = KeyError::Length { expected: suite.key_len(), found: key.len() };
        let parts = suite.split_key(key).ok_or(wrong)?;
        let transform = match Transform::new(suite, parts.encryption, parts.integrity) {
            Ok(Some(transform)) => transform,
            Ok(None) => Transform::Rust(RustCrypto::key(suite, key)?),
            Err(_) => return Err(KeyError::Unsupported(suite)),
        };
        let is_usual = (suite.iv_len(), suite.icv_len()) == (8, 16);
        Ok(Self { suite, is_usual, salt: Zeroizing::new(salt(&parts)), transform })
    }
}

impl Transform {
    /// `None` where the library has no such suite.
    fn new(suite: Suite, encryption: &[u8], integrity: &[u8]) -> Result<Option<Self>, ipsec_mb::KeyError> {
        let mac =
            || suite.integrity().and_then(algorithm).map(|algorithm| MacKey::new(algorithm, integrity)).transpose();
        let Some(cipher) = suite.encryption() else {
            return match mac()? {
                Some(mac) => Ok(Some(Self::Ah(mac))),
                None => Ok(Some(Self::AhGmac(KeySchedule::new(integrity)?))),
            };
        };
        let cipher = match cipher.mode() {
            CipherMode::Gcm => return Ok(Some(Self::Gcm(KeySchedule::new(encryption)?))),
            CipherMode::Gmac => return Ok(Some(Self::Gmac(KeySchedule::new(encryption)?))),
            CipherMode::Ccm if encryption.len() == 24 => return Ok(None),
            CipherMode::Ccm => return Ok(Some(Self::Ccm(AesKey::new(encryption)?))),
            CipherMode::ChaCha20Poly1305 => return Ok(Some(Self::ChaCha20Poly1305(ChaChaKey::new(encryption)?))),
            CipherMode::Null => None,
            CipherMode::Cbc => Some(Cipher::Cbc(AesKey::new(encryption)?)),
            CipherMode::Ctr => Some(Cipher::Ctr(AesKey::new(encryption)?)),
        };
        Ok(mac()?.map(|mac| Self::Esp { cipher, mac }))
    }
}

/// `None` for GMAC.
fn algorithm(integrity: Integrity) -> Option<MacAlgorithm> {
    match integrity {
        Integrity::HmacSha1_96 => Some(MacAlgorithm::HmacSha1),
        Integrity::HmacSha256_128 => Some(MacAlgorithm::HmacSha256),
        Integrity::HmacSha384_192 => Some(MacAlgorithm::HmacSha384),
        Integrity::HmacSha512_256 => Some(MacAlgorithm::HmacSha512),
        Integrity::AesCmac96 => Some(MacAlgorithm::AesCmac),
        Integrity::AesXcbc96 => Some(MacAlgorithm::AesXcbc),
        Integrity::Aes128Gmac | Integrity::Aes192Gmac | Integrity::Aes256Gmac => None,
    }
}
