//! What is left out and follows from other keys.

use crate::schema::{Child, Connection, ManualSa, Root};
use culvert_model::{AddrRange, EspProposal, SaMode, Suite, TrafficSelector};
use std::net::IpAddr;

pub(crate) fn fill(root: &mut Root) {
    for sa in root.manual_sa.iter_mut().filter(|sa| sa.mode == SaMode::Transport) {
        end(&mut sa.local_ts, &[sa.local]);
        end(&mut sa.remote_ts, &[sa.remote]);
    }
    for connection in &mut root.connection {
        let Connection { children, local_addrs, remote_addrs, .. } = connection;
        for child in children {
            if child.mode == SaMode::Transport {
                end(&mut child.local_ts, local_addrs);
                end(&mut child.remote_ts, remote_addrs);
            }
            if !child.ah_proposals.is_empty() && !child.places.is_there("esp_proposals") {
                child.esp_proposals.clear();
            }
        }
    }
}

/// The traffic of a transport-mode SA is that of its two ends; one of several ends cannot be told.
fn end(selectors: &mut Vec<TrafficSelector>, addrs: &[IpAddr]) {
    if let ([], [addr]) = (selectors.as_slice(), addrs) {
        selectors.push(TrafficSelector::any(AddrRange::single(*addr)));
    }
}

impl ManualSa {
    pub fn suite(&self) -> Suite {
        self.ah.or(self.suite).unwrap_or(Suite::AES256_GCM16)
    }
}

impl Child {
    /// For ESP and AH, in order of preference.
    pub fn proposals(&self) -> Vec<EspProposal> {
        self.esp_proposals.iter().chain(&self.ah_proposals).cloned().collect()
    }
}
