//! The ciphers the engine is generic over.

use core::ops::Range;
use culvert_model::{Suite, SuiteKey};
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

/// The same, as what is there.
pub struct EspFields<'a> {
    pub iv: &'a mut [u8],
    pub payload: &'a mut [u8],
    pub icv: &'a mut [u8],
}

impl<'a> EspFields<'a> {
    /// `None` where the packet is too short.
    pub fn of(suite: Suite, packet: &'a mut [u8]) -> Option<Self> {
        let places = EspParts::of(suite, packet.len())?;
        let (rest, icv) = packet.split_at_mut_checked(places.icv.start)?;
        let (rest, payload) = rest.split_at_mut_checked(places.payload.start)?;
        Some(Self { iv: rest.get_mut(places.iv)?, payload, icv })
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

/// What nonces start with, at the end of four octets: CCM's salt has three (RFC 4309 §4).
pub fn salt(key: &SuiteKey<'_>) -> [u8; 4] {
    let mut salt = [0; 4];
    for (to, from) in salt.iter_mut().rev().zip(key.salt.iter().chain(key.integrity_salt).rev()) {
        *to = *from;
    }
    salt
}

/// RFC 4106 §4, RFC 7634 §2: salt, then the IV of the packet. CCM's nonce is this without the first octet.
pub const fn nonce(salt: [u8; 4], iv: [u8; 8]) -> [u8; 12] {
    let ([a, b, c, d], [e, f, g, h, i, j, k, l]) = (salt, iv);
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// RFC 3686 §4: nonce, IV, and a counter of blocks that starts at one.
pub const fn counter_block(salt: [u8; 4], iv: [u8; 8]) -> [u8; 16] {
    let ([a, b, c, d], [e, f, g, h, i, j, k, l]) = (salt, iv);
    [a, b, c, d, e, f, g, h, i, j, k, l, 0, 0, 0, 1]
}

/// The half of an extended sequence number that an integrity algorithm reads behind the packet, and that is not sent
/// (RFC 4303 §2.2.1).
pub fn high_half(sequence: u64, esn: bool) -> Option<[u8; 4]> {
    esn.then_some(((sequence >> 32) as u32).to_be_bytes())
}

/// What GMAC reads of an ESP packet without its ICV (RFC 4543 §3.3): SPI, sequence number, IV and payload. The upper half of
/// an extended number belongs before its lower one: a block starts with it, and all from the middle of the IV on is behind
/// each other in the packet.
pub fn gmac_data(packet: &[u8], sequence: u64, esn: bool) -> Option<(Option<[u8; 16]>, &[u8])> {
    let Some([h0, h1, h2, h3]) = high_half(sequence, esn) else {
        return Some((None, packet));
    };
    let ([s0, s1, s2, s3, l0, l1, l2, l3, i0, i1, i2, i3], rest) = packet.split_first_chunk()?;
    let head = [*s0, *s1, *s2, *s3, h0, h1, h2, h3, *l0, *l1, *l2, *l3, *i0, *i1, *i2, *i3];
    Some((Some(head), rest))
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
    fn gmac_reads_the_whole_number_in_order() {
        let packet: Vec<u8> = (0..40).collect();
        assert_eq!(gmac_data(&packet, 9, false), Some((None, packet.as_slice())));
        let (head, rest) = gmac_data(&packet, 0x5051_5253_0405_0607, true).expect("long enough");
        let whole = [&head.expect("a block")[..], rest].concat();
        assert_eq!(whole, [&packet[..4], &[0x50, 0x51, 0x52, 0x53], &packet[4..]].concat());
        assert_eq!(gmac_data(&packet[..11], 9, true), None);
    }

    #[test]
    fn salts_stand_at_the_end() {
        for (word, expected) in
            [("aes128gcm16", [16, 17, 18, 19]), ("aes128ccm16", [0, 16, 17, 18]), ("aes128-sha1", [0; 4])]
        {
            let suite = Suite::esp_from_words(word).expect("a suite");
            let key: Vec<u8> = (0..suite.key_len() as u8).collect();
            assert_eq!(salt(&suite.split_key(&key).expect("its length")), expected, "{word}");
        }
        let key: Vec<u8> = (0..36).collect();
        let suite = Suite::ah_from_word("aes256gmac").expect("a suite");
        assert_eq!(salt(&suite.split_key(&key).expect("its length")), [32, 33, 34, 35]);
    }

    #[test]
    fn parts_of_packets() {
        let parts = EspParts::of(Suite::AES128_GCM16, 100).expect("long enough");
        assert_eq!(parts, EspParts { iv: 8..16, payload: 16..84, icv: 84..100 });
        assert!(EspParts::of(Suite::AES128_GCM16, 32).is_some_and(|parts| parts.payload.is_empty()));
        assert_eq!(EspParts::of(Suite::AES128_GCM16, 31), None);
    }
}
