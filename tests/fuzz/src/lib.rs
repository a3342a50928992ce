//! Fuzz targets for everything that reads foreign bytes.
//!
//! A target is a function of a byte slice that must not panic; it says whether the input was accepted. Where there is
//! an emitter, it also asserts that what was read, written and read again is the same. Each has a committed corpus in
//! `corpus/NAME/`, made by `generate` from the real emitters and captured packets; inputs that once failed stay there
//! as `crash-*`.
//!
//! * `cargo test -p culvert-fuzz` replays the corpora, and a fixed number of mutations of them.
//! * `cargo run -p culvert-fuzz -- run all --seconds 60` goes on from there.
//! * `cargo run -p culvert-fuzz -- generate` makes the corpora anew.
#![forbid(unsafe_code)]

pub mod corpus;
pub mod mutate;
pub mod targets;

/// One parser, or several that share their input.
pub struct Target {
    pub name: &'static str,
    /// Answers whether the input was accepted.
    pub run: fn(&[u8]) -> bool,
    /// Inputs from the real emitters. The target accepts them all.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: &[Target] = &[
    Target { name: "frame", run: targets::wire::frame, seeds: targets::wire::frames },
    Target { name: "ipv4", run: targets::wire::ipv4, seeds: targets::wire::ipv4_packets },
    Target { name: "ipv6", run: targets::wire::ipv6, seeds: targets::wire::ipv6_packets },
    Target { name: "icmpv4", run: targets::wire::icmpv4, seeds: targets::wire::icmpv4_messages },
    Target { name: "icmpv6", run: targets::wire::icmpv6, seeds: targets::wire::icmpv6_messages },
    Target { name: "transport", run: targets::wire::transport, seeds: targets::wire::transports },
    Target { name: "ike-datagram", run: targets::ike::datagram, seeds: targets::ike::datagrams },
    Target { name: "ike-payloads", run: targets::ike::payloads, seeds: targets::ike::chains },
    Target { name: "ring", run: targets::ring::ring, seeds: targets::ring::programs },
    Target { name: "record", run: targets::record::record, seeds: targets::record::records },
    Target { name: "config", run: targets::config::config, seeds: targets::config::files },
];

pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}
