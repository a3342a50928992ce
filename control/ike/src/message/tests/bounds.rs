//! One datagram causes bounded work.

use super::*;

fn chain_of(count: usize, payload: u8, body: &[u8]) -> Vec<u8> {
    let len = ((body.len() + 4) as u16).to_be_bytes();
    let mut octets = Vec::new();
    for left in (0..count).rev() {
        octets.extend_from_slice(&[if left == 0 { 0 } else { payload }, 0]);
        octets.extend_from_slice(&len);
        octets.extend_from_slice(body);
    }
    octets
}

fn informational(payload: u8, octets: &[u8]) -> Result<(Shape, Vec<Payload>), Fault> {
    parse_inner(ExchangeType::Informational, false, PayloadType::from_wire(payload), octets)
}

#[test]
fn payloads() {
    // Unknown ones are skipped, and counted.
    assert_eq!(informational(200, &chain_of(128, 200, &[])), Ok((Shape::Informational, vec![])));
    assert_eq!(informational(200, &chain_of(129, 200, &[])), Err(Fault::TooManyPayloads { most: 128 }));
    let vendors = PayloadType::VendorId;
    assert_eq!(informational(43, &chain_of(32, 43, b"v")).unwrap().1.len(), 32);
    assert_eq!(informational(43, &chain_of(33, 43, b"v")), Err(Fault::Repeated { payload: vendors }));
}

#[test]
fn proposals_and_transforms() {
    let payload = PayloadType::Sa;
    let refused = |proposals: &[u8]| {
        let len = ((proposals.len() + 4) as u16).to_be_bytes();
        let octets = [&[0, 0], &len[..], proposals].concat();
        parse_inner(ExchangeType::IkeAuth, false, payload, &octets).unwrap_err()
    };
    let proposals = |count: usize| {
        let marks = (0..count).rev().map(|left| if left == 0 { 0 } else { 2 });
        marks.flat_map(|mark| [mark, 0, 0, 8, 1, 1, 0, 0]).collect::<Vec<u8>>()
    };
    let next = Fault::Missing { payload: PayloadType::IdInitiator };
    assert_eq!(refused(&proposals(32)), next);
    assert_eq!(refused(&proposals(33)), Fault::TooManyEntries { payload, most: 32 });
    let transforms = |count: u8| {
        let len = (8 + 8 * u16::from(count)).to_be_bytes();
        let mut proposal = vec![0, 0, len[0], len[1], 1, 1, 0, count];
        let marks = (0..count).rev().map(|left| if left == 0 { 0 } else { 3 });
        proposal.extend(marks.flat_map(|mark| [mark, 0, 0, 8, 2, 0, 0, 5]));
        proposal
    };
    assert_eq!(refused(&transforms(128)), next);
    assert_eq!(refused(&transforms(129)), Fault::TooManyEntries { payload, most: 128 });
    let attributes = |count: usize| {
        let len = 8 + 4 * count as u8;
        let mut proposal = vec![0, 0, 0, 8 + len, 1, 1, 0, 1, 0, 0, 0, len, 1, 0, 0, 12];
        proposal.extend([0x80, 14, 0, 128].repeat(count));
        proposal
    };
    assert_eq!(refused(&attributes(8)), next);
    assert_eq!(refused(&attributes(9)), Fault::TooManyEntries { payload, most: 8 });
}

#[test]
fn configuration_attributes() {
    let body = |count: usize| [&[1, 0, 0, 0][..], &[0, 1, 0, 0].repeat(count)].concat();
    assert!(informational(47, &chain_of(1, 47, &body(256))).is_ok());
    let payload = PayloadType::Configuration;
    assert_eq!(informational(47, &chain_of(1, 47, &body(257))), Err(Fault::TooManyEntries { payload, most: 256 }));
}

#[test]
fn long_messages_are_not_written() {
    let vendor = |len| Payload::VendorId(vec![0; len]);
    let header = header(ExchangeType::Informational, false);
    let (mut sealer, _) = pair(Encryption::Aes128Gcm16, None);
    // 28 header, 4 generic, 8 IV, 4 generic inside, 1 pad length, 16 tag: 61 octets around.
    let longest = sealer.seal(&provider(), &header, &[vendor(MAX_MESSAGE - 61)]).unwrap();
    assert_eq!(longest.len(), MAX_MESSAGE);
    assert!(parse(&longest).is_ok());
    let refused = sealer.seal(&provider(), &header, &[vendor(MAX_MESSAGE - 60)]);
    assert_eq!(refused, Err(EncodeError::TooLong { payload: PayloadType::Encrypted }));
    let refused = sealer.seal(&provider(), &header, &[vendor(MAX_MESSAGE)]);
    assert_eq!(refused, Err(EncodeError::TooLong { payload: PayloadType::VendorId }));
}
