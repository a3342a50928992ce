//! DPDK's buffer as the engine sees it.

use culvert_engine::Buffer;
use dpdk::Mbuf;
use std::sync::OnceLock;

/// A packet in a DPDK buffer.
#[derive(Debug)]
pub struct Packet(pub Mbuf);

/// Do all ports fill in IPv4 header checksums? A packet does not know by which one it will leave.
static CHECKSUM_OFFLOAD: OnceLock<bool> = OnceLock::new();

pub fn set_checksum_offload(every_port_has_it: bool) {
    _ = CHECKSUM_OFFLOAD.set(every_port_has_it);
}

impl Buffer for Packet {
    fn data(&self) -> &[u8] {
        self.0.data()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.0.data_mut()
    }

    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        self.0.prepend(count)
    }

    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        self.0.append(count)
    }

    fn trim_front(&mut self, count: usize) -> bool {
        self.0.trim_front(count)
    }

    fn trim_back(&mut self, count: usize) -> bool {
        self.0.trim_back(count)
    }

    fn rx_checksum_ok(&self) -> Option<bool> {
        self.0.rx_ipv4_checksum()
    }

    fn request_ipv4_checksum(&mut self, l2_len: u16, l3_len: u16) -> bool {
        if CHECKSUM_OFFLOAD.get() != Some(&true) {
            return false;
        }
        self.0.request_ipv4_checksum(l2_len, l3_len);
        true
    }
}
