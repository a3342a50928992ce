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
