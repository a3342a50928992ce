//! What stands around the engine: ports, queues, time.

use culvert_model::{ChildId, Flow, Pfp, SlotIndex, Spi};
use culvert_telemetry::DropReason;
use std::net::{IpAddr, SocketAddr};

/// Most packets of one burst.
pub const BURST: usize = 32;

/// Octets of the largest packet that is handled: what an IPv4 header can say. IPv6 could say 40 more.
pub const LARGEST: usize = 65_535;

/// Nanoseconds of a monotonic clock, from the caller.
pub type Tick = u64;

/// A port: the interface's place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

/// The ports and queues of one thread.
pub trait Io<B> {
    /// Takes a whole Ethernet frame. What cannot be sent is freed by the implementation, which counts
    /// `DropReason::TxFull` for it.
    fn transmit(&mut self, port: PortId, frame: B);

    /// Hands over to the housekeeping thread; gives the item back where its queue is full (the engine counts it).
    fn to_housekeeping(&mut self, item: Punt<B>) -> Result<(), Punt<B>>;

    /// An empty buffer with the headroom of a received one.
    fn allocate(&mut self) -> Option<B>;

    /// An empty buffer with room for `len` octets, where [`Self::allocate`]'s are too small; with less room in front and
    /// behind, the nearer `len` comes to [`LARGEST`]. There are few of them, so nothing may wait in one.
    fn allocate_large(&mut self, len: usize) -> Option<B> {
        let _ = len;
        None
    }

    /// For a packet that is about to wait: moves it out of a large buffer, if it is in one. Given back where it does not fit
    /// an ordinary one, or where there is none.
    fn compact(&mut self, packet: B) -> Result<B, B> {
        Ok(packet)
    }

    /// Gives an IP packet to the host's own stack. Where it is not taken, the engine counts what is returned.
    fn to_host(&mut self, packet: B) -> Result<(), DropReason> {
        drop(packet);
        Err(DropReason::HostUnsupported)
    }
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// From a port, in clear.
    Clear,
    /// Out of a tunnel.
    Tunnel,
    /// Made by the box.
    Own,
    /// Made by the box about a packet that came out of a tunnel, which it may quote: no policy, no way out.
    OwnAnswer,
}

/// Why a fragment waits for the others of its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The box itself takes the whole.
    Box,
    /// A policy asks for ports, which only the first fragment shows (RFC 4301 §7).
    Policy,
    /// The selectors of the inbound SA in this slot do.
    Selectors(SlotIndex),
}

/// What a worker leaves to housekeeping. `packet` starts at the IP header, `frame` at the Ethernet header.
#[derive(Debug)]
pub enum Punt<B> {
    /// ARP or neighbour discovery.
    Neighbour { port: PortId, frame: B },
    /// To one of the box's own addresses; neither ESP nor IKE.
    Host { port: PortId, origin: Origin, packet: B },
    /// To be judged, or taken, with the others of its datagram.
    Fragment { port: PortId, origin: Origin, purpose: Purpose, packet: B },
    /// UDP 500, or 4500 with the non-ESP marker. `offset`: where in the packet the IKE message starts.
    Ike { local: SocketAddr, remote: SocketAddr, offset: u16, packet: B },
    /// TTL or hop limit used up in transit.
    TtlExceeded { port: PortId, origin: Origin, packet: B },
    /// Does not fit; the largest that does is `mtu`.
    TooBig { port: PortId, origin: Origin, mtu: u16, packet: B },
    /// Ready to go out, as soon as the neighbour is known.
    Unresolved { port: PortId, next_hop: IpAddr, packet: B },
    /// A policy with `trap` saw a packet and has no SA. The packet itself was dropped and counted.
    Acquire { child: ChildId, flow: Flow, pfp: Pfp },
    /// A drop that an administrator may want to know of (RFC 4301 §5.2, RFC 4303 §3.4).
    Audit { reason: DropReason, slot: Option<SlotIndex>, spi: Option<Spi>, flow: Flow },
    /// An authentic packet came from another address or port than the SA's (RFC 7296 §2.23).
    NatMapping { slot: SlotIndex, spi: Spi, remote: SocketAddr },
}

impl<B> Punt<B> {
    /// The packet inside, where there is one.
    pub fn into_buffer(self) -> Option<B> {
        match self {
            Self::Neighbour { frame, .. } => Some(frame),
            Self::Host { packet, .. }
            | Self::Fragment { packet, .. }
            | Self::Ike { packet, .. }
            | Self::TtlExceeded { packet, .. }
            | Self::TooBig { packet, .. }
            | Self::Unresolved { packet, .. } => Some(packet),
            Self::Acquire { .. } | Self::NatMapping { .. } | Self::Audit { .. } => None,
        }
    }
}
