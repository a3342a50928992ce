//! A pair of SAs set by hand, as each side is told it.

use crate::audit::count_passing;
use crate::network::{GUEST, GUEST_NET, LAN, NEAR, NET, WAN};
use crate::row::{Row, Talk};
use crate::stage::Stage;
use crate::suite::{hex, kernel_words};
use crate::talk::talk;
use culvert_lab::{Driver, Family, GatewayPlan, LabError, PortPlan, Route};
use culvert_model::{IpsecProtocol, SaMode};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// SPIs and keys of one row. Each row has its own, so that no sequence number of an earlier one matters.
#[derive(Debug)]
pub struct Manual<'a> {
    row: &'a Row,
    number: u16,
}

/// Whose packets a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToGuest,
    FromGuest,
}

impl<'a> Manual<'a> {
    pub fn new(row: &'a Row, number: u16) -> Self {
        Self { row, number }
    }

    fn spi(&self, way: Way) -> u32 {
        0x1000 + 2 * u32::from(self.number) + u32::from(way == Way::FromGuest)
    }

    /// Different octets throughout, and different for each row and way.
    fn key(&self, way: Way) -> Vec<u8> {
        let mut state = self.spi(way);
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..self.row.suite.key_len()).map(next).collect()
    }

    /// Culvert's configuration; the key files it names go into `directory`.
    pub fn culvert(&self, directory: &Path) -> Result<GatewayPlan, LabError> {
        self.write_keys(directory)?;
        let row = self.row;
        let mut more = format!(
            "[[manual_sa]]\nname = \"row\"\nlocal = {:?}\nremote = {:?}\nspi_in = {:#x}\nspi_out = {:#x}\nesn = {}\n",
            WAN.of(row.outer),
            GUEST.of(row.outer),
            self.spi(Way::FromGuest),
            self.spi(Way::ToGuest),
            row.esn
        );
        more += &match row.mode {
            SaMode::Tunnel if row.routed => "interface = \"ipsec0\"\n".to_owned(),
            SaMode::Tunnel => {
                let sides = [[NET.v4, NET.v6], [GUEST_NET.v4, GUEST_NET.v6]];
                format!("local_ts = {:?}\nremote_ts = {:?}\n", sides[0], sides[1])
            }
            SaMode::Transport => "mode = \"transport\"\n".to_owned(),
        };
        more += &match row.suite.protocol() {
            IpsecProtocol::Esp => format!("suite = \"{}\"\n", row.suite),
            IpsecProtocol::Ah => format!("ah = \"{}\"\n", row.suite),
        };
        more += "key_in_file = \"in.key\"\nkey_out_file = \"out.key\"\n";
        more += row.more;
        more.push('\n');
        if row.encap {
            more.push_str("encap = { keepalive = \"0s\" }\n");
        }
        if row.routed {
            more += "[[interface]]\nname = \"ipsec0\"\ndevice = \"tunnel\"\n";
            for net in [GUEST_NET.v4, GUEST_NET.v6] {
                let _ = writeln!(more, "[[route]]\ndestination = {net:?}\ninterface = \"ipsec0\"");
            }
        }
        let driver = if row.talk == Talk::Fragments { Driver::Pcap } else { Driver::AfPacket };
        Ok(GatewayPlan { more, driver, ..gateway() })
    }

    fn write_keys(&self, directory: &Path) -> Result<(), LabError> {
        for (name, way) in [("in.key", Way::FromGuest), ("out.key", Way::ToGuest)] {
            let path = directory.join(name);
            let made = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
            made.and_then(|mut file| std::io::Write::write_all(&mut file, hex(&self.key(way)).as_bytes()))
                .map_err(|source| LabError::File { path, source })?;
        }
        Ok(())
    }

    pub fn run(&self, mut stage: Stage<'_>) -> Result<(), LabError> {
        stage.guest.run(&self.linux())?;
        count_passing(stage.network)?;
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
        let (ours, theirs) = (WAN.of(self.row.outer), GUEST.of(self.row.outer));
        let mut script = CLEAN.to_owned();
        // States and policies of a tunnel interface have its number.
        let number = if self.row.routed { " if_id 1" } else { "" };
        if self.row.routed {
            script += "ip link add ipsec0 type xfrm dev eth0 if_id 1\nip link set ipsec0 up\n";
            for net in [NET.v4, NET.v6] {
                let _ = writeln!(script, "ip route add {net} dev ipsec0");
            }
        }
        let proto = if self.row.suite.protocol() == IpsecProtocol::Esp { "esp" } else { "ah" };
        let mode = if self.row.mode == SaMode::Tunnel { "tunnel" } else { "transport" };
        for (from, to, way) in [(ours, theirs, Way::ToGuest), (theirs, ours, Way::FromGuest)] {
            let mut key = self.key(way);
            // The last octet: behind a cipher's key that of the integrity algorithm, which has to notice.
            if let (Talk::WrongKey, Some(last)) = (self.row.talk, key.last_mut()) {
                *last ^= 1;
            }
            // `af-unspec`: packets of both families inside.
            let _ = writeln!(
                script,
                "ip xfrm state add src {from} dst {to} proto {proto} spi {:#x} reqid 1 mode {mode} replay-window 64 {}{}{} {}{}{number}",
                self.spi(way),
                if self.row.mode == SaMode::Tunnel { "flag af-unspec" } else { "" },
                // Without it Linux pads AH to eight octets in IPv4 too, against RFC 4302 §3.3.3.2.1.
                if proto == "ah" && self.row.outer == Family::V4 { " flag align4" } else { "" },
                if self.row.esn { " flag esn" } else { "" },
                kernel_words(self.row.suite, &key).unwrap_or_default(),
                if self.row.encap { " encap espinudp 4500 4500 0.0.0.0" } else { "" },
            );
        }
        let nets = match self.row.mode {
            SaMode::Tunnel if self.row.routed => vec![("0.0.0.0/0", "0.0.0.0/0"), ("::/0", "::/0")],
            SaMode::Tunnel => vec![(GUEST_NET.v4, NET.v4), (GUEST_NET.v6, NET.v6)],
            SaMode::Transport => vec![(theirs, ours)],
        };
        for (here, there) in nets {
            let template = |from, to| format!("tmpl src {from} dst {to} proto {proto} reqid 1 mode {mode}");
            let (out, inbound) = (template(theirs, ours), template(ours, theirs));
            let _ = writeln!(script, "ip xfrm policy add dir out src {here} dst {there}{number} {out}");
            for direction in ["in", "fwd"] {
                let _ = writeln!(script, "ip xfrm policy add dir {direction} src {there} dst {here}{number} {inbound}");
            }
        }
        if self.row.encap {
            // What a key daemon would do.
            script.push_str("python3 /guest/udp-encap.py 4500 >/dev/null 2>&1 &\necho $! >/run/udp-encap.pid\n");
        }
        script
    }
}

/// Of earlier rows.
const CLEAN: &str = "set -e
ip xfrm state flush
ip xfrm policy flush
if [ -e /sys/class/net/ipsec0 ]; then ip link delete ipsec0; fi
";

/// What all rows have in common.
pub fn gateway() -> GatewayPlan {
    let port = |name: &str, addresses: [String; 2]| PortPlan {
        name: name.to_owned(),
        interface: name.to_owned(),
        addresses: addresses.to_vec(),
    };
    let route = |destination: &str, via: &str| Route { destination: destination.to_owned(), via: via.to_owned() };
    GatewayPlan {
        workers: vec![0],
        ports: vec![port("lan", LAN.with_lengths()), port("wan", WAN.with_lengths())],
        routes: vec![route("0.0.0.0/0", NEAR.v4), route("::/0", NEAR.v6)],
        metrics: "127.0.0.1:9469".to_owned(),
        ..GatewayPlan::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::rows;

    #[test]
    fn no_key_is_used_twice() {
        let rows = rows();
        let mut keys: Vec<Vec<u8>> = (0..)
            .zip(&rows)
            .flat_map(|(number, row)| [Way::ToGuest, Way::FromGuest].map(|way| Manual::new(row, number).key(way)))
            .collect();
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
