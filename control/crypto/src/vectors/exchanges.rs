//! RFC 7748, RFC 5903, and MODP against Python's `pow`.

use super::octets;
use crate::{
    AwsLc, CryptoError, KeyExchange, Provider,
    curve::Curve,
    modp::{EXPONENT_LEN, Modp},
};
use aws_lc_rs::digest;
use culvert_model::{KeGroup, SecretKey};

fn curve_agrees(group: KeGroup, private: [&str; 2], public: [&str; 2], secret: &str) {
    let [ours, theirs] = private.map(|text| Box::new(Curve::from_private(group, &octets(text))));
    let [our_public, their_public] = public.map(octets);
    assert_eq!(ours.public(), our_public);
    assert_eq!(theirs.public(), their_public);
    assert_eq!(ours.agree(&their_public).unwrap().expose(), octets(secret));
    assert_eq!(theirs.agree(&our_public).unwrap().expose(), octets(secret));
}

#[test]
fn rfc_7748_x25519() {
    curve_agrees(
        KeGroup::X25519,
        [
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        ],
        [
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        ],
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
    );
}

#[test]
fn rfc_5903_p256() {
    curve_agrees(
        KeGroup::Ecp256,
        [
            "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
            "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53",
        ],
        [
            "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180\
             5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3",
            "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63\
             56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
        ],
        "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de",
    );
}

#[test]
fn rfc_5903_p384() {
    curve_agrees(
        KeGroup::Ecp384,
        [
            "099f3c7034d4a2c699884d73a375a67f7624ef7c6b3c0f160647b67414dce655e35b538041e649ee3faef896783ab194",
            "41cb0779b4bdb85d47846725fbec3c9430fab46cc8dc5060855cc9bda0aa2942e0308312916b8ed2960e4bd55a7448fc",
        ],
        [
            "667842d7d180ac2cde6f74f37551f55755c7645c20ef73e31634fe72b4c55ee6de3ac808acb4bdb4c88732aee95f41aa\
             9482ed1fc0eeb9cafc4984625ccfc23f65032149e0e144ada024181535a0f38eeb9fcff3c2c947dae69b4c634573a81c",
            "e558dbef53eecde3d3fccfc1aea08a89a987475d12fd950d83cfa41732bc509d0d1ac43a0336def96fda41d0774a3571\
             dcfbec7aacf3196472169e838430367f66eebe3c6e70c416dd5f0c68759dd1fff83fa40142209dff5eaad96db9e6386c",
        ],
        "11187331c279962d93d604243fd592cb9d0a926f422e47187521287e7156c5c4d603135569b9e9d09cf5d4a270f59746",
    );
}

/// Exponents in hex; SHA-256 of the public values and of the secret.
struct Answer {
    group: KeGroup,
    ours: &'static str,
    theirs: &'static str,
    our_public: &'static str,
    their_public: &'static str,
    secret: &'static str,
}

fn sha256(octets: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, octets).as_ref().to_vec()
}

fn modp(group: KeGroup, exponent: &str) -> Box<Modp> {
    let exponent: [u8; EXPONENT_LEN] = octets(exponent).try_into().expect("64 octets");
    Box::new(Modp::new(group, &exponent).expect("a MODP group"))
}

/// The primes were computed from RFC 3526's formula (2^n - 2^(n-64) - 1 + 2^64 * (floor(2^(n-130) pi) + c)), the answers
/// with `pow(2, x, p)`.
#[test]
fn modp_known_answers() {
    let answers = [
        Answer {
            group: KeGroup::Modp2048,
            ours: "59ba1b0d5c9061582909406c2e416788f5ec52ed0108847512e1bc7656670b141509bb0a9bf13331ca118783593942a447eaa0992cb6916d86dc283cf0480ff9",
            theirs: "142c83647806857713e783e7eb04b39b68b4aef73eaabe171d8a4eace693ae2d9a1e40b458151a9959e2d15364c7a5005d32fe61985fb4e72a095ee82bb29976",
            our_public: "4c6e80802b3f8470ec3d4870562080fa5e9a9184c5b9d7f2cc6f98633d4ce7f9",
            their_public: "311c782b89ba809e9fa9447829425ca34027b2f1b6725dd9dfaf3452e9074d5b",
            secret: "773e59734288e63794d63ff6da531d6629694b2ff15389692a8e5bd54de88064",
        },
        Answer {
            group: KeGroup::Modp3072,
            ours: "6e704245a4ff91e3e7949b80dcb0b82ec0290103855dbf5559ec8712e8e3574f00a154d85ed8abcc35c719c2add9ca883b041641178854f2260df25453fe2e85",
            theirs: "627bf3225fac9cb6e34acb115ee347dd9ed89eddd6846325b600e6129ec04ece4350cc1721e52f212cd552a09ddbef12de1b1471320a88ea37a788d106762832",
            our_public: "b0a1e5866cef29f076be20990de9f839335ee378cac68d48f5f27498d28bf71f",
            their_public: "6d79ef4c315f644340f4dd21fc09c5925b55d645e22b55ea3b141ae9cc79ace0",
            secret: "825a310744e88bdfbc7e34a377b8766dc3e2ecdaffd8f30c7e40374e8a94f506",
        },
        Answer {
            group: KeGroup::Modp4096,
            ours: "e07cb5793e7fb97bfcc1c0c8b0cdf20a990d3cd8381df22f050c86bd84e0164b43f2f1936e85df0875927b0fe339d309a930d55d9545f0f3ee889fe46f2c7a8c",
            theirs: "c44a66f4cf25e3465cbe4f50bdbcda989672be1a7fed0bb9a92fa271dbc529331dcd327f761e07cb7b7e8913655c1d1578f6d82486ea0214b5c34e7e77ca4499",
            our_public: "528ac07b306558a2d69a725324f5b18330601da90db267839e5d0d3b8b70a7ac",
            their_public: "b61266643106795b2eafeff76aeb8ba6d0fd00cf036c941c65fbc3f80d472852",
            secret: "73f029d111695500ee3860244b67d513a659f13472c1ab816392336a9d8ac1a9",
        },
    ];
    for answer in answers {
        let (ours, theirs) = (modp(answer.group, answer.ours), modp(answer.group, answer.theirs));
        let (our_public, their_public) = (ours.public().to_vec(), theirs.public().to_vec());
        assert_eq!(our_public.len(), answer.group.public_len());
        assert_eq!(sha256(&our_public), octets(answer.our_public), "{}", answer.group);
        assert_eq!(sha256(&their_public), octets(answer.their_public), "{}", answer.group);
        assert_eq!(sha256(ours.agree(&their_public).unwrap().expose()), octets(answer.secret), "{}", answer.group);
        assert_eq!(sha256(theirs.agree(&our_public).unwrap().expose()), octets(answer.secret), "{}", answer.group);
    }
}

/// RFC 7296 §2.14: the secret keeps the length of the prime. This pair's begins with a zero octet.
#[test]
fn modp_secret_keeps_leading_zeros() {
    let ours = modp(
        KeGroup::Modp2048,
        "310a853eec9a72f24ea9877af376bc252e460a9618949a23d9855162fd0b00ea\
         4f859933fdf0a45f57e485b6761978dd1e2ed6cb6470ff1f134b8db4b18fbdb1",
    );
    let theirs = modp(KeGroup::Modp2048, &format!("{:0128x}", 2077));
    let secret = ours.agree(theirs.public()).unwrap();
    assert_eq!(secret.len(), 256);
    assert_eq!(secret.expose()[..8], octets("00ba51ffc7fb775d"));
}

/// RFC 6989 §2.1: 1 < y < p - 1.
#[test]
fn modp_values_at_the_edge_are_refused() {
    for group in [KeGroup::Modp2048, KeGroup::Modp3072, KeGroup::Modp4096] {
        let len = group.public_len();
        let small = |value: u8| [vec![0; len - 1], vec![value]].concat();
        // All three primes end in 64 one bits; so p - 1 and p - 2 differ from p in the last octet only.
        let near = |below: u8| {
            let mut octets = octets(crate::modp::prime(group));
            *octets.last_mut().unwrap() -= below;
            octets
        };
        let agree = |peer: &[u8]| modp(group, &"17".repeat(EXPONENT_LEN)).agree(peer).map(|secret| secret.len());
        let invalid = Err(CryptoError::PublicInvalid { group });
        for bad in [small(0), small(1), near(1), near(0), vec![0xff; len]] {
            assert_eq!(agree(&bad), invalid, "{group}");
        }
        for good in [small(2), near(2)] {
            assert_eq!(agree(&good), Ok(len), "{group}");
        }
        assert_eq!(agree(&small(2)[1..]), Err(CryptoError::PublicLength { group, got: len - 1 }));
    }
}

#[test]
fn points_off_the_curve_are_refused() {
    for group in [KeGroup::Ecp256, KeGroup::Ecp384] {
        let pair = AwsLc.generate(group).unwrap();
        let mut peer = AwsLc.generate(group).unwrap().public().to_vec();
        *peer.last_mut().unwrap() ^= 1;
        assert_eq!(pair.agree(&peer).err(), Some(CryptoError::PublicInvalid { group }));
        // SEC 1 forms that the library would read.
        let compressed = [&[2], &peer[..group.public_len() / 2]].concat();
        let refused = AwsLc.generate(group).unwrap().agree(&compressed).err();
        assert_eq!(refused, Some(CryptoError::PublicLength { group, got: compressed.len() }));
        let zero = vec![0; group.public_len()];
        let refused = AwsLc.generate(group).unwrap().agree(&zero).err();
        assert_eq!(refused, Some(CryptoError::PublicInvalid { group }));
    }
}

#[test]
fn x25519_refuses_small_order() {
    let group = KeGroup::X25519;
    let one = [&[1][..], &[0; 31]].concat();
    for bad in [vec![0; 32], one] {
        let refused = AwsLc.generate(group).unwrap().agree(&bad).err();
        assert_eq!(refused, Some(CryptoError::PublicInvalid { group }));
    }
    let refused = AwsLc.generate(group).unwrap().agree(&[9; 33]).err();
    assert_eq!(refused, Some(CryptoError::PublicLength { group, got: 33 }));
}

#[test]
fn fresh_pairs_agree_in_every_group() {
    for group in KeGroup::ALL {
        let (a, b) = (AwsLc.generate(*group).unwrap(), AwsLc.generate(*group).unwrap());
        assert_eq!((a.group(), a.public().len()), (*group, group.public_len()));
        let (public_a, public_b) = (a.public().to_vec(), b.public().to_vec());
        assert_ne!(public_a, public_b);
        let (left, right): (SecretKey, SecretKey) = (a.agree(&public_b).unwrap(), b.agree(&public_a).unwrap());
        assert!(left == right, "{group}");
        let coordinate = if matches!(group, KeGroup::Ecp256 | KeGroup::Ecp384) { 2 } else { 1 };
        assert_eq!(left.len(), group.public_len() / coordinate);
    }
}
