//! The packet path: SPD, SAD, ESP, FIB, neighbours. No DPDK, no clock, no `unsafe`.
//!
//! The caller brings four things: packet buffers ([`Buffer`]), a cipher ([`Crypto`]), ports and queues ([`Io`]) and the
//! time ([`Tick`]). [`Worker::run_burst`] is the whole fast path; [`Housekeeping`] does everything that is not per packet.
//!
//! ```text
//! worker.rs     all stages in order        housekeeping.rs  commands in, events out
//!   classify.rs   frame → what and whom      sad.rs           install, remove, move SAs
//!   inbound.rs    ESP → clear                policies.rs      what control has stated
//!   policy.rs     SPD verdict, TTL           ageing.rs        lifetimes, sequence numbers
//!   outbound.rs   clear → ESP                answers.rs       ARP, ND, ICMP, IKE in
//!   forward.rs    route, neighbour, send     own.rs           IKE out, keepalives, announcements
//!   bridge.rs     past routing, port to port
//!   pieces.rs     larger than the way or the tunnel
//! fragment/     taking apart, waiting        reassemble.rs    what becomes of fragments
//! later_fragments.rs what must go whole
//! transit_errors.rs  ICMP errors by the SA of the packet they are about
//! selectors.rs  may this SA carry it?        pmtu/            what routers say of a tunnel's path
//!                                            host_stack.rs    what the host's own stack sends and gets
//! shared.rs     the tables workers read     retire.rs        what they may still be reading
//!   spd/          policies                  child_sas.rs     SAs of one child, each for its packets
//!   index/        entries by selectors
//! ```
//!
//! # Where it departs from the RFCs, and why
//!
//! `docs/REQUIREMENTS.md` goes through the RFCs of IPsec one requirement after the other; this is the short list.
//!
//! * Overlapping fragments refuse their datagram over IPv4 too (RFC 5722 is for IPv6; RFC 791 lets the later one win).
//!   Malformed IPv6 fragments are dropped in silence (RFC 8200 §4.5 wants a parameter problem). The identification of
//!   IPv6 packets the box takes apart counts up and can be guessed (RFC 7739 §3 advises against it).
//! * Of ICMP errors about tunnel packets only a smaller path MTU is heeded, where the quote shows the SPI and no number
//!   that was not sent of late; less than 576 counts as 576 (RFC 1191 §3 goes down to 68). The others are not passed on
//!   to the inside: nobody vouches for them (RFC 4301 §6.1.1 leaves it open, RFC 2003 §5.1 would).
//! * Of ICMP errors only time exceeded and too big are sent; no route, no neighbour and policy drops are counted and
//!   not told (RFC 1812 §4.3.3.1, RFC 4301 §5.1.1).
//! * Redirects, source quench and ICMP errors in fragments never take the SA of the packet they are about (RFC 4301 §6.2):
//!   the first are for their own line, the second for nobody (RFC 6633), the third show no whole message.
//! * A child sends by one SA, whatever the DSCP (RFC 4301 §4.1 would have one for each class). No SAs of multicast groups.
//! * AH counts options behind its header as they are, mutable or not, like Linux (RFC 4302 §3.3.3.1.2.2). Neither a
//!   source route nor a routing header that is not used up is opened.
//! * Nothing is told of odd pairs of congestion marks that are no drop (RFC 6040 §4.2). ESN is not resynchronised after a loss of 2^32 packets
//!   (RFC 4303 appendix A3).
//! * Dummy packets are sent in tunnel mode only. Transport mode through a NAT does not mend checksums (RFC 3948 §3.1.2).
//! * IPv4 options are not forwarded (RFC 7126 allows it; RFC 1812 §5.2.4 does not).
//! * The box's own traffic: ARP, neighbour discovery, IKE and NAT keepalives pass without a policy (RFC 4301 §4.4.1 wants
//!   one for each). Echo replies and ICMP errors follow SPD-O, and go in clear where no entry matches, except those
//!   about a packet out of a tunnel, which may quote it.
//! * An ESP packet must come from its SA's peer address, unless the SA is UDP-encapsulated (RFC 4301 §4.1 looks at the
//!   SPI alone).
//! * A bump in the wire judges IP packets with one VLAN tag at most, drops frames with more, and passes other protocols that
//!   could carry IP (PPPoE, MPLS). Fragments that a policy with ports would have to wait for are dropped there.
//! * Packets of the host's own stack go in clear where no entry matches, like the box's own answers; it has no multicast and
//!   no link-local addresses of the lines.
//! * Packets of more than 65,535 octets with their header, which IPv6 allows (40 more, without jumbograms), are neither put
//!   together nor sent. A large IPv6 fragment out of a tunnel that must wait for its ports is dropped.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod ageing;
mod ah;
mod answers;
mod bridge;
mod buffer;
mod child_sas;
mod classify;
mod counters;
mod crypto;
mod decapsulate;
mod ecn;
mod encapsulate;
mod esn;
mod fast;
mod fib;
mod flow_cache;
mod forward;
mod fragment;
pub mod host;
mod host_stack;
mod housekeeping;
mod inbound;
mod index;
mod io;
mod later_fragments;
mod mss;
mod outbound;
mod own;
mod packet;
mod pieces;
mod pmtu;
mod policies;
mod policy;
mod reason;
mod reassemble;
mod replay;
mod retire;
mod rustcrypto;
mod sa;
mod sad;
mod selectors;
mod shared;
mod spd;
pub mod testing;
#[cfg(test)]
mod tests;
mod topology;
mod transit_errors;
mod worker;

pub use buffer::Buffer;
pub use counters::Counters;
pub use crypto::{
    Crypto, EspFields, EspParts, Job, KeyError, MAX_ICV, additional_data, counter_block, gmac_data, high_half, iv,
    nonce, salt,
};
pub use fib::{Fib, NextHop, SortedFib};
pub use housekeeping::Housekeeping;
pub use io::{BURST, Io, LARGEST, Origin, PortId, Punt, Purpose, Tick};
pub use rustcrypto::RustCrypto;
pub use shared::Shared;
pub use topology::{Attachment, Interface, Neighbour, Route, TopologyError};
pub use worker::Worker;
