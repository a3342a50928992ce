//! Congestion marks across the tunnel (RFC 6040).

/// The two ECN bits of the traffic class.
pub(crate) const MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// The outer mark: normal mode copies it, compatibility mode says Not-ECT (RFC 6040 §4.1).
pub(crate) const fn outer(inner: u8, normal: bool) -> u8 {
    if normal { inner & MASK } else { NOT_ECT }
}

/// The inner traffic class of a packet taken out of its tunnel (RFC 6040 §4.2 figure 4); `None`: drop it, because the
/// network marked a packet whose sender would not see the mark. DSCP stays the inner one.
pub(crate) const fn inner(inner: u8, outer: u8) -> Option<u8> {
    let ecn = match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => return None,
        (NOT_ECT, _) => NOT_ECT,
        (_, CE) => CE,
        (ECT_0, ECT_1) => ECT_1,
        (kept, _) => kept,
    };
    Some(inner & !MASK | ecn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_4() {
        // Columns: outer Not-ECT, ECT(0), ECT(1), CE.
        let outers = [NOT_ECT, ECT_0, ECT_1, CE];
        let rows = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (from, row) in rows {
            for (outer, want) in outers.into_iter().zip(row) {
                let (dscp, outer_dscp) = (0b1011_1000, 0b0001_0100);
                assert_eq!(
                    inner(dscp | from, outer_dscp | outer),
                    want.map(|ecn| dscp | ecn),
                    "{from:02b} in {outer:02b}"
                );
            }
        }
    }

    #[test]
    fn normal_mode_copies() {
        for tos in 0..=255 {
            assert_eq!((outer(tos, true), outer(tos, false)), (tos & 0b11, NOT_ECT));
        }
    }
}
