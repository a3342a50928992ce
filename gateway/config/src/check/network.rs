//! Cores, ports, addresses, routes.

use crate::diagnostics::Sink;
use crate::schema::{Dataplane, Interface, Root, Route};
use crate::section::suggestion;
use ipnet::IpNet;
use std::net::IpAddr;

pub(super) fn check(root: &Root, complete: bool, sink: &mut Sink) {
    dataplane(&root.dataplane, sink);
    interfaces(root, complete, sink);
    routes(root, complete, sink);
}

/// Workers that fit the shared counter blocks, one of which is housekeeping's.
const MAX_WORKERS: usize = 63;
/// Ports that fit the shared counter blocks.
const MAX_PORTS: usize = 64;

fn dataplane(dataplane: &Dataplane, sink: &mut Sink) {
    let at = &dataplane.places;
    for (i, core) in dataplane.workers.iter().enumerate() {
        if dataplane.workers.iter().take(i).any(|c| c == core) {
            sink.error(at.entry("workers", i), format!("core {core} has a worker already"), "name each core once");
        }
    }
    if dataplane.workers.len() > MAX_WORKERS {
        let message = format!("{} workers; there can be {MAX_WORKERS}", dataplane.workers.len());
        sink.error(at.at("workers"), message, "name fewer cores");
    }
    if !dataplane.sa_slots.is_power_of_two() {
        let above = dataplane.sa_slots.next_power_of_two();
        let message = format!("\"sa_slots\" must be a power of two, not {}", dataplane.sa_slots);
        sink.error(at.at("sa_slots"), message, format!("write {above}"));
    }
    const LEAST: u64 = 64 << 20;
    if dataplane.memory_size < LEAST {
        let message = format!("\"memory_size\" of {} bytes is too small for any port", dataplane.memory_size);
        sink.error(at.at("memory_size"), message, "write \"64M\" or more");
    }
}

fn interfaces(root: &Root, complete: bool, sink: &mut Sink) {
    let all = &root.interface;
    if all.is_empty() && complete {
        sink.error(0..0, "there is no [[interface]]", "a gateway needs at least one, with name, device and addresses");
    }
    if let Some(extra) = all.get(MAX_PORTS) {
        sink.error(extra.places.at("name"), format!("more than {MAX_PORTS} interfaces"), "leave some out");
    }
    for (i, interface) in all.iter().enumerate() {
        let before = all.get(..i).unwrap_or_default();
        if let Some(other) = before.iter().find(|o| o.device == interface.device) {
            let message = format!("interface \"{}\" uses the device {} already", other.name, interface.device);
            sink.error(interface.places.at("device"), message, "each interface needs a device of its own");
        }
        addresses(interface, before, sink);
    }
}

fn addresses(interface: &Interface, before: &[Interface], sink: &mut Sink) {
    let at = &interface.places;
    if interface.addresses.is_empty() && at.is_sound("addresses") {
        let message =
            format!("interface \"{}\" has no address, so nothing can be sent or received by it", interface.name);
        sink.warning(at.at("addresses"), message, "write addresses = [\"192.0.2.1/24\"], with its own address");
    }
    for (i, net) in interface.addresses.iter().enumerate() {
        let span = at.entry("addresses", i);
        let earlier = interface.addresses.get(..i).unwrap_or_default();
        if earlier.iter().any(|e| e.addr() == net.addr()) {
            sink.error(span, format!("{} is there twice", net.addr()), "name each address once");
            continue;
        }
        let global = |n: &&IpNet| !is_link_local(n.addr());
        for other in before {
            let Some(clash) = other.addresses.iter().filter(global).find(|o| overlap(o, net)) else { continue };
            let message = match clash.addr() == net.addr() {
                true => format!("{} is an address of interface \"{}\" already", net.addr(), other.name),
                false => format!("{} overlaps {} of interface \"{}\"", net.trunc(), clash.trunc(), other.name),
            };
            sink.error(span.clone(), message, "each network can be on one interface only");
        }
    }
    let six = interface.addresses.iter().position(|net| net.addr().is_ipv6());
    if let Some(i) = six.filter(|_| interface.mtu < 1280) {
        let message = format!("interface \"{}\" has an IPv6 address and an mtu of {}", interface.name, interface.mtu);
        sink.error(at.entry("addresses", i), message, "IPv6 needs an mtu of 1280 or more (RFC 8200 §5)");
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

fn routes(root: &Root, complete: bool, sink: &mut Sink) {
    for (i, route) in root.route.iter().enumerate() {
        let at = &route.places;
        if root.route.iter().take(i).any(|r| r.destination == route.destination) {
            let message = format!("there is another route to {}", route.destination);
            sink.error(at.at("destination"), message, "a destination can have one next hop only");
        }
        if route.destination.addr().is_ipv4() != route.via.is_ipv4() {
            let message = format!("{} is not of the address family of {}", route.via, route.destination);
            sink.error(at.at("via"), message, "name a next hop of the same family");
            continue;
        }
        next_hop(root, route, complete, sink);
    }
}

fn next_hop(root: &Root, route: &Route, complete: bool, sink: &mut Sink) {
    let (at, via) = (&route.places, route.via);
    if let Some(name) = &route.interface
        && !root.interface.iter().any(|i| i.name == *name)
    {
        if complete {
            let names: Vec<&str> = root.interface.iter().map(|i| i.name.as_str()).collect();
            sink.error(at.at("interface"), format!("there is no interface \"{name}\""), suggestion(name, &names));
        }
        return;
    }
    let nets = || root.interface.iter().flat_map(|i| i.addresses.iter().map(move |net| (i, net)));
    if let Some((owner, _)) = nets().find(|(_, net)| net.addr() == via) {
        let message = format!("{via} is this box's own address, on interface \"{}\"", owner.name);
        sink.error(at.at("via"), message, "name the next router's address");
        return;
    }
    if is_link_local(via) && via.is_ipv6() {
        if route.interface.is_none() {
            let message = format!("{via} is link-local and does not tell its interface");
            sink.error(at.at("via"), message, "add interface = \"…\" to the route");
        }
        return;
    }
    let here = |i: &Interface| route.interface.as_ref().is_none_or(|name| *name == i.name);
    if nets().any(|(i, net)| here(i) && net.contains(&via)) || !complete {
        return;
    }
    let known: Vec<String> = nets()
        .filter(|(i, net)| here(i) && net.addr().is_ipv4() == via.is_ipv4())
        .map(|(i, net)| format!("{} on {}", net.trunc(), i.name))
        .collect();
    let help = match known.is_empty() {
        true => "no interface has an address of that family".to_owned(),
        false => format!("a next hop must be in one of: {}", known.join(", ")),
    };
    let message = format!("the next hop {via} is on no network of an interface");
    sink.error(at.at("via"), message, help);
}
