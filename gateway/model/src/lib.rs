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
mod suite;
mod transform;

pub use identity::{Identity, IdentityError};
pub use policy::{Action, ChildId, Pfp, Policy, PolicyDirection, PolicyId};
pub use proposal::{EspProposal, IkeProposal, ProposalError};
pub use sa::{
    DfHandling, Direction, DscpHandling, DscpMap, Encapsulation, FragmentWhen, Handling, InterfaceId, Lifetime,
    MssClamp, SaMode, SaSpec, SlotIndex, Tfc, Tunnel,
};
pub use secret::SecretKey;
pub use selector::{AddrRange, Flow, PortRange, SelectorError, TrafficSelector};
pub use spi::{ReservedSpi, Spi};
pub use suite::{IpsecProtocol, Suite, SuiteError, SuiteKey};
pub use transform::{CipherMode, Encryption, EsnMode, Integrity, KeGroup, Prf};
