//! Ranges of selector values, and the prefixes that cover them. Every kind of value (address, protocol, port) stands in the
//! high bits of a `u128`; a value of fewer bits is the range of all numbers that begin with it.

use arrayvec::ArrayVec;

/// All numbers that begin with the first `len` bits of `bits`; the others are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub bits: u128,
    pub len: u32,
}

/// Inclusive; `low` is at most `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    low: u128,
    high: u128,
}

impl Prefix {
    pub const WHOLE: Self = Self { bits: 0, len: 0 };

    /// The first `len` bits of a number.
    pub fn of(number: u128, len: u32) -> Self {
        Self { bits: number & !tail(len), len }
    }

    /// The shortest that holds both.
    fn around(low: u128, high: u128) -> Self {
        Self::of(low, (low ^ high).leading_zeros())
    }

    pub fn range(self) -> Range {
        Range { low: self.bits, high: self.bits | tail(self.len) }
    }
}

/// The bits behind the first `len`.
const fn tail(len: u32) -> u128 {
    match u128::MAX.checked_shr(len) {
        Some(tail) => tail,
        None => 0,
    }
}

impl Range {
    pub const WHOLE: Self = Self { low: 0, high: u128::MAX };

    /// Values `first` to `last` of `width` bits.
    pub fn of(first: u128, last: u128, width: u32) -> Self {
        let up = |value: u128| value.checked_shl(128 - width).unwrap_or(0);
        Self { low: up(first), high: up(last) | tail(width) }
    }

    pub fn contains(&self, number: u128) -> bool {
        self.low <= number && number <= self.high
    }

    pub fn covers(&self, other: Range) -> bool {
        self.low <= other.low && other.high <= self.high
    }

    pub fn intersect(self, other: Range) -> Option<Range> {
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        (low <= high).then_some(Self { low, high })
    }

    /// One prefix, where the range is one; else two that hold it together, and more: each has one end right, and begins
    /// or ends where the other does. Both are longer than the prefix around the whole range.
    pub fn cover(self) -> ArrayVec<Prefix, 2> {
        let around = Prefix::around(self.low, self.high);
        let mut cover = ArrayVec::new();
        if around.range() == self {
            cover.push(around);
        } else {
            // The first number of the upper half: the ends differ in the bit behind the prefix.
            let middle = Prefix::of(self.high, around.len + 1).bits;
            cover.push(Prefix::around(self.low, middle - 1));
            cover.push(Prefix::around(middle, self.high));
        }
        cover
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn byte(first: u8, last: u8) -> Range {
        Range::of(first.into(), last.into(), 8)
    }

    #[test]
    fn prefixes_are_covered_by_themselves() {
        for (range, prefix) in [
            (Range::WHOLE, Prefix::WHOLE),
            (byte(0, 255), Prefix::WHOLE),
            (byte(6, 6), Prefix::of(6 << 120, 8)),
            (byte(64, 127), Prefix::of(64 << 120, 2)),
            (Range::of(7, 7, 128), Prefix::of(7, 128)),
        ] {
            assert_eq!(range.cover()[..], [prefix]);
            assert_eq!(prefix.range(), range);
        }
    }

    #[test]
    fn an_odd_range_is_cut_in_its_middle() {
        let cover = byte(3, 9).cover();
        assert_eq!(cover[..], [Prefix::of(0, 5), Prefix::of(8 << 120, 7)]);
        assert_eq!(byte(1, 255).cover()[..], [Prefix::of(0, 1), Prefix::of(128 << 120, 1)]);
        assert_eq!(byte(1, 2).cover()[..], [Prefix::of(1 << 120, 8), Prefix::of(2 << 120, 8)]);
    }

    proptest! {
        #[test]
        fn a_cover_is_disjoint_holds_the_range_and_is_at_most_twice_as_large(a: u8, b: u8) {
            let (first, last) = (a.min(b), a.max(b));
            let cover = byte(first, last).cover();
            let held = |n: u8| cover.iter().filter(|p| p.range().contains(u128::from(n) << 120)).count();
            let mut size = 0;
            for n in 0..=255 {
                prop_assert!(held(n) <= 1);
                prop_assert!(held(n) == 1 || n < first || last < n);
                size += held(n);
            }
            let wanted = usize::from(last - first) + 1;
            prop_assert!(size < 2 * wanted);
            let around = Prefix::around(u128::from(first) << 120, u128::from(last) << 120 | tail(8));
            prop_assert!(cover.len() == 1 || cover.iter().all(|p| p.len > around.len));
            for prefix in &cover {
                prop_assert_eq!(prefix.range().intersect(byte(first, last)).is_some(), true);
            }
        }
    }
}
