//! X25519 (RFC 8031) and ECDH on P-256 and P-384 (RFC 5903) by aws-lc-rs.

use crate::{CryptoError, KeyExchange};
use aws_lc_rs::{
    agreement::{self, ECDH_P256, ECDH_P384, PrivateKey, UnparsedPublicKey, X25519},
    error::Unspecified,
};
use culvert_model::{KeGroup, SecretKey};

/// SEC 1's mark of an uncompressed point; RFC 5903 §7 leaves it out.
const UNCOMPRESSED: u8 = 4;

pub struct Curve {
    group: KeGroup,
    private: PrivateKey,
    public: Vec<u8>,
}

fn algorithm(group: KeGroup) -> Option<&'static agreement::Algorithm> {
    match group {
        KeGroup::X25519 => Some(&X25519),
        KeGroup::Ecp256 => Some(&ECDH_P256),
        KeGroup::Ecp384 => Some(&ECDH_P384),
        KeGroup::Modp2048 | KeGroup::Modp3072 | KeGroup::Modp4096 => None,
    }
}

impl Curve {
    /// `None` if the group is no curve.
    pub fn generate(group: KeGroup) -> Option<Result<Self, CryptoError>> {
        let private = PrivateKey::generate(algorithm(group)?);
        Some(private.map_err(|Unspecified| CryptoError::Backend).and_then(|private| Self::new(group, private)))
    }

    #[cfg(test)]
    pub fn from_private(group: KeGroup, octets: &[u8]) -> Self {
        let private = PrivateKey::from_private_key(algorithm(group).expect("a curve"), octets).expect("a private key");
        Self::new(group, private).expect("a public key")
    }

    fn new(group: KeGroup, private: PrivateKey) -> Result<Self, CryptoError> {
        let encoded = private.compute_public_key().map_err(|Unspecified| CryptoError::Backend)?;
        let public = match encoded.as_ref() {
            [UNCOMPRESSED, point @ ..] if group != KeGroup::X25519 => point.to_vec(),
            octets => octets.to_vec(),
        };
        if public.len() != group.public_len() {
            return Err(CryptoError::Backend);
        }
        Ok(Self { group, private, public })
    }
}

impl KeyExchange for Curve {
    fn group(&self) -> KeGroup {
        self.group
    }

    fn public(&self) -> &[u8] {
        &self.public
    }

    fn agree(self: Box<Self>, peer: &[u8]) -> Result<SecretKey, CryptoError> {
        let group = self.group;
        // The length first: the library reads other encodings too, and none of them is IKE's.
        if peer.len() != group.public_len() {
            return Err(CryptoError::PublicLength { group, got: peer.len() });
        }
        let invalid = CryptoError::PublicInvalid { group };
        let encoded = match group {
            KeGroup::X25519 => peer.to_vec(),
            _ => [&[UNCOMPRESSED], peer].concat(),
        };
        // RFC 6989 §2.3: parsing refuses what is not on the curve. The secret is the x coordinate (RFC 5903 §7).
        let peer = UnparsedPublicKey::new(self.private.algorithm(), encoded);
        agreement::agree(&self.private, peer, invalid, |secret| {
            // RFC 7748 §6.1: all zero is the result of a point of small order. The library refuses it too; this does not
            // rely on it.
            if group == KeGroup::X25519 && crate::constant_time_eq(secret, &vec![0; secret.len()]) {
                return Err(invalid);
            }
            Ok(SecretKey::from(secret))
        })
    }
}
