//! Diffie-Hellman over the MODP groups (RFC 3526) by crypto-bigint, in constant time.

mod primes;

use crate::{CryptoError, KeyExchange};
use crypto_bigint::{
    BoxedUint, Odd, Resize,
    modular::{BoxedMontyForm, BoxedMontyParams},
};
use culvert_model::{KeGroup, SecretKey};
use std::sync::OnceLock;
use zeroize::{Zeroize, Zeroizing};

/// Bits of a private exponent. Twice the strength is asked for (RFC 7919 §5.2 and RFC 3526 §8: at most 480 for the
/// largest group); 512 covers all groups and is four to eight times faster than an exponent of full length.
const EXPONENT_BITS: u32 = 512;
pub const EXPONENT_LEN: usize = EXPONENT_BITS as usize / 8;

pub struct Modp {
    group: KeGroup,
    params: &'static BoxedMontyParams,
    exponent: Exponent,
    public: Vec<u8>,
}

struct Exponent(BoxedUint);

impl Drop for Exponent {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The prime with what Montgomery multiplication needs, computed once. `None` if the group is no MODP group.
fn params(group: KeGroup) -> Option<&'static BoxedMontyParams> {
    static PARAMS: [OnceLock<Option<BoxedMontyParams>>; 3] = [const { OnceLock::new() }; 3];
    let [first, second, third] = &PARAMS;
    let (cell, prime) = match group {
        KeGroup::Modp2048 => (first, primes::MODP2048),
        KeGroup::Modp3072 => (second, primes::MODP3072),
        KeGroup::Modp4096 => (third, primes::MODP4096),
        KeGroup::Ecp256 | KeGroup::Ecp384 | KeGroup::X25519 => return None,
    };
    let compute = || {
        let bits = group.public_len() as u32 * 8;
        let prime = BoxedUint::from_be_hex(prime, bits).into_option()?;
        Some(BoxedMontyParams::new_vartime(Odd::new(prime).into_option()?))
    };
    cell.get_or_init(compute).as_ref()
}

/// `base` to the `exponent`, modulo the group's prime. The exponent leaves no trace in the time.
fn power(base: BoxedUint, exponent: &Exponent, params: &BoxedMontyParams) -> Zeroizing<Vec<u8>> {
    let mut base = BoxedMontyForm::new(base, params);
    let mut result = base.pow_bounded_exp(&exponent.0, EXPONENT_BITS);
    let mut number = result.retrieve();
    let mut octets = number.to_be_bytes();
    // Padded to the length of the prime (RFC 7296 §2.14, §3.4): the integers keep their precision.
    let out = Zeroizing::new(octets.to_vec());
    octets.zeroize();
    number.zeroize();
    result.zeroize();
    base.zeroize();
    out
}

#[cfg(test)]
pub fn prime(group: KeGroup) -> &'static str {
    match group {
        KeGroup::Modp2048 => primes::MODP2048,
        KeGroup::Modp3072 => primes::MODP3072,
        _ => primes::MODP4096,
    }
}

impl Modp {
    /// A key pair from `EXPONENT_LEN` random octets. `None` if the group is no MODP group.
    pub fn new(group: KeGroup, random: &[u8; EXPONENT_LEN]) -> Option<Self> {
        let params = params(group)?;
        let exponent = Exponent(BoxedUint::from_be_slice(random, EXPONENT_BITS).ok()?);
        let generator = BoxedUint::from(2u8).resize(params.bits_precision());
        let public = power(generator, &exponent, params).to_vec();
        Some(Self { group, params, exponent, public })
    }
}

impl KeyExchange for Modp {
    fn group(&self) -> KeGroup {
        self.group
    }

    fn public(&self) -> &[u8] {
        &self.public
    }

    fn agree(self: Box<Self>, peer: &[u8]) -> Result<SecretKey, CryptoError> {
        let group = self.group;
        if peer.len() != group.public_len() {
            return Err(CryptoError::PublicLength { group, got: peer.len() });
        }
        let invalid = CryptoError::PublicInvalid { group };
        let bits = self.params.bits_precision();
        let peer = BoxedUint::from_be_slice(peer, bits).map_err(|_| invalid)?;
        // RFC 6989 §2.1: 1 < y < p - 1. The value is public, so this comparison may take any time.
        let one = BoxedUint::one_with_precision(bits);
        let top = self.params.modulus().wrapping_sub(&one);
        if peer <= one || peer >= top {
            return Err(invalid);
        }
        Ok(SecretKey::from(power(peer, &self.exponent, self.params).as_slice()))
    }
}
