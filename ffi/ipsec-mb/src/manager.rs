//! One thread's door to the library.

use core::cell::Cell;
use core::ffi::CStr;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};

use ipsec_mb_sys as sys;
use subtle::ConstantTimeEq;

use crate::expand::remember;
use crate::key::KeySchedule;

/// Octets of nonce, and of tag.
const NONCE: usize = 12;
const TAG: usize = 16;

/// Why the library cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManagerError {
    #[error("there is no memory for a manager of intel-ipsec-mb")]
    NoMemory,
    #[error(
        "the processor has no AES and carry-less multiplication instructions, which intel-ipsec-mb needs to be fast"
    )]
    Processor,
    #[error("intel-ipsec-mb did not initialise: error {0}")]
    Init(i32),
    #[error("intel-ipsec-mb lacks a function that ESP needs")]
    Incomplete,
}

/// One packet to seal or open.
pub struct Job<'a> {
    pub key: &'a KeySchedule,
    pub nonce: &'a [u8; NONCE],
    pub aad: &'a [u8],
    /// Encrypted or decrypted in place.
    pub data: &'a mut [u8],
    /// Sealing writes it, opening compares it.
    pub tag: &'a mut [u8; TAG],
    /// Opening: the tag was right. Where it is `false` the data must not be used.
    pub ok: bool,
}

type Cipher = unsafe extern "C" fn(
    *const sys::gcm_key_data,
    *mut sys::gcm_context_data,
    *mut u8,
    *const u8,
    u64,
    *const u8,
    *const u8,
    u64,
    *mut u8,
    u64,
);

/// The library as one thread uses it. May move to another thread, but is never shared.
pub struct Manager {
    raw: NonNull<sys::IMB_MGR>,
    ciphers: Ciphers,
    /// The library's working space: holds the hash state and the last block of key stream.
    context: Box<MaybeUninit<sys::gcm_context_data>>,
    _not_sync: PhantomData<Cell<()>>,
}

type GmacInit = unsafe extern "C" fn(*const sys::gcm_key_data, *mut sys::gcm_context_data, *const u8, u64);
type GmacUpdate = unsafe extern "C" fn(*const sys::gcm_key_data, *mut sys::gcm_context_data, *const u8, u64);
type GmacFinalize = unsafe extern "C" fn(*const sys::gcm_key_data, *mut sys::gcm_context_data, *mut u8, u64);

/// For keys of 16, 24 and 32 octets.
#[derive(Clone, Copy)]
struct Ciphers {
    seal: [Cipher; 3],
    open: [Cipher; 3],
    gmac: [Gmac; 3],
}

#[derive(Clone, Copy)]
struct Gmac {
    init: GmacInit,
    update: GmacUpdate,
    finalize: GmacFinalize,
}

// SAFETY: a manager is memory without ties to a thread; it must only not be used by two at once, and it is not Sync.
unsafe impl Send for Manager {}

impl Manager {
    /// For this processor: the fastest code it can run.
    pub fn new() -> Result<Self, ManagerError> {
        // SAFETY: no flags.
        let raw = NonNull::new(unsafe { sys::alloc_mb_mgr(0) }).ok_or(ManagerError::NoMemory)?;
        match ciphers(raw) {
            Ok(ciphers) => {
                let context = Box::new(MaybeUninit::zeroed());
                let manager = Self { raw, ciphers, context, _not_sync: PhantomData };
                remember(&manager)?;
                Ok(manager)
            }
            Err(error) => {
                // SAFETY: allocated above, and not used after this.
                unsafe { sys::free_mb_mgr(raw.as_ptr()) };
                Err(error)
            }
        }
    }

    /// The instruction set in use.
    pub fn architecture(&self) -> &'static str {
        // SAFETY: a live manager.
        match unsafe { sys::culvert_arch(self.raw.as_ptr()) } {
            sys::IMB_ARCH_SSE => "SSE",
            sys::IMB_ARCH_AVX => "AVX",
            sys::IMB_ARCH_AVX2 => "AVX2",
            sys::IMB_ARCH_AVX512 => "AVX-512",
            _ => "unknown",
        }
    }

    /// Encrypts every job's data and writes its tag.
    pub fn seal_burst(&mut self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            self.seal(job.key, job.nonce, job.aad, job.data, job.tag);
            job.ok = true;
        }
    }

    /// Decrypts every job's data, and says in `ok` whether its tag was right.
    pub fn open_burst(&mut self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            job.ok = self.open(job.key, job.nonce, job.aad, job.data, job.tag);
        }
    }

    /// Encrypts in place and writes the tag.
    #[inline]
    pub fn seal(&mut self, key: &KeySchedule, nonce: &[u8; NONCE], aad: &[u8], data: &mut [u8], tag: &mut [u8; TAG]) {
        let cipher = key.length().pick(&self.ciphers.seal);
        self.gcm(cipher, key, nonce, aad, data, tag);
    }

    /// Decrypts in place; `false` if the tag is wrong, and then the data must not be used. Compares in constant time. A tag
    /// of 8 or 12 octets is the start of the whole one; any other is wrong.
    #[inline]
    #[must_use]
    pub fn open(&mut self, key: &KeySchedule, nonce: &[u8; NONCE], aad: &[u8], data: &mut [u8], tag: &[u8]) -> bool {
        let cipher = key.length().pick(&self.ciphers.open);
        let mut expected = [0; TAG];
        self.gcm(cipher, key, nonce, aad, data, &mut expected);
        matches!(tag.len(), 8 | 12 | TAG) && expected[..tag.len()].ct_eq(tag).into()
    }

    /// As [`Self::open`], for a tag of full length.
    #[inline]
    #[must_use]
    pub fn open_whole(
        &mut self,
        key: &KeySchedule,
        nonce: &[u8; NONCE],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG],
    ) -> bool {
        let cipher = key.length().pick(&self.ciphers.open);
        let mut expected = [0; TAG];
        self.gcm(cipher, key, nonce, aad, data, &mut expected);
        // One comparison of all bits, whichever differ.
        u128::from_ne_bytes(expected).ct_eq(&u128::from_ne_bytes(*tag)).into()
    }

    /// GMAC (NIST SP 800-38D §3): the tag of both parts, one behind the other.
    #[inline]
    #[must_use]
    pub fn gmac(&mut self, key: &KeySchedule, nonce: &[u8; NONCE], parts: [&[u8]; 2]) -> [u8; TAG] {
        let Gmac { init, update, finalize } = key.length().pick(&self.ciphers.gmac);
        let (key, context, mut tag) = (key.as_ptr(), self.context.as_mut_ptr(), [0; TAG]);
        // SAFETY: the schedule was expanded for this function's key length; the context is ours to write.
        unsafe { init(key, context, nonce.as_ptr(), NONCE as u64) };
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            // SAFETY: a part is as long as it says; the context was initialised.
            unsafe { update(key, context, part.as_ptr(), part.len() as u64) };
        }
        // SAFETY: the tag is as long as said; the context was initialised.
        unsafe { finalize(key, context, tag.as_mut_ptr(), TAG as u64) };
        tag
    }

    #[inline]
    fn gcm(
        &mut self,
        cipher: Cipher,
        key: &KeySchedule,
        nonce: &[u8; NONCE],
        aad: &[u8],
        data: &mut [u8],
        tag: &mut [u8; TAG],
    ) {
        let (len, data) = (data.len() as u64, data.as_mut_ptr());
        let aad_len = aad.len() as u64;
        // SAFETY: the schedule was expanded for this cipher's key length by the same code path; context, data and tag are
        // borrowed exclusively, and as long as said; source and destination may be the same.
        unsafe {
            cipher(
                key.as_ptr(),
                self.context.as_mut_ptr(),
                data,
                data,
                len,
                nonce.as_ptr(),
                aad.as_ptr(),
                aad_len,
                tag.as_mut_ptr(),
                TAG as u64,
            );
        }
    }

    pub(crate) fn as_ptr(&self) -> *const sys::IMB_MGR {
        self.raw.as_ptr()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut sys::IMB_MGR {
        self.raw.as_ptr()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let size = size_of::<sys::gcm_context_data>();
        // SAFETY: the whole context is ours to write.
        unsafe { sys::imb_clear_mem(self.context.as_mut_ptr().cast(), size) };
        // SAFETY: allocated by `alloc_mb_mgr`, and not used after this.
        unsafe { sys::free_mb_mgr(self.raw.as_ptr()) }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manager({})", self.architecture())
    }
}

/// The library's version.
pub fn version() -> String {
    // SAFETY: returns a constant string.
    let text = unsafe { sys::imb_get_version_str() };
    // SAFETY: a constant string that ends in NUL.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn ciphers(raw: NonNull<sys::IMB_MGR>) -> Result<Ciphers, ManagerError> {
    let raw = raw.as_ptr();
    // SAFETY: a live manager.
    let features = unsafe { sys::culvert_features(raw) };
    let needed = sys::CULVERT_FEATURE_AESNI | sys::CULVERT_FEATURE_PCLMULQDQ;
    if features & needed != needed {
        return Err(ManagerError::Processor);
    }
    // SAFETY: a live manager; the architecture need not be told.
    unsafe { sys::init_mb_mgr_auto(raw, ptr::null_mut()) };
    // SAFETY: a live manager.
    match unsafe { sys::culvert_mb_errno(raw) } {
        0 => {}
        error => return Err(ManagerError::Init(error)),
    }
    find(raw).ok_or(ManagerError::Incomplete)
}

fn find(raw: *const sys::IMB_MGR) -> Option<Ciphers> {
    Some(Ciphers {
        seal: [
            // SAFETY: a live manager.
            unsafe { sys::culvert_gcm128_enc(raw) }?,
            // SAFETY: a live manager.
            unsafe { sys::culvert_gcm192_enc(raw) }?,
            // SAFETY: a live manager.
            unsafe { sys::culvert_gcm256_enc(raw) }?,
        ],
        open: [
            // SAFETY: a live manager.
            unsafe { sys::culvert_gcm128_dec(raw) }?,
            // SAFETY: a live manager.
            unsafe { sys::culvert_gcm192_dec(raw) }?,
            // SAFETY: a live manager.
            unsafe { sys::culvert_gcm256_dec(raw) }?,
        ],
        gmac: [
            Gmac {
                // SAFETY: a live manager.
                init: unsafe { sys::culvert_gmac128_init(raw) }?,
                // SAFETY: a live manager.
                update: unsafe { sys::culvert_gmac128_update(raw) }?,
                // SAFETY: a live manager.
                finalize: unsafe { sys::culvert_gmac128_finalize(raw) }?,
            },
            Gmac {
                // SAFETY: a live manager.
                init: unsafe { sys::culvert_gmac192_init(raw) }?,
                // SAFETY: a live manager.
                update: unsafe { sys::culvert_gmac192_update(raw) }?,
                // SAFETY: a live manager.
                finalize: unsafe { sys::culvert_gmac192_finalize(raw) }?,
            },
            Gmac {
                // SAFETY: a live manager.
                init: unsafe { sys::culvert_gmac256_init(raw) }?,
                // SAFETY: a live manager.
                update: unsafe { sys::culvert_gmac256_update(raw) }?,
                // SAFETY: a live manager.
                finalize: unsafe { sys::culvert_gmac256_finalize(raw) }?,
            },
        ],
    })
}
