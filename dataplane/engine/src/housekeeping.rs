//! Everything that is not per packet.

use crate::aead::Aead;
use crate::buffer::Buffer;
use crate::io::{Io, Punt, Tick};
use crate::shared::Shared;
use core::marker::PhantomData;
use std::sync::Arc;

/// Applies commands, answers ARP, neighbour discovery and ICMP, watches ages. One thread's; it has an [`Io`] of its own.
///
/// Coming next, once the link's records are there: `apply(now, Command)`, `inject(now, Datagram, io)`,
/// `poll_event() -> Option<Event>`, `poll_datagram() -> Option<Datagram>`. Poll both after every call.
pub struct Housekeeping<A: Aead, B> {
    shared: Arc<Shared<A>>,
    aead: A,
    buffers: PhantomData<B>,
}

impl<A: Aead, B: Buffer> Housekeeping<A, B> {
    pub fn new(shared: Arc<Shared<A>>, aead: A) -> Self {
        Self { shared, aead, buffers: PhantomData }
    }

    /// Takes what a worker left.
    pub fn handle_punt(&mut self, now: Tick, punt: Punt<B>, io: &mut impl Io<B>) {
        let _ = (now, punt, io);
    }

    /// Call every 10 to 100 ms: ages, keepalives, retries, reclaiming of retired tables.
    pub fn tick(&mut self, now: Tick, io: &mut impl Io<B>) {
        let _ = (&self.shared, &self.aead, now, io);
    }
}
