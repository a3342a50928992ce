//! A port's queues.

use core::cell::Cell;
use core::marker::PhantomData;
use std::sync::Arc;

use crate::mbuf::Burst;
use crate::pool::Pool;
use crate::port::Handle;

/// One receive queue. Moves between threads, but is never shared.
#[derive(Debug)]
pub struct RxQueue {
    port: Arc<Handle>,
    queue: u16,
    /// Where a chain goes that does not fit its first buffer.
    large: Option<Pool>,
    unjoinable: u64,
    _not_sync: PhantomData<Cell<()>>,
}

/// One transmit queue. Moves between threads, but is never shared.
#[derive(Debug)]
pub struct TxQueue {
    port: Arc<Handle>,
    queue: u16,
    _not_sync: PhantomData<Cell<()>>,
}

impl RxQueue {
    /// The port has started, and this is the only value for this queue.
    pub(crate) fn new(port: Arc<Handle>, queue: u16, large: Option<Pool>) -> Self {
        Self { port, queue, large, unjoinable: 0, _not_sync: PhantomData }
    }

    /// Fills the burst's free places with what came in; says how many. Never waits.
    pub fn rx_burst(&mut self, burst: &mut Burst) -> usize {
        let (start, free) = (burst.len(), burst.remaining_capacity());
        // SAFETY: `start` is within the capacity.
        let places = unsafe { burst.as_mut_ptr().add(start) };
        // SAFETY: the port has started and runs while this queue holds it; nobody else polls the queue; there are `free`
        // places of the layout of `rte_mbuf *`.
        let count = unsafe {
            dpdk_sys::rte_eth_rx_burst(
                self.port.id(),
                self.queue,
                places.cast(),
                free.min(usize::from(u16::MAX)) as u16,
            )
        };
        // SAFETY: that many places were filled with buffers that are ours now.
        unsafe { burst.set_len(start + usize::from(count).min(free)) };
        if burst.iter().skip(start).any(|packet| !packet.is_single()) {
            self.join(burst);
        }
        burst.len() - start
    }

    /// Frames that came as chains and did not fit one buffer, or found no large one free; they were dropped.
    pub fn unjoinable(&self) -> u64 {
        self.unjoinable
    }

    #[cold]
    fn join(&mut self, burst: &mut Burst) {
        let before = burst.len();
        let large = self.large.as_ref();
        burst.retain(|packet| {
            if packet.is_single() || packet.linearize() {
                return true;
            }
            let copy = large.and_then(|pool| packet.copy_to(pool));
            copy.map(|copy| *packet = copy).is_some()
        });
        self.unjoinable += (before - burst.len()) as u64;
    }
}

impl TxQueue {
    /// The port has started, and this is the only value for this queue.
    pub(crate) fn new(port: Arc<Handle>, queue: u16) -> Self {
        Self { port, queue, _not_sync: PhantomData }
    }

    /// Sends from the front of the burst; says how many. What the card had no room for stays in the burst.
    pub fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        let len = burst.len();
        // SAFETY: the port has started and runs while this queue holds it; nobody else uses the queue; the burst holds
        // `len` (at most 32) buffers in the layout of `rte_mbuf *`.
        let sent =
            unsafe { dpdk_sys::rte_eth_tx_burst(self.port.id(), self.queue, burst.as_mut_ptr().cast(), len as u16) };
        let sent = usize::from(sent).min(len);
        let (first, rest) = (burst.as_mut_ptr(), len - sent);
        // SAFETY: the first `sent` are the driver's now; before anything can drop them again, the burst forgets all.
        unsafe { burst.set_len(0) };
        // SAFETY: `sent` is within the burst.
        let unsent = unsafe { first.add(sent) };
        // SAFETY: both ranges lie within the burst; they may overlap, which `copy` allows.
        unsafe { unsent.copy_to(first, rest) };
        // SAFETY: the first `rest` places hold the buffers that were not sent, each once.
        unsafe { burst.set_len(rest) };
        sent
    }
}
