//! TCP (RFC 9293), as far as a gateway looks: ports and the fixed header.

pub const LEN: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("TCP header truncated")]
    Truncated,
    #[error("TCP data offset {0} is below 20")]
    DataOffset(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    pub source_port: u16,
    pub destination_port: u16,
    pub sequence: u32,
    pub acknowledgement: u32,
    /// CWR to FIN, from the high bit down.
    pub flags: u8,
    pub window: u16,
    pub checksum: u16,
    pub urgent: u16,
}

impl Repr {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;

    /// The fixed header and the payload; options are skipped, the checksum is the hosts' business.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let h = bytes.first_chunk::<LEN>().ok_or(Error::Truncated)?;
        let offset = usize::from(h[12] >> 4) * 4;
        if offset < LEN {
            return Err(Error::DataOffset(offset));
        }
        let payload = bytes.get(offset..).ok_or(Error::Truncated)?;
        let header = Self {
            source_port: u16::from_be_bytes([h[0], h[1]]),
            destination_port: u16::from_be_bytes([h[2], h[3]]),
            sequence: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
            acknowledgement: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
            flags: h[13],
            window: u16::from_be_bytes([h[14], h[15]]),
            checksum: u16::from_be_bytes([h[16], h[17]]),
            urgent: u16::from_be_bytes([h[18], h[19]]),
        };
        Ok((header, payload))
    }

    /// Without options, the checksum as it stands in the field.
    pub const fn to_bytes(&self) -> [u8; LEN] {
        let [s0, s1] = self.source_port.to_be_bytes();
        let [d0, d1] = self.destination_port.to_be_bytes();
        let [q0, q1, q2, q3] = self.sequence.to_be_bytes();
        let [a0, a1, a2, a3] = self.acknowledgement.to_be_bytes();
        let [w0, w1] = self.window.to_be_bytes();
        let [c0, c1] = self.checksum.to_be_bytes();
        let [u0, u1] = self.urgent.to_be_bytes();
        [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, 0x50, self.flags, w0, w1, c0, c1, u0, u1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, ipv4, testing};
    use proptest::prelude::*;

    #[test]
    fn captured_syn() {
        let segment = &testing::bytes(testing::TCP_SYN)[ethernet::LEN + ipv4::LEN..];
        let (header, payload) = Repr::parse(segment).unwrap();
        assert_eq!((header.destination_port, header.flags, header.window), (9, Repr::SYN, 64_240));
        assert!(payload.is_empty(), "options are not payload");
        for len in 0..segment.len() {
            assert_eq!(Repr::parse(&segment[..len]), Err(Error::Truncated), "{len}");
        }
    }

    #[test]
    fn data_offset_below_the_header() {
        let mut segment = testing::bytes(testing::TCP_SYN)[ethernet::LEN + ipv4::LEN..].to_vec();
        segment[12] = 0x4f;
        assert_eq!(Repr::parse(&segment), Err(Error::DataOffset(16)));
    }

    proptest! {
        #[test]
        fn round_trip(ports: (u16, u16), numbers: (u32, u32), rest: (u8, u16, u16, u16)) {
            let header = Repr {
                source_port: ports.0,
                destination_port: ports.1,
                sequence: numbers.0,
                acknowledgement: numbers.1,
                flags: rest.0,
                window: rest.1,
                checksum: rest.2,
                urgent: rest.3,
            };
            let bytes = header.to_bytes();
            prop_assert_eq!(Repr::parse(&bytes), Ok((header, &[][..])));
        }
    }
}
