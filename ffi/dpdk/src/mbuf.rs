//! A packet buffer, and a burst of them.

use core::fmt;
use core::ptr::NonNull;
use core::slice;

use arrayvec::ArrayVec;
use dpdk_sys::rte_mbuf;

use crate::pool::Pool;

/// The most packets that go through a queue in one call.
pub const BURST: usize = 32;

/// Packets on their way. Dropping it frees what is left.
pub type Burst = ArrayVec<Mbuf, BURST>;

/// Octets of room in front of the data of a fresh buffer.
pub const HEADROOM: u16 = dpdk_sys::CULVERT_HEADROOM as u16;

/// One packet in one piece. Freed when dropped.
///
/// Same layout as `rte_mbuf *`, so that a burst is what `rte_eth_rx_burst` fills.
#[repr(transparent)]
pub struct Mbuf {
    raw: NonNull<rte_mbuf>,
}

// SAFETY: one holder (reference count 1), and freeing is allowed in any thread.
unsafe impl Send for Mbuf {}
// SAFETY: through `&Mbuf` the buffer is only read.
unsafe impl Sync for Mbuf {}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: owned, and not used after this.
        unsafe { dpdk_sys::rte_pktmbuf_free(self.raw.as_ptr()) }
    }
}

impl Mbuf {
    /// # Safety
    /// `raw` is a live buffer whose only reference the caller gives up. It has one segment, or the caller makes it so
    /// before anybody else sees it.
    pub(crate) unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Self {
        Self { raw }
    }

    /// A pointer to one of the buffer's fields. The offsets are the C compiler's (`wrapper.h`).
    fn field<T>(&self, offset: dpdk_sys::culvert_mbuf_offset) -> *mut T {
        // SAFETY: the offset lies inside the structure.
        unsafe { self.raw.as_ptr().cast::<u8>().add(offset as usize).cast() }
    }

    fn get_u16(&self, offset: dpdk_sys::culvert_mbuf_offset) -> u16 {
        // SAFETY: only called with the offsets of 16-bit fields; the buffer is live and not written meanwhile.
        unsafe { self.field::<u16>(offset).read() }
    }

    fn data_off(&self) -> u16 {
        self.get_u16(dpdk_sys::CULVERT_MBUF_DATA_OFF)
    }

    fn data_len(&self) -> u16 {
        self.get_u16(dpdk_sys::CULVERT_MBUF_DATA_LEN)
    }

    fn set_data_off(&mut self, offset: u16) {
        // SAFETY: a 16-bit field of a live buffer that is borrowed exclusively.
        unsafe { self.field::<u16>(dpdk_sys::CULVERT_MBUF_DATA_OFF).write(offset) }
    }

    fn set_len(&mut self, len: u16) {
        // SAFETY: a 16-bit field of a live buffer that is borrowed exclusively.
        unsafe { self.field::<u16>(dpdk_sys::CULVERT_MBUF_DATA_LEN).write(len) }
        // SAFETY: a 32-bit field of the same; equal to data_len where there is one segment.
        unsafe { self.field::<u32>(dpdk_sys::CULVERT_MBUF_PKT_LEN).write(u32::from(len)) }
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: a pointer field of a live buffer.
        let buffer = unsafe { self.field::<*mut u8>(dpdk_sys::CULVERT_MBUF_BUF_ADDR).read() };
        // SAFETY: data_off is at most buf_len in every state that DPDK and this type produce.
        unsafe { buffer.add(usize::from(self.data_off())) }
    }

    /// Octets free in front of the data.
    pub fn headroom(&self) -> usize {
        usize::from(self.data_off())
    }

    /// Octets free behind the data.
    pub fn tailroom(&self) -> usize {
        let used = self.headroom() + usize::from(self.data_len());
        usize::from(self.get_u16(dpdk_sys::CULVERT_MBUF_BUF_LEN)).saturating_sub(used)
    }

    pub fn data(&self) -> &[u8] {
        // SAFETY: data_off + data_len is within the buffer, whose memory was mapped zeroed, so it is initialised; borrowed
        // as long as self.
        unsafe { slice::from_raw_parts(self.start(), usize::from(self.data_len())) }
    }

    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`; and exclusive, for there is one holder, whom this borrows exclusively.
        unsafe { slice::from_raw_parts_mut(self.start(), usize::from(self.data_len())) }
    }

    /// Makes the packet longer at its front, and shows the new octets, which hold anything. `None` if there is no room.
    pub fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        let grow = u16::try_from(count).ok()?;
        let offset = self.data_off().checked_sub(grow)?;
        let len = self.data_len().checked_add(grow)?;
        self.set_data_off(offset);
        self.set_len(len);
        self.data_mut().get_mut(..count)
    }

    /// Makes the packet longer at its end, and shows the new octets, which hold anything. `None` if there is no room.
    pub fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        if count > self.tailroom() {
            return None;
        }
        let old = self.data_len();
        let len = old.checked_add(u16::try_from(count).ok()?)?;
        self.set_len(len);
        self.data_mut().get_mut(usize::from(old)..)
    }

    /// Takes octets off the front. `false`, and nothing done, if the packet is shorter.
    pub fn trim_front(&mut self, count: usize) -> bool {
        let Some((shrink, len)) = self.shorter(count) else {
            return false;
        };
        let Some(offset) = self.data_off().checked_add(shrink) else {
            return false;
        };
        self.set_data_off(offset);
        self.set_len(len);
        true
    }

    /// Takes octets off the end. `false`, and nothing done, if the packet is shorter.
    pub fn trim_back(&mut self, count: usize) -> bool {
        let Some((_, len)) = self.shorter(count) else {
            return false;
        };
        self.set_len(len);
        true
    }

    fn shorter(&self, count: usize) -> Option<(u16, u16)> {
        let shrink = u16::try_from(count).ok()?;
        Some((shrink, self.data_len().checked_sub(shrink)?))
    }

    /// What the card says of the IPv4 header's checksum; `None` if it did not look.
    pub fn rx_ipv4_checksum(&self) -> Option<bool> {
        // SAFETY: a 64-bit field of a live buffer.
        let flags = unsafe { self.field::<u64>(dpdk_sys::CULVERT_MBUF_OL_FLAGS).read() };
        match flags & dpdk_sys::CULVERT_RX_IP_CKSUM_MASK {
            dpdk_sys::CULVERT_RX_IP_CKSUM_GOOD => Some(true),
            dpdk_sys::CULVERT_RX_IP_CKSUM_BAD => Some(false),
            _ => None,
        }
    }

    /// Octets of the buffer: room in front, data and room behind.
    pub fn room(&self) -> usize {
        usize::from(self.get_u16(dpdk_sys::CULVERT_MBUF_BUF_LEN))
    }

    /// Leaves less room in front of an empty buffer, where `len` octets would not fit behind the usual. `false` if they do not
    /// fit at all.
    pub(crate) fn make_room(&mut self, len: usize) -> bool {
        let Some(spare) = self.room().checked_sub(len) else {
            return false;
        };
        self.set_data_off(u16::try_from(spare).unwrap_or(u16::MAX).min(self.data_off()));
        true
    }

    /// The packet, and what the card is asked to do with it, in a buffer of another pool: in one piece, also where it is a
    /// chain. `None` if it does not fit, or if that pool is empty.
    pub fn copy_to(&self, pool: &Pool) -> Option<Self> {
        // SAFETY: a live buffer or chain, which is only read; the pool is never freed.
        let raw = unsafe { dpdk_sys::rte_pktmbuf_copy(self.raw.as_ptr(), pool.as_ptr(), 0, u32::MAX) };
        // SAFETY: fresh buffers, nobody else's; a chain is freed before anybody sees it.
        let copy = NonNull::new(raw).map(|raw| unsafe { Self::from_raw(raw) });
        copy.filter(Self::is_single)
    }

    /// In one piece?
    pub(crate) fn is_single(&self) -> bool {
        self.get_u16(dpdk_sys::CULVERT_MBUF_NB_SEGS) == 1
    }

    /// Copies a chain into its first buffer. `false` if it does not fit.
    #[cold]
    pub(crate) fn linearize(&mut self) -> bool {
        // SAFETY: a live chain that is borrowed exclusively.
        unsafe { dpdk_sys::rte_pktmbuf_linearize(self.raw.as_ptr()) == 0 }
    }
}

impl fmt::Debug for Mbuf {
    /// No packet bytes: they may be anybody's secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mbuf({} octets)", self.data_len())
    }
}
