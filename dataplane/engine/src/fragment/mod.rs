//! Fragments: taking packets apart, and putting them together.

pub(crate) mod join;
pub(crate) mod piece;
pub(crate) mod reassembly;
pub(crate) mod split;

use culvert_wire::protocol;

/// Octets of the upper-layer header that are there whatever it says: what the first fragment must hold (RFC 7112 §5).
const fn least_upper_len(protocol: u8) -> usize {
    match protocol {
        protocol::TCP => 20,
        protocol::SCTP | protocol::DCCP | protocol::AH => 12,
        protocol::UDP | protocol::UDP_LITE | protocol::ESP => 8,
        protocol::ICMP | protocol::ICMPV6 => 4,
        _ => 0,
    }
}
