//! Records of the rings: the first octet says which kind.

use core::time::Duration;
use culvert_link::record::{Command, Datagram, Event, Refusal};
use culvert_model::{
    Action, AddrRange, ChildId, Direction, Encapsulation, Flow, Handling, Lifetime, Pfp, Policy, PolicyDirection,
    PolicyId, PortRange, SaMode, SaSpec, SecretKey, SlotIndex, Spi, Suite, TrafficSelector, Tunnel,
};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Each value has one form, so what is read must be written back octet for octet.
pub fn record(bytes: &[u8]) -> bool {
    let Some((kind, record)) = bytes.split_first() else { return false };
    let mut again = Vec::new();
    match kind % 3 {
        0 => {
            let Ok((token, command)) = Command::decode(record) else { return false };
            assert_eq!(Command::peek_token(record), Some(token));
            command.encode(token, &mut again).expect("what was read is within the limits");
        }
        1 => {
            let Ok(event) = Event::decode(record) else { return false };
            event.encode(&mut again);
        }
        _ => {
            let Ok(datagram) = Datagram::decode(record) else { return false };
            datagram.encode(&mut again).expect("what was read is within the limits");
        }
    }
    assert_eq!(again, record);
    true
}

fn spi(value: u32) -> Spi {
    Spi::new(value).expect("not reserved")
}

fn selector(ports: PortRange) -> TrafficSelector {
    TrafficSelector { addrs: AddrRange::ANY_V4, protocol: Some(6), ports }
}

fn sa(suite: Suite, direction: Direction) -> SaSpec {
    SaSpec {
        spi: spi(0x1000_0001),
        direction,
        slot: SlotIndex(1),
        child: ChildId(2),
        suite,
        key: SecretKey::new(vec![0x42; suite.key_len()]),
        tunnel: Tunnel { local: [192, 0, 2, 1].into(), remote: [198, 51, 100, 7].into() },
        encapsulation: Some(Encapsulation {
            local_port: 4500,
            remote_port: 61_000,
            keepalive: Duration::from_secs(20),
        }),
        esn: true,
        replay_window: 1024,
        local_ts: vec![TrafficSelector::any(AddrRange::ANY_V4), selector(PortRange::single(443))],
        remote_ts: vec![TrafficSelector::any(AddrRange::ANY_V6), selector(PortRange::OPAQUE)],
        lifetime: Lifetime {
            soft_bytes: 1 << 40,
            hard_bytes: 1 << 41,
            soft_packets: 0,
            hard_packets: 0,
            soft_seconds: 0,
            hard_seconds: 0,
            soft_idle: 0,
            hard_idle: 0,
        },
        mode: SaMode::Tunnel,
        handling: Handling::default(),
        bundle: None,
        interface: None,
    }
}

fn commands() -> Vec<Command> {
    let (slot, spi) = (SlotIndex(9), spi(0x1234_5678));
    let six: IpAddr = Ipv6Addr::LOCALHOST.into();
    let policy = |action, direction| Policy {
        id: PolicyId(3),
        direction,
        priority: 10,
        local: vec![selector(PortRange::ANY)],
        remote: vec![],
        action,
        interface: None,
        pfp: Pfp::NONE,
    };
    vec![
        Command::Install(sa(Suite::AES128_GCM16, Direction::Inbound)),
        Command::Install(sa(Suite::AES256_GCM16, Direction::Outbound)),
        Command::Remove { slot, spi, direction: Direction::Outbound },
        Command::SetPolicy(policy(Action::Protect { child: ChildId(2), trap: true }, PolicyDirection::Outbound)),
        Command::SetPolicy(policy(Action::Bypass, PolicyDirection::Inbound)),
        Command::SetPolicy(policy(Action::Discard, PolicyDirection::Inbound)),
        Command::RemovePolicy(PolicyId(3)),
        Command::BeginSync,
        Command::EndSync,
        Command::RetireOrphans { child: ChildId(2), keep: vec![slot, SlotIndex(10)] },
        Command::UpdateTunnel { slot, spi, tunnel: Tunnel { local: six, remote: six }, encapsulation: None },
    ]
}

fn events() -> Vec<Event> {
    let (slot, spi, direction) = (SlotIndex(9), spi(0x1234_5678), Direction::Outbound);
    let flow = Flow {
        source: [10, 1, 0, 1].into(),
        destination: [10, 7, 0, 1].into(),
        protocol: 17,
        source_port: Some(5000),
        destination_port: None,
    };
    vec![
        Event::Done { token: 1, result: Ok(()) },
        Event::Done { token: 2, result: Err(Refusal::SpiInUse) },
        Event::Acquire { child: ChildId(2), flow, pfp: Pfp::NONE },
        Event::SoftExpire { slot, spi, direction },
        Event::HardExpire { slot, spi, direction },
        Event::SequenceLow { slot, spi, direction },
        Event::NatMappingSeen { slot, spi, remote: SocketAddr::from((Ipv6Addr::LOCALHOST, 4500)) },
    ]
}

pub fn records() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut out = Vec::new();
    for command in commands() {
        command.encode(7, &mut out).expect("within the limits");
        seeds.push([&[0], &out[..]].concat());
    }
    for event in events() {
        event.encode(&mut out);
        seeds.push([&[1], &out[..]].concat());
    }
    for (local, remote) in [([192, 0, 2, 1].into(), [198, 51, 100, 7].into()), (six(1), six(2))] {
        let datagram = Datagram {
            local: SocketAddr::new(local, 500),
            remote: SocketAddr::new(remote, 500),
            payload: b"not read here".to_vec(),
        };
        datagram.encode(&mut out).expect("within the limits");
        seeds.push([&[2], &out[..]].concat());
    }
    seeds
}

fn six(last: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
}
