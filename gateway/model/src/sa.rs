//! A security association as control hands it to the data plane (RFC 4301 §4.4.2).

use crate::suite::Suite;
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

/// Tunnel or transport (RFC 4301 §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SaMode {
    /// A new outer header around the whole packet.
    #[default]
    Tunnel,
    /// Between the packet's own IP header and what follows it; for traffic of the box itself.
    Transport,
}

/// A virtual tunnel interface: the place of its table among the configuration's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u16);

/// Outer addresses of a tunnel-mode SA; the two ends of a transport-mode one.
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

/// What becomes of the outer DF bit over IPv4 (RFC 4301 §8.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DfHandling {
    /// From the inner packet; set where that is IPv6.
    #[default]
    Copy,
    Set,
    Clear,
}

/// The outer DSCP (RFC 4301 §5.1.2, RFC 2983).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DscpHandling {
    /// From the inner packet.
    #[default]
    Copy,
    /// Always this, 0 to 63: hides the inner one.
    Set(u8),
    /// By the inner one.
    Map(DscpMap),
}

/// An outer DSCP for each inner one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DscpMap([u8; 64]);

impl DscpMap {
    /// Each as it is.
    pub const IDENTITY: Self = {
        let mut map = [0; 64];
        let mut dscp = 0;
        while dscp < 64 {
            map[dscp as usize] = dscp;
            dscp += 1;
        }
        Self(map)
    };

    /// `None` where one is above 63.
    pub fn new(map: [u8; 64]) -> Option<Self> {
        map.iter().all(|dscp| *dscp < 64).then_some(Self(map))
    }

    /// `inner`: 0 to 63.
    pub fn outer(&self, inner: u8) -> u8 {
        self.0.get(usize::from(inner)).copied().unwrap_or(inner)
    }

    pub const fn octets(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for DscpMap {
    /// What is not mapped to itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moved = (0..64u8).map(|inner| (inner, self.outer(inner))).filter(|(inner, outer)| inner != outer);
        f.debug_map().entries(moved).finish()
    }
}

/// Where a packet that does not fit and may be fragmented is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FragmentWhen {
    /// The pieces of the inner packet travel each in its own ESP packet, and the peer need not put ESP together.
    #[default]
    Before,
    /// The sealed packet is cut; the peer puts it together before it opens it.
    After,
}

/// Traffic flow confidentiality (RFC 4303 §2.7): how long packets are made to look. Tunnel mode only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tfc {
    #[default]
    Off,
    /// As long as the path carries.
    ToMtu,
    /// Inner packets shorter than this are padded to it, octets.
    To(u16),
}

/// TCP's maximum segment size in SYN packets that pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MssClamp {
    #[default]
    Off,
    /// To what fits the SA's path.
    Auto,
    /// To this, octets.
    To(u16),
}

/// How an SA treats headers and sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handling {
    pub df: DfHandling,
    pub dscp: DscpHandling,
    /// Opening takes the outer DSCP over into the inner header (RFC 2983 uniform model).
    pub dscp_inbound: bool,
    /// RFC 6040 normal mode; `false`: compatibility mode, the outer header says Not-ECT.
    pub ecn: bool,
    /// Outer TTL or hop limit; `None` copies the inner one.
    pub ttl: Option<u8>,
    /// Copies the inner IPv6 flow label to the outer header.
    pub flow_label: bool,
    pub fragment: FragmentWhen,
    pub tfc: Tfc,
    /// Dummy packets a second (RFC 4303 §2.6); 0 sends none.
    pub dummies: u16,
    pub mss_clamp: MssClamp,
    /// Tunnel mode, where selectors ask for ports: the peers have agreed on inner fragments that show none (RFC 4301 §7.3).
    pub later_fragments: bool,
}

impl Default for Handling {
    fn default() -> Self {
        Self {
            df: DfHandling::Copy,
            dscp: DscpHandling::Copy,
            dscp_inbound: false,
            ecn: true,
            ttl: Some(64),
            flow_label: false,
            fragment: FragmentWhen::Before,
            tfc: Tfc::Off,
            dummies: 0,
            mss_clamp: MssClamp::Off,
            later_fragments: true,
        }
    }
}

/// Limits after which an SA is renewed (soft) or dropped (hard); zero is "no limit". RFC 4301 §4.4.2.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    pub soft_bytes: u64,
    pub hard_bytes: u64,
    pub soft_packets: u64,
    pub hard_packets: u64,
    /// From the moment the SA is installed.
    pub soft_seconds: u64,
    pub hard_seconds: u64,
    /// Without a packet.
    pub soft_idle: u64,
    pub hard_idle: u64,
}

/// Everything the data plane needs to know of one SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaSpec {
    pub spi: Spi,
    pub direction: Direction,
    pub slot: SlotIndex,
    pub child: ChildId,
    pub suite: Suite,
    /// `suite.key_len()` octets of KEYMAT.
    pub key: SecretKey,
    pub mode: SaMode,
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
    pub handling: Handling,
    /// SA bundle: what this SA has sealed goes through that child's SA too; what it opens must have come through it.
    pub bundle: Option<ChildId>,
    /// The tunnel interface whose traffic it carries.
    pub interface: Option<InterfaceId>,
}
