//! What is left out and follows from other keys.

use crate::schema::{ManualSa, Root};
use culvert_model::{AddrRange, SaMode, Suite, TrafficSelector};

pub(crate) fn fill(root: &mut Root) {
    root.manual_sa.iter_mut().filter(|sa| sa.mode == SaMode::Transport).for_each(ends);
}

/// The traffic of a transport-mode SA is that of its two ends.
fn ends(sa: &mut ManualSa) {
    for (selectors, addr) in [(&mut sa.local_ts, sa.local), (&mut sa.remote_ts, sa.remote)] {
        if selectors.is_empty() {
            selectors.push(TrafficSelector::any(AddrRange::single(addr)));
        }
    }
}

impl ManualSa {
    pub fn suite(&self) -> Suite {
        self.ah.or(self.suite).unwrap_or(Suite::AES256_GCM16)
    }
}
