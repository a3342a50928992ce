//! One file per header: checked views and emitters.
//!
//! Parsing takes a slice and returns the header and what follows it; lengths a header states are checked against the
//! bytes that are there, so a payload never reaches past its packet. Nothing here allocates or reads a clock. Each
//! header has an `Error` with one variant per cause. Fixed headers are written by `to_bytes`, which cannot fail;
//! messages of variable length by `emit`, which answers [`NoRoom`].
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod ah;
pub mod arp;
pub mod checksum;
mod cursor;
pub mod esp;
pub mod ethernet;
pub mod flow;
pub mod icmpv4;
pub mod icmpv6;
pub mod ike;
pub mod ipv4;
pub mod ipv6;
pub mod nat_traversal;
pub mod ndp;
pub mod protocol;
pub mod quote;
pub mod tcp;
pub mod testing;
pub mod udp;
pub mod vlan;

pub use cursor::{NoRoom, Reader, Truncated, Writer};
pub use ethernet::{EtherType, Mac};
pub use flow::{Flow, Fragmentation};
