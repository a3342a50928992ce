//! Expanded keys.

use core::ffi::c_void;

use ipsec_mb_sys as sys;

use crate::expand::{Expanders, HashBlock, expanders};
use crate::manager::ManagerError;
use crate::secret::{Octets, Secret};

/// Why there is no expanded key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("no such algorithm takes a key of {0} octets")]
    Length(usize),
    #[error(transparent)]
    Manager(#[from] ManagerError),
}

/// AES's key lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLength {
    Aes128,
    Aes192,
    Aes256,
}

impl KeyLength {
    fn of(key: &[u8]) -> Result<Self, KeyError> {
        match key.len() {
            16 => Ok(Self::Aes128),
            24 => Ok(Self::Aes192),
            32 => Ok(Self::Aes256),
            other => Err(KeyError::Length(other)),
        }
    }

    /// Of three things, the one for this length.
    pub(crate) fn pick<T: Copy>(self, [aes128, aes192, aes256]: &[T; 3]) -> T {
        match self {
            Self::Aes128 => *aes128,
            Self::Aes192 => *aes192,
            Self::Aes256 => *aes256,
        }
    }

    pub(crate) fn octets(self) -> u64 {
        self.pick(&[16, 24, 32])
    }
}

/// Round keys and hash keys of AES-GCM and GMAC.
pub struct KeySchedule {
    data: Secret<Gcm>,
    length: KeyLength,
}

/// The library wants this on a cache line; the header says so on Linux only when told that it is Linux.
#[repr(C, align(64))]
struct Gcm(sys::gcm_key_data);

// SAFETY: octets alone.
unsafe impl Octets for Gcm {}

impl KeySchedule {
    /// Expands a key of 16, 24 or 32 octets.
    pub fn new(key: &[u8]) -> Result<Self, KeyError> {
        let length = KeyLength::of(key)?;
        let expand = length.pick(&expanders()?.gcm);
        let mut data = Secret::<Gcm>::zeroed();
        // SAFETY: the key has the length of this function, and the schedule is ours to write.
        unsafe { expand(key.as_ptr().cast(), &mut data.get_mut().0) };
        Ok(Self { data, length })
    }

    pub fn length(&self) -> KeyLength {
        self.length
    }

    pub(crate) fn as_ptr(&self) -> *const sys::gcm_key_data {
        &self.data.get().0
    }
}

/// Round keys of AES in both directions: CBC, CTR, CCM.
pub struct AesKey {
    data: Secret<RoundKeys>,
    length: KeyLength,
}

/// Fifteen of 16 octets at most.
#[repr(C, align(64))]
struct RoundKeys {
    encrypt: [u8; 240],
    decrypt: [u8; 240],
}

// SAFETY: octets alone.
unsafe impl Octets for RoundKeys {}

impl AesKey {
    /// Expands a key of 16, 24 or 32 octets.
    pub fn new(key: &[u8]) -> Result<Self, KeyError> {
        let length = KeyLength::of(key)?;
        let expand = length.pick(&expanders()?.aes);
        let mut data = Secret::<RoundKeys>::zeroed();
        let RoundKeys { encrypt, decrypt } = data.get_mut();
        // SAFETY: the key has the length of this function; both schedules are ours to write, aligned to 16 octets, and long
        // enough for the longest key.
        unsafe { expand(key.as_ptr().cast(), encrypt.as_mut_ptr().cast(), decrypt.as_mut_ptr().cast()) };
        Ok(Self { data, length })
    }

    pub fn length(&self) -> KeyLength {
        self.length
    }

    pub(crate) fn encrypt(&self) -> *const c_void {
        self.data.get().encrypt.as_ptr().cast()
    }

    pub(crate) fn decrypt(&self) -> *const c_void {
        self.data.get().decrypt.as_ptr().cast()
    }
}

/// ChaCha20-Poly1305 has nothing to expand.
pub struct ChaChaKey(Secret<ChaCha>);

#[repr(C, align(64))]
struct ChaCha([u8; 32]);

// SAFETY: octets alone.
unsafe impl Octets for ChaCha {}

impl ChaChaKey {
    pub fn new(key: &[u8]) -> Result<Self, KeyError> {
        let mut data = Secret::<ChaCha>::zeroed();
        let octets = &mut data.get_mut().0;
        if key.len() != octets.len() {
            return Err(KeyError::Length(key.len()));
        }
        octets.copy_from_slice(key);
        Ok(Self(data))
    }

    pub(crate) fn as_ptr(&self) -> *const c_void {
        self.0.get().0.as_ptr().cast()
    }
}

/// Integrity algorithms of ESP and AH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacAlgorithm {
    /// RFC 2404.
    HmacSha1,
    /// RFC 4868.
    HmacSha256,
    HmacSha384,
    HmacSha512,
    /// RFC 4494.
    AesCmac,
    /// RFC 3566.
    AesXcbc,
}

impl MacAlgorithm {
    /// Octets of key, and of the ICV that is made of the tag.
    pub const fn lengths(self) -> (usize, usize) {
        match self {
            Self::HmacSha1 => (20, 12),
            Self::HmacSha256 => (32, 16),
            Self::HmacSha384 => (48, 24),
            Self::HmacSha512 => (64, 32),
            Self::AesCmac | Self::AesXcbc => (16, 12),
        }
    }
}

/// What an integrity algorithm makes of its key before the first packet.
pub struct MacKey {
    data: Secret<MacState>,
    algorithm: MacAlgorithm,
}

/// HMAC: states behind the inner and the outer pad. XCBC: K1 expanded, K2, K3. CMAC: key expanded, both subkeys.
#[repr(C, align(64))]
struct MacState {
    first: [u8; 240],
    second: [u8; 64],
    third: [u8; 64],
}

// SAFETY: octets alone.
unsafe impl Octets for MacState {}

impl MacKey {
    pub fn new(algorithm: MacAlgorithm, key: &[u8]) -> Result<Self, KeyError> {
        if key.len() != algorithm.lengths().0 {
            return Err(KeyError::Length(key.len()));
        }
        let expanders = expanders()?;
        let data = match algorithm {
            MacAlgorithm::HmacSha1 => hmac::<64>(expanders.sha1, key),
            MacAlgorithm::HmacSha256 => hmac::<64>(expanders.sha256, key),
            MacAlgorithm::HmacSha384 => hmac::<128>(expanders.sha384, key),
            MacAlgorithm::HmacSha512 => hmac::<128>(expanders.sha512, key),
            MacAlgorithm::AesCmac => cmac(expanders, key)?,
            MacAlgorithm::AesXcbc => xcbc(expanders, key),
        };
        Ok(Self { data, algorithm })
    }

    pub fn algorithm(&self) -> MacAlgorithm {
        self.algorithm
    }

    pub(crate) fn parts(&self) -> [*const c_void; 3] {
        let MacState { first, second, third, .. } = self.data.get();
        [first.as_ptr().cast(), second.as_ptr().cast(), third.as_ptr().cast()]
    }
}

/// RFC 2104 §4: the padded keys are hashed once. `BLOCK`: octets that the function takes; it writes 64 at most.
fn hmac<const BLOCK: usize>(hash: HashBlock, key: &[u8]) -> Secret<MacState> {
    let (mut data, mut pads) = (Secret::<MacState>::zeroed(), Secret::<Pads>::zeroed());
    let Pads { inner, outer } = pads.get_mut();
    for (octet, from) in inner.iter_mut().zip(key.iter().copied().chain(core::iter::repeat(0))) {
        *octet = from ^ 0x36;
    }
    for (octet, from) in outer.iter_mut().zip(key.iter().copied().chain(core::iter::repeat(0))) {
        *octet = from ^ 0x5c;
    }
    const { assert!(BLOCK <= size_of::<Pads>() / 2) };
    let MacState { first, second, .. } = data.get_mut();
    // SAFETY: a block to read, and more than a state to write.
    unsafe { hash(inner.as_ptr().cast(), first.as_mut_ptr().cast()) };
    // SAFETY: a block to read, and a state to write.
    unsafe { hash(outer.as_ptr().cast(), second.as_mut_ptr().cast()) };
    data
}

#[repr(C, align(64))]
struct Pads {
    inner: [u8; 128],
    outer: [u8; 128],
}

// SAFETY: octets alone.
unsafe impl Octets for Pads {}

fn cmac(expanders: &Expanders, key: &[u8]) -> Result<Secret<MacState>, KeyError> {
    let expanded = AesKey::new(key)?;
    let mut data = Secret::<MacState>::zeroed();
    let MacState { first, second, third, .. } = data.get_mut();
    *first = expanded.data.get().encrypt;
    let subkeys = expanders.cmac_subkeys;
    // SAFETY: an expanded key of 16 octets, and two blocks to write.
    unsafe { subkeys(first.as_ptr().cast(), second.as_mut_ptr().cast(), third.as_mut_ptr().cast()) };
    Ok(data)
}

fn xcbc(expanders: &Expanders, key: &[u8]) -> Secret<MacState> {
    let mut data = Secret::<MacState>::zeroed();
    let MacState { first, second, third, .. } = data.get_mut();
    let expand = expanders.xcbc;
    // SAFETY: a key of 16 octets (`new`), a schedule and two blocks to write.
    unsafe {
        expand(key.as_ptr().cast(), first.as_mut_ptr().cast(), second.as_mut_ptr().cast(), third.as_mut_ptr().cast());
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_start_on_a_cache_line() {
        for _ in 0..64 {
            let key = KeySchedule::new(&[7; 16]).expect("a key");
            assert_eq!(key.as_ptr().addr() % 64, 0);
            let key = AesKey::new(&[7; 16]).expect("a key");
            assert_eq!((key.encrypt().addr() % 16, key.decrypt().addr() % 16), (0, 0));
            let key = MacKey::new(MacAlgorithm::AesXcbc, &[7; 16]).expect("a key");
            assert_eq!(key.parts().map(|part| part.addr() % 16), [0; 3]);
        }
    }

    #[test]
    fn keys_of_other_lengths_are_refused() {
        for len in [0, 15, 17, 23, 31, 33, 64] {
            assert_eq!(KeySchedule::new(&vec![0; len]).err(), Some(KeyError::Length(len)));
            assert_eq!(AesKey::new(&vec![0; len]).err(), Some(KeyError::Length(len)));
            assert_eq!(ChaChaKey::new(&vec![0; len]).err(), Some(KeyError::Length(len)));
            assert_eq!(MacKey::new(MacAlgorithm::HmacSha1, &vec![0; len]).err(), Some(KeyError::Length(len)));
        }
    }
}
