//! What a UDP datagram on port 4500 carries (RFC 3948 §2, RFC 7296 §2.23).

pub const IKE_PORT: u16 = 500;
pub const NAT_TRAVERSAL_PORT: u16 = 4500;

/// Stands where ESP has its SPI, which is never zero.
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// RFC 3948 §2.3.
pub const KEEPALIVE: [u8; 1] = [0xff];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    Esp(&'a [u8]),
    /// The IKE message, the marker taken off.
    Ike(&'a [u8]),
    Keepalive,
    /// Too short to be any of them.
    Runt,
}

#[inline]
pub const fn classify(payload: &[u8]) -> Payload<'_> {
    match payload {
        [0xff] => Payload::Keepalive,
        [0, 0, 0, 0, ike @ ..] => Payload::Ike(ike),
        [_, _, _, _, ..] => Payload::Esp(payload),
        _ => Payload::Runt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_every_short_length() {
        let cases: [(&[u8], Payload<'_>); 10] = [
            (&[], Payload::Runt),
            (&[0xff], Payload::Keepalive),
            (&[0xfe], Payload::Runt),
            (&[0xff, 0xff], Payload::Runt),
            (&[0, 0, 0], Payload::Runt),
            (&[0, 0, 0, 0], Payload::Ike(&[])),
            (&[0, 0, 0, 0, 1, 2], Payload::Ike(&[1, 2])),
            (&[0, 0, 0, 1], Payload::Esp(&[0, 0, 0, 1])),
            (&[0xff, 0, 0, 0, 5], Payload::Esp(&[0xff, 0, 0, 0, 5])),
            (&[1, 0, 0, 0], Payload::Esp(&[1, 0, 0, 0])),
        ];
        for (bytes, kind) in cases {
            assert_eq!(classify(bytes), kind, "{bytes:?}");
        }
        assert_eq!(classify(&KEEPALIVE), Payload::Keepalive);
        assert_eq!(classify(&NON_ESP_MARKER), Payload::Ike(&[]));
    }
}
