//! IKE messages, before and after decryption.

use culvert_crypto::{AwsLc, Provider};
use culvert_ike::message::{
    AuthMethod, Authentication, ClearMessage, Configuration, ConfigurationAttribute, ConfigurationKind, Delete,
    ExchangeType, Header, Identity, IkeSpi, Incoming, KeyExchangeData, KnownTransform, Nonce, Notify, NotifyType,
    Opener, Payload, PayloadType, Proposal, Protocol, Sealer, SecurityAssociation, TrafficSelectors, parse,
};
use culvert_model::{AddrRange, Encryption, EsnMode, Integrity, KeGroup, Prf, SecretKey, Spi, TrafficSelector};

const ALGORITHM: Encryption = Encryption::Aes128Gcm16;
const KEY: [u8; 20] = [7; 20];

fn header(exchange: ExchangeType, response: bool, message_id: u32) -> Header {
    let responder_spi = if exchange == ExchangeType::IkeSaInit && !response { IkeSpi::ZERO } else { IkeSpi([2; 8]) };
    Header { initiator_spi: IkeSpi([1; 8]), responder_spi, exchange, initiator: !response, response, message_id }
}

/// As it comes from the network.
pub fn datagram(bytes: &[u8]) -> bool {
    let _ = Header::peek(bytes);
    match parse(bytes) {
        Err(_) => false,
        Ok(Incoming::Clear(message)) => {
            // Unknown payloads are skipped, so the octets may differ; the message may not.
            let written = ClearMessage::encode(&message.header, &message.payloads).expect("what was read");
            let read = ClearMessage::parse(&written).expect("what was written");
            assert_eq!(read, message);
            true
        }
        Ok(Incoming::Protected(message)) => {
            // Nobody who has not the key gets further than this; the other target does.
            let opener = Opener::new(ALGORITHM, SecretKey::new(KEY.to_vec()), None).expect("a key");
            message.open(&AwsLc, &opener).is_ok()
        }
    }
}

/// What an authenticated peer may say: exchange type, flags, type of the first payload, the plaintext.
pub fn payloads(bytes: &[u8]) -> bool {
    let Some((&[exchange, flags, first], inner)) = bytes.split_first_chunk::<3>() else { return false };
    let key = || SecretKey::new(KEY.to_vec());
    let opener = Opener::new(ALGORITHM, key(), None).expect("a key");
    let datagram = sealed_as_it_is(exchange, flags, first, inner);
    let Ok(Incoming::Protected(message)) = parse(&datagram) else { return false };
    let Ok(opened) = message.open(&AwsLc, &opener) else { return false };

    let mut sealer = Sealer::new(ALGORITHM, key(), None).expect("a key");
    let written = sealer.seal(&AwsLc, &opened.header, &opened.payloads).expect("what was read");
    let Ok(Incoming::Protected(message)) = parse(&written) else { panic!("what was written") };
    assert_eq!(message.open(&AwsLc, &opener), Ok(opened));
    true
}

/// A message around any plaintext at all, which the sealer would refuse to write.
fn sealed_as_it_is(exchange: u8, flags: u8, first: u8, inner: &[u8]) -> Vec<u8> {
    let iv = [9; 8];
    let body = iv.len() + inner.len() + 16;
    let mut out = [[1; 8], [2; 8]].concat();
    out.extend([PayloadType::Encrypted.to_wire(), 0x20, exchange, flags, 0, 0, 0, 1]);
    out.extend((28 + 4 + body as u32).to_be_bytes());
    out.extend([first, 0]);
    out.extend((4 + body as u16).to_be_bytes());
    let mut data = inner.to_vec();
    AwsLc.seal(ALGORITHM, &KEY, &iv, &out, &mut data).expect("a key");
    [&out[..], &iv, &data].concat()
}

fn proposals(protocol: Protocol, spi: &[u8], transforms: &[KnownTransform]) -> Payload {
    let transforms = transforms.iter().copied().map(Into::into).collect();
    Payload::Sa(SecurityAssociation {
        proposals: vec![Proposal { number: 1, protocol, spi: spi.to_vec(), transforms }],
    })
}

fn esp_proposals(spi: u32) -> Payload {
    let transforms = [
        KnownTransform::Encryption(Encryption::Aes256Gcm16),
        KnownTransform::Encryption(Encryption::Aes128Gcm16),
        KnownTransform::Group(KeGroup::X25519),
        KnownTransform::Esn(EsnMode::Yes),
        KnownTransform::Esn(EsnMode::No),
    ];
    proposals(Protocol::Esp, &spi.to_be_bytes(), &transforms)
}

fn nonce() -> Payload {
    Payload::Nonce(Nonce::new(vec![3; 32]).expect("long enough"))
}

fn key_exchange() -> Payload {
    Payload::Ke(KeyExchangeData::new(KeGroup::X25519, &[4; 32]))
}

pub fn datagrams() -> Vec<Vec<u8>> {
    let init = |response| header(ExchangeType::IkeSaInit, response, 0);
    let nat = |kind| Payload::Notify(Notify::with_data(kind, vec![5; 20]));
    let sa = || {
        let transforms = [
            KnownTransform::Encryption(Encryption::Aes256Gcm16),
            KnownTransform::Prf(Prf::HmacSha384),
            KnownTransform::Group(KeGroup::X25519),
            KnownTransform::Group(KeGroup::Ecp256),
        ];
        proposals(Protocol::Ike, &[], &transforms)
    };
    let clear =
        |response, payloads: Vec<Payload>| ClearMessage::encode(&init(response), &payloads).expect("a right message");
    let mut cookie = vec![Payload::Notify(Notify::with_data(NotifyType::Cookie, vec![6; 24]))];
    let offer = || {
        vec![
            sa(),
            key_exchange(),
            nonce(),
            nat(NotifyType::NatDetectionSourceIp),
            nat(NotifyType::NatDetectionDestinationIp),
        ]
    };
    cookie.extend(offer());
    let cbc = [
        KnownTransform::Encryption(Encryption::Aes256Cbc),
        KnownTransform::Integrity(Integrity::HmacSha256_128),
        KnownTransform::Prf(Prf::HmacSha256),
        KnownTransform::Group(KeGroup::Modp2048),
    ];
    let cbc = proposals(Protocol::Ike, &[], &cbc);
    let big = Payload::Ke(KeyExchangeData::new(KeGroup::Modp2048, &[4; 256]));
    let mut seeds = vec![
        clear(false, offer()),
        clear(false, cookie),
        clear(false, vec![cbc, big, nonce(), Payload::VendorId(b"a vendor".to_vec())]),
        clear(true, vec![Payload::Notify(Notify::with_data(NotifyType::InvalidKePayload, vec![0, 19]))]),
        clear(true, vec![Payload::Notify(Notify::with_data(NotifyType::Cookie, vec![6; 24]))]),
        clear(true, vec![Payload::Notify(Notify::new(NotifyType::NoProposalChosen))]),
    ];
    for chain in chains() {
        if let Some((&[exchange, flags, first], inner)) = chain.split_first_chunk::<3>() {
            seeds.push(sealed_as_it_is(exchange, flags, first, inner));
        }
    }
    seeds
}

/// Right messages of each exchange, as the plaintext of the other target.
pub fn chains() -> Vec<Vec<u8>> {
    let selectors =
        || TrafficSelectors::new([TrafficSelector::any(AddrRange::ANY_V4), TrafficSelector::any(AddrRange::ANY_V6)]);
    let id = |name: &str| Identity::Fqdn(name.into());
    let auth = || Payload::Auth(Authentication { method: AuthMethod::SharedKeyMic, data: vec![8; 32] });
    let request = ConfigurationAttribute { kind: 1, value: vec![] };
    let spi = Spi::new(0x1000_0001).expect("not reserved");
    let messages: Vec<(ExchangeType, bool, Vec<Payload>)> = vec![
        (
            ExchangeType::IkeAuth,
            false,
            vec![
                Payload::IdInitiator(id("branch-7.example")),
                Payload::Notify(Notify::new(NotifyType::InitialContact)),
                Payload::IdResponder(id("hq.example")),
                auth(),
                Payload::Configuration(Configuration { kind: ConfigurationKind::Request, attributes: vec![request] }),
                esp_proposals(0x1000_0001),
                Payload::TsInitiator(selectors()),
                Payload::TsResponder(selectors()),
            ],
        ),
        (ExchangeType::IkeAuth, true, vec![Payload::Notify(Notify::new(NotifyType::AuthenticationFailed))]),
        (
            ExchangeType::CreateChildSa,
            false,
            vec![
                Payload::Notify(Notify::about_sa(NotifyType::RekeySa, culvert_model::IpsecProtocol::Esp, spi)),
                esp_proposals(0x2000_0002),
                nonce(),
                key_exchange(),
                Payload::TsInitiator(selectors()),
                Payload::TsResponder(selectors()),
            ],
        ),
        (ExchangeType::CreateChildSa, true, vec![Payload::Notify(Notify::new(NotifyType::TsUnacceptable))]),
        (ExchangeType::Informational, false, vec![Payload::Delete(Delete::Esp(vec![spi.get()]))]),
        (ExchangeType::Informational, false, vec![Payload::Delete(Delete::Ike)]),
        (ExchangeType::Informational, false, vec![]),
        (ExchangeType::Informational, true, vec![]),
    ];
    messages
        .into_iter()
        .map(|(exchange, response, payloads)| {
            let mut sealer = Sealer::new(ALGORITHM, SecretKey::new(KEY.to_vec()), None).expect("a key");
            let header = header(exchange, response, 1);
            let message = sealer.seal(&AwsLc, &header, &payloads).expect("a right message");
            plaintext(&message)
        })
        .collect()
}

/// What the sealer sealed, in the form that `payloads` takes.
fn plaintext(message: &[u8]) -> Vec<u8> {
    let (associated, rest) = message.split_at(32);
    let (iv, sealed) = rest.split_at(8);
    let mut data = sealed.to_vec();
    AwsLc.open(ALGORITHM, &KEY, iv, associated, &mut data).expect("our own message");
    let [exchange, flags] = [message[18], message[19]];
    [&[exchange, flags, message[28]], &data[..]].concat()
}
