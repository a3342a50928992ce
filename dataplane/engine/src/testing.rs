//! A buffer without DPDK: for tests, simulations and benchmarks.

use crate::buffer::Buffer;

/// A packet in a fixed allocation with headroom and tailroom, as an mbuf has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VecBuffer {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl VecBuffer {
    /// DPDK's default headroom.
    pub const HEADROOM: usize = 128;
    /// DPDK's default data room.
    pub const ROOM: usize = 2048;

    pub fn new(data: &[u8]) -> Self {
        Self::with_room(data, Self::HEADROOM, Self::ROOM.saturating_sub(data.len()))
    }

    pub fn with_room(data: &[u8], headroom: usize, tailroom: usize) -> Self {
        let mut memory = vec![0; headroom];
        memory.extend_from_slice(data);
        let end = memory.len();
        memory.resize(end + tailroom, 0);
        Self { memory: memory.into_boxed_slice(), start: headroom, end }
    }
}

impl Buffer for VecBuffer {
    fn data(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.end).unwrap_or_default()
    }

    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(count)?;
        self.data_mut().get_mut(..count)
    }

    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let old = self.end - self.start;
        self.end = self.end.checked_add(count).filter(|end| *end <= self.memory.len())?;
        self.data_mut().get_mut(old..)
    }

    fn trim_front(&mut self, count: usize) -> bool {
        let fits = count <= self.end - self.start;
        self.start += if fits { count } else { 0 };
        fits
    }

    fn trim_back(&mut self, count: usize) -> bool {
        let fits = count <= self.end - self.start;
        self.end -= if fits { count } else { 0 };
        fits
    }
}
