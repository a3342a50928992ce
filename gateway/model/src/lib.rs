//! The words both planes share. No I/O, no clock, no `unsafe`.
//!
//! Everything here is plain data with its invariants in the constructor: a [`Spi`] is never a reserved one, an
//! [`AddrRange`] never mixes families, a [`SecretKey`] never prints itself.
#![forbid(unsafe_code)]

mod identity;
mod policy;
mod proposal;
mod sa;
mod secret;
mod selector;
mod spi;
mod transform;

pub use identity::{Identity, IdentityError};
pub use policy::{Action, ChildId, Policy, PolicyDirection, PolicyId};
pub use proposal::{EspProposal, IkeProposal, ProposalError};
pub use sa::{Direction, Encapsulation, Lifetime, SaSpec, SlotIndex, Suite, Tunnel};
pub use secret::SecretKey;
pub use selector::{AddrRange, Flow, PortRange, SelectorError, TrafficSelector};
pub use spi::{ReservedSpi, Spi};
pub use transform::{Encryption, EsnMode, Integrity, KeGroup, Prf};
