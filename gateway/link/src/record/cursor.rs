//! A reader that cannot overrun, and its writer.

/// Why a record could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the record ends in the middle of {what}")]
    Truncated { what: &'static str },
    #[error("{count} bytes are left over after the record")]
    Trailing { count: usize },
    #[error("{value} is no {what}")]
    UnknownTag { what: &'static str, value: u8 },
    #[error("{count} {what}, the most is {max}")]
    TooMany { what: &'static str, count: usize, max: usize },
    #[error("a key of {found} bytes, the suite's has {expected}")]
    KeyLength { expected: usize, found: usize },
    #[error("{value:#x} is a reserved SPI")]
    ReservedSpi { value: u32 },
    #[error("{what} is not a possible value")]
    Invalid { what: &'static str },
}

/// Why a record could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{count} {what}, the most is {max}")]
    TooMany { what: &'static str, count: usize, max: usize },
    #[error("a key of {found} bytes, the suite's has {expected}")]
    KeyLength { expected: usize, found: usize },
}

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array(what).map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(super) fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::UnknownTag { what, value }),
        }
    }

    /// A list's length, never above `max`: nothing is allocated for a count that a peer made up.
    pub(super) fn count(&mut self, max: usize, what: &'static str) -> Result<usize, DecodeError> {
        let count = usize::from(self.u16(what)?);
        if count > max {
            return Err(DecodeError::TooMany { what, count, max });
        }
        Ok(count)
    }

    pub(super) fn all(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    pub(super) fn end(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { count }),
        }
    }
}

pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Starts over in `out`, with room for `size` octets: a vector that grew would leave a key behind in freed memory.
    pub(super) fn new(out: &'a mut Vec<u8>, size: usize) -> Self {
        if out.capacity() < size {
            zeroize::Zeroize::zeroize(out);
            out.reserve_exact(size);
        }
        out.clear();
        Self { out }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub(super) fn count(&mut self, count: usize, max: usize, what: &'static str) -> Result<(), EncodeError> {
        match u16::try_from(count) {
            Ok(short) if count <= max => {
                self.u16(short);
                Ok(())
            }
            _ => Err(EncodeError::TooMany { what, count, max }),
        }
    }
}
