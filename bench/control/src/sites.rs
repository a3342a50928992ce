//! The two sides' configurations: a hub, and its peers as one process that has all their addresses.

use core::time::Duration;
use culvert_ike::{Child, Config, Connection, DownAction, Secret, Settings, StartAction};
use culvert_model::{AddrRange, ChildId, Handling, Identity, Lifetime, SaMode, SecretKey, TrafficSelector};
use std::net::{IpAddr, Ipv4Addr};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The peers, all of them.
    Initiator,
    /// The hub.
    Responder,
}

/// IKE's and the Child SA's algorithms: one of each, as most configurations have them.
pub const IKE: &str = "aes128gcm16-prfsha256-x25519";
pub const ESP: &str = "aes128gcm16-esn";

pub const HUB: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

pub fn peer(tunnel: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 0).to_bits() + tunnel)
}

fn hub_id() -> Identity {
    Identity::Fqdn("hub.example".to_owned())
}

fn peer_id(tunnel: u32) -> Identity {
    Identity::Fqdn(format!("branch-{tunnel}.example"))
}

/// A /24 for each tunnel, and one network behind the hub.
pub fn networks(tunnel: u32) -> [TrafficSelector; 2] {
    let first = Ipv4Addr::new(10, 0, 0, 0).to_bits() + (tunnel << 8);
    let range = |first: Ipv4Addr, last: Ipv4Addr| {
        let range = AddrRange::new(IpAddr::V4(first), IpAddr::V4(last));
        TrafficSelector::any(range.unwrap_or(AddrRange::ANY_V4))
    };
    let branch = range(Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first + 255));
    [branch, range(Ipv4Addr::new(172, 16, 0, 0), Ipv4Addr::new(172, 16, 255, 255))]
}

/// One connection with one child for each tunnel, and a key of its own.
pub fn config(side: Side, tunnels: u32, dpd: Duration) -> Config {
    let connections = (0..tunnels).map(|tunnel| connection(side, tunnel, dpd)).collect();
    let secrets = (0..tunnels).map(|tunnel| Secret {
        ids: vec![hub_id(), peer_id(tunnel)],
        psk: SecretKey::new(format!("a secret of thirty-two octets {tunnel}").into_bytes()),
    });
    // Bounds on strangers are not what is measured: all of these are friends.
    let settings = Settings { cookie_threshold: usize::MAX, half_open_limit: usize::MAX, ..Settings::default() };
    Config { connections, secrets: secrets.collect(), settings }
}

fn connection(side: Side, tunnel: u32, dpd: Duration) -> Connection {
    let [branch, behind_hub] = networks(tunnel);
    let ends = [(IpAddr::V4(peer(tunnel)), peer_id(tunnel), branch), (IpAddr::V4(HUB), hub_id(), behind_hub)];
    let [own, other] = ends;
    let ((local, local_id, local_ts), (remote, remote_id, remote_ts)) =
        if side == Side::Initiator { (own, other) } else { (other, own) };
    Connection {
        name: format!("branch-{tunnel}"),
        local_addrs: vec![local],
        remote_addrs: vec![AddrRange::single(remote)],
        local_port: 500,
        remote_port: 500,
        proposals: IKE.parse().into_iter().collect(),
        local_id: Some(local_id),
        remote_id: Some(remote_id),
        encap: false,
        dpd_delay: dpd,
        rekey_time: Duration::from_secs(4 * 3600),
        over_time: Duration::from_secs(1440),
        rand_time: Duration::from_secs(1440),
        keyingtries: 1,
        children: vec![Child {
            id: ChildId(tunnel),
            name: "lan".to_owned(),
            local_ts: vec![local_ts],
            remote_ts: vec![remote_ts],
            child_proposals: ESP.parse().into_iter().collect(),
            mode: SaMode::Tunnel,
            handling: Handling::default(),
            bundle: None,
            populates: false,
            populated: false,
            start_action: StartAction::None,
            dpd_action: DownAction::Clear,
            close_action: DownAction::Clear,
            rekey_time: Duration::from_secs(3600),
            life_time: Duration::from_secs(3960),
            rand_time: Duration::from_secs(360),
            lifetime: Lifetime::default(),
            replay_window: 1024,
            interface: None,
        }],
    }
}
