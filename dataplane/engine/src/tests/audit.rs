//! Drops that an administrator may want to know of: told with their SA, once a second for each.

use super::rig::*;
use crate::{Buffer, Punt};
use culvert_model::*;
use culvert_telemetry::DropReason;

/// What was told since last asked.
pub(super) fn told(gateway: &mut Gateway) -> Vec<(DropReason, Option<SlotIndex>, Option<Spi>, Flow)> {
    let punts = gateway.io.punts.drain(..);
    let audits = punts.filter_map(|punt| match punt {
        Punt::Audit { reason, slot, spi, flow } => Some((reason, slot, spi, flow)),
        _ => None,
    });
    audits.collect()
}

#[test]
fn what_came_in_clear_and_must_not_names_the_sa_of_its_answers() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    let (_, outbound) = connect(&mut a, &mut b, Kind::PLAIN, 1);
    let clear = || frame(mac(7, WAN), mac(1, WAN), &packet(ip("10.7.0.2"), ip("10.1.0.2"), b"not sealed"));
    for (now, want) in [(SECOND, 1), (SECOND + 1, 0), (3 * SECOND, 1)] {
        a.receive(now, WAN, [clear()]);
        let told = told(&mut a);
        assert_eq!(told.len(), want, "at {now}");
        for (reason, slot, spi, flow) in told {
            assert_eq!((reason, slot, spi), (DropReason::InboundClear, Some(outbound.slot), Some(outbound.spi)));
            assert_eq!((flow.source, flow.destination), (ip("10.7.0.2"), ip("10.1.0.2")));
        }
    }
    // To the box itself too.
    a.receive(5 * SECOND, WAN, [frame(mac(7, WAN), mac(1, WAN), &packet(ip("10.7.0.2"), ip("10.1.0.1"), b"x"))]);
    assert_eq!(told(&mut a).len(), 1);
    assert_eq!(a.dropped(DropReason::InboundClear), 4);
}

#[test]
fn what_an_sa_refuses_names_the_sa() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    let (inbound, _) = connect(&mut a, &mut b, Kind::PLAIN, 1);
    a.receive(SECOND, LAN, (0..3).map(|n| from_host(&[n])));
    let mut wire = a.sent();
    let last = wire[2].data().len() - 1;
    wire[2].data_mut()[last] ^= 1;
    b.receive(SECOND, WAN, wire);
    let seen = told(&mut b);
    let [(reason, slot, spi, flow)] = seen[..] else { panic!("{seen:?}") };
    assert_eq!((reason, slot, spi), (DropReason::IcvFailed, Some(inbound.slot), Some(inbound.spi)));
    assert_eq!((flow.source, flow.destination, flow.protocol), (ip("192.0.2.1"), ip("192.0.2.7"), 50));
}

#[test]
fn an_spi_of_nobody_is_told_with_its_number() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    connect(&mut a, &mut b, Kind::PLAIN, 1);
    a.receive(SECOND, LAN, [from_host(b"x")]);
    let mut wire = a.sent();
    // Ethernet, IP, and the first octet of the SPI.
    wire[0].data_mut()[14 + 20] ^= 0x40;
    b.receive(SECOND, WAN, wire);
    let seen = told(&mut b);
    assert!(matches!(seen[..], [(DropReason::UnknownSpi, None, Some(_), _)]), "{seen:?}");
}

/// RFC 4303 §3.3.3: the packet that found no number left.
#[test]
fn the_end_of_the_numbers_names_the_sa() {
    let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
    a.protect(7);
    b.protect(1);
    let (_, outbound) = connect(&mut a, &mut b, Kind::PLAIN, 1);
    a.region.slot(outbound.slot).expect("its slot").set_limit(2);
    a.receive(SECOND, LAN, (0..5).map(|n| from_host(&[n])));
    assert_eq!((a.sent().len(), a.dropped(DropReason::SequenceExhausted)), (2, 3));
    let seen = told(&mut a);
    let [(reason, slot, spi, flow)] = seen[..] else { panic!("{seen:?}") };
    assert_eq!((reason, slot, spi), (DropReason::SequenceExhausted, Some(outbound.slot), Some(outbound.spi)));
    assert_eq!(flow.destination, ip("10.7.0.2"));
}
