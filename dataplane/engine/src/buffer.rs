//! One packet in memory the engine does not own the layout of: a DPDK mbuf, or a `Vec` in tests.

/// A contiguous packet with room before and behind it. Dropping it frees it.
///
/// The engine needs at least 64 octets of headroom beyond the received frame (outer IPv6, UDP, ESP header and IV) and
/// 21 behind it (padding, trailer and ICV); where they are missing the packet is dropped and counted.
pub trait Buffer: Sized + Send {
    fn data(&self) -> &[u8];
    fn data_mut(&mut self) -> &mut [u8];
    /// Grows at the front; the new octets, whose content is unspecified. `None`, and no change, without room.
    fn prepend(&mut self, count: usize) -> Option<&mut [u8]>;
    /// Grows at the end; the new octets, whose content is unspecified. `None`, and no change, without room.
    fn append(&mut self, count: usize) -> Option<&mut [u8]>;
    /// Cuts at the front; `false`, and no change, where the packet is shorter.
    fn trim_front(&mut self, count: usize) -> bool;
    /// Cuts at the end; `false`, and no change, where the packet is shorter.
    fn trim_back(&mut self, count: usize) -> bool;
    /// What the card found about the IPv4 header checksum of the received frame; `None` where it did not look.
    fn rx_checksum_ok(&self) -> Option<bool> {
        None
    }
}
