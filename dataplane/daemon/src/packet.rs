//! DPDK's buffer as the engine sees it.

use culvert_engine::Buffer;
use dpdk::Mbuf;

/// A packet in a DPDK buffer.
#[derive(Debug)]
pub struct Packet(pub Mbuf);

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
}
