//! From the checked configuration to what `ike` is told.

use culvert_config::{Child, ChildRef, Config, Connection, Device, DownAction, Secrets, StartAction};
use culvert_ike as ike;
use culvert_model::{AddrRange, ChildId, Identity, InterfaceId};
use std::collections::HashMap;
use std::net::IpAddr;

#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    #[error("connection {connection}: no interface has an address from which {peer} can be reached; set local_addrs")]
    NoLocalAddress { connection: String, peer: IpAddr },
}

/// Connections with their children's numbers, and keys.
pub fn ike_config(config: &Config, secrets: &Secrets) -> Result<ike::Config, TranslateError> {
    let secrets = secrets.psks().map(|(ids, psk)| ike::Secret { ids: ids.to_vec(), psk: psk.clone() });
    let mut children: HashMap<&str, Vec<_>> = HashMap::new();
    for (id, child) in config.children() {
        if let ChildRef::Ike(connection, of_it) = &child {
            let interface = child.interface().and_then(|name| config.interface_id(name));
            let child = self::child(id, of_it, config.bundle(&child), interface);
            children.entry(connection.name.as_str()).or_default().push(child);
        }
    }
    let mut of = |c: &Connection| children.remove(c.name.as_str()).unwrap_or_default();
    let connections: Result<Vec<_>, _> = config.connections.iter().map(|c| connection(config, c, of(c))).collect();
    let defaults = ike::Settings::default();
    let retransmit = ike::Retransmit {
        base: config.control.retransmit_timeout,
        tries: config.control.retransmit_tries,
        ..defaults.retransmit
    };
    let settings = ike::Settings { retransmit, ..defaults };
    Ok(ike::Config { connections: connections?, secrets: secrets.collect(), settings })
}

fn connection(
    config: &Config,
    from: &Connection,
    children: Vec<ike::Child>,
) -> Result<ike::Connection, TranslateError> {
    Ok(ike::Connection {
        name: from.name.clone(),
        local_addrs: local_addresses(config, from)?,
        remote_addrs: from.remote_addrs.iter().copied().map(AddrRange::single).collect(),
        local_port: 500,
        remote_port: from.remote_port,
        proposals: from.proposals.clone(),
        local_id: from.local.id.clone(),
        remote_id: from.remote.id.clone().or_else(|| only_address(from)),
        encap: from.encap,
        dpd_delay: from.dpd_delay,
        rekey_time: from.rekey_time,
        over_time: from.over_time(),
        rand_time: from.rand_time(),
        keyingtries: from.keyingtries,
        children,
    })
}

/// A peer that no identity is configured for is who its address says. Two peers must never share a connection: they
/// would share its children, and the later one would get the traffic of the earlier.
fn only_address(from: &Connection) -> Option<Identity> {
    match from.remote_addrs.as_slice() {
        [IpAddr::V4(addr)] => Some(Identity::Ipv4(*addr)),
        [IpAddr::V6(addr)] => Some(Identity::Ipv6(*addr)),
        _ => None,
    }
}

/// `%any` becomes the address that the route to the first peer leaves by; a connection that only answers keeps it.
fn local_addresses(config: &Config, from: &Connection) -> Result<Vec<IpAddr>, TranslateError> {
    let Some(&peer) = from.remote_addrs.first().filter(|_| from.local_addrs.is_empty()) else {
        return Ok(from.local_addrs.clone());
    };
    let own = source_for(config, peer);
    own.map(|addr| vec![addr]).ok_or_else(|| TranslateError::NoLocalAddress { connection: from.name.clone(), peer })
}

/// The own address on the network of the next hop; where the route names an interface only, its first of the family.
/// IKE does not go through tunnels, so those of tunnel interfaces do not count.
fn source_for(config: &Config, peer: IpAddr) -> Option<IpAddr> {
    let route = route(config, peer);
    let next_hop = route.and_then(|route| route.via).unwrap_or(peer);
    let wires = || config.interfaces.iter().filter(|interface| interface.device != Device::Tunnel);
    let all = wires().flat_map(|interface| &interface.addresses);
    let holding = all.filter(|net| net.contains(&next_hop)).max_by_key(|net| net.prefix_len());
    let named = || {
        let name = route?.interface.as_ref()?;
        let interface = wires().find(|interface| interface.name == *name)?;
        interface.addresses.iter().find(|net| net.addr().is_ipv4() == peer.is_ipv4())
    };
    holding.or_else(named).map(|net| net.addr())
}

/// The static route to `peer`, where it is on no network of an interface.
fn route(config: &Config, peer: IpAddr) -> Option<&culvert_config::Route> {
    let connected = config.interfaces.iter().flat_map(|interface| &interface.addresses).any(|net| net.contains(&peer));
    let routes = config.routes.iter().filter(|route| route.destination.contains(&peer));
    routes.max_by_key(|route| route.destination.prefix_len()).filter(|_| !connected)
}

fn child(id: ChildId, from: &Child, bundle: Option<ChildId>, interface: Option<InterfaceId>) -> ike::Child {
    ike::Child {
        id,
        name: from.name.clone(),
        local_ts: from.local_ts.clone(),
        remote_ts: from.remote_ts.clone(),
        child_proposals: from.proposals(),
        mode: from.mode,
        handling: from.headers.handling(),
        bundle,
        populates: !from.populate_from_packet.is_empty(),
        populated: false,
        start_action: match from.start_action {
            StartAction::None => ike::StartAction::None,
            StartAction::Start => ike::StartAction::Start,
            StartAction::Trap => ike::StartAction::Trap,
        },
        dpd_action: down_action(from.dpd_action),
        close_action: down_action(from.close_action),
        rekey_time: from.rekey_time,
        life_time: from.life_time(),
        rand_time: from.rand_time(),
        lifetime: from.lifetime(),
        replay_window: from.replay_window,
        interface,
    }
}

fn down_action(action: DownAction) -> ike::DownAction {
    match action {
        DownAction::Clear => ike::DownAction::Clear,
        DownAction::Trap => ike::DownAction::Trap,
        DownAction::Restart => ike::DownAction::Restart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(connection: &str) -> Config {
        let text = format!(
            r#"
            [[interface]]
            name = "wan"
            device = "net_null0"
            addresses = ["192.0.2.1/24", "2001:db8::1/64"]
            [[interface]]
            name = "lan"
            device = "net_null1"
            addresses = ["10.1.0.1/16"]
            [[route]]
            destination = "0.0.0.0/0"
            via = "192.0.2.254"
            {connection}
            "#
        );
        Config::parse(Path::new("culvert.toml"), &text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn any_becomes_the_address_the_route_leaves_by() {
        let config = parse(
            "[[interface]]\nname = \"ipsec0\"\ndevice = \"tunnel\"\naddresses = [\"10.255.0.1/24\"]\n[[route]]\ndestination = \
             \"203.0.113.0/24\"\ninterface = \"lan\"\n",
        );
        for (peer, own) in [
            ("198.51.100.7", Some("192.0.2.1")),
            ("10.1.2.3", Some("10.1.0.1")),
            ("2001:db8::9", Some("2001:db8::1")),
            ("203.0.113.9", Some("10.1.0.1")),
            ("10.255.0.2", None),
            ("2001:db8:9::1", None),
        ] {
            let own = own.map(|own| own.parse().unwrap());
            assert_eq!(source_for(&config, peer.parse().unwrap()), own, "{peer}");
        }
    }
}
