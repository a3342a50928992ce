//! End-to-end tests in network namespaces, against real peers.
//!
//! A [`Scenario`] is two gateways and two hosts in a lab of its own. Each gateway is a [`Gateway`]: Culvert, or strongSwan
//! (charon with its user-space ESP). The tests need root and the packages of `make deps`; without them they say so and
//! pass, except where the variable CI is `true`: there they fail.
#![forbid(unsafe_code)]

mod culvert;
mod gateway;
mod prerequisites;
mod scenario;
mod stream;
mod strongswan;
mod traffic;

pub use crate::culvert::CulvertPeer;
pub use gateway::{ChildView, Gateway};
pub use prerequisites::{Turn, begin, programs};
pub use scenario::{Kind, Scenario, Setup, scenario};
pub use stream::{Received, Stream};
pub use strongswan::{StrongSwan, swanctl_conf};
pub use traffic::{ping, wait_for_ping};

pub use culvert_lab::{Family, LabError, Nat, Plans, Start};
