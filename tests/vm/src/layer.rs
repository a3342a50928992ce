//! The pairs of SAs of one row, the innermost first, each as both ends are told it.

use crate::network::{GUEST, GUEST_LAN, GUEST_NET, GUEST_TAGGED, LAN, NET, TAGGED, WAN};
use crate::row::{Over, Row, Talk};
use crate::suite::{hex, kernel_words};
use culvert_lab::{Family, LabError};
use culvert_model::{Integrity, IpsecProtocol, SaMode, Suite};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Whose packets a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToGuest,
    FromGuest,
}

/// A pair of SAs. Each row has SPIs and keys of its own, so that no sequence number of an earlier one matters.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    row: &'a Row,
    suite: Suite,
    mode: SaMode,
    /// Culvert's end and the guest's.
    ends: [&'static str; 2],
    /// Of the packets inside a tunnel that has no `nets`.
    inside: [&'static str; 2],
    /// Networks of both sides, family by family; none where everything is selected, or the ends themselves.
    nets: &'static [[&'static str; 2]],
    /// Of the row, and within it.
    number: u16,
    depth: u16,
    bundled: bool,
}

const ALL: [[&str; 2]; 2] = [[NET.v4, GUEST_NET.v4], [NET.v6, GUEST_NET.v6]];

/// All of `row`, which has this number in the table.
pub fn layers(row: &Row, number: u16) -> Vec<Layer<'_>> {
    let (near, far) = if row.vlan { (TAGGED, GUEST_TAGGED) } else { (WAN, GUEST) };
    let ends = [near.of(row.outer), far.of(row.outer)];
    let nets: &[_] = if row.mode == SaMode::Transport || row.routed { &[] } else { &ALL };
    let plain =
        Layer { row, suite: row.suite, mode: row.mode, ends, inside: ends, nets, number, depth: 0, bundled: false };
    match row.over {
        Over::Nothing => vec![plain],
        Over::Ah(mode) => {
            let ah = Suite::ah(Integrity::HmacSha256_128);
            vec![Layer { bundled: true, ..plain }, Layer { suite: ah, mode, nets: &[], depth: 1, ..plain }]
        }
        Over::Tunnel => {
            let inside = [LAN.of(row.outer), GUEST_LAN.of(row.outer)];
            vec![Layer { ends: inside, bundled: true, ..plain }, Layer { inside, nets: &[], depth: 1, ..plain }]
        }
    }
}

impl Layer<'_> {
    fn spi(&self, way: Way) -> u32 {
        0x1000 + 4 * u32::from(self.number) + 2 * u32::from(self.depth) + u32::from(way == Way::FromGuest)
    }

    /// Different octets throughout, and different for each SA.
    fn key(&self, way: Way) -> Vec<u8> {
        let mut state = self.spi(way);
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..self.suite.key_len()).map(next).collect()
    }

    fn name(&self) -> &'static str {
        if self.depth == 0 { "row" } else { "around" }
    }

    /// Culvert's `[[manual_sa]]`; the key files it names go into `directory`.
    pub fn culvert(&self, directory: &Path) -> Result<String, LabError> {
        let row = self.row;
        let [local, remote] = self.ends;
        let files = [("in", Way::FromGuest), ("out", Way::ToGuest)].map(|(name, way)| {
            let file = format!("{}-{name}.key", self.name());
            write_key(&directory.join(&file), &self.key(way)).map(|()| file)
        });
        let [file_in, file_out] = files;
        let mut more = format!(
            "[[manual_sa]]\nname = {:?}\nlocal = {local:?}\nremote = {remote:?}\nspi_in = {:#x}\nspi_out = {:#x}\nesn = {}\n\
             key_in_file = {:?}\nkey_out_file = {:?}\n",
            self.name(),
            self.spi(Way::FromGuest),
            self.spi(Way::ToGuest),
            row.esn,
            file_in?,
            file_out?
        );
        more += &match self.mode {
            SaMode::Transport => "mode = \"transport\"\n".to_owned(),
            SaMode::Tunnel if row.routed => "interface = \"ipsec0\"\n".to_owned(),
            SaMode::Tunnel if self.nets.is_empty() => {
                format!("local_ts = [{:?}]\nremote_ts = [{:?}]\n", self.inside[0], self.inside[1])
            }
            SaMode::Tunnel => {
                let side = |side: usize| self.nets.iter().map(|nets| nets[side]).collect::<Vec<_>>();
                format!("local_ts = {:?}\nremote_ts = {:?}\n", side(0), side(1))
            }
        };
        more += &match self.suite.protocol() {
            IpsecProtocol::Esp => format!("suite = \"{}\"\n", self.suite),
            IpsecProtocol::Ah => format!("ah = \"{}\"\n", self.suite),
        };
        if self.bundled {
            more += "bundle = \"around\"\n";
        }
        if self.depth == 0 {
            more += row.more;
            more.push('\n');
        }
        if row.encap {
            more.push_str("encap = { keepalive = \"0s\" }\n");
        }
        Ok(more)
    }

    fn proto(&self) -> &'static str {
        if self.suite.protocol() == IpsecProtocol::Esp { "esp" } else { "ah" }
    }

    fn mode(&self) -> &'static str {
        if self.mode == SaMode::Tunnel { "tunnel" } else { "transport" }
    }

    /// The guest's pair of states, for `ip -batch`.
    pub fn states(&self) -> String {
        let [ours, theirs] = self.ends;
        let state = |from, to, way| {
            let mut key = self.key(way);
            // The last octet: behind a cipher's key that of the integrity algorithm, which has to notice.
            if let (Talk::WrongKey, Some(last)) = (self.row.talk, key.last_mut()) {
                *last ^= 1;
            }
            // `af-unspec`: packets of both families inside.
            format!(
                "xfrm state add src {from} dst {to} proto {} spi {:#x} reqid {} mode {} replay-window 64 {}{}{} {}{}{}{}\n",
                self.proto(),
                self.spi(way),
                self.reqid(),
                self.mode(),
                if self.mode == SaMode::Tunnel { "flag af-unspec" } else { "" },
                // Without it Linux pads AH to eight octets in IPv4 too, against RFC 4302 §3.3.3.2.1.
                if self.proto() == "ah" && self.row.outer == Family::V4 { " flag align4" } else { "" },
                if self.row.esn { " flag esn" } else { "" },
                kernel_words(self.suite, &key).unwrap_or_default(),
                if self.row.encap { " encap espinudp 4500 4500 0.0.0.0" } else { "" },
                if self.row.routed { " if_id 1" } else { "" },
                if self.row.talk == Talk::Padded { " tfcpad 1300" } else { "" },
            )
        };
        state(ours, theirs, Way::ToGuest) + &state(theirs, ours, Way::FromGuest)
    }

    fn reqid(&self) -> u16 {
        1 + self.depth
    }

    fn template(&self, way: Way) -> String {
        let [ours, theirs] = self.ends;
        let (from, to) = if way == Way::ToGuest { (ours, theirs) } else { (theirs, ours) };
        format!(" tmpl src {from} dst {to} proto {} reqid {} mode {}", self.proto(), self.reqid(), self.mode())
    }
}

/// The guest's policies of all layers, for `ip -batch`.
pub fn policies(row: &Row, layers: &[Layer<'_>]) -> String {
    let number = if row.routed { " if_id 1" } else { "" };
    let [out, inbound] =
        [Way::FromGuest, Way::ToGuest].map(|way| layers.iter().map(|layer| layer.template(way)).collect::<String>());
    let first = layers.first().map_or(([""; 2], [].as_slice()), |layer| (layer.ends, layer.nets));
    let nets = match first {
        _ if row.routed => vec![["0.0.0.0/0"; 2], ["::/0"; 2]],
        (ends, []) => vec![ends],
        (_, nets) => nets.to_vec(),
    };
    let mut lines = String::new();
    for [there, here] in nets {
        lines += &format!("xfrm policy add dir out src {here} dst {there} priority 2{number}{out}\n");
        for direction in ["in", "fwd"] {
            let policy = format!("xfrm policy add dir {direction} src {there} dst {here} priority 2");
            lines += &format!("{policy}{number}{inbound}\n");
        }
    }
    // What comes out of an outer tunnel is looked up by itself.
    if let [inner, outer] = layers
        && outer.mode == SaMode::Tunnel
    {
        let ([ours, theirs], template) = (inner.ends, outer.template(Way::ToGuest));
        lines += &format!("xfrm policy add dir in src {ours} dst {theirs} proto 50 priority 1{template}\n");
    }
    lines
}

fn write_key(path: &Path, key: &[u8]) -> Result<(), LabError> {
    let made = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    made.and_then(|mut file| file.write_all(hex(key).as_bytes()))
        .map_err(|source| LabError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::rows;

    #[test]
    fn no_key_is_used_twice() {
        let rows = rows();
        let layers = (0..).zip(&rows).flat_map(|(number, row)| layers(row, number));
        let mut keys: Vec<Vec<u8>> =
            layers.flat_map(|layer| [Way::ToGuest, Way::FromGuest].map(|way| layer.key(way))).collect();
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn a_bundle_has_one_policy_with_both_templates() {
        let row = rows().into_iter().find(|row| row.over == Over::Ah(SaMode::Transport)).expect("is there");
        let layers = layers(&row, 0);
        let policies = policies(&row, &layers);
        let out = policies.lines().find(|line| line.contains("dir out")).expect("is there");
        assert!(out.find("proto esp").expect("ESP first") < out.find("proto ah").expect("AH around it"), "{out}");
    }
}
