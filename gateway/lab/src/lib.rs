//! Network namespaces, veth pairs and bounded child processes for the demo and the end-to-end tests.
//!
//! A [`Lab`] owns every namespace it made and everything that runs inside; dropping it, also in a panic, leaves nothing.
//! Where its process was killed outright, the kernel ends the children and the next lab sweeps up the namespaces.
//! Needs root, `ip`, `setpriv` and `ethtool`; makes no change outside its own namespaces and `/run/culvert-lab`.
#![forbid(unsafe_code)]

mod capture;
mod census;
mod command;
mod culvert;
mod error;
mod lab;
mod namespace;
mod plan;
mod plans;
mod process;
mod sweep;
mod topology;
mod wait;

pub use capture::{Capture, FrameKind, Verdict, examine};
pub use census::Census;
pub use command::{missing_tools, run};
pub use culvert::Culvert;
pub use error::LabError;
pub use lab::Lab;
pub use namespace::Namespace;
pub use plan::{Child, Connection, Driver, GatewayPlan, ManualSa, PortPlan, Route, Secret, Start};
pub use plans::{Family, Plans};
pub use process::{Process, is_alive};
pub use topology::{Nat, Side, TwoGateways};
pub use wait::{Deadline, wait_for};
