//! The Security Parameters Index.

use core::fmt;

/// An SPI as it may stand on the wire of an established SA: 256 or more (RFC 4303 §2.1 reserves 0..=255).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spi(u32);

/// 0..=255 are reserved (RFC 4303 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SPI {0:#x} is reserved; the smallest an SA may use is 0x100 (RFC 4303 §2.1)")]
pub struct ReservedSpi(pub u32);

impl Spi {
    pub const MIN: u32 = 256;

    pub const fn new(value: u32) -> Result<Self, ReservedSpi> {
        if value < Self::MIN { Err(ReservedSpi(value)) } else { Ok(Self(value)) }
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    /// Network byte order, as in the ESP header.
    pub const fn to_be_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spi({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_spis_have_no_value() {
        assert_eq!(Spi::new(0), Err(ReservedSpi(0)));
        assert_eq!(Spi::new(255), Err(ReservedSpi(255)));
        assert_eq!(Spi::new(256).map(Spi::get), Ok(256));
    }
}
