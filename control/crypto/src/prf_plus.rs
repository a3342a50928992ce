//! Key expansion, RFC 7296 §2.13.

use crate::{CryptoError, Provider};
use culvert_model::{Prf, SecretKey};

/// `prf+ (K, S) = T1 | T2 | ...`, `T1 = prf (K, S | 0x01)`, `Tn = prf (K, Tn-1 | S | n)`, cut to `len` octets. `seed` is
/// S in pieces.
pub fn prf_plus(
    provider: &dyn Provider,
    prf: Prf,
    key: &[u8],
    seed: &[&[u8]],
    len: usize,
) -> Result<SecretKey, CryptoError> {
    let most = 255 * prf.len();
    if len > most {
        return Err(CryptoError::PrfPlusLength { asked: len, most });
    }
    Ok(provider.prf_plus(prf, key, seed, len))
}
