//! The path MTU of tunnels: what routers on the way say, how far that is believed, and for how long.
//!
//! Only news of the size is taken. Other ICMP errors about tunnel packets are counted and end here, as in Linux: they
//! are not authenticated, and RFC 4301 §6.1.1 leaves it to the administrator whether such may reach the inside.

mod news;
mod quote;

pub(crate) use quote::TooBig;

use crate::io::Tick;
use std::collections::HashMap;
use std::net::IpAddr;

/// RFC 791 §3.1 has every host take datagrams of this size. Smaller paths exist on paper; believing in them would let
/// forgers make tunnels useless.
pub(crate) const LEAST_V4: u16 = 576;
/// RFC 8200 §5.
pub(crate) const LEAST_V6: u16 = 1280;

/// RFC 1191 §6.3, RFC 8201 §5.2: after so long a larger size is tried again.
const BELIEVED_FOR: Tick = 10 * 60 * 1_000_000_000;

/// How many of the last numbers a quoted one may be behind: some seconds of a fast tunnel.
const RECENT: u32 = 1 << 20;

/// Pairs of addresses kept; more than that is no gateway's, and the oldest goes.
const MOST: usize = 4096;

/// Why a message is not believed (RFC 4301 §8.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Implausible {
    #[error("the quoted sequence number was not sent of late")]
    Sequence,
    #[error("the quoted packet would have fitted")]
    Fitted,
    #[error("the quoted packet may be fragmented")]
    MayFragment,
    #[error("smaller than any IPv6 path")]
    BelowLeast,
    #[error("no news")]
    NotLower,
}

impl TooBig {
    /// The path MTU this tells of an SA it quotes rightly, given the last sequence number it sent, and what is known
    /// by now (or the MTU of the way out).
    pub fn judge(&self, sent: u64, known: u16) -> Result<u16, Implausible> {
        let quote = &self.quote;
        if let Some(low) = quote.low {
            let behind = (sent as u32).wrapping_sub(low);
            if behind > RECENT || u64::from(behind) >= sent {
                return Err(Implausible::Sequence);
            }
        }
        if !quote.dont_fragment {
            return Err(Implausible::MayFragment);
        }
        let said = match u16::try_from(self.mtu) {
            Ok(0) if quote.local.is_ipv4() => plateau_below(quote.len),
            Ok(mtu) if usize::from(mtu) < quote.len => mtu,
            _ => return Err(Implausible::Fitted),
        };
        let said = match quote.local {
            IpAddr::V4(_) => said.max(LEAST_V4),
            // RFC 8201 §4: such a message must be discarded.
            IpAddr::V6(_) if said < LEAST_V6 => return Err(Implausible::BelowLeast),
            IpAddr::V6(_) => said,
        };
        if said < known { Ok(said) } else { Err(Implausible::NotLower) }
    }
}

/// RFC 1191 §7.1: sizes that networks have; the next one below what did not fit.
fn plateau_below(len: usize) -> u16 {
    const PLATEAUS: [u16; 9] = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296];
    PLATEAUS.into_iter().find(|plateau| usize::from(*plateau) < len).unwrap_or(68)
}

/// Local and remote address of tunnels: they share the way, and so what is known of it.
pub(crate) type Ends = (IpAddr, IpAddr);

/// What is known of paths, one number for each pair of tunnel addresses.
#[derive(Default)]
pub(crate) struct PathMtus {
    known: HashMap<Ends, Known>,
}

#[derive(Clone, Copy)]
struct Known {
    mtu: u16,
    since: Tick,
}

impl PathMtus {
    /// `None`: nothing was heard, the way out's own MTU counts.
    pub fn of(&self, ends: Ends) -> Option<u16> {
        self.known.get(&ends).map(|known| known.mtu)
    }

    /// What has to be forgotten for it is returned.
    pub fn learn(&mut self, now: Tick, ends: Ends, mtu: u16) -> Option<Ends> {
        self.known.insert(ends, Known { mtu, since: now });
        if self.known.len() <= MOST {
            return None;
        }
        let oldest = self.known.iter().min_by_key(|(_, known)| known.since).map(|(ends, _)| *ends)?;
        self.known.remove(&oldest);
        Some(oldest)
    }

    /// What was believed long enough, and now is not any more.
    pub fn forget(&mut self, now: Tick) -> Vec<Ends> {
        let is_old = |known: &Known| now.saturating_sub(known.since) >= BELIEVED_FOR;
        let old: Vec<Ends> = self.known.iter().filter(|(_, known)| is_old(known)).map(|(ends, _)| *ends).collect();
        self.known.retain(|_, known| !is_old(known));
        old
    }
}

#[cfg(test)]
mod tests {
    use super::quote::Quote;
    use super::*;
    use culvert_model::Spi;
    use culvert_wire::protocol;
    use proptest::prelude::*;

    fn too_big(mtu: u32, len: usize, low: Option<u32>) -> TooBig {
        let quote = Quote {
            local: IpAddr::from([192, 0, 2, 1]),
            remote: IpAddr::from([192, 0, 2, 2]),
            protocol: protocol::ESP,
            ports: None,
            spi: Spi::new(0xc0ff_ee01).unwrap(),
            low,
            len,
            dont_fragment: true,
        };
        TooBig { mtu, quote }
    }

    fn v6(mut message: TooBig) -> TooBig {
        message.quote.local = IpAddr::from([1; 16]);
        message
    }

    #[test]
    fn table_of_sizes() {
        use Implausible::{BelowLeast, Fitted, NotLower};
        // Said, quoted length, known; what is believed over IPv4 and IPv6.
        let table = [
            (1400, 1500, 1500, Ok(1400), Ok(1400)),
            (1499, 1500, 1500, Ok(1499), Ok(1499)),
            (1500, 1500, 1500, Err(Fitted), Err(Fitted)),
            (1600, 1500, 1500, Err(Fitted), Err(Fitted)),
            (1400, 1500, 1400, Err(NotLower), Err(NotLower)),
            (1400, 1500, 1300, Err(NotLower), Err(NotLower)),
            (1280, 1500, 1500, Ok(1280), Ok(1280)),
            (1279, 1500, 1500, Ok(1279), Err(BelowLeast)),
            (576, 1500, 1500, Ok(576), Err(BelowLeast)),
            (68, 1500, 1500, Ok(576), Err(BelowLeast)),
            (1, 1500, 1500, Ok(576), Err(BelowLeast)),
            (68, 1500, 576, Err(NotLower), Err(BelowLeast)),
            // Routers older than RFC 1191.
            (0, 1500, 1500, Ok(1492), Err(BelowLeast)),
            (0, 1492, 1500, Ok(1006), Err(BelowLeast)),
            (0, 1000, 1500, Ok(576), Err(BelowLeast)),
            (0, 20, 1500, Ok(576), Err(BelowLeast)),
            (0, 9000, 9000, Ok(8166), Err(BelowLeast)),
            (65_536 + 1400, 1500, 1500, Err(Fitted), Err(Fitted)),
        ];
        for (said, len, known, over_v4, over_v6) in table {
            let message = too_big(said, len, Some(100));
            assert_eq!(message.judge(100, known), over_v4, "{said} {len} {known}");
            assert_eq!(v6(message).judge(100, known), over_v6, "{said} {len} {known}, IPv6");
        }
    }

    #[test]
    fn table_of_sequence_numbers() {
        let high = 7u64 << 32;
        // Last number sent, quoted one.
        let table = [
            (1, 1, true),
            (100, 100, true),
            (100, 1, true),
            (100, 101, false),
            (100, 0, false),
            (0, 0, false),
            (high + 5, 5, true),
            (high + 5, 0xffff_fff0, true),
            (high + 5, 6, false),
            (u64::from(RECENT) + 9, 9, true),
            (u64::from(RECENT) + 9, 8, false),
        ];
        for (sent, low, good) in table {
            let got = too_big(1400, 1500, Some(low)).judge(sent, 1500);
            assert_eq!(got, if good { Ok(1400) } else { Err(Implausible::Sequence) }, "{sent} {low}");
        }
        assert_eq!(too_big(1400, 1500, None).judge(0, 1500), Ok(1400), "no number was quoted");
    }

    #[test]
    fn what_may_be_fragmented_is_not_refused() {
        let mut message = too_big(1400, 1500, None);
        message.quote.dont_fragment = false;
        assert_eq!(message.judge(1, 1500), Err(Implausible::MayFragment));
    }

    #[test]
    fn belief_ends() {
        let ends = |last: u16| (IpAddr::from([1; 4]), IpAddr::from((u32::from(last)).to_be_bytes()));
        let mut paths = PathMtus::default();
        paths.learn(5, ends(1), 1400);
        paths.learn(BELIEVED_FOR, ends(2), 1300);
        assert_eq!(paths.forget(BELIEVED_FOR + 4), []);
        assert_eq!((paths.of(ends(1)), paths.of(ends(2)), paths.of(ends(3))), (Some(1400), Some(1300), None));
        assert_eq!(paths.forget(BELIEVED_FOR + 5), [ends(1)]);
        assert_eq!((paths.of(ends(1)), paths.of(ends(2))), (None, Some(1300)));
        // Heard again, it counts anew.
        paths.learn(2 * BELIEVED_FOR - 1, ends(2), 1200);
        assert_eq!(paths.forget(2 * BELIEVED_FOR + 1), []);
        assert_eq!(paths.of(ends(2)), Some(1200));
    }

    #[test]
    fn a_bounded_number_is_kept() {
        let ends = |last: usize| (IpAddr::from([1; 4]), IpAddr::from((last as u32).to_be_bytes()));
        let mut paths = PathMtus::default();
        for n in 0..MOST {
            assert_eq!(paths.learn(n as Tick, ends(n), 1400), None);
        }
        assert_eq!(paths.learn(MOST as Tick, ends(MOST), 1400), Some(ends(0)));
        assert_eq!((paths.known.len(), paths.of(ends(0))), (MOST, None));
    }

    proptest! {
        /// Whatever is said, belief only shrinks, and never below what every path carries.
        #[test]
        fn belief_shrinks_to_the_floor(said: u32, len in 0usize..66_000, known in 1280u16.., low: Option<u32>, sent: u64, six: bool) {
            let message = too_big(said, len, low);
            let message = if six { v6(message) } else { message };
            if let Ok(mtu) = message.judge(sent, known) {
                let least = if six { LEAST_V6 } else { LEAST_V4 };
                prop_assert!(mtu < known && mtu >= least);
            }
        }
    }
}
