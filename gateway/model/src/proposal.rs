//! Proposals in swanctl's notation: keywords joined by `-`, several of a kind are alternatives in order of preference.

use crate::sa::Suite;
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
    #[error("\"{word}\" is not available for ESP; use aes128gcm16 or aes256gcm16")]
    NotForEsp { word: String },
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

/// One ESP proposal. `groups` empty is no PFS; `esn` never empty, in order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspProposal {
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
                proposal.encryption.push(t);
            } else if let Some(t) = Integrity::from_keyword(word) {
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
            self.prf = self.integrity.iter().map(|i| i.matching_prf()).collect();
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
        let mut proposal = Self { suites: vec![], groups: vec![], esn: vec![] };
        for word in text.split('-') {
            if let Some(suite) = Suite::ALL.into_iter().find(|s| s.keyword() == word) {
                proposal.suites.push(suite);
            } else if let Some(t) = KeGroup::from_word(word) {
                proposal.groups.push(t);
            } else if let Some(t) = EsnMode::from_keyword(word) {
                proposal.esn.push(t);
            } else if Encryption::from_keyword(word).is_some() || Integrity::from_keyword(word).is_some() {
                return Err(ProposalError::NotForEsp { word: word.to_owned() });
            } else {
                return Err(ProposalError::UnknownWord { word: word.to_owned() });
            }
        }
        if proposal.suites.is_empty() {
            return Err(ProposalError::NoEncryption);
        }
        if proposal.esn.is_empty() {
            // Like swanctl: without a word, no extended sequence numbers.
            proposal.esn.push(EsnMode::No);
        }
        Ok(proposal)
    }
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
        let words = self.suites.iter().map(|t| t.keyword());
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
        assert_eq!(esp("aes256-sha256"), ProposalError::NotForEsp { word: "aes256".into() });
        assert_eq!(esp("x25519"), ProposalError::NoEncryption);
    }
}
