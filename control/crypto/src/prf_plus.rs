//! Key expansion, RFC 7296 §2.13.

use crate::{CryptoError, Provider};
use culvert_model::{Prf, SecretKey};
use zeroize::Zeroizing;

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
    // Whole blocks at once: a vector that grew would leave key octets behind.
    let mut out = Zeroizing::new(Vec::with_capacity(len.next_multiple_of(prf.len())));
    let mut block = SecretKey::new(Vec::new());
    let mut counter = 0u8;
    while out.len() < len {
        counter += 1;
        let counter_octet = [counter];
        let mut pieces = vec![block.expose()];
        pieces.extend_from_slice(seed);
        pieces.push(&counter_octet);
        let next = provider.prf(prf, key, &pieces);
        out.extend_from_slice(next.expose());
        block = next;
    }
    Ok(SecretKey::from(&out[..len]))
}
