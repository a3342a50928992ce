//! The same packets with the fast path and without it: whatever comes out must be the same.

use crate::testing::VecBuffer;
use crate::tests::rig::*;
use crate::{Buffer, Punt};
use culvert_model::*;
use culvert_telemetry::{DropReason, SaCounter, WorkerCounter};
use culvert_wire::{ethernet, ipv4, protocol};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A frame from the lan: most are plain, some are odd in one way or another.
#[derive(Clone, Copy, Debug)]
struct Spec {
    v6: bool,
    host: u8,
    far: u8,
    protocol: u8,
    len: u16,
    ttl: u8,
    tos: u8,
    /// Flags and fragment offset.
    fragment: u16,
    /// Octets behind the packet.
    padding: u8,
    /// One octet changed, somewhere in the frame.
    spoilt: Option<(u16, u8)>,
}

fn spec() -> impl Strategy<Value = Spec> {
    let plain = (any::<bool>(), 2u8..5, 1u8..5, prop_oneof![Just(17), Just(17), Just(6), Just(1), Just(47), Just(50)]);
    let odd = (
        prop_oneof![9 => 40u16..200, 1 => 1200u16..1500],
        prop_oneof![9 => Just(64u8), 1 => 0u8..3],
        any::<u8>(),
        prop_oneof![8 => Just(0x4000u16), 2 => Just(0), 1 => Just(0x2000), 1 => Just(0x0003)],
        prop_oneof![4 => Just(0u8), 1 => 1u8..40],
        prop_oneof![6 => Just(None), 1 => (0u16..80, any::<u8>()).prop_map(Some)],
    );
    (plain, odd).prop_map(|((v6, host, far, protocol), (len, ttl, tos, fragment, padding, spoilt))| Spec {
        v6,
        host,
        far,
        protocol,
        len,
        ttl,
        tos,
        fragment,
        padding,
        spoilt,
    })
}

impl Spec {
    fn frame(&self) -> VecBuffer {
        let payload: Vec<u8> = (0..self.len).map(|n| n as u8).collect();
        // Far sites: 7 is protected, 8 is not, others are discarded.
        let (source, destination) = if self.v6 {
            (ip(&format!("fd00:1::{}", self.host)), ip(&format!("fd00:{}::2", self.far + 5)))
        } else {
            (ip(&format!("10.1.0.{}", self.host)), ip(&format!("10.{}.0.2", self.far + 5)))
        };
        let mut packet = packet(source, destination, &payload);
        if self.v6 {
            packet[6] = if self.protocol == protocol::ICMP { protocol::ICMPV6 } else { self.protocol };
            packet[7] = self.ttl;
            packet[1] = self.tos;
        } else {
            packet[9] = self.protocol;
            packet[8] = self.ttl;
            packet[1] = self.tos;
            packet[6..8].copy_from_slice(&self.fragment.to_be_bytes());
            packet[10..12].fill(0);
            let sum = culvert_wire::checksum::of(&packet[..ipv4::LEN]).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
        }
        packet.extend(std::iter::repeat_n(0, usize::from(self.padding)));
        let mut frame = frame(host_mac(1), mac(1, LAN), &packet);
        if let Some((at, value)) = self.spoilt
            && let Some(octet) = frame.data_mut().get_mut(usize::from(at))
        {
            *octet = value;
        }
        frame
    }
}

/// What happens to the sealed frames of a burst before they arrive.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Spoil(u8, u16, u8),
    Twice(u8),
    Swap(u8, u8),
    Cut(u8, u16),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        (any::<u8>(), 0u16..120, any::<u8>()).prop_map(|(n, at, value)| Mishap::Spoil(n, at, value)),
        any::<u8>().prop_map(Mishap::Twice),
        any::<(u8, u8)>().prop_map(|(a, b)| Mishap::Swap(a, b)),
        (any::<u8>(), 1u16..60).prop_map(|(n, count)| Mishap::Cut(n, count)),
    ]
}

fn happen(wire: &mut Vec<VecBuffer>, mishap: Mishap) {
    let Some(last) = wire.len().checked_sub(1) else { return };
    let at = |n: u8| usize::from(n) % (last + 1);
    match mishap {
        Mishap::Spoil(n, place, value) => {
            if let Some(octet) = wire[at(n)].data_mut().get_mut(usize::from(place)) {
                *octet = value;
            }
        }
        Mishap::Twice(n) => wire.push(wire[at(n)].clone()),
        Mishap::Swap(a, b) => wire.swap(at(a), at(b)),
        Mishap::Cut(n, count) => {
            wire[at(n)].trim_back(usize::from(count));
        }
    }
}

/// Frames by the addresses in them, in their order.
fn by_pair(frames: Vec<VecBuffer>) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut pairs: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for frame in frames {
        let packet = &frame.data()[ethernet::LEN..];
        let addresses = if packet[0] >> 4 == 6 { &packet[8..40] } else { &packet[12..20] };
        pairs.entry(addresses.to_vec()).or_default().push(frame.data().to_vec());
    }
    pairs
}

/// All that a gateway counted. Which cache knew a flow is its own affair; whether a packet that is both a replay and
/// spoilt is refused as the one or the other is a matter of order.
fn counts(gateway: &Gateway) -> Vec<u64> {
    let caches = [WorkerCounter::FlowCacheHits, WorkerCounter::FlowCacheMisses];
    let own = WorkerCounter::ALL.iter().filter(|counter| !caches.contains(counter));
    let slots = (0..gateway.region.slots()).filter_map(|n| gateway.region.slot(SlotIndex(n)));
    let refused = [SaCounter::ReplayDrops, SaCounter::IcvFailures];
    let of_slots = slots.filter(|slot| slot.spi().is_some()).flat_map(|slot| {
        let others = SaCounter::ALL.iter().filter(|counter| !refused.contains(counter));
        let others: Vec<u64> = others.map(|counter| slot.get(counter.index())).collect();
        let refused = refused.map(|counter| slot.get(counter.index())).iter().sum();
        others.into_iter().chain([refused, slot.sequence(), slot.replay_top(), slot.last_used()])
    });
    let refused = [DropReason::ReplayDuplicate, DropReason::ReplayTooOld, DropReason::IcvFailed];
    let drops = DropReason::ALL.iter().filter(|reason| !refused.contains(reason));
    let drops = drops.map(|reason| gateway.dropped(*reason));
    let refused = refused.map(|reason| gateway.dropped(reason)).iter().sum();
    drops.chain([refused]).chain(own.map(|counter| gateway.count(*counter))).chain(of_slots).collect()
}

fn punts(gateway: &mut Gateway) -> Vec<String> {
    let describe = |punt: Punt<VecBuffer>| {
        // Without the memory around the packet.
        let text = format!("{punt:?}");
        let (what, _) = text.split_once("VecBuffer").unwrap_or((&text, ""));
        format!("{what} {:?}", punt.into_buffer().map(|packet| packet.data().to_vec()))
    };
    // Of reports one goes through in a second, and which is a matter of order.
    let mut punts: Vec<String> = gateway.io.punts.drain(..).filter(carries_packet).map(describe).collect();
    punts.sort();
    punts
}

fn same(fast: &mut Gateway, general: &mut Gateway) {
    assert_eq!(counts(fast), counts(general));
    assert_eq!(punts(fast), punts(general));
}

/// Site 1 or 7: each protects what goes to the other, bypasses site 8 and discards the rest.
fn site(site: u8, peer: u8, fast: bool) -> Gateway {
    let mut gateway = Gateway::new(site, peer);
    if !fast {
        gateway.worker.memo = None;
    }
    let policy = |id, direction, remote: u8, priority, action| Policy {
        id: PolicyId(id),
        direction,
        priority,
        local: lans(site),
        remote: lans(remote),
        action,
        interface: None,
        pfp: Pfp::NONE,
    };
    let protect = Action::Protect { child: CHILD, trap: true };
    gateway.policies([
        policy(1, PolicyDirection::Outbound, peer, 1, protect),
        policy(2, PolicyDirection::Inbound, peer, 1, protect),
        policy(3, PolicyDirection::Outbound, 8, 2, Action::Bypass),
        policy(4, PolicyDirection::Inbound, 8, 2, Action::Bypass),
    ]);
    gateway
}

fn pair_of(kind: Kind, fast: bool) -> (Gateway, Gateway) {
    let (mut a, mut b) = (site(1, 7, fast), site(7, 1, fast));
    connect(&mut a, &mut b, kind, 1);
    (a, b)
}

fn kind() -> impl Strategy<Value = Kind> {
    (any::<[bool; 3]>(), 0..3u8).prop_map(|([esn, udp, outer_v6], suite)| {
        let cbc = Suite::esp(Encryption::Aes128Cbc, Some(Integrity::HmacSha256_128)).unwrap();
        let suite = [Suite::AES128_GCM16, Suite::AES256_GCM16, cbc][usize::from(suite)];
        Kind { suite, esn, udp, outer_v6, ..Kind::PLAIN }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_differs(
        kind in kind(),
        bursts in proptest::collection::vec(proptest::collection::vec(spec(), 1..32), 1..4),
        mishaps in proptest::collection::vec(mishap(), 0..8),
    ) {
        let [(mut a1, mut b1), (mut a2, mut b2)] = [true, false].map(|fast| pair_of(kind, fast));
        let (_, mut c1) = pair_of(kind, true);
        let (_, mut c2) = pair_of(kind, false);
        for burst in bursts {
            for gateway in [&mut a1, &mut a2] {
                gateway.receive(SECOND, LAN, burst.iter().map(Spec::frame));
            }
            let of_port = |gateway: &mut Gateway, port| {
                let sent = gateway.io.sent.drain(..);
                sent.partition::<Vec<_>, _>(|(by, _)| *by == port)
            };
            let [(wan1, lan1), (wan2, lan2)] = [&mut a1, &mut a2].map(|gateway| of_port(gateway, WAN));
            prop_assert_eq!((wan1.len(), lan1.len()), (wan2.len(), lan2.len()));
            let [wan1, mut wan2] = [wan1, wan2].map(|wan| wan.into_iter().map(|(_, frame)| frame).collect::<Vec<_>>());
            same(&mut a1, &mut a2);
            // Both seal the same, though perhaps in another order.
            c1.receive(SECOND, WAN, wan1);
            c2.receive(SECOND, WAN, wan2.clone());
            prop_assert_eq!(by_pair(c1.sent()), by_pair(c2.sent()));
            same(&mut c1, &mut c2);
            // Both open the same, whatever arrives.
            mishaps.iter().for_each(|mishap| happen(&mut wan2, *mishap));
            for gateway in [&mut b1, &mut b2] {
                gateway.receive(SECOND, WAN, wan2.clone());
            }
            prop_assert_eq!(by_pair(b1.sent()), by_pair(b2.sent()));
            same(&mut b1, &mut b2);
        }
    }
}

/// Else the property above would hold a path against itself.
#[test]
fn plain_packets_take_it() {
    for kind in Kind::all() {
        let (mut a, mut b) = pair_of(kind, true);
        a.receive(SECOND, LAN, (0..32).map(|n| from_host(&[n; 40])));
        a.worker.memo = None;
        let wire = a.sent();
        assert_eq!(wire.len(), 32);
        // The second time every flow is known, and nobody asks the general way's cache.
        let hits = |gateway: &Gateway| gateway.count(WorkerCounter::FlowCacheHits);
        assert_eq!((hits(&a), a.count(WorkerCounter::FlowCacheMisses)), (31, 1));
        b.receive(SECOND, WAN, wire);
        assert_eq!((b.sent().len(), b.all_drops()), (32, 0));
        assert_eq!((hits(&b), b.count(WorkerCounter::FlowCacheMisses)), (31, 1));
    }
}
