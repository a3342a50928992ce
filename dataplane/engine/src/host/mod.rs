//! What the box itself says and hears: neighbours, ICMP, its own datagrams.
//!
//! No I/O and no clock. Frames and packets are written to a `Vec<u8>` that the caller keeps and reuses; `now` is
//! nanoseconds. ARP and neighbour discovery come out as whole Ethernet frames for the port they concern. ICMP and UDP
//! come out as IP packets, which find their way like any other of the box's own packets, a tunnel included.

pub mod address;
pub mod datagram;
pub mod discovery;
pub mod icmp;
pub mod limit;
pub mod neighbours;

pub use address::Destination;
pub use discovery::Outcome;
pub use icmp::{Problem, Silence};
pub use limit::TokenBucket;
pub use neighbours::{Failure, Limits, Neighbours, Output};
