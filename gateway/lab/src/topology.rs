use crate::{Lab, LabError, Namespace};

/// Whether site A sits behind an address-translating router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    None,
    /// gw-a's outside address is private; a router (nftables masquerade, IPv4) stands between it and the wan.
    SiteA,
}

/// One site: a host and its gateway, and their addresses. Interfaces are called `lan` and `wan` on the gateway and `eth0`
/// on the host.
#[derive(Debug)]
pub struct Side {
    pub host: Namespace,
    pub gateway: Namespace,
    /// Inside network, IPv4 and IPv6.
    pub net4: &'static str,
    pub net6: &'static str,
    pub host4: &'static str,
    pub host6: &'static str,
    /// The gateway's inside addresses with prefix length.
    pub lan: [&'static str; 2],
    /// The gateway's outside addresses, without and with prefix length.
    pub wan4: &'static str,
    pub wan6: &'static str,
    pub wan: [&'static str; 2],
}

/// `host-a — gw-a — wan — gw-b — host-b`, dual stack inside and outside.
///
/// The gateways' ports have no kernel addresses and the kernel keeps quiet on them: they belong to a data plane.
/// [`TwoGateways::give_to_kernel`] turns a gateway into an ordinary router instead.
#[derive(Debug)]
pub struct TwoGateways {
    pub a: Side,
    pub b: Side,
    /// A switch (`br0`) with the ports `gw-a`, `gw-b` or, behind NAT, `nat` and `gw-b`.
    pub wan: Namespace,
    pub nat: Option<Namespace>,
    // Last, so that the namespaces' names go before what holds them.
    pub lab: Lab,
}

/// Room for the tunnel's headers: hosts send packets that fit.
const HOST_MTU: &str = "1400";
/// What the world sees of site A behind NAT.
pub(crate) const NAT_OUTSIDE: &str = "192.0.2.9";

struct SiteNumbers {
    net4: &'static str,
    net6: &'static str,
    host: [&'static str; 2],
    lan: [&'static str; 2],
    wan: [&'static str; 2],
}

const SITE_A: SiteNumbers = SiteNumbers {
    net4: "10.1.0.0/24",
    net6: "fd00:1::/64",
    host: ["10.1.0.10/24", "fd00:1::10/64"],
    lan: ["10.1.0.1/24", "fd00:1::1/64"],
    wan: ["192.0.2.1/24", "2001:db8::1/64"],
};
const SITE_B: SiteNumbers = SiteNumbers {
    net4: "10.2.0.0/24",
    net6: "fd00:2::/64",
    host: ["10.2.0.10/24", "fd00:2::10/64"],
    lan: ["10.2.0.1/24", "fd00:2::1/64"],
    wan: ["192.0.2.2/24", "2001:db8::2/64"],
};
const WAN_A_BEHIND_NAT: [&str; 2] = ["172.16.0.2/24", "2001:db8::1/64"];

impl TwoGateways {
    pub fn build(nat: Nat) -> Result<Self, LabError> {
        let lab = Lab::new()?;
        let wan = lab.namespace("wan")?;
        wan.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])?;
        quiet(&wan, "br0")?;
        wan.ip(&["link", "set", "br0", "up"])?;

        let mut site_a = SITE_A;
        if nat == Nat::SiteA {
            site_a.wan = WAN_A_BEHIND_NAT;
        }
        let a = build_side(&lab, "a", &site_a)?;
        let b = build_side(&lab, "b", &SITE_B)?;
        plug(&b.gateway, "wan", &wan, "gw-b")?;
        let nat = match nat {
            Nat::None => {
                plug(&a.gateway, "wan", &wan, "gw-a")?;
                None
            }
            Nat::SiteA => Some(build_nat(&lab, &a.gateway, &wan)?),
        };
        for side in [&a, &b] {
            quiet(&side.gateway, "lan")?;
            quiet(&side.gateway, "wan")?;
        }
        Ok(Self { a, b, wan, nat, lab })
    }

    /// The switch port next to site A: every frame between the sites passes here.
    pub fn wan_port(&self) -> &'static str {
        if self.nat.is_some() { "nat" } else { "gw-a" }
    }

    /// Where site B sees site A.
    pub fn outside_of_a(&self) -> &'static str {
        if self.nat.is_some() { NAT_OUTSIDE } else { self.a.wan4 }
    }
}

impl Side {
    /// Gives the gateway's ports to the kernel, which then has the addresses and forwards.
    pub fn give_to_kernel(&self) -> Result<(), LabError> {
        for (interface, addresses) in [("lan", &self.lan), ("wan", &self.wan)] {
            self.gateway.sysctl(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "0")?;
            self.gateway.add_addresses(interface, addresses)?;
            self.gateway.plain_frames(interface)?;
        }
        self.gateway.sysctl("net/ipv4/ip_forward", "1")?;
        self.gateway.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        if let Some(gateway) = self.next_hop() {
            self.gateway.ip(&["route", "add", "default", "via", gateway])?;
        }
        Ok(())
    }

    /// The router on the way to the other site, where it is not a neighbour.
    pub fn next_hop(&self) -> Option<&'static str> {
        self.wan4.starts_with("172.").then_some("172.16.0.1")
    }
}

fn build_side(lab: &Lab, letter: &str, numbers: &SiteNumbers) -> Result<Side, LabError> {
    let host = lab.namespace(&format!("host-{letter}"))?;
    let gateway = lab.namespace(&format!("gw-{letter}"))?;
    host.link("eth0", &gateway, "lan")?;
    host.plain_frames("eth0")?;
    host.ip(&["link", "set", "eth0", "mtu", HOST_MTU])?;
    host.add_addresses("eth0", &numbers.host)?;
    for router in numbers.lan {
        host.ip(&["route", "add", "default", "via", without_length(router)])?;
    }
    Ok(Side {
        host,
        gateway,
        net4: numbers.net4,
        net6: numbers.net6,
        host4: without_length(numbers.host[0]),
        host6: without_length(numbers.host[1]),
        lan: numbers.lan,
        wan4: without_length(numbers.wan[0]),
        wan6: without_length(numbers.wan[1]),
        wan: numbers.wan,
    })
}

fn build_nat(lab: &Lab, inside: &Namespace, wan: &Namespace) -> Result<Namespace, LabError> {
    let nat = lab.namespace("nat")?;
    inside.link("wan", &nat, "inside")?;
    plug(&nat, "outside", wan, "nat")?;
    nat.add_addresses("inside", &["172.16.0.1/24"])?;
    nat.add_addresses("outside", &[&format!("{NAT_OUTSIDE}/24")])?;
    for interface in ["inside", "outside"] {
        nat.plain_frames(interface)?;
    }
    nat.sysctl("net/ipv4/ip_forward", "1")?;
    nat.run(&["nft", "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }"])?;
    nat.run(&["nft", "add rule ip nat out oifname outside masquerade"])?;
    Ok(nat)
}

/// Connects `interface` of `from` to the switch.
fn plug(from: &Namespace, interface: &str, switch: &Namespace, port: &str) -> Result<(), LabError> {
    from.link(interface, switch, port)?;
    quiet(switch, port)?;
    switch.ip(&["link", "set", port, "master", "br0"]).map(drop)
}

/// No IPv6 of the kernel's own: no router solicitations, no multicast reports.
fn quiet(namespace: &Namespace, interface: &str) -> Result<(), LabError> {
    namespace.sysctl(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "1")
}

fn without_length(address: &'static str) -> &'static str {
    address.split_once('/').map_or(address, |(address, _)| address)
}
