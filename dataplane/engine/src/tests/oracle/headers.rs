//! What becomes of the headers around: AH among options and extension headers, and the rules of a tunnel.

use super::*;
use crate::Origin;
use crate::tests::answers::house_drops;
use culvert_telemetry::WorkerCounter;
use culvert_wire::protocol::{self, DESTINATION_OPTIONS, HOP_BY_HOP, ROUTING};

/// The packet with IPv4 options, whose length is a multiple of four.
fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let mut packet = [&packet[..20], options, &packet[20..]].concat();
    packet[0] = 0x40 | (5 + options.len() / 4) as u8;
    mend(&mut packet);
    packet
}

/// The packet with extension headers: each of a kind, and its octets behind the next header.
fn with_extensions(packet: &[u8], headers: &[(u8, &[u8])]) -> Vec<u8> {
    let kinds: Vec<u8> = headers.iter().map(|(kind, _)| *kind).chain([packet[6]]).collect();
    let mut chain = packet[..40].to_vec();
    chain[6] = kinds[0];
    for ((_, octets), next) in headers.iter().zip(&kinds[1..]) {
        chain.push(*next);
        chain.extend_from_slice(octets);
    }
    chain.extend_from_slice(&packet[40..]);
    mend(&mut chain);
    chain
}

/// Router alert; an option that may change and one that may not, for every destination, and for the last one.
const ALERT: &[u8] = &[0, 5, 2, 0, 0, 1, 0];
const CHANGING: &[u8] = &[1, 0x3e, 4, 1, 2, 3, 4, 0x1e, 2, 7, 7, 1, 2, 0, 0];
const FIXED: &[u8] = &[0, 0x1e, 3, 9, 9, 9, 0];
/// A route of two addresses that is used up.
fn route(kind: u8) -> Vec<u8> {
    let mut octets = vec![4, kind, 0, 0, 0, 0, 0];
    for last in [0xa, 0xb] {
        octets.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    octets
}

/// Packets between the ends of a transport mode SA.
fn packets(v6: bool, towards: bool) -> Vec<Vec<u8>> {
    let plain = packet_for(Case::plain("sha256", SaMode::Transport, v6), v6, towards, 45);
    if !v6 {
        let lists: [&[u8]; 5] = [
            &[148, 4, 0, 0],
            &[1, 1, 148, 4, 0, 0, 1, 0],
            &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[68, 8, 5, 0, 1, 2, 3, 4, 148, 4, 0, 0],
            &[130, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1],
        ];
        return lists.iter().map(|list| with_options(&plain, list)).collect();
    }
    let (old, mobile) = (route(0), route(2));
    let chains: [&[(u8, &[u8])]; 8] = [
        &[(HOP_BY_HOP, ALERT)],
        &[(HOP_BY_HOP, CHANGING)],
        &[(DESTINATION_OPTIONS, FIXED)],
        &[(HOP_BY_HOP, CHANGING), (DESTINATION_OPTIONS, CHANGING)],
        &[(ROUTING, &old)],
        &[(ROUTING, &mobile)],
        &[(HOP_BY_HOP, ALERT), (DESTINATION_OPTIONS, FIXED), (ROUTING, &old), (DESTINATION_OPTIONS, CHANGING)],
        &[(HOP_BY_HOP, CHANGING), (ROUTING, &old), (ROUTING, &mobile)],
    ];
    chains.iter().map(|chain| with_extensions(&plain, chain)).collect()
}

fn transport_cases() -> impl Iterator<Item = Case> {
    let suites = ["sha1", "sha256", "sha512", "aesxcbc", "aes192gmac", "aes128gcm16", "aes256-sha384"];
    suites.into_iter().flat_map(|suite| {
        let of = move |v6, esn| Case { esn, ..Case::plain(suite, SaMode::Transport, v6) };
        [of(false, false), of(false, true), of(true, false), of(true, true)]
    })
}

/// All that routers may change (RFC 4302 §3.3.3.1), of a packet that AH protects.
fn travelled(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 6 {
        packet[..4].copy_from_slice(&[0x6f, 0xf1, 0x23, 0x45]);
        packet[7] = 9;
        if packet[6] == HOP_BY_HOP && packet[42] == 0x3e {
            packet[44..48].fill(0xee);
        }
    } else {
        (packet[1], packet[8]) = (0xff, 9);
        packet[6] |= 0x40;
        if packet[20] == 7 {
            packet[22..31].copy_from_slice(&[8, 1, 2, 3, 4, 5, 6, 7, 8]);
        }
        mend(&mut packet);
    }
    packet
}

/// A packet whose first extension header is a route of two addresses that is used up, as it was when it set out.
fn not_yet_routed(mut packet: Vec<u8>) -> Vec<u8> {
    packet[43] = 2;
    let mut addresses = [&packet[24..40], &packet[48..80]].concat();
    addresses.rotate_left(16);
    packet[24..40].copy_from_slice(&addresses[..16]);
    packet[48..80].copy_from_slice(&addresses[16..]);
    packet
}

/// The opposite: what becomes of it on its way (RFC 8200 §4.4, RFC 6275 §6.4).
fn routed(mut packet: Vec<u8>) -> Vec<u8> {
    packet[43] = 0;
    let mut addresses = [&packet[24..40], &packet[48..80]].concat();
    addresses.rotate_right(16);
    packet[24..40].copy_from_slice(&addresses[..16]);
    packet[48..80].copy_from_slice(&addresses[16..]);
    packet
}

#[test]
fn ah_foresees_where_a_route_ends() {
    let (mut sealed, mut to_open) = (Questions::new(), Questions::new());
    for case in transport_cases().filter(|case| case.outer_v6 && case.suite.protocol() == IpsecProtocol::Ah) {
        let plain = |towards| packet_for(case, true, towards, 45);
        // Routes of type 0 are not sent on (RFC 5095 §3), so the box seals one of type 2.
        let (mut gateway, sa) = sender(case, Handling::default());
        let mut sent = with_extensions(&plain(true), &[(ROUTING, &route(2))]);
        sent[43] = 2;
        let wire = send(&mut gateway, case.mode, &sent).unwrap();
        sealed.open(&[words(&sa, case.before() + 1)], &routed(wire), (case, routed(sent)));

        let (gateway, sa) = receiver(case, Handling::default());
        let arrives = with_extensions(&plain(false), &[(ROUTING, &route(0))]);
        let sent = not_yet_routed(arrives.clone());
        to_open.seal(&[words(&sa, case.before() + 1)], &sent, (gateway, case, arrives));
    }
    for ((case, want), answer) in sealed.answers() {
        assert_eq!(answer.map(|octets| hex(&octets)), Some(hex(&want)), "{case:?}");
    }
    for ((mut gateway, case, want), sealed) in to_open.answers() {
        let sealed = sealed.expect("nothing to refuse");
        assert_eq!(receive(&mut gateway, &routed(sealed)), Ok(want), "{case:?}");
    }
}

#[test]
fn transport_mode_among_options_and_extension_headers() {
    let mut questions = Questions::new();
    for case in transport_cases() {
        let (mut gateway, sa) = sender(case, Handling::default());
        for (sequence, sent) in (case.before() + 1..).zip(packets(case.outer_v6, true)) {
            let wire = send(&mut gateway, case.mode, &sent);
            let wire = wire.unwrap_or_else(|| panic!("{case:?}: not sealed: {}", hex(&sent)));
            questions.open(&[words(&sa, sequence)], &wire, (case, sent.clone()));
            if case.suite.protocol() == IpsecProtocol::Ah {
                let moved = travelled(wire);
                questions.open(&[words(&sa, sequence)], &moved, (case, travelled(sent)));
            }
        }
        assert_eq!(gateway.all_drops(), 0, "{case:?}");
    }
    for ((case, sent), answer) in questions.answers() {
        assert_eq!(answer.map(|octets| hex(&octets)), Some(hex(&sent)), "{case:?}");
    }
}

#[test]
fn scapy_puts_its_header_among_options_and_extension_headers() {
    let mut questions = Questions::new();
    for case in transport_cases() {
        for sent in packets(case.outer_v6, false) {
            let (gateway, sa) = receiver(case, Handling::default());
            questions.seal(&[words(&sa, case.before() + 1)], &sent, (gateway, case, sent.clone()));
        }
    }
    for ((mut gateway, case, sent), sealed) in questions.answers() {
        let sealed = sealed.expect("nothing to refuse");
        let is_ah = case.suite.protocol() == IpsecProtocol::Ah;
        if is_ah {
            // What may not change: an address, of which only its owner may send; the identification, or an option.
            let changing = case.outer_v6 && sealed[42] == 0x3e;
            let (addr, fixed) = if case.outer_v6 { (8, if changing { 50 } else { 44 }) } else { (12, 4) };
            for (at, want) in [(addr, DropReason::WrongSpiMode), (fixed, DropReason::IcvFailed)] {
                let mut bent = sealed.clone();
                bent[at] ^= 1;
                mend(&mut bent);
                assert_eq!(receive(&mut gateway, &bent), Err(want), "{case:?}, octet {at} of {}", hex(&sealed));
            }
        }
        let (arrives, want) = if is_ah { (travelled(sealed), travelled(sent)) } else { (sealed, sent) };
        let got = receive(&mut gateway, &arrives);
        assert_eq!(got.map(|octets| hex(&octets)), Ok(hex(&want)), "{case:?}");
    }
}

/// Of an IP packet: DF, traffic class, TTL, flow label.
fn fields(packet: &[u8]) -> (bool, u8, u8, u32) {
    if packet[0] >> 4 == 6 {
        let first = u32::from_be_bytes(packet[..4].try_into().unwrap());
        (true, (first >> 20) as u8, packet[7], first & 0xf_ffff)
    } else {
        (packet[6] & 0x40 != 0, packet[1], packet[8], 0)
    }
}

/// An inner packet with these fields; over IPv6 without DF.
fn inner_with(v6: bool, towards: bool, df: bool, traffic_class: u8, ttl: u8) -> Vec<u8> {
    let mut packet = packet_for(Case::plain("aes128gcm16", SaMode::Tunnel, false), v6, towards, 33);
    if v6 {
        let first = 6 << 28 | u32::from(traffic_class) << 20 | 0xabcde;
        packet[..4].copy_from_slice(&first.to_be_bytes());
        packet[7] = ttl;
    } else {
        (packet[1], packet[8]) = (traffic_class, ttl);
        packet[6] = if df { 0x40 } else { 0 };
        mend(&mut packet);
    }
    packet
}

#[test]
fn rules_of_the_outer_header() {
    let mut questions = Questions::new();
    let mut map = [0; 64];
    map[46] = 34;
    let map = DscpHandling::Map(DscpMap::new(map).unwrap());
    let dscps = [(DscpHandling::Copy, 46), (DscpHandling::Set(10), 10), (map, 34)];
    for (suite, outer_v6) in [("aes128gcm16", false), ("aes128gcm16", true), ("sha256", false), ("sha256", true)] {
        let case = Case::plain(suite, SaMode::Tunnel, outer_v6);
        for (df, (dscp, want_dscp)) in
            [DfHandling::Copy, DfHandling::Set, DfHandling::Clear].into_iter().flat_map(|df| dscps.map(|d| (df, d)))
        {
            for (ecn, ttl) in [(true, None), (false, Some(200))] {
                let handling = Handling { df, dscp, ecn, ttl, flow_label: ecn, ..Handling::default() };
                let (mut gateway, sa) = sender(case, handling);
                let inners = (0..16).map(|bits| (bits & 1 != 0, bits & 2 != 0, bits >> 2));
                for (sequence, (v6, inner_df, mark)) in (case.before() + 1..).zip(inners) {
                    let sent = inner_with(v6, true, inner_df, 46 << 2 | mark, 77);
                    let wire = send(&mut gateway, case.mode, &sent).unwrap();
                    let (got_df, class, hops, label) = fields(&wire);
                    let what = format!("{case:?}, {handling:?}, IPv6 {v6}, DF {inner_df}, ECN {mark}");
                    // RFC 4301 §8.1, §5.1.2.1 note 4; RFC 6040 §4.1; RFC 6864 §4.1.
                    let want_df = match df {
                        DfHandling::Copy => v6 || inner_df,
                        DfHandling::Set => true,
                        DfHandling::Clear => false,
                    };
                    assert_eq!(got_df, outer_v6 || want_df, "{what}");
                    assert!(outer_v6 || want_df || wire[4..6] != [0, 0], "{what}: nothing to tell fragments by");
                    assert_eq!(class, want_dscp << 2 | if ecn { mark } else { 0 }, "{what}");
                    assert_eq!(hops, ttl.unwrap_or(77), "{what}");
                    assert_eq!(label, if outer_v6 && v6 && ecn { 0xabcde } else { 0 }, "{what}");
                    questions.open(&[words(&sa, sequence)], &wire, (what, after(case.mode, sent)));
                }
            }
        }
    }
    for ((what, want), answer) in questions.answers() {
        assert_eq!(answer.map(|octets| hex(&octets)), Some(hex(&want)), "{what}");
    }
}

#[test]
fn congestion_marks_and_dscp_on_the_way_out_of_a_tunnel() {
    let mut questions = Questions::new();
    for suite in ["aes128gcm16", "sha256"] {
        for (outer_v6, v6, uniform) in (0..8).map(|bits| (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0)) {
            let case = Case::plain(suite, SaMode::Tunnel, outer_v6);
            for (inner_mark, outer_mark) in (0..16).map(|bits| (bits & 3, bits >> 2)) {
                let handling = Handling { dscp_inbound: uniform, ..Handling::default() };
                let (gateway, sa) = receiver(case, handling);
                let sent = inner_with(v6, false, true, 46 << 2 | inner_mark, 77);
                // RFC 6040 §4.2 figure 4: rows are the inner mark, columns the outer one: Not-ECT, ECT(1), ECT(0), CE.
                let mark = [
                    [Some(0), Some(0), Some(0), None],
                    [Some(1), Some(1), Some(1), Some(3)],
                    [Some(2), Some(1), Some(2), Some(3)],
                    [Some(3), Some(3), Some(3), Some(3)],
                ][usize::from(inner_mark)][usize::from(outer_mark)];
                let dscp = if uniform { 10 } else { 46 };
                let want = mark.map(|mark| inner_with(v6, false, true, dscp << 2 | mark, 77));
                let around = format!("{}/{}", words(&sa, case.before() + 1), 10 << 2 | outer_mark);
                questions.seal(&[around], &sent, (gateway, format!("{case:?} {inner_mark} in {outer_mark}"), want));
            }
        }
    }
    for ((mut gateway, what, want), sealed) in questions.answers() {
        let want = want.map(|packet| after(SaMode::Tunnel, packet)).ok_or(DropReason::CongestionMarked);
        assert_eq!(receive(&mut gateway, &sealed.expect("nothing to refuse")), want, "{what}");
    }
}

#[test]
fn traffic_flow_padding() {
    let mut questions = Questions::new();
    for case in Case::all() {
        let Case { suite, mode, udp, esn, .. } = case;
        if suite.protocol() == IpsecProtocol::Ah || mode == SaMode::Transport || udp || esn {
            continue;
        }
        for (tfc, len) in [(Tfc::To(600), 90), (Tfc::To(600), 700), (Tfc::ToMtu, 90)] {
            let (mut gateway, sa) = sender(case, Handling { tfc, ..Handling::default() });
            let sent = packet_for(case, case.outer_v6, true, len);
            let wire = send(&mut gateway, mode, &sent).unwrap();
            // RFC 4303 §2.7: as long as asked for, never shorter than the packet, and no longer than the path carries.
            let outer = if case.outer_v6 { 40 } else { 20 } + 8 + suite.iv_len() + suite.icv_len();
            let units = |inside: usize| outer + (inside + 2).next_multiple_of(suite.alignment());
            match tfc {
                Tfc::To(to) => assert_eq!(wire.len(), units(sent.len().max(usize::from(to))), "{case:?}"),
                _ => assert!(wire.len() <= 1500 && wire.len() + suite.alignment() > 1500, "{case:?}: {}", wire.len()),
            }
            questions.open(&[words(&sa, case.before() + 1)], &wire, (case, after(mode, sent), tfc));
        }
    }
    for ((case, want, tfc), answer) in questions.answers() {
        let inside = answer.unwrap_or_else(|| panic!("{case:?}, {tfc:?}: refused"));
        let (packet, padding) = inside.split_at(want.len());
        assert_eq!(hex(packet), hex(&want), "{case:?}, {tfc:?}");
        assert!(padding.iter().all(|octet| *octet == 0));
        if let Tfc::To(to) = tfc {
            assert_eq!(inside.len(), want.len().max(usize::from(to)), "{case:?}");
        }
    }
}

#[test]
fn dummy_packets_are_seen_by_the_other_end_alone() {
    let mut questions = Questions::new();
    for (suite, outer_v6) in [("aes128gcm16", false), ("aes256-sha256", true), ("null-aescmac", false)] {
        let case = Case::plain(suite, SaMode::Tunnel, outer_v6);
        let (mut gateway, sa) = sender(case, Handling { dummies: 50, ..Handling::default() });
        gateway.house.tick(10 * SECOND, &mut gateway.io);
        gateway.house.tick(10 * SECOND + SECOND / 2, &mut gateway.io);
        let spi = sa.spi.to_be_bytes();
        let at = if outer_v6 { 40 } else { 20 };
        let sent: Vec<_> = gateway.sent().iter().map(|frame| inner(frame).to_vec()).collect();
        let dummies: Vec<_> = sent.into_iter().filter(|packet| packet.get(at..at + 4) == Some(&spi)).collect();
        assert!(dummies.len() >= 25, "{} dummies", dummies.len());
        assert_eq!(gateway.house.counters().get(WorkerCounter::DummiesSent), dummies.len() as u64);
        assert_eq!(house_drops(&gateway, DropReason::NoSa), 0);
        // Opened as if in transport mode, the IP header tells what ESP said was inside.
        let mut as_transport = sa.clone();
        as_transport.mode = SaMode::Transport;
        for (sequence, dummy) in (case.before() + 1..).zip(dummies) {
            questions.open(&[words(&as_transport, sequence)], &dummy, (suite, if outer_v6 { 6 } else { 9 }));
        }
    }
    for ((suite, next_at), answer) in questions.answers() {
        assert_eq!(answer.map(|octets| octets[next_at]), Some(protocol::NO_NEXT_HEADER), "{suite}");
    }
    // The other way, in transport mode, where Scapy can say so.
    let mut questions = Questions::new();
    for (suite, v6) in [("aes128gcm16", false), ("aes256-sha256", true)] {
        let case = Case::plain(suite, SaMode::Transport, v6);
        let (gateway, sa) = receiver(case, Handling::default());
        let mut nothing = packet_for(case, v6, false, 60);
        nothing[if v6 { 6 } else { 9 }] = protocol::NO_NEXT_HEADER;
        mend(&mut nothing);
        questions.seal(&[words(&sa, case.before() + 1)], &nothing, gateway);
    }
    for (mut gateway, sealed) in questions.answers() {
        assert_eq!(receive(&mut gateway, &sealed.expect("nothing to refuse")), Err(DropReason::DummyPacket));
        assert!(!gateway.io.punts.iter().any(|punt| matches!(punt, Punt::Host { origin: Origin::Tunnel, .. })));
    }
}
