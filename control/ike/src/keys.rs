//! Key schedule, RFC 7296 §2.13 to §2.18.

use crate::message::{IkeSpi, Opener, Sealer};
use culvert_crypto::{CryptoError, Provider, prf_plus};
use culvert_model::{Encryption, Integrity, KeGroup, Prf, SecretKey, Suite};

/// The transforms of one IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IkeSuite {
    pub encryption: Encryption,
    /// None with AEADs.
    pub integrity: Option<Integrity>,
    pub prf: Prf,
    pub group: KeGroup,
}

impl core::fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.encryption)?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        write!(f, "-{}-{}", self.prf, self.group)
    }
}

/// Where an IKE SA's key seed comes from.
pub(crate) enum Seed<'a> {
    /// `prf(Ni | Nr, g^ir)`, §2.14.
    Fresh,
    /// `prf(SK_d (old), g^ir (new) | Ni | Nr)` with the old SA's PRF, §2.18.
    Rekey { prf: Prf, sk_d: &'a SecretKey },
}

/// SK_* of an IKE SA.
pub(crate) struct IkeKeys {
    pub sk_d: SecretKey,
    sk_a: [SecretKey; 2],
    sk_e: [SecretKey; 2],
    /// Of the initiator and of the responder.
    pub sk_pi: SecretKey,
    pub sk_pr: SecretKey,
}

/// Both nonces and SPIs, initiator's first.
#[derive(Clone, Copy)]
pub(crate) struct Pairing<'a> {
    pub ni: &'a [u8],
    pub nr: &'a [u8],
    pub spi_i: IkeSpi,
    pub spi_r: IkeSpi,
}

impl IkeKeys {
    pub fn derive(
        provider: &dyn Provider,
        suite: IkeSuite,
        seed: Seed<'_>,
        shared: &SecretKey,
        pairing: Pairing<'_>,
    ) -> Result<Self, CryptoError> {
        let Pairing { ni, nr, spi_i, spi_r } = pairing;
        let skeyseed = match seed {
            Seed::Fresh => provider.prf(suite.prf, &[ni, nr].concat(), &[shared.expose()]),
            Seed::Rekey { prf, sk_d } => provider.prf(prf, sk_d.expose(), &[shared.expose(), ni, nr]),
        };
        let prf = suite.prf.len();
        let auth = suite.integrity.map_or(0, Integrity::key_len);
        let enc = suite.encryption.key_len() + suite.encryption.salt_len();
        let lens = [prf, auth, auth, enc, enc, prf, prf];
        let stream =
            prf_plus(provider, suite.prf, skeyseed.expose(), &[ni, nr, &spi_i.0, &spi_r.0], lens.iter().sum())?;
        let mut rest = stream.expose();
        let [sk_d, ai, ar, ei, er, sk_pi, sk_pr] = lens.map(|len| {
            let (head, tail) = rest.split_at_checked(len).unwrap_or_default();
            rest = tail;
            SecretKey::from(head)
        });
        Ok(Self { sk_d, sk_a: [ai, ar], sk_e: [ei, er], sk_pi, sk_pr })
    }

    /// What seals our messages and opens the peer's.
    pub fn protection(&self, suite: IkeSuite, initiator: bool) -> Result<(Sealer, Opener), CryptoError> {
        let [ai, ar] = &self.sk_a;
        let [ei, er] = &self.sk_e;
        let (own, peer) = if initiator { ((ei, ai), (er, ar)) } else { ((er, ar), (ei, ai)) };
        let integrity = |key: &SecretKey| suite.integrity.map(|alg| (alg, key.clone()));
        let sealer = Sealer::new(suite.encryption, own.0.clone(), integrity(own.1))?;
        Ok((sealer, Opener::new(suite.encryption, peer.0.clone(), integrity(peer.1))?))
    }
}

/// AUTH by shared key, §2.15: `prf(prf(PSK, "Key Pad for IKEv2"), message | nonce | prf(SK_p, ID'))`.
pub(crate) fn psk_auth(
    provider: &dyn Provider,
    prf: Prf,
    psk: &SecretKey,
    message: &[u8],
    peer_nonce: &[u8],
    sk_p: &SecretKey,
    id_body: &[u8],
) -> SecretKey {
    let padded = provider.prf(prf, psk.expose(), &[b"Key Pad for IKEv2"]);
    let mac = provider.prf(prf, sk_p.expose(), &[id_body]);
    provider.prf(prf, padded.expose(), &[message, peer_nonce, mac.expose()])
}

/// KEYMAT of a Child SA, §2.17: the key of the initiator's outbound SA, then the responder's.
pub(crate) fn child_keys(
    provider: &dyn Provider,
    prf: Prf,
    sk_d: &SecretKey,
    shared: Option<&SecretKey>,
    ni: &[u8],
    nr: &[u8],
    suite: Suite,
) -> Result<(SecretKey, SecretKey), CryptoError> {
    let len = suite.key_len();
    let shared = shared.map_or(&[][..], SecretKey::expose);
    let stream = prf_plus(provider, prf, sk_d.expose(), &[shared, ni, nr], 2 * len)?;
    let (first, second) = stream.expose().split_at_checked(len).unwrap_or_default();
    Ok((first.into(), second.into()))
}
