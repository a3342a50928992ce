//! Safe DPDK: [`Eal`], [`Device`] and [`Port`], [`RxQueue`] and [`TxQueue`], [`Pool`], [`Mbuf`], [`Burst`].
//!
//! What keeps it sound:
//! * An [`Eal`] is the proof that DPDK runs; every other value is made from one, and DPDK is never taken down before the
//!   process ends. So a pool lives for ever, and an [`Mbuf`] may be a bare pointer.
//! * A queue belongs to one thread at a time: it is moved out of its port once, at the start, and used by `&mut`.
//! * A port stops when its handle *and* all of its queues are gone, so no thread can poll a stopped port.
//! * An [`Mbuf`] is one buffer in one piece, owned by one holder. Packets that came in as chains are copied into one
//!   buffer, of a pool for large packets if need be, or dropped and counted where they do not fit.
//!
//! A queue may change threads, and a burst takes packets:
//! ```
//! fn sent<T: Send>() {}
//! fn uses(queue: dpdk::RxQueue, burst: &mut dpdk::Burst, packet: dpdk::Mbuf) -> dpdk::RxQueue {
//!     sent::<dpdk::RxQueue>();
//!     assert_eq!(packet.data().len(), 0);
//!     burst.push(packet);
//!     queue
//! }
//! ```
//! A queue cannot be copied, and so never be in two threads' hands:
//! ```compile_fail,E0599
//! fn twice(queue: dpdk::RxQueue) -> (dpdk::RxQueue, dpdk::RxQueue) {
//!     (queue.clone(), queue)
//! }
//! ```
//! A buffer that was sent away is gone:
//! ```compile_fail,E0382
//! fn late(mut burst: dpdk::Burst, packet: dpdk::Mbuf) -> usize {
//!     burst.push(packet);
//!     packet.data().len()
//! }
//! ```
//! Two threads cannot poll one queue through a shared reference:
//! ```compile_fail,E0277
//! fn shared<T: Sync>() {}
//! shared::<dpdk::RxQueue>();
//! ```
#![cfg(feature = "dpdk")]

mod eal;
mod errno;
mod mbuf;
mod pool;
mod port;
mod queue;

pub use eal::{Eal, EalConfig, EalError, Memory, RegisteredThread, rdtsc, version};
pub use errno::Errno;
pub use mbuf::{BURST, Burst, HEADROOM, Mbuf};
pub use pool::{LARGEST_DATA, Pool, PoolConfig, PoolError};
pub use port::{Device, DeviceInfo, Link, Port, PortConfig, PortError, Started, Stats};
pub use queue::{RxQueue, TxQueue};
