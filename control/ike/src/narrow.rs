//! Traffic selector narrowing, RFC 7296 §2.9.

use culvert_model::TrafficSelector;

/// What both sides allow, in the configured order, without doubles; empty is TS_UNACCEPTABLE.
pub(crate) fn narrow(ours: &[TrafficSelector], theirs: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let pairs = ours.iter().flat_map(|own| theirs.iter().filter_map(|their| own.intersect(their)));
    let mut found: Vec<TrafficSelector> = Vec::new();
    for ts in pairs {
        if !found.iter().any(|f| f.covers(&ts)) {
            found.retain(|f| !ts.covers(f));
            found.push(ts);
        }
    }
    // One octet counts them on the wire.
    found.truncate(255);
    found
}

/// Is everything in `chosen` inside something of `offered`? An answer may narrow, never widen.
pub(crate) fn within(chosen: &[TrafficSelector], offered: &[TrafficSelector]) -> bool {
    !chosen.is_empty() && chosen.iter().all(|c| offered.iter().any(|o| o.covers(c)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_model::{AddrRange, PortRange};

    fn net(text: &str) -> TrafficSelector {
        TrafficSelector::any(AddrRange::from(text.parse::<ipnet::IpNet>().expect("net")))
    }

    #[test]
    fn intersections_without_doubles() {
        assert_eq!(narrow(&[net("10.0.0.0/8")], &[net("10.1.0.0/16"), net("10.1.2.0/24")]), [net("10.1.0.0/16")]);
        assert_eq!(narrow(&[net("10.1.2.0/24"), net("10.1.0.0/16")], &[net("0.0.0.0/0")]), [net("10.1.0.0/16")]);
        assert_eq!(narrow(&[net("10.0.0.0/8")], &[net("192.168.0.0/16"), net("fd00::/8")]), []);
        let web = TrafficSelector { protocol: Some(6), ports: PortRange::single(80), ..net("10.0.0.0/8") };
        assert_eq!(narrow(&[net("10.1.0.0/16")], &[web]), [TrafficSelector { addrs: net("10.1.0.0/16").addrs, ..web }]);
    }

    #[test]
    fn answers_may_not_widen() {
        assert!(within(&[net("10.1.0.0/16")], &[net("10.0.0.0/8")]));
        assert!(!within(&[net("10.0.0.0/8")], &[net("10.1.0.0/16")]));
        assert!(!within(&[], &[net("10.1.0.0/16")]));
    }
}
