//! Which combinations are tried with keys set by hand.

use crate::suite::kernel_words;
use culvert_lab::Family;
use culvert_model::{Integrity, IpsecProtocol, SaMode, Suite};

/// One combination.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub suite: Suite,
    pub mode: SaMode,
    /// Of the outer header.
    pub outer: Family,
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// ESP in UDP (RFC 3948).
    pub encap: bool,
    /// By routes into a tunnel interface on both sides, the SAs being for everything; else by policies.
    pub routed: bool,
    /// Outer addresses behind a VLAN tag; beside it another VLAN in clear.
    pub vlan: bool,
    pub over: Over,
    pub talk: Talk,
    /// More keys of Culvert's `[[manual_sa]]`, one to a line.
    pub more: &'static str,
}

/// What the SA's packets go through in turn (RFC 4301 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Nothing,
    /// AH of the same ends: an SA bundle.
    Ah(SaMode),
    /// A tunnel between the gateways, within which the ends are their inner addresses.
    Tunnel,
}

/// What goes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// Ping and TCP. In transport mode between the gateways themselves, without TCP.
    Plain,
    /// TCP too between programs of the gateways, Culvert's over the host interface.
    Programs,
    /// Every packet is as long as the longest (TFC padding), from both ends.
    Padded,
    /// Culvert sends dummy packets in between.
    Dummies,
    /// Pings in fragments, on a way that fragments what carries them.
    Fragments,
    /// TCP with full segments, on a way with a smaller MTU that only ICMP tells of.
    PathMtu,
    /// The keys of the ends differ: nothing gets through, and both say why.
    WrongKey,
}

impl Row {
    /// `--only` selects by a part of it.
    pub fn name(&self) -> String {
        let protocol = if self.suite.protocol() == IpsecProtocol::Esp { "esp" } else { "ah" };
        let mode = if self.mode == SaMode::Tunnel { "tunnel" } else { "transport" };
        let outer = if self.outer == Family::V4 { "v4" } else { "v6" };
        let mut name = format!("{protocol} {} {mode} {outer}", self.suite);
        for (there, word) in [
            (self.esn, " esn"),
            (self.encap, " udp"),
            (self.routed, " routed"),
            (self.vlan, " vlan"),
            (self.over == Over::Ah(SaMode::Transport), " in ah transport"),
            (self.over == Over::Ah(SaMode::Tunnel), " in ah tunnel"),
            (self.over == Over::Tunnel, " nested"),
            (self.talk == Talk::Programs, " programs"),
            (self.talk == Talk::Padded, " padded"),
            (self.talk == Talk::Dummies, " dummies"),
            (self.talk == Talk::Fragments, " fragments"),
            (self.talk == Talk::PathMtu, " path-mtu"),
            (self.talk == Talk::WrongKey, " wrong-key"),
        ] {
            name += if there { word } else { "" };
        }
        if !self.more.is_empty() {
            name += " with ";
            name += &self.more.replace('\n', ", ");
        }
        name
    }

    /// What the router sees of it.
    pub fn kind(&self) -> &'static str {
        match self.suite.protocol() {
            _ if self.encap => "udp",
            _ if matches!(self.over, Over::Ah(_)) => "ah",
            IpsecProtocol::Esp => "esp",
            IpsecProtocol::Ah => "ah",
        }
    }
}

impl Row {
    /// How often each packet is sealed.
    pub fn layers(&self) -> u64 {
        if self.over == Over::Nothing { 1 } else { 2 }
    }

    /// Families of what is inside.
    pub fn inside(&self) -> &'static [Family] {
        match (self.over, self.outer) {
            // Linux looks for the transport mode SA by the family of what is innermost.
            (Over::Ah(SaMode::Transport), Family::V4) => &[Family::V4],
            (Over::Ah(SaMode::Transport), Family::V6) => &[Family::V6],
            _ => &[Family::V4, Family::V6],
        }
    }
}

/// Every transform that both have in the plainest form, then the other ways to use some of them.
pub fn rows() -> Vec<Row> {
    let known = |suite: &Suite| kernel_words(*suite, &vec![0; suite.key_len()]).is_some();
    let mut rows: Vec<Row> = Suite::all().filter(known).map(plain).collect();
    let gcm = plain(Suite::AES128_GCM16);
    let cbc = Suite::all().find(|suite| suite.to_string() == "aes256-sha256").map_or(gcm, plain);
    let ah = plain(Suite::ah(Integrity::HmacSha256_128));
    for base in [gcm, cbc, ah] {
        for (outer, esn, encap) in [
            (Family::V4, true, false),
            (Family::V4, false, true),
            (Family::V4, true, true),
            (Family::V6, false, false),
            (Family::V6, true, false),
            (Family::V6, false, true),
            (Family::V6, true, true),
        ] {
            // AH through a NAT cannot be (RFC 3948 §1).
            if !encap || base.suite.protocol() == IpsecProtocol::Esp {
                rows.push(Row { outer, esn, encap, ..base });
            }
        }
        for outer in [Family::V4, Family::V6] {
            rows.push(Row { mode: SaMode::Transport, outer, ..base });
            rows.push(Row { routed: true, outer, ..base });
            if !is_deaf(base.suite, outer) {
                rows.push(Row { talk: Talk::PathMtu, outer, ..base });
            }
            rows.push(Row { talk: Talk::WrongKey, outer, ..base });
        }
        for (outer, more) in [
            (Family::V4, ""),
            (Family::V4, "fragment = \"after\""),
            (Family::V6, ""),
            (Family::V6, "fragment = \"after\""),
        ] {
            if !is_deaf(base.suite, outer) {
                rows.push(Row { talk: Talk::Fragments, outer, more, ..base });
            }
        }
    }
    rows.extend(layered(gcm));
    for base in [gcm, cbc, ah] {
        for outer in [Family::V4, Family::V6] {
            rows.push(Row { mode: SaMode::Transport, talk: Talk::Programs, outer, ..base });
        }
    }
    for outer in [Family::V4, Family::V6] {
        rows.push(Row { vlan: true, outer, ..gcm });
        rows.push(Row { talk: Talk::Padded, outer, more: "tfc_padding = 1300", ..gcm });
    }
    rows.push(Row { talk: Talk::Padded, more: "tfc_padding = 1300", ..cbc });
    rows.push(Row { talk: Talk::Dummies, more: "dummy_packets = 50", ..gcm });
    rows
}

/// AH around ESP in every mix of modes, and a tunnel within a tunnel.
fn layered(base: Row) -> Vec<Row> {
    const MODES: [SaMode; 2] = [SaMode::Tunnel, SaMode::Transport];
    let mut rows = Vec::new();
    for outer in [Family::V4, Family::V6] {
        for (mode, around) in MODES.into_iter().flat_map(|mode| MODES.map(|around| (mode, around))) {
            rows.push(Row { mode, outer, over: Over::Ah(around), ..base });
        }
        rows.push(Row { outer, over: Over::Tunnel, ..base });
    }
    rows
}

/// Linux looks behind AH in what an ICMPv6 error quotes (`ipv6_skip_exthdr`), so its AH never hears of a narrow path.
fn is_deaf(suite: Suite, outer: Family) -> bool {
    suite.protocol() == IpsecProtocol::Ah && outer == Family::V6
}

fn plain(suite: Suite) -> Row {
    let mode = SaMode::Tunnel;
    let talk = Talk::Plain;
    Row {
        suite,
        mode,
        outer: Family::V4,
        esn: false,
        encap: false,
        routed: false,
        vlan: false,
        over: Over::Nothing,
        talk,
        more: "",
    }
}
