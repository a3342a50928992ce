//! The library's functions that expand keys for this processor. Every manager of the process chooses the same ones, so any
//! key serves any manager.

use core::ffi::c_void;
use std::sync::OnceLock;

use ipsec_mb_sys as sys;

use crate::manager::{Manager, ManagerError};

pub(crate) type Gcm = unsafe extern "C" fn(*const c_void, *mut sys::gcm_key_data);
/// Key, encryption schedule, decryption schedule.
pub(crate) type Aes = unsafe extern "C" fn(*const c_void, *mut c_void, *mut c_void);
/// Expanded key, both subkeys.
pub(crate) type CmacSubkeys = unsafe extern "C" fn(*const c_void, *mut c_void, *mut c_void);
/// Key, K1 expanded, K2, K3.
pub(crate) type Xcbc = unsafe extern "C" fn(*const c_void, *mut c_void, *mut c_void, *mut c_void);
/// One block, the state after it.
pub(crate) type HashBlock = unsafe extern "C" fn(*const c_void, *mut c_void);

/// For keys of 16, 24 and 32 octets.
pub(crate) struct Expanders {
    pub gcm: [Gcm; 3],
    pub aes: [Aes; 3],
    pub cmac_subkeys: CmacSubkeys,
    pub xcbc: Xcbc,
    pub sha1: HashBlock,
    pub sha256: HashBlock,
    pub sha384: HashBlock,
    pub sha512: HashBlock,
}

static EXPANDERS: OnceLock<Expanders> = OnceLock::new();

/// Of the first manager, which is made before there are packets.
pub(crate) fn expanders() -> Result<&'static Expanders, ManagerError> {
    if EXPANDERS.get().is_none() {
        Manager::new()?;
    }
    EXPANDERS.get().ok_or(ManagerError::Incomplete)
}

/// Keeps those of this manager, unless there are some.
pub(crate) fn remember(manager: &Manager) -> Result<(), ManagerError> {
    if EXPANDERS.get().is_none() {
        let found = find(manager).ok_or(ManagerError::Incomplete)?;
        EXPANDERS.get_or_init(|| found);
    }
    Ok(())
}

fn find(manager: &Manager) -> Option<Expanders> {
    let manager = manager.as_ptr();
    Some(Expanders {
        gcm: [
            // SAFETY: a live manager.
            unsafe { sys::culvert_gcm128_pre(manager) }?,
            // SAFETY: a live manager.
            unsafe { sys::culvert_gcm192_pre(manager) }?,
            // SAFETY: a live manager.
            unsafe { sys::culvert_gcm256_pre(manager) }?,
        ],
        aes: [
            // SAFETY: a live manager.
            unsafe { sys::culvert_keyexp128(manager) }?,
            // SAFETY: a live manager.
            unsafe { sys::culvert_keyexp192(manager) }?,
            // SAFETY: a live manager.
            unsafe { sys::culvert_keyexp256(manager) }?,
        ],
        // SAFETY: a live manager.
        cmac_subkeys: unsafe { sys::culvert_cmac_subkeys(manager) }?,
        // SAFETY: a live manager.
        xcbc: unsafe { sys::culvert_xcbc_keyexp(manager) }?,
        // SAFETY: a live manager.
        sha1: unsafe { sys::culvert_sha1_block(manager) }?,
        // SAFETY: a live manager.
        sha256: unsafe { sys::culvert_sha256_block(manager) }?,
        // SAFETY: a live manager.
        sha384: unsafe { sys::culvert_sha384_block(manager) }?,
        // SAFETY: a live manager.
        sha512: unsafe { sys::culvert_sha512_block(manager) }?,
    })
}
