//! UDP (RFC 768).

use crate::{checksum::Sum, protocol};
use std::net::IpAddr;

pub const LEN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("UDP header truncated")]
    Truncated,
    #[error("UDP length {0} is below 8")]
    Length(u16),
    #[error("UDP length {length}, but only {available} octets came")]
    Short { length: u16, available: usize },
    #[error("UDP checksum is wrong")]
    Checksum,
    #[error("UDP over IPv6 without a checksum")]
    NoChecksum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub source_port: u16,
    pub destination_port: u16,
    /// Header included.
    pub length: u16,
    /// 0 is "none".
    pub checksum: u16,
}

impl Repr {
    /// The header and its payload, cut to the UDP length. The checksum is not looked at.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let h = bytes.first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let [s0, s1, d0, d1, l0, l1, c0, c1] = *h;
        let header = Self {
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            length: u16::from_be_bytes([l0, l1]),
            checksum: u16::from_be_bytes([c0, c1]),
        };
        let length = usize::from(header.length);
        if length < LEN {
            return Err(Error::Length(header.length));
        }
        let available = bytes.len();
        let payload = bytes.get(LEN..length).ok_or(Error::Short { length: header.length, available })?;
        Ok((header, payload))
    }

    /// Checks the checksum of a datagram this header was parsed from (RFC 768; RFC 8200 §8.1: none over IPv6 is an
    /// error). ESP in UDP is not to be checked (RFC 3948 §2.1); IKE is.
    pub fn verify(&self, source: IpAddr, destination: IpAddr, payload: &[u8]) -> Result<(), Error> {
        if self.checksum == 0 {
            return if source.is_ipv4() { Ok(()) } else { Err(Error::NoChecksum) };
        }
        let sum = Sum::pseudo(source, destination, protocol::UDP, usize::from(self.length)).ok_or(Error::Checksum)?;
        let good = sum.add_bytes(&self.to_bytes()).add_bytes(payload).is_valid();
        if good { Ok(()) } else { Err(Error::Checksum) }
    }

    /// The header for `payload`, with length and checksum. `None`: mixed families, or the payload is above 65527.
    pub fn for_payload(
        (source, source_port): (IpAddr, u16),
        (destination, destination_port): (IpAddr, u16),
        payload: &[u8],
    ) -> Option<Self> {
        let length = u16::try_from(payload.len() + LEN).ok()?;
        let header = Self { source_port, destination_port, length, checksum: 0 };
        let sum = Sum::pseudo(source, destination, protocol::UDP, usize::from(length))?;
        let checksum = sum.add_bytes(&header.to_bytes()).add_bytes(payload).finish_udp();
        Some(Self { checksum, ..header })
    }

    #[inline]
    pub const fn to_bytes(&self) -> [u8; LEN] {
        let [s0, s1] = self.source_port.to_be_bytes();
        let [d0, d1] = self.destination_port.to_be_bytes();
        let [l0, l1] = self.length.to_be_bytes();
        let [c0, c1] = self.checksum.to_be_bytes();
        [s0, s1, d0, d1, l0, l1, c0, c1]
    }
}
