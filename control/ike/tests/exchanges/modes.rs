//! AH beside ESP, transport mode, and every suite: what both ends install, and what they refuse.

use crate::pair::{Pair, addr, config};
use crate::{failures, refused, up};
use culvert_ike::{Config, Event, FailureReason, Report, Step};
use culvert_model::{
    AddrRange, ChildId, Direction, EspProposal, IpsecProtocol, PortRange, SaMode, Suite, TrafficSelector,
};

const NO_PROPOSAL_CHOSEN: u16 = 14;

fn pair(change: impl Fn(usize, &mut Config)) -> Pair {
    let mut configs = [config(0), config(1)];
    for (i, config) in configs.iter_mut().enumerate() {
        change(i, config);
    }
    Pair::new(configs)
}

fn proposal(suite: Suite) -> EspProposal {
    match suite.protocol() {
        IpsecProtocol::Esp => suite.to_string().parse().expect("ESP"),
        IpsecProtocol::Ah => EspProposal::ah(&suite.to_string()).expect("AH"),
    }
}

/// Transport mode between the two ends, whoever of them wants it.
fn transport(config: &mut Config, me: usize, mode: SaMode) {
    let host = |i: usize| vec![TrafficSelector::any(AddrRange::single(addr(i)))];
    let child = &mut config.connections[0].children[0];
    (child.local_ts, child.remote_ts, child.mode) = (host(me), host(1 - me), mode);
}

fn rekey(pair: &mut Pair, i: usize) {
    let spi = pair.endpoints[i].status(pair.now)[0].children[0].spi_in;
    pair.event(i, Event::SoftExpire { spi, direction: Direction::Inbound });
    // A responder gives its answer time to arrive first.
    pair.wait(core::time::Duration::from_secs(40));
    let rekeyed = |reports: &[Report]| reports.iter().any(|r| matches!(r, Report::ChildRekeyed { .. }));
    assert!(rekeyed(&pair.reports[0]) && rekeyed(&pair.reports[1]), "{:?}", pair.reports);
}

/// What one seals, the other opens with the same keys, in the same mode.
fn assert_paired(pair: &Pair, suite: Suite, mode: SaMode) {
    for i in 0..2 {
        let current = &pair.endpoints[i].status(pair.now)[0].children[0];
        let out = pair.installed[i].iter().find(|s| Some(s.slot) == current.slot_out).expect("an outbound SA");
        let inn = pair.installed[1 - i].iter().find(|s| s.spi == out.spi && s.direction == Direction::Inbound);
        let inn = inn.expect("the peer's inbound SA");
        assert!(out.key == inn.key && out.key.len() == suite.key_len());
        assert_eq!([(out.suite, out.mode), (inn.suite, inn.mode)], [(suite, mode); 2]);
    }
}

#[test]
fn every_suite_in_both_roles_and_at_a_rekey() {
    for suite in Suite::all() {
        let mut pair = pair(|_, c| c.connections[0].children[0].child_proposals = vec![proposal(suite)]);
        pair.initiate(0);
        assert!(up(&pair, 0) && up(&pair, 1), "{suite}: {:?}", pair.reports);
        assert_paired(&pair, suite, SaMode::Tunnel);
        rekey(&mut pair, 1);
        assert_paired(&pair, suite, SaMode::Tunnel);
        pair.event(1, Event::Terminate { connection: "peer".into(), child: Some("lan".into()) });
        assert_eq!(pair.endpoints[0].status(pair.now)[0].children, [], "{suite}");
        pair.shutdown();
        pair.assert_nothing_left();
    }
}

#[test]
fn transport_mode_is_said_by_both_and_said_again_at_a_rekey() {
    let mut pair = pair(|i, c| transport(c, i, SaMode::Transport));
    pair.initiate(0);
    assert_paired(&pair, Suite::AES256_GCM16, SaMode::Transport);
    for i in [0, 1] {
        rekey(&mut pair, i);
        assert_paired(&pair, Suite::AES256_GCM16, SaMode::Transport);
    }
    pair.shutdown();
    pair.assert_nothing_left();
}

/// §1.3.1: a responder may decline transport mode, and an initiator that cannot live with that deletes the SA.
#[test]
fn a_tunnel_in_the_place_of_transport_mode_is_deleted() {
    let mut pair = pair(|i, c| transport(c, i, if i == 0 { SaMode::Transport } else { SaMode::Tunnel }));
    pair.initiate(0);
    let reason = FailureReason::WrongMode { ours: SaMode::Transport, theirs: SaMode::Tunnel };
    assert_eq!(failures(&pair, 0), [(Step::IkeAuth, reason)]);
    for i in 0..2 {
        assert_eq!(pair.endpoints[i].status(pair.now)[0].children, [], "{i}");
        pair.wait(core::time::Duration::from_secs(10));
        assert_eq!(pair.installed[i], []);
    }
    pair.shutdown();
    pair.assert_nothing_left();
}

#[test]
fn transport_mode_is_not_given_up_for_a_peer_that_wants_a_tunnel() {
    let mut pair = pair(|i, c| transport(c, i, if i == 1 { SaMode::Transport } else { SaMode::Tunnel }));
    pair.initiate(0);
    assert!(refused(&pair, 0, Step::IkeAuth, NO_PROPOSAL_CHOSEN));
    let reason = FailureReason::WrongMode { ours: SaMode::Transport, theirs: SaMode::Tunnel };
    assert_eq!(failures(&pair, 1), [(Step::IkeAuth, reason)]);
    pair.shutdown();
    pair.assert_nothing_left();
}

/// Of two children for the same traffic, the one of the mode that the peer asks for.
#[test]
fn the_peers_mode_chooses_among_children() {
    for (wanted, name) in [(SaMode::Transport, "second"), (SaMode::Tunnel, "lan")] {
        let mut pair = pair(|i, c| {
            transport(c, i, if i == 0 { wanted } else { SaMode::Tunnel });
            if i == 1 {
                let mut second = c.connections[0].children[0].clone();
                (second.id, second.name, second.mode) = (ChildId(1), "second".into(), SaMode::Transport);
                c.connections[0].children.push(second);
            }
        });
        pair.initiate(0);
        assert_eq!(pair.endpoints[1].status(pair.now)[0].children[0].name, name);
    }
}

#[test]
fn neither_transport_mode_nor_ah_goes_through_a_nat() {
    let ah = || vec![EspProposal::ah("sha256").expect("AH")];
    for with_ah in [false, true] {
        let mut pair = pair(|i, c| {
            match with_ah {
                true => c.connections[0].children[0].child_proposals = ah(),
                false => transport(c, i, SaMode::Transport),
            }
            if i == 1 {
                c.connections[0].remote_addrs = vec![AddrRange::ANY_V4];
            }
        });
        pair.nat = Some("203.0.113.9".parse().expect("address"));
        pair.initiate(0);
        assert!(!up(&pair, 0) && !up(&pair, 1));
        let [(Step::IkeAuth | Step::IkeSaInit, reason)] = &failures(&pair, 0)[..] else { panic!("{:?}", pair.reports) };
        match with_ah {
            true => assert!(matches!(reason, FailureReason::NoChildProposal { .. }), "{reason:?}"),
            false => assert_eq!(*reason, FailureReason::TransportThroughNat),
        }
        pair.wait(core::time::Duration::from_secs(60));
        pair.assert_nothing_left();
    }
}

/// The responder that encapsulates in any case has no use for AH either.
#[test]
fn ah_is_not_chosen_where_everything_is_encapsulated() {
    let mut pair = pair(|i, c| {
        c.connections[0].encap = i == 1;
        let both = vec![EspProposal::ah("sha256").expect("AH"), "aes128-sha1".parse().expect("ESP")];
        c.connections[0].children[0].child_proposals = both;
    });
    pair.initiate(0);
    assert_paired(&pair, Suite::esp_from_words("aes128-sha1").expect("ESP"), SaMode::Tunnel);
}

/// RFC 4301 §7.3, RFC 7296 §1.3.1: who has ports in its selectors asks, whoever is asked agrees, and both know of it.
#[test]
fn fragments_without_ports_are_agreed_on_where_ports_count() {
    // Who has ports, of initiator and responder; in transport mode; what is agreed, and after a rekey by either end.
    let table = [
        ([true, true], SaMode::Tunnel, true, [true, true]),
        ([true, false], SaMode::Tunnel, true, [true, false]),
        // Narrowed to ports by the responder, which nobody asked for.
        ([false, true], SaMode::Tunnel, false, [false, true]),
        ([false, false], SaMode::Tunnel, false, [false, false]),
        ([true, true], SaMode::Transport, false, [false, false]),
    ];
    for (with_ports, mode, first, rekeyed) in table {
        let mut pair = pair(|i, c| {
            transport(c, i, mode);
            let child = &mut c.connections[0].children[0];
            if with_ports[i] {
                let side = if i == 0 { &mut child.remote_ts } else { &mut child.local_ts };
                (side[0].protocol, side[0].ports) = (Some(17), PortRange::single(2000));
            }
        });
        let agreed = |pair: &Pair| {
            let of = |i: usize| {
                let child = &pair.endpoints[i].status(pair.now)[0].children[0];
                let out = pair.installed[i].iter().find(|s| Some(s.slot) == child.slot_out);
                out.expect("an outbound SA").handling.later_fragments
            };
            assert_eq!(of(0), of(1), "{with_ports:?} {mode:?}");
            of(0)
        };
        pair.initiate(0);
        assert_eq!(agreed(&pair), first, "{with_ports:?} {mode:?}");
        for i in [0, 1] {
            rekey(&mut pair, i);
            assert_eq!(agreed(&pair), rekeyed[i], "{with_ports:?} {mode:?}, rekeyed by {i}");
        }
    }
}
