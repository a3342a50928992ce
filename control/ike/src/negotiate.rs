//! Offering and choosing proposals, RFC 7296 §2.7 and §3.3.

use crate::{
    keys::IkeSuite,
    message::{KnownTransform, Proposal, Protocol, SecurityAssociation, Transform, TransformType},
};
use culvert_model::{Encryption, EsnMode, EspProposal, IkeProposal, Integrity, KeGroup, Spi, Suite};

/// The transforms of one Child SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChildSuite {
    pub suite: Suite,
    pub esn: EsnMode,
    pub group: Option<KeGroup>,
}

fn numbered(proposals: impl Iterator<Item = (Protocol, Vec<u8>, Vec<KnownTransform>)>) -> SecurityAssociation {
    let proposals = (1..=255).zip(proposals).map(|(number, (protocol, spi, transforms))| Proposal {
        number,
        protocol,
        spi,
        transforms: transforms.into_iter().map(Transform::from).collect(),
    });
    SecurityAssociation { proposals: proposals.collect() }
}

/// `spi` is empty in IKE_SA_INIT and the new SPI in a rekey.
pub(crate) fn offer_ike(ours: &[IkeProposal], spi: &[u8]) -> SecurityAssociation {
    numbered(ours.iter().map(|p| {
        let mut t: Vec<_> = p.encryption.iter().copied().map(KnownTransform::Encryption).collect();
        t.extend(p.integrity.iter().copied().map(KnownTransform::Integrity));
        t.extend(p.prf.iter().copied().map(KnownTransform::Prf));
        t.extend(p.groups.iter().copied().map(KnownTransform::Group));
        (Protocol::Ike, spi.to_vec(), t)
    }))
}

/// For ESP and AH. `groups`: not in IKE_AUTH, which has no key exchange of its own (§1.2).
pub(crate) fn offer_child(ours: &[EspProposal], spi: Spi, groups: bool) -> SecurityAssociation {
    let mut seen = Vec::new();
    for p in ours {
        let mut t: Vec<_> = p.encryptions().into_iter().map(KnownTransform::Encryption).collect();
        t.extend(p.integrities().into_iter().map(KnownTransform::Integrity));
        if groups {
            t.extend(p.groups.iter().copied().map(KnownTransform::Group));
        }
        t.extend(p.esn.iter().copied().map(KnownTransform::Esn));
        let offer = (Protocol::from(p.protocol()), spi.to_be_bytes().to_vec(), t);
        if !seen.contains(&offer) {
            seen.push(offer);
        }
    }
    numbered(seen.into_iter())
}

/// What a peer's proposal allows. A transform type that is not ours to choose makes the whole unusable (§3.3.6).
struct Theirs {
    encryption: Vec<Encryption>,
    prf: Vec<culvert_model::Prf>,
    integrity: Vec<Integrity>,
    /// INTEG named with "none" only, which equals not named (RFC 5282 §8).
    groups: Vec<KeGroup>,
    esn: Vec<EsnMode>,
    has_encryption: bool,
    has_groups: bool,
    has_integrity: bool,
}

fn read(proposal: &Proposal) -> Option<Theirs> {
    let mut t = Theirs {
        encryption: vec![],
        prf: vec![],
        integrity: vec![],
        groups: vec![],
        esn: vec![],
        has_encryption: false,
        has_groups: false,
        has_integrity: false,
    };
    for transform in &proposal.transforms {
        match transform.kind {
            TransformType::Encryption => t.has_encryption = true,
            TransformType::KeyExchange if transform.id != 0 => t.has_groups = true,
            TransformType::Integrity if transform.id != 0 => t.has_integrity = true,
            TransformType::Unknown(_) => return None,
            _ => {}
        }
        match transform.known() {
            Some(KnownTransform::Encryption(x)) => t.encryption.push(x),
            Some(KnownTransform::Prf(x)) => t.prf.push(x),
            Some(KnownTransform::Integrity(x)) => t.integrity.push(x),
            Some(KnownTransform::Group(x)) => t.groups.push(x),
            Some(KnownTransform::Esn(x)) => t.esn.push(x),
            None => {}
        }
    }
    Some(t)
}

impl Theirs {
    /// RFC 5282 §8: an AEAD goes with no integrity algorithm, any other cipher with one. AH has no cipher (§3.3.3).
    fn allow(&self, suite: Suite) -> bool {
        let integrity = suite.integrity().map_or(!self.has_integrity, |i| self.integrity.contains(&i));
        let encryption = suite.encryption().map_or(!self.has_encryption, |e| self.encryption.contains(&e));
        integrity && encryption
    }
}

/// The first of `ours` that is among `theirs`.
fn first<T: Copy + PartialEq>(ours: &[T], theirs: &[T]) -> Option<T> {
    ours.iter().copied().find(|t| theirs.contains(t))
}

fn match_ike(ours: &IkeProposal, theirs: &Theirs, wish: Option<KeGroup>) -> Option<IkeSuite> {
    let encryption = first(&ours.encryption, &theirs.encryption)?;
    let integrity = if encryption.is_aead() {
        if theirs.has_integrity {
            return None;
        }
        None
    } else {
        Some(first(&ours.integrity, &theirs.integrity)?)
    };
    let prf = first(&ours.prf, &theirs.prf)?;
    // The group of the KE payload saves a round trip if both allow it.
    let wished = wish.filter(|g| ours.groups.contains(g) && theirs.groups.contains(g));
    let group = wished.or_else(|| first(&ours.groups, &theirs.groups))?;
    Some(IkeSuite { encryption, integrity, prf, group })
}

/// The proposal of the answer, and what it means. `wish` is the group of the peer's KE payload.
pub(crate) fn choose_ike(
    ours: &[IkeProposal],
    offer: &SecurityAssociation,
    wish: Option<KeGroup>,
) -> Option<(IkeSuite, Proposal)> {
    let candidates = offer.proposals.iter().filter(|p| p.protocol == Protocol::Ike);
    let read: Vec<_> = candidates.filter_map(|p| Some((p, read(p)?))).collect();
    let mut found = ours.iter().flat_map(|own| read.iter().map(move |(p, theirs)| (own, *p, theirs)));
    found.find_map(|(own, p, theirs)| {
        let suite = match_ike(own, theirs, wish)?;
        let mut transforms = vec![KnownTransform::Encryption(suite.encryption)];
        transforms.extend(suite.integrity.map(KnownTransform::Integrity));
        transforms.extend([KnownTransform::Prf(suite.prf), KnownTransform::Group(suite.group)]);
        Some((suite, answer(p, transforms)))
    })
}

fn answer(offer: &Proposal, transforms: Vec<KnownTransform>) -> Proposal {
    let transforms = transforms.into_iter().map(Transform::from).collect();
    Proposal { number: offer.number, protocol: offer.protocol, spi: offer.spi.clone(), transforms }
}

fn match_child(ours: &EspProposal, theirs: &Theirs, pfs: bool, wish: Option<KeGroup>) -> Option<ChildSuite> {
    let suite = ours.suites.iter().copied().find(|suite| theirs.allow(*suite))?;
    let esn = first(&ours.esn, &theirs.esn)?;
    let group = match (pfs, ours.groups.is_empty(), theirs.has_groups) {
        (false, ..) | (true, true, false) => None,
        (true, true, true) | (true, false, false) => return None,
        (true, false, true) => {
            let wished = wish.filter(|g| ours.groups.contains(g) && theirs.groups.contains(g));
            Some(wished.or_else(|| first(&ours.groups, &theirs.groups))?)
        }
    };
    Some(ChildSuite { suite, esn, group })
}

/// The choice for a Child SA, the proposal of the answer and the peer's SPI. `pfs`: outside IKE_AUTH.
pub(crate) fn choose_child(
    ours: &[EspProposal],
    offer: &SecurityAssociation,
    pfs: bool,
    wish: Option<KeGroup>,
) -> Option<(ChildSuite, Proposal, Spi)> {
    let candidates = offer.proposals.iter().filter(|p| matches!(p.protocol, Protocol::Esp | Protocol::Ah));
    let read: Vec<_> = candidates.filter_map(|p| Some((p, child_spi(p)?, read(p)?))).collect();
    let mut found = ours.iter().flat_map(|own| read.iter().map(move |(p, spi, theirs)| (own, *p, *spi, theirs)));
    found.find_map(|(own, p, spi, theirs)| {
        let chosen = match_child(own, theirs, pfs, wish).filter(|_| p.protocol == own.protocol().into())?;
        let suite = chosen.suite;
        let mut transforms: Vec<_> = suite.encryption().map(KnownTransform::Encryption).into_iter().collect();
        transforms.extend(suite.integrity().map(KnownTransform::Integrity));
        transforms.extend(chosen.group.map(KnownTransform::Group));
        transforms.push(KnownTransform::Esn(chosen.esn));
        Some((chosen, answer(p, transforms), spi))
    })
}

fn child_spi(proposal: &Proposal) -> Option<Spi> {
    let octets = <[u8; 4]>::try_from(proposal.spi.as_slice()).ok()?;
    Spi::new(u32::from_be_bytes(octets)).ok()
}

/// An answer must be one proposal with one transform of each type (§2.7); then choosing from it gives all of it.
pub(crate) fn single(answer: &SecurityAssociation) -> bool {
    let [proposal] = answer.proposals.as_slice() else { return false };
    proposal
        .transforms
        .iter()
        .enumerate()
        .all(|(i, t)| proposal.transforms.iter().skip(i + 1).all(|u| u.kind != t.kind))
}

/// A peer's offer for a report.
pub(crate) fn describe(offer: &SecurityAssociation) -> String {
    let proposal = |p: &Proposal| {
        let words = p.transforms.iter().map(|t| match t.known() {
            Some(KnownTransform::Encryption(x)) => x.to_string(),
            Some(KnownTransform::Prf(x)) => x.to_string(),
            Some(KnownTransform::Integrity(x)) => x.to_string(),
            Some(KnownTransform::Group(x)) => x.to_string(),
            Some(KnownTransform::Esn(x)) => x.to_string(),
            None => format!("{:?}:{}", t.kind, t.id),
        });
        words.collect::<Vec<_>>().join("-")
    };
    offer.proposals.iter().map(proposal).collect::<Vec<_>>().join(", ")
}

/// IKE_SA_INIT chose from the proposals of every connection that fits by address; the one that IKE_AUTH finds must
/// stand by the choice.
pub fn allows(ours: &[IkeProposal], suite: IkeSuite) -> bool {
    ours.iter().any(|own| {
        own.encryption.contains(&suite.encryption)
            && own.prf.contains(&suite.prf)
            && own.groups.contains(&suite.group)
            && suite.integrity.is_none_or(|integrity| own.integrity.contains(&integrity))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_model::IpsecProtocol;

    fn ike(text: &str) -> IkeProposal {
        text.parse().expect(text)
    }

    fn esp(text: &str) -> EspProposal {
        text.parse().expect(text)
    }

    #[test]
    fn our_order_decides() {
        let offer = offer_ike(&[ike("aes128gcm16-aes256gcm16-prfsha256-prfsha384-x25519-ecp256")], &[]);
        let ours = [ike("aes256gcm16-prfsha384-ecp256-x25519")];
        let (suite, answer) = choose_ike(&ours, &offer, None).expect("in common");
        assert_eq!(suite.to_string(), "aes256gcm16-prfsha384-ecp256");
        assert!(single(&SecurityAssociation { proposals: vec![answer] }));
        let (suite, _) = choose_ike(&ours, &offer, Some(KeGroup::X25519)).expect("in common");
        assert_eq!(suite.group, KeGroup::X25519);
    }

    #[test]
    fn nothing_in_common() {
        let offer = offer_ike(&[ike("aes128-sha256-modp2048")], &[]);
        assert!(choose_ike(&[ike("aes256gcm16-prfsha384-x25519")], &offer, None).is_none());
        assert!(choose_ike(&[ike("aes128-sha256-x25519")], &offer, None).is_none());
    }

    #[test]
    fn an_unknown_transform_type_spoils_its_proposal_only() {
        let mut offer = offer_ike(&[ike("aes128-sha256-modp2048"), ike("aes128-sha256-modp2048")], &[]);
        offer.proposals[0].transforms.push(Transform { kind: TransformType::Unknown(9), id: 1, attributes: vec![] });
        let (_, answer) = choose_ike(&[ike("aes128-sha256-modp2048")], &offer, None).expect("the second");
        assert_eq!(answer.number, 2);
    }

    #[test]
    fn groups_must_agree_outside_ike_auth() {
        let spi = Spi::new(0x1234).expect("spi");
        let with = offer_child(&[esp("aes256gcm16-x25519-esn")], spi, true);
        let without = offer_child(&[esp("aes256gcm16-x25519-esn")], spi, false);
        let ours = [esp("aes256gcm16-x25519-esn")];
        assert_eq!(choose_child(&ours, &with, true, None).expect("pfs").0.group, Some(KeGroup::X25519));
        assert!(choose_child(&ours, &without, true, None).is_none());
        assert_eq!(choose_child(&ours, &without, false, None).expect("auth").0.group, None);
        assert!(choose_child(&[esp("aes256gcm16-esn")], &with, true, None).is_none());
        assert!(choose_child(&[esp("aes256gcm16-noesn")], &without, false, None).is_none());
    }

    fn spi() -> Spi {
        Spi::new(0x1234).expect("spi")
    }

    /// What `ours` and `theirs` agree on, and in which proposal of theirs.
    fn agree(ours: &[EspProposal], theirs: &[EspProposal]) -> Option<(String, u8)> {
        let (chosen, answer, _) = choose_child(ours, &offer_child(theirs, spi(), true), true, None)?;
        Some((chosen.suite.to_string(), answer.number))
    }

    /// RFC 7296 §3.3.5: only ciphers of several key lengths carry the attribute; §3.3.3: AH has no cipher, an AEAD no
    /// integrity algorithm.
    #[test]
    fn every_suite_is_offered_in_its_own_form_and_understood() {
        for suite in Suite::all() {
            let proposal = match suite.protocol() {
                IpsecProtocol::Esp => esp(&suite.to_string()),
                IpsecProtocol::Ah => EspProposal::ah(&suite.to_string()).expect("AH"),
            };
            let offer = offer_child(std::slice::from_ref(&proposal), spi(), true);
            let [sent] = offer.proposals.as_slice() else { panic!("one proposal") };
            let of = |kind| sent.transforms.iter().filter(move |t| t.kind == kind);
            let ciphers: Vec<_> = of(TransformType::Encryption).collect();
            assert_eq!(ciphers.len(), usize::from(suite.encryption().is_some()), "{suite}");
            assert_eq!(of(TransformType::Integrity).count(), usize::from(suite.integrity().is_some()), "{suite}");
            let fixed = matches!(suite.encryption().map(|e| e.id()), Some(11 | 28 | 31));
            assert!(ciphers.iter().all(|t| t.attributes.is_empty() == fixed), "{suite}");
            assert!(of(TransformType::Integrity).all(|t| t.attributes.is_empty()), "{suite}");
            let (chosen, answer, _) = choose_child(&[proposal], &offer, true, None).expect("itself");
            assert_eq!((chosen.suite, answer.protocol), (suite, suite.protocol().into()));
            assert!(single(&SecurityAssociation { proposals: vec![answer] }), "{suite}");
        }
    }

    #[test]
    fn a_key_length_where_none_belongs_makes_another_transform() {
        use crate::message::Attribute;
        for word in ["chacha20poly1305", "null-sha256"] {
            let mut offer = offer_child(&[esp(word)], spi(), true);
            offer.proposals[0].transforms[0].attributes.push(Attribute::Short { kind: 14, value: 256 });
            assert!(choose_child(&[esp(word)], &offer, true, None).is_none(), "{word}");
        }
        let mut offer = offer_child(&[esp("aes256-sha256")], spi(), true);
        offer.proposals[0].transforms[0].attributes.clear();
        assert!(choose_child(&[esp("aes256-sha256")], &offer, true, None).is_none(), "AES needs one");
    }

    #[test]
    fn ciphers_and_integrity_go_together_as_they_must() {
        let with_integrity = |word: &str| {
            let mut offer = offer_child(&[esp(word)], spi(), true);
            offer.proposals[0].transforms.push(KnownTransform::Integrity(Integrity::HmacSha256_128).into());
            offer
        };
        assert!(choose_child(&[esp("aes256gcm16")], &with_integrity("aes256gcm16"), true, None).is_none());
        // "none" is the same as nothing (RFC 5282 §8).
        let mut none = offer_child(&[esp("aes256gcm16")], spi(), true);
        none.proposals[0].transforms.push(Transform { kind: TransformType::Integrity, id: 0, attributes: vec![] });
        assert!(choose_child(&[esp("aes256gcm16")], &none, true, None).is_some());
        let ah = EspProposal::ah("sha256").expect("AH");
        let mut ciphered = offer_child(std::slice::from_ref(&ah), spi(), true);
        ciphered.proposals[0].transforms.push(KnownTransform::Encryption(Encryption::Null).into());
        assert!(choose_child(&[ah], &ciphered, true, None).is_none(), "AH does not encrypt");
    }

    /// RFC 8750 §5: a peer that does not know the implicit IV takes the proposal with the explicit one.
    #[test]
    fn explicit_ivs_are_for_peers_that_know_no_others() {
        let both = [esp("aes128gcm16iiv"), esp("aes128gcm16")];
        let old = [esp("aes128gcm16")];
        assert_eq!(agree(&old, &both), Some(("aes128gcm16".into(), 2)));
        assert_eq!(agree(&both, &old), Some(("aes128gcm16".into(), 1)));
        assert_eq!(agree(&both, &both), Some(("aes128gcm16iiv".into(), 1)));
    }

    #[test]
    fn esp_and_ah_are_alternatives() {
        let ah = || EspProposal::ah("sha384-sha256").expect("AH");
        assert_eq!(agree(&[ah()], &[esp("aes128-sha256"), ah()]), Some(("sha384".into(), 2)));
        assert_eq!(agree(&[esp("aes128-sha256"), ah()], &[ah()]), Some(("sha384".into(), 1)));
        assert_eq!(agree(&[ah()], &[esp("null-sha256")]), None);
    }
}
