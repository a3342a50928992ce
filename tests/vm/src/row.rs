//! Which combinations are tried with keys set by hand.

use crate::suite::{ESP, Suite};
use culvert_lab::Family;

/// One combination, with keys and SPIs set by hand on both sides.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub suite: Suite,
    /// Of the outer header.
    pub outer: Family,
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// ESP in UDP (RFC 3948).
    pub encap: bool,
}

impl Row {
    /// Words apart from the number; `--only` selects by a part of it.
    pub fn name(&self) -> String {
        let outer = match self.outer {
            Family::V4 => "v4",
            Family::V6 => "v6",
        };
        let mut name = format!("esp {} tunnel {outer}", self.suite.word);
        if self.esn {
            name.push_str(" esn");
        }
        if self.encap {
            name.push_str(" udp");
        }
        name
    }

    /// What the router sees of it.
    pub fn kind(&self) -> &'static str {
        if self.encap { "udp" } else { "esp" }
    }
}

/// All rows, each transform first in the plainest form.
pub fn rows() -> Vec<Row> {
    let plain = |suite: Suite| Row { suite, outer: Family::V4, esn: false, encap: false };
    let mut rows: Vec<Row> = ESP.iter().copied().map(plain).collect();
    for outer in [Family::V4, Family::V6] {
        for esn in [false, true] {
            for encap in [false, true] {
                if outer == Family::V6 || esn || encap {
                    rows.push(Row { outer, esn, encap, ..plain(ESP[0]) });
                }
            }
        }
    }
    rows
}
