//! A row with keys set by hand, as each side is told it.

use crate::audit::count_passing;
use crate::layer::{layers, policies};
use crate::network::{CLEAR, GUEST_NET, GUEST_OPEN, GUEST_TAGGED, LAN, NEAR, NET, OPEN, Pair, SEALED, TAGGED, WAN};
use crate::row::{Row, Talk};
use crate::stage::Stage;
use crate::talk::talk;
use culvert_lab::{Driver, GatewayPlan, LabError, PortPlan, Route};
use std::fmt::Write;
use std::path::Path;

/// One row.
#[derive(Debug)]
pub struct Manual<'a> {
    row: &'a Row,
    number: u16,
}

/// The octets of a padded packet: what is inside, and a new IP header.
const PADDED: u16 = 1320;

impl<'a> Manual<'a> {
    pub fn new(row: &'a Row, number: u16) -> Self {
        Self { row, number }
    }

    /// Culvert's configuration; the key files it names go into `directory`.
    pub fn culvert(&self, directory: &Path) -> Result<GatewayPlan, LabError> {
        let row = self.row;
        let mut more = String::new();
        for layer in layers(row, self.number) {
            more += &layer.culvert(directory)?;
        }
        if row.routed {
            more += "[[interface]]\nname = \"ipsec0\"\ndevice = \"tunnel\"\n";
            for net in [GUEST_NET.v4, GUEST_NET.v6] {
                let _ = writeln!(more, "[[route]]\ndestination = {net:?}\ninterface = \"ipsec0\"");
            }
        }
        if row.vlan {
            more += &trunk();
        }
        if row.talk == Talk::Programs {
            more += HOST_INTERFACE;
        }
        let driver = if row.talk == Talk::Fragments { Driver::Pcap } else { Driver::AfPacket };
        Ok(GatewayPlan { more, driver, ..gateway() })
    }

    pub fn run(&self, mut stage: Stage<'_>) -> Result<(), LabError> {
        stage.culvert.start()?;
        stage.guest.run(&self.linux())?;
        stage.ready()?;
        count_passing(stage.network, if self.row.talk == Talk::Padded { PADDED } else { 0 })?;
        let before = stage.audit()?;
        let done = talk(self.row, &mut stage).map_err(|error| match stage.audit() {
            Ok(audit) => LabError::Status(format!("{error}\nall in all: {:?}", audit.since(&before))),
            Err(_) => error,
        });
        if self.row.encap {
            stage.guest.run("kill $(cat /run/udp-encap.pid)")?;
        }
        done
    }

    /// What the guest's shell runs: old states and policies go, this row's come.
    fn linux(&self) -> String {
        let row = self.row;
        let layers = layers(row, self.number);
        let mut lines = "xfrm state flush\nxfrm policy flush\n".to_owned();
        if row.routed {
            lines += "link add ipsec0 type xfrm dev eth0 if_id 1\nlink set ipsec0 up\n";
            for net in [NET.v4, NET.v6] {
                let _ = writeln!(lines, "route add {net} dev ipsec0");
            }
        }
        if row.vlan {
            for (id, [v4, v6]) in [(SEALED, GUEST_TAGGED.with_lengths()), (CLEAR, GUEST_OPEN.with_lengths())] {
                let _ = writeln!(
                    lines,
                    "link add link eth1 name eth1.{id} type vlan id {id}\nlink set eth1.{id} up\n\
                     address add {v4} dev eth1.{id}\naddress add {v6} dev eth1.{id} nodad"
                );
            }
            for (net, via) in [(NET.v4, OPEN.v4), (NET.v6, OPEN.v6)] {
                let _ = writeln!(lines, "route add {net} via {via} dev eth1.{CLEAR}");
            }
        }
        lines.extend(layers.iter().map(crate::layer::Layer::states));
        lines += &policies(row, &layers);
        let mut script = format!("{CLEAN}ip -batch - <<'END OF LINES'\n{lines}END OF LINES\n");
        if row.encap {
            // What a key daemon would do.
            script.push_str("python3 /guest/udp-encap.py 4500 >/dev/null 2>&1 &\necho $! >/run/udp-encap.pid\n");
        }
        script
    }
}

/// Of earlier rows.
const CLEAN: &str = "set -e
for link in ipsec0 eth1.7 eth1.8; do
	if [ -e /sys/class/net/$link ]; then ip link delete $link; fi
done
";

/// For programs of the gateway's own machine.
pub const HOST_INTERFACE: &str = "[host]\ninterface = \"culvert0\"\n";

/// Two VLANs of one port: one for the SA, one in clear.
fn trunk() -> String {
    let mut more = "[[interface]]\nname = \"trunk\"\ndevice = \"net_af_packet,iface=trunk\"\n".to_owned();
    for (id, addresses) in [(SEALED, TAGGED.with_lengths()), (CLEAR, OPEN.with_lengths())] {
        let _ = writeln!(
            more,
            "[[interface]]\nname = \"trunk.{id}\"\ndevice = \"trunk\"\nvlan = {id}\naddresses = {addresses:?}"
        );
    }
    for (name, net, far) in [("open4", NET.v4, GUEST_OPEN.v4), ("open6", NET.v6, GUEST_OPEN.v6)] {
        let _ = writeln!(
            more,
            "[[policy]]\nname = \"{name}\"\naction = \"bypass\"\nlocal_ts = [{net:?}]\nremote_ts = [{far:?}]"
        );
    }
    more
}

/// What all rows have in common.
pub fn gateway() -> GatewayPlan {
    let port = |name: &str, addresses: &Pair| PortPlan {
        name: name.to_owned(),
        interface: name.to_owned(),
        addresses: addresses.with_lengths().to_vec(),
    };
    let route = |destination: &str, via: &str| Route { destination: destination.to_owned(), via: via.to_owned() };
    GatewayPlan {
        workers: vec![0],
        ports: vec![port("lan", &LAN), port("wan", &WAN)],
        routes: vec![route("0.0.0.0/0", NEAR.v4), route("::/0", NEAR.v6)],
        metrics: "127.0.0.1:9469".to_owned(),
        ..GatewayPlan::default()
    }
}
