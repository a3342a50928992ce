//! IKEv2 (RFC 7296), sans-I/O: no socket, no clock, no randomness of its own.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod api;
mod channel;
mod child;
mod config;
mod cookie;
mod directory;
mod drive;
mod endpoint;
mod exchange;
mod hashing;
mod identity;
mod keys;
pub mod message;
mod narrow;
mod nat;
mod negotiate;
mod notify;
mod retransmit;
mod sa;
mod sad;
mod shared;

pub use api::{
    ChildStatus, ComputeJob, ComputeResult, ComputeToken, Datagram, DownReason, Event, FailureReason, IkeSaStatus,
    InstallFailed, Output, Report, SpiSource, Step,
};
pub use config::{Child, Config, Connection, DownAction, Retransmit, Secret, Settings, StartAction};
pub use endpoint::Endpoint;
