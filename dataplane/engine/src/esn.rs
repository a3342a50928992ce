//! Extended sequence numbers: the high half is not on the wire (RFC 4303 Appendix A).

/// The 64-bit number whose low half is `low`, seen by a receiver whose highest accepted number is `top` and whose window
/// is `window` numbers: the only one between the window's left edge and 2^32 beyond it (RFC 4303 §A2.2). Without a
/// window (0) the nearest to the top.
///
/// A guess until the ICV, which covers the high half, is verified.
pub fn reconstruct(top: u64, window: u32, low: u32) -> u64 {
    let window = if window == 0 { 1 << 31 } else { window };
    let (top_high, top_low) = ((top >> 32) as u32, top as u32);
    let bottom = top_low.wrapping_sub(window - 1);
    let high = if top_low >= window - 1 {
        // Case A: the window lies in one subspace.
        if low >= bottom { top_high } else { top_high.wrapping_add(1) }
    } else if low >= bottom {
        // Case B: it spans two. Below the very first subspace there is none.
        top_high.saturating_sub(1)
    } else {
        top_high
    };
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges() {
        const M: u64 = u32::MAX as u64;
        let cases = [
            // top, window, low, number
            (0, 64, 1, 1),
            (0, 64, u32::MAX, M),
            (100, 64, 37, 37),
            (100, 64, 36, (1 << 32) + 36),
            (M, 64, 0, M + 1),
            (M, 64, u32::MAX, M),
            (M + 1, 64, u32::MAX, M),
            (M + 1, 64, u32::MAX - 62, M - 62),
            (M + 1, 64, u32::MAX - 63, (1 << 32) + M - 63),
            ((5 << 32) + 3, 64, u32::MAX, (4 << 32) + M),
            ((5 << 32) + 63, 64, 0, 5 << 32),
            ((5 << 32) + 64, 64, 0, 6 << 32),
            (7, 1, 7, 7),
            (7, 1, 6, (1 << 32) + 6),
            (7, 0, 7, 7),
            ((5 << 32) + 7, 0, 6, (5 << 32) + 6),
            ((5 << 32) + 7, 0, u32::MAX, (4 << 32) + M),
        ];
        for (top, window, low, want) in cases {
            assert_eq!(reconstruct(top, window, low), want, "top {top:#x}, window {window}, low {low:#x}");
        }
    }

    /// By definition: the number with this low half in [left edge, left edge + 2^32), or 2^32 further where that is
    /// below zero.
    fn slow(top: u64, window: u32, low: u32) -> u64 {
        let left = i128::from(top) - i128::from(window.max(1)) + 1;
        let found = (-1..=1)
            .map(|step| ((i128::from(top >> 32) + step) << 32) + i128::from(low))
            .find(|n| (left..left + (1 << 32)).contains(n))
            .expect("one of three neighbours fits");
        u64::try_from(if found < 0 { found + (1 << 32) } else { found }).unwrap()
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            high in 0u64..5, near in prop_oneof![0u32..3000, any::<u32>(), (u32::MAX - 3000)..],
            window in 1u32..2048, low in prop_oneof![0u32..3000, any::<u32>(), (u32::MAX - 3000)..],
        ) {
            let top = high << 32 | u64::from(near);
            prop_assert_eq!(reconstruct(top, window, low), slow(top, window, low));
        }
    }
}
