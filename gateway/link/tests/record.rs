//! The record codec: what is written is read, and nothing else is.

use core::time::Duration;
use culvert_link::record::{Command, Datagram, DecodeError, EncodeError, Event, MAX_SELECTORS, Refusal};
use culvert_model::{
    Action, AddrRange, ChildId, DfHandling, Direction, DscpHandling, DscpMap, Encapsulation, Flow, FragmentWhen,
    Handling, InterfaceId, Lifetime, MssClamp, Pfp, Policy, PolicyDirection, PolicyId, PortRange, SaMode, SaSpec,
    SecretKey, SlotIndex, Spi, Suite, Tfc, TrafficSelector, Tunnel,
};
use proptest::option;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

fn spi() -> impl Strategy<Value = Spi> {
    (Spi::MIN..).prop_map(|value| Spi::new(value).expect("not reserved"))
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)]
}

fn two_addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (a.into(), b.into())),
        any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (a.into(), b.into())),
    ]
}

fn two_sockets() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let six = |ip: [u8; 16], port, flow, scope| SocketAddr::from(SocketAddrV6::new(ip.into(), port, flow, scope));
    prop_oneof![
        any::<([u8; 4], u16, [u8; 4], u16)>().prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into())),
        any::<([u8; 16], u16, u32, u32, [u8; 16], u16)>()
            .prop_map(move |(a, p, flow, scope, b, q)| (six(a, p, flow, scope), six(b, q, 0, 0))),
    ]
}

fn tunnel() -> impl Strategy<Value = Tunnel> {
    two_addresses().prop_map(|(local, remote)| Tunnel { local, remote })
}

fn ports() -> impl Strategy<Value = PortRange> {
    prop_oneof![
        Just(PortRange::ANY),
        Just(PortRange::OPAQUE),
        any::<(u16, u16)>().prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).expect("in order")),
    ]
}

fn selector() -> impl Strategy<Value = TrafficSelector> {
    (two_addresses(), any::<Option<u8>>(), ports()).prop_map(|((a, b), protocol, ports)| TrafficSelector {
        addrs: AddrRange::new(a.min(b), a.max(b)).expect("in order"),
        protocol,
        ports,
    })
}

fn selectors() -> impl Strategy<Value = Vec<TrafficSelector>> {
    prop::collection::vec(selector(), 0..6)
}

fn encapsulation() -> impl Strategy<Value = Option<Encapsulation>> {
    option::of(any::<(u16, u16, u64, u32)>().prop_map(|(local_port, remote_port, seconds, nanos)| Encapsulation {
        local_port,
        remote_port,
        keepalive: Duration::new(seconds, nanos % 1_000_000_000),
    }))
}

fn mode() -> impl Strategy<Value = SaMode> {
    prop_oneof![Just(SaMode::Tunnel), Just(SaMode::Transport)]
}

prop_compose! {
    fn handling()(
        df in prop::sample::select(vec![DfHandling::Copy, DfHandling::Set, DfHandling::Clear]),
        dscp in prop_oneof![
            Just(DscpHandling::Copy),
            (0u8..64).prop_map(DscpHandling::Set),
            any::<[u8; 32]>().prop_map(|half| {
                let mut map = *DscpMap::IDENTITY.octets();
                half.iter().zip(&mut map).for_each(|(from, to)| *to = from & 63);
                DscpHandling::Map(DscpMap::new(map).expect("all below 64"))
            }),
        ],
        (dscp_inbound, ecn, flow_label, later_fragments) in any::<(bool, bool, bool, bool)>(),
        ttl in option::of(1u8..),
        fragment in prop::sample::select(vec![FragmentWhen::Before, FragmentWhen::After]),
        tfc in prop_oneof![Just(Tfc::Off), Just(Tfc::ToMtu), any::<u16>().prop_map(Tfc::To)],
        dummies in any::<u16>(),
        mss_clamp in prop_oneof![Just(MssClamp::Off), Just(MssClamp::Auto), any::<u16>().prop_map(MssClamp::To)],
    ) -> Handling {
        Handling { df, dscp, dscp_inbound, ecn, ttl, flow_label, fragment, tfc, dummies, mss_clamp, later_fragments }
    }
}

fn pfp() -> impl Strategy<Value = Pfp> {
    any::<[bool; 5]>().prop_map(|[local_addr, remote_addr, protocol, local_port, remote_port]| Pfp {
        local_addr,
        remote_addr,
        protocol,
        local_port,
        remote_port,
    })
}

prop_compose! {
    fn sa()(
        (spi, direction, slot, child) in (spi(), direction(), any::<u32>(), any::<u32>()),
        (suite, key) in prop::sample::select(Suite::all().collect::<Vec<_>>())
            .prop_flat_map(|s| (Just(s), prop::collection::vec(any::<u8>(), s.key_len()))),
        tunnel in tunnel(),
        encapsulation in encapsulation(),
        (esn, replay_window) in any::<(bool, u32)>(),
        (local_ts, remote_ts) in (selectors(), selectors()),
        (limits, mode, handling) in (any::<[u64; 8]>(), mode(), handling()),
        (bundle, interface) in any::<(Option<u32>, Option<u16>)>(),
    ) -> SaSpec {
        let [soft_bytes, hard_bytes, soft_packets, hard_packets, soft_seconds, hard_seconds, soft_idle, hard_idle] = limits;
        SaSpec {
            spi, direction, slot: SlotIndex(slot), child: ChildId(child), suite, key: SecretKey::new(key), mode, tunnel,
            encapsulation, esn, replay_window, local_ts, remote_ts,
            lifetime: Lifetime {
                soft_bytes, hard_bytes, soft_packets, hard_packets, soft_seconds, hard_seconds, soft_idle, hard_idle,
            },
            handling, bundle: bundle.map(ChildId), interface: interface.map(InterfaceId),
        }
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    let action = prop_oneof![
        any::<(u32, bool)>().prop_map(|(child, trap)| Action::Protect { child: ChildId(child), trap }),
        Just(Action::Bypass),
        Just(Action::Discard),
    ];
    let direction = prop_oneof![Just(PolicyDirection::Inbound), Just(PolicyDirection::Outbound)];
    let place = (any::<Option<u16>>(), pfp());
    (any::<(u32, u32)>(), direction, selectors(), selectors(), action, place).prop_map(
        |((id, priority), direction, local, remote, action, (interface, pfp))| Policy {
            id: PolicyId(id),
            direction,
            priority,
            local,
            remote,
            action,
            interface: interface.map(InterfaceId),
            pfp,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let slot = || any::<u32>().prop_map(SlotIndex);
    prop_oneof![
        4 => sa().prop_map(Command::Install),
        1 => (slot(), spi(), direction()).prop_map(|(slot, spi, direction)| Command::Remove { slot, spi, direction }),
        3 => policy().prop_map(Command::SetPolicy),
        1 => any::<u32>().prop_map(|id| Command::RemovePolicy(PolicyId(id))),
        1 => Just(Command::BeginSync),
        1 => Just(Command::EndSync),
        1 => (any::<u32>(), prop::collection::vec(slot(), 0..20))
            .prop_map(|(child, keep)| Command::RetireOrphans { child: ChildId(child), keep }),
        1 => (slot(), spi(), tunnel(), encapsulation()).prop_map(|(slot, spi, tunnel, encapsulation)| {
            Command::UpdateTunnel { slot, spi, tunnel, encapsulation }
        }),
    ]
}

fn flow() -> impl Strategy<Value = Flow> {
    (any::<(u8, Option<u16>, Option<u16>)>(), two_addresses()).prop_map(
        |((protocol, source_port, destination_port), (source, destination))| Flow {
            source,
            destination,
            protocol,
            source_port,
            destination_port,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let reference = || (any::<u32>().prop_map(SlotIndex), spi(), direction());
    prop_oneof![
        (any::<u64>(), option::of(prop::sample::select(Refusal::ALL.to_vec())))
            .prop_map(|(token, refusal)| Event::Done { token, result: refusal.map_or(Ok(()), Err) }),
        (any::<u32>(), flow(), pfp()).prop_map(|(child, flow, pfp)| Event::Acquire {
            child: ChildId(child),
            flow,
            pfp
        }),
        (any::<(u16, Option<u32>)>(), option::of(spi()), flow())
            .prop_map(|((reason, slot), spi, flow)| { Event::Audit { reason, slot: slot.map(SlotIndex), spi, flow } }),
        reference().prop_map(|(slot, spi, direction)| Event::SoftExpire { slot, spi, direction }),
        reference().prop_map(|(slot, spi, direction)| Event::HardExpire { slot, spi, direction }),
        reference().prop_map(|(slot, spi, direction)| Event::SequenceLow { slot, spi, direction }),
        (reference(), two_sockets()).prop_map(|((slot, spi, _), (remote, _))| Event::NatMappingSeen {
            slot,
            spi,
            remote
        }),
    ]
}

fn datagram() -> impl Strategy<Value = Datagram> {
    (two_sockets(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|((local, remote), payload)| Datagram {
        local,
        remote,
        payload,
    })
}

/// Each shorter record is refused, and so is a longer one.
fn only_whole<T>(record: &[u8], decode: impl Fn(&[u8]) -> Result<T, DecodeError>) {
    for length in 0..record.len() {
        assert!(decode(&record[..length]).is_err(), "accepted {length} of {} bytes", record.len());
    }
    let mut longer = record.to_vec();
    longer.push(0);
    assert_eq!(decode(&longer).err(), Some(DecodeError::Trailing { count: 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn commands(token in any::<u64>(), command in command()) {
        let mut record = vec![0xee; 3];
        command.encode(token, &mut record).expect("within the limits");
        prop_assert_eq!(Command::peek_token(&record), Some(token));
        prop_assert_eq!(Command::decode(&record), Ok((token, command)));
        only_whole(&record, Command::decode);
    }

    #[test]
    fn events(event in event()) {
        let mut record = Vec::new();
        event.encode(&mut record);
        prop_assert_eq!(Event::decode(&record), Ok(event));
        only_whole(&record, Event::decode);
    }

    #[test]
    fn datagrams(datagram in datagram()) {
        let mut record = Vec::new();
        datagram.encode(&mut record).expect("within the limits");
        prop_assert_eq!(Datagram::decode(&record), Ok(datagram));
    }

    #[test]
    fn random_octets_do_no_harm(mut record in prop::collection::vec(any::<u8>(), 0..400), tag in 0..12u8) {
        let _ = Event::decode(&record);
        let _ = Datagram::decode(&record);
        let _ = Command::decode(&record);
        // And with a likely tag, so that more than the first field is reached.
        if let Some(first) = record.get_mut(0) {
            *first = tag;
        }
        let _ = Event::decode(&record);
        if let Some(octet) = record.get_mut(8) {
            *octet = tag;
        }
        let _ = Command::decode(&record);
    }

    /// What is read of a damaged record can be written again, and is then read the same.
    #[test]
    fn damage_is_stable(command in command(), at in any::<prop::sample::Index>(), octet in any::<u8>()) {
        let mut record = Vec::new();
        command.encode(7, &mut record).expect("within the limits");
        let at = at.index(record.len());
        record[at] = octet;
        if let Ok((token, read)) = Command::decode(&record) {
            let mut again = Vec::new();
            read.encode(token, &mut again).expect("what was read is within the limits");
            prop_assert_eq!(again, record);
        }
    }
}

fn some_sa() -> SaSpec {
    SaSpec {
        spi: Spi::new(0x1234_5678).expect("not reserved"),
        direction: Direction::Inbound,
        slot: SlotIndex(1),
        child: ChildId(1),
        suite: Suite::AES256_GCM16,
        key: SecretKey::new(vec![0x5a; 36]),
        tunnel: Tunnel { local: [192, 0, 2, 1].into(), remote: [192, 0, 2, 2].into() },
        encapsulation: None,
        esn: true,
        replay_window: 1024,
        local_ts: vec![TrafficSelector::any(AddrRange::ANY_V4)],
        remote_ts: vec![TrafficSelector::any(AddrRange::ANY_V6)],
        lifetime: Lifetime::default(),
        mode: SaMode::Tunnel,
        handling: Handling::default(),
        bundle: None,
        interface: None,
    }
}

fn encoded(command: &Command) -> Vec<u8> {
    let mut record = Vec::new();
    command.encode(1, &mut record).expect("within the limits");
    record
}

#[test]
fn the_largest_records_fit_the_ring() {
    let selector = TrafficSelector { addrs: AddrRange::ANY_V6, protocol: Some(6), ports: PortRange::single(443) };
    let mut sa = some_sa();
    sa.local_ts = vec![selector; MAX_SELECTORS];
    sa.remote_ts = vec![selector; MAX_SELECTORS];
    assert!(encoded(&Command::Install(sa.clone())).len() <= culvert_link::MAX_RECORD);
    sa.local_ts.push(selector);
    let too_many = EncodeError::TooMany { what: "selectors", count: MAX_SELECTORS + 1, max: MAX_SELECTORS };
    assert_eq!(Command::Install(sa).encode(1, &mut Vec::new()), Err(too_many));

    let socket = SocketAddr::from(([0xfe; 16], 4500));
    let largest = Datagram { local: socket, remote: socket, payload: vec![1; 65_535] };
    let mut record = Vec::new();
    largest.encode(&mut record).expect("within the limits");
    assert!(record.len() <= culvert_link::MAX_RECORD, "{}", record.len());
    assert_eq!(Datagram::decode(&record), Ok(largest));
}

#[test]
fn a_key_of_another_suite_is_not_written() {
    let mut sa = some_sa();
    sa.suite = Suite::AES128_GCM16;
    let wrong = EncodeError::KeyLength { expected: 20, found: 36 };
    assert_eq!(Command::Install(sa).encode(1, &mut Vec::new()), Err(wrong));
}

/// token 8 · tag 1 · spi 4 · direction 1 · slot 4 · child 4 · suite 6 · key 36 · mode 1 · tunnel 10 · encapsulation 1
#[test]
fn each_bad_field_has_its_error() {
    let good = encoded(&Command::Install(some_sa()));
    assert!(Command::decode(&good).is_ok());
    let with = |at: usize, octets: &[u8]| {
        let mut record = good.clone();
        record[at..at + octets.len()].copy_from_slice(octets);
        Command::decode(&record).expect_err("a bad field")
    };
    assert_eq!(with(8, &[0]), DecodeError::UnknownTag { what: "command", value: 0 });
    assert_eq!(with(9, &[255, 0, 0, 0]), DecodeError::ReservedSpi { value: 255 });
    assert_eq!(with(13, &[3]), DecodeError::UnknownTag { what: "direction", value: 3 });
    let suite = DecodeError::Invalid { what: "a suite" };
    assert_eq!(with(22, &[9]), suite);
    // An AEAD with an integrity algorithm, a cipher with a key length it has not, nothing at all.
    assert_eq!(with(26, &[12]), suite);
    assert_eq!(with(24, &[129]), suite);
    assert_eq!(with(22, &[0; 6]), suite);
    assert_eq!(with(64, &[3]), DecodeError::UnknownTag { what: "mode", value: 3 });
    assert_eq!(with(65, &[5]), DecodeError::UnknownTag { what: "address family", value: 5 });
    assert_eq!(with(75, &[2]), DecodeError::UnknownTag { what: "an encapsulation", value: 2 });
    let too_many = DecodeError::TooMany { what: "selectors", count: 513, max: 512 };
    assert_eq!(with(81, &513u16.to_le_bytes()), too_many);
    // The first selector's range: 0.0.0.0 becomes an address above its end, 255.255.255.255 → 0.0.0.1.
    assert_eq!(with(84, &[0, 0, 0, 2, 4, 0, 0, 0, 1]), DecodeError::Invalid { what: "an address range" });
    assert_eq!(with(94, &[9, 0, 8, 0]), DecodeError::Invalid { what: "a port range" });
}

#[test]
fn mixed_families_have_no_value() {
    let mut record = Vec::new();
    let (four, six) = (SocketAddr::from(([192, 0, 2, 1], 500)), SocketAddr::from(([0; 16], 500)));
    Datagram { local: four, remote: six, payload: vec![] }.encode(&mut record).expect("within the limits");
    assert!(matches!(Datagram::decode(&record), Err(DecodeError::Invalid { .. })));
}
