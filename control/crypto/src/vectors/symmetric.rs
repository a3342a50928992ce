//! RFC 4231 (HMAC), RFC 4868 (truncation), and the edges of the ciphers.

use super::octets;
use crate::{AwsLc, CryptoError, Provider, constant_time_eq, prf_plus};
use culvert_model::{Encryption, Integrity, Prf};

/// RFC 4231 §4.
fn hmac_cases() -> Vec<(Vec<u8>, Vec<u8>, [&'static str; 3])> {
    vec![
        (
            vec![0x0b; 20],
            b"Hi There".to_vec(),
            [
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
                "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
            ],
        ),
        (
            b"Jefe".to_vec(),
            b"what do ya want for nothing?".to_vec(),
            [
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ],
        ),
        (
            vec![0xaa; 20],
            vec![0xdd; 50],
            [
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
                "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
                "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb",
            ],
        ),
        (
            (1..=25).collect(),
            vec![0xcd; 50],
            [
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
                "3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e6801dd23c4a7d679ccf8a386c674cffb",
                "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3dba91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd",
            ],
        ),
        (
            vec![0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First".to_vec(),
            [
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
                "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
                "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
            ],
        ),
    ]
}

#[test]
fn rfc_4231_hmac() {
    for (key, data, expected) in hmac_cases() {
        for (prf, expected) in Prf::ALL.iter().zip(expected) {
            // Cut into pieces, since that is how it is called.
            let (head, tail) = data.split_at(3);
            assert_eq!(AwsLc.prf(*prf, &key, &[head, &[], tail]).expose(), octets(expected), "{prf}");
        }
        for (alg, expected) in Integrity::ALL.iter().filter(|alg| alg.is_for_ike()).zip(expected) {
            let icv = AwsLc.integrity(*alg, &key, &[&data]).unwrap();
            assert_eq!(icv, octets(expected)[..alg.icv_len()], "{alg}");
        }
    }
}

/// Against RFC 7296 §2.13 written out.
#[test]
fn prf_plus_is_the_chain_of_blocks() {
    let (prf, key) = (Prf::HmacSha256, b"key".as_slice());
    let t1 = AwsLc.prf(prf, key, &[b"seed", &[1]]);
    let t2 = AwsLc.prf(prf, key, &[t1.expose(), b"seed", &[2]]);
    let t3 = AwsLc.prf(prf, key, &[t2.expose(), b"seed", &[3]]);
    let whole = [t1.expose(), t2.expose(), t3.expose()].concat();
    for len in [0, 1, 31, 32, 33, 64, 95, 96] {
        let made = prf_plus(&AwsLc, prf, key, &[b"se", b"ed"], len).unwrap();
        assert_eq!(made.expose(), &whole[..len], "{len} octets");
    }
}

#[test]
fn prf_plus_ends_with_its_counter() {
    let most = 255 * 32;
    assert_eq!(prf_plus(&AwsLc, Prf::HmacSha256, b"k", &[b"s"], most).unwrap().len(), most);
    let refused = prf_plus(&AwsLc, Prf::HmacSha256, b"k", &[b"s"], most + 1).err();
    assert_eq!(refused, Some(CryptoError::PrfPlusLength { asked: most + 1, most }));
}

#[test]
fn lengths_are_checked() {
    for alg in Encryption::ALL.iter().filter(|alg| alg.is_for_ike()) {
        let key = vec![1; alg.key_len() + alg.salt_len()];
        let iv = vec![2; alg.iv_len()];
        let mut data = vec![0; 32];
        assert_eq!(AwsLc.seal(*alg, &key, &iv, &[], &mut data), Ok(()));
        let short = AwsLc.seal(*alg, &key[1..], &iv, &[], &mut data);
        assert_eq!(short, Err(CryptoError::KeyLength { expected: key.len(), got: key.len() - 1 }));
        let short = AwsLc.open(*alg, &key, &iv[1..], &[], &mut data);
        assert_eq!(short, Err(CryptoError::IvLength { expected: iv.len(), got: iv.len() - 1 }));
    }
    let mut odd = vec![0; 17];
    let refused = AwsLc.seal(Encryption::Aes128Cbc, &[0; 16], &[0; 16], &[], &mut odd);
    assert_eq!(refused, Err(CryptoError::BlockLength { got: 17 }));
}

#[test]
fn no_octet_of_a_sealed_text_may_change() {
    for alg in [Encryption::Aes128Gcm16, Encryption::Aes256Gcm16] {
        let key = vec![1; alg.key_len() + 4];
        let mut sealed = b"attack at dawn".to_vec();
        AwsLc.seal(alg, &key, &[3; 8], b"header", &mut sealed).unwrap();
        assert_eq!(sealed.len(), 14 + 16);
        let mut opened = sealed.clone();
        AwsLc.open(alg, &key, &[3; 8], b"header", &mut opened).unwrap();
        assert_eq!(opened, b"attack at dawn");
        for i in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[i] ^= 1;
            assert_eq!(AwsLc.open(alg, &key, &[3; 8], b"header", &mut forged), Err(CryptoError::Unverified));
            assert!(forged.iter().all(|b| *b == 0), "a refused text must not be left behind");
        }
        assert_eq!(AwsLc.open(alg, &key, &[3; 8], b"HEADER", &mut sealed.clone()), Err(CryptoError::Unverified));
        assert_eq!(AwsLc.open(alg, &key, &[4; 8], b"header", &mut sealed.clone()), Err(CryptoError::Unverified));
        assert_eq!(AwsLc.open(alg, &key, &[3; 8], b"", &mut vec![0; 15]), Err(CryptoError::Unverified));
    }
}

#[test]
fn comparison() {
    assert!(constant_time_eq(b"abc", b"abc"));
    assert!(!constant_time_eq(b"abc", b"abd"));
    assert!(!constant_time_eq(b"abc", b"ab"));
}

#[test]
fn randomness_is_not_constant() {
    let (mut a, mut b) = ([0; 32], [0; 32]);
    AwsLc.random(&mut a).unwrap();
    AwsLc.random(&mut b).unwrap();
    assert_ne!(a, b);
}
