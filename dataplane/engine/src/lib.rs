//! The packet path: SPD, SAD, ESP, FIB, neighbours. No DPDK, no clock, no `unsafe`.
//!
//! The caller brings four things: packet buffers ([`Buffer`]), a cipher ([`Aead`]), ports and queues ([`Io`]) and the
//! time ([`Tick`]). [`Worker::run_burst`] is the whole fast path; [`Housekeeping`] does everything that is not per packet.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod aead;
mod buffer;
mod esn;
mod fib;
mod housekeeping;
mod io;
mod replay;
#[cfg(feature = "rustcrypto")]
mod rustcrypto;
mod shared;
mod spd;
pub mod testing;
mod topology;
mod worker;

pub use aead::{Aead, CryptoJob, KeyError};
pub use buffer::Buffer;
pub use fib::{Fib, NextHop, SortedFib};
pub use housekeeping::Housekeeping;
pub use io::{BURST, Io, Origin, PortId, Punt, Tick};
#[cfg(feature = "rustcrypto")]
pub use rustcrypto::RustCrypto;
pub use shared::Shared;
pub use topology::{Interface, Route};
pub use worker::Worker;
