//! Ports, VLANs, tunnel interfaces and their addresses.

use super::network::is_link_local;
use crate::device::{Device, no_device};
use crate::diagnostics::Sink;
use crate::schema::{Interface, Root};
use crate::section::suggestion;
use ipnet::IpNet;

/// Ports that fit the shared counter blocks.
const MAX_PORTS: usize = 64;
const MAX_INTERFACES: usize = 4096;

pub(super) fn check(root: &Root, complete: bool, sink: &mut Sink) {
    let all = &root.interface;
    if all.is_empty() && complete {
        sink.error(0..0, "there is no [[interface]]", "a gateway needs at least one, with name, device and addresses");
    }
    if let Some(extra) = all.iter().filter(|interface| interface.device.is_port()).nth(MAX_PORTS) {
        sink.error(extra.places.at("device"), format!("more than {MAX_PORTS} ports"), "leave some out");
    }
    if let Some(extra) = all.get(MAX_INTERFACES) {
        sink.error(extra.places.at("name"), format!("more than {MAX_INTERFACES} interfaces"), "leave some out");
    }
    for (i, interface) in all.iter().enumerate() {
        let before = all.get(..i).unwrap_or_default();
        device(root, interface, before, complete, sink);
        let none = interface.addresses.is_empty() && interface.places.is_sound("addresses");
        if none && interface.device != Device::Tunnel && !is_bridged(root, interface) {
            no_address(interface, sink);
        }
        addresses(interface, before, sink);
    }
    bridges(root, complete, sink);
}

fn is_bridged(root: &Root, interface: &Interface) -> bool {
    root.bridge.iter().any(|bridge| bridge.ports.contains(&interface.name))
}

/// Two ports, alike in mtu, one with addresses at most, and nothing else on them.
fn bridges(root: &Root, complete: bool, sink: &mut Sink) {
    for (n, bridge) in root.bridge.iter().enumerate() {
        let at = &bridge.places;
        let [first, second] = bridge.ports.as_slice() else {
            let message = format!("a bridge of {} ports", bridge.ports.len());
            sink.error(at.at("ports"), message, "name two interfaces");
            continue;
        };
        for (i, name) in bridge.ports.iter().enumerate() {
            let earlier = root.bridge.iter().take(n).flat_map(|bridge| &bridge.ports);
            if earlier.chain(bridge.ports.iter().take(i)).any(|other| other == name) {
                let message = format!("interface \"{name}\" is bridged already");
                sink.error(at.entry("ports", i), message, "a port can be in one bridge, with one other");
            }
            match root.interface.iter().find(|interface| interface.name == *name) {
                Some(interface) if !interface.device.is_port() => {
                    let message = format!("interface \"{name}\" is no port");
                    sink.error(at.entry("ports", i), message, "bridge interfaces with devices of their own");
                }
                None if complete => {
                    let names: Vec<&str> = root.interface.iter().map(|i| i.name.as_str()).collect();
                    let message = format!("there is no interface \"{name}\"");
                    sink.error(at.entry("ports", i), message, suggestion(name, &names));
                }
                _ => {}
            }
            let on_it = |i: &&Interface| matches!(&i.device, Device::Interface(parent) if parent == name);
            if let Some(vlan) = root.interface.iter().find(on_it) {
                let message = format!("interface \"{name}\" is bridged, tagged frames and all");
                sink.error(vlan.places.at("device"), message, "leave this VLAN out, or the bridge");
            }
        }
        let find = |name: &String| root.interface.iter().find(|interface| interface.name == *name);
        let Some((first, second)) = find(first).zip(find(second)) else { continue };
        if first.mtu != second.mtu {
            let message = format!("mtu {} on \"{}\" and {} on \"{}\"", first.mtu, first.name, second.mtu, second.name);
            sink.error(at.at("ports"), message, "frames pass as they are: give both the same mtu");
        }
        if !first.addresses.is_empty() && !second.addresses.is_empty() {
            let message = format!("both \"{}\" and \"{}\" have addresses", first.name, second.name);
            sink.error(at.at("ports"), message, "give them to one of the two; they are there on both");
        }
    }
}

fn no_address(interface: &Interface, sink: &mut Sink) {
    let message = format!("interface \"{}\" has no address, so nothing can be sent or received by it", interface.name);
    let help = "write addresses = [\"192.0.2.1/24\"], with its own address";
    sink.warning(interface.places.at("addresses"), message, help);
}

fn device(root: &Root, interface: &Interface, before: &[Interface], complete: bool, sink: &mut Sink) {
    let at = &interface.places;
    match (&interface.device, interface.vlan) {
        (Device::Interface(parent), Some(id)) => vlan(root, interface, (parent, id), before, complete, sink),
        (Device::Interface(text), None) if at.is_sound("vlan") => {
            let (message, help) = no_device(text);
            let names_one = root.interface.iter().any(|other| other.name == *text);
            let help = if names_one { "add vlan = …, or name a device".to_owned() } else { help };
            sink.error(at.at("device"), message, help);
        }
        (Device::Interface(_), None) => {}
        (_, Some(_)) => {
            let message = format!("\"vlan\" with the device \"{}\"", interface.device);
            sink.error(at.at("vlan"), message, "a VLAN names the interface whose port it shares: device = \"…\"");
        }
        (Device::Tunnel, None) => tunnel(root, interface, complete, sink),
        (_, None) => {
            if let Some(other) = before.iter().find(|o| o.device == interface.device) {
                let message = format!("interface \"{}\" uses the device {} already", other.name, interface.device);
                sink.error(at.at("device"), message, "each interface needs a device of its own");
            }
        }
    }
}

fn vlan(
    root: &Root,
    interface: &Interface,
    (parent, id): (&str, u16),
    before: &[Interface],
    complete: bool,
    sink: &mut Sink,
) {
    let at = &interface.places;
    let Some(port) = root.interface.iter().find(|other| other.name == parent) else {
        if complete {
            let names: Vec<&str> = root.interface.iter().map(|i| i.name.as_str()).collect();
            sink.error(at.at("device"), format!("there is no interface \"{parent}\""), suggestion(parent, &names));
        }
        return;
    };
    if !port.device.is_port() {
        let message = format!("interface \"{parent}\" is no port");
        sink.error(at.at("device"), message, "a VLAN shares the port of an interface with a device");
    } else if interface.mtu > port.mtu {
        let message = format!("an mtu of {} is more than the {} of interface \"{parent}\"", interface.mtu, port.mtu);
        sink.error(at.at("mtu"), message, format!("make it at most {}, or that one larger", port.mtu));
    }
    let same = |other: &&Interface| other.device == interface.device && other.vlan == Some(id);
    if let Some(other) = before.iter().find(same) {
        let message = format!("interface \"{}\" has the VLAN {id} of \"{parent}\" already", other.name);
        sink.error(at.at("vlan"), message, "each VLAN of a port can be one interface");
    }
}

fn tunnel(root: &Root, interface: &Interface, complete: bool, sink: &mut Sink) {
    let named = |child: &crate::schema::Child| child.interface.as_ref() == Some(&interface.name);
    let children = root.connection.iter().flat_map(|connection| &connection.children);
    let manual = root.manual_sa.iter().any(|sa| sa.interface.as_ref() == Some(&interface.name));
    if complete && !manual && !children.into_iter().any(named) {
        let message = format!("nothing leaves by tunnel interface \"{}\": no child names it", interface.name);
        let help = format!("add interface = \"{}\" to a [[connection.child]] or [[manual_sa]]", interface.name);
        sink.warning(interface.places.at("device"), message, help);
    }
}

fn addresses(interface: &Interface, before: &[Interface], sink: &mut Sink) {
    let at = &interface.places;
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
