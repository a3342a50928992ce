//! The packet path of one thread.

use crate::aead::Aead;
use crate::buffer::Buffer;
use crate::io::{BURST, Io, PortId, Tick};
use crate::shared::Shared;
use arrayvec::ArrayVec;
use std::sync::Arc;

/// One thread's packet path. `index` is the thread's counter block in the link.
pub struct Worker<A: Aead> {
    shared: Arc<Shared<A>>,
    index: usize,
    aead: A,
}

impl<A: Aead> Worker<A> {
    pub fn new(shared: Arc<Shared<A>>, index: usize, aead: A) -> Self {
        Self { shared, index, aead }
    }

    /// Takes every packet out of `burst`, all received on `port`; each goes out, to housekeeping, or is dropped and
    /// counted.
    pub fn run_burst<B: Buffer>(
        &mut self,
        now: Tick,
        port: PortId,
        burst: &mut ArrayVec<B, BURST>,
        io: &mut impl Io<B>,
    ) {
        let _ = (&self.shared, self.index, &self.aead, now, port, io);
        burst.clear();
    }
}
