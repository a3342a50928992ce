//! A Child SA: one inbound and one outbound SA of ESP or AH.
//!
//! ```text
//!              rekey by us            its response: the new pair carries traffic
//!  Installed ---------------> Rekeying --------------------------> Deleting --> retired
//!      |  \                                                          ^   ^
//!      |   `-- rekeyed by the peer: Rekeyed -- lifetime over --------'   |
//!      `------ terminated, expired, superseded in a collision ----------'
//!  any state: the peer deletes it --> retired
//! ```

use crate::{
    nat::Nat,
    negotiate::ChildSuite,
    shared::{Core, Path},
};
use culvert_model::{
    ChildId, Direction, Encapsulation, EsnMode, Handling, IpsecProtocol, SaMode, SaSpec, SecretKey, SlotIndex, Spi,
    Tfc, TrafficSelector, Tunnel,
};
use std::{sync::Arc, time::Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildState {
    Installed,
    /// Our rekey is under way.
    Rekeying,
    /// The peer has replaced it and will delete it.
    Rekeyed,
    /// Our Delete is queued or under way.
    Deleting,
}

/// What one outbound SA at a time is for: a child, or, where it is populated from packets, certain values of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    /// The child's connection.
    conn: usize,
    child: ChildId,
    values: Arc<str>,
}

impl Lane {
    fn new(conn: usize, config: &crate::Child, local_ts: &[TrafficSelector], remote_ts: &[TrafficSelector]) -> Self {
        let populated = config.populated || config.populates;
        let words = || local_ts.iter().chain(remote_ts).map(ToString::to_string).collect::<Vec<_>>().join(" ");
        Self { conn, child: config.id, values: if populated { words().into() } else { Arc::default() } }
    }

    pub fn conn(&self) -> usize {
        self.conn
    }
}

pub(crate) struct ChildSa {
    /// Index in the connection.
    pub child: usize,
    pub id: ChildId,
    pub lane: Lane,
    /// The data plane's side of control holds the same.
    pub inbound: Arc<SaSpec>,
    pub outbound: Arc<SaSpec>,
    pub out_installed: bool,
    pub suite: ChildSuite,
    pub state: ChildState,
    /// The peer is known to have its inbound SA.
    pub confirmed: bool,
    /// We asked for it.
    pub initiated: bool,
    /// The lower of the nonces that made it: of two pairs for the same traffic the one with the lowest goes.
    pub lowest_nonce: Arc<[u8]>,
    /// Grows with each pair of the endpoint.
    pub seq: u64,
    pub created: Instant,
    pub rekey_at: Option<Instant>,
    pub expire_at: Option<Instant>,
}

/// What notifications agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub mode: SaMode,
    /// The peer takes packets with TFC padding (RFC 7296 §3.10.1).
    pub tfc: bool,
    /// Both take inner fragments that show no ports (RFC 4301 §7.3).
    pub fragments: bool,
}

impl Terms {
    /// What is configured, without what the peer does not take.
    fn allow(self, wanted: Handling) -> Handling {
        let later_fragments = wanted.later_fragments && self.fragments;
        Handling { tfc: if self.tfc { wanted.tfc } else { Tfc::Off }, later_fragments, ..wanted }
    }
}

/// What was agreed on, before SAs are made of it.
pub(crate) struct Agreed {
    pub child: usize,
    pub suite: ChildSuite,
    pub terms: Terms,
    pub spi_in: Spi,
    pub slot_in: SlotIndex,
    pub spi_out: Spi,
    pub local_ts: Vec<TrafficSelector>,
    pub remote_ts: Vec<TrafficSelector>,
    pub key_in: SecretKey,
    pub key_out: SecretKey,
    pub initiated: bool,
    pub lowest_nonce: Arc<[u8]>,
}

impl ChildSa {
    /// `None` if there is no slot, or no such child.
    pub fn new(now: Instant, core: &mut Core, conn: usize, path: Path, nat: Nat, agreed: Agreed) -> Option<Self> {
        let slot_out = core.sad.outbound()?;
        let connection = core.config.connections.get(conn);
        let Some((connection, config)) = connection.and_then(|c| Some((c, c.children.get(agreed.child)?))) else {
            core.sad.drop_now(&mut core.outputs, slot_out);
            return None;
        };
        let encapsulation = (nat.any() || connection.encap).then(|| Encapsulation {
            local_port: path.local.port(),
            remote_port: path.remote.port(),
            keepalive: if nat.local { core.config.settings.nat_keepalive } else { core::time::Duration::ZERO },
        });
        let outbound = SaSpec {
            spi: agreed.spi_out,
            direction: Direction::Outbound,
            slot: slot_out,
            child: config.id,
            suite: agreed.suite.suite,
            key: agreed.key_out,
            tunnel: Tunnel { local: path.local.ip(), remote: path.remote.ip() },
            encapsulation,
            esn: agreed.suite.esn == EsnMode::Yes,
            replay_window: config.replay_window,
            local_ts: agreed.local_ts,
            remote_ts: agreed.remote_ts,
            lifetime: config.lifetime,
            mode: agreed.terms.mode,
            handling: agreed.terms.allow(config.handling),
            bundle: config.bundle,
            interface: config.interface,
        };
        let inbound = SaSpec {
            spi: agreed.spi_in,
            direction: Direction::Inbound,
            slot: agreed.slot_in,
            key: agreed.key_in,
            ..outbound.clone()
        };
        let lane = Lane::new(conn, config, &inbound.local_ts, &inbound.remote_ts);
        let (id, rekey_time, rand_time, life_time) = (config.id, config.rekey_time, config.rand_time, config.life_time);
        Some(Self {
            child: agreed.child,
            id,
            lane,
            inbound: Arc::new(inbound),
            outbound: Arc::new(outbound),
            out_installed: false,
            suite: agreed.suite,
            state: ChildState::Installed,
            confirmed: false,
            initiated: agreed.initiated,
            lowest_nonce: agreed.lowest_nonce,
            seq: core.unique(),
            created: now,
            rekey_at: core.due(now, rekey_time, rand_time),
            expire_at: (!life_time.is_zero()).then(|| now + life_time),
        })
    }

    pub fn protocol(&self) -> IpsecProtocol {
        self.suite.suite.protocol()
    }

    pub fn spi_in(&self) -> Spi {
        self.inbound.spi
    }

    pub fn spi_out(&self) -> Spi {
        self.outbound.spi
    }

    /// Does it stand for its child, now and in the near future?
    pub fn is_live(&self) -> bool {
        self.state != ChildState::Deleting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_peer_does_not_take_is_not_sent() {
        let wanted = Handling { tfc: Tfc::To(1280), dummies: 3, ..Handling::default() };
        let terms = |tfc, fragments| Terms { mode: SaMode::Tunnel, tfc, fragments };
        assert_eq!(terms(true, true).allow(wanted), wanted);
        assert_eq!(terms(false, true).allow(wanted), Handling { tfc: Tfc::Off, ..wanted });
        assert_eq!(terms(true, false).allow(wanted), Handling { later_fragments: false, ..wanted });
    }
}
