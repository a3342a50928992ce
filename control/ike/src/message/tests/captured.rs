//! Conversations of another implementation, from the first message to the last, with the keys from its log: our reading
//! of each message, and the arithmetic of RFC 7296 §2.13 to §2.18 over them, agree with its.

use super::*;
use culvert_crypto::{Provider, prf_plus};
use culvert_model::Prf;
use std::fmt::Write;

struct Capture {
    encryption: Encryption,
    integrity: Option<Integrity>,
    prf: Prf,
    /// Name and octets in the order of the log.
    values: Vec<(&'static str, Vec<u8>)>,
    messages: Vec<Vec<u8>>,
}

const PSK: &[u8] = b"the quick brown fox";

impl Capture {
    fn read(text: &'static str, encryption: Encryption, integrity: Option<Integrity>, prf: Prf) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let all = lines.map(|line| line.split_once(' ').expect("a name and octets"));
        let all = all.map(|(name, octets)| (name, hex::decode(octets).expect("hex")));
        let (messages, values): (Vec<_>, Vec<_>) = all.partition(|(name, _)| *name == "message");
        let messages = messages.into_iter().map(|(_, octets)| octets).collect();
        Self { encryption, integrity, prf, values, messages }
    }

    fn all() -> [Self; 3] {
        let (cbc, sha256) = (Encryption::Aes256Cbc, Some(Integrity::HmacSha256_128));
        [
            Self::read(include_str!("captured/aes256-sha256-ecp256.txt"), cbc, sha256, Prf::HmacSha256),
            Self::read(
                include_str!("captured/aes256gcm16-sha384-x25519.txt"),
                Encryption::Aes256Gcm16,
                None,
                Prf::HmacSha384,
            ),
            Self::read(include_str!("captured/no-child.txt"), cbc, sha256, Prf::HmacSha256),
        ]
    }

    /// The value of this name that belongs to the first IKE SA, or to the one that replaced it.
    fn value(&self, name: &str, nth: usize) -> &[u8] {
        &self.values.iter().filter(|(n, _)| *n == name).nth(nth).expect("a value").1
    }

    fn opener(&self, sa: usize, initiator: bool) -> Opener {
        let (e, a) = if initiator { ("sk_ei", "sk_ai") } else { ("sk_er", "sk_ar") };
        let integrity = self.integrity.map(|alg| (alg, SecretKey::from(self.value(a, sa))));
        Opener::new(self.encryption, SecretKey::from(self.value(e, sa)), integrity).unwrap()
    }

    /// The payloads of message `at`, and that writing them gives the same octets again.
    fn open(&self, at: usize) -> (Header, Shape, Vec<Payload>) {
        let datagram = &self.messages[at];
        match parse(datagram).unwrap() {
            Incoming::Clear(message) => {
                assert_eq!(&ClearMessage::encode(&message.header, &message.payloads).unwrap(), datagram);
                (message.header, message.shape, message.payloads)
            }
            Incoming::Protected(protected) => {
                let first = Header::parse(&self.messages[0]).unwrap().0.initiator_spi;
                let sa = usize::from(protected.header().initiator_spi != first);
                let opener = self.opener(sa, protected.header().initiator);
                let message = protected.open(&provider(), &opener).unwrap();
                let mut written = Vec::new();
                let header = message.header;
                let grammar = grammar::encrypted(header.exchange, header.response).unwrap();
                chain::write(&message.payloads, grammar, &mut written).unwrap();
                let plain = opener.open(&provider(), &protected).unwrap();
                assert!(plain.starts_with(&written), "message {at}");
                assert_eq!(plain.len() - written.len() - 1, usize::from(*plain.last().unwrap()), "message {at}");
                (header, message.shape, message.payloads)
            }
        }
    }

    fn check_keys(&self, sa: usize, skeyseed: &[u8], seed: &[&[u8]]) {
        assert_eq!(skeyseed, self.value("skeyseed", sa));
        let (key, salt) = (self.encryption.key_len(), self.encryption.salt_len());
        let icv_key = self.integrity.map_or(0, Integrity::key_len);
        let prf = self.prf.len();
        let parts = [
            ("sk_d", prf),
            ("sk_ai", icv_key),
            ("sk_ar", icv_key),
            ("sk_ei", key + salt),
            ("sk_er", key + salt),
            ("sk_pi", prf),
            ("sk_pr", prf),
        ];
        let len = parts.iter().map(|(_, len)| len).sum();
        let material = prf_plus(&provider(), self.prf, skeyseed, seed, len).unwrap();
        let mut rest = material.expose();
        for (name, len) in parts.into_iter().filter(|(_, len)| *len > 0) {
            let (part, after) = rest.split_at(len);
            assert_eq!(part, self.value(name, sa), "{name} of IKE SA {sa}");
            rest = after;
        }
    }
}

#[test]
fn every_message_reads_as_it_was_meant() {
    let mut text = String::new();
    for capture in Capture::all() {
        for at in 0..capture.messages.len() {
            let (header, shape, payloads) = capture.open(at);
            let from = if header.initiator { "initiator" } else { "responder" };
            write!(text, "{} {shape:?} from {from}:", header.message_id).unwrap();
            for payload in &payloads {
                match payload {
                    Payload::Notify(notify) => write!(text, " N({:?})", notify.kind),
                    Payload::IdInitiator(id) | Payload::IdResponder(id) => write!(text, " ID({id})"),
                    Payload::Delete(Delete::Esp(spis)) => write!(text, " Delete({} ESP)", spis.len()),
                    Payload::Delete(delete) => write!(text, " Delete({delete:?})"),
                    Payload::TsInitiator(ts) | Payload::TsResponder(ts) => write!(text, " TS({})", ts.known()[0]),
                    Payload::Sa(sa) => {
                        let known = sa.proposals.iter().flat_map(|p| &p.transforms).map(Transform::known);
                        let known: Vec<_> = known.map(|t| t.expect("a known transform")).collect();
                        write!(text, " SA{known:?}")
                    }
                    other => write!(text, " {:?}", other.payload_type()),
                }
                .unwrap();
            }
            text.push('\n');
        }
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

/// RFC 7296 §2.14 and, for the SA that replaced the first, §2.18.
#[test]
fn keys_of_the_ike_sas() {
    for capture in Capture::all() {
        let provider = provider();
        let (_, _, request) = capture.open(0);
        let (header, _, response) = capture.open(1);
        let (ni, nr) = (request.nonce().unwrap().as_bytes(), response.nonce().unwrap().as_bytes());
        let skeyseed = provider.prf(capture.prf, &[ni, nr].concat(), &[capture.value("shared", 0)]);
        capture.check_keys(0, skeyseed.expose(), &[ni, nr, &header.initiator_spi.0, &header.responder_spi.0]);

        let opened: Vec<_> = (0..capture.messages.len()).map(|at| capture.open(at)).collect();
        let find = |shape| &opened.iter().find(|(_, s, _)| *s == shape).expect("a rekey of the IKE SA").2;
        let (request, response) = (find(Shape::IkeRekeyRequest), find(Shape::IkeRekeyResponse));
        let (ni, nr) = (request.nonce().unwrap().as_bytes(), response.nonce().unwrap().as_bytes());
        let spi = |payloads: &[Payload]| payloads.sa().unwrap().proposals[0].spi.clone();
        let pieces = [capture.value("shared", 1), ni, nr];
        let skeyseed = provider.prf(capture.prf, capture.value("sk_d", 0), &pieces);
        capture.check_keys(1, skeyseed.expose(), &[ni, nr, &spi(request), &spi(response)]);
    }
}

/// RFC 7296 §2.15.
#[test]
fn authentication_with_the_shared_key() {
    for capture in Capture::all() {
        let provider = provider();
        let nonce = |at: usize| capture.open(at).2.nonce().unwrap().as_bytes().to_vec();
        let (_, _, request) = capture.open(2);
        let (_, _, response) = capture.open(3);
        let sides = [
            (0, nonce(1), "sk_pi", request.id_initiator().unwrap(), request.auth().unwrap()),
            (1, nonce(0), "sk_pr", response.id_responder().unwrap(), response.auth().unwrap()),
        ];
        for (at, others_nonce, key, id, auth) in sides {
            let maced_id = provider.prf(capture.prf, capture.value(key, 0), &[&id.body()]);
            let pad = provider.prf(capture.prf, PSK, &[b"Key Pad for IKEv2"]);
            let octets = [&capture.messages[at][..], &others_nonce, maced_id.expose()];
            let expected = provider.prf(capture.prf, pad.expose(), &octets);
            assert_eq!(auth.method, AuthMethod::SharedKeyMic);
            assert_eq!(auth.data, expected.expose());
            assert_eq!(auth.data, capture.value("auth", at));
        }
    }
}

/// RFC 7296 §2.17: the first Child SA, AES-GCM with its salt.
#[test]
fn keys_of_the_first_child_sa() {
    let [cbc, gcm, _] = Capture::all();
    for (capture, len) in [(cbc, 16 + 4), (gcm, 32 + 4)] {
        let nonce = |at: usize| capture.open(at).2.nonce().unwrap().as_bytes().to_vec();
        let seed = [&nonce(0)[..], &nonce(1)];
        let material = prf_plus(&provider(), capture.prf, capture.value("sk_d", 0), &seed, 2 * len).unwrap();
        assert_eq!(material.expose()[..len], *capture.value("child_ei", 0));
        assert_eq!(material.expose()[len..], *capture.value("child_er", 0));
    }
}
