//! The engine as a whole, over memory.

mod answers;
mod audit;
mod bad_input;
mod bridge;
mod churn;
mod commands;
mod cores;
mod cpu;
mod flood;
mod fragments;
mod host_stack;
mod large;
mod lifetimes;
mod oracle;
mod path_mtu;
mod policies;
mod populate;
pub(crate) mod rig;
mod route_based;
mod threads;
mod transit_errors;
mod tunnel;
mod vlan;
