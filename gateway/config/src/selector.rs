//! Traffic selectors in swanctl's notation: `10.1.0.0/16[tcp/80]`.

use crate::reader::{Refusal, Text};
use crate::section::nearest;
use culvert_model::{AddrRange, PortRange, TrafficSelector};
use ipnet::IpNet;
use std::net::IpAddr;

pub(crate) struct Selector;

/// Names of IANA protocol numbers that selectors are written with.
const PROTOCOLS: [(&str, u8); 11] = [
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("sctp", 132),
    ("ipv6-mobility", MOBILITY),
    ("udplite", 136),
];

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const MOBILITY: u8 = 135;

/// Protocols whose packets show ports, or a type and code in their place.
const WITH_PORTS: [u8; 7] = [ICMP, 6, 17, ICMPV6, 132, MOBILITY, 136];

impl Text for Selector {
    type Value = TrafficSelector;
    const SHAPE: &'static str = "a traffic selector, such as \"10.1.0.0/16\" or \"2001:db8::/32[tcp/80]\"";

    fn parse(text: &str) -> Result<TrafficSelector, Refusal> {
        if text == "dynamic" || text.starts_with("dynamic[") {
            let help = "write the networks themselves";
            return Err((format!("{text:?} is not supported yet"), help.into()));
        }
        let (addrs, rest) = match text.split_once('[') {
            None => (text, None),
            Some((addrs, rest)) => match rest.strip_suffix(']') {
                Some(inner) => (addrs, Some(inner)),
                None => {
                    return Err((format!("{text:?} has no \"]\" at its end"), "as in \"10.1.0.0/16[tcp/80]\"".into()));
                }
            },
        };
        let addrs = range(addrs.trim())?;
        let (protocol, ports) = rest.map_or(Ok((None, PortRange::ANY)), upper)?;
        Ok(TrafficSelector { addrs, protocol, ports })
    }
}

fn range(text: &str) -> Result<AddrRange, Refusal> {
    if let Ok(net) = text.parse::<IpNet>() {
        if net.trunc() != net {
            let message = format!("{text:?} has bits set after its prefix");
            return Err((
                message,
                format!("write \"{}\" for the network, \"{}\" for the host", net.trunc(), net.addr()),
            ));
        }
        return Ok(net.into());
    }
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Ok(AddrRange::single(addr));
    }
    if let Some((start, end)) = text.split_once('-')
        && let (Ok(start), Ok(end)) = (start.trim().parse(), end.trim().parse())
    {
        return AddrRange::new(start, end).map_err(|e| (e.to_string(), String::new()));
    }
    let help = "write for example \"10.1.0.0/16\", \"10.1.0.5\", \"10.1.0.5-10.1.0.9\" or \"2001:db8::/32\"";
    Err((format!("{text:?} is no network, address or range"), help.into()))
}

/// The part in brackets: `protocol`, `protocol/port`, `icmp/type`, `icmp/type/code`, `any/port`, `/port`.
fn upper(text: &str) -> Result<(Option<u8>, PortRange), Refusal> {
    let (protocol, port) = text.split_once('/').map_or((text, None), |(protocol, port)| (protocol, Some(port)));
    let protocol = match protocol.trim() {
        "any" | "" | "0" => None,
        word => Some(protocol_number(word)?),
    };
    let ports = match (protocol, port) {
        (_, None) => PortRange::ANY,
        (Some(ICMP | ICMPV6 | MOBILITY), Some(text)) => message_types(protocol == Some(MOBILITY), text.trim())?,
        (_, Some(text)) => port_range(text.trim())?,
    };
    if ports != PortRange::ANY && protocol.is_none_or(|p| !WITH_PORTS.contains(&p)) {
        let help = "ports go with tcp, udp, sctp and udplite, a type with icmp, ipv6-icmp and ipv6-mobility";
        return Err((format!("[{text}] names a port without a protocol that has ports"), help.into()));
    }
    Ok((protocol, ports))
}

fn protocol_number(word: &str) -> Result<u8, Refusal> {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
    named.or_else(|| word.parse().ok()).ok_or_else(|| {
        let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        let near = nearest(word, &names).map_or_else(|| names.join(", "), |near| format!("\"{near}\""));
        (format!("unknown protocol \"{word}\""), format!("write {near}, or a number from 0 to 255"))
    })
}

/// ICMP's type and code, or a mobility header's type, which stand in the place of ports as type × 256 + code (RFC 7296
/// §3.13.1). A type alone is all its codes; a number too large for a type is the whole, as swanctl writes it.
fn message_types(mobility: bool, text: &str) -> Result<PortRange, Refusal> {
    let bad = || {
        let help = "write a type such as icmp/8, a type and code such as icmp/3/4, a range of types, or any";
        (format!("\"{text}\" is no type of a message"), help.to_owned())
    };
    let octet = |text: &str| text.trim().parse::<u8>().map(u16::from);
    let last_code = if mobility { 0 } else { 255 };
    if let Some((kind, code)) = text.split_once('/') {
        return match (octet(kind), octet(code)) {
            (Ok(kind), Ok(code)) if !mobility => Ok(PortRange::single(kind * 256 + code)),
            _ => Err(bad()),
        };
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (octet(first), octet(last)) {
        (Ok(first), Ok(last)) => {
            PortRange::new(first * 256, last * 256 + last_code).map_err(|e| (e.to_string(), String::new()))
        }
        _ => port_range(text).map_err(|_| bad()),
    }
}

fn port_range(text: &str) -> Result<PortRange, Refusal> {
    let bad = || {
        let help = "write a number from 0 to 65535, a range such as 5000-5100, or any";
        (format!("\"{text}\" is no port or range of ports"), help.to_owned())
    };
    match (text, text.split_once('-')) {
        ("any", _) => Ok(PortRange::ANY),
        ("opaque", _) => Ok(PortRange::OPAQUE),
        (_, Some((start, end))) => {
            let start = start.trim().parse().map_err(|_| bad())?;
            let end = end.trim().parse().map_err(|_| bad())?;
            PortRange::new(start, end).map_err(|e| (e.to_string(), String::new()))
        }
        (_, None) => text.parse().map(PortRange::single).map_err(|_| bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swanctl_notation() {
        for (text, shown) in [
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("10.1.0.5", "10.1.0.5/32"),
            ("10.1.0.5-10.1.0.9", "10.1.0.5-10.1.0.9"),
            ("10.1.0.0/16[tcp/80]", "10.1.0.0/16[6/80]"),
            ("10.1.0.0/16[udp]", "10.1.0.0/16[17]"),
            ("10.1.0.0/16[89]", "10.1.0.0/16[89]"),
            ("2001:db8::/32[udp/5000-5100]", "2001:db8::/32[17/5000-5100]"),
            ("::/0[ipv6-icmp/32768]", "::/0[58/32768]"),
            ("::/0[ipv6-icmp/128]", "::/0[58/32768-33023]"),
            ("0.0.0.0/0[icmp/8]", "0.0.0.0/0[1/2048-2303]"),
            ("0.0.0.0/0[icmp/3/4]", "0.0.0.0/0[1/772]"),
            ("0.0.0.0/0[icmp/0/0]", "0.0.0.0/0[1/0]"),
            ("0.0.0.0/0[icmp/13-18]", "0.0.0.0/0[1/3328-4863]"),
            ("0.0.0.0/0[icmp/2048-2303]", "0.0.0.0/0[1/2048-2303]"),
            ("0.0.0.0/0[icmp/any]", "0.0.0.0/0[1]"),
            ("0.0.0.0/0[icmp/opaque]", "0.0.0.0/0[1/opaque]"),
            ("::/0[ipv6-mobility/5]", "::/0[135/1280]"),
            ("::/0[ipv6-mobility]", "::/0[135]"),
            ("10.0.0.0/8[udplite/7]", "10.0.0.0/8[136/7]"),
            ("0.0.0.0/0[sctp/opaque]", "0.0.0.0/0[132/opaque]"),
            ("0.0.0.0/0[any/any]", "0.0.0.0/0"),
        ] {
            assert_eq!(Selector::parse(text).map(|ts| ts.to_string()), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn refusals() {
        for (text, part) in [
            ("", "no network"),
            ("10.1.0.0/33", "no network"),
            ("10.1.0.1/16", "bits set after its prefix"),
            ("10.1.0.9-10.1.0.5", "ends before it starts"),
            ("10.1.0.9-::1", "different address families"),
            ("10.1.0.0/16[tcp", "no \"]\""),
            ("10.1.0.0/16[tpc]", "unknown protocol"),
            ("10.1.0.0/16[256]", "unknown protocol"),
            ("10.1.0.0/16[tcp/65536]", "no port"),
            ("10.1.0.0/16[tcp/90-80]", "ends before it starts"),
            ("10.1.0.0/16[any/80]", "without a protocol that has ports"),
            ("10.1.0.0/16[gre/80]", "without a protocol that has ports"),
            ("10.1.0.0/16[icmp/8/256]", "no type"),
            ("10.1.0.0/16[icmp/3/4/5]", "no type"),
            ("10.1.0.0/16[icmp/echo]", "no type"),
            ("10.1.0.0/16[icmp/18-13]", "ends before it starts"),
            ("::/0[ipv6-mobility/5/1]", "no type"),
            ("dynamic", "not supported yet"),
        ] {
            let (message, _) = Selector::parse(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
        assert!(Selector::parse("10.1.0.0/16[tpc]").unwrap_err().1.contains("\"tcp\""));
    }
}
