//! Snapshots for status.

use super::Endpoint;
use crate::{
    ChildStatus, IkeSaStatus,
    child::{ChildSa, ChildState},
    sa::{IkeSa, Phase, State},
};
use std::time::Instant;

impl Endpoint {
    /// All IKE SAs that are not over, the oldest first.
    pub fn status(&self, now: Instant) -> Vec<IkeSaStatus> {
        let over = |sa: &IkeSa| sa.established().is_some_and(|e| matches!(e.phase, Phase::Closed(_)));
        self.sas
            .ids()
            .into_iter()
            .filter_map(|id| self.sas.get(id))
            .filter(|sa| !over(sa))
            .map(|sa| self.sa_status(now, sa))
            .collect()
    }

    fn sa_status(&self, now: Instant, sa: &IkeSa) -> IkeSaStatus {
        let e = sa.established();
        let state = match (&sa.state, e.map(|e| e.phase)) {
            (State::Established(_), Some(Phase::Live)) => "established",
            (State::Established(_), Some(Phase::Rekeyed)) => "rekeyed",
            (State::Established(_), _) => "deleting",
            _ => "connecting",
        };
        let children = e.map(|e| e.children.as_slice()).unwrap_or_default();
        IkeSaStatus {
            connection: sa.conn.map_or_else(String::new, |c| self.core.connection_name(c)),
            state,
            initiator: sa.initiator,
            local_spi: sa.local_spi,
            remote_spi: sa.remote_spi,
            local: sa.path.local,
            remote: sa.path.remote,
            local_id: e.map(|e| e.local_id.clone()),
            remote_id: e.map(|e| e.remote_id.clone()),
            proposal: e.map(|e| e.suite.to_string()),
            nat: sa.nat.any(),
            age: e.map(|e| now.saturating_duration_since(e.created)),
            rekey_in: e.and_then(|e| e.rekey_at).map(|at| at.saturating_duration_since(now)),
            children: children.iter().map(|c| self.child_status(now, sa, c)).collect(),
        }
    }

    fn child_status(&self, now: Instant, sa: &IkeSa, c: &ChildSa) -> ChildStatus {
        let config = sa.conn.and_then(|i| self.core.config.connections.get(i)).and_then(|x| x.children.get(c.child));
        ChildStatus {
            child: c.id,
            name: config.map_or_else(String::new, |x| x.name.clone()),
            state: match c.state {
                ChildState::Installed => "installed",
                ChildState::Rekeying => "rekeying",
                ChildState::Rekeyed => "rekeyed",
                ChildState::Deleting => "deleting",
            },
            spi_in: c.spi_in(),
            spi_out: c.spi_out(),
            slot_in: c.inbound.slot,
            slot_out: c.out_installed.then_some(c.outbound.slot),
            suite: c.suite.suite,
            mode: c.inbound.mode,
            esn: c.inbound.esn,
            local_ts: c.inbound.local_ts.clone(),
            remote_ts: c.inbound.remote_ts.clone(),
            age: now.saturating_duration_since(c.created),
            rekey_in: c.rekey_at.map(|at| at.saturating_duration_since(now)),
        }
    }
}
