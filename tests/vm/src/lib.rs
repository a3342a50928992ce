//! Interoperability with a Linux kernel's IPsec, in an emulated machine.
//!
//! One [`Guest`] boots for all rows of the table; for each row a Culvert starts with the row's configuration, the guest's
//! kernel gets the other half, and hosts behind both talk. Afterwards both ends and the router between them must have counted
//! the same packets.
#![forbid(unsafe_code)]

mod audit;
mod guest;
mod manual;
mod network;
mod row;
mod suite;
mod traffic;
mod trial;

pub use guest::Guest;
pub use network::Network;
pub use row::{Row, rows};
pub use trial::Trials;
