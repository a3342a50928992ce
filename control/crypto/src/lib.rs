//! IKE's cryptography behind one provider trait.
//!
//! [`AwsLc`] is the real one. `testing::Fixed` (feature `testing`) is deterministic and fast, and insecure: it exists for
//! tests and for the simulation, and no daemon may enable the feature.
#![forbid(unsafe_code)]

mod aws_lc;
mod curve;
mod error;
mod modp;
mod prf_plus;
mod sha1;
mod symmetric;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod vectors;

pub use aws_lc::AwsLc;
pub use error::CryptoError;
pub use prf_plus::prf_plus;
pub use sha1::sha1;

use culvert_model::{Encryption, Integrity, KeGroup, Prf, SecretKey};
use subtle::ConstantTimeEq;

/// Everything IKE needs that is not arithmetic on its own messages. One instance serves all threads.
pub trait Provider: Send + Sync {
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError>;

    /// A fresh key pair. Expensive for MODP groups.
    fn generate(&self, group: KeGroup) -> Result<Box<dyn KeyExchange>, CryptoError>;

    /// HMAC over the concatenation of `data`; the output has `prf.len()` octets. Any key length is right (RFC 2104).
    fn prf(&self, prf: Prf, key: &[u8], data: &[&[u8]]) -> SecretKey;

    /// `prf+`; ask [`prf_plus`](crate::prf_plus()), which checks the length: at most 255 blocks.
    fn prf_plus(&self, prf: Prf, key: &[u8], seed: &[&[u8]], len: usize) -> SecretKey;

    /// Truncated HMAC over the concatenation of `data`; the output has `alg.icv_len()` octets (RFC 4868).
    fn integrity(&self, alg: Integrity, key: &[u8], data: &[&[u8]]) -> Result<Vec<u8>, CryptoError>;

    /// Encrypts `data` in place. `key` includes the salt (`key_len + salt_len`), `iv` is the explicit one.
    ///
    /// AEAD: appends the 16-octet tag. A (key, iv) pair must never be used twice.
    /// CBC: `data` is whole blocks (padding is IKE's), `iv` unpredictable, `aad` is not covered and must be empty.
    fn seal(&self, alg: Encryption, key: &[u8], iv: &[u8], aad: &[u8], data: &mut Vec<u8>) -> Result<(), CryptoError>;

    /// The inverse of [`Provider::seal`]. On an error `data` holds nothing of use. CBC verifies nothing: check the ICV
    /// first.
    fn open(&self, alg: Encryption, key: &[u8], iv: &[u8], aad: &[u8], data: &mut Vec<u8>) -> Result<(), CryptoError>;
}

/// One side of a key exchange before the peer's value is known. Used once.
pub trait KeyExchange: Send {
    fn group(&self) -> KeGroup;

    /// What goes into the KE payload: `group().public_len()` octets.
    fn public(&self) -> &[u8];

    /// The shared secret g^ir in the form RFC 7296 §2.14 feeds to the PRF. The peer's value is checked first
    /// (RFC 6989). Expensive for MODP groups.
    fn agree(self: Box<Self>, peer: &[u8]) -> Result<SecretKey, CryptoError>;
}

/// Comparison whose time depends on the lengths only.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}
