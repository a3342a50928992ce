//! Project Wycheproof: the edge cases that broke other implementations.

use crate::{AwsLc, CryptoError, KeyExchange, Provider, curve::Curve, symmetric};
use culvert_model::{Encryption, Integrity, KeGroup, Prf};
use wycheproof::{aead, cipher, ecdh, mac, xdh};

#[test]
fn x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let mut refused = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let pair = Box::new(Curve::from_private(KeGroup::X25519, &test.private_key));
        match pair.agree(&test.public_key) {
            Ok(secret) => {
                assert!(!test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
                assert_eq!(secret.expose(), &test.shared_secret[..], "{}: {}", test.tc_id, test.comment);
            }
            // RFC 8031 §2.1: this zero must be refused, though the vectors leave it open.
            Err(_) if test.shared_secret.iter().all(|b| *b == 0) => refused += 1,
            Err(_) => assert!(test.result.must_fail(), "{}: {}", test.tc_id, test.comment),
        }
    }
    assert!(refused > 5);
}

#[test]
fn ecdh_points() {
    let sets = [
        (ecdh::TestName::EcdhSecp256r1Ecpoint, KeGroup::Ecp256),
        (ecdh::TestName::EcdhSecp384r1Ecpoint, KeGroup::Ecp384),
    ];
    for (name, group) in sets {
        let set = ecdh::TestSet::load(name).unwrap();
        let mut agreed = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            // What is no uncompressed point cannot be said in a KE payload.
            let Some((4, point)) = test.public_key.split_first() else { continue };
            let private = scalar(&test.private_key, group.public_len() / 2);
            let result = Box::new(Curve::from_private(group, &private)).agree(point);
            if test.result.must_fail() {
                assert!(result.is_err(), "{group} {}: {}", test.tc_id, test.comment);
            } else {
                let secret = result.unwrap_or_else(|e| panic!("{group} {}: {}: {e}", test.tc_id, test.comment));
                assert_eq!(secret.expose(), &test.shared_secret[..], "{group} {}", test.tc_id);
                agreed += 1;
            }
        }
        assert!(agreed > 100);
    }
}

/// The vectors write scalars as ASN.1 integers: with a sign octet, or shorter.
fn scalar(octets: &[u8], len: usize) -> Vec<u8> {
    let cut = octets.len().saturating_sub(len);
    let mut out = vec![0; len - (octets.len() - cut)];
    out.extend_from_slice(&octets[cut..]);
    out
}

#[test]
fn aes_gcm() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let mut done = 0;
    for group in set.test_groups.iter().filter(|g| g.nonce_size == 96 && g.tag_size == 128 && g.key_size != 192) {
        let alg = if group.key_size == 128 { Encryption::Aes128Gcm16 } else { Encryption::Aes256Gcm16 };
        for test in &group.tests {
            let (salt, iv) = test.nonce.split_at(4);
            let key = [&test.key, salt].concat();
            let mut data = [&test.ct[..], &test.tag[..]].concat();
            let opened = AwsLc.open(alg, &key, iv, &test.aad, &mut data);
            if test.result.must_fail() {
                assert_eq!(opened, Err(CryptoError::Unverified), "{}: {}", test.tc_id, test.comment);
                continue;
            }
            assert_eq!(opened, Ok(()), "{}: {}", test.tc_id, test.comment);
            assert_eq!(data, &test.pt[..]);
            AwsLc.seal(alg, &key, iv, &test.aad, &mut data).unwrap();
            assert_eq!(data, [&test.ct[..], &test.tag[..]].concat());
            done += 1;
        }
    }
    assert!(done > 50);
}

/// The vectors pad by PKCS #5; IKE pads otherwise, so here the padding is part of the text.
#[test]
fn aes_cbc() {
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    let mut done = 0;
    for group in &set.test_groups {
        let alg = match group.key_size {
            128 => Encryption::Aes128Cbc,
            192 => Encryption::Aes192Cbc,
            _ => Encryption::Aes256Cbc,
        };
        for test in group.tests.iter().filter(|test| !test.result.must_fail()) {
            let pad = 16 - test.pt.len() % 16;
            let padded = [&test.pt[..], &vec![pad as u8; pad]].concat();
            let mut data = padded.clone();
            symmetric::seal(alg, &test.key, &test.nonce, &[], &mut data).unwrap();
            assert_eq!(data, &test.ct[..], "{}: {}", test.tc_id, test.comment);
            symmetric::open(alg, &test.key, &test.nonce, &[], &mut data).unwrap();
            assert_eq!(data, padded);
            done += 1;
        }
    }
    assert!(done > 50);
}

#[test]
fn hmac() {
    let sets = [
        (mac::TestName::HmacSha256, Prf::HmacSha256, Integrity::HmacSha256_128),
        (mac::TestName::HmacSha384, Prf::HmacSha384, Integrity::HmacSha384_192),
        (mac::TestName::HmacSha512, Prf::HmacSha512, Integrity::HmacSha512_256),
    ];
    for (name, prf, integrity) in sets {
        let set = mac::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            for test in &group.tests {
                let whole = AwsLc.prf(prf, &test.key, &[&test.msg]);
                let same = whole.expose()[..group.tag_size / 8] == test.tag[..];
                assert_eq!(same, !test.result.must_fail(), "{prf} {}: {}", test.tc_id, test.comment);
                assert!(whole.expose().starts_with(&AwsLc.integrity(integrity, &test.key, &[&test.msg]).unwrap()));
            }
        }
    }
}
