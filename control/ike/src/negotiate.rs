//! Offering and choosing proposals, RFC 7296 §2.7 and §3.3.

use crate::{
    keys::IkeSuite,
    message::{KnownTransform, Proposal, Protocol, SecurityAssociation, Transform, TransformType},
};
use culvert_model::{Encryption, EsnMode, EspProposal, IkeProposal, Integrity, KeGroup, Spi, Suite};

/// The transforms of one Child SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EspSuite {
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

/// `groups`: not in IKE_AUTH, which has no key exchange of its own (§1.2).
pub(crate) fn offer_esp(ours: &[EspProposal], spi: Spi, groups: bool) -> SecurityAssociation {
    let mut seen = Vec::new();
    for p in ours {
        let mut t: Vec<_> = p.encryptions().into_iter().map(KnownTransform::Encryption).collect();
        t.extend(p.integrities().into_iter().map(KnownTransform::Integrity));
        if groups {
            t.extend(p.groups.iter().copied().map(KnownTransform::Group));
        }
        t.extend(p.esn.iter().copied().map(KnownTransform::Esn));
        if !seen.contains(&t) {
            seen.push(t);
        }
    }
    numbered(seen.into_iter().map(|t| (Protocol::Esp, spi.to_be_bytes().to_vec(), t)))
}

/// What a peer's proposal allows. A transform type that is not ours to choose makes the whole unusable (§3.3.6).
struct Theirs {
    encryption: Vec<Encryption>,
    prf: Vec<culvert_model::Prf>,
    integrity: Vec<Integrity>,
    /// INTEG named with "none" only, which equals not named (RFC 5282 §8).
    groups: Vec<KeGroup>,
    esn: Vec<EsnMode>,
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
        has_groups: false,
        has_integrity: false,
    };
    for transform in &proposal.transforms {
        match transform.kind {
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
    /// RFC 5282 §8: an AEAD goes with no integrity algorithm, anything else with one.
    fn allow(&self, suite: Suite) -> bool {
        let integrity = suite.integrity().map_or(!self.has_integrity, |i| self.integrity.contains(&i));
        integrity && suite.encryption().is_some_and(|e| self.encryption.contains(&e))
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

fn match_esp(ours: &EspProposal, theirs: &Theirs, pfs: bool, wish: Option<KeGroup>) -> Option<EspSuite> {
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
    Some(EspSuite { suite, esn, group })
}

/// The choice for a Child SA, the proposal of the answer and the peer's SPI. `pfs`: outside IKE_AUTH.
pub(crate) fn choose_esp(
    ours: &[EspProposal],
    offer: &SecurityAssociation,
    pfs: bool,
    wish: Option<KeGroup>,
) -> Option<(EspSuite, Proposal, Spi)> {
    let candidates = offer.proposals.iter().filter(|p| p.protocol == Protocol::Esp);
    let read: Vec<_> = candidates.filter_map(|p| Some((p, esp_spi(p)?, read(p)?))).collect();
    let mut found = ours.iter().flat_map(|own| read.iter().map(move |(p, spi, theirs)| (own, *p, *spi, theirs)));
    found.find_map(|(own, p, spi, theirs)| {
        let chosen = match_esp(own, theirs, pfs, wish)?;
        let suite = chosen.suite;
        let mut transforms: Vec<_> = suite.encryption().map(KnownTransform::Encryption).into_iter().collect();
        transforms.extend(suite.integrity().map(KnownTransform::Integrity));
        transforms.extend(chosen.group.map(KnownTransform::Group));
        transforms.push(KnownTransform::Esn(chosen.esn));
        Some((chosen, answer(p, transforms), spi))
    })
}

fn esp_spi(proposal: &Proposal) -> Option<Spi> {
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
        let with = offer_esp(&[esp("aes256gcm16-x25519-esn")], spi, true);
        let without = offer_esp(&[esp("aes256gcm16-x25519-esn")], spi, false);
        let ours = [esp("aes256gcm16-x25519-esn")];
        assert_eq!(choose_esp(&ours, &with, true, None).expect("pfs").0.group, Some(KeGroup::X25519));
        assert!(choose_esp(&ours, &without, true, None).is_none());
        assert_eq!(choose_esp(&ours, &without, false, None).expect("auth").0.group, None);
        assert!(choose_esp(&[esp("aes256gcm16-esn")], &with, true, None).is_none());
        assert!(choose_esp(&[esp("aes256gcm16-noesn")], &without, false, None).is_none());
    }
}
