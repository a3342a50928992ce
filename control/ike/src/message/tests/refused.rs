//! Bad input, one fault each, and the answer to each.

use super::*;

/// The fault of a datagram that is refused before any key is known.
fn unproven(datagram: &[u8]) -> Fault {
    match parse(datagram).err() {
        Some(Error::Unproven(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

/// An IKE_SA_INIT request with these octets in place of its payloads.
fn init_with(first: u8, payloads: &[u8]) -> Vec<u8> {
    let mut datagram = init_request();
    datagram.truncate(HEADER_LEN);
    datagram[16] = first;
    datagram.extend_from_slice(payloads);
    with_true_length(datagram)
}

fn inner(exchange: ExchangeType, response: bool, first: PayloadType, body: &[u8]) -> Fault {
    let len = (body.len() + 4) as u16;
    let octets = [&[0, 0][..], &len.to_be_bytes(), body].concat();
    parse_inner(exchange, response, first, &octets).unwrap_err()
}

fn informational(first: PayloadType, body: &[u8]) -> Fault {
    inner(ExchangeType::Informational, false, first, body)
}

fn auth(first: PayloadType, body: &[u8]) -> Fault {
    inner(ExchangeType::IkeAuth, false, first, body)
}

#[test]
fn truncated_at_every_octet() {
    let whole = init_request();
    assert!(parse(&whole).is_ok());
    for len in 0..whole.len() {
        let cut = &whole[..len];
        let expected = if len < HEADER_LEN {
            Fault::HeaderTruncated { got: len }
        } else {
            Fault::HeaderLength { claimed: whole.len() as u32, got: len }
        };
        assert_eq!(unproven(cut), expected);
        // A header that owns up to the cut helps nothing: the chain says that more was meant.
        if len >= HEADER_LEN {
            assert!(matches!(unproven(&with_true_length(cut.to_vec())), Fault::PayloadTruncated { .. }), "{len}");
        }
    }
}

#[test]
fn trailing_octets() {
    let mut datagram = init_request();
    let claimed = datagram.len() as u32;
    datagram.push(0);
    assert_eq!(unproven(&datagram), Fault::HeaderLength { claimed, got: datagram.len() });
    assert_eq!(unproven(&with_true_length(datagram)), Fault::Trailing { octets: 1 });
}

#[test]
fn the_header() {
    let with = |at: usize, value: u8| {
        let mut datagram = init_request();
        datagram[at] = value;
        datagram
    };
    assert_eq!(unproven(&with(17, 0x30)), Fault::MajorVersion { major: 3 });
    assert_eq!(unproven(&with(17, 0x10)), Fault::MajorVersion { major: 1 });
    assert!(parse(&with(17, 0x2f)).is_ok(), "a later minor version is welcome (RFC 7296 §2.5)");
    assert!(parse(&with(19, 0x08 | 0xc7 | 0x10)).is_ok(), "unknown flags are ignored (RFC 7296 §3.1)");
    assert_eq!(unproven(&with(19, 0)), Fault::InitiatorFlag);
    assert_eq!(unproven(&with(23, 1)), Fault::InitMessageId { id: 1 });
    assert_eq!(unproven(&with(15, 1)), Fault::ResponderSpi);
    let mut zero = init_request();
    zero[..8].fill(0);
    assert_eq!(unproven(&zero), Fault::ZeroInitiatorSpi);
    assert_eq!(Header::peek(&with(17, 0x30)), Some(header(ExchangeType::IkeSaInit, false)));
    assert_eq!(Header::peek(&[0; 27]), None);
}

/// Without the responder's SPI there is no SA to go on with; a refusal needs none (RFC 7296 §2.6).
#[test]
fn responses_without_an_spi() {
    let mut payloads = ClearMessage::parse(&init_request()).unwrap().payloads;
    let response = header(ExchangeType::IkeSaInit, true);
    let without = |mut datagram: Vec<u8>| {
        datagram[8..16].fill(0);
        datagram
    };
    let accepted = without(ClearMessage::encode(&response, &payloads).unwrap());
    assert_eq!(unproven(&accepted), Fault::ResponderSpi);
    payloads = vec![Payload::Notify(Notify::with_data(NotifyType::Cookie, vec![1; 20]))];
    let refused = without(ClearMessage::encode(&response, &payloads).unwrap());
    assert_eq!(ClearMessage::parse(&refused).map(|m| m.shape), Ok(Shape::Refusal));
}

/// An unknown exchange too has to prove itself first.
#[test]
fn other_exchanges_in_clear() {
    for exchange in [35, 36, 37, 99] {
        let mut datagram = init_request();
        datagram[15] = 1;
        datagram[18] = exchange;
        assert_eq!(unproven(&datagram), Fault::NotEncrypted(ExchangeType::from_wire(exchange)));
        datagram[8..16].fill(0);
        assert_eq!(unproven(&datagram), Fault::ResponderSpi);
    }
}

#[test]
fn the_chain() {
    assert_eq!(unproven(&init_with(33, &[0, 0, 0])), Fault::PayloadTruncated { payload: PayloadType::Sa });
    let claimed = Fault::PayloadLength { payload: PayloadType::Sa, claimed: 3 };
    assert_eq!(unproven(&init_with(33, &[0, 0, 0, 3])), claimed);
    assert_eq!(unproven(&init_with(33, &[0, 0, 0, 5])), Fault::PayloadTruncated { payload: PayloadType::Sa });
    assert_eq!(unproven(&init_with(0, &[])), Fault::Missing { payload: PayloadType::Sa });
    assert_eq!(unproven(&init_with(46, &[0, 0, 0, 4])), Fault::NotAllowed { payload: PayloadType::Encrypted });
    assert_eq!(unproven(&init_with(35, &[0, 0, 0, 4])), Fault::NotAllowed { payload: PayloadType::IdInitiator });
}

/// RFC 7296 §2.5.
#[test]
fn unknown_payloads() {
    let fault = unproven(&init_with(200, &[0, 0x80, 0, 4]));
    assert_eq!(fault, Fault::UnknownCritical { payload: 200 });
    let error = Error::Unproven(fault);
    assert_eq!(error.notify(), Some(NotifyType::UnsupportedCriticalPayload));
    assert_eq!(error.notify_data(), [200]);
    assert_eq!(Error::Peer(fault).notify(), Some(NotifyType::UnsupportedCriticalPayload));
    assert_eq!(Error::Peer(fault).notify_data(), [200]);

    // In front of everything else, not critical: as if it were not there.
    let whole = init_request();
    let skipped = [&[whole[16], 0x7f, 0, 6, 1, 2], &whole[HEADER_LEN..]].concat();
    let with_unknown = ClearMessage::parse(&init_with(200, &skipped)).unwrap();
    assert_eq!(with_unknown, ClearMessage::parse(&whole).unwrap());

    // The critical bit of a known payload says nothing (§3.2).
    let mut critical = whole.clone();
    critical[HEADER_LEN + 1] = 0x80;
    assert_eq!(ClearMessage::parse(&critical).unwrap(), with_unknown);
}

/// RFC 7296 §2.5, §2.21, §3.10.1: without proof there are two answers.
#[test]
fn answers() {
    let syntax = Fault::Trailing { octets: 1 };
    let table = [
        (Error::Unproven(Fault::MajorVersion { major: 3 }), Some(NotifyType::InvalidMajorVersion)),
        (Error::Unproven(Fault::MajorVersion { major: 1 }), None),
        (Error::Unproven(syntax), None),
        (Error::IntegrityFailed, None),
        (Error::Local(culvert_crypto::CryptoError::Random), None),
        (Error::Peer(syntax), Some(NotifyType::InvalidSyntax)),
    ];
    for (error, notify) in table {
        assert_eq!(error.notify(), notify, "{error:?}");
        assert_eq!(error.notify_data(), [0; 0]);
    }
}

#[test]
fn security_associations() {
    let sa = PayloadType::Sa;
    let inconsistent = Fault::Inconsistent { payload: sa };
    // The last proposal says that another follows; or says something else.
    let proposal = [0, 0, 0, 8, 1, 1, 0, 0];
    let marked = |mark: u8| [&[mark], &proposal[1..]].concat();
    assert_eq!(auth(sa, &marked(2)), Fault::Truncated { payload: sa });
    assert_eq!(auth(sa, &marked(3)), inconsistent);
    assert_eq!(auth(sa, &[&marked(0)[..], &[0]].concat()), Fault::BodyTrailing { payload: sa });
    assert_eq!(auth(sa, &[]), Fault::Truncated { payload: sa });
    // A proposal shorter than its header, and one longer than the payload.
    assert_eq!(auth(sa, &[0, 0, 0, 3]), inconsistent);
    assert_eq!(auth(sa, &[0, 0, 0, 9, 1, 1, 0, 0]), Fault::Truncated { payload: sa });
    // SPI sizes (§3.3.1).
    let protocol = Protocol::Esp;
    assert_eq!(auth(sa, &[0, 0, 0, 8, 1, 3, 0, 0]), Fault::SpiLength { protocol, got: 0 });
    let protocol = Protocol::Ike;
    assert_eq!(auth(sa, &[0, 0, 0, 12, 1, 1, 4, 0, 1, 2, 3, 4]), Fault::SpiLength { protocol, got: 4 });
    // One transform announced: none there, marked as followed, longer than the proposal, or another after it.
    assert_eq!(auth(sa, &[0, 0, 0, 8, 1, 1, 0, 1]), Fault::Truncated { payload: sa });
    let transform = |mark, len| [0, 0, 0, 16, 1, 1, 0, 1, mark, 0, 0, len, 2, 0, 0, 5];
    assert_eq!(auth(sa, &transform(3, 8)), inconsistent);
    assert_eq!(auth(sa, &transform(0, 9)), Fault::Truncated { payload: sa });
    assert_eq!(auth(sa, &transform(0, 7)), Fault::Truncated { payload: sa });
    let two = [0, 0, 0, 24, 1, 1, 0, 1, 0, 0, 0, 8, 2, 0, 0, 5, 0, 0, 0, 8, 2, 0, 0, 5];
    assert_eq!(auth(sa, &two), inconsistent);
    // An attribute that runs past its transform.
    let attribute = [0, 0, 0, 20, 1, 1, 0, 1, 0, 0, 0, 12, 1, 0, 0, 12, 0, 14, 0, 1];
    assert_eq!(auth(sa, &attribute), Fault::Truncated { payload: sa });
}

#[test]
fn small_payloads() {
    let fixed = [
        (PayloadType::Auth, 4),
        (PayloadType::IdInitiator, 4),
        (PayloadType::Certificate, 1),
        (PayloadType::Configuration, 4),
        (PayloadType::Notify, 4),
        (PayloadType::TsInitiator, 4),
    ];
    for (payload, len) in fixed {
        for short in 0..len {
            assert_eq!(auth(payload, &vec![1; short]), Fault::Truncated { payload });
        }
    }
    let child = |payload, body: &[u8]| inner(ExchangeType::CreateChildSa, false, payload, body);
    assert_eq!(child(PayloadType::Ke, &[0, 31, 0]), Fault::Truncated { payload: PayloadType::Ke });
    assert_eq!(child(PayloadType::Ke, &[0, 31, 0, 0]), Fault::Empty { payload: PayloadType::Ke });
    assert_eq!(child(PayloadType::Nonce, &[1; 15]), Fault::NonceLength { got: 15 });
    assert_eq!(child(PayloadType::Nonce, &[1; 257]), Fault::NonceLength { got: 257 });
    // A notification whose SPI runs past its end.
    assert_eq!(
        informational(PayloadType::Notify, &[3, 4, 0, 11, 1, 2, 3]),
        Fault::Truncated { payload: PayloadType::Notify }
    );
    // An attribute whose value runs past the payload.
    assert_eq!(
        informational(PayloadType::Configuration, &[1, 0, 0, 0, 0, 1, 0, 4, 1, 2, 3]),
        Fault::Truncated { payload: PayloadType::Configuration }
    );
}

#[test]
fn identities() {
    let id = |kind: u8, data: &[u8]| auth(PayloadType::IdInitiator, &[&[kind, 0, 0, 0], data].concat());
    for (kind, data) in [
        (1, &[1, 2, 3][..]),
        (1, &[1, 2, 3, 4, 5]),
        (5, &[0; 15]),
        (5, &[0; 17]),
        (2, b""),
        (2, b"gw.example\0"),
        (2, b"gw.example\n"),
        (2, b"\xff\xfe"),
        (3, b"a@b\r"),
    ] {
        assert_eq!(id(kind, data), Fault::Identity, "type {kind}: {data:02x?}");
    }
    // Right ones pass on to the next complaint.
    assert_eq!(id(1, &[1, 2, 3, 4]), Fault::Missing { payload: PayloadType::Auth });
    assert_eq!(id(2, b"gw.example"), Fault::Missing { payload: PayloadType::Auth });
}

#[test]
fn deletions() {
    let delete = |body: &[u8]| informational(PayloadType::Delete, body);
    let protocol = Protocol::Esp;
    assert_eq!(delete(&[3, 8, 0, 0]), Fault::SpiLength { protocol, got: 8 });
    let protocol = Protocol::Ike;
    assert_eq!(delete(&[1, 8, 0, 0]), Fault::SpiLength { protocol, got: 8 });
    let inconsistent = Fault::Inconsistent { payload: PayloadType::Delete };
    assert_eq!(delete(&[1, 0, 0, 1]), inconsistent);
    assert_eq!(delete(&[3, 4, 0, 2, 0, 0, 1, 0]), inconsistent);
    assert_eq!(delete(&[3, 4, 0xff, 0xff]), inconsistent);
    assert_eq!(delete(&[3, 4, 0, 0, 0, 0, 1, 0]), inconsistent);
    let protocol = Protocol::Unknown(9);
    assert_eq!(delete(&[9, 4, 0, 0]), Fault::DeleteProtocol { protocol });
}

#[test]
fn traffic_selectors() {
    let payload = PayloadType::TsInitiator;
    // The complaint about what is missing beside a good selector.
    let next = Fault::Missing { payload: PayloadType::IdInitiator };
    let ts = |body: &[u8]| auth(payload, body);
    assert_eq!(ts(&[0, 0, 0, 0]), Fault::Empty { payload });
    assert_eq!(ts(&[1, 0, 0, 0]), Fault::Truncated { payload });
    let v4 = |len: u8, ports: [u8; 4], ends: [u8; 8]| [&[1, 0, 0, 0, 7, 0, 0, len][..], &ports, &ends].concat();
    let (any, net) = ([0, 0, 255, 255], [10, 0, 0, 0, 10, 0, 0, 255]);
    assert_eq!(ts(&v4(16, any, net)), next);
    assert_eq!(ts(&v4(3, any, net)), Fault::Inconsistent { payload });
    assert_eq!(ts(&v4(15, any, net)), Fault::Truncated { payload });
    assert_eq!(ts(&v4(17, any, net)), Fault::Truncated { payload });
    assert_eq!(ts(&[&v4(17, any, net)[..], &[0]].concat()), Fault::Inconsistent { payload });
    assert_eq!(ts(&[&v4(16, any, net)[..], &[0]].concat()), Fault::BodyTrailing { payload });
    assert_eq!(ts(&v4(16, any, [10, 0, 0, 9, 10, 0, 0, 1])), Fault::ReversedSelector);
    assert_eq!(ts(&v4(16, [0, 9, 0, 1], net)), Fault::ReversedSelector);
    // RFC 7296 §3.13.1: OPAQUE is the one range that ends before it starts.
    assert_eq!(ts(&v4(16, [255, 255, 0, 0], net)), next);
}

#[test]
fn what_we_would_refuse_we_do_not_write() {
    let init = header(ExchangeType::IkeSaInit, false);
    let missing = EncodeError::Grammar(Fault::Missing { payload: PayloadType::Sa });
    assert_eq!(ClearMessage::encode(&init, &[]), Err(missing));
    let not_encrypted = EncodeError::Grammar(Fault::NotEncrypted(ExchangeType::IkeAuth));
    assert_eq!(ClearMessage::encode(&header(ExchangeType::IkeAuth, false), &[]), Err(not_encrypted));
    let (mut sealer, _) = pair(Encryption::Aes128Gcm16, None);
    let not_clear = EncodeError::Grammar(Fault::NotClear(ExchangeType::IkeSaInit));
    assert_eq!(sealer.seal(&provider(), &init, &[]), Err(not_clear));
    let empty = [Payload::Sa(SecurityAssociation { proposals: vec![] })];
    let mut out = Vec::new();
    let refused = chain::write(&empty, grammar::encrypted(ExchangeType::IkeAuth, false).unwrap(), &mut out);
    assert!(matches!(refused, Err(EncodeError::Grammar(_))));
    let wrong_id = Header { message_id: 1, ..init };
    let payloads = ClearMessage::parse(&init_request()).unwrap().payloads;
    let refused = ClearMessage::encode(&wrong_id, &payloads);
    assert_eq!(refused, Err(EncodeError::Grammar(Fault::InitMessageId { id: 1 })));
}

/// RFC 7296 §1.5: to a request of no known IKE SA.
#[test]
fn refusals_in_clear_repeat_the_request() {
    let request = header(ExchangeType::Informational, false);
    let datagram = ClearMessage::refuse(&request, Notify::new(NotifyType::InvalidIkeSpi)).unwrap();
    assert_eq!(datagram.len(), HEADER_LEN + 8);
    let (answer, first, _) = Header::parse(&datagram).unwrap();
    assert_eq!((answer, first), (request.answer(), PayloadType::Notify));
    // And nobody believes one.
    assert_eq!(unproven(&datagram), Fault::NotEncrypted(ExchangeType::Informational));
}
