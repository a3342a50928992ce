//! Opens the configured ports, and deals their queues out to the workers.

use crate::error::Error;
use crate::io::{Exit, Inbox};
use crate::memory::DESCRIPTORS;
use culvert_config::{Config, Device, Interface};
use culvert_engine::{Attachment, PortId, Route};
use dpdk::{DeviceInfo, Eal, Pool, Port, PortConfig, RxQueue, Started, TxQueue};
use std::sync::Arc;

/// All ports, in the order of the configuration.
pub struct Ports {
    pub ports: Vec<Port>,
    /// The number of the interface that each is.
    ids: Vec<PortId>,
    queues: Vec<(Vec<RxQueue>, Vec<TxQueue>)>,
}

/// What one worker takes from and sends by.
pub struct Share {
    pub rx: Vec<(PortId, RxQueue)>,
    pub exits: Vec<(PortId, Exit)>,
}

/// Opens every port, then starts every port: a port that is missing is noticed before a line goes up.
pub fn open(eal: &Eal, config: &Config, pool: &Pool, large: &Pool) -> Result<Ports, Error> {
    let failed = |interface: &Interface| {
        let interface = interface.name.clone();
        move |source| Error::Port { interface, source }
    };
    let names = device_names(config.ports().map(|(_, interface)| &interface.device));
    let mut devices = Vec::new();
    for ((_, interface), name) in config.ports().zip(&names) {
        devices.push(dpdk::Device::probe(eal, name).map_err(failed(interface))?);
    }
    let (mut ports, mut ids, mut queues) = (Vec::new(), Vec::new(), Vec::new());
    for ((index, interface), device) in config.ports().zip(devices) {
        let (rx_queues, tx_queues) = queue_counts(device.info(), config.dataplane.workers.len());
        let port_config = PortConfig {
            rx_queues,
            tx_queues,
            rx_descriptors: DESCRIPTORS,
            tx_descriptors: DESCRIPTORS,
            mtu: interface.mtu,
            mac: None,
            // Of a bridge every frame is taken.
            promiscuous: config.bridged_with(&interface.name).is_some(),
            pool: pool.clone(),
            large: Some(large.clone()),
        };
        let Started { port, rx, tx } = device.start(&port_config).map_err(failed(interface))?;
        tracing::info!(
            "interface \"{}\": {} by {}, {rx_queues} receive and {tx_queues} transmit queues",
            interface.name,
            port.device(),
            port.info().driver
        );
        ports.push(port);
        ids.push(port_id(index));
        queues.push((rx, tx));
    }
    Ok(Ports { ports, ids, queues })
}

/// A queue for each worker where the port spreads what comes in by itself.
fn queue_counts(info: &DeviceInfo, workers: usize) -> (u16, u16) {
    let workers = u16::try_from(workers).unwrap_or(u16::MAX);
    if info.driver == "net_af_packet" {
        // The kernel spreads over all of its `qpairs`, so all of them must be asked.
        return (info.max_rx_queues, info.max_tx_queues.min(workers));
    }
    if info.rss { (info.max_rx_queues.min(workers), info.max_tx_queues.min(workers)) } else { (1, 1) }
}

/// DPDK's names: a virtual device must have a number of its own.
fn device_names<'a>(devices: impl Iterator<Item = &'a Device>) -> Vec<String> {
    let texts: Vec<String> = devices.map(Device::to_string).collect();
    let numbered = |text: &str| driver(text).ends_with(|last: char| last.is_ascii_digit());
    let mut taken: Vec<String> =
        texts.iter().filter(|text| numbered(text)).map(|text| driver(text).to_owned()).collect();
    let name = |text: String| {
        if numbered(&text) {
            return text;
        }
        let (driver, arguments) = text.split_at(driver(&text).len());
        let mut names = (0_u32..).map(|number| format!("{driver}{number}"));
        let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
        taken.push(name.clone());
        name + arguments
    };
    texts.into_iter().map(name).collect()
}

fn driver(text: &str) -> &str {
    text.split(',').next().unwrap_or(text)
}

/// The value of `key` among a virtual device's arguments.
pub fn argument<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split(',').skip(1).find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

impl Ports {
    /// Deals the queues out, one share for each inbox, and takes them from here. A port's queue `q` goes to worker
    /// `port + q`, so that ports with few queues burden different workers. Who gets no transmit queue of a port sends by
    /// the inbox of the worker that has its first.
    pub fn deal(&mut self, inboxes: &[Arc<Inbox>]) -> Vec<Share> {
        let workers = inboxes.len().max(1);
        let mut shares: Vec<Share> = inboxes.iter().map(|_| Share { rx: Vec::new(), exits: Vec::new() }).collect();
        for (port, ((rx, tx), id)) in self.queues.drain(..).zip(&self.ids).enumerate() {
            for (queue, rx) in rx.into_iter().enumerate() {
                shares[(port + queue) % workers].rx.push((*id, rx));
            }
            let mut own: Vec<Option<TxQueue>> = inboxes.iter().map(|_| None).collect();
            for (queue, tx) in tx.into_iter().enumerate() {
                own[(port + queue) % workers] = Some(tx);
            }
            for (share, own) in shares.iter_mut().zip(own) {
                share.exits.push((*id, own.map_or_else(|| by_inbox(port, inboxes), Exit::own)));
            }
        }
        shares
    }

    /// How a thread without queues sends.
    pub fn exits_by_inbox(&self, inboxes: &[Arc<Inbox>]) -> Vec<(PortId, Exit)> {
        self.ids.iter().enumerate().map(|(port, id)| (*id, by_inbox(port, inboxes))).collect()
    }

    /// Interfaces as the engine knows them.
    pub fn interfaces(&self, config: &Config) -> Result<Vec<culvert_engine::Interface>, Error> {
        let interface = |(index, interface): (usize, &Interface)| {
            let attachment = attachment(config, interface)?;
            let carrier = match attachment {
                Attachment::Port | Attachment::Bridge { .. } | Attachment::Side { .. } => Some(port_id(index)),
                Attachment::Vlan { parent, .. } => Some(parent),
                Attachment::Tunnel => None,
            };
            let mac = match self.ids.iter().position(|id| Some(*id) == carrier) {
                Some(at) => self.ports[at].mac(),
                None => Ok([0; 6]),
            };
            let mac = mac.map_err(|source| Error::Port { interface: interface.name.clone(), source })?;
            let (mtu, addresses) = (interface.mtu, interface.addresses.clone());
            Ok(culvert_engine::Interface { port: port_id(index), attachment, mac, mtu, addresses })
        };
        config.interfaces.iter().enumerate().map(interface).collect()
    }
}

fn attachment(config: &Config, interface: &Interface) -> Result<Attachment, Error> {
    match (&interface.device, interface.vlan) {
        (Device::Tunnel, _) => Ok(Attachment::Tunnel),
        (Device::Interface(parent), Some(id)) => {
            let place = config.interfaces.iter().position(|other| other.name == *parent);
            let parent = place
                .map(port_id)
                .ok_or_else(|| Error::NoParent { interface: interface.name.clone(), parent: parent.clone() })?;
            Ok(Attachment::Vlan { parent, id })
        }
        _ => Ok(bridged(config, interface).unwrap_or(Attachment::Port)),
    }
}

/// The one with addresses leads; without any, the first.
fn bridged(config: &Config, interface: &Interface) -> Option<Attachment> {
    let other = config.bridged_with(&interface.name)?;
    let place = |name: &str| config.interfaces.iter().position(|interface| interface.name == name);
    let (own, other_place) = (place(&interface.name)?, place(&other.name)?);
    let leads = match (interface.addresses.is_empty(), other.addresses.is_empty()) {
        (true, true) => own < other_place,
        (without, _) => !without,
    };
    let other = port_id(other_place);
    Some(if leads { Attachment::Bridge { other } } else { Attachment::Side { of: other } })
}

fn by_inbox(port: usize, inboxes: &[Arc<Inbox>]) -> Exit {
    Exit::Other(Arc::clone(&inboxes[port % inboxes.len()]))
}

fn port_id(index: usize) -> PortId {
    PortId(u16::try_from(index).unwrap_or(u16::MAX))
}

/// Routes as the engine knows them.
pub fn routes(config: &Config) -> Result<Vec<Route>, Error> {
    let route = |route: &culvert_config::Route| {
        let find = |name: &String| {
            let index = config.interfaces.iter().position(|interface| interface.name == *name);
            index.map(port_id).ok_or_else(|| Error::NoInterface {
                destination: route.destination.to_string(),
                interface: name.clone(),
            })
        };
        let port = route.interface.as_ref().map(find).transpose()?;
        Ok(Route { destination: route.destination, via: route.via, port })
    };
    config.routes.iter().map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_devices_get_numbers_of_their_own() {
        let vdev = |text: &str| Device::Vdev(text.to_owned());
        let devices = [
            vdev("net_af_packet,iface=eth1"),
            vdev("net_af_packet0,iface=eth2"),
            vdev("net_af_packet,iface=eth3,qpairs=2"),
            vdev("net_null"),
            Device::Pci { domain: 0, bus: 0x3b, device: 0, function: 0 },
        ];
        let names = device_names(devices.iter());
        assert_eq!(
            names,
            [
                "net_af_packet1,iface=eth1",
                "net_af_packet0,iface=eth2",
                "net_af_packet2,iface=eth3,qpairs=2",
                "net_null0",
                "0000:3b:00.0"
            ]
        );
    }

    #[test]
    fn arguments_are_found_by_their_whole_name() {
        assert_eq!(argument("net_af_packet,xiface=a,iface=b", "iface"), Some("b"));
        assert_eq!(argument("iface=a", "iface"), None);
    }

    fn info(driver: &str, queues: u16, rss: bool) -> DeviceInfo {
        DeviceInfo {
            driver: driver.to_owned(),
            max_rx_queues: queues,
            max_tx_queues: queues,
            min_mtu: 68,
            max_mtu: 1500,
            rx_ipv4_checksum: false,
            tx_ipv4_checksum: false,
            rss,
            socket: None,
        }
    }

    #[test]
    fn every_queue_that_fills_is_asked() {
        assert_eq!(queue_counts(&info("net_ice", 64, true), 4), (4, 4));
        assert_eq!(queue_counts(&info("net_small", 2, true), 4), (2, 2));
        assert_eq!(queue_counts(&info("net_memif", 255, false), 4), (1, 1));
        assert_eq!(queue_counts(&info("net_af_packet", 3, false), 2), (3, 2));
    }
}
