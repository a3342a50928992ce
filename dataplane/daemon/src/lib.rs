//! The data plane as a library, for the program of this name and for what measures its parts.
//!
//! Threads: one worker per configured core (`worker.rs`), and the one that called [`start::run`], which keeps house once all
//! has started (`housekeeping.rs`). Between them stand two kinds of queue: punts up, frames to send down (`io.rs`).
#![forbid(unsafe_code)]
#![cfg(feature = "dpdk")]

pub mod clock;
pub mod error;
mod host;
mod housekeeping;
pub mod io;
mod memory;
pub mod packet;
mod ports;
mod precheck;
pub mod start;
pub mod worker;
