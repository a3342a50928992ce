//! What the records of the rings say, and their form in bytes.
//!
//! The form is part of the layout version: fixed-width little-endian fields in the order of the declarations, one tag
//! octet per choice, a count before each list. Decoding trusts nothing: every length, tag and range is checked, and
//! octets left over are an error.

mod codec;
mod cursor;
mod parts;

use core::fmt;
use culvert_model::{ChildId, Direction, Encapsulation, Flow, Pfp, Policy, PolicyId, SaSpec, SlotIndex, Spi, Tunnel};
use std::net::SocketAddr;

pub use cursor::{DecodeError, EncodeError};

/// Selectors on one side of one SA or policy.
pub const MAX_SELECTORS: usize = 512;
/// Slots in one [`Command::RetireOrphans`].
pub const MAX_KEPT: usize = 4096;
/// Octets of one datagram's payload.
pub const MAX_PAYLOAD: usize = 65_535;

/// Control → data plane. Each travels with a token, which the [`Event::Done`] that answers it repeats.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, and mostly the largest: a box would be one allocation more"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Inbound: usable at once. Outbound: becomes *the* SA of its child.
    Install(SaSpec),
    Remove {
        slot: SlotIndex,
        spi: Spi,
        direction: Direction,
    },
    SetPolicy(Policy),
    RemovePolicy(PolicyId),
    /// Control starts to state all its policies, whatever the data plane has.
    BeginSync,
    /// All policies are stated: those not restated since [`Command::BeginSync`] go. No packet flows before the first.
    EndSync,
    /// Removes the SAs of the child whose slots are not listed.
    RetireOrphans {
        child: ChildId,
        keep: Vec<SlotIndex>,
    },
    /// The peer has moved.
    UpdateTunnel {
        slot: SlotIndex,
        spi: Spi,
        tunnel: Tunnel,
        encapsulation: Option<Encapsulation>,
    },
}

/// Data plane → control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Done {
        token: u64,
        result: Result<(), Refusal>,
    },
    /// A packet met a trap policy whose child has no SA.
    Acquire {
        child: ChildId,
        flow: Flow,
        /// Which of the packet's own values the SA is to be for.
        pfp: Pfp,
    },
    SoftExpire {
        slot: SlotIndex,
        spi: Spi,
        direction: Direction,
    },
    HardExpire {
        slot: SlotIndex,
        spi: Spi,
        direction: Direction,
    },
    /// Few sequence numbers are left below the slot's limit.
    SequenceLow {
        slot: SlotIndex,
        spi: Spi,
        direction: Direction,
    },
    /// A packet was dropped that RFC 4301 §5 or RFC 4303 §3.4 wants told: one a second for each SA and reason.
    Audit {
        /// Place of the drop reason in telemetry's declaration.
        reason: u16,
        /// `None` where no SA was found; `spi` is then the packet's.
        slot: Option<SlotIndex>,
        spi: Option<Spi>,
        /// Of the inner packet where it was seen, else of the outer one.
        flow: Flow,
    },
    /// An authentic packet came from another address or port than the SA's (RFC 7296 §2.23).
    NatMappingSeen {
        slot: SlotIndex,
        spi: Spi,
        remote: SocketAddr,
    },
}

macro_rules! refusals {
    ($($variant:ident = $byte:literal, $text:literal;)+) => {
        /// Why the data plane did not do as told.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Refusal { $($variant = $byte,)+ }

        impl Refusal {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            pub fn from_byte(byte: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|r| *r as u8 == byte)
            }
        }

        impl fmt::Display for Refusal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }
    };
}

refusals! {
    UnknownSlot = 1, "no such slot";
    SlotMismatch = 2, "the slot belongs to another SA";
    SpiInUse = 3, "the SPI is in use";
    UnknownSa = 4, "no such SA";
    UnknownPolicy = 5, "no such policy";
    TableFull = 6, "the table is full";
    BadKey = 7, "the key does not fit the suite";
    BadTunnel = 8, "the tunnel's addresses do not fit";
    Unsupported = 9, "not supported by this data plane";
    NotInSync = 10, "EndSync without BeginSync";
    Malformed = 11, "the record could not be read";
    BadWindow = 12, "the replay window's size is out of range";
}

/// A UDP datagram on its way to (punt) or from (inject) control; the payload is without the non-ESP marker of port 4500
/// (RFC 3948 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub payload: Vec<u8>,
}
