//! Safe intel-ipsec-mb: what ESP and AH need of it, in place. AES-GCM and GMAC packet by packet, which is their fastest
//! way; everything else as [`Task`]s, many packets side by side.
//!
//! A [`Manager`] belongs to one thread; keys are shared by all.
//!
//! ```
//! fn sent<T: Send>() {}
//! fn shared<T: Sync>() {}
//! sent::<ipsec_mb::Manager>();
//! shared::<ipsec_mb::KeySchedule>();
//! shared::<ipsec_mb::AesKey>();
//! shared::<ipsec_mb::MacKey>();
//! shared::<ipsec_mb::ChaChaKey>();
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

mod expand;
mod key;
mod manager;
mod secret;
mod task;

pub use key::{AesKey, ChaChaKey, KeyError, KeyLength, KeySchedule, MacAlgorithm, MacKey};
pub use manager::{Job, Manager, ManagerError, version};
pub use task::{Aead, Cipher, MAX_AAD, MAX_TAG, Task};
