//! Network devices: probed, started with their queues, closed.

use core::ffi::{CStr, c_int};
use core::ptr;
use std::ffi::CString;
use std::sync::Arc;

use crate::eal::{Eal, control};
use crate::errno::Errno;
use crate::pool::Pool;
use crate::queue::{RxQueue, TxQueue};

/// Why a device does not serve. Every text names the device as the caller wrote it.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("device \"{device}\": the name holds a NUL")]
    BadName { device: String },
    #[error("device \"{device}\" could not be opened: {reason}")]
    Probe { device: String, reason: Errno },
    #[error("device \"{device}\" was opened, but is no network port")]
    NoPort { device: String },
    #[error("device \"{device}\" is open already")]
    Open { device: String },
    #[error("device \"{device}\" does not say what it can do: {reason}")]
    Info { device: String, reason: Errno },
    #[error("device \"{device}\" has at most {rx} receive and {tx} transmit queues")]
    TooManyQueues { device: String, rx: u16, tx: u16 },
    #[error("device \"{device}\" takes an MTU of {min} to {max}, not {mtu}")]
    Mtu { device: String, mtu: u16, min: u16, max: u16 },
    #[error("device \"{device}\": an MTU of {mtu} does not fit packet buffers of {data_len} octets")]
    PoolTooSmall { device: String, mtu: u16, data_len: u16 },
    #[error("device \"{device}\" could not {step}: {reason}")]
    Step { device: String, step: Step, reason: Errno },
}

/// What a device was asked to do when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Configure,
    SetMtu,
    SetMac,
    ReadMac,
    SetUpRxQueue,
    SetUpTxQueue,
    Promiscuous,
    Start,
    Stats,
    Link,
}

impl core::fmt::Display for Step {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Configure => "be configured",
            Self::SetMtu => "take its MTU",
            Self::SetMac => "take its MAC address",
            Self::ReadMac => "tell its MAC address",
            Self::SetUpRxQueue => "set up a receive queue",
            Self::SetUpTxQueue => "set up a transmit queue",
            Self::Promiscuous => "receive all frames",
            Self::Start => "start",
            Self::Stats => "tell its counters",
            Self::Link => "tell the state of its link",
        })
    }
}

/// What a device can do.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// The driver's name, such as `net_af_packet`.
    pub driver: String,
    pub max_rx_queues: u16,
    pub max_tx_queues: u16,
    pub min_mtu: u16,
    pub max_mtu: u16,
    /// Checks IPv4 header checksums of what comes in.
    pub rx_ipv4_checksum: bool,
    /// Fills in IPv4 header checksums of what goes out.
    pub tx_ipv4_checksum: bool,
    /// Spreads what comes in over its queues by addresses and ports.
    pub rss: bool,
    /// The NUMA node it hangs on, if that is known.
    pub socket: Option<u32>,
}

/// How to start a device.
#[derive(Clone, Debug)]
pub struct PortConfig {
    pub rx_queues: u16,
    pub tx_queues: u16,
    /// Wished for; rounded to what the device takes.
    pub rx_descriptors: u16,
    pub tx_descriptors: u16,
    pub mtu: u16,
    /// `None` keeps the device's own.
    pub mac: Option<[u8; 6]>,
    pub promiscuous: bool,
    /// Where received packets are put.
    pub pool: Pool,
    /// Where those go that came in pieces and fit no buffer of `pool`; `None` drops them.
    pub large: Option<Pool>,
}

/// A port that runs: its handle, and each of its queues once.
#[derive(Debug)]
pub struct Started {
    pub port: Port,
    pub rx: Vec<RxQueue>,
    pub tx: Vec<TxQueue>,
}

/// The port's own counters, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    /// Lost because the queue was full.
    pub rx_missed: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    /// Lost because the pool was empty.
    pub rx_no_buffer: u64,
}

/// The state of the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub up: bool,
    /// `None` if unknown.
    pub speed_mbps: Option<u32>,
}

/// One port's number, open. Stops and closes the port when the last holder is gone.
#[derive(Debug)]
pub(crate) struct Handle {
    id: u16,
    device: String,
}

impl Handle {
    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    fn check(&self, step: Step, returned: c_int) -> Result<c_int, PortError> {
        Errno::check(returned).map_err(|reason| PortError::Step { device: self.device.clone(), step, reason })
    }

    /// The same, where a driver may do without.
    fn check_optional(&self, step: Step, returned: c_int) -> Result<(), PortError> {
        match Errno::check(returned) {
            Err(Errno::NOTSUP) => Ok(()),
            _ => self.check(step, returned).map(drop),
        }
    }

    fn mac(&self) -> Result<[u8; 6], PortError> {
        let mut address = dpdk_sys::rte_ether_addr::default();
        // SAFETY: the port is open; the address is ours to write.
        let returned = unsafe { dpdk_sys::rte_eth_macaddr_get(self.id, &mut address) };
        self.check(Step::ReadMac, returned)?;
        Ok(address.addr_bytes)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut open = control();
        open.retain(|id| *id != self.id);
        // SAFETY: the port is open, no queue of it is in anybody's hands any more, and the number is not used again.
        unsafe { dpdk_sys::culvert_close(self.id) };
    }
}

/// A device that was found and opened, and does nothing yet.
#[derive(Debug)]
pub struct Device {
    handle: Handle,
    info: DeviceInfo,
}

impl Device {
    /// Opens a device: a PCI address (`0000:3b:00.0`) or a virtual device's name with its arguments
    /// (`net_af_packet0,iface=eth1`).
    pub fn probe(_eal: &Eal, device: &str) -> Result<Self, PortError> {
        let owned = || device.to_owned();
        let name = device.split(',').next().unwrap_or(device);
        let bad = |_| PortError::BadName { device: owned() };
        let (arguments, name) = (CString::new(device).map_err(bad)?, CString::new(name).map_err(bad)?);
        let mut guard = control();
        // SAFETY: DPDK has started; the string is copied.
        let returned = unsafe { dpdk_sys::rte_dev_probe(arguments.as_ptr()) };
        Errno::check(returned).map_err(|reason| PortError::Probe { device: owned(), reason })?;
        let mut id = 0;
        // SAFETY: both pointers are good for the call.
        let mut found = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) };
        if found != 0 {
            // SAFETY: both pointers are good for the call.
            found = unsafe { dpdk_sys::culvert_port_by_devargs(name.as_ptr(), &mut id) };
        }
        if found != 0 {
            return Err(PortError::NoPort { device: owned() });
        }
        if guard.contains(&id) {
            return Err(PortError::Open { device: owned() });
        }
        guard.push(id);
        let handle = Handle { id, device: owned() };
        let info = read_info(&handle);
        // Before the handle can be dropped, which takes the lock.
        drop(guard);
        Ok(Self { info: info?, handle })
    }

    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// The device's own address.
    pub fn mac(&self) -> Result<[u8; 6], PortError> {
        let _control = control();
        self.handle.mac()
    }

    /// Configures and starts it. From here on the line is up and frames come in; nobody sees them before the queues are
    /// polled.
    pub fn start(self, config: &PortConfig) -> Result<Started, PortError> {
        self.check(config)?;
        let guard = control();
        let started = self.bring_up(config);
        drop(guard);
        started?;
        let handle = Arc::new(self.handle);
        Ok(Started {
            rx: (0..config.rx_queues)
                .map(|queue| RxQueue::new(Arc::clone(&handle), queue, config.large.clone()))
                .collect(),
            tx: (0..config.tx_queues).map(|queue| TxQueue::new(Arc::clone(&handle), queue)).collect(),
            port: Port { handle, info: self.info },
        })
    }

    fn check(&self, config: &PortConfig) -> Result<(), PortError> {
        let (device, info) = (self.handle.device.clone(), &self.info);
        if config.rx_queues > info.max_rx_queues || config.tx_queues > info.max_tx_queues {
            return Err(PortError::TooManyQueues { device, rx: info.max_rx_queues, tx: info.max_tx_queues });
        }
        if !(info.min_mtu..=info.max_mtu).contains(&config.mtu) {
            return Err(PortError::Mtu { device, mtu: config.mtu, min: info.min_mtu, max: info.max_mtu });
        }
        let frame = u32::from(config.mtu) + dpdk_sys::CULVERT_ETHER_OVERHEAD + 2 * dpdk_sys::CULVERT_VLAN_TAG;
        if frame > u32::from(config.pool.data_len()) {
            return Err(PortError::PoolTooSmall { device, mtu: config.mtu, data_len: config.pool.data_len() });
        }
        Ok(())
    }

    fn bring_up(&self, config: &PortConfig) -> Result<(), PortError> {
        let (handle, info, id) = (&self.handle, &self.info, self.handle.id);
        let rx_offloads = if info.rx_ipv4_checksum { dpdk_sys::CULVERT_RX_OFFLOAD_IPV4_CKSUM } else { 0 };
        // None: whoever asks for one may get a slower way of sending.
        let tx_offloads = 0;
        let raw = raw_info(handle)?;
        let spread = config.rx_queues > 1;
        let rss = if spread { raw.flow_type_rss_offloads & dpdk_sys::CULVERT_RSS_WANTED } else { 0 };
        let (rx, tx, mtu) = (config.rx_queues, config.tx_queues, u32::from(config.mtu));
        // SAFETY: the port is open and does not run.
        let returned = unsafe { dpdk_sys::culvert_configure(id, rx, tx, mtu, rx_offloads, tx_offloads, rss) };
        handle.check(Step::Configure, returned)?;
        // SAFETY: the port is open. Drivers that cannot keep the MTU they have, which `configure` compared.
        let returned = unsafe { dpdk_sys::rte_eth_dev_set_mtu(id, config.mtu) };
        handle.check_optional(Step::SetMtu, returned)?;
        if let Some(addr_bytes) = config.mac {
            let mut address = dpdk_sys::rte_ether_addr { addr_bytes };
            // SAFETY: the port is open; the address is copied.
            let returned = unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(id, &mut address) };
            handle.check(Step::SetMac, returned)?;
        }
        self.set_up_queues(config)?;
        if config.promiscuous {
            // SAFETY: the port is open.
            let returned = unsafe { dpdk_sys::rte_eth_promiscuous_enable(id) };
            handle.check_optional(Step::Promiscuous, returned)?;
        } else {
            // IPv6 neighbours ask by multicast. SAFETY: the port is open.
            let returned = unsafe { dpdk_sys::rte_eth_allmulticast_enable(id) };
            handle.check_optional(Step::Promiscuous, returned)?;
        }
        // SAFETY: configured, and every queue is set up.
        let returned = unsafe { dpdk_sys::rte_eth_dev_start(id) };
        handle.check(Step::Start, returned).map(drop)
    }

    fn set_up_queues(&self, config: &PortConfig) -> Result<(), PortError> {
        let (handle, id) = (&self.handle, self.handle.id);
        let (mut rx_len, mut tx_len) = (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: the port is open; both numbers are ours to write.
        let returned = unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rx_len, &mut tx_len) };
        handle.check_optional(Step::Configure, returned)?;
        let socket = self.info.socket.unwrap_or(u32::MAX);
        for queue in 0..config.rx_queues {
            let pool = config.pool.as_ptr();
            // SAFETY: the port is configured for this many queues; null is the driver's own choice; the pool lives for ever.
            let returned = unsafe { dpdk_sys::rte_eth_rx_queue_setup(id, queue, rx_len, socket, ptr::null(), pool) };
            handle.check(Step::SetUpRxQueue, returned)?;
        }
        for queue in 0..config.tx_queues {
            // SAFETY: the port is configured for this many queues; null is the driver's own choice.
            let returned = unsafe { dpdk_sys::rte_eth_tx_queue_setup(id, queue, tx_len, socket, ptr::null()) };
            handle.check(Step::SetUpTxQueue, returned)?;
        }
        Ok(())
    }
}

/// A port that runs. It closes when this and its queues are dropped.
#[derive(Debug)]
pub struct Port {
    handle: Arc<Handle>,
    info: DeviceInfo,
}

impl Port {
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// The device as it was named.
    pub fn device(&self) -> &str {
        &self.handle.device
    }

    pub fn mac(&self) -> Result<[u8; 6], PortError> {
        let _control = control();
        self.handle.mac()
    }

    pub fn mtu(&self) -> Result<u16, PortError> {
        let mut mtu = 0;
        let _control = control();
        // SAFETY: the port is open; the number is ours to write.
        let returned = unsafe { dpdk_sys::rte_eth_dev_get_mtu(self.handle.id, &mut mtu) };
        self.handle.check(Step::SetMtu, returned)?;
        Ok(mtu)
    }

    pub fn stats(&self) -> Result<Stats, PortError> {
        let mut raw = dpdk_sys::rte_eth_stats::default();
        let _control = control();
        // SAFETY: the port is open; the structure is ours to write.
        let returned = unsafe { dpdk_sys::rte_eth_stats_get(self.handle.id, &mut raw) };
        self.handle.check(Step::Stats, returned)?;
        Ok(Stats {
            rx_packets: raw.ipackets,
            rx_bytes: raw.ibytes,
            tx_packets: raw.opackets,
            tx_bytes: raw.obytes,
            rx_missed: raw.imissed,
            rx_errors: raw.ierrors,
            tx_errors: raw.oerrors,
            rx_no_buffer: raw.rx_nombuf,
        })
    }

    pub fn link(&self) -> Result<Link, PortError> {
        let (mut speed, mut up) = (0, 0);
        let _control = control();
        // SAFETY: the port is open; both numbers are ours to write.
        let returned = unsafe { dpdk_sys::culvert_link(self.handle.id, &mut speed, &mut up) };
        self.handle.check(Step::Link, returned)?;
        let known = speed != 0 && speed != dpdk_sys::CULVERT_LINK_SPEED_UNKNOWN;
        Ok(Link { up: up != 0, speed_mbps: known.then_some(speed) })
    }
}

fn raw_info(handle: &Handle) -> Result<dpdk_sys::rte_eth_dev_info, PortError> {
    let mut raw = dpdk_sys::rte_eth_dev_info::default();
    // SAFETY: the port is open; the structure is ours to write.
    let returned = unsafe { dpdk_sys::rte_eth_dev_info_get(handle.id, &mut raw) };
    Errno::check(returned).map_err(|reason| PortError::Info { device: handle.device.clone(), reason })?;
    Ok(raw)
}

fn read_info(handle: &Handle) -> Result<DeviceInfo, PortError> {
    let raw = raw_info(handle)?;
    let driver = if raw.driver_name.is_null() {
        String::new()
    } else {
        // SAFETY: a constant string of the driver, which ends in NUL.
        unsafe { CStr::from_ptr(raw.driver_name) }.to_string_lossy().into_owned()
    };
    // SAFETY: takes any port number.
    let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(handle.id) };
    let longest = raw.max_rx_pktlen.saturating_sub(dpdk_sys::CULVERT_ETHER_OVERHEAD);
    Ok(DeviceInfo {
        driver,
        max_rx_queues: raw.max_rx_queues,
        max_tx_queues: raw.max_tx_queues,
        min_mtu: raw.min_mtu,
        max_mtu: raw.max_mtu.min(u16::try_from(longest).unwrap_or(u16::MAX)),
        rx_ipv4_checksum: raw.rx_offload_capa & dpdk_sys::CULVERT_RX_OFFLOAD_IPV4_CKSUM != 0,
        tx_ipv4_checksum: raw.tx_offload_capa & dpdk_sys::CULVERT_TX_OFFLOAD_IPV4_CKSUM != 0,
        rss: raw.flow_type_rss_offloads & dpdk_sys::CULVERT_RSS_WANTED != 0,
        socket: u32::try_from(socket).ok(),
    })
}
