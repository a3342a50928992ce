//! What goes in: sizes, frames and the buffers they are in.

use culvert_engine::Buffer;
use culvert_wire::{EtherType, Mac, ethernet, ipv4, protocol, udp};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// Frame check sequence: part of a frame's size as test equipment counts it (RFC 2544 §9), never in memory.
const FCS: usize = 4;

/// Sizes of clear Ethernet frames, frame check sequence included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Fixed(usize),
    /// Seven of 64, four of 570, one of 1518.
    Imix,
}

const IMIX: [usize; 12] = [64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 570, 64];

impl Size {
    pub const ALL: [Self; 4] = [Self::Fixed(64), Self::Fixed(512), Self::Fixed(1400), Self::Imix];

    /// Of the packet at this place of a window: of its IP packet, octets.
    pub fn ip_len(self, place: usize) -> usize {
        let frame = match self {
            Self::Fixed(size) => size,
            Self::Imix => IMIX[place % IMIX.len()],
        };
        frame - FCS - ethernet::LEN
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Imix => f.write_str("imix"),
        }
    }
}

/// Two stations of one link.
#[derive(Clone, Copy)]
pub struct Link {
    pub source: Mac,
    pub destination: Mac,
}

/// A UDP datagram in an Ethernet frame, without frame check sequence. `None`: too small or too large for IP.
pub fn udp_frame(link: Link, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), ip_len: usize) -> Option<Vec<u8>> {
    let upper_len = ip_len.checked_sub(ipv4::LEN)?;
    let payload = vec![0x5a; upper_len.checked_sub(udp::LEN)?];
    let datagram = udp::Repr::for_payload((IpAddr::V4(from.0), from.1), (IpAddr::V4(to.0), to.1), &payload)?;
    let header = ipv4::Repr {
        dont_fragment: true,
        ..ipv4::Repr::new(from.0, to.0, protocol::UDP, u16::try_from(upper_len).ok()?)
    };
    let ether = ethernet::Repr { destination: link.destination, source: link.source, ether_type: EtherType::IPV4 };
    let mut frame = ether.to_bytes().to_vec();
    frame.extend_from_slice(&header.to_bytes());
    frame.extend_from_slice(&datagram.to_bytes());
    frame.extend_from_slice(&payload);
    Some(frame)
}

/// DPDK's default headroom and data room.
pub const HEADROOM: usize = 128;
const ROOM: usize = HEADROOM + 2048;

/// A packet in a buffer that can be used again: one pointer, its lengths beside its memory, as an mbuf is.
pub struct Packet(Box<Memory>);

#[repr(align(64))]
struct Memory {
    start: u16,
    end: u16,
    octets: [u8; ROOM],
}

impl Packet {
    pub fn new() -> Self {
        Self(Box::new(Memory { start: HEADROOM as u16, end: HEADROOM as u16, octets: [0; ROOM] }))
    }

    /// The frame as it comes from a port. What does not fit is cut off.
    pub fn load(&mut self, frame: &[u8]) {
        let len = frame.len().min(ROOM - HEADROOM);
        self.0.octets[HEADROOM..HEADROOM + len].copy_from_slice(&frame[..len]);
        (self.0.start, self.0.end) = (HEADROOM as u16, (HEADROOM + len) as u16);
    }
}

impl Buffer for Packet {
    fn data(&self) -> &[u8] {
        &self.0.octets[usize::from(self.0.start)..usize::from(self.0.end)]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        let Memory { start, end, octets } = &mut *self.0;
        &mut octets[usize::from(*start)..usize::from(*end)]
    }

    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        self.0.start = u16::try_from(usize::from(self.0.start).checked_sub(count)?).ok()?;
        self.data_mut().get_mut(..count)
    }

    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let end = usize::from(self.0.end);
        self.0.end = u16::try_from(end + count).ok().filter(|end| usize::from(*end) <= ROOM)?;
        self.0.octets.get_mut(end..end + count)
    }

    fn trim_front(&mut self, count: usize) -> bool {
        let fits = count <= self.data().len();
        self.0.start += if fits { count as u16 } else { 0 };
        fits
    }

    fn trim_back(&mut self, count: usize) -> bool {
        let fits = count <= self.data().len();
        self.0.end -= if fits { count as u16 } else { 0 };
        fits
    }
}
