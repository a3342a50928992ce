//! The real provider.

use crate::{
    CryptoError, KeyExchange, Provider,
    curve::Curve,
    modp::{EXPONENT_LEN, Modp},
    symmetric,
};
use aws_lc_rs::{error::Unspecified, rand};
use culvert_model::{Encryption, Integrity, KeGroup, Prf, SecretKey};
use zeroize::Zeroizing;

/// aws-lc-rs for everything but the MODP groups, which it does not have; those by crypto-bigint.
#[derive(Clone, Copy, Default)]
pub struct AwsLc;

impl Provider for AwsLc {
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        rand::fill(out).map_err(|Unspecified| CryptoError::Random)
    }

    fn generate(&self, group: KeGroup) -> Result<Box<dyn KeyExchange>, CryptoError> {
        if let Some(curve) = Curve::generate(group) {
            return Ok(Box::new(curve?));
        }
        let mut exponent = Zeroizing::new([0; EXPONENT_LEN]);
        self.random(exponent.as_mut())?;
        let modp = Modp::new(group, &exponent).ok_or(CryptoError::Backend)?;
        Ok(Box::new(modp))
    }

    fn prf(&self, prf: Prf, key: &[u8], data: &[&[u8]]) -> SecretKey {
        symmetric::prf(prf, key, data)
    }

    fn prf_plus(&self, prf: Prf, key: &[u8], seed: &[&[u8]], len: usize) -> SecretKey {
        symmetric::prf_plus(prf, key, seed, len)
    }

    fn integrity(&self, alg: Integrity, key: &[u8], data: &[&[u8]]) -> Result<Vec<u8>, CryptoError> {
        symmetric::integrity(alg, key, data)
    }

    fn seal(&self, alg: Encryption, key: &[u8], iv: &[u8], aad: &[u8], data: &mut Vec<u8>) -> Result<(), CryptoError> {
        symmetric::seal(alg, key, iv, aad, data)
    }

    fn open(&self, alg: Encryption, key: &[u8], iv: &[u8], aad: &[u8], data: &mut Vec<u8>) -> Result<(), CryptoError> {
        symmetric::open(alg, key, iv, aad, data)
    }
}
