//! A security association as control hands it to the data plane (RFC 4301 §4.4.2).

use crate::{policy::ChildId, secret::SecretKey, selector::TrafficSelector, spi::Spi};
use core::{fmt, time::Duration};
use std::net::IpAddr;

/// The SA's slot in the link's shared memory: its counters, sequence number and replay top live there and outlive
/// either process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotIndex(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// We open packets with it; we chose its SPI.
    Inbound,
    /// We seal packets with it; the peer chose its SPI.
    Outbound,
}

/// ESP transform with its fixed sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// RFC 4106, 16-octet ICV.
    Aes128Gcm16,
    /// RFC 4106, 16-octet ICV.
    Aes256Gcm16,
}

impl Suite {
    pub const ALL: [Suite; 2] = [Suite::Aes128Gcm16, Suite::Aes256Gcm16];

    /// Octets of the AES key, without the salt.
    pub const fn key_len(self) -> usize {
        match self {
            Suite::Aes128Gcm16 => 16,
            Suite::Aes256Gcm16 => 32,
        }
    }

    /// Octets of salt that follow the key in KEYMAT (RFC 4106 §8.1).
    pub const fn salt_len(self) -> usize {
        4
    }

    /// Octets of explicit IV in each packet.
    pub const fn iv_len(self) -> usize {
        8
    }

    pub const fn icv_len(self) -> usize {
        16
    }

    /// swanctl's word.
    pub const fn keyword(self) -> &'static str {
        match self {
            Suite::Aes128Gcm16 => "aes128gcm16",
            Suite::Aes256Gcm16 => "aes256gcm16",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())
    }
}

/// Outer addresses of a tunnel-mode SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    pub local: IpAddr,
    pub remote: IpAddr,
}

/// ESP in UDP (RFC 3948).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encapsulation {
    pub local_port: u16,
    pub remote_port: u16,
    /// Outbound SAs: send a one-octet keepalive after this long without a packet (RFC 3948 §4); zero sends none.
    pub keepalive: Duration,
}

/// Limits after which an SA is renewed (soft) or dropped (hard); zero is "no limit". RFC 4301 §4.4.2.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    pub soft_bytes: u64,
    pub hard_bytes: u64,
    pub soft_packets: u64,
    pub hard_packets: u64,
}

/// Everything the data plane needs to know of one SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaSpec {
    pub spi: Spi,
    pub direction: Direction,
    pub slot: SlotIndex,
    pub child: ChildId,
    pub suite: Suite,
    /// AES key followed by the salt: `suite.key_len() + suite.salt_len()` octets.
    pub key: SecretKey,
    pub tunnel: Tunnel,
    pub encapsulation: Option<Encapsulation>,
    /// Extended (64-bit) sequence numbers (RFC 4303 §2.2.1).
    pub esn: bool,
    /// Packets; 0 switches the replay check off. Inbound only.
    pub replay_window: u32,
    /// Inner packets the SA may carry: any `local` with any `remote` (RFC 4301 §4.4.2.1).
    pub local_ts: Vec<TrafficSelector>,
    pub remote_ts: Vec<TrafficSelector>,
    pub lifetime: Lifetime,
}
