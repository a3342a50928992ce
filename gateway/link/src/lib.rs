//! The shared memory between control and data plane: one file on tmpfs, mapped by both, laid out by version.
//!
//! * [`Region`] is the file: SA slots, counters and four rings.
//! * [`ControlEnd`] and [`DataplaneEnd`] are the two roles. One live process per role; the kernel frees a role the
//!   moment its process is gone, however it went.
//! * [`Producer`] and [`Consumer`] are the ends of one single-producer single-consumer ring of records.
//! * [`record`] is what the records say.
//!
//! Everything read from the memory is foreign input: checked in release builds, copied out once, then used.

mod end;
mod error;
mod layout;
mod mapping;
mod prefetch;
pub mod record;
mod region;
#[doc(hidden)]
pub mod ring;
mod role;
#[doc(hidden)]
pub mod sequence;
mod slot;

pub use end::{Consumer, ControlEnd, DataplaneEnd, Peer, Producer};
pub use error::LinkError;
pub use layout::{BLOCK_COUNTERS, LAYOUT_VERSION, Layout, MAX_RING_BYTES, MAX_SLOTS, MIN_RING_BYTES, PORTS, WORKERS};
pub use prefetch::{prefetch, prefetch_line};
pub use region::{CounterBlock, Region, SlotRef};
pub use ring::{MAX_RECORD, PushError, RingError};
pub use role::Role;
pub use slot::{SLOT_COUNTERS, SaSlot, SlotInit, SlotState};
