//! The engine as a whole, over memory.

mod bad_input;
mod commands;
mod rig;
mod threads;
mod tunnel;
