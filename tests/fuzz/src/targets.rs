//! The targets, by what they read.

pub mod config;
pub mod ike;
pub mod record;
pub mod ring;
pub mod wire;
