//! Tunnels by IKEv2 with a daemon in the guest.

use crate::audit::count_passing;
use crate::daemon::{Daemon, LIBRESWAN, OPENIKED, STRONGSWAN};
use crate::manual::{HOST_INTERFACE, gateway};
use crate::network::{FAR, GUEST, GUEST_NET, NEAR, NET, WAN};
use crate::stage::Stage;
use crate::talk::programs;
use culvert_lab::{Child, Connection, Family, GatewayPlan, LabError, Namespace, Secret, Start, wait_for};
use culvert_status::Tunnel;
use std::time::Duration;

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Culvert,
    Peer,
}

/// One combination.
#[derive(Clone, Copy)]
pub struct Ike {
    pub daemon: Daemon,
    pub begins: Side,
    /// Makes new keys for the child and, where it is the peer, for the IKE SA.
    pub rekeys: Option<Side>,
    pub outer: Family,
    /// Whose address the router translates.
    pub nat: Option<Side>,
    /// Of AH instead, with `ah`.
    pub esp: &'static str,
    pub ah: bool,
    /// Between programs of both gateways; else in tunnel mode between the hosts.
    pub transport: bool,
}

/// For laboratories only: it is in the source.
const PSK: &str = "five boxing wizards jump quickly over 26 hedges";
/// Where Culvert makes new keys. Longer than one round of talk takes, also on a busy machine.
const CHILD_TIME: &str = "12s";

pub fn rows() -> Vec<Ike> {
    let plain = Ike {
        daemon: STRONGSWAN,
        begins: Side::Peer,
        rekeys: Some(Side::Peer),
        outer: Family::V4,
        nat: None,
        esp: "aes256gcm16",
        ah: false,
        transport: false,
    };
    let libreswan = Ike { daemon: LIBRESWAN, ..plain };
    let openiked = Ike { daemon: OPENIKED, rekeys: Some(Side::Culvert), esp: "aes256-sha1", ..plain };
    let mut rows = vec![
        plain,
        Ike { begins: Side::Culvert, rekeys: Some(Side::Culvert), ..plain },
        Ike { begins: Side::Culvert, esp: "aes128gcm16-x25519-esn", ..plain },
        Ike { outer: Family::V6, ..plain },
        Ike { nat: Some(Side::Peer), ..plain },
        Ike { begins: Side::Culvert, nat: Some(Side::Culvert), ..plain },
        libreswan,
        Ike { begins: Side::Culvert, rekeys: Some(Side::Culvert), ..libreswan },
        openiked,
        Ike { begins: Side::Culvert, ..openiked },
    ];
    for daemon in [plain, libreswan] {
        let quick = Ike { rekeys: None, ..daemon };
        rows.extend([Ike { transport: true, ..quick }, Ike { ah: true, esp: "sha256", ..quick }]);
    }
    // No AH with OpenIKED: it offers ciphers for it (7.2), which no AH proposal has (RFC 7296 §3.3.3).
    rows.push(Ike { rekeys: None, transport: true, ..openiked });
    let quick = Ike { begins: Side::Culvert, rekeys: None, ..plain };
    rows.extend([
        Ike { transport: true, ..quick },
        Ike { transport: true, outer: Family::V6, ..quick },
        Ike { ah: true, esp: "sha512-esn", outer: Family::V6, ..quick },
        Ike { ah: true, esp: "sha384", transport: true, ..quick },
        Ike { ah: true, esp: "aescmac", transport: true, outer: Family::V6, ..quick },
    ]);
    rows.extend(OTHER_ESP.map(|esp| Ike { rekeys: None, esp, ..plain }));
    rows
}

/// One proposal for each kind of transform, in words that strongSwan has too.
const OTHER_ESP: [&str; 9] = [
    "aes192gcm12",
    "aes256ccm16",
    "chacha20poly1305",
    "aes128gmac",
    "aes256-sha512-esn",
    "aes128-sha1",
    "aes192ctr-sha384",
    "aes128-aesxcbc",
    "null-sha256",
];

impl Ike {
    pub fn name(&self) -> String {
        let side = |side| if side == Side::Culvert { "culvert" } else { self.daemon.name };
        let outer = if self.outer == Family::V4 { "v4" } else { "v6" };
        let rekeys = self.rekeys.map(|who| format!(", {} rekeys", side(who))).unwrap_or_default();
        let nat = self.nat.map(|nat| format!(", {} behind nat", side(nat))).unwrap_or_default();
        let (daemon, begins) = (self.daemon.name, side(self.begins));
        let protocol = if self.ah { "ah" } else { "esp" };
        let mode = if self.transport { " transport" } else { "" };
        format!("ike with {daemon}, {begins} begins{rekeys}, {protocol} {}{mode} {outer}{nat}", self.esp)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self { nat: Some(_), .. } => "udp",
            Self { ah: true, .. } => "ah",
            _ => "esp",
        }
    }

    pub fn culvert(&self) -> GatewayPlan {
        let peer = if self.nat == Some(Side::Peer) { NEAR } else { GUEST };
        let mut connection = self.connection(Side::Culvert, peer.of(self.outer));
        if self.rekeys == Some(Side::Culvert) {
            connection.children[0].rekey_time = Some(CHILD_TIME.to_owned());
        }
        if self.begins == Side::Culvert {
            connection.children[0].start = Start::Start;
        }
        let more = if self.transport { HOST_INTERFACE.to_owned() } else { String::new() };
        GatewayPlan { connections: vec![connection], secrets: vec![secret()], more, ..gateway() }
    }

    fn peer(&self) -> GatewayPlan {
        let culvert = if self.nat == Some(Side::Culvert) { FAR } else { WAN };
        let connection = self.connection(Side::Peer, culvert.of(self.outer));
        GatewayPlan { connections: vec![connection], secrets: vec![secret()], ..GatewayPlan::default() }
    }

    /// Seen from `side`. No keys are renewed by the clock.
    fn connection(&self, side: Side, remote: &str) -> Connection {
        let nets: [Vec<&str>; 2] = if self.transport {
            [WAN, GUEST].map(|pair| vec![pair.of(self.outer)])
        } else {
            [NET, GUEST_NET].map(|pair| self.daemon.families.iter().map(|family| pair.of(*family)).collect())
        };
        let nets = nets.map(|side| side.into_iter().map(str::to_owned).collect());
        let ([local_ts, remote_ts], local, [local_id, remote_id]) = match side {
            Side::Culvert => (nets, WAN, ["a.example", "b.example"]),
            Side::Peer => {
                let [near, far] = nets;
                ([far, near], GUEST, ["b.example", "a.example"])
            }
        };
        let child = Child {
            name: "lan".to_owned(),
            interface: None,
            local_ts,
            remote_ts,
            esp_proposals: self.esp.to_owned(),
            ah: self.ah,
            transport: self.transport,
            start: Start::None,
            rekey_time: Some("0s".to_owned()),
            dpd_action: None,
            close_action: None,
            populate: Vec::new(),
            fragment: None,
        };
        Connection {
            name: "site".to_owned(),
            local_addrs: vec![local.of(self.outer).to_owned()],
            remote_addrs: vec![remote.to_owned()],
            local_id: local_id.to_owned(),
            remote_id: remote_id.to_owned(),
            proposals: self.daemon.ike.to_owned(),
            dpd_delay: None,
            rekey_time: Some("0s".to_owned()),
            children: vec![child],
        }
    }

    pub fn run(&self, mut stage: Stage<'_>) -> Result<(), LabError> {
        self.translate(&stage.network.router)?;
        count_passing(stage.network, 0)?;
        stage.guest.run("ip xfrm state flush; ip xfrm policy flush; rm -rf /run/peer; mkdir -p /run/peer")?;
        for (name, content) in (self.daemon.files)(&self.peer(), self.begins == Side::Peer) {
            stage.guest.write(&format!("/run/peer/{name}"), &content)?;
        }
        // Where Culvert begins, the peer is to hear its first message.
        if self.begins == Side::Peer {
            stage.culvert.start()?;
        }
        stage.guest.run(self.daemon.start)?;
        if self.begins == Side::Culvert {
            stage.culvert.start()?;
        }
        stage.ready()?;
        let done = self.with_peer(&mut stage);
        let log = stage.guest.run(STOP);
        stage.network.router.run(&["nft", "table ip translation; delete table ip translation"])?;
        done.map_err(|error| LabError::Status(format!("{error}\n{}", log.unwrap_or_else(|error| error.to_string()))))
    }

    fn translate(&self, router: &Namespace) -> Result<(), LabError> {
        let port = match self.nat {
            None => return Ok(()),
            Some(Side::Culvert) => "guest",
            Some(Side::Peer) => "gateway",
        };
        let chain = "type nat hook postrouting priority 100;";
        let rules = format!("table ip translation {{ chain out {{ {chain} oifname {port} masquerade; }}; }}");
        router.run(&["nft", &rules]).map(drop)
    }

    fn with_peer(&self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        let initiate = self.daemon.initiate;
        if self.begins == Side::Peer {
            stage.guest.run(initiate)?;
        }
        let first = stage.tunnel_after(None)?;
        self.talk(stage)?;

        if let Some(side) = self.rekeys {
            self.rekey(side, &first, stage)?;
            self.talk(stage)?;
        }

        // A clean end is told to the peer.
        stage.culvert.stop()?;
        wait_for("the end of the peer's SAs", Duration::from_secs(8), || {
            stage.guest.run("ip xfrm state").is_ok_and(|states| states.trim().is_empty()).then_some(())
        })
    }
}

impl Ike {
    fn talk(&self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        if self.transport {
            programs(stage, self.kind(), self.outer)
        } else {
            stage.talk(self.kind(), 1, self.daemon.families)
        }
    }

    /// New keys while packets go; none of them is lost by us.
    fn rekey(&self, side: Side, first: &Tunnel, stage: &mut Stage<'_>) -> Result<(), LabError> {
        let before = stage.audit()?;
        let stream = stage.stream()?;
        if side == Side::Peer {
            stage.guest.run(self.daemon.rekey_child)?;
        }
        stage.tunnel_after(first.spi_in.as_deref())?;
        if side == Side::Peer {
            let old = stage.ike_sa_after(None)?;
            stage.guest.run(self.daemon.rekey_ike)?;
            stage.ike_sa_after(Some(&old))?;
        }
        let lost = stream.finish()?;
        let audit = stage.audit()?.since(&before);
        let early = audit.linux_errors.get("XfrmInNoStates").copied().unwrap_or(0);
        audit.judged(lost == 0 || (self.daemon.answers_early && lost <= early), &format!("{lost} of a stream are lost"))
    }
}

/// Ends the daemon and prints the end of its log.
const STOP: &str = "pid=$(cat /run/peer/pid); kill $pid
for i in $(seq 25); do [ -d /proc/$pid ] && ! grep -q '^State:.Z' /proc/$pid/status || break; sleep 0.2; done
tail -n 25 /run/peer/log";

fn secret() -> Secret {
    Secret { ids: vec!["a.example".to_owned(), "b.example".to_owned()], psk: PSK.to_owned() }
}
