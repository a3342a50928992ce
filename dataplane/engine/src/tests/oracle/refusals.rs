//! What no SA may take, for every suite, mode and family: each by its own name, and nothing sent on.

use super::*;
use crate::{Crypto, Job, MAX_ICV, RustCrypto};
use culvert_wire::protocol::{self, DESTINATION_OPTIONS, HOP_BY_HOP};
use culvert_wire::{ah, esp};

/// One case for each suite, mode and family, every second with ESN.
fn cases() -> impl Iterator<Item = Case> {
    Case::all()
        .into_iter()
        .filter(|case| !case.udp)
        .enumerate()
        .filter(|(at, case)| {
            // Pairs without and with ESN stand behind each other.
            case.esn == ((at / 2) % 2 == 0)
        })
        .map(|(_, case)| case)
}

/// The other end of an inbound SA of site 1.
fn peer_of(case: Case, sa: &SaSpec) -> Gateway {
    let mut peer = Gateway::new(7, 1);
    let other = SaSpec {
        direction: Direction::Outbound,
        slot: peer.region.claim_slot().unwrap(),
        tunnel: Tunnel { local: sa.tunnel.remote, remote: sa.tunnel.local },
        local_ts: sa.remote_ts.clone(),
        remote_ts: sa.local_ts.clone(),
        ..sa.clone()
    };
    protect(&mut peer, &other.local_ts, &other.remote_ts, CHILD);
    peer.install_after(&other, case.before()).unwrap();
    peer
}

fn outer_len(case: Case) -> usize {
    if case.outer_v6 { 40 } else { 20 }
}

fn wire_of(peer: &mut Gateway, case: Case) -> Vec<u8> {
    let sent = packet_for(case, case.outer_v6, false, 40);
    send(peer, case.mode, &sent).unwrap()
}

#[test]
fn cut_at_every_length() {
    for case in cases() {
        let (mut gateway, sa) = receiver(case, Handling::default());
        let wire = wire_of(&mut peer_of(case, &sa), case);
        let outer = outer_len(case);
        let (suite, is_ah) = (case.suite, case.suite.protocol() == IpsecProtocol::Ah);
        let least = if is_ah {
            ah::LEN + ah::icv_field_len(suite.icv_field(), case.outer_v6)
        } else {
            esp::LEN + suite.iv_len() + suite.alignment() + suite.icv_len()
        };
        for len in outer..wire.len() {
            // Once as a short frame, once with lengths that say so.
            let mut cut = wire[..len].to_vec();
            assert_eq!(receive(&mut gateway, &cut), Err(DropReason::Truncated), "{case:?}, {len} octets");
            mend(&mut cut);
            let want = match len - outer {
                body if body >= least => DropReason::IcvFailed,
                _ if is_ah => DropReason::AhHeader,
                _ => DropReason::EspTruncated,
            };
            assert_eq!(receive(&mut gateway, &cut), Err(want), "{case:?}, {len} octets");
        }
        assert!(receive(&mut gateway, &wire).is_ok(), "{case:?}");
    }
}

#[test]
fn one_bit_of_the_icv() {
    for case in cases() {
        let (mut gateway, sa) = receiver(case, Handling::default());
        let wire = wire_of(&mut peer_of(case, &sa), case);
        let icv = match case.suite.protocol() {
            IpsecProtocol::Esp => wire.len() - case.suite.icv_len()..wire.len(),
            // The padding of AH's ICV counts as it is.
            IpsecProtocol::Ah => {
                let start = outer_len(case) + ah::LEN;
                start..start + ah::icv_field_len(case.suite.icv_field(), case.outer_v6)
            }
        };
        for at in icv {
            let mut bent = wire.clone();
            bent[at] ^= 1 << (at % 8);
            assert_eq!(receive(&mut gateway, &bent), Err(DropReason::IcvFailed), "{case:?}, octet {at}");
        }
        assert!(receive(&mut gateway, &wire).is_ok(), "{case:?}");
        assert_eq!(receive(&mut gateway, &wire), Err(DropReason::ReplayDuplicate), "{case:?}");
    }
}

#[test]
fn numbers_left_of_the_window() {
    for case in cases() {
        let (mut gateway, sa) = receiver(case, Handling::default());
        let mut peer = peer_of(case, &sa);
        let late = wire_of(&mut peer, case);
        for _ in 0..sa.replay_window {
            let wire = wire_of(&mut peer, case);
            assert!(receive(&mut gateway, &wire).is_ok(), "{case:?}");
        }
        // RFC 4303 appendix A2.2: with ESN a number left of the window is taken for one of the next epoch.
        let want = if case.esn { DropReason::IcvFailed } else { DropReason::ReplayTooOld };
        assert_eq!(receive(&mut gateway, &late), Err(want), "{case:?}");
    }
}

#[test]
fn the_spi_of_another_sa() {
    for case in cases() {
        let (mut gateway, sa) = receiver(case, Handling::default());
        let mut wire = wire_of(&mut peer_of(case, &sa), case);
        let at = outer_len(case) + if case.suite.protocol() == IpsecProtocol::Ah { 4 } else { 0 };
        let (other_protocol, other_mode) = match (case.suite.protocol(), case.mode) {
            (IpsecProtocol::Esp, mode) => ("sha256", mode),
            (IpsecProtocol::Ah, mode) => ("aes128gcm16", mode),
        };
        let mut take = |other: Case, child| {
            let other = SaSpec { child, ..other.spec(&gateway, Direction::Inbound) };
            let key = other.key.expose().iter().map(|octet| octet ^ 0xff).collect();
            let other = SaSpec { key: SecretKey::new(key), ..other };
            gateway.install_after(&other, case.before()).unwrap();
            wire[at..at + 4].copy_from_slice(&other.spi.to_be_bytes());
            receive(&mut gateway, &wire)
        };
        let strange = Case::plain(other_protocol, other_mode, case.outer_v6);
        assert_eq!(take(strange, ChildId(8)), Err(DropReason::WrongSpiMode), "{case:?}");
        let mode = if case.mode == SaMode::Tunnel { SaMode::Transport } else { SaMode::Tunnel };
        assert_eq!(take(Case { mode, ..case }, ChildId(9)), Err(DropReason::IcvFailed), "{case:?}");
        // Between two other addresses.
        let moved = Case { outer_v6: !case.outer_v6, ..case };
        assert_eq!(take(moved, ChildId(10)), Err(DropReason::WrongSpiMode), "{case:?}");
    }
}

/// What the peer of an ESP SA could seal if it wanted to: `inside` with its own trailer, of whole blocks.
fn authentic(case: Case, sa: &SaSpec, sequence: u64, inside: &[u8]) -> Vec<u8> {
    let key = RustCrypto::key(sa.suite, sa.key.expose()).unwrap();
    let header = esp::Repr { spi: sa.spi.get(), sequence: sequence as u32 }.to_bytes();
    let room = |count| vec![0; count];
    let mut esp = [&header[..], &room(sa.suite.iv_len()), inside, &room(sa.suite.icv_len())].concat();
    let mut jobs = [Job { key: &key, sequence, esn: sa.esn, data: &mut esp, icv: [0; MAX_ICV], ok: false }];
    RustCrypto.seal_burst(&mut jobs);
    assert!(jobs[0].ok, "{case:?}");
    let mut wire = packet(sa.tunnel.remote, sa.tunnel.local, &[]);
    wire.truncate(outer_len(case));
    wire[if case.outer_v6 { 6 } else { 9 }] = protocol::ESP;
    // Not marked as congested.
    wire.extend(esp);
    mend(&mut wire);
    wire
}

/// Payload and the trailer that RFC 4303 §2.4 asks for.
fn padded(suite: Suite, payload: &[u8], next: u8) -> Vec<u8> {
    let mut inside = payload.to_vec();
    let pad = (payload.len() + 2).next_multiple_of(suite.alignment()) - payload.len() - 2;
    inside.extend((1..=pad as u8).chain([pad as u8, next]));
    inside
}

#[test]
fn authentic_nonsense_of_every_suite() {
    for case in cases().filter(|case| case.suite.protocol() == IpsecProtocol::Esp) {
        let (mut gateway, sa) = receiver(case, Handling::default());
        let sent = packet_for(case, case.outer_v6, false, 41);
        let (payload, next) = match (case.mode, case.outer_v6) {
            (SaMode::Tunnel, false) => (&sent[..], protocol::IPV4),
            (SaMode::Tunnel, true) => (&sent[..], protocol::IPV6),
            (SaMode::Transport, _) => (&sent[outer_len(case)..], protocol::UDP),
        };
        let good = padded(case.suite, payload, next);
        let pad = usize::from(good[good.len() - 2]);
        assert!(pad > 0, "something to spoil");
        let spoiled = |back: usize, value: u8| {
            let mut inside = good.clone();
            let at = inside.len() - back;
            inside[at] = value;
            inside
        };
        let hidden = [payload, &[0; 300][..]].concat();
        let mut nonsense = vec![
            (spoiled(3, 0xee), DropReason::BadPadding),
            (spoiled(2 + pad, 0), DropReason::BadPadding),
            (spoiled(2, 255), DropReason::BadPadding),
            (spoiled(2, pad as u8 + 1), DropReason::BadPadding),
            (padded(case.suite, &[0; 64], protocol::NO_NEXT_HEADER), DropReason::DummyPacket),
        ];
        if case.mode == SaMode::Tunnel {
            let (other_family, cut) = (if case.outer_v6 { protocol::IPV4 } else { protocol::IPV6 }, &payload[..50]);
            nonsense.push((padded(case.suite, payload, other_family), DropReason::BadInnerHeader));
            nonsense.push((padded(case.suite, payload, protocol::UDP), DropReason::BadInnerHeader));
            nonsense.push((padded(case.suite, cut, next), DropReason::BadInnerHeader));
            nonsense.push((padded(case.suite, &[], next), DropReason::BadInnerHeader));
        }
        let mut sequence = case.before();
        let mut take = |inside: &[u8]| {
            sequence += 1;
            let wire = authentic(case, &sa, sequence, inside);
            receive(&mut gateway, &wire)
        };
        for (inside, want) in nonsense {
            assert_eq!(take(&inside), Err(want), "{case:?}: {}", hex(&inside));
        }
        let got = take(&good).unwrap_or_else(|reason| panic!("{case:?}: {reason:?}"));
        assert!(got.ends_with(&sent[outer_len(case)..]), "{case:?}");
        // RFC 4303 §2.7: only tunnel mode has a length inside that tells padding from packet.
        if case.mode == SaMode::Tunnel {
            assert_eq!(take(&padded(case.suite, &hidden, next)), Ok(after(case.mode, sent)), "{case:?}");
        }
    }
}

#[test]
fn extension_headers_without_end() {
    for case in cases().filter(|case| case.outer_v6) {
        let (mut gateway, sa) = receiver(case, Handling::default());
        let wire = wire_of(&mut peer_of(case, &sa), case);
        let chain = |count: usize, kind: u8| {
            let mut octets = wire[..40].to_vec();
            let next = octets[6];
            octets[6] = kind;
            for at in 0..count {
                octets.extend([if at + 1 == count { next } else { kind }, 0, 1, 4, 0, 0, 0, 0]);
            }
            octets.extend_from_slice(&wire[40..]);
            mend(&mut octets);
            octets
        };
        let mut refused = |packet: Vec<u8>| receive(&mut gateway, &packet).unwrap_err();
        assert_eq!(refused(chain(9, DESTINATION_OPTIONS)), DropReason::Ipv6Extensions, "{case:?}");
        assert_eq!(refused(chain(150, DESTINATION_OPTIONS)), DropReason::Ipv6Extensions, "{case:?}");
        assert_eq!(refused(chain(2, HOP_BY_HOP)), DropReason::Ipv6Extensions, "{case:?}");
        let mut open_ended = chain(1, DESTINATION_OPTIONS);
        open_ended[41] = 255;
        assert_eq!(refused(open_ended), DropReason::Ipv6Extensions, "{case:?}");
        // AH counts the headers before it, ESP does not (RFC 4302 §3.3.3.1.2, RFC 4303 §3.3.2).
        let got = receive(&mut gateway, &chain(1, DESTINATION_OPTIONS));
        match case.suite.protocol() {
            IpsecProtocol::Ah => assert_eq!(got, Err(DropReason::IcvFailed), "{case:?}"),
            IpsecProtocol::Esp => assert!(got.is_ok(), "{case:?}: {got:?}"),
        }
    }
}
