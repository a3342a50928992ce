//! Work that runs side by side: the library fills its lanes with packets of many SAs.

use core::ffi::c_void;
use core::ops::Range;
use core::ptr;

use ipsec_mb_sys as sys;

use crate::key::{AesKey, ChaChaKey, KeyLength, MacAlgorithm, MacKey};
use crate::manager::Manager;

/// Longest tag, octets: HMAC-SHA2-512-256.
pub const MAX_TAG: usize = 32;
/// Longest additional data, octets: SPI and extended sequence number.
pub const MAX_AAD: usize = 12;
/// The library counts octets of a job in 16 bits.
const MAX_LEN: usize = 65_534;

/// Encrypts, authenticates nothing.
#[derive(Clone, Copy)]
pub enum Cipher<'a> {
    Cbc { key: &'a AesKey, iv: [u8; 16] },
    Ctr { key: &'a AesKey, counter: [u8; 16] },
}

/// Encrypts and authenticates.
#[derive(Clone, Copy)]
pub enum Aead<'a> {
    /// RFC 4309; keys of 16 and 32 octets.
    Ccm { key: &'a AesKey, nonce: [u8; 11], tag_len: usize },
    /// RFC 7634.
    ChaCha20Poly1305 { key: &'a ChaChaKey, nonce: [u8; 12] },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Encrypt,
    Decrypt,
}

/// One packet's work. Nothing happens to it before [`Manager::run`].
///
/// What the library would refuse is no task: a refusal is remembered for the whole process, and fails the self-test of a
/// manager that another thread makes at that moment.
pub struct Task<'a> {
    data: &'a mut [u8],
    what: What<'a>,
    direction: Direction,
    /// What the cipher works on; inside `data`.
    ciphered: Range<usize>,
    /// What the integrity algorithm reads; inside `data`.
    authenticated: Range<usize>,
    iv: [u8; 16],
    aad: [u8; MAX_AAD],
    aad_len: usize,
    tag: [u8; MAX_TAG],
    done: bool,
}

enum What<'a> {
    Separate { cipher: Option<Cipher<'a>>, mac: Option<&'a MacKey> },
    Aead(Aead<'a>),
}

impl<'a> Task<'a> {
    /// Encrypts `ciphered`, then makes the tag of `authenticated`. `None`, as of all of these, where a range is not in
    /// `data`, or the algorithm cannot work on it, such as half a block.
    pub fn encrypt_then_mac(
        data: &'a mut [u8],
        cipher: Cipher<'a>,
        ciphered: Range<usize>,
        mac: &'a MacKey,
        authenticated: Range<usize>,
    ) -> Option<Self> {
        let what = What::Separate { cipher: Some(cipher), mac: Some(mac) };
        Self::new(data, what, Direction::Encrypt, ciphered, authenticated)
    }

    /// Makes the tag of `authenticated`; writes no data.
    pub fn mac(data: &'a mut [u8], mac: &'a MacKey, authenticated: Range<usize>) -> Option<Self> {
        Self::new(data, What::Separate { cipher: None, mac: Some(mac) }, Direction::Encrypt, 0..0, authenticated)
    }

    /// Decrypts `ciphered`; makes no tag.
    pub fn decrypt(data: &'a mut [u8], cipher: Cipher<'a>, ciphered: Range<usize>) -> Option<Self> {
        Self::new(data, What::Separate { cipher: Some(cipher), mac: None }, Direction::Decrypt, ciphered, 0..0)
    }

    /// Encrypts `payload` and makes the tag. `None` also where `aad` is longer than [`MAX_AAD`].
    pub fn seal(data: &'a mut [u8], aead: Aead<'a>, aad: &[u8], payload: Range<usize>) -> Option<Self> {
        Self::new(data, What::Aead(aead), Direction::Encrypt, payload.clone(), payload)?.with_aad(aad)
    }

    /// Decrypts `payload` and makes the tag that it should have.
    pub fn open(data: &'a mut [u8], aead: Aead<'a>, aad: &[u8], payload: Range<usize>) -> Option<Self> {
        Self::new(data, What::Aead(aead), Direction::Decrypt, payload.clone(), payload)?.with_aad(aad)
    }

    fn new(
        data: &'a mut [u8],
        what: What<'a>,
        direction: Direction,
        ciphered: Range<usize>,
        authenticated: Range<usize>,
    ) -> Option<Self> {
        let ciphered_len = data.get(ciphered.clone())?.len();
        let authenticated_len = data.get(authenticated.clone())?.len();
        if ciphered_len.max(authenticated_len) > MAX_LEN || !what.takes(ciphered_len, authenticated_len) {
            return None;
        }
        let mut iv = [0; 16];
        match &what {
            What::Separate { cipher: Some(Cipher::Cbc { iv: given, .. }), .. } => iv = *given,
            What::Separate { cipher: Some(Cipher::Ctr { counter, .. }), .. } => iv = *counter,
            What::Separate { cipher: None, .. } => {}
            What::Aead(Aead::Ccm { nonce, .. }) => iv[..11].copy_from_slice(nonce),
            What::Aead(Aead::ChaCha20Poly1305 { nonce, .. }) => iv[..12].copy_from_slice(nonce),
        }
        let (aad, tag) = ([0; MAX_AAD], [0; MAX_TAG]);
        Some(Self { data, what, direction, ciphered, authenticated, iv, aad, aad_len: 0, tag, done: false })
    }

    fn with_aad(mut self, aad: &[u8]) -> Option<Self> {
        self.aad.get_mut(..aad.len())?.copy_from_slice(aad);
        self.aad_len = aad.len();
        Some(self)
    }

    /// The data and the tag: as long as the algorithm makes it, zero behind that. `None` where the task was not run, or the
    /// library refused it.
    pub fn finish(self) -> Option<(&'a mut [u8], [u8; MAX_TAG])> {
        self.done.then_some((self.data, self.tag))
    }

    /// What the library is told. Its pointers hold as long as this task is borrowed.
    fn raw(&mut self, mark: usize) -> sys::culvert_task {
        let mut raw = sys::culvert_task {
            enc_keys: ptr::null(),
            dec_keys: ptr::null(),
            key_len: 0,
            data: self.data.as_mut_ptr(),
            cipher_start: self.ciphered.start as u64,
            cipher_len: self.ciphered.len() as u64,
            hash_start: self.authenticated.start as u64,
            hash_len: self.authenticated.len() as u64,
            iv: self.iv.as_ptr(),
            iv_len: 16,
            tag: self.tag.as_mut_ptr(),
            tag_len: 0,
            auth_keys: [ptr::null(); 3],
            aad: self.aad.as_ptr().cast(),
            aad_len: self.aad_len as u64,
            cipher: sys::IMB_CIPHER_NULL,
            direction: match self.direction {
                Direction::Encrypt => sys::IMB_DIR_ENCRYPT,
                Direction::Decrypt => sys::IMB_DIR_DECRYPT,
            },
            hash: sys::IMB_AUTH_NULL,
            order: match self.direction {
                Direction::Encrypt => sys::IMB_ORDER_CIPHER_HASH,
                Direction::Decrypt => sys::IMB_ORDER_HASH_CIPHER,
            },
            mark,
        };
        match &self.what {
            What::Separate { cipher, mac } => {
                // The library refuses to cipher nothing.
                if let Some(cipher) = cipher.filter(|_| !self.ciphered.is_empty()) {
                    cipher.tell(&mut raw);
                }
                if let Some(mac) = mac {
                    mac.tell(&mut raw);
                }
            }
            What::Aead(aead) => aead.tell(&mut raw, self.direction),
        }
        raw
    }
}

impl What<'_> {
    /// Can this be done to so many octets? As the library asks it.
    fn takes(&self, ciphered: usize, authenticated: usize) -> bool {
        match self {
            Self::Separate { cipher, mac } => {
                let whole = !matches!(cipher, Some(Cipher::Cbc { .. })) || ciphered.is_multiple_of(16);
                whole && (mac.is_none() || authenticated > 0)
            }
            Self::Aead(Aead::Ccm { key, tag_len, .. }) => {
                key.length() != KeyLength::Aes192 && (4..=16).contains(tag_len) && tag_len.is_multiple_of(2)
            }
            Self::Aead(Aead::ChaCha20Poly1305 { .. }) => true,
        }
    }
}

impl Cipher<'_> {
    fn tell(&self, raw: &mut sys::culvert_task) {
        let (key, mode) = match self {
            Self::Cbc { key, .. } => (key, sys::IMB_CIPHER_CBC),
            Self::Ctr { key, .. } => (key, sys::IMB_CIPHER_CNTR),
        };
        raw.cipher = mode;
        (raw.enc_keys, raw.dec_keys, raw.key_len) = (key.encrypt(), key.decrypt(), key.length().octets());
    }
}

impl MacKey {
    fn tell(&self, raw: &mut sys::culvert_task) {
        raw.hash = match self.algorithm() {
            MacAlgorithm::HmacSha1 => sys::IMB_AUTH_HMAC_SHA_1,
            MacAlgorithm::HmacSha256 => sys::IMB_AUTH_HMAC_SHA_256,
            MacAlgorithm::HmacSha384 => sys::IMB_AUTH_HMAC_SHA_384,
            MacAlgorithm::HmacSha512 => sys::IMB_AUTH_HMAC_SHA_512,
            MacAlgorithm::AesCmac => sys::IMB_AUTH_AES_CMAC,
            MacAlgorithm::AesXcbc => sys::IMB_AUTH_AES_XCBC,
        };
        raw.auth_keys = self.parts();
        raw.tag_len = self.algorithm().lengths().1 as u64;
    }
}

impl Aead<'_> {
    fn tell(&self, raw: &mut sys::culvert_task, direction: Direction) {
        match self {
            Self::Ccm { key, tag_len, .. } => {
                (raw.cipher, raw.hash) = (sys::IMB_CIPHER_CCM, sys::IMB_AUTH_AES_CCM);
                // It authenticates what is in clear (RFC 3610 §2.2).
                raw.order = match direction {
                    Direction::Encrypt => sys::IMB_ORDER_HASH_CIPHER,
                    Direction::Decrypt => sys::IMB_ORDER_CIPHER_HASH,
                };
                (raw.enc_keys, raw.dec_keys, raw.key_len) = (key.encrypt(), key.decrypt(), key.length().octets());
                (raw.iv_len, raw.tag_len) = (11, *tag_len as u64);
            }
            Self::ChaCha20Poly1305 { key, .. } => {
                (raw.cipher, raw.hash) = (sys::IMB_CIPHER_CHACHA20_POLY1305, sys::IMB_AUTH_CHACHA20_POLY1305);
                let key: *const c_void = key.as_ptr();
                (raw.enc_keys, raw.dec_keys, raw.key_len) = (key, key, 32);
                (raw.iv_len, raw.tag_len) = (12, 16);
            }
        }
    }
}

impl Manager {
    /// Does all of them; afterwards each can [`Task::finish`].
    pub fn run(&mut self, tasks: &mut [Task<'_>]) {
        // As many as there are bits to remember, and no more than the library takes in.
        for tasks in tasks.chunks_mut(u64::BITS as usize) {
            let mut done = 0;
            for (mark, task) in tasks.iter_mut().enumerate() {
                let raw = task.raw(mark);
                // SAFETY: a live manager. The keys are borrowed by the task. Data, IV, AAD and tag are the task's, which is
                // borrowed exclusively until all jobs are finished below; ranges lie inside the data (`Task::new`), and
                // tags are no longer than `MAX_TAG`.
                let job = unsafe { sys::culvert_submit(self.as_mut_ptr(), &raw) };
                done |= finished(job);
            }
            loop {
                // SAFETY: a live manager, whose jobs are those of `tasks`.
                let job = unsafe { sys::culvert_flush(self.as_mut_ptr()) };
                if job.is_null() {
                    break;
                }
                done |= finished(job);
            }
            for (mark, task) in tasks.iter_mut().enumerate() {
                task.done = done >> mark & 1 == 1;
            }
        }
    }
}

/// The bit of a job that was completed, and not refused.
fn finished(job: *const sys::IMB_JOB) -> u64 {
    if job.is_null() {
        return 0;
    }
    // SAFETY: a job that the library gave back, and that stays as it is until the next call.
    let completed = unsafe { sys::culvert_completed(job) } != 0;
    // SAFETY: the same.
    let mark = unsafe { sys::culvert_mark(job) };
    u64::from(completed) << mark
}
