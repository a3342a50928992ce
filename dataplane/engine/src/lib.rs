//! The packet path: SPD, SAD, ESP, FIB, neighbours. No DPDK, no clock, no `unsafe`.
//!
//! The caller brings four things: packet buffers ([`Buffer`]), a cipher ([`Aead`]), ports and queues ([`Io`]) and the
//! time ([`Tick`]). [`Worker::run_burst`] is the whole fast path; [`Housekeeping`] does everything that is not per packet.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod aead;
mod ageing;
mod answers;
mod buffer;
mod classify;
mod counters;
mod ecn;
mod esn;
mod fib;
mod flow_cache;
mod forward;
pub mod host;
mod housekeeping;
mod inbound;
mod io;
mod outbound;
mod own;
mod packet;
mod policies;
mod policy;
mod reason;
mod replay;
mod retire;
#[cfg(feature = "rustcrypto")]
mod rustcrypto;
mod sa;
mod sad;
mod shared;
mod spd;
pub mod testing;
#[cfg(all(test, feature = "rustcrypto"))]
mod tests;
mod topology;
mod worker;

pub use aead::{Aead, CryptoJob, KeyError};
pub use buffer::Buffer;
pub use counters::Counters;
pub use fib::{Fib, NextHop, SortedFib};
pub use housekeeping::Housekeeping;
pub use io::{BURST, Io, Origin, PortId, Punt, Tick};
#[cfg(feature = "rustcrypto")]
pub use rustcrypto::RustCrypto;
pub use shared::Shared;
pub use topology::{Interface, Neighbour, Route, TopologyError};
pub use worker::Worker;
