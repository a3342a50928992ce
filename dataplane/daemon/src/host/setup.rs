//! What the kernel is told of the host interface, by netlink: addresses, routes and rules.

use crate::error::Error;
use culvert_config::{Config, Device, Host};
use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::address::AddressFlags;
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion, LinkUnspec, RouteMessageBuilder};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::runtime::Runtime;

/// Behind every route that the machine has of its own.
const LAST: u32 = 4096;

/// What was told, and has to be taken back: rules outlive the device.
pub struct Kernel {
    table: u32,
}

impl Kernel {
    pub fn set_up(config: &Config, host: &Host, index: u32) -> Result<Self, Error> {
        quiet(&host.interface);
        let kernel = Self { table: host.table };
        let (step, result) = kernel.tell(config, index)?;
        result.map_err(|source| Error::HostSetup { interface: host.interface.clone(), step, source })?;
        Ok(kernel)
    }

    /// The last step, and how it went.
    fn tell(&self, config: &Config, index: u32) -> Result<(String, Result<(), rtnetlink::Error>), Error> {
        let runtime = runtime().map_err(Error::HostNetlink)?;
        runtime.block_on(async {
            let (connection, netlink, _) = rtnetlink::new_connection().map_err(Error::HostNetlink)?;
            tokio::spawn(connection);
            let mut step = String::new();
            let result = set_up(&netlink, config, index, self.table, &mut step).await;
            Ok((step, result))
        })
    }

    /// Takes the rules away; addresses and routes go with the device.
    pub fn forget(&self) {
        let forgotten = runtime().and_then(|runtime| {
            runtime.block_on(async {
                let (connection, netlink, _) = rtnetlink::new_connection()?;
                tokio::spawn(connection);
                remove_rules(&netlink, self.table).await.map_err(|error| io::Error::other(error.to_string()))
            })
        });
        if let Err(error) = forgotten {
            tracing::warn!("the rules for table {} could not be removed: {error}", self.table);
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()
}

/// No word of the kernel's own on it. Where IPv6 is switched off there is nothing to be silenced.
fn quiet(interface: &str) {
    for (key, value) in [("addr_gen_mode", "1"), ("accept_ra", "0"), ("router_solicitations", "0")] {
        _ = fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/{key}"), value);
    }
}

async fn set_up(
    netlink: &Handle,
    config: &Config,
    index: u32,
    table: u32,
    step: &mut String,
) -> Result<(), rtnetlink::Error> {
    // What an earlier process left that was killed.
    "read its rules".clone_into(step);
    remove_rules(netlink, table).await?;
    let own = own_addresses(config);
    for addr in &own {
        *step = format!("give it the address {addr}");
        let mut request = netlink.address().add(index, *addr, host_prefix(*addr));
        if addr.is_ipv6() {
            // Nobody else can have it: the data plane answers for it on the wire.
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request.execute().await?;
    }
    "set it up".clone_into(step);
    netlink.link().change(LinkUnspec::new_with_index(index).up().build()).execute().await?;
    for v4 in [true, false] {
        if own.iter().any(|addr| addr.is_ipv4() == v4) {
            *step = format!("give table {table} its route");
            netlink.route().add(default_route(v4, index, table)).execute().await?;
        }
    }
    for addr in &own {
        *step = format!("lead what comes from {addr} to table {table}");
        add_rule(netlink, *addr, table).await?;
    }
    for (destination, source) in destinations(config) {
        *step = format!("add a route to {destination}");
        match netlink.route().add(last_route(destination, source, index)).execute().await {
            Err(rtnetlink::Error::NetlinkError(error)) if is_there_already(&error) => {}
            result => result?,
        }
    }
    Ok(())
}

fn is_there_already(error: &rtnetlink::packet_core::ErrorMessage) -> bool {
    error.to_io().kind() == io::ErrorKind::AlreadyExists
}

async fn remove_rules(netlink: &Handle, table: u32) -> Result<(), rtnetlink::Error> {
    for version in [IpVersion::V4, IpVersion::V6] {
        let rules: Vec<RuleMessage> = netlink.rule().get(version).execute().try_collect().await?;
        for rule in rules.into_iter().filter(|rule| is_ours(rule, table)) {
            netlink.rule().del(rule).execute().await?;
        }
    }
    Ok(())
}

/// Rules for the table have its number as their preference.
fn is_ours(rule: &RuleMessage, table: u32) -> bool {
    let has = |wanted: RuleAttribute| rule.attributes.contains(&wanted);
    has(RuleAttribute::Table(table)) && has(RuleAttribute::Priority(table))
}

async fn add_rule(netlink: &Handle, addr: IpAddr, table: u32) -> Result<(), rtnetlink::Error> {
    let rule = netlink.rule().add().table_id(table).priority(table).action(RuleAction::ToTable);
    match addr {
        IpAddr::V4(addr) => rule.v4().source_prefix(addr, 32).execute().await,
        IpAddr::V6(addr) => rule.v6().source_prefix(addr, 128).execute().await,
    }
}

fn default_route(v4: bool, index: u32, table: u32) -> RouteMessage {
    if v4 {
        RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).table_id(table).scope(RouteScope::Link).build()
    } else {
        RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index).table_id(table).build()
    }
}

/// For what the host begins: behind its own routes, and with an address that fits the gateway's way there.
fn last_route(destination: IpNet, source: Option<IpAddr>, index: u32) -> RouteMessage {
    match destination {
        IpNet::V4(net) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(net.addr(), net.prefix_len());
            let route = route.output_interface(index).priority(LAST).scope(RouteScope::Link);
            match source {
                Some(IpAddr::V4(source)) => route.pref_source(source).build(),
                _ => route.build(),
            }
        }
        IpNet::V6(net) => {
            let route = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(net.addr(), net.prefix_len());
            let route = route.output_interface(index).priority(LAST);
            match source {
                Some(IpAddr::V6(source)) => route.pref_source(source).build(),
                _ => route.build(),
            }
        }
    }
}

fn host_prefix(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

/// Every address of the gateway once. Link-local ones are of one line each, and stay with the data plane.
fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let all = config.interfaces.iter().flat_map(|interface| &interface.addresses).map(IpNet::addr);
    all.filter(|addr| !is_link_local(*addr)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Where the gateway has a way to, and the address it speaks from there.
fn destinations(config: &Config) -> Vec<(IpNet, Option<IpAddr>)> {
    let interfaces = || config.interfaces.iter();
    let connected = interfaces().flat_map(|interface| &interface.addresses).filter(|net| !is_link_local(net.addr()));
    let mut all: Vec<_> = connected.map(|net| (net.trunc(), Some(net.addr()))).collect();
    for route in &config.routes {
        let named = |interface: &&culvert_config::Interface| Some(&interface.name) == route.interface.as_ref();
        let holding = |interface: &&culvert_config::Interface| {
            let wire = interface.device != Device::Tunnel;
            wire && interface.addresses.iter().any(|net| route.via.is_some_and(|via| net.contains(&via)))
        };
        let way = interfaces().find(named).or_else(|| interfaces().find(holding));
        let fits = |addr: &IpAddr| addr.is_ipv4() == route.destination.addr().is_ipv4() && !is_link_local(*addr);
        let source = way.and_then(|interface| interface.addresses.iter().map(IpNet::addr).find(fits));
        all.push((route.destination, source));
    }
    all
}

fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_host_has_every_address_once_and_every_way_behind_its_own() {
        let text = r#"
            [[interface]]
            name = "wan"
            device = "net_null0"
            addresses = ["192.0.2.1/24", "2001:db8::1/64", "fe80::7/64"]
            [[interface]]
            name = "lan"
            device = "net_null1"
            addresses = ["10.1.0.1/16"]
            [[interface]]
            name = "ipsec0"
            device = "tunnel"
            [[route]]
            destination = "0.0.0.0/0"
            via = "192.0.2.254"
            [[route]]
            destination = "::/0"
            via = "fe80::1"
            interface = "wan"
            [[route]]
            destination = "10.9.0.0/16"
            interface = "lan"
            [[route]]
            destination = "10.7.0.0/16"
            interface = "ipsec0"
        "#;
        let config = Config::parse(Path::new("culvert.toml"), text).unwrap_or_else(|e| panic!("{e}"));
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(own_addresses(&config), ["10.1.0.1", "192.0.2.1", "2001:db8::1"].map(ip));
        let ways: Vec<_> = destinations(&config)
            .iter()
            .map(|(net, source)| format!("{net} {}", source.map_or("-".to_owned(), |source| source.to_string())))
            .collect();
        let wanted = [
            "192.0.2.0/24 192.0.2.1",
            "2001:db8::/64 2001:db8::1",
            "10.1.0.0/16 10.1.0.1",
            "0.0.0.0/0 192.0.2.1",
            "::/0 2001:db8::1",
            "10.9.0.0/16 10.1.0.1",
            "10.7.0.0/16 -",
        ];
        assert_eq!(ways, wanted);
    }
}
