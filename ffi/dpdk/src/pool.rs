//! Pools of packet buffers.

use core::ptr::NonNull;
use std::ffi::CString;

use crate::eal::{Eal, control};
use crate::errno::Errno;
use crate::mbuf::{HEADROOM, Mbuf};

/// The most octets that a buffer can have behind its usual room in front: its length is a 16-bit number.
pub const LARGEST_DATA: u16 = u16::MAX - HEADROOM;

/// What a pool is made of.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    pub name: String,
    /// How many buffers; 2^n - 1 wastes the least.
    pub buffers: u32,
    /// Octets a packet may have, without the room in front of it; at most [`LARGEST_DATA`].
    pub data_len: u16,
    /// Buffers that each registered thread keeps for itself; at most 512.
    pub cache: u32,
    /// The memory's NUMA node; `None` is any.
    pub socket: Option<u32>,
}

/// Why there is no such pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("pool \"{name}\" of {buffers} packet buffers could not be made: {reason}")]
    Create { name: String, buffers: u32, reason: Errno },
}

/// A pool of packet buffers. It lives as long as the process, so copies are free and buffers need not hold it.
#[derive(Clone, Debug)]
pub struct Pool {
    raw: NonNull<dpdk_sys::rte_mempool>,
    data_len: u16,
}

// SAFETY: rte_mempool is made for many threads: caches are per thread, what lies under them is a lock-free ring.
unsafe impl Send for Pool {}
// SAFETY: see Send.
unsafe impl Sync for Pool {}

impl Pool {
    /// Takes the memory at once.
    pub fn create(_eal: &Eal, config: &PoolConfig) -> Result<Self, PoolError> {
        let failed = |reason| PoolError::Create { name: config.name.clone(), buffers: config.buffers, reason };
        let name = CString::new(config.name.as_str()).map_err(|_| failed(Errno::INVAL))?;
        let room = config.data_len.checked_add(HEADROOM).ok_or_else(|| failed(Errno::INVAL))?;
        let socket = config.socket.and_then(|socket| i32::try_from(socket).ok()).unwrap_or(-1);
        let _control = control();
        // SAFETY: DPDK has started; the name is copied.
        let raw =
            unsafe { dpdk_sys::rte_pktmbuf_pool_create(name.as_ptr(), config.buffers, config.cache, 0, room, socket) };
        let raw = NonNull::new(raw).ok_or_else(|| failed(Errno::last()))?;
        Ok(Self { raw, data_len: config.data_len })
    }

    /// An empty buffer with the whole of its room in front and behind; `None` when the pool is empty.
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is never freed.
        let raw = unsafe { dpdk_sys::rte_pktmbuf_alloc(self.raw.as_ptr()) };
        // SAFETY: a fresh buffer is in one piece and nobody else's.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    /// The same for a packet of `len` octets: with less room in front where that is needed. `None` also when they do not fit.
    pub fn alloc_for(&self, len: usize) -> Option<Mbuf> {
        self.alloc().and_then(|mut packet| packet.make_room(len).then_some(packet))
    }

    /// Buffers that are in nobody's hands. Exact while all is quiet.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is never freed.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    /// Octets a packet may have.
    pub fn data_len(&self) -> u16 {
        self.data_len
    }

    pub(crate) fn as_ptr(&self) -> *mut dpdk_sys::rte_mempool {
        self.raw.as_ptr()
    }
}
