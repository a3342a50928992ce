//! The mapped memory itself. All `unsafe` of the crate is in this file and in [`crate::region`]'s slot reference.

use crate::slot::{SLOT_BYTES, SaSlot};
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;
use rustix::fd::BorrowedFd;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::io;

/// Octets of one word.
pub(crate) const WORD: usize = 8;

/// Memory shared with another process, seen only as atomic words: whatever the other side writes at whatever moment, a
/// load is a load of some number, never a data race.
pub(crate) struct Mapping {
    base: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping is owned by this value alone and is reachable only as `&[AtomicU64]`, which any thread may use.
unsafe impl Send for Mapping {}
// SAFETY: as above; `AtomicU64` is `Sync`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `bytes` of the file, which the caller has found to be at least that long.
    pub(crate) fn of_file(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a null hint lets the kernel choose the place, so no existing mapping is replaced.
        let base = unsafe { rustix::mm::mmap(core::ptr::null_mut(), bytes, access, MapFlags::SHARED, fd, 0) }?;
        Self::adopt(base, bytes)
    }

    pub(crate) fn anonymous(bytes: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a null hint lets the kernel choose the place, so no existing mapping is replaced.
        let base = unsafe { rustix::mm::mmap_anonymous(core::ptr::null_mut(), bytes, access, MapFlags::SHARED) }?;
        Self::adopt(base, bytes)
    }

    fn adopt(base: *mut c_void, bytes: usize) -> io::Result<Self> {
        let base = NonNull::new(base.cast::<AtomicU64>()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mapping = Self { base, words: bytes / WORD };
        // The rings carry SA keys: keep them out of core dumps.
        // SAFETY: the range is the mapping just made, and the advice changes nothing about its contents.
        unsafe { rustix::mm::madvise(base.as_ptr().cast(), bytes, Advice::LinuxDontDump) }?;
        Ok(mapping)
    }

    /// The whole mapping.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `base` is page-aligned and the start of `words * 8` mapped, zero-initialised octets that stay mapped
        // until `self` is dropped; every bit pattern is a valid AtomicU64, and nothing here makes a plain reference.
        unsafe { core::slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }

    /// The slot that starts at this word; `None` where it does not lie in the mapping, or not on a slot's boundary.
    pub(crate) fn slot(&self, first_word: usize) -> Option<NonNull<SaSlot>> {
        const WORDS: usize = SLOT_BYTES / WORD;
        let words = self.words().get(first_word..)?.get(..WORDS)?;
        let slot = NonNull::from(words).cast::<SaSlot>();
        slot.is_aligned().then_some(slot)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what was mapped, and no reference into it can outlive `self`. A failure would
        // leave the memory mapped, which harms nothing.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.words * WORD) };
    }
}
