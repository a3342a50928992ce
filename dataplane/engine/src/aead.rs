//! The cipher the engine is generic over.

use culvert_model::Suite;

/// Key material of the wrong length for its suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key of {found} octets, where the suite takes {expected}")]
pub struct KeyError {
    pub expected: usize,
    pub found: usize,
}

/// AEAD with a 12-octet nonce and a 16-octet tag (RFC 4106). One value per thread.
pub trait Aead: Send {
    /// The expanded key. Wipes itself on drop.
    type Key: Send + Sync + 'static;

    /// Key schedule. `key` is the cipher key alone, without the salt.
    fn key(suite: Suite, key: &[u8]) -> Result<Self::Key, KeyError>;

    /// Encrypts every job's `data` in place, writes `tag`, sets `ok` (`false` only where the cipher refused).
    fn seal_burst(&mut self, jobs: &mut [CryptoJob<'_, Self::Key>]);

    /// Decrypts every job's `data` in place and sets `ok` by comparing `tag` in constant time. Where `ok` is `false`
    /// the data is undefined.
    fn open_burst(&mut self, jobs: &mut [CryptoJob<'_, Self::Key>]);
}

/// One packet for the cipher.
pub struct CryptoJob<'a, K> {
    pub key: &'a K,
    pub nonce: [u8; 12],
    pub aad: [u8; 12],
    /// 8, or 12 with extended sequence numbers (RFC 4106 §5).
    pub aad_len: u8,
    pub data: &'a mut [u8],
    pub tag: &'a mut [u8; 16],
    pub ok: bool,
}
