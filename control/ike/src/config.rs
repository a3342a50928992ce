//! What the endpoint is to do: connections, children, keys, timers. The words are swanctl.conf's.

use core::time::Duration;
use culvert_model::{
    AddrRange, ChildId, EspProposal, Handling, Identity, IkeProposal, InterfaceId, Lifetime, SaMode, SecretKey,
    TrafficSelector,
};
use std::net::IpAddr;

#[derive(Clone, Debug, Default)]
pub struct Config {
    pub connections: Vec<Connection>,
    pub secrets: Vec<Secret>,
    pub settings: Settings,
}

/// One peer.
#[derive(Clone, Debug)]
pub struct Connection {
    pub name: String,
    /// Own addresses; empty answers on any address, and then cannot initiate.
    pub local_addrs: Vec<IpAddr>,
    /// Where the peer may be. Single addresses are dialled, in turn; wider ranges are only answered.
    pub remote_addrs: Vec<AddrRange>,
    pub local_port: u16,
    pub remote_port: u16,
    pub proposals: Vec<IkeProposal>,
    /// `None`: the own address.
    pub local_id: Option<Identity>,
    /// `None`: any that a secret is there for.
    pub remote_id: Option<Identity>,
    /// UDP encapsulation even where there is no NAT.
    pub encap: bool,
    /// Zero never asks.
    pub dpd_delay: Duration,
    /// Zero never rekeys the IKE SA.
    pub rekey_time: Duration,
    /// The IKE SA ends this long after `rekey_time` if its rekey has not come about.
    pub over_time: Duration,
    /// Taken off `rekey_time`, a random part of it.
    pub rand_time: Duration,
    /// Attempts when the peer does not answer; 0 is for ever. Children with `start_action = start` try for ever anyway.
    pub keyingtries: u32,
    pub children: Vec<Child>,
}

/// Traffic of a connection: a pair of ESP or AH SAs.
#[derive(Clone, Debug)]
pub struct Child {
    pub id: ChildId,
    pub name: String,
    pub local_ts: Vec<TrafficSelector>,
    pub remote_ts: Vec<TrafficSelector>,
    /// For ESP and AH, in order of preference.
    pub child_proposals: Vec<EspProposal>,
    pub mode: SaMode,
    pub handling: Handling,
    /// SA bundle: the child whose SAs this one's packets go through.
    pub bundle: Option<ChildId>,
    /// Its acquires ask for SAs of packets' values, one for each.
    pub populates: bool,
    /// Made for the values of a packet, beside the configured child of the same number.
    pub populated: bool,
    pub start_action: StartAction,
    pub dpd_action: DownAction,
    pub close_action: DownAction,
    /// Zero never rekeys.
    pub rekey_time: Duration,
    /// The SA ends after this long; zero lives for ever.
    pub life_time: Duration,
    /// Taken off `rekey_time`, a random part of it.
    pub rand_time: Duration,
    /// The data plane watches it.
    pub lifetime: Lifetime,
    pub replay_window: u32,
    /// The tunnel interface whose traffic it carries.
    pub interface: Option<InterfaceId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAction {
    None,
    Start,
    Trap,
}

/// What becomes of a child when its peer is dead or has closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownAction {
    Clear,
    Trap,
    Restart,
}

/// A pre-shared key and whom it is for. No identities: for everybody.
#[derive(Clone, Debug)]
pub struct Secret {
    pub ids: Vec<Identity>,
    pub psk: SecretKey,
}

/// Timers and bounds that are the endpoint's, not a connection's.
#[derive(Clone, Debug)]
pub struct Settings {
    pub retransmit: Retransmit,
    /// Half-open IKE SAs from which on initiators must show a cookie (RFC 7296 §2.6).
    pub cookie_threshold: usize,
    /// Half-open IKE SAs from which on requests are not answered at all.
    pub half_open_limit: usize,
    /// A responder's IKE SA that is not authenticated after this long is forgotten.
    pub half_open_timeout: Duration,
    /// An inbound SA is removed this long after its deletion: packets are still under way.
    pub inbound_linger: Duration,
    /// Which pair carries traffic is settled this long after two ends opened at once.
    pub duplicate_delay: Duration,
    /// Pause before a failed initiation is tried again: first, and longest.
    pub retry_first: Duration,
    pub retry_most: Duration,
    /// Deletes at a shutdown may take this long.
    pub shutdown_wait: Duration,
    /// NAT keepalive of the data plane (RFC 3948 §4).
    pub nat_keepalive: Duration,
}

/// When a request is sent again: after `base × factor^n`, `tries` times; then the peer is dead.
#[derive(Clone, Copy, Debug)]
pub struct Retransmit {
    pub base: Duration,
    pub factor: f64,
    pub tries: u32,
    /// No pause is longer; zero sets no bound.
    pub most: Duration,
}

impl Default for Retransmit {
    fn default() -> Self {
        Self { base: Duration::from_secs(4), factor: 1.8, tries: 5, most: Duration::ZERO }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retransmit: Retransmit::default(),
            cookie_threshold: 100,
            half_open_limit: 1000,
            half_open_timeout: Duration::from_secs(30),
            inbound_linger: Duration::from_secs(5),
            duplicate_delay: Duration::from_secs(3),
            retry_first: Duration::from_secs(1),
            retry_most: Duration::from_secs(60),
            shutdown_wait: Duration::from_secs(2),
            nat_keepalive: Duration::from_secs(20),
        }
    }
}

impl Config {
    /// The key for a pair of identities; more specific entries first. `among`: places of all secrets that may be it.
    pub(crate) fn psk(
        &self,
        among: impl Iterator<Item = usize>,
        local: &Identity,
        remote: &Identity,
    ) -> Option<&SecretKey> {
        let has = |secret: &Secret, id: &Identity| secret.ids.iter().any(|i| i.matches(id));
        // One that names this box or the peer beside somebody else is meant for those two.
        let only = |secret: &Secret, id: &Identity| secret.ids.iter().all(|i| i.matches(id));
        let rank = |secret: &Secret| match (has(secret, local), has(secret, remote)) {
            (true, true) => Some(3),
            (false, true) if only(secret, remote) => Some(2),
            (true, false) if only(secret, local) => Some(1),
            _ if secret.ids.is_empty() => Some(0),
            _ => None,
        };
        let ranked =
            among.filter_map(|at| self.secrets.get(at).and_then(|s| Some((rank(s)?, core::cmp::Reverse(at), s))));
        // The first of the best, so that the order in the file decides ties.
        ranked.max_by_key(|(rank, at, _)| (*rank, *at)).map(|(.., secret)| &secret.psk)
    }
}

impl Connection {
    /// Addresses that can be dialled.
    pub(crate) fn dialable(&self) -> Vec<IpAddr> {
        self.remote_addrs.iter().filter(|r| r.start() == r.end()).map(AddrRange::start).collect()
    }

    pub(crate) fn allows(&self, local: IpAddr, remote: IpAddr) -> bool {
        (self.local_addrs.is_empty() || self.local_addrs.contains(&local))
            && (self.remote_addrs.is_empty() || self.remote_addrs.iter().any(|r| r.contains(remote)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(config: &'a Config, local: &Identity, remote: &Identity) -> Option<&'a SecretKey> {
        let directory = crate::directory::Directory::new(&config.connections, &config.secrets);
        let found = config.psk(directory.secrets(local, remote), local, remote);
        // The directory leaves none out.
        assert_eq!(found, config.psk(0..config.secrets.len(), local, remote));
        found
    }

    #[test]
    fn the_more_specific_secret_wins() {
        let id = |t: &str| t.parse::<Identity>().expect("identity");
        let secret = |ids: &[&str], psk: &[u8]| Secret { ids: ids.iter().map(|t| id(t)).collect(), psk: psk.into() };
        let config = Config {
            secrets: vec![
                secret(&[], b"any"),
                secret(&["b"], b"b"),
                secret(&["a", "b"], b"ab"),
                secret(&["a", "c"], b"ac"),
            ],
            ..Config::default()
        };
        let psk = |l: &str, r: &str| found(&config, &id(l), &id(r)).map(|k| k.expose().to_vec());
        assert_eq!(psk("a", "b"), Some(b"ab".to_vec()));
        assert_eq!(psk("x", "b"), Some(b"b".to_vec()));
        assert_eq!(psk("a", "d"), Some(b"any".to_vec()));
        for others in [["a", "c"], ["c", "b"]] {
            let config = Config { secrets: vec![secret(&others, b"theirs")], ..Config::default() };
            assert_eq!(found(&config, &id("a"), &id("b")), None, "{others:?}");
        }
    }
}
