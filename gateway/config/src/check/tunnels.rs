//! Connections, secrets, selectors.

use super::headers::{self, hosts_only};
use super::{bundles, manual};
use crate::device::Device;
use crate::diagnostics::Sink;
use crate::reader::{Kind, Some1};
use crate::schema::{Child, Connection, Interface, PolicyEntry, Root};
use crate::secrets::fit;
use crate::section::{Places, suggestion};
use crate::selector::Selector;
use crate::words::{DownAction, PolicyAction, StartAction};
use crate::{ChildRef, bundle};
use culvert_model::{ChildId, Identity, IpsecProtocol, SaMode, TrafficSelector};
use std::net::IpAddr;

pub(super) fn check(root: &Root, complete: bool, sink: &mut Sink) {
    for connection in &root.connection {
        addresses(root, connection, complete, sink);
        peer_in_tunnel(root, connection, sink);
        one_peer(connection, sink);
        times(connection, sink);
        if complete {
            secret(root, connection, sink);
        }
        for child in &connection.children {
            self::child(connection, child, sink);
            tunnel_interface(root, child.interface.as_ref(), &child.places, complete, sink);
        }
        if connection.children.is_empty() && complete {
            let message = format!("connection \"{}\" has no child, so it protects nothing", connection.name);
            sink.warning(connection.places.at("name"), message, "add a [[connection.child]] below it");
        }
    }
    peers(root, sink);
    manual::check(root, complete, sink);
    root.policy.iter().for_each(|entry| policy(root, entry, complete, sink));
    if complete {
        bundles::check(root, sink);
    }
    selectors(root, sink);
    used_secrets(root, complete, sink);
}

/// Two peers of one connection would share its children, and the later one get the traffic of the earlier.
fn one_peer(connection: &Connection, sink: &mut Sink) {
    let sound = connection.places.is_sound("remote_addrs") && connection.remote.places.is_sound("id");
    if sound && connection.remote.id.is_none() && connection.remote_addrs.len() != 1 {
        let message = "a peer without one fixed address needs an identity".to_owned();
        sink.error(
            connection.places.at("name"),
            message,
            "add remote = { id = \"…\" }; one connection is for one peer",
        );
    }
}

pub(super) fn is_own(root: &Root, addr: IpAddr) -> bool {
    root.interface.iter().any(|i| i.addresses.iter().any(|net| net.addr() == addr))
}

pub(super) fn own_addresses(root: &Root) -> String {
    let own: Vec<String> = root.interface.iter().flat_map(|i| &i.addresses).map(|net| net.addr().to_string()).collect();
    match own.is_empty() {
        true => "no interface has an address".to_owned(),
        false => format!("addresses of the interfaces: {}", own.join(", ")),
    }
}

fn addresses(root: &Root, connection: &Connection, complete: bool, sink: &mut Sink) {
    let at = &connection.places;
    for (i, addr) in connection.local_addrs.iter().enumerate() {
        if complete && !is_own(root, *addr) {
            let message = format!("{addr} is not the address of an interface");
            sink.error(at.entry("local_addrs", i), message, own_addresses(root));
        }
    }
    for (i, addr) in connection.remote_addrs.iter().enumerate() {
        if is_own(root, *addr) {
            let message = format!("{addr} is this box's own address");
            sink.error(at.entry("remote_addrs", i), message, "name the peer's address");
        } else if let Some(local) = connection.local_addrs.first()
            && !connection.local_addrs.iter().any(|l| l.is_ipv4() == addr.is_ipv4())
        {
            let message = format!("{addr} cannot be reached from {local}: one is IPv4, the other IPv6");
            sink.error(at.entry("remote_addrs", i), message, "name addresses of the same family");
        }
    }
}

fn times(connection: &Connection, sink: &mut Sink) {
    let at = &connection.places;
    if connection.rand_time.is_some_and(|rand| rand > connection.rekey_time) && at.is_sound("rekey_time") {
        sink.error(at.at("rand_time"), "\"rand_time\" is more than \"rekey_time\"", "make it less");
    }
}

/// Is there a pre-shared key for the pair of identities?
fn secret(root: &Root, connection: &Connection, sink: &mut Sink) {
    let remote = connection.remote.id.as_ref();
    let locals: Vec<Identity> = match (&connection.local.id, connection.local_addrs.as_slice()) {
        (Some(id), _) => vec![id.clone()],
        (None, []) => root.interface.iter().flat_map(|i| &i.addresses).map(|net| net.addr().into()).collect(),
        (None, addrs) => addrs.iter().map(|addr| (*addr).into()).collect(),
    };
    let found = |local: &Identity| {
        root.secret.iter().any(|s| match remote {
            Some(remote) => fit(&s.ids, local, Some(remote)).is_some(),
            // Any peer that some secret names.
            None => true,
        })
    };
    if locals.iter().any(found) {
        return;
    }
    let place = connection.remote.places.at("id");
    let (Some(remote), Some(local)) = (remote, locals.first()) else {
        sink.error(place, "there is no [[secret]]", "add one with the pre-shared key of the peer");
        return;
    };
    let message = format!("no [[secret]] is for {local} with {remote}");
    sink.error(
        place,
        message,
        format!("add [[secret]] with ids = [\"{local}\", \"{remote}\"] and the file of the key"),
    );
}

fn child(connection: &Connection, child: &Child, sink: &mut Sink) {
    let at = &child.places;
    no_selectors(&child.local_ts, &child.remote_ts, child.interface.is_some(), at, sink);
    transport(connection, child, sink);
    let only_ah = child.esp_proposals.is_empty();
    headers::check(&child.headers, child.mode, if only_ah { IpsecProtocol::Ah } else { IpsecProtocol::Esp }, sink);
    if only_ah && connection.encap {
        // RFC 3947 §5.1: AH covers the addresses that a NAT changes.
        sink.error(at.at("ah_proposals"), "AH cannot go in UDP", "add esp_proposals, or leave \"encap\" out");
    }
    families(&child.name, &child.local_ts, &child.remote_ts, at, sink);
    let nowhere = "name the peer's address in remote_addrs, or leave the beginning to the peer";
    if connection.is_passive() && connection.places.is_sound("remote_addrs") {
        let wants = [
            ("start_action", child.start_action != StartAction::None, child.start_action.word()),
            ("dpd_action", child.dpd_action != DownAction::Clear, child.dpd_action.word()),
            ("close_action", child.close_action != DownAction::Clear, child.close_action.word()),
        ];
        for (key, _, word) in wants.into_iter().filter(|(_, wants, _)| *wants) {
            sink.error(at.at(key), format!("{key} = \"{word}\" with a peer that may be anywhere (%any)"), nowhere);
        }
    }
    let asks = !connection.dpd_delay.is_zero() || !connection.places.is_sound("dpd_delay");
    if child.dpd_action != DownAction::Clear && !asks {
        let message =
            format!("dpd_action = \"{}\" has no effect, because nothing asks the peer", child.dpd_action.word());
        sink.warning(at.at("dpd_action"), message, "give the connection a dpd_delay, such as \"30s\"");
    }
    limit(at, "life_time", "rekey_time", child.life_time.map(|t| t.as_secs()), child.rekey_time.as_secs(), sink);
    limit(at, "life_bytes", "rekey_bytes", child.life_bytes, child.rekey_bytes, sink);
    limit(at, "life_packets", "rekey_packets", child.life_packets, child.rekey_packets, sink);
    if child.rand_time.is_some_and(|rand| rand > child.rekey_time) && at.is_sound("rekey_time") {
        sink.error(at.at("rand_time"), "\"rand_time\" is more than \"rekey_time\"", "make it less");
    }
}

/// Transport mode is for the two ends' own packets.
fn transport(connection: &Connection, child: &Child, sink: &mut Sink) {
    if child.mode != SaMode::Transport {
        return;
    }
    let at = &child.places;
    if child.interface.is_some() {
        sink.error(at.at("mode"), "a tunnel interface needs mode = \"tunnel\"", "leave \"mode\" or \"interface\" out");
    }
    if connection.encap {
        let message = "transport mode does not go through UDP encapsulation";
        sink.error(at.at("mode"), message, "use \"tunnel\", or leave \"encap\" out");
    }
    let ends = [
        ("local_ts", &child.local_ts, &connection.local_addrs),
        ("remote_ts", &child.remote_ts, &connection.remote_addrs),
    ];
    for (key, selectors, addrs) in ends {
        hosts_only(key, selectors, addrs, at, sink);
    }
}

/// A hard limit must leave room for the rekey before it.
fn limit(at: &Places, hard: &str, soft: &str, life: Option<u64>, rekey: u64, sink: &mut Sink) {
    let Some(life) = life.filter(|life| *life != 0 && at.is_sound(soft)) else { return };
    if rekey != 0 && life <= rekey {
        let message = format!("\"{hard}\" ({life}) is reached before \"{soft}\" ({rekey})");
        sink.error(at.at(hard), message, format!("make \"{hard}\" more than \"{soft}\""));
    } else if rekey == 0 {
        let message = format!("\"{hard}\" ends the SA and \"{soft}\" does not renew it before");
        sink.warning(at.at(hard), message, format!("set \"{soft}\" to somewhat less"));
    }
}

/// Where no route chooses the traffic, selectors must.
pub(super) fn no_selectors(
    local: &[TrafficSelector],
    remote: &[TrafficSelector],
    route_based: bool,
    at: &Places,
    sink: &mut Sink,
) {
    for (key, side) in [("local_ts", local), ("remote_ts", remote)] {
        if !side.is_empty() || route_based || !at.is_sound(key) {
            continue;
        }
        let help = format!("\"{key}\" must be {}", Some1::<Selector>::shape());
        let message = if at.is_there(key) { "is empty" } else { "is missing" };
        sink.error(at.at(key), format!("\"{key}\" {message}"), help);
    }
}

pub(super) fn tunnel_interface(root: &Root, name: Option<&String>, at: &Places, complete: bool, sink: &mut Sink) {
    let Some(name) = name else { return };
    match root.interface.iter().find(|interface| interface.name == *name) {
        Some(interface) if interface.device == Device::Tunnel => {}
        Some(_) => {
            let message = format!("interface \"{name}\" is no tunnel interface");
            sink.error(at.at("interface"), message, "name an [[interface]] with device = \"tunnel\"");
        }
        None if complete => {
            let tunnels = root.interface.iter().filter(|interface| interface.device == Device::Tunnel);
            let names: Vec<&str> = tunnels.map(|interface| interface.name.as_str()).collect();
            sink.error(at.at("interface"), format!("there is no interface \"{name}\""), suggestion(name, &names));
        }
        None => {}
    }
}

fn policy(root: &Root, policy: &PolicyEntry, complete: bool, sink: &mut Sink) {
    tunnel_interface(root, policy.interface.as_ref(), &policy.places, complete, sink);
    if policy.interface.is_some() && policy.action == PolicyAction::Bypass {
        let message =
            format!("\"{}\" bypasses IPsec, and there is no other way out of a tunnel interface", policy.name);
        sink.error(policy.places.at("action"), message, "route the traffic by another interface instead");
    }
    families(&policy.name, &policy.local_ts, &policy.remote_ts, &policy.places, sink);
}

/// A tunnel cannot carry its own packets.
fn peer_in_tunnel(root: &Root, connection: &Connection, sink: &mut Sink) {
    let nets = |interface: &Interface| interface.addresses.iter().map(|net| net.trunc()).collect::<Vec<_>>();
    for (i, peer) in connection.remote_addrs.iter().enumerate() {
        let static_routes = root.route.iter().map(|route| (route.destination, route.interface.as_ref()));
        let connected = root.interface.iter().flat_map(|i| nets(i).into_iter().map(move |net| (net, Some(&i.name))));
        let ways = static_routes.chain(connected).filter(|(net, _)| net.contains(peer));
        let Some((_, Some(name))) = ways.max_by_key(|(net, _)| net.prefix_len()) else { continue };
        if connection.children.iter().any(|child| child.interface.as_ref() == Some(name)) {
            let message = format!("{peer} is routed into \"{name}\", the tunnel to itself");
            let help = format!("add a [[route]] to {peer} by another way");
            sink.error(connection.places.entry("remote_addrs", i), message, help);
        }
    }
}

/// Without a family on both sides no packet can match.
pub(super) fn families(
    name: &str,
    local: &[TrafficSelector],
    remote: &[TrafficSelector],
    at: &Places,
    sink: &mut Sink,
) {
    for (i, ts) in remote.iter().enumerate() {
        if !local.iter().any(|l| l.addrs.is_ipv4() == ts.addrs.is_ipv4()) {
            let message = format!("\"{name}\": {ts} has no local_ts of its address family");
            sink.error(at.entry("remote_ts", i), message, "name networks of the same families on both sides");
        }
    }
    for (i, ts) in local.iter().enumerate() {
        if !remote.iter().any(|r| r.addrs.is_ipv4() == ts.addrs.is_ipv4()) {
            let message = format!("\"{name}\": {ts} has no remote_ts of its address family");
            sink.error(at.entry("local_ts", i), message, "name networks of the same families on both sides");
        }
    }
}

/// A responder finds the connection by addresses and identities; two alike and the second is never found.
fn peers(root: &Root, sink: &mut Sink) {
    let same = |a: &Connection, b: &Connection| {
        a.remote.id == b.remote.id
            && a.local.id == b.local.id
            && a.local_addrs == b.local_addrs
            && a.remote_addrs == b.remote_addrs
            && a.remote_port == b.remote_port
    };
    for (i, connection) in root.connection.iter().enumerate() {
        if let Some(other) = root.connection.iter().take(i).find(|other| same(other, connection)) {
            let message = format!("\"{}\" is for the same peer as \"{}\"", connection.name, other.name);
            sink.warning(
                connection.places.at("name"),
                message,
                "put the children under one connection, or tell them apart by id",
            );
        }
    }
}

/// Selectors of one child or manual SA.
struct Side<'a> {
    id: ChildId,
    name: String,
    interface: Option<&'a str>,
    local: &'a [TrafficSelector],
    remote: &'a [TrafficSelector],
    places: &'a Places,
    bundle: Option<ChildId>,
}

fn side<'a>(root: &'a Root, id: ChildId, child: ChildRef<'a>) -> Side<'a> {
    let (local, remote) = child.selectors();
    let (name, places) = match child {
        ChildRef::Ike(connection, child) => (format!("{}/{}", connection.name, child.name), &child.places),
        ChildRef::Manual(sa) => (sa.name.clone(), &sa.places),
    };
    let bundle = child.bundle_name().and_then(|name| bundle::find(&root.connection, &root.manual_sa, name).ok());
    Side { id, name, interface: child.interface(), local, remote, places, bundle }
}

/// The first of two children in the file gets what both select. More are not compared: the time would grow with the
/// square.
fn selectors(root: &Root, sink: &mut Sink) {
    const MAX_COMPARED: usize = 2000;
    let children = bundle::children(&root.connection, &root.manual_sa);
    let all: Vec<Side<'_>> = children.take(MAX_COMPARED).map(|(id, child)| side(root, id, child)).collect();
    let meets =
        |a: &[TrafficSelector], b: &[TrafficSelector]| a.iter().any(|a| b.iter().any(|b| a.intersect(b).is_some()));
    for (i, side) in all.iter().enumerate() {
        let same =
            |o: &&Side<'_>| o.interface == side.interface && meets(o.local, side.local) && meets(o.remote, side.remote);
        // What comes out of an inner SA of a bundle is for the outer one by name, not by selectors.
        let mut before = all.iter().take(i).filter(|other| other.bundle != Some(side.id));
        let Some(other) = before.find(same) else { continue };
        let message = format!("the traffic of \"{}\" overlaps that of \"{}\"", side.name, other.name);
        let help = format!("what both select goes through \"{}\", which comes first in the file", other.name);
        sink.warning(side.places.at("remote_ts"), message, help);
    }
}

fn used_secrets(root: &Root, complete: bool, sink: &mut Sink) {
    if !complete || root.connection.iter().any(|c| c.remote.id.is_none() || c.local.id.is_none()) {
        return;
    }
    for secret in &root.secret {
        let used = root.connection.iter().any(|c| match (&c.local.id, &c.remote.id) {
            (Some(local), Some(remote)) => fit(&secret.ids, local, Some(remote)).is_some(),
            _ => true,
        });
        if !used {
            sink.warning(
                secret.places.at("ids"),
                "no connection uses this secret",
                "check the spelling of the ids, or leave it out",
            );
        }
    }
}
