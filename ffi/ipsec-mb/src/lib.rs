//! Safe intel-ipsec-mb: AES-GCM with a 12-octet nonce and a 16-octet tag, over bursts of packets, in place.
//!
//! A [`Manager`] belongs to one thread; [`KeySchedule`]s are shared by all.
//!
//! ```
//! fn sent<T: Send>() {}
//! fn shared<T: Sync>() {}
//! sent::<ipsec_mb::Manager>();
//! shared::<ipsec_mb::KeySchedule>();
//! ```
//! Two threads cannot use one manager:
//! ```compile_fail,E0277
//! fn shared<T: Sync>() {}
//! shared::<ipsec_mb::Manager>();
//! ```
//! A key cannot be printed:
//! ```compile_fail,E0277
//! fn print(key: &ipsec_mb::KeySchedule) -> String {
//!     format!("{key:?}")
//! }
//! ```
//! nor copied to where it would not be wiped:
//! ```compile_fail,E0599
//! fn copy(key: &ipsec_mb::KeySchedule) -> ipsec_mb::KeySchedule {
//!     ipsec_mb::KeySchedule::clone(key)
//! }
//! ```
#![cfg(feature = "ipsec-mb")]

mod key;
mod manager;

pub use key::{KeyLength, KeySchedule};
pub use manager::{Job, Manager, ManagerError, version};
