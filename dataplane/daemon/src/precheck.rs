//! What can be seen to be wrong before anything is opened.

use crate::error::Error;
use crate::ports::argument;
use culvert_config::{Config, Device, Interface};
use culvert_link::{PORTS, WORKERS};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use std::fs;
use std::path::Path;

/// The last worker's counter block is housekeeping's.
pub const HOUSEKEEPING: usize = WORKERS - 1;

pub fn check(config: &Config, cores: &[usize]) -> Result<(), Error> {
    let workers = &config.dataplane.workers;
    if workers.len() > HOUSEKEEPING {
        return Err(Error::TooManyWorkers(workers.len(), HOUSEKEEPING));
    }
    let ports = config.ports().count();
    if ports > PORTS {
        return Err(Error::TooManyPorts(ports, PORTS));
    }
    if let Some(&core) = workers.iter().find(|core| !cores.contains(&usize::from(**core))) {
        return Err(Error::NoCore { core, there: ranges(cores) });
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    config.ports().try_for_each(|(_, interface)| device(interface, Path::new("/sys/bus/pci/devices")))
}

fn device(interface: &Interface, pci: &Path) -> Result<(), Error> {
    let name = || interface.name.clone();
    match &interface.device {
        Device::Vdev(text) => {
            if !text.starts_with("net_af_packet") && !text.starts_with("net_af_xdp") {
                return Ok(());
            }
            let Some(linux) = argument(text, "iface") else {
                return Err(Error::NoIface { interface: name(), device: text.clone() });
            };
            match if_nametoindex(linux) {
                Ok(_) => Ok(()),
                Err(_) => Err(Error::NoLinuxInterface { interface: name(), device: linux.to_owned() }),
            }
        }
        card => {
            let address = card.to_string();
            let dir = pci.join(&address);
            if !dir.exists() {
                return Err(Error::NoPciDevice { interface: name(), address });
            }
            let driver = fs::read_link(dir.join("driver")).ok();
            match driver.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()) {
                None => Err(Error::NoDriver { interface: name(), address }),
                Some(driver) if serves_dpdk(driver) => Ok(()),
                Some(driver) => Err(Error::KernelDriver { interface: name(), address, driver: driver.to_owned() }),
            }
        }
    }
}

/// What is odd about the Linux interfaces in use, and how to mend it.
pub fn warnings(config: &Config) -> Vec<String> {
    let Ok(known) = getifaddrs() else { return Vec::new() };
    let known: Vec<InterfaceAddress> = known.collect();
    config.interfaces.iter().flat_map(|interface| oddities(interface, &known)).collect()
}

fn oddities(interface: &Interface, known: &[InterfaceAddress]) -> Vec<String> {
    let text = interface.device.to_string();
    let Some(linux) = argument(&text, "iface").filter(|_| text.starts_with("net_af_packet")) else {
        return Vec::new();
    };
    let entries: Vec<_> = known.iter().filter(|entry| entry.interface_name == linux).collect();
    let mut found = Vec::new();
    if entries.iter().any(|entry| !entry.flags.contains(InterfaceFlags::IFF_UP)) {
        found.push(format!(
            "interface \"{}\": the Linux interface {linux} is down; mend it by: ip link set {linux} up",
            interface.name
        ));
    }
    let is_ip = |entry: &InterfaceAddress| {
        entry
            .address
            .as_ref()
            .is_some_and(|address| address.as_sockaddr_in().is_some() || address.as_sockaddr_in6().is_some())
    };
    if entries.iter().any(|entry| is_ip(entry)) {
        found.push(format!(
            "interface \"{}\": the kernel has addresses on {linux} and will answer there too; mend it by: ip address \
             flush dev {linux}; sysctl net.ipv6.conf.{linux}.disable_ipv6=1",
            interface.name
        ));
    }
    found
}

/// Drivers that hand the card to a process, and those whose cards DPDK shares with the kernel.
fn serves_dpdk(driver: &str) -> bool {
    matches!(driver, "vfio-pci" | "igb_uio" | "uio_pci_generic" | "mlx4_core" | "mlx5_core" | "gve" | "mana")
}

/// `0-3,6`
fn ranges(cores: &[usize]) -> String {
    let mut sorted = cores.to_vec();
    sorted.sort_unstable();
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for core in sorted {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => runs.push((core, core)),
        }
    }
    let run = |(first, last): (usize, usize)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.into_iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn cores_are_shown_as_ranges() {
        assert_eq!(ranges(&[3, 0, 1, 2, 6]), "0-3,6");
        assert_eq!(ranges(&[]), "");
    }

    fn interface(device: &str) -> Interface {
        let text = format!("[[interface]]\nname = \"wan\"\ndevice = \"{device}\"\n");
        let config = Config::parse(Path::new("culvert.toml"), &text).unwrap_or_else(|d| panic!("{d}"));
        config.interfaces.into_iter().next().expect("one")
    }

    fn refused(wanted: &str, pci: &Path) -> String {
        device(&interface(wanted), pci).expect_err("refused").to_string()
    }

    #[test]
    fn a_card_must_be_there_and_free() {
        let dir = tempfile::tempdir().expect("a directory");
        for (address, driver) in
            [("0000:01:00.0", Some("vfio-pci")), ("0000:02:00.0", Some("e1000e")), ("0000:03:00.0", None)]
        {
            let card = dir.path().join(address);
            fs::create_dir(&card).expect("made");
            if let Some(driver) = driver {
                symlink(dir.path().join("drivers").join(driver), card.join("driver")).expect("linked");
            }
        }
        assert!(device(&interface("0000:01:00.0"), dir.path()).is_ok());
        let text = refused("0000:02:00.0", dir.path());
        assert!(text.contains("kernel's driver e1000e") && text.ends_with("--bind=vfio-pci 0000:02:00.0"), "{text}");
        assert!(refused("0000:03:00.0", dir.path()).contains("has no driver"));
        assert!(refused("0000:04:00.0", dir.path()).contains("there is no PCI device 0000:04:00.0"));
    }

    #[test]
    fn an_interface_that_the_kernel_uses_is_odd() {
        let known: Vec<_> = getifaddrs().expect("readable").collect();
        let odd = oddities(&interface("net_af_packet,iface=lo"), &known);
        assert!(odd.iter().any(|text| text.contains("ip address flush dev lo")), "{odd:?}");
        assert!(oddities(&interface("net_null,iface=lo"), &known).is_empty());
        assert!(oddities(&interface("net_af_packet,iface=nosuchif"), &known).is_empty());
    }

    #[test]
    fn a_linux_interface_must_be_named_and_there() {
        let text = refused("net_af_packet,iface=nosuchif", Path::new("/"));
        assert!(text.starts_with("interface \"wan\": there is no Linux interface \"nosuchif\""), "{text}");
        assert!(refused("net_af_packet", Path::new("/")).contains("write \"net_af_packet,iface=NAME\""));
        assert!(device(&interface("net_af_packet,iface=lo"), Path::new("/")).is_ok());
        assert!(device(&interface("net_null"), Path::new("/")).is_ok());
    }
}
