//! What an SA protects packets with: one cipher, one integrity algorithm, or both.

use crate::transform::{CipherMode, Encryption, Integrity};
use core::fmt;

/// The two protocols of RFC 4301.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpsecProtocol {
    /// RFC 4303.
    Esp,
    /// RFC 4302.
    Ah,
}

impl IpsecProtocol {
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Esp => "ESP",
            Self::Ah => "AH",
        }
    }
}

impl fmt::Display for IpsecProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())
    }
}

/// Why two transforms make no suite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuiteError {
    #[error("an AEAD ({0}) takes no integrity algorithm")]
    TwiceAuthenticated(Encryption),
    /// RFC 4303 §3.2.1 allows it; RFC 8221 §4 forbids it.
    #[error("{0} needs an integrity algorithm, such as sha256")]
    Unauthenticated(Encryption),
    #[error("{0} is for AH only")]
    ForAhOnly(Integrity),
    #[error("unknown algorithm \"{0}\"")]
    UnknownWord(String),
}

/// ESP: an AEAD alone, or a cipher (which may be NULL) with an integrity algorithm. AH: an integrity algorithm alone.
/// No other combination has a value, so every SA authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Suite {
    encryption: Option<Encryption>,
    integrity: Option<Integrity>,
}

/// KEYMAT in its parts (RFC 7296 §2.17).
pub struct SuiteKey<'a> {
    pub encryption: &'a [u8],
    pub salt: &'a [u8],
    pub integrity: &'a [u8],
    pub integrity_salt: &'a [u8],
}

impl Suite {
    pub const AES128_GCM16: Self = Self::aead(Encryption::Aes128Gcm16);
    pub const AES256_GCM16: Self = Self::aead(Encryption::Aes256Gcm16);

    const fn aead(encryption: Encryption) -> Self {
        Self { encryption: Some(encryption), integrity: None }
    }

    pub fn esp(encryption: Encryption, integrity: Option<Integrity>) -> Result<Self, SuiteError> {
        match integrity {
            Some(_) if encryption.is_aead() => Err(SuiteError::TwiceAuthenticated(encryption)),
            None if !encryption.is_aead() => Err(SuiteError::Unauthenticated(encryption)),
            Some(integrity) if integrity.is_gmac() => Err(SuiteError::ForAhOnly(integrity)),
            _ => Ok(Self { encryption: Some(encryption), integrity }),
        }
    }

    pub const fn ah(integrity: Integrity) -> Self {
        Self { encryption: None, integrity: Some(integrity) }
    }

    /// `aes256gcm16` or `aes128-sha256`.
    pub fn esp_from_words(text: &str) -> Result<Self, SuiteError> {
        let (cipher, integrity) = text.split_once('-').map_or((text, None), |(a, b)| (a, Some(b)));
        let unknown = |word: &str| SuiteError::UnknownWord(word.to_owned());
        let encryption = Encryption::from_keyword(cipher).ok_or_else(|| unknown(cipher))?;
        let integrity = match integrity {
            Some(word) => Some(Integrity::from_keyword(word).ok_or_else(|| unknown(word))?),
            None => None,
        };
        Self::esp(encryption, integrity)
    }

    /// `sha256`.
    pub fn ah_from_word(word: &str) -> Result<Self, SuiteError> {
        Integrity::from_keyword(word).map(Self::ah).ok_or_else(|| SuiteError::UnknownWord(word.to_owned()))
    }

    /// Every one there is: ESP first.
    pub fn all() -> impl Iterator<Item = Self> {
        let ciphers = Encryption::ALL.iter().copied();
        let integrities = || [None].into_iter().chain(Integrity::ALL.iter().copied().map(Some));
        let esp = ciphers.flat_map(move |e| integrities().filter_map(move |i| Self::esp(e, i).ok()));
        esp.chain(Integrity::ALL.iter().copied().map(Self::ah))
    }

    pub const fn protocol(self) -> IpsecProtocol {
        if self.encryption.is_some() { IpsecProtocol::Esp } else { IpsecProtocol::Ah }
    }

    /// `None` for AH.
    pub const fn encryption(self) -> Option<Encryption> {
        self.encryption
    }

    /// `None` for an AEAD.
    pub const fn integrity(self) -> Option<Integrity> {
        self.integrity
    }

    /// Octets of KEYMAT: cipher key, its salt, integrity key, its salt.
    pub const fn key_len(self) -> usize {
        let encryption = match self.encryption {
            Some(e) => e.key_len() + e.salt_len(),
            None => 0,
        };
        let integrity = match self.integrity {
            Some(i) => i.key_len() + i.salt_len(),
            None => 0,
        };
        encryption + integrity
    }

    /// `None` where `key` is not [`Self::key_len`] long.
    pub fn split_key(self, key: &[u8]) -> Option<SuiteKey<'_>> {
        let lengths = |e: Option<Encryption>| e.map_or((0, 0), |e| (e.key_len(), e.salt_len()));
        let (encryption_len, salt_len) = lengths(self.encryption);
        let integrity_len = self.integrity.map_or(0, Integrity::key_len);
        let (encryption, rest) = key.split_at_checked(encryption_len)?;
        let (salt, rest) = rest.split_at_checked(salt_len)?;
        let (integrity, integrity_salt) = rest.split_at_checked(integrity_len)?;
        let parts = SuiteKey { encryption, salt, integrity, integrity_salt };
        (key.len() == self.key_len()).then_some(parts)
    }

    /// Octets of IV between ESP header and payload. AH with GMAC has its IV in the ICV field: see [`Self::icv_field`].
    pub const fn iv_len(self) -> usize {
        match self.encryption {
            Some(e) => e.iv_len(),
            None => 0,
        }
    }

    /// Octets of ICV.
    pub const fn icv_len(self) -> usize {
        match (self.integrity, self.encryption) {
            (Some(i), _) => i.icv_len(),
            (None, Some(e)) => e.icv_len(),
            (None, None) => 0,
        }
    }

    /// Octets of AH's ICV field without padding: GMAC's IV is part of it (RFC 4543 §4).
    pub const fn icv_field(self) -> usize {
        match self.integrity {
            Some(i) if i.is_gmac() => 8 + i.icv_len(),
            _ => self.icv_len(),
        }
    }

    /// ESP: payload, padding and the two trailer octets are a multiple of this (RFC 4303 §2.4).
    pub const fn alignment(self) -> usize {
        match self.encryption {
            Some(e) if e.block_len() > 4 => e.block_len(),
            _ => 4,
        }
    }

    /// Its nonce is a counter: one (key, number) pair twice would break it.
    pub const fn counts_nonces(self) -> bool {
        match (self.encryption, self.integrity) {
            (Some(e), _) => !matches!(e.mode(), CipherMode::Null | CipherMode::Cbc),
            (None, Some(i)) => i.is_gmac(),
            (None, None) => false,
        }
    }
}

impl fmt::Display for Suite {
    /// `aes256gcm16`, `aes128-sha256`; AH: `sha256`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [self.encryption.map(Encryption::keyword), self.integrity.map(Integrity::keyword)];
        for (place, word) in words.into_iter().flatten().enumerate() {
            if place > 0 {
                f.write_str("-")?;
            }
            f.write_str(word)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for suite in Suite::all() {
            let text = suite.to_string();
            let parsed = match suite.protocol() {
                IpsecProtocol::Esp => Suite::esp_from_words(&text),
                IpsecProtocol::Ah => Suite::ah_from_word(&text),
            };
            assert_eq!(parsed, Ok(suite), "{text}");
        }
        // 29 AEADs, seven plain ciphers with six integrity algorithms, nine for AH.
        assert_eq!(Suite::all().count(), 29 + 7 * 6 + 9);
    }

    #[test]
    fn keys_split_into_their_parts() {
        let suite = Suite::esp_from_words("aes256ctr-sha1").expect("known");
        let octets: Vec<u8> = (0..suite.key_len() as u8).collect();
        assert_eq!(octets.len(), 32 + 4 + 20);
        let key = suite.split_key(&octets).expect("right length");
        assert_eq!((key.encryption.len(), key.salt, key.integrity.len()), (32, &[32u8, 33, 34, 35][..], 20));
        assert!(suite.split_key(&octets[1..]).is_none());
        assert!(suite.split_key(&[octets.as_slice(), &[0]].concat()).is_none());
        for suite in Suite::all() {
            assert!(suite.split_key(&vec![0; suite.key_len()]).is_some(), "{suite}");
            assert!(suite.icv_len() >= 8 && suite.icv_len() <= 32, "{suite}");
        }
    }

    #[test]
    fn what_makes_no_suite() {
        let esp = |text| Suite::esp_from_words(text).map_err(|e| e.to_string());
        assert_eq!(esp("aes128"), Err("aes128 needs an integrity algorithm, such as sha256".into()));
        assert_eq!(esp("null"), Err("null needs an integrity algorithm, such as sha256".into()));
        assert_eq!(esp("aes128gcm16-sha1"), Err("an AEAD (aes128gcm16) takes no integrity algorithm".into()));
        assert_eq!(esp("aes128-aes128gmac"), Err("aes128gmac is for AH only".into()));
        assert_eq!(esp("des-sha1"), Err("unknown algorithm \"des\"".into()));
        assert!(Suite::ah_from_word("aes256gcm16").is_err());
    }
}
