//! Proposals in swanctl's notation: keywords joined by `-`, several of a kind are alternatives in order of preference.

use crate::suite::{IpsecProtocol, Suite, SuiteError};
use crate::transform::{Encryption, EsnMode, Integrity, KeGroup, Prf};
use core::fmt;

/// What is wrong with a proposal's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    #[error("unknown algorithm \"{word}\"")]
    UnknownWord { word: String },
    #[error("names no encryption algorithm")]
    NoEncryption,
    #[error("names no key exchange group")]
    NoGroup,
    #[error("an AEAD ({aead}) takes no integrity algorithm; move \"{other}\" to a proposal of its own")]
    MixedAead { aead: &'static str, other: &'static str },
    #[error("\"{word}\" needs an integrity algorithm, such as sha256")]
    NoIntegrity { word: &'static str },
    #[error("names no PRF; add one, such as prfsha256")]
    NoPrf,
    #[error("\"{word}\" is not for IKE SAs")]
    NotForIke { word: String },
    #[error("names no integrity algorithm")]
    NoIntegrityForAh,
    #[error("\"{word}\" encrypts, which AH does not do; use esp_proposals")]
    NotForAh { word: String },
    #[error(transparent)]
    Suite(#[from] SuiteError),
}

/// One IKE SA proposal. Never empty where the protocol needs a transform; AEADs and CBC are not mixed (RFC 7296 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeProposal {
    pub encryption: Vec<Encryption>,
    /// Empty with AEADs.
    pub integrity: Vec<Integrity>,
    pub prf: Vec<Prf>,
    pub groups: Vec<KeGroup>,
}

/// One proposal for a Child SA. `groups` empty is no PFS; `esn` never empty, in order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspProposal {
    /// Never empty, all of one protocol; all AEADs or none. Where ciphers and integrity algorithms are listed, each with
    /// each.
    pub suites: Vec<Suite>,
    pub groups: Vec<KeGroup>,
    pub esn: Vec<EsnMode>,
}

impl std::str::FromStr for IkeProposal {
    type Err = ProposalError;

    fn from_str(text: &str) -> Result<Self, ProposalError> {
        let mut proposal = Self { encryption: vec![], integrity: vec![], prf: vec![], groups: vec![] };
        for word in text.split('-') {
            if let Some(t) = Encryption::from_keyword(word) {
                if !t.is_for_ike() {
                    return Err(ProposalError::NotForIke { word: word.to_owned() });
                }
                proposal.encryption.push(t);
            } else if let Some(t) = Integrity::from_keyword(word) {
                if !t.is_for_ike() {
                    return Err(ProposalError::NotForIke { word: word.to_owned() });
                }
                proposal.integrity.push(t);
            } else if let Some(t) = Prf::from_keyword(word) {
                proposal.prf.push(t);
            } else if let Some(t) = KeGroup::from_word(word) {
                proposal.groups.push(t);
            } else {
                return Err(ProposalError::UnknownWord { word: word.to_owned() });
            }
        }
        proposal.checked()
    }
}

impl IkeProposal {
    fn checked(mut self) -> Result<Self, ProposalError> {
        let aead = self.encryption.iter().find(|e| e.is_aead());
        let plain = self.encryption.iter().find(|e| !e.is_aead());
        match (aead, plain) {
            (None, None) => return Err(ProposalError::NoEncryption),
            (Some(aead), Some(other)) => {
                return Err(ProposalError::MixedAead { aead: aead.keyword(), other: other.keyword() });
            }
            (None, Some(plain)) if self.integrity.is_empty() => {
                return Err(ProposalError::NoIntegrity { word: plain.keyword() });
            }
            _ => {}
        }
        if self.prf.is_empty() {
            self.prf = self.integrity.iter().filter_map(|i| i.matching_prf()).collect();
        }
        if self.prf.is_empty() {
            return Err(ProposalError::NoPrf);
        }
        if let (Some(aead), Some(integrity)) = (aead, self.integrity.first()) {
            return Err(ProposalError::MixedAead { aead: aead.keyword(), other: integrity.keyword() });
        }
        if self.groups.is_empty() {
            return Err(ProposalError::NoGroup);
        }
        Ok(self)
    }
}

impl std::str::FromStr for EspProposal {
    type Err = ProposalError;

    fn from_str(text: &str) -> Result<Self, ProposalError> {
        Words::read(text)?.esp()
    }
}

/// The words of a Child SA's proposal by kind.
#[derive(Default)]
struct Words {
    encryption: Vec<Encryption>,
    integrity: Vec<Integrity>,
    groups: Vec<KeGroup>,
    esn: Vec<EsnMode>,
}

impl Words {
    fn read(text: &str) -> Result<Self, ProposalError> {
        let mut words = Self::default();
        for word in text.split('-') {
            if let Some(t) = Encryption::from_keyword(word) {
                words.encryption.push(t);
            } else if let Some(t) = Integrity::from_keyword(word) {
                words.integrity.push(t);
            } else if let Some(t) = KeGroup::from_word(word) {
                words.groups.push(t);
            } else if let Some(t) = EsnMode::from_keyword(word) {
                words.esn.push(t);
            } else {
                return Err(ProposalError::UnknownWord { word: word.to_owned() });
            }
        }
        if words.esn.is_empty() {
            // Like swanctl: without a word, no extended sequence numbers.
            words.esn.push(EsnMode::No);
        }
        Ok(words)
    }

    fn esp(self) -> Result<EspProposal, ProposalError> {
        let aead = self.encryption.iter().find(|e| e.is_aead());
        let plain = self.encryption.iter().find(|e| !e.is_aead());
        match (aead, plain) {
            (None, None) => return Err(ProposalError::NoEncryption),
            (Some(aead), Some(other)) => {
                return Err(ProposalError::MixedAead { aead: aead.keyword(), other: other.keyword() });
            }
            _ => {}
        }
        let mut suites = Vec::new();
        for encryption in &self.encryption {
            if self.integrity.is_empty() {
                suites.push(Suite::esp(*encryption, None)?);
            }
            for integrity in &self.integrity {
                suites.push(Suite::esp(*encryption, Some(*integrity))?);
            }
        }
        Ok(EspProposal { suites, groups: self.groups, esn: self.esn })
    }

    fn ah(mut self) -> Result<EspProposal, ProposalError> {
        // In swanctl's AH proposals the words of GMAC mean its form for AH.
        for encryption in self.encryption {
            let gmac = Integrity::from_keyword(encryption.keyword()).filter(|i| i.is_gmac());
            self.integrity.push(gmac.ok_or(ProposalError::NotForAh { word: encryption.keyword().to_owned() })?);
        }
        if self.integrity.is_empty() {
            return Err(ProposalError::NoIntegrityForAh);
        }
        let suites = self.integrity.into_iter().map(Suite::ah).collect();
        Ok(EspProposal { suites, groups: self.groups, esn: self.esn })
    }
}

impl EspProposal {
    /// A proposal for AH: integrity algorithms, groups, esn.
    pub fn ah(text: &str) -> Result<Self, ProposalError> {
        Words::read(text)?.ah()
    }

    pub fn protocol(&self) -> IpsecProtocol {
        self.suites.first().map_or(IpsecProtocol::Esp, |suite| suite.protocol())
    }

    /// The ciphers of the suites, each once, in order of preference.
    pub fn encryptions(&self) -> Vec<Encryption> {
        distinct(self.suites.iter().filter_map(|suite| suite.encryption()))
    }

    /// The integrity algorithms of the suites, each once, in order of preference.
    pub fn integrities(&self) -> Vec<Integrity> {
        distinct(self.suites.iter().filter_map(|suite| suite.integrity()))
    }
}

fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.fold(Vec::new(), |mut seen, item| {
        if !seen.contains(&item) {
            seen.push(item);
        }
        seen
    })
}

impl fmt::Display for IkeProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.encryption.iter().map(|t| t.keyword());
        let words = words.chain(self.integrity.iter().map(|t| t.keyword()));
        let words = words.chain(self.prf.iter().map(|t| t.keyword()));
        let words: Vec<_> = words.chain(self.groups.iter().map(|t| t.keyword())).collect();
        f.write_str(&words.join("-"))
    }
}

impl fmt::Display for EspProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.encryptions().into_iter().map(Encryption::keyword);
        let words = words.chain(self.integrities().into_iter().map(Integrity::keyword));
        let words = words.chain(self.groups.iter().map(|t| t.keyword()));
        let words: Vec<_> = words.chain(self.esn.iter().map(|t| t.keyword())).collect();
        f.write_str(&words.join("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swanctl_words_round_trip() {
        for text in ["aes256gcm16-prfsha384-x25519", "aes128-sha256-prfsha256-modp2048-ecp256"] {
            assert_eq!(text.parse::<IkeProposal>().map(|p| p.to_string()), Ok(text.to_owned()));
        }
        let derived: IkeProposal = "aes256-sha512-ecp384".parse().expect("valid");
        assert_eq!(derived.prf, [Prf::HmacSha512]);
        assert_eq!("aes256gcm16-x25519".parse::<EspProposal>().unwrap().to_string(), "aes256gcm16-x25519-noesn");
        let crossed: EspProposal = "aes256-aes128-sha384-sha256-esn".parse().unwrap();
        assert_eq!(
            crossed.suites.iter().map(Suite::to_string).collect::<Vec<_>>(),
            ["aes256-sha384", "aes256-sha256", "aes128-sha384", "aes128-sha256"]
        );
        assert_eq!(crossed.to_string(), "aes256-aes128-sha384-sha256-esn");
        let ah = EspProposal::ah("sha256-aes128gmac-x25519").unwrap();
        assert_eq!((ah.protocol(), ah.to_string()), (IpsecProtocol::Ah, "sha256-aes128gmac-x25519-noesn".to_owned()));
    }

    #[test]
    fn refusals_say_what_is_missing() {
        let ike = |t: &str| t.parse::<IkeProposal>().unwrap_err();
        assert_eq!(ike("aes256gcm16-x25519"), ProposalError::NoPrf);
        assert_eq!(ike("aes256-prfsha256-x25519"), ProposalError::NoIntegrity { word: "aes256" });
        assert_eq!(ike("aes256gcm16-prfsha256"), ProposalError::NoGroup);
        assert_eq!(ike("prfsha256-x25519"), ProposalError::NoEncryption);
        assert_eq!(ike("aes256gcm16-sha256-x25519"), ProposalError::MixedAead { aead: "aes256gcm16", other: "sha256" });
        assert_eq!(ike("des-x25519"), ProposalError::UnknownWord { word: "des".into() });
        let esp = |t: &str| t.parse::<EspProposal>().unwrap_err();
        assert_eq!(esp("aes256").to_string(), "aes256 needs an integrity algorithm, such as sha256");
        assert_eq!(esp("aes256gcm16-sha256").to_string(), "an AEAD (aes256gcm16) takes no integrity algorithm");
        assert_eq!(esp("aes256-aes256gcm16-sha1"), ProposalError::MixedAead { aead: "aes256gcm16", other: "aes256" });
        let ah = |t: &str| EspProposal::ah(t).unwrap_err();
        assert_eq!(ah("aes256-sha256"), ProposalError::NotForAh { word: "aes256".into() });
        assert_eq!(ah("x25519"), ProposalError::NoIntegrityForAh);
        assert_eq!(ike("null-sha256-x25519"), ProposalError::NotForIke { word: "null".into() });
        assert_eq!(ike("aes256-sha1-x25519"), ProposalError::NotForIke { word: "sha1".into() });
        assert_eq!(esp("x25519"), ProposalError::NoEncryption);
    }
}
