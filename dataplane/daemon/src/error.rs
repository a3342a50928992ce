//! Why the data plane does not start, or ends. Each names the entry of the configuration and the next step.

use culvert_process::{REFUSED, SetupError};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("{0}")]
    Config(#[from] culvert_config::Diagnostics),
    #[error("the data plane opens network devices, which needs root rights; start it as root, or by its systemd unit")]
    NotRoot,
    #[error("[dataplane] workers: core {core} does not exist or may not be used here; there are cores {there}")]
    NoCore { core: u16, there: String },
    #[error("[dataplane] workers: {0} workers are more than the {1} that this program can have")]
    TooManyWorkers(usize, usize),
    #[error("{0} interfaces are more than the {1} that this program can have")]
    TooManyPorts(usize, usize),
    #[error(
        "interface \"{interface}\": there is no Linux interface \"{device}\" here; `ip link` lists those there are"
    )]
    NoLinuxInterface { interface: String, device: String },
    #[error(
        "interface \"{interface}\": the device \"{device}\" does not say which Linux interface; write \"{device},iface=NAME\""
    )]
    NoIface { interface: String, device: String },
    #[error("interface \"{interface}\": there is no PCI device {address}; `lspci -D` lists those there are")]
    NoPciDevice { interface: String, address: String },
    #[error(
        "interface \"{interface}\": the card {address} belongs to the kernel's driver {driver}; give it to DPDK first: dpdk-devbind.py --bind=vfio-pci {address}"
    )]
    KernelDriver { interface: String, address: String, driver: String },
    #[error(
        "interface \"{interface}\": the card {address} has no driver; give it to DPDK: dpdk-devbind.py --bind=vfio-pci {address}"
    )]
    NoDriver { interface: String, address: String },
    #[error("interface \"{interface}\": {source}{}", hint(.source))]
    Port { interface: String, source: dpdk::PortError },
    #[error(transparent)]
    Link(#[from] culvert_link::LinkError),
    #[error("the link at {0} has no counters for this many workers and ports; remove it while both planes are stopped")]
    LinkCounters(std::path::PathBuf),
    #[error("{0}; the lines above say what it did not like")]
    Eal(#[from] dpdk::EalError),
    #[error("{source}; raise [dataplane] memory_size, or use fewer workers or ports")]
    Pool { source: dpdk::PoolError },
    #[error(
        "[dataplane] memory_size: {given} MiB hold {fit} packet buffers, and these ports and workers need {needed}; set at least \"{enough}M\""
    )]
    Memory { given: u64, fit: u32, needed: u32, enough: u64 },
    #[error(transparent)]
    Topology(#[from] culvert_engine::TopologyError),
    #[error("interface \"{interface}\": there is no interface \"{parent}\"")]
    NoParent { interface: String, parent: String },
    #[error("[[route]] {destination}: there is no interface \"{interface}\"")]
    NoInterface { destination: String, interface: String },
    #[error("[host] interface: {interface} could not be made: {source}; is there /dev/net/tun, and is the name free?")]
    HostDevice { interface: String, source: std::io::Error },
    #[error("[host]: the kernel does not talk about interfaces and routes: {0}")]
    HostNetlink(std::io::Error),
    #[error("[host] interface: the kernel would not {step} ({interface}): {source}")]
    HostSetup { interface: String, step: String, source: rtnetlink::Error },
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
    #[error("the worker on core {0} died; this is a bug")]
    WorkerDied(u16),
}

/// What to do about a driver's refusal, where that is known.
fn hint(error: &dpdk::PortError) -> &'static str {
    match error {
        dpdk::PortError::Probe { .. } => "; the lines above say what the driver did not like",
        dpdk::PortError::Mtu { .. } | dpdk::PortError::PoolTooSmall { .. } => "; change its mtu",
        _ => "",
    }
}

impl Error {
    /// A refused start is not worth another try before somebody mends something; a dead worker is.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::WorkerDied(_) => 1,
            _ => REFUSED,
        }
    }
}
