//! One exchange at a time, over a network that works: what is negotiated, and what is refused with which reason.

mod hostile;
mod modes;
mod pair;

use core::time::Duration;
use culvert_ike::{Datagram, Event, FailureReason, Output, Report, Step};
use culvert_model::{ChildId, Direction, Flow, Pfp, SaSpec, Suite};
use pair::{Pair, config};

fn up(pair: &Pair, i: usize) -> bool {
    pair.reports[i].iter().any(|r| matches!(r, Report::ChildUp { .. }))
}

fn failures(pair: &Pair, i: usize) -> Vec<(Step, FailureReason)> {
    let of =
        |r: &Report| if let Report::Failed { step, reason, .. } = r { Some((*step, reason.clone())) } else { None };
    pair.reports[i].iter().filter_map(of).collect()
}

fn refused(pair: &Pair, i: usize, step: Step, kind: u16) -> bool {
    failures(pair, i).contains(&(step, FailureReason::Refused { kind }))
}

#[test]
fn every_algorithm() {
    let ciphers = ["aes128gcm16-prfsha256", "aes256gcm16-prfsha512", "aes128-sha256", "aes192-sha384", "aes256-sha512"];
    let groups = ["x25519", "ecp256", "ecp384", "modp2048", "modp3072", "modp4096"];
    for cipher in ciphers {
        for group in groups {
            let ike = format!("{cipher}-{group}");
            let mut pair = Pair::new([config(0), config(1)].map(|mut c| {
                c.connections[0].proposals = vec![ike.parse().expect("ike")];
                c
            }));
            pair.initiate(0);
            assert!(up(&pair, 0) && up(&pair, 1), "{ike}");
            assert_eq!(pair.endpoints[0].status(pair.now)[0].children[0].suite, Suite::AES256_GCM16);
        }
    }
}

#[test]
fn the_responder_may_want_another_group() {
    let [mut a, mut b] = [config(0), config(1)];
    a.connections[0].proposals = vec!["aes256gcm16-prfsha384-x25519-ecp256".parse().expect("ike")];
    b.connections[0].proposals = vec!["aes256gcm16-prfsha384-ecp256".parse().expect("ike")];
    a.connections[0].children[0].child_proposals = vec!["aes256gcm16-x25519-ecp384".parse().expect("esp")];
    b.connections[0].children[0].child_proposals = vec!["aes256gcm16-ecp384".parse().expect("esp")];
    let mut pair = Pair::new([a, b]);
    pair.initiate(0);
    assert!(up(&pair, 0) && up(&pair, 1), "{:?}", pair.reports);
    assert_eq!(pair.endpoints[0].status(pair.now)[0].proposal.as_deref(), Some("aes256gcm16-prfsha384-ecp256"));
    // The rekey has a key exchange of its own, and meets the same refusal.
    let spi = pair.endpoints[0].status(pair.now)[0].children[0].spi_out;
    pair.event(0, Event::SoftExpire { spi, direction: culvert_model::Direction::Outbound });
    assert!(pair.reports[0].iter().any(|r| matches!(r, Report::ChildRekeyed { .. })), "{:?}", pair.reports[0]);
}

#[test]
fn cookies_are_asked_for_and_shown() {
    let [a, mut b] = [config(0), config(1)];
    b.settings.cookie_threshold = 0;
    let mut pair = Pair::new([a, b]);
    pair.initiate(0);
    assert!(up(&pair, 0) && up(&pair, 1));
    assert!(pair.reports[1].iter().any(|r| matches!(r, Report::HalfOpenFlood { refused: false, .. })));
}

#[test]
fn half_open_sas_are_bounded_and_forgotten() {
    let [a, mut b] = [config(0), config(1)];
    (b.settings.cookie_threshold, b.settings.half_open_limit) = (3, 5);
    let mut pair = Pair::new([a.clone(), b]);
    for port in 1000..1100 {
        let mut flood = Pair::new([a.clone(), config(1)]);
        flood.deaf = true;
        flood.initiate(0);
        let mut first = flood.sent.remove(0);
        std::mem::swap(&mut first.local, &mut first.remote);
        first.remote.set_port(port);
        // Each flooder has randomness of its own.
        first.payload[0] = u8::try_from(port % 256).expect("octet");
        pair.deaf = true;
        pair.receive(1, &first);
    }
    assert_eq!(pair.endpoints[1].status(pair.now).len(), 3, "cookies are not shown");
    pair.wait(Duration::from_secs(40));
    assert_eq!(pair.endpoints[1].status(pair.now).len(), 0);
}

#[test]
fn a_wrong_key_is_refused() {
    let [a, mut b] = [config(0), config(1)];
    b.secrets[0].psk = (&b"another"[..]).into();
    let mut pair = Pair::new([a, b]);
    pair.initiate(0);
    assert!(!up(&pair, 0) && !up(&pair, 1));
    assert!(refused(&pair, 0, Step::IkeAuth, 24));
    let remote = "gw-0.example".parse().expect("identity");
    assert_eq!(failures(&pair, 1), [(Step::IkeAuth, FailureReason::AuthenticationFailed { remote })]);
    pair.assert_nothing_left();
}

#[test]
fn a_wrong_identity_is_refused_by_either_side() {
    let [mut a, b] = [config(0), config(1)];
    a.connections[0].local_id = Some("stranger.example".parse().expect("identity"));
    a.secrets[0].ids.clear();
    let mut pair = Pair::new([a, b]);
    pair.initiate(0);
    assert!(refused(&pair, 0, Step::IkeAuth, 24));
    assert!(matches!(&failures(&pair, 1)[..], [(Step::IkeAuth, FailureReason::WrongIdentity { .. })]));
    pair.assert_nothing_left();
}

#[test]
fn nothing_in_common() {
    let [mut a, b] = [config(0), config(1)];
    a.connections[0].proposals = vec!["aes128-sha256-modp2048".parse().expect("ike")];
    let mut pair = Pair::new([a, b]);
    pair.initiate(0);
    assert!(refused(&pair, 0, Step::IkeSaInit, 14));
    let [(Step::IkeSaInit, FailureReason::NoIkeProposal { theirs, .. })] = &failures(&pair, 1)[..] else {
        panic!("{:?}", pair.reports[1]);
    };
    assert_eq!(theirs, "aes128-sha256-prfsha256-modp2048");
    pair.assert_nothing_left();
}

#[test]
fn without_a_child_the_ike_sa_stands() {
    let esp = |pair: [culvert_ike::Config; 2]| {
        let [mut a, b] = pair;
        a.connections[0].children[0].child_proposals = vec!["aes128gcm16-noesn".parse().expect("esp")];
        [a, b]
    };
    let ts = |pair: [culvert_ike::Config; 2]| {
        let [mut a, b] = pair;
        a.connections[0].children[0].remote_ts = a.connections[0].children[0].local_ts.clone();
        [a, b]
    };
    for (configs, kind) in [(esp([config(0), config(1)]), 14), (ts([config(0), config(1)]), 38)] {
        let mut pair = Pair::new(configs);
        pair.initiate(0);
        assert!(refused(&pair, 0, Step::IkeAuth, kind), "{:?}", pair.reports[0]);
        for i in 0..2 {
            assert_eq!(pair.endpoints[i].status(pair.now)[0].state, "established");
            assert_eq!(pair.endpoints[i].status(pair.now)[0].children, []);
        }
        pair.shutdown();
        pair.assert_nothing_left();
    }
}

#[test]
fn selectors_are_narrowed() {
    let [mut a, b] = [config(0), config(1)];
    a.connections[0].children[0].remote_ts = vec![pair::net("10.0.0.0/8")];
    let mut pair = Pair::new([a, b]);
    pair.initiate(0);
    let child = &pair.endpoints[0].status(pair.now)[0].children[0];
    assert_eq!(child.remote_ts, [pair::net("10.7.0.0/16")]);
    assert_eq!(pair.endpoints[1].status(pair.now)[0].children[0].local_ts, [pair::net("10.7.0.0/16")]);
}

/// Beside a child for everything stands one for a network, on both ends and in any order.
#[test]
fn the_child_that_says_no_more_than_the_offer_is_meant() {
    for (narrow_first, wanted) in [(false, "net"), (true, "net"), (false, "all"), (true, "all")] {
        let [mut a, b] = [config(0), config(1)].map(|mut c| {
            let mut all = c.connections[0].children[0].clone();
            let any = vec![culvert_model::TrafficSelector::any(culvert_model::AddrRange::ANY_V4)];
            (all.id, all.name, all.local_ts, all.remote_ts) = (ChildId(1), "all".into(), any.clone(), any);
            c.connections[0].children[0].name = "net".into();
            let at = usize::from(narrow_first);
            c.connections[0].children.insert(at, all);
            c
        });
        a.connections[0].children.retain(|child| child.name == wanted);
        a.connections[0].children[0].id = ChildId(0);
        let mut pair = Pair::new([a, b]);
        pair.initiate(0);
        let names: Vec<_> = pair.endpoints[1].status(pair.now)[0].children.iter().map(|c| c.name.clone()).collect();
        assert_eq!(names, [wanted], "{narrow_first}");
    }
}

#[test]
fn behind_a_nat_everything_moves_to_4500() {
    let mut pair = Pair::new([config(0), config(1)].map(|mut c| {
        c.connections[0].remote_addrs = vec![culvert_model::AddrRange::ANY_V4];
        c
    }));
    let responder = "198.51.100.7".parse().expect("address");
    pair.configs[0].connections[0].remote_addrs = vec![culvert_model::AddrRange::single(responder)];
    pair.rebuild();
    pair.nat = Some("203.0.113.9".parse().expect("address"));
    pair.initiate(0);
    assert!(up(&pair, 0) && up(&pair, 1), "{:?}", pair.reports);
    let seen = pair.endpoints[1].status(pair.now)[0].remote;
    assert_eq!(seen.to_string(), "203.0.113.9:14500");
    let keepalive = |i: usize| pair.installed[i].iter().filter_map(|s| s.encapsulation).map(|e| !e.keepalive.is_zero());
    assert!(keepalive(0).all(|k| k) && keepalive(1).all(|k| !k));
    assert!(pair.installed[1].iter().all(|s| s.encapsulation.is_some_and(|e| e.remote_port == 14500)));
}

/// RFC 7296 §2.23: whoever is not behind a NAT follows the peer's packets, with IKE and every SA.
#[test]
fn a_nat_mapping_that_moves_is_followed() {
    let mut configs = [config(0), config(1)];
    configs[1].connections[0].remote_addrs = vec![culvert_model::AddrRange::ANY_V4];
    let mut pair = Pair::new(configs);
    pair.nat = Some("203.0.113.9".parse().expect("address"));
    pair.initiate(0);
    let moved: std::net::SocketAddr = "203.0.113.77:14500".parse().expect("address");
    let spi = pair.endpoints[1].status(pair.now)[0].children[0].spi_in;
    // The side behind the NAT does not believe it.
    let behind = pair.endpoints[0].status(pair.now)[0].children[0].spi_in;
    pair.event(0, Event::PeerMoved { spi: behind, remote: moved });
    assert_eq!(pair.endpoints[0].status(pair.now)[0].remote.to_string(), "198.51.100.7:4500");
    pair.event(1, Event::PeerMoved { spi, remote: moved });
    let follows = |pair: &Pair, to: std::net::SocketAddr| {
        let all = pair.installed[1].iter();
        let mut places = all.map(|s| (s.tunnel.remote, s.encapsulation.map(|e| e.remote_port)));
        places.len() == 2 && places.all(|place| place == (to.ip(), Some(to.port())))
    };
    assert!(follows(&pair, moved), "{:?}", pair.installed[1]);
    // IKE goes there too, and what the peer says next from elsewhere moves everything once more.
    let sent = pair.sent.len();
    pair.event(1, Event::SoftExpire { spi, direction: culvert_model::Direction::Inbound });
    pair.wait(Duration::from_secs(40));
    assert!(pair.sent[sent..].iter().any(|d| d.remote == moved));
    let back: std::net::SocketAddr = "203.0.113.9:14500".parse().expect("address");
    let spi = pair.endpoints[0].status(pair.now)[0].children[0].spi_in;
    pair.event(0, Event::SoftExpire { spi, direction: culvert_model::Direction::Inbound });
    pair.wait(Duration::from_secs(40));
    assert_eq!(pair.endpoints[1].status(pair.now)[0].remote, back);
    assert!(pair.installed[1].iter().all(|s| s.tunnel.remote == back.ip()), "{:?}", pair.installed[1]);
    // An SPI that nobody has moves nothing.
    pair.event(1, Event::PeerMoved { spi: culvert_model::Spi::new(0xdead_beef).expect("spi"), remote: moved });
    assert_eq!(pair.endpoints[1].status(pair.now)[0].remote, back);
}

#[test]
fn forced_encapsulation_needs_one_side_only() {
    for who in 0..2 {
        let mut configs = [config(0), config(1)];
        configs[who].connections[0].encap = true;
        let mut pair = Pair::new(configs);
        pair.initiate(0);
        for i in 0..2 {
            assert!(
                pair.installed[i].iter().all(|s| s.encapsulation.is_some_and(|e| e.local_port == 4500)),
                "{who} {i}"
            );
        }
    }
}

/// RFC 4301 §4.4.1.2: an SA for each value that packets have, each the outbound one of its value, and rekeyed as such.
#[test]
fn packets_populate_the_selectors() {
    let configs = [0, 1].map(|i| {
        let mut config = config(i);
        config.connections[0].children[0].populates = true;
        config
    });
    let mut pair = Pair::new(configs);
    let pfp = Pfp { local_addr: false, remote_addr: true, protocol: true, local_port: false, remote_port: true };
    let packet = |destination: &str, port| Flow {
        source: "10.1.0.5".parse().expect("address"),
        destination: destination.parse().expect("address"),
        protocol: 6,
        source_port: Some(40_000),
        destination_port: Some(port),
    };
    for flow in [packet("10.7.0.6", 80), packet("10.7.0.6", 443), packet("10.7.0.9", 80), packet("10.7.0.6", 80)] {
        pair.event(0, Event::Acquire { child: ChildId(0), flow, pfp });
    }
    pair.wait(Duration::from_secs(60));
    for i in 0..2 {
        let outbound = pair.installed[i].iter().filter(|spec| spec.direction == Direction::Outbound);
        let remote = |spec: &SaSpec| if i == 0 { spec.remote_ts.clone() } else { spec.local_ts.clone() };
        let mut values: Vec<String> = outbound.map(|spec| remote(spec)[0].to_string()).collect();
        values.sort();
        assert_eq!(values, ["10.7.0.6/32[6/443]", "10.7.0.6/32[6/80]", "10.7.0.9/32[6/80]"], "side {i}");
    }
    // No selector of the child is for such a packet.
    pair.event(0, Event::Acquire { child: ChildId(0), flow: packet("10.8.0.1", 80), pfp });
    pair.wait(Duration::from_secs(60));
    assert_eq!(pair.installed[0].len(), 6);
    pair.shutdown();
    pair.assert_nothing_left();
}

#[test]
fn nobody_answers() {
    let mut pair = Pair::new([config(0), config(1)]);
    pair.deaf = true;
    pair.initiate(0);
    pair.wait(Duration::from_secs(400));
    assert_eq!(pair.sent.len(), 6, "1 + 5 transmissions");
    assert_eq!(failures(&pair, 0), [(Step::IkeSaInit, FailureReason::NoAnswer { tries: 6 })]);
    pair.assert_nothing_left();
}

#[test]
fn a_full_slot_table_fails_and_leaks_nothing() {
    let mut pair = Pair::new([config(0), config(1)]);
    pair.limit(1, 1);
    pair.initiate(0);
    assert!(refused(&pair, 0, Step::IkeAuth, 35), "{:?}", pair.reports[0]);
    pair.shutdown();
    pair.assert_nothing_left();
}

#[test]
fn a_data_plane_that_refuses_leaves_nothing() {
    for who in 0..2 {
        let mut pair = Pair::new([config(0), config(1)]);
        pair.refuse_installs[who] = true;
        pair.initiate(0);
        pair.wait(Duration::from_secs(20));
        pair.shutdown();
        pair.assert_nothing_left();
    }
}

/// Truncated, changed and repeated messages in every state: no panic, no answer that creates state, and the SA lives.
#[test]
fn damaged_messages_change_nothing() {
    let mut pair = Pair::new([config(0), config(1)]);
    pair.initiate(0);
    let sent = pair.sent.clone();
    let before = (pair.endpoints[0].status(pair.now), pair.endpoints[1].status(pair.now));
    for (n, datagram) in sent.iter().enumerate() {
        let to = usize::from(datagram.local.ip() == pair::addr(0));
        let mut arrived =
            Datagram { local: datagram.remote, remote: datagram.local, payload: datagram.payload.clone() };
        for at in 0..datagram.payload.len() {
            arrived.payload.clone_from(&datagram.payload);
            arrived.payload[at] ^= 0x5a;
            // A damaged first message begins a half-open SA, as any sender may.
            if n > 1 {
                pair.receive(to, &arrived);
            }
            arrived.payload.truncate(at);
            pair.receive(to, &arrived);
        }
    }
    assert_eq!((pair.endpoints[0].status(pair.now), pair.endpoints[1].status(pair.now)), before);
    pair.shutdown();
    pair.assert_nothing_left();
}

#[test]
fn an_acquire_brings_the_child_up_once() {
    let mut pair = Pair::new([config(0), config(1)]);
    let flow = culvert_model::Flow {
        source: "10.1.0.1".parse().expect("address"),
        destination: "10.7.0.1".parse().expect("address"),
        protocol: 1,
        source_port: None,
        destination_port: None,
    };
    for _ in 0..3 {
        pair.event(0, Event::Acquire { child: ChildId(0), flow, pfp: Pfp::NONE });
    }
    let status = pair.endpoints[0].status(pair.now);
    assert_eq!((status.len(), status[0].children.len()), (1, 1));
}

#[test]
fn lifetimes_rekey_by_themselves() {
    let mut configs = [config(0), config(1)];
    let connection = &mut configs[0].connections[0];
    (connection.rekey_time, connection.over_time) = (Duration::from_secs(1000), Duration::from_secs(100));
    let child = &mut connection.children[0];
    (child.rekey_time, child.life_time, child.rand_time) =
        (Duration::from_secs(300), Duration::from_secs(330), Duration::from_secs(30));
    let mut pair = Pair::new(configs);
    pair.initiate(0);
    pair.wait(Duration::from_secs(3600));
    let count = |f: fn(&Report) -> bool| pair.reports[0].iter().filter(|r| f(r)).count();
    let children = count(|r| matches!(r, Report::ChildRekeyed { .. }));
    let ikes = count(|r| matches!(r, Report::IkeRekeyed { .. }));
    assert!((11..=13).contains(&children) && ikes == 3, "{children} {ikes}");
    assert_eq!(count(|r| matches!(r, Report::Failed { .. })), 0);
    pair.shutdown();
    pair.assert_nothing_left();
}

#[test]
fn outputs_and_reports_show_no_key() {
    let mut pair = Pair::new([config(0), config(1)]);
    pair.initiate(0);
    let text = format!("{:?} {:?}", pair.reports, pair.configs[0]);
    assert!(!text.contains("very secret") && !text.contains("[118, 101, 114"));
    let _: Option<Output> = pair.endpoints[0].poll_output();
}
