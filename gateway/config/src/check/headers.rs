//! Modes, and what goes with them.

use crate::diagnostics::Sink;
use crate::headers::Headers;
use crate::section::Places;
use culvert_model::{AddrRange, IpsecProtocol, SaMode, Tfc, TrafficSelector};
use std::net::IpAddr;

/// Keys about a tunnel's outer header.
const OUTER: [&str; 6] = ["df", "copy_dscp", "dscp", "copy_ecn", "hop_limit", "copy_flow_label"];

pub(super) fn check(headers: &Headers, mode: SaMode, protocol: IpsecProtocol, sink: &mut Sink) {
    let at = &headers.places;
    for key in OUTER.into_iter().filter(|key| mode == SaMode::Transport && at.is_there(key)) {
        let message = format!("\"{key}\" has no effect in transport mode, which adds no header");
        sink.warning(at.at(key), message, "leave it out");
    }
    if headers.dscp_is_lost() {
        let message = "\"dscp\" has no effect where the inner one is copied";
        sink.error(at.at("dscp"), message, "add copy_dscp = \"no\" or \"in\", or leave it out");
    }
    let has = [("tfc_padding", headers.tfc_padding != Tfc::Off), ("dummy_packets", headers.dummy_packets != 0)];
    for (key, _) in has.into_iter().filter(|(_, has)| *has) {
        if protocol == IpsecProtocol::Ah {
            sink.error(at.at(key), format!("AH knows no \"{key}\""), "use ESP to hide lengths and times");
        } else if mode == SaMode::Transport && key == "tfc_padding" {
            // RFC 4303 §2.7: the receiver could not tell the padding from the payload.
            sink.error(at.at(key), "\"tfc_padding\" is for tunnel mode", "leave it out");
        }
    }
}

/// Transport mode protects what goes from one address to the other. No `ends`: that end may have any address.
pub(super) fn hosts_only(key: &str, selectors: &[TrafficSelector], ends: &[IpAddr], at: &Places, sink: &mut Sink) {
    let is_end = |addrs: AddrRange| match ends {
        [] => addrs.start() == addrs.end(),
        ends => ends.iter().any(|end| addrs == AddrRange::single(*end)),
    };
    for (i, selector) in selectors.iter().enumerate().filter(|(_, s)| !is_end(s.addrs)) {
        let message = match ends {
            [] => format!("transport mode carries packets of one address, not of {}", selector.addrs),
            ends => {
                let ends: Vec<String> = ends.iter().map(ToString::to_string).collect();
                format!("transport mode carries packets of {} alone, not of {}", ends.join(", "), selector.addrs)
            }
        };
        sink.error(at.entry(key, i), message, "write the address of that end, or use mode = \"tunnel\"");
    }
}
