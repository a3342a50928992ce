use super::*;
use crate::crypto::MAX_ICV;
use culvert_model::{Encryption, Integrity, IpsecProtocol};

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace(char::is_whitespace, "")).expect("hexadecimal")
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

fn key(suite: Suite) -> Key {
    RustCrypto::key(suite, &octets(36, suite.key_len())).expect("a key")
}

fn job<'a>(key: &'a Key, sequence: u64, esn: bool, data: &'a mut [u8]) -> Job<'a, Key> {
    Job { key, sequence, esn, data, icv: [0; MAX_ICV], ok: false }
}

/// Room for a payload of `len` octets.
fn packet(suite: Suite, len: usize) -> Vec<u8> {
    octets(len as u64, 8 + suite.iv_len() + len + suite.icv_len())
}

fn seal_one(key: &Key, sequence: u64, esn: bool, data: &mut [u8]) -> [u8; MAX_ICV] {
    let mut jobs = [job(key, sequence, esn, data)];
    RustCrypto.seal_burst(&mut jobs);
    assert!(jobs[0].ok, "{}", key.suite);
    jobs[0].icv
}

fn open_one(key: &Key, sequence: u64, esn: bool, data: &mut [u8], icv: [u8; MAX_ICV]) -> bool {
    let mut jobs = [Job { icv, ..job(key, sequence, esn, data) }];
    RustCrypto.open_burst(&mut jobs);
    jobs[0].ok
}

fn lengths(suite: Suite) -> impl Iterator<Item = usize> {
    let step = if suite.alignment() == 16 { 16 } else { 1 };
    (0..300).step_by(step).chain([1024, 1424, 1600].into_iter().filter(move |len| len % step == 0))
}

#[test]
fn every_suite_opens_what_it_sealed() {
    for suite in Suite::all() {
        let key = key(suite);
        for (len, esn) in lengths(suite).flat_map(|len| [(len, false), (len, true)]) {
            let sequence = if esn { 5 << 32 | 7 } else { 7 };
            let plain = packet(suite, len);
            let mut sealed = plain.clone();
            let icv = seal_one(&key, sequence, esn, &mut sealed);
            assert_eq!(sealed[..8], plain[..8], "{suite}: the header stays");
            let mut opened = sealed.clone();
            assert!(open_one(&key, sequence, esn, &mut opened, icv), "{suite}, {len} octets, ESN {esn}");
            let payload = 8 + suite.iv_len()..plain.len() - suite.icv_len();
            assert_eq!(opened[payload.clone()], plain[payload.clone()], "{suite}, {len} octets");
            let encrypts = suite.encryption().is_some_and(|e| !matches!(e.mode(), CipherMode::Null | CipherMode::Gmac));
            // One octet of key stream may be zero.
            assert!(len < 4 || (sealed[payload.clone()] != plain[payload]) == encrypts, "{suite}, {len} octets");
        }
    }
}

#[test]
fn every_wrong_bit_is_seen() {
    for suite in Suite::all() {
        let (key, sequence) = (key(suite), 3 << 32 | 9);
        let mut sealed = packet(suite, 32);
        let icv = seal_one(&key, sequence, true, &mut sealed);
        // The low half of the sequence number of an AEAD is what the job says; inbound takes it from the packet.
        let aead = suite
            .encryption()
            .is_some_and(|e| matches!(e.mode(), CipherMode::Gcm | CipherMode::Ccm | CipherMode::ChaCha20Poly1305));
        for bit in 0..sealed.len() * 8 {
            let mut wrong = sealed.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let unread = aead && (4..8).contains(&(bit / 8));
            assert_eq!(open_one(&key, sequence, true, &mut wrong, icv), unread, "{suite}: bit {bit} of the packet");
        }
        if suite.protocol() == IpsecProtocol::Ah {
            for bit in 0..suite.icv_field() * 8 {
                let mut wrong = icv;
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert!(!open_one(&key, sequence, true, &mut sealed.clone(), wrong), "{suite}: bit {bit} of the ICV");
            }
        } else {
            for bit in 32..64 {
                assert!(
                    !open_one(&key, sequence ^ 1 << bit, true, &mut sealed.clone(), icv),
                    "{suite}: high bit {bit}"
                );
            }
            assert!(!open_one(&key, sequence, false, &mut sealed.clone(), icv), "{suite}: without ESN");
        }
        let mut other = octets(36, suite.key_len());
        *other.last_mut().expect("no key is empty") ^= 1;
        let other = RustCrypto::key(suite, &other).expect("a key");
        assert!(!open_one(&other, sequence, true, &mut sealed, icv), "{suite}: another key");
    }
}

#[test]
fn no_length_makes_it_panic() {
    for suite in Suite::all().filter(|suite| suite.protocol() == IpsecProtocol::Esp) {
        let key = key(suite);
        let least = 8 + suite.iv_len() + suite.icv_len();
        for len in 0..least + 40 {
            let mut data = octets(1, len);
            let mut jobs = [job(&key, 1, true, &mut data)];
            RustCrypto.seal_burst(&mut jobs);
            let whole = len.checked_sub(least).is_some_and(|payload| payload % suite.alignment() == 0);
            let fits = if suite.alignment() == 16 { whole } else { len >= least };
            assert_eq!(jobs[0].ok, fits, "{suite}, {len} octets");
            assert!(!open_one(&key, 2, true, &mut octets(1, len), [0; MAX_ICV]), "{suite}, {len} octets");
        }
    }
}

/// An authentic packet whose payload is no whole number of blocks.
#[test]
fn cbc_refuses_a_broken_block_behind_a_right_icv() {
    let suite = Suite::esp(Encryption::Aes128Cbc, Some(Integrity::HmacSha256_128)).expect("a suite");
    let (key, mut data) = (key(suite), packet(suite, 17));
    let parts = EspParts::of(suite, data.len()).expect("long enough");
    let Transform::Separate(both) = &key.transform else { panic!("{suite} is cipher and integrity") };
    let tag = both.1.tag(&data[..parts.icv.start], &[]);
    data[parts.icv].copy_from_slice(&tag[..16]);
    assert!(!open_one(&key, 1, false, &mut data, [0; MAX_ICV]));
}

#[test]
fn a_key_of_the_wrong_length_is_refused() {
    for suite in Suite::all() {
        for found in [0, suite.key_len() - 1, suite.key_len() + 1] {
            let error = RustCrypto::key(suite, &vec![0; found]).err();
            assert_eq!(error, Some(KeyError::Length { expected: suite.key_len(), found }), "{suite}");
        }
    }
}

/// The IV of CBC is what the block cipher makes of the number: two never agree, and none shows the number.
#[test]
fn ivs_of_cbc_cannot_be_foreseen() {
    let suite = Suite::esp_from_words("aes128-sha1").expect("a suite");
    let key = key(suite);
    let iv = |sequence| {
        let mut data = packet(suite, 16);
        seal_one(&key, sequence, false, &mut data);
        <[u8; 16]>::try_from(&data[8..24]).expect("16 octets")
    };
    let mut expected = 1u128.to_be_bytes();
    Aes::new(&octets(36, 36)[..16]).expect("a key").encrypt_block(&mut expected);
    assert_eq!(iv(1), expected);
    assert_ne!(iv(1)[8..], iv(2)[8..]);
}

/// RFC 8750 §4: what an explicit IV of the same value would give, without sending it.
#[test]
fn an_implicit_iv_is_the_sequence_number() {
    for (implicit, explicit) in [
        ("aes192gcm16iiv", "aes192gcm16"),
        ("aes256ccm8iiv", "aes256ccm8"),
        ("chacha20poly1305iiv", "chacha20poly1305"),
    ] {
        let [implicit, explicit] = [implicit, explicit].map(|word| Suite::esp_from_words(word).expect("a suite"));
        let (mut with, plain) = (packet(explicit, 50), packet(implicit, 50));
        let mut without = plain.clone();
        with[16..66].copy_from_slice(&plain[8..58]);
        with[..8].copy_from_slice(&plain[..8]);
        seal_one(&key(explicit), 6 << 32 | 5, true, &mut with);
        seal_one(&key(implicit), 6 << 32 | 5, true, &mut without);
        assert_eq!(with[16..], without[8..], "{implicit}");
        assert_eq!(with[8..16], [0, 0, 0, 6, 0, 0, 0, 5]);
    }
}

/// RFC 4303 §2.2.1, §3.3.2.1: the ICV is that of the packet with the high half between payload and ICV.
#[test]
fn the_high_half_is_authenticated_behind_the_payload() {
    for integrity in ["sha1", "sha256", "sha384", "sha512", "aescmac", "aesxcbc"] {
        let suite = Suite::esp_from_words(&format!("null-{integrity}")).expect("a suite");
        let (esp, ah) = (key(suite), key(Suite::ah_from_word(integrity).expect("a suite")));
        let mut data = packet(suite, 40);
        seal_one(&esp, 0x0102_0304 << 32 | 5, true, &mut data);
        let mut whole = [&data[..48], &[1, 2, 3, 4]].concat();
        assert_eq!(data[48..], seal_one(&ah, 5, false, &mut whole)[..suite.icv_len()], "{integrity}");
    }
}

/// RFC 4543 §3.3: GMAC is GCM with everything in the additional data.
#[test]
fn gmac_is_gcm_of_nothing() {
    use aes_gcm::aead::{AeadInOut, KeyInit};
    for (len, esn) in (0..80).flat_map(|len| [(len, false), (len, true)]) {
        let suite = Suite::esp_from_words("aes256gmac").expect("a suite");
        let mut data = packet(suite, len);
        seal_one(&key(suite), 9 << 32 | 5, esn, &mut data);
        let key = octets(36, 36);
        let nonce: [u8; 12] = [&key[32..], &data[8..16]].concat().try_into().expect("12 octets");
        let high: &[u8] = if esn { &[0, 0, 0, 9] } else { &[] };
        let aad = [&data[..4], high, &data[4..16 + len]].concat();
        let gcm = aes_gcm::Aes256Gcm::new_from_slice(&key[..32]).expect("a key");
        let tag = gcm.encrypt_inout_detached(&nonce.into(), &aad, (&mut [][..]).into()).expect("sealed");
        assert_eq!(data[16 + len..], tag[..], "{len} octets, ESN {esn}");
    }
}

/// RFC 4493 §4, the first 96 bits (RFC 4494).
#[test]
fn cmac_vectors() {
    let key = Mac::new(Integrity::AesCmac96, &bytes("2b7e151628aed2a6abf7158809cf4f3c")).expect("a key");
    let message = bytes(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
         30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
    );
    for (len, tag) in [
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
        (64, "51f0bebf7e3b9d92fc49741779363cfe"),
    ] {
        assert_eq!(key.tag(&message[..len], &[])[..16], bytes(tag), "{len} octets");
    }
}

/// RFC 3566 §4.6, and the same in two pieces.
#[test]
fn xcbc_vectors() {
    let counting: Vec<u8> = (0..34).collect();
    let key = Mac::new(Integrity::AesXcbc96, &counting[..16]).expect("a key");
    for (message, tag) in [
        (&counting[..0], "75f0251d528ac01c4573dfd584d79f29"),
        (&counting[..3], "5b376580ae2f19afe7219ceef172756f"),
        (&counting[..16], "d2a246fa349b68a79998a4394ff7a263"),
        (&counting[..20], "47f51b4564966215b8985c63055ed308"),
        (&counting[..32], "f54f0ec8d2b9f3d36807734bd5283fd4"),
        (&counting[..34], "becbb3bccdb518a30677d5481fb6b4d8"),
        (&[0; 1000], "f0dafee895db30253761103b5d84528f"),
    ] {
        for cut in 0..=message.len() {
            let (head, tail) = message.split_at(cut);
            assert_eq!(key.tag(head, tail)[..16], bytes(tag), "{} octets, cut at {cut}", message.len());
        }
    }
}

#[test]
fn no_suite_allocates_per_packet() {
    for suite in Suite::all() {
        let (key, mut data) = (key(suite), packet(suite, 320));
        let allocations = allocation_counter::measure(|| {
            let icv = seal_one(&key, 1, true, &mut data);
            assert!(open_one(&key, 1, true, &mut data, icv));
        });
        assert_eq!(allocations.count_total, 0, "{suite}");
    }
}
