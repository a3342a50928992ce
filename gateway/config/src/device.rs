//! What an interface's packets travel by.

use crate::kinds::Name;
use crate::reader::{Refusal, Text};
use std::fmt;

/// What DPDK calls a port, or what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// A card: domain, bus, device, function.
    Pci { domain: u16, bus: u8, device: u8, function: u8 },
    /// A virtual device: driver name and its arguments, in DPDK's notation.
    Vdev(String),
    /// The port of the interface with this name, in frames with a VLAN tag.
    Interface(String),
    /// No port: the security associations of the children that name the interface.
    Tunnel,
}

impl Device {
    /// A card's driver must be given to DPDK first; a virtual device needs none.
    pub fn is_pci(&self) -> bool {
        matches!(self, Self::Pci { .. })
    }

    /// Has queues of its own.
    pub fn is_port(&self) -> bool {
        matches!(self, Self::Pci { .. } | Self::Vdev(_))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci { domain, bus, device, function } => write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}"),
            Self::Vdev(text) | Self::Interface(text) => f.write_str(text),
            Self::Tunnel => f.write_str(TUNNEL),
        }
    }
}

const TUNNEL: &str = "tunnel";

pub(crate) struct DeviceText;

impl Text for DeviceText {
    type Value = Device;
    const SHAPE: &'static str = "a PCI address such as \"0000:3b:00.0\", or a DPDK device such as \"net_af_packet,iface=eth1\", or \"tunnel\", or, with \"vlan\", the name of an interface";

    fn parse(text: &str) -> Result<Device, Refusal> {
        if let Some(pci) = pci(text) {
            return Ok(pci);
        }
        if text == TUNNEL {
            return Ok(Device::Tunnel);
        }
        let driver = text.split(',').next().unwrap_or_default();
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if driver.len() > 4 && driver.starts_with("net_") && driver.bytes().all(good) {
            // More would be taken for other options of DPDK.
            return match text.bytes().all(|b| b.is_ascii_graphic()) {
                true => Ok(Device::Vdev(text.to_owned())),
                false => Err((format!("{text:?} holds a blank or an unprintable character"), String::new())),
            };
        }
        // Which interface it names, only the whole file can tell.
        Name::parse(text).map(Device::Interface).map_err(|_| no_device(text))
    }
}

/// What is said of a text that names no device.
pub(crate) fn no_device(text: &str) -> Refusal {
    let linux_name = !text.is_empty() && text.len() < 16 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let help = if linux_name {
        format!("for the Linux interface {text} write \"net_af_packet,iface={text}\"; for a card its PCI address")
    } else {
        format!("write {}", DeviceText::SHAPE)
    };
    (format!("{text:?} names no device"), help)
}

/// `[dddd:]bb:dd.f`
fn pci(text: &str) -> Option<Device> {
    let (rest, function) = text.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    let hex = |text: &str, max: u16| {
        let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_hexdigit());
        u16::from_str_radix(text, 16).ok().filter(|v| digits && *v <= max)
    };
    let byte = |text: &str, max: u16| hex(text, max).and_then(|v| u8::try_from(v).ok());
    Some(Device::Pci {
        domain: hex(domain, u16::MAX)?,
        bus: byte(bus, 0xff)?,
        device: byte(device, 0x1f)?,
        function: byte(function, 7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_and_virtual_devices() {
        let text = |t: &str| DeviceText::parse(t).map(|d| d.to_string()).map_err(|(message, _)| message);
        assert_eq!(text("0000:3b:00.0").as_deref(), Ok("0000:3b:00.0"));
        assert_eq!(text("3B:1f.7").as_deref(), Ok("0000:3b:1f.7"));
        assert_eq!(text("net_af_packet,iface=eth1").as_deref(), Ok("net_af_packet,iface=eth1"));
        assert!(DeviceText::parse("0000:3b:00.0").is_ok_and(|d| d.is_pci()));
        for bad in ["", "0000:3b:20.0", "0000:3b:00.8", "0000:3b:00", "3b:00.+1", "net_X,a", "net_memif,a b", "a b"] {
            assert!(text(bad).is_err(), "{bad}");
        }
        assert_eq!(DeviceText::parse("tunnel"), Ok(Device::Tunnel));
        assert_eq!(DeviceText::parse("lan"), Ok(Device::Interface("lan".to_owned())));
        assert!(!Device::Tunnel.is_port() && DeviceText::parse("net_null").is_ok_and(|d| d.is_port()));
    }

    #[test]
    fn a_linux_name_is_told_how_to_be_written() {
        let (_, help) = no_device("eth1");
        assert!(help.contains("net_af_packet,iface=eth1"), "{help}");
    }
}
