//! Interoperability with a Linux kernel's IPsec, in an emulated machine.
//!
//! One [`Guest`] boots for all rows of the table; for each row a Culvert starts with the row's configuration, the guest's
//! kernel gets the other half, and hosts behind both talk. Afterwards both ends and the router between them must have counted
//! the same packets.
#![forbid(unsafe_code)]

mod audit;
mod case;
mod daemon;
mod guest;
mod ike;
mod layer;
mod manual;
mod network;
mod row;
mod stage;
mod suite;
mod tagged;
mod talk;
mod traffic;
mod trial;

pub use case::{Case, cases};
pub use guest::Guest;
pub use network::Network;
pub use trial::Trials;
