//! What a stranger on the path, or a peer that means harm, may try.

use super::{failures, up};
use crate::pair::{Pair, addr, config};
use culvert_ike::message::{
    ClearMessage, ExchangeType, Header, IkeSpi, KeyExchangeData, KnownTransform, Nonce, Payload, Proposal, Protocol,
    SecurityAssociation,
};
use culvert_ike::{Datagram, Event, FailureReason, Step};
use culvert_model::{Direction, Encryption, KeGroup, Prf};

#[test]
fn a_copy_of_an_old_request_from_elsewhere_moves_nothing() {
    let [a, mut b] = [config(0), config(1)];
    b.connections[0].remote_addrs = vec![];
    let mut pair = Pair::new([a, b]);
    pair.nat = Some("203.0.113.9".parse().expect("address"));
    pair.initiate(0);
    let spi = pair.endpoints[0].status(pair.now)[0].children[0].spi_in;
    pair.event(0, Event::SoftExpire { spi, direction: Direction::Inbound });
    let seen = |pair: &Pair| pair.endpoints[1].status(pair.now)[0].remote;
    let before = seen(&pair);
    let elsewhere = "203.0.113.66:14500".parse().expect("address");
    let requests: Vec<_> = pair.sent.iter().filter(|d| d.local.ip() == addr(0)).cloned().collect();
    assert!(requests.len() > 2, "a rekey has been asked for");
    for old in requests {
        pair.receive(1, &Datagram { local: old.remote, remote: elsewhere, payload: old.payload });
        assert_eq!(seen(&pair), before);
    }
    // A new request from a new place is the peer itself, behind a NAT that has changed its mind.
    pair.nat = Some("203.0.113.10".parse().expect("address"));
    let spi = pair.endpoints[0].status(pair.now)[0].children.last().expect("a pair").spi_in;
    pair.event(0, Event::SoftExpire { spi, direction: Direction::Inbound });
    assert_eq!(seen(&pair).ip().to_string(), "203.0.113.10");
}

#[test]
fn a_connection_stands_by_its_own_proposals_only() {
    let [mut a, mut b] = [config(0), config(1)];
    let proposal = |text: &str| text.parse().expect("ike");
    let (weak, strong) = (proposal("aes128-sha256-modp2048"), proposal("aes256gcm16-prfsha384-ecp384"));
    a.connections[0].proposals = vec![weak, proposal("aes256gcm16-prfsha384-ecp384")];
    // Another peer's connection fits by address too, and comes first.
    let mut legacy = b.connections[0].clone();
    legacy.name = "legacy".into();
    legacy.remote_id = Some("old.example".parse().expect("identity"));
    legacy.proposals = vec![proposal("aes128-sha256-modp2048")];
    legacy.children.clear();
    b.connections[0].proposals = vec![strong];
    b.connections.insert(0, legacy);
    let mut pair = Pair::new([a, b]);
    pair.initiate(0);
    assert!(!up(&pair, 0) && !up(&pair, 1), "{:?}", pair.reports);
    let refused = |(step, reason): &(Step, FailureReason)| {
        *step == Step::IkeAuth && matches!(reason, FailureReason::WrongIdentity { .. })
    };
    assert!(failures(&pair, 1).iter().any(refused), "{:?}", pair.reports[1]);
}

/// The shortest request there is: one proposal, the shortest nonce, no notifications.
fn shortest_request() -> Vec<u8> {
    let header = Header {
        initiator_spi: IkeSpi([7; 8]),
        responder_spi: IkeSpi::ZERO,
        exchange: ExchangeType::IkeSaInit,
        initiator: true,
        response: false,
        message_id: 0,
    };
    let transforms = [
        KnownTransform::Encryption(Encryption::Aes256Gcm16),
        KnownTransform::Prf(Prf::HmacSha384),
        KnownTransform::Group(KeGroup::X25519),
    ];
    let transforms = transforms.into_iter().map(Into::into).collect();
    let proposals = vec![Proposal { number: 1, protocol: Protocol::Ike, spi: vec![], transforms }];
    let payloads = [
        Payload::Sa(SecurityAssociation { proposals }),
        Payload::Ke(KeyExchangeData::new(KeGroup::X25519, &[9; 32])),
        Payload::Nonce(Nonce::new(vec![1; 16]).expect("long enough")),
    ];
    ClearMessage::encode(&header, &payloads).expect("a message")
}

#[test]
fn nobody_unproved_gets_more_octets_than_it_sent() {
    let request = shortest_request();
    let mut later_version = request.clone();
    later_version[17] = 0x30;
    for payload in [request, later_version[..28].to_vec(), later_version] {
        let mut pair = Pair::new([config(0), config(1)]);
        pair.deaf = true;
        let len = payload.len();
        let (local, remote) = ((addr(1), 500).into(), (addr(0), 500).into());
        pair.receive(1, &Datagram { local, remote, payload });
        assert!(pair.sent.iter().all(|answer| answer.payload.len() <= len), "{:?}", pair.sent);
        assert_eq!(pair.endpoints[1].status(pair.now), [], "and nothing is kept for it");
    }
}
