//! The file: made whole or not at all, checked before it is mapped.

use crate::error::LinkError;
use crate::layout::{BLOCK_COUNTERS, Layout, header};
use crate::mapping::{Mapping, WORD};
use crate::role::Role;
use crate::slot::{SaSlot, SlotState};
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use culvert_model::{SlotIndex, Spi};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The shared memory. Cloning gives another handle to the same mapping.
#[derive(Clone)]
pub struct Region(Arc<Inner>);

struct Inner {
    mapping: Mapping,
    layout: Layout,
    /// `None` for anonymous memory.
    path: Option<PathBuf>,
    /// Inode of the file; 0 for anonymous memory.
    inode: u64,
    /// Who holds which role, for anonymous memory; a file has lock files.
    local_roles: [AtomicBool; 2],
    /// Slots found free, oldest first; built at the first claim.
    free: Mutex<Option<VecDeque<u32>>>,
}

impl Region {
    /// Opens the file, or makes it (mode 0600) where there is none. Several processes may do so at once: exactly one
    /// file results, and it is never seen half made.
    pub fn create_or_attach(path: &Path, layout: Layout) -> Result<Self, LinkError> {
        let layout = layout.check()?;
        // Each round either finds a file or makes one; a file that others keep removing ends the loop as an error.
        let mut last = Errno::NOENT;
        for _ in 0..8 {
            match open_existing(path) {
                Ok(fd) => return Self::attach(path, layout, fd),
                Err(Errno::NOENT) => {}
                Err(e) => return Err(io_error("open", path, e)),
            }
            match create(path, layout) {
                Ok(()) => {}
                Err((_, e @ Errno::EXIST)) => last = e,
                Err((action, e)) => return Err(io_error(action, path, e)),
            }
        }
        Err(io_error("create", path, last))
    }

    /// Memory without a file, for tests and benchmarks; both ends live in this process.
    pub fn anonymous(layout: Layout) -> Result<Self, LinkError> {
        let layout = layout.check()?;
        let mapping = Mapping::anonymous(layout.total_bytes()).map_err(|source| LinkError::Io {
            action: "map",
            path: PathBuf::from("(anonymous memory)"),
            source,
        })?;
        Ok(Self::over(mapping, layout, None, 0))
    }

    fn attach(path: &Path, layout: Layout, fd: OwnedFd) -> Result<Self, LinkError> {
        let inode = check_file(path, layout, &fd)?;
        let mapping = Mapping::of_file(fd.as_fd(), layout.total_bytes()).map_err(|source| LinkError::Io {
            action: "map",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::over(mapping, layout, Some(path.to_owned()), inode))
    }

    fn over(mapping: Mapping, layout: Layout, path: Option<PathBuf>, inode: u64) -> Self {
        Self(Arc::new(Inner { mapping, layout, path, inode, local_roles: Default::default(), free: Mutex::new(None) }))
    }

    /// Number of SA slots, a power of two.
    pub fn slots(&self) -> u32 {
        self.0.layout.slots
    }

    pub fn layout(&self) -> Layout {
        self.0.layout
    }

    /// `None` where the index is beyond the last slot.
    pub fn slot(&self, index: SlotIndex) -> Option<SlotRef> {
        let slot = self.0.mapping.slot(self.0.layout.slot(index.0)?)?;
        Some(SlotRef { slot, _region: self.0.clone() })
    }

    /// Counters of one worker; 63 is the housekeeping thread's.
    pub fn worker_counters(&self, worker: usize) -> Option<CounterBlock> {
        Some(CounterBlock { region: self.0.clone(), first: self.0.layout.worker_block(worker)?.start })
    }

    /// Counters of one port, by its place in the configuration.
    pub fn port_counters(&self, port: usize) -> Option<CounterBlock> {
        Some(CounterBlock { region: self.0.clone(), first: self.0.layout.port_block(port)?.start })
    }

    /// Control only: takes a free slot, the one longest free first. `None` where all are taken.
    pub fn claim_slot(&self) -> Option<SlotIndex> {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = free.get_or_insert_with(|| {
            let is_free = |&i: &u32| self.slot(SlotIndex(i)).is_some_and(|slot| slot.state() == SlotState::Free);
            (0..self.slots()).filter(is_free).collect()
        });
        while let Some(index) = free.pop_front() {
            // The list is a hint; the state in the slot decides.
            if self.slot(SlotIndex(index))?.claim() {
                return Some(SlotIndex(index));
            }
        }
        None
    }

    /// Control only: gives a slot back, once the data plane has acknowledged the SA's removal (or never knew it).
    /// `false` where the slot is free already or does not exist.
    pub fn free_slot(&self, index: SlotIndex) -> bool {
        let Some(slot) = self.slot(index) else { return false };
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.state() == SlotState::Free {
            return false;
        }
        slot.clear();
        if let Some(list) = free.as_mut() {
            list.push_back(index.0);
        }
        true
    }

    /// An inbound SPI whose low bits are the slot's index; the rest is `random`. Never one of the reserved 0..=255.
    pub fn spi_for_slot(&self, slot: SlotIndex, random: u32) -> Spi {
        let mask = self.slots() - 1;
        let value = random & !mask | slot.0 & mask;
        // MAX_SLOTS leaves the top bit outside the mask, so the slot stays readable.
        Spi::new(value).or_else(|_| Spi::new(value | 1 << 31)).unwrap_or_else(|_| unreachable!("bit 31 is set"))
    }

    /// The slot that an SPI of [`spi_for_slot`](Self::spi_for_slot) names. Always a valid index; whether the SA in it
    /// has this SPI is another question.
    pub fn slot_for_spi(&self, spi: Spi) -> SlotIndex {
        SlotIndex(spi.get() & (self.slots() - 1))
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    pub(crate) fn inode(&self) -> u64 {
        self.0.inode
    }

    pub(crate) fn local_role(&self, role: Role) -> &AtomicBool {
        &self.0.local_roles[role as usize]
    }

    pub(crate) fn generation(&self, role: Role) -> &AtomicU64 {
        &self.words()[header::GENERATIONS[role as usize]]
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        self.0.mapping.words()
    }
}

/// A slot, with the region kept alive.
pub struct SlotRef {
    slot: NonNull<SaSlot>,
    _region: Arc<Inner>,
}

// SAFETY: a `SaSlot` is nothing but atomics, and the `Arc` keeps its memory mapped.
unsafe impl Send for SlotRef {}
// SAFETY: as above.
unsafe impl Sync for SlotRef {}

impl Clone for SlotRef {
    fn clone(&self) -> Self {
        Self { slot: self.slot, _region: self._region.clone() }
    }
}

impl Deref for SlotRef {
    type Target = SaSlot;

    fn deref(&self) -> &SaSlot {
        // SAFETY: `Mapping::slot` gave the pointer: aligned, inside the mapping, which `_region` keeps alive; every bit
        // pattern is a valid `SaSlot`, and nobody makes a plain or exclusive reference to it.
        unsafe { self.slot.as_ref() }
    }
}

/// 256 counters, with the region kept alive.
#[derive(Clone)]
pub struct CounterBlock {
    region: Arc<Inner>,
    first: usize,
}

impl Deref for CounterBlock {
    type Target = [AtomicU64; BLOCK_COUNTERS];

    fn deref(&self) -> &Self::Target {
        self.region.mapping.words()[self.first..]
            .first_chunk()
            .unwrap_or_else(|| unreachable!("the layout's blocks lie inside the mapping"))
    }
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: Errno) -> LinkError {
    LinkError::Io { action, path: path.to_owned(), source: source.into() }
}

fn open_existing(path: &Path) -> Result<OwnedFd, Errno> {
    // NONBLOCK: opening a FIFO someone put there must not hang; it changes nothing for a regular file.
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty())
}

/// Makes the file without a name, fills it, then names it: `EXIST` where another process was faster.
fn create(path: &Path, layout: Layout) -> Result<(), (&'static str, Errno)> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = rustix::fs::open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode)
        .map_err(|e| ("create", e))?;
    rustix::fs::fchmod(&fd, mode).map_err(|e| ("set the mode of", e))?;
    // All pages now: a full tmpfs is an error here, not a SIGBUS in the middle of a burst.
    rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, layout.total_bytes() as u64)
        .map_err(|e| ("find memory for", e))?;
    let identity = layout.identity().map(u64::to_ne_bytes);
    let bytes = identity.as_flattened();
    match rustix::io::pwrite(&fd, bytes, 0) {
        Ok(written) if written == bytes.len() => {}
        Ok(_) => return Err(("write", Errno::NOSPC)),
        Err(e) => return Err(("write", e)),
    }
    let nameless = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW).map_err(|e| ("name", e))
}

/// The file's inode, where all is as it should be.
fn check_file(path: &Path, layout: Layout, fd: &OwnedFd) -> Result<u64, LinkError> {
    let path_buf = || path.to_owned();
    let stat = rustix::fs::fstat(fd).map_err(|e| io_error("examine", path, e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(LinkError::NotAFile { path: path_buf() });
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(LinkError::OpenToOthers { path: path_buf(), mode: stat.st_mode & 0o7777 });
    }
    let user = rustix::process::geteuid();
    if !user.is_root() && stat.st_uid != user.as_raw() {
        return Err(LinkError::ForeignOwner { path: path_buf(), expected: user.as_raw(), found: stat.st_uid });
    }
    let mut bytes = [0; header::IDENTITY_WORDS * WORD];
    let read = rustix::io::pread(fd, &mut bytes, 0).map_err(|e| io_error("read", path, e))?;
    let (words, _) = bytes.as_chunks::<WORD>();
    let found = |word: usize| words.get(word).map_or(0, |w| u64::from_ne_bytes(*w));
    let expected = layout.identity();
    let differs = |word: usize| found(word) != expected[word];
    if read >= WORD && differs(header::MAGIC) {
        let (expected, found) = (expected[header::MAGIC], found(header::MAGIC));
        return Err(LinkError::NotALink { path: path_buf(), expected, found });
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if read < bytes.len() {
        return Err(LinkError::Size { path: path_buf(), expected: expected[header::TOTAL_BYTES], found: size });
    }
    if differs(header::VERSION) {
        let (expected, found) = (expected[header::VERSION], found(header::VERSION));
        return Err(LinkError::Version { path: path_buf(), expected, found });
    }
    let fields = [("sa_slots", header::SLOTS), ("ring_bytes", header::RING_BYTES), ("total size", header::TOTAL_BYTES)];
    for (field, word) in fields {
        if differs(word) {
            let (expected, found) = (expected[word], found(word));
            return Err(LinkError::Mismatch { path: path_buf(), field, expected, found });
        }
    }
    // Touching a page beyond the end of the file is SIGBUS.
    if size != expected[header::TOTAL_BYTES] {
        return Err(LinkError::Size { path: path_buf(), expected: expected[header::TOTAL_BYTES], found: size });
    }
    Ok(stat.st_ino)
}

impl Region {
    /// Bumps the role's generation and returns the new one.
    pub(crate) fn next_generation(&self, role: Role) -> u64 {
        self.generation(role).fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }
}
