use culvert_lab::{Lab, LabError, Namespace};

/// `host — gateway — router — guest — guest's host`, dual stack throughout.
///
/// The gateway's ports `lan` and `wan` belong to Culvert. The router stands between so that the way can have a smaller MTU or
/// translate addresses, and it counts what passes. Beside that stands a trunk from the gateway's port `trunk` to the guest's
/// second card, through a switch. The guest's own host is a network namespace inside the guest.
#[derive(Debug)]
pub struct Network {
    pub host: Namespace,
    pub gateway: Namespace,
    /// Ports `gateway` and `guest`, the latter a tap for QEMU; the switch has `trunk` and the tap `tagged`.
    pub router: Namespace,
    pub lab: Lab,
}

/// An address of each family, without prefix length.
pub struct Pair {
    pub v4: &'static str,
    pub v6: &'static str,
}

impl Pair {
    pub fn of(&self, family: culvert_lab::Family) -> &'static str {
        match family {
            culvert_lab::Family::V4 => self.v4,
            culvert_lab::Family::V6 => self.v6,
        }
    }

    /// The network of an address.
    pub fn net(&self, family: culvert_lab::Family) -> String {
        match family {
            culvert_lab::Family::V4 => {
                let prefix = self.v4.rsplit_once('.').map_or("", |(prefix, _)| prefix);
                format!("{prefix}.0/24")
            }
            culvert_lab::Family::V6 => {
                let prefix = self.v6.split_once("::").map_or("", |(prefix, _)| prefix);
                format!("{prefix}::/64")
            }
        }
    }

    /// With the prefix lengths of every network here.
    pub fn with_lengths(&self) -> [String; 2] {
        [format!("{}/24", self.v4), format!("{}/64", self.v6)]
    }
}

pub const NET: Pair = Pair { v4: "10.1.0.0/24", v6: "fd00:1::/64" };
pub const HOST: Pair = Pair { v4: "10.1.0.10", v6: "fd00:1::10" };
pub const LAN: Pair = Pair { v4: "10.1.0.1", v6: "fd00:1::1" };
pub const WAN: Pair = Pair { v4: "192.0.2.1", v6: "2001:db8:1::1" };
/// The router's ports.
pub const NEAR: Pair = Pair { v4: "192.0.2.254", v6: "2001:db8:1::fe" };
pub const FAR: Pair = Pair { v4: "198.51.100.254", v6: "2001:db8:2::fe" };
pub const GUEST: Pair = Pair { v4: "198.51.100.2", v6: "2001:db8:2::2" };
/// On the trunk, behind tag [`SEALED`].
pub const TAGGED: Pair = Pair { v4: "203.0.113.1", v6: "2001:db8:7::1" };
pub const GUEST_TAGGED: Pair = Pair { v4: "203.0.113.2", v6: "2001:db8:7::2" };
/// On the trunk, behind tag [`CLEAR`].
pub const OPEN: Pair = Pair { v4: "198.18.8.1", v6: "2001:db8:8::1" };
pub const GUEST_OPEN: Pair = Pair { v4: "198.18.8.2", v6: "2001:db8:8::2" };
/// VLAN identifiers: of what carries SAs, and of what goes past them.
pub const SEALED: u16 = 7;
pub const CLEAR: u16 = 8;
pub const GUEST_LAN: Pair = Pair { v4: "10.2.0.1", v6: "fd00:2::1" };
pub const GUEST_HOST: Pair = Pair { v4: "10.2.0.10", v6: "fd00:2::10" };
pub const GUEST_NET: Pair = Pair { v4: "10.2.0.0/24", v6: "fd00:2::/64" };

/// Room for every row's headers: hosts send packets that fit.
pub const HOST_MTU: &str = "1400";

impl Network {
    pub fn build() -> Result<Self, LabError> {
        let lab = Lab::new()?;
        let host = lab.namespace("host")?;
        let gateway = lab.namespace("gw")?;
        let router = lab.namespace("router")?;
        host.link("eth0", &gateway, "lan")?;
        gateway.link("wan", &router, "gateway")?;
        gateway.link("trunk", &router, "trunk")?;
        for port in ["lan", "wan", "trunk"] {
            // No IPv6 of the kernel's own on Culvert's ports.
            gateway.sysctl(&format!("net/ipv6/conf/{port}/disable_ipv6"), "1")?;
        }
        for tap in ["guest", "tagged"] {
            router.ip(&["tuntap", "add", tap, "mode", "tap"])?;
            router.ip(&["link", "set", tap, "up"])?;
        }
        router.ip(&["link", "add", "switch", "up", "type", "bridge"])?;
        for port in ["trunk", "tagged"] {
            router.ip(&["link", "set", port, "master", "switch"])?;
            router.plain_frames(port)?;
        }
        for quiet in ["switch", "trunk", "tagged"] {
            router.sysctl(&format!("net/ipv6/conf/{quiet}/disable_ipv6"), "1")?;
        }
        for (namespace, interface, addresses) in
            [(&host, "eth0", &HOST), (&router, "gateway", &NEAR), (&router, "guest", &FAR)]
        {
            namespace.plain_frames(interface)?;
            let with_lengths = addresses.with_lengths();
            namespace.add_addresses(interface, &with_lengths.each_ref().map(String::as_str))?;
        }
        host.ip(&["link", "set", "eth0", "mtu", HOST_MTU])?;
        for via in [LAN.v4, LAN.v6] {
            host.ip(&["route", "add", "default", "via", via])?;
        }
        for namespace in [&host, &gateway] {
            // Sockets for echo requests.
            namespace.sysctl("net/ipv4/ping_group_range", "0 0")?;
        }
        router.sysctl("net/ipv4/ip_forward", "1")?;
        router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        Ok(Self { host, gateway, router, lab })
    }
}
