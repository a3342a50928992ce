//! The Encrypted payload: forgery, padding, initialization vectors.

use super::*;
use culvert_crypto::{CryptoError, Provider};

fn opened(datagram: &[u8], opener: &Opener) -> Result<OpenedMessage, Error> {
    Protected::parse(datagram)?.open(&provider(), opener)
}

fn notify() -> Vec<Payload> {
    vec![Payload::Notify(Notify::new(NotifyType::InitialContact))]
}

#[test]
fn no_bit_may_change() {
    let header = header(ExchangeType::Informational, false);
    for (encryption, integrity) in suites() {
        let (mut sealer, opener) = pair(encryption, integrity);
        let whole = sealer.seal(&provider(), &header, &notify()).unwrap();
        assert!(opened(&whole, &opener).is_ok());
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut forged = whole.clone();
                forged[at] ^= 1 << bit;
                match opened(&forged, &opener) {
                    Err(Error::IntegrityFailed) => {}
                    Err(Error::Unproven(_)) if at < HEADER_LEN + 4 => {}
                    other => panic!("{encryption} octet {at} bit {bit}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn truncated_at_every_octet() {
    let header = header(ExchangeType::Informational, false);
    for (encryption, integrity) in suites() {
        let (mut sealer, opener) = pair(encryption, integrity);
        let whole = sealer.seal(&provider(), &header, &notify()).unwrap();
        for len in HEADER_LEN + 4..whole.len() {
            // With both lengths made to fit: what is left fails its check, or is too short to have one.
            let mut cut = with_true_length(whole[..len].to_vec());
            cut[30..32].copy_from_slice(&((len - HEADER_LEN) as u16).to_be_bytes());
            let refused = opened(&cut, &opener).unwrap_err();
            let short = Error::Unproven(Fault::EncryptedLength { got: len - HEADER_LEN - 4 });
            assert!(refused == Error::IntegrityFailed || refused == short, "{refused:?}");
            assert_eq!(refused.notify(), None);
        }
    }
}

#[test]
fn other_keys_open_nothing() {
    let header = header(ExchangeType::Informational, false);
    for (encryption, integrity) in suites() {
        let (mut sealer, _) = pair(encryption, integrity);
        let datagram = sealer.seal(&provider(), &header, &notify()).unwrap();
        let key = SecretKey::new(vec![7; encryption.key_len() + encryption.salt_len()]);
        let other = SecretKey::new(vec![9; key.len()]);
        let opener = match integrity {
            Some(alg) => {
                let integrity_key = SecretKey::new(vec![9; alg.key_len()]);
                Opener::new(encryption, key, Some((alg, integrity_key)))
            }
            None => Opener::new(encryption, other, None),
        };
        assert_eq!(opened(&datagram, &opener.unwrap()), Err(Error::IntegrityFailed));
    }
}

/// RFC 7296 §3.14: "the recipient MUST accept any length that results in proper alignment".
#[test]
fn any_padding_is_accepted() {
    let header = header(ExchangeType::Informational, false);
    let notify_octets = [0, 0, 0, 8, 0, 0, 0x40, 0];
    for (encryption, integrity) in suites() {
        let (mut sealer, opener) = pair(encryption, integrity);
        for pad in (0..=255u8).filter(|pad| (9 + usize::from(*pad)).is_multiple_of(encryption.block_len())) {
            let data = [&notify_octets[..], &vec![0xaa; pad.into()], &[pad]].concat();
            let datagram = sealer.seal_octets(&provider(), &header, PayloadType::Notify, data).unwrap();
            assert_eq!(opened(&datagram, &opener).map(|m| m.payloads), Ok(notify()), "{encryption} {pad}");
        }
    }
}

/// The peer proved itself, so these are its own faults, and answered.
#[test]
fn faults_inside_are_the_peers() {
    let header = header(ExchangeType::Informational, false);
    let (mut sealer, opener) = pair(Encryption::Aes128Gcm16, None);
    let mut refused = |header: &Header, first: u8, data: &[u8]| {
        let first = PayloadType::from_wire(first);
        let datagram = sealer.seal_octets(&provider(), header, first, data.to_vec()).unwrap();
        opened(&datagram, &opener).unwrap_err()
    };
    assert_eq!(refused(&header, 0, &[1]), Error::Peer(Fault::PadLength { pad: 1 }));
    assert_eq!(refused(&header, 0, &[7, 0]), Error::Peer(Fault::Trailing { octets: 1 }));
    assert_eq!(refused(&header, 41, &[0]), Error::Peer(Fault::PayloadTruncated { payload: PayloadType::Notify }));
    let critical = refused(&header, 99, &[0, 0x80, 0, 4, 0]);
    assert_eq!(critical, Error::Peer(Fault::UnknownCritical { payload: 99 }));
    assert_eq!(critical.notify(), Some(NotifyType::UnsupportedCriticalPayload));
    let nested = refused(&header, 46, &[0, 0, 0, 4, 0]);
    assert_eq!(nested, Error::Peer(Fault::NotAllowed { payload: PayloadType::Encrypted }));
    assert_eq!(nested.notify(), Some(NotifyType::InvalidSyntax));
    let unknown = Header { exchange: ExchangeType::Unknown(43), ..header };
    assert_eq!(refused(&unknown, 0, &[0]), Error::Peer(Fault::Exchange(ExchangeType::Unknown(43))));
    // Nothing at all where at least the pad length must be.
    assert_eq!(refused(&header, 0, &[]), Error::Unproven(Fault::EncryptedLength { got: 24 }));
}

#[test]
fn the_frame() {
    let header = header(ExchangeType::Informational, false);
    let (mut sealer, opener) = pair(Encryption::Aes128Gcm16, None);
    let whole = sealer.seal(&provider(), &header, &[]).unwrap();
    assert_eq!(opened(&whole, &opener).map(|m| m.payloads), Ok(vec![]));
    // A payload behind the Encrypted one.
    let behind = with_true_length([&whole[..], &[0, 0, 0, 4]].concat());
    assert_eq!(opened(&behind, &opener), Err(Error::Unproven(Fault::EncryptedNotLast)));
    // And in front of it.
    let mut front = [&whole[..HEADER_LEN], &[46, 0, 0, 4], &whole[HEADER_LEN..]].concat();
    front[16] = 41;
    let fault = Fault::NotEncrypted(ExchangeType::Informational);
    assert_eq!(opened(&with_true_length(front), &opener), Err(Error::Unproven(fault)));
    // Fragments (RFC 7383) were not negotiated.
    let mut fragment = whole.clone();
    fragment[16] = 53;
    assert_eq!(opened(&fragment, &opener), Err(Error::Unproven(fault)));
    let mut init = whole;
    init[18] = 34;
    let fault = Fault::NotClear(ExchangeType::IkeSaInit);
    assert_eq!(opened(&init, &opener), Err(Error::Unproven(fault)));
}

/// RFC 5282 §3.1: no IV twice with one key.
#[test]
fn initialization_vectors_differ() {
    let header = header(ExchangeType::Informational, false);
    for (encryption, integrity) in suites() {
        let (mut sealer, _) = pair(encryption, integrity);
        let provider = provider();
        let mut iv = || sealer.seal(&provider, &header, &[]).unwrap()[32..32 + encryption.iv_len()].to_vec();
        let ivs = std::collections::HashSet::from([iv(), iv(), iv(), iv()]);
        assert_eq!(ivs.len(), 4, "{encryption}");
    }
}

#[test]
fn keys_fit_their_algorithms() {
    let key = |len| SecretKey::new(vec![1; len]);
    let sha256 = Integrity::HmacSha256_128;
    assert!(Sealer::new(Encryption::Aes128Gcm16, key(20), None).is_ok());
    let length = |expected, got| Some(CryptoError::KeyLength { expected, got });
    assert_eq!(Sealer::new(Encryption::Aes128Gcm16, key(16), None).err(), length(20, 16));
    assert!(Sealer::new(Encryption::Aes128Cbc, key(16), None).is_err(), "CBC alone protects nothing");
    assert!(Sealer::new(Encryption::Aes128Gcm16, key(20), Some((sha256, key(32)))).is_err());
    assert_eq!(Opener::new(Encryption::Aes128Cbc, key(16), Some((sha256, key(31)))).err(), length(32, 31));
}

/// The ICV is compared before anything is decrypted: a provider that cannot decrypt never notices a forgery.
#[test]
fn integrity_comes_first() {
    struct NoOpen(culvert_crypto::testing::Fixed);
    impl Provider for NoOpen {
        fn random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
            self.0.random(out)
        }
        fn generate(&self, group: culvert_model::KeGroup) -> Result<Box<dyn culvert_crypto::KeyExchange>, CryptoError> {
            self.0.generate(group)
        }
        fn prf(&self, prf: culvert_model::Prf, key: &[u8], data: &[&[u8]]) -> SecretKey {
            self.0.prf(prf, key, data)
        }
        fn prf_plus(&self, prf: culvert_model::Prf, key: &[u8], seed: &[&[u8]], len: usize) -> SecretKey {
            self.0.prf_plus(prf, key, seed, len)
        }
        fn integrity(&self, alg: Integrity, key: &[u8], data: &[&[u8]]) -> Result<Vec<u8>, CryptoError> {
            self.0.integrity(alg, key, data)
        }
        fn seal(&self, a: Encryption, k: &[u8], iv: &[u8], aad: &[u8], d: &mut Vec<u8>) -> Result<(), CryptoError> {
            self.0.seal(a, k, iv, aad, d)
        }
        fn open(&self, _: Encryption, _: &[u8], _: &[u8], _: &[u8], _: &mut Vec<u8>) -> Result<(), CryptoError> {
            Err(CryptoError::Backend)
        }
    }
    let provider = NoOpen(provider());
    let (mut sealer, opener) = pair(Encryption::Aes256Cbc, Some(Integrity::HmacSha512_256));
    let mut datagram = sealer.seal(&provider, &header(ExchangeType::Informational, false), &notify()).unwrap();
    let open = |datagram: &[u8]| Protected::parse(datagram).unwrap().open(&provider, &opener);
    assert_eq!(open(&datagram), Err(Error::Local(CryptoError::Backend)));
    datagram[40] ^= 1;
    assert_eq!(open(&datagram), Err(Error::IntegrityFailed));
}
