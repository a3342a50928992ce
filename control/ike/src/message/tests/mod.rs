//! Messages as a whole: what is written is read back, and what is wrong is refused for the right reason.

mod bounds;
mod captured;
mod grammar_table;
mod refused;
mod round_trip;
mod sealed;
mod strategies;

use super::{grammar::Grammar, *};
use culvert_crypto::testing::Fixed;
use culvert_model::{Encryption, Integrity, SecretKey};

fn header(exchange: ExchangeType, response: bool) -> Header {
    let first = exchange == ExchangeType::IkeSaInit && !response;
    Header {
        initiator_spi: IkeSpi(*b"initiatr"),
        responder_spi: if first { IkeSpi::ZERO } else { IkeSpi(*b"respondr") },
        exchange,
        initiator: !response,
        response,
        message_id: if exchange == ExchangeType::IkeSaInit { 0 } else { 1 },
    }
}

/// All grammars of encrypted messages.
fn encrypted_grammars() -> Vec<(ExchangeType, bool, &'static Grammar)> {
    let exchanges = [ExchangeType::IkeAuth, ExchangeType::CreateChildSa, ExchangeType::Informational];
    let both = exchanges.into_iter().flat_map(|exchange| [(exchange, false), (exchange, true)]);
    both.map(|(exchange, response)| (exchange, response, grammar::encrypted(exchange, response).unwrap())).collect()
}

fn clear_grammars() -> Vec<(ExchangeType, bool, &'static Grammar)> {
    let init = ExchangeType::IkeSaInit;
    [false, true].map(|response| (init, response, grammar::clear(init, response).unwrap())).into()
}

/// All combinations of algorithms that protect messages.
fn suites() -> Vec<(Encryption, Option<Integrity>)> {
    let mut suites = Vec::new();
    for encryption in Encryption::ALL.iter().filter(|alg| alg.is_for_ike()) {
        if encryption.is_aead() {
            suites.push((*encryption, None));
        } else {
            suites.extend(
                Integrity::ALL.iter().filter(|alg| alg.is_for_ike()).map(|integrity| (*encryption, Some(*integrity))),
            );
        }
    }
    suites
}

fn pair(encryption: Encryption, integrity: Option<Integrity>) -> (Sealer, Opener) {
    let key = || SecretKey::new(vec![7; encryption.key_len() + encryption.salt_len()]);
    let integrity = || integrity.map(|alg| (alg, SecretKey::new(vec![8; alg.key_len()])));
    (Sealer::new(encryption, key(), integrity()).unwrap(), Opener::new(encryption, key(), integrity()).unwrap())
}

fn provider() -> Fixed {
    Fixed::new(1)
}

/// A datagram whose header claims the length it has.
fn with_true_length(mut datagram: Vec<u8>) -> Vec<u8> {
    let len = datagram.len() as u32;
    datagram[24..28].copy_from_slice(&len.to_be_bytes());
    datagram
}

/// An IKE_SA_INIT request with every kind of payload that may stand in one.
fn init_request() -> Vec<u8> {
    let known = [
        KnownTransform::Encryption(Encryption::Aes256Gcm16),
        KnownTransform::Prf(culvert_model::Prf::HmacSha384),
        KnownTransform::Group(culvert_model::KeGroup::X25519),
    ];
    let proposal = Proposal {
        number: 1,
        protocol: Protocol::Ike,
        spi: vec![],
        transforms: known.into_iter().map(Transform::from).collect(),
    };
    let payloads = [
        Payload::Sa(SecurityAssociation { proposals: vec![proposal] }),
        Payload::Ke(KeyExchangeData::new(culvert_model::KeGroup::X25519, &[5; 32])),
        Payload::Nonce(Nonce::new(vec![6; 32]).unwrap()),
        Payload::Notify(Notify::with_data(NotifyType::NatDetectionSourceIp, vec![1; 20])),
        Payload::VendorId(b"vendor".to_vec()),
    ];
    ClearMessage::encode(&header(ExchangeType::IkeSaInit, false), &payloads).unwrap()
}
