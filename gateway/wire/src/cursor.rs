//! A read cursor and a write cursor that cannot overrun.

/// Fewer bytes than the header needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("truncated")]
pub struct Truncated;

/// The output buffer is shorter than what has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room in the output buffer")]
pub struct NoRoom;

/// Reads big-endian fields from the front of a slice. A failed read takes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Truncated> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes, by reference.
    #[inline]
    pub fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Truncated> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes, copied out.
    #[inline]
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        self.chunk().copied()
    }

    /// A cursor over the next `n` bytes only.
    #[inline]
    pub fn sub(&mut self, n: usize) -> Result<Reader<'a>, Truncated> {
        self.take(n).map(Reader::new)
    }

    #[inline]
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.take_array().map(u8::from_be_bytes)
    }

    #[inline]
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.take_array().map(u16::from_be_bytes)
    }

    #[inline]
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.take_array().map(u32::from_be_bytes)
    }

    #[inline]
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.take_array().map(u64::from_be_bytes)
    }

    /// All that is left; the cursor is used up.
    #[inline]
    pub const fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Writes big-endian fields to the front of a slice. A failed write leaves the slice as it was.
#[derive(Debug)]
pub struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    #[inline]
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self { rest: out }
    }

    #[inline]
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let rest = core::mem::take(&mut self.rest);
        if rest.len() < bytes.len() {
            self.rest = rest;
            return Err(NoRoom);
        }
        let (head, tail) = rest.split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        self.rest = tail;
        Ok(())
    }

    #[inline]
    pub fn u8(&mut self, value: u8) -> Result<(), NoRoom> {
        self.put(&[value])
    }

    #[inline]
    pub fn u16(&mut self, value: u16) -> Result<(), NoRoom> {
        self.put(&value.to_be_bytes())
    }

    #[inline]
    pub fn u32(&mut self, value: u32) -> Result<(), NoRoom> {
        self.put(&value.to_be_bytes())
    }

    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_stops_at_the_end() {
        let mut r = Reader::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(r.u8(), Ok(1));
        assert_eq!(r.u16(), Ok(0x0203));
        assert_eq!(r.u32(), Ok(0x0405_0607));
        assert_eq!(r.u32(), Err(Truncated));
        assert_eq!(r.remaining(), 2, "a failed read takes nothing");
        let mut sub = r.sub(1).unwrap();
        assert_eq!((sub.u8(), sub.u8()), (Ok(8), Err(Truncated)));
        assert_eq!(r.rest(), [9]);
    }

    #[test]
    fn writes_in_order_and_stops_at_the_end() {
        let mut out = [0; 7];
        let mut w = Writer::new(&mut out);
        w.u8(1).unwrap();
        w.u32(0x0203_0405).unwrap();
        assert_eq!(w.u32(0xffff_ffff), Err(NoRoom));
        assert_eq!(w.remaining(), 2);
        w.u16(0x0607).unwrap();
        assert_eq!(w.u8(8), Err(NoRoom));
        assert_eq!(out, [1, 2, 3, 4, 5, 6, 7]);
    }
}
