//! Sizes of packets.

use culvert_wire::ethernet;
use std::fmt;

/// Frame check sequence: part of a frame's size as test equipment counts it (RFC 2544 §9), never in memory.
const FCS: usize = 4;

/// Sizes of clear Ethernet frames, frame check sequence included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Fixed(usize),
    /// Seven of 64, four of 570, one of 1518, well mixed.
    Imix,
    /// The same shares as FD.io's CSIT sends them: 28 of 64, 16 of 570, 4 of 1518.
    CsitImix,
}

const IMIX: [usize; 12] = [64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 570, 64];

impl Size {
    pub const ALL: [Self; 5] = [Self::Fixed(64), Self::Fixed(512), Self::Fixed(1400), Self::Imix, Self::CsitImix];

    /// Of the packet at this place of a window: its Ethernet frame with check sequence, octets.
    pub fn frame_len(self, place: usize) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::Imix => IMIX[place % IMIX.len()],
            Self::CsitImix => match place % 48 {
                0..28 => 64,
                28..44 => 570,
                _ => 1518,
            },
        }
    }

    /// Of its IP packet.
    pub fn ip_len(self, place: usize) -> usize {
        self.frame_len(place) - FCS - ethernet::LEN
    }

    /// Octets of a frame, on average.
    pub fn mean(self) -> f64 {
        (0..48).map(|place| self.frame_len(place)).sum::<usize>() as f64 / 48.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Imix => f.write_str("imix"),
            Self::CsitImix => f.write_str("imix-csit"),
        }
    }
}
