//! A deterministic provider for tests and for the simulation. It protects nothing.
//!
//! MACs and ciphers are the real ones. Randomness is a seeded counter, and the key exchange is a toy: fast, agreeing on
//! both sides, and open to anyone who sees the two public values.

use crate::{CryptoError, KeyExchange, Provider, symmetric};
use culvert_model::{Encryption, Integrity, KeGroup, Prf, SecretKey};
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Fixed {
    state: AtomicU64,
}

impl Fixed {
    /// The same seed and the same calls give the same octets.
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)) }
    }

    /// SplitMix64.
    fn next(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let mut z = self.state.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let octets = self.next().to_be_bytes();
            chunk.copy_from_slice(&octets[..chunk.len()]);
        }
    }
}

struct Toy {
    group: KeGroup,
    public: Vec<u8>,
}

impl KeyExchange for Toy {
    fn group(&self) -> KeGroup {
        self.group
    }

    fn public(&self) -> &[u8] {
        &self.public
    }

    /// All zero is refused, so that tests have an invalid public value.
    fn agree(self: Box<Self>, peer: &[u8]) -> Result<SecretKey, CryptoError> {
        let group = self.group;
        if peer.len() != group.public_len() {
            return Err(CryptoError::PublicLength { group, got: peer.len() });
        }
        if peer.iter().all(|b| *b == 0) {
            return Err(CryptoError::PublicInvalid { group });
        }
        let (low, high) =
            if self.public.as_slice() < peer { (&self.public[..], peer) } else { (peer, &self.public[..]) };
        Ok(symmetric::prf(Prf::HmacSha256, b"toy key exchange", &[low, high]))
    }
}

impl Provider for Fixed {
    fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.fill(out);
        Ok(())
    }

    fn generate(&self, group: KeGroup) -> Result<Box<dyn KeyExchange>, CryptoError> {
        let mut public = vec![0; group.public_len()];
        self.fill(&mut public);
        Ok(Box::new(Toy { group, public }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_octets() {
        let draw = |seed| {
            let mut out = [0; 37];
            Fixed::new(seed).random(&mut out).unwrap();
            out
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn both_sides_of_the_toy_agree() {
        let provider = Fixed::new(7);
        for group in KeGroup::ALL {
            let (a, b) = (provider.generate(*group).unwrap(), provider.generate(*group).unwrap());
            let (public_a, public_b) = (a.public().to_vec(), b.public().to_vec());
            assert_ne!(public_a, public_b);
            assert_eq!(public_a.len(), group.public_len());
            assert!(a.agree(&public_b).unwrap() == b.agree(&public_a).unwrap());
        }
        let zeros = vec![0; 32];
        let refused = provider.generate(KeGroup::X25519).unwrap().agree(&zeros).unwrap_err();
        assert_eq!(refused, CryptoError::PublicInvalid { group: KeGroup::X25519 });
    }
}
