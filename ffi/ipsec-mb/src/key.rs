//! Expanded AES-GCM keys.

use core::mem::MaybeUninit;
use core::ptr;
use std::sync::OnceLock;

use ipsec_mb_sys as sys;

use crate::manager::{Manager, ManagerError};

/// AES-GCM's two key lengths here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLength {
    Aes128,
    Aes256,
}

/// Round keys and hash keys of one AES key. Wiped when dropped; has no Debug and no Clone.
///
/// On the heap and never moved: a move would leave a copy behind that nobody wipes.
pub struct KeySchedule {
    data: Box<Aligned>,
    length: KeyLength,
}

/// The library wants this on a cache line; the header says so on Linux only when told that it is Linux.
#[repr(C, align(64))]
struct Aligned(sys::gcm_key_data);

type Expand = unsafe extern "C" fn(*const core::ffi::c_void, *mut sys::gcm_key_data);

/// The two functions that expand keys for this processor. Every manager of the process chooses the same ones, so any
/// schedule serves any manager.
struct Expanders {
    aes128: Expand,
    aes256: Expand,
}

impl KeySchedule {
    /// Expands a key of 16 octets.
    pub fn aes128(key: &[u8; 16]) -> Result<Self, ManagerError> {
        Ok(Self::expand(expanders()?.aes128, key, KeyLength::Aes128))
    }

    /// Expands a key of 32 octets.
    pub fn aes256(key: &[u8; 32]) -> Result<Self, ManagerError> {
        Ok(Self::expand(expanders()?.aes256, key, KeyLength::Aes256))
    }

    fn expand(expand: Expand, key: &[u8], length: KeyLength) -> Self {
        // SAFETY: octets, for which zero is a value; the library need not write all of them.
        let mut data: Box<Aligned> = unsafe { Box::new(MaybeUninit::<Aligned>::zeroed()).assume_init() };
        // SAFETY: the key has the length of this function (both callers), and the schedule is ours to write.
        unsafe { expand(key.as_ptr().cast(), &mut data.0) };
        Self { data, length }
    }

    pub fn length(&self) -> KeyLength {
        self.length
    }

    pub(crate) fn as_ptr(&self) -> *const sys::gcm_key_data {
        ptr::from_ref(&self.data.0)
    }
}

impl Drop for KeySchedule {
    fn drop(&mut self) {
        // SAFETY: the whole schedule is ours to write; the library's own function is not optimised away.
        unsafe { sys::imb_clear_mem(ptr::from_mut(&mut self.data.0).cast(), size_of::<sys::gcm_key_data>()) }
    }
}

fn expanders() -> Result<&'static Expanders, ManagerError> {
    static EXPANDERS: OnceLock<Expanders> = OnceLock::new();
    if let Some(found) = EXPANDERS.get() {
        return Ok(found);
    }
    let manager = Manager::new()?;
    // SAFETY: a live manager.
    let aes128 = unsafe { sys::culvert_gcm128_pre(manager.as_ptr()) };
    // SAFETY: a live manager.
    let aes256 = unsafe { sys::culvert_gcm256_pre(manager.as_ptr()) };
    match (aes128, aes256) {
        (Some(aes128), Some(aes256)) => Ok(EXPANDERS.get_or_init(|| Expanders { aes128, aes256 })),
        _ => Err(ManagerError::Incomplete),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_start_on_a_cache_line() {
        for _ in 0..64 {
            let key = KeySchedule::aes128(&[7; 16]).expect("a key");
            assert_eq!(key.as_ptr().addr() % 64, 0);
        }
    }
}
