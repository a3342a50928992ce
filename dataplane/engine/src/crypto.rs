//! The ciphers the engine is generic over.

use core::ops::Range;
use culvert_model::Suite;
use culvert_wire::esp;

/// Why there is no expanded key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a key of {found} octets, where the suite takes {expected}")]
    Length { expected: usize, found: usize },
    #[error("{0} is not there")]
    Unsupported(Suite),
}

/// Longest ICV, octets: HMAC-SHA2-512-256; longest ICV field of AH too.
pub const MAX_ICV: usize = 32;

/// A provider of every [`Suite`]. One value per thread.
pub trait Crypto: Send {
    /// The expanded keys of one SA, its suite known. Wipes itself on drop.
    type Key: Send + Sync + 'static;

    /// Key schedule. `key` is the SA's KEYMAT ([`Suite::split_key`]).
    fn key(suite: Suite, key: &[u8]) -> Result<Self::Key, KeyError>;

    /// Seals every job in place and sets `ok` (`false` only where the cipher refused). ESP: writes IV, ciphertext and ICV.
    /// AH: writes `icv`.
    fn seal_burst(&mut self, jobs: &mut [Job<'_, Self::Key>]);

    /// Opens every job in place and sets `ok` by comparing the ICV in constant time. Where `ok` is `false` the data is
    /// undefined.
    fn open_burst(&mut self, jobs: &mut [Job<'_, Self::Key>]);
}

/// One packet for the cipher.
pub struct Job<'a, K> {
    pub key: &'a K,
    /// All 64 bits; without ESN the upper half is 0. The IV of counter modes (RFC 4106 §3.1), and what CBC's is made of.
    pub sequence: u64,
    pub esn: bool,
    /// ESP: from the SPI to the end of the ICV; see [`EspParts`]. The sequence number's upper half is not in it.
    /// AH: all that is authenticated, in order: the packet with mutable fields and ICV field zeroed, and with ESN the upper
    /// half of the sequence number behind it (RFC 4302 §2.5.1).
    pub data: &'a mut [u8],
    /// AH only: the ICV field; with GMAC the IV comes first (RFC 4543 §4).
    pub icv: [u8; MAX_ICV],
    pub ok: bool,
}

/// Where things are in an ESP packet that starts at its SPI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspParts {
    pub iv: Range<usize>,
    /// Payload, padding and trailer.
    pub payload: Range<usize>,
    pub icv: Range<usize>,
}

impl EspParts {
    /// `None` where a packet of `len` octets is too short.
    pub fn of(suite: Suite, len: usize) -> Option<Self> {
        let start = esp::LEN + suite.iv_len();
        let end = len.checked_sub(suite.icv_len())?;
        (start <= end).then_some(Self { iv: esp::LEN..start, payload: start..end, icv: end..len })
    }
}

/// RFC 4106 §5, RFC 4309 §5, RFC 7634 §2.1: SPI and sequence number, all 64 bits where they are extended.
pub fn additional_data(spi: [u8; 4], sequence: u64, esn: bool) -> ([u8; 12], usize) {
    let [a, b, c, d] = spi;
    let [h0, h1, h2, h3, l0, l1, l2, l3] = sequence.to_be_bytes();
    if esn { ([a, b, c, d, h0, h1, h2, h3, l0, l1, l2, l3], 12) } else { ([a, b, c, d, l0, l1, l2, l3, 0, 0, 0, 0], 8) }
}

/// What the IV field of a sealed packet holds before the cipher runs. A counter makes a unique IV, and this counter never
/// repeats (RFC 4106 §3.1). CBC wants one that nobody can foresee: it encrypts this block to make it (NIST SP 800-38A
/// Appendix C).
pub const fn iv(sequence: u64) -> [u8; 8] {
    sequence.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additional_data_is_rfc_4106_section_5() {
        let spi = [1, 2, 3, 4];
        assert_eq!(additional_data(spi, 0x0102_0304_0506_0708, true), ([1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8], 12));
        assert_eq!(additional_data(spi, 9, false), ([1, 2, 3, 4, 0, 0, 0, 9, 0, 0, 0, 0], 8));
    }

    #[test]
    fn parts_of_packets() {
        let parts = EspParts::of(Suite::AES128_GCM16, 100).expect("long enough");
        assert_eq!(parts, EspParts { iv: 8..16, payload: 16..84, icv: 84..100 });
        assert!(EspParts::of(Suite::AES128_GCM16, 32).is_some_and(|parts| parts.payload.is_empty()));
        assert_eq!(EspParts::of(Suite::AES128_GCM16, 31), None);
    }
}
