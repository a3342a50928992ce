//! A packet, or a fragment of one, against the selectors of an SA (RFC 4301 §4.4.2, §7).

use culvert_model::{Flow, TrafficSelector};
use culvert_wire::Fragmentation;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Yes,
    No,
    /// A fragment: the ports of the whole decide. For the first one too, although it shows them: none may go alone.
    Unseen,
}

/// Does any of `from` with any of `to` fit? Later fragments have no ports; selectors that ask for OPAQUE ones take them.
pub(crate) fn fit(flow: &Flow, fragmentation: Fragmentation, from: &[TrafficSelector], to: &[TrafficSelector]) -> Fit {
    if fragmentation != Fragmentation::Whole {
        let hidden = Flow { source_port: None, destination_port: None, ..*flow };
        if !hidden.matches(from, to) && some_ports_match(flow, from, to) {
            return Fit::Unseen;
        }
    }
    if flow.matches(from, to) { Fit::Yes } else { Fit::No }
}

fn some_ports_match(flow: &Flow, from: &[TrafficSelector], to: &[TrafficSelector]) -> bool {
    let fits = |ts: &TrafficSelector, addr| ts.addrs.contains(addr) && ts.protocol.is_none_or(|p| p == flow.protocol);
    from.iter().any(|ts| fits(ts, flow.source)) && to.iter().any(|ts| fits(ts, flow.destination))
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_model::{AddrRange, PortRange};
    use ipnet::IpNet;

    fn ts(net: &str, protocol: Option<u8>, ports: PortRange) -> Vec<TrafficSelector> {
        let addrs = AddrRange::from(net.parse::<IpNet>().unwrap());
        vec![TrafficSelector { addrs, protocol, ports }]
    }

    #[test]
    fn table() {
        use Fit::{No, Unseen, Yes};
        let from = ts("10.1.0.0/16", None, PortRange::ANY);
        let any = ts("10.7.0.0/16", None, PortRange::ANY);
        let web = ts("10.7.0.0/16", Some(6), PortRange::single(80));
        let opaque = ts("10.7.0.0/16", Some(6), PortRange::OPAQUE);
        let elsewhere = ts("10.8.0.0/16", Some(6), PortRange::single(80));
        let both = [any.clone(), web.clone()].concat();
        // Selectors, port of the packet; what a whole packet, a first and a later fragment of it are.
        let table = [
            (&any, 80, [Yes, Yes, Yes]),
            (&web, 80, [Yes, Unseen, Unseen]),
            (&web, 81, [No, Unseen, Unseen]),
            (&opaque, 80, [No, No, Yes]),
            (&elsewhere, 80, [No, No, No]),
            (&both, 81, [Yes, Yes, Yes]),
        ];
        let kinds = [Fragmentation::Whole, Fragmentation::First, Fragmentation::Later];
        for (to, port, expected) in table {
            let got = kinds.map(|fragmentation| {
                let port = (fragmentation != Fragmentation::Later).then_some(port);
                let flow = Flow {
                    source: [10, 1, 0, 1].into(),
                    destination: [10, 7, 0, 1].into(),
                    protocol: 6,
                    source_port: port,
                    destination_port: port,
                };
                let udp = Flow { protocol: 17, ..flow };
                let other = fit(&udp, fragmentation, &from, &web);
                assert_eq!(other, No, "of another protocol");
                fit(&flow, fragmentation, &from, to)
            });
            assert_eq!(got, expected, "{to:?} {port}");
        }
    }
}
