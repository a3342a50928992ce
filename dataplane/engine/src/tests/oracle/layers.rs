//! SAs around SAs (RFC 4301 §4.4.2.1): bundles between the same ends, and tunnels in tunnels.

use super::*;
use culvert_wire::protocol;

const OUTER: ChildId = ChildId(4);
const STRANGER: ChildId = ChildId(5);

/// The SA of the packets, and the one around it.
fn combinations() -> Vec<(Case, Case)> {
    let mut all = Vec::new();
    for v6 in [false, true] {
        use SaMode::{Transport, Tunnel};
        for (inner, inner_mode, outer, outer_mode) in [
            ("aes256gcm16", Transport, "sha256", Transport),
            ("aes128-sha1", Transport, "aes128gmac", Transport),
            ("null-sha512", Tunnel, "aesxcbc", Transport),
            ("chacha20poly1305", Tunnel, "sha384", Transport),
            ("aes128gcm8", Tunnel, "aes256-sha256", Tunnel),
            ("aes128ctr-sha256", Tunnel, "aes256gcm16iiv", Tunnel),
            ("sha256", Tunnel, "aes128ccm12", Tunnel),
            ("aes128gcm16", Tunnel, "sha1", Tunnel),
        ] {
            let esn = all.len() % 2 == 0;
            let (inner, outer) = (Case::plain(inner, inner_mode, v6), Case::plain(outer, outer_mode, v6));
            all.push((Case { esn, ..inner }, Case { esn: !esn, ..outer }));
            // A tunnel of one family in a tunnel of the other.
            if outer_mode == Tunnel {
                all.push((Case { esn, ..inner }, Case { outer_v6: !v6, ..outer }));
            }
        }
    }
    all
}

struct Layers {
    gateway: Gateway,
    inner: SaSpec,
    outer: SaSpec,
}

/// Where the outer SA is a tunnel, the inner one ends at the gateways' addresses on their lans.
fn layers((inner, around): (Case, Case), direction: Direction) -> Layers {
    let mut gateway = Gateway::new(1, 7);
    let mut first = SaSpec { bundle: Some(OUTER), ..inner.spec(&gateway, direction) };
    if around.mode == SaMode::Tunnel {
        let (local, remote) = if inner.outer_v6 { ("fd00:1::1", "fd00:7::1") } else { ("10.1.0.1", "10.7.0.1") };
        first.tunnel = Tunnel { local: ip(local), remote: ip(remote) };
    }
    let number = match inner.suite.protocol() {
        IpsecProtocol::Esp => protocol::ESP,
        IpsecProtocol::Ah => protocol::AH,
    };
    let only = |addr| vec![TrafficSelector { protocol: Some(number), ..host(addr) }];
    let (local_ts, remote_ts) = (only(first.tunnel.local), only(first.tunnel.remote));
    let second = SaSpec { child: OUTER, local_ts, remote_ts, ..around.spec(&gateway, direction) };
    protect(&mut gateway, &first.local_ts, &first.remote_ts, CHILD);
    gateway.install_after(&first, inner.before()).unwrap();
    gateway.install_after(&second, around.before()).unwrap();
    Layers { gateway, inner: first, outer: second }
}

#[test]
fn what_is_sealed_twice_scapy_opens_layer_by_layer() {
    let mut questions = Questions::new();
    for (inner, around) in combinations() {
        let Layers { mut gateway, inner: first, outer: second } = layers((inner, around), Direction::Outbound);
        for (number, v6) in (1..).zip(inner.families().iter().copied()) {
            let sent = packet_for(inner, v6, true, 77 + number as usize);
            let wire = send(&mut gateway, inner.mode, &sent).unwrap_or_else(|| panic!("{inner:?} in {around:?}"));
            let sas = [words(&second, around.before() + number), words(&first, inner.before() + number)];
            let what = format!("{inner:?} in {around:?}");
            questions.open(&sas, &wire, (what.clone(), Some(after(inner.mode, sent))));
            questions.open(&sas[1..], &wire, (what, None));
        }
        assert_eq!(gateway.all_drops(), 0);
        let slot = |sa: &SaSpec| gateway.region.slot(sa.slot).unwrap().sequence();
        let sealed = inner.families().len() as u64;
        assert_eq!((slot(&first), slot(&second)), (inner.before() + sealed, around.before() + sealed));
    }
    for ((what, want), answer) in questions.answers() {
        assert_eq!(answer.map(|octets| hex(&octets)), want.map(|octets| hex(&octets)), "{what}");
    }
}

/// How a packet comes that should have come through both SAs.
#[derive(Clone, Copy, Debug)]
enum Nesting {
    Right,
    WithoutOuter,
    WithoutInner,
    OtherOuter,
}

#[test]
fn what_scapy_seals_twice_is_opened_twice_or_refused() {
    let mut questions = Questions::new();
    for (inner, around) in combinations() {
        let packets = inner.families().iter().map(|v6| packet_for(inner, *v6, false, 50));
        for sent in packets {
            for nesting in [Nesting::Right, Nesting::WithoutOuter, Nesting::WithoutInner, Nesting::OtherOuter] {
                let Layers { mut gateway, inner: first, outer: second } = layers((inner, around), Direction::Inbound);
                let stranger = SaSpec {
                    child: STRANGER,
                    local_ts: second.local_ts.clone(),
                    remote_ts: second.remote_ts.clone(),
                    ..around.spec(&gateway, Direction::Inbound)
                };
                gateway.install_after(&stranger, around.before()).unwrap();
                let first = words(&first, inner.before() + 1);
                let outer_of = |sa| words(sa, around.before() + 1);
                let sas = match nesting {
                    Nesting::Right => vec![first, outer_of(&second)],
                    Nesting::WithoutOuter => vec![first],
                    Nesting::WithoutInner => vec![outer_of(&second)],
                    Nesting::OtherOuter => vec![first, outer_of(&stranger)],
                };
                questions.seal(&sas, &sent, (gateway, inner, around, nesting, sent.clone()));
            }
        }
    }
    for ((mut gateway, inner, around, nesting, sent), sealed) in questions.answers() {
        let got = receive(&mut gateway, &sealed.expect("nothing to refuse"));
        let want = match nesting {
            Nesting::Right => Ok(after(inner.mode, sent)),
            Nesting::WithoutOuter | Nesting::OtherOuter => Err(DropReason::NotInBundle),
            // To a host behind the box, so that AH is no affair of the box's.
            Nesting::WithoutInner if inner.mode == SaMode::Tunnel && around.mode == SaMode::Transport => {
                Err(DropReason::InboundClear)
            }
            Nesting::WithoutInner => Err(DropReason::SelectorMismatch),
        };
        assert_eq!(got, want, "{inner:?} in {around:?}, {nesting:?}");
    }
}
