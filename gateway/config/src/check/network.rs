//! Cores, memory, routes.

use crate::device::Device;
use crate::diagnostics::Sink;
use crate::other_port;
use crate::schema::{Dataplane, Interface, Root, Route};
use crate::section::suggestion;
use std::net::IpAddr;

pub(super) fn check(root: &Root, complete: bool, sink: &mut Sink) {
    dataplane(&root.dataplane, sink);
    routes(root, complete, sink);
}

/// Workers that fit the shared counter blocks, one of which is housekeeping's.
const MAX_WORKERS: usize = 63;

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

pub(super) fn is_link_local(addr: IpAddr) -> bool {
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
        let known = out_of(root, route, complete, sink);
        let Some(via) = route.via else {
            if route.interface.is_none() && at.is_sound("via") && at.is_sound("interface") {
                let message = format!("the route to {} names neither via nor interface", route.destination);
                sink.error(at.at("destination"), message, "add via = \"…\", the address of the next router");
            }
            continue;
        };
        if route.destination.addr().is_ipv4() != via.is_ipv4() {
            let message = format!("{via} is not of the address family of {}", route.destination);
            sink.error(at.at("via"), message, "name a next hop of the same family");
        } else if known {
            next_hop(root, route, via, complete, sink);
        }
    }
}

/// Is the route's interface, where it names one, one that can be judged by?
fn out_of(root: &Root, route: &Route, complete: bool, sink: &mut Sink) -> bool {
    let Some(name) = &route.interface else { return true };
    let Some(interface) = root.interface.iter().find(|i| i.name == *name) else {
        if complete {
            let names: Vec<&str> = root.interface.iter().map(|i| i.name.as_str()).collect();
            let message = format!("there is no interface \"{name}\"");
            sink.error(route.places.at("interface"), message, suggestion(name, &names));
        }
        return false;
    };
    if interface.device == Device::Tunnel && route.via.is_some() {
        let message = format!("\"via\" with tunnel interface \"{name}\"");
        sink.error(route.places.at("via"), message, "leave it out: there are no neighbours in a tunnel");
        return false;
    }
    true
}

fn next_hop(root: &Root, route: &Route, via: IpAddr, complete: bool, sink: &mut Sink) {
    let at = &route.places;
    let wires = || root.interface.iter().filter(|i| i.device != Device::Tunnel);
    let nets = || wires().flat_map(|i| i.addresses.iter().map(move |net| (i, net)));
    let owns = |i: &&Interface| i.addresses.iter().any(|net| net.addr() == via);
    if let Some(owner) = root.interface.iter().find(owns) {
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
    let beside = route.interface.as_ref().and_then(|name| other_port(&root.bridge, name));
    let here =
        |i: &Interface| route.interface.as_ref().is_none_or(|name| *name == i.name || beside == Some(i.name.as_str()));
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
