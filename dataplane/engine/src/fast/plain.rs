//! Reading a plain packet: whole, without options or extension headers, of a protocol whose ports stand at one place.
//!
//! Whatever is not so, or not as it should be, is nobody's error here: it goes the general way, which names the reason.

use crate::fast::key::FlowKey;
use crate::packet::Inner;
use culvert_wire::{checksum, ipv4, ipv6, protocol, tcp};

/// A plain IP packet, as far as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    pub key: FlowKey,
    pub inner: Inner,
    /// Header included; the octets behind are padding.
    pub len: u16,
}

impl Plain {
    /// Of a packet that is none.
    pub const NONE: Self = Self {
        key: FlowKey::v4(0, 0, 0),
        inner: Inner { is_v6: false, dont_fragment: false, tos: 0, ttl: 0, flow_label: 0 },
        len: 0,
    };

    /// `trusted`: somebody else saw that the IPv4 header's checksum is right.
    /// Written where it stays: what was just stored in small parts is dear to copy.
    #[inline(always)]
    pub fn read(&mut self, packet: &[u8], trusted: bool) -> Option<()> {
        match packet.first()? {
            0x45 => self.read_v4(packet, trusted),
            0x60..=0x6f => self.read_v6(packet),
            _ => None,
        }
    }

    #[inline(always)]
    fn read_v4(&mut self, packet: &[u8], trusted: bool) -> Option<()> {
        const UPPER: usize = ipv4::LEN;
        let (header, rest) = packet.split_first_chunk::<UPPER>()?;
        let word = |at: usize| {
            let (octets, _) = header.split_at_checked(at)?.1.split_first_chunk()?;
            Some(u32::from_be_bytes(*octets))
        };
        let (first, second, third, source, destination) = (word(0)?, word(4)?, word(8)?, word(12)?, word(16)?);
        let len = first as u16;
        // No more fragments, no offset; the length holds what is read below and is there.
        if second & 0x3fff != 0 || usize::from(len) > packet.len() {
            return None;
        }
        if !trusted {
            let sum = [first, second, third, source, destination].map(u64::from).into_iter().sum();
            if !checksum::Sum::of_words(sum).is_valid() {
                return None;
            }
        }
        let protocol = (third >> 16) as u8;
        let ports = ports(protocol, rest, usize::from(len).checked_sub(UPPER)?)?;
        let addrs = u64::from(source) << 32 | u64::from(destination);
        self.inner = Inner {
            is_v6: false,
            dont_fragment: second & 0x4000 != 0,
            tos: (first >> 16) as u8,
            ttl: (third >> 24) as u8,
            flow_label: 0,
        };
        self.key = FlowKey::v4(addrs, protocol, ports);
        self.len = len;
        Some(())
    }

    #[inline]
    fn read_v6(&mut self, packet: &[u8]) -> Option<()> {
        const UPPER: usize = ipv6::LEN;
        let (header, rest) = packet.split_first_chunk::<UPPER>()?;
        let (fixed, addrs) = header.split_first_chunk::<8>()?;
        let fixed = u64::from_be_bytes(*fixed);
        let payload = (fixed >> 16) as u16;
        let len = payload.checked_add(UPPER as u16)?;
        if usize::from(len) > packet.len() {
            return None;
        }
        let protocol = (fixed >> 8) as u8;
        let ports = ports(protocol, rest, usize::from(payload))?;
        let ([a, b, c, d], _) = addrs.as_chunks::<8>() else { return None };
        let addrs = [a, b, c, d].map(|octets| u64::from_be_bytes(*octets));
        self.inner = Inner {
            is_v6: true,
            dont_fragment: true,
            tos: (fixed >> 52) as u8,
            ttl: fixed as u8,
            flow_label: (fixed >> 32) as u32 & 0xf_ffff,
        };
        self.key = FlowKey::v6(addrs, protocol, ports);
        self.len = len;
        Some(())
    }

    /// Of the upper-layer header.
    #[inline]
    pub const fn upper(&self) -> usize {
        if self.inner.is_v6 { ipv6::LEN } else { ipv4::LEN }
    }
}

/// Source and destination port, or what stands for them, of a packet with `len` octets behind its IP header.
#[inline]
fn ports(protocol: u8, rest: &[u8], len: usize) -> Option<u32> {
    let first = u32::from_be_bytes(*rest.first_chunk()?);
    match protocol {
        protocol::UDP if len >= 8 => Some(first),
        // The start of a connection may have to be told of a smaller segment size.
        protocol::TCP if len >= tcp::LEN && rest.get(13)? & tcp::Repr::SYN == 0 => Some(first),
        protocol::ESP if len >= 8 => Some(0),
        // Errors may belong to the SA of the packet they are about; echoes are plain.
        protocol::ICMP if len >= 8 && matches!(first >> 24, 0 | 8) => Some(twice(first)),
        protocol::ICMPV6 if len >= 8 && matches!(first >> 24, 128 | 129) => Some(twice(first)),
        _ => None,
    }
}

/// Type and code stand for both ports.
const fn twice(first: u32) -> u32 {
    first >> 16 << 16 | first >> 16
}
