//! Integrity algorithms that stand alone.

use super::aes::Aes;
use crate::crypto::MAX_ICV;
use aes::Aes128;
use cmac::Cmac;
use culvert_model::Integrity;
use hmac::{Hmac, KeyInit};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A keyed hash: padded keys are hashed already.
pub(super) enum Mac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
    Cmac(Box<Cmac<Aes128>>),
    Xcbc(Box<Xcbc>),
}

impl Mac {
    /// `None` where the algorithm takes a nonce, or the key has another length.
    pub fn new(integrity: Integrity, key: &[u8]) -> Option<Self> {
        // An HMAC would take any.
        if key.len() != integrity.key_len() {
            return None;
        }
        match integrity {
            Integrity::HmacSha1_96 => Hmac::new_from_slice(key).ok().map(Self::Sha1),
            Integrity::HmacSha256_128 => Hmac::new_from_slice(key).ok().map(Self::Sha256),
            Integrity::HmacSha384_192 => Hmac::new_from_slice(key).ok().map(Self::Sha384),
            Integrity::HmacSha512_256 => Hmac::new_from_slice(key).ok().map(Self::Sha512),
            Integrity::AesCmac96 => Cmac::new_from_slice(key).ok().map(Box::new).map(Self::Cmac),
            Integrity::AesXcbc96 => Xcbc::new(key).map(Box::new).map(Self::Xcbc),
            Integrity::Aes128Gmac | Integrity::Aes192Gmac | Integrity::Aes256Gmac => None,
        }
    }

    /// Over `data` and `tail` behind it. The ICV is what comes first of it, as long as the suite says.
    pub fn tag(&self, data: &[u8], tail: &[u8]) -> [u8; MAX_ICV] {
        match self {
            Self::Sha1(mac) => finish(mac.clone(), data, tail),
            Self::Sha256(mac) => finish(mac.clone(), data, tail),
            Self::Sha384(mac) => finish(mac.clone(), data, tail),
            Self::Sha512(mac) => finish(mac.clone(), data, tail),
            Self::Cmac(mac) => finish(mac.as_ref().clone(), data, tail),
            Self::Xcbc(mac) => start(&mac.tag(data, tail)),
        }
    }
}

fn finish(mut mac: impl hmac::Mac, data: &[u8], tail: &[u8]) -> [u8; MAX_ICV] {
    mac.update(data);
    mac.update(tail);
    start(&mac.finalize().into_bytes())
}

fn start(tag: &[u8]) -> [u8; MAX_ICV] {
    let mut out = [0; MAX_ICV];
    for (to, from) in out.iter_mut().zip(tag) {
        *to = *from;
    }
    out
}

/// AES-XCBC-MAC (RFC 3566 §4). No crate has it.
pub(super) struct Xcbc {
    /// Under K1.
    aes: Aes,
    last: LastBlock,
}

/// What goes into the last block: K2 where that is whole, K3 where it is padded.
#[derive(Zeroize, ZeroizeOnDrop)]
struct LastBlock {
    whole: [u8; 16],
    padded: [u8; 16],
}

impl Xcbc {
    fn new(key: &[u8]) -> Option<Self> {
        let aes = Aes::new(key)?;
        let derive = |octet: u8| {
            let mut block = [octet; 16];
            aes.encrypt_block(&mut block);
            block
        };
        let mut first = derive(1);
        let last = LastBlock { whole: derive(2), padded: derive(3) };
        let under_first = Aes::new(&first);
        first.zeroize();
        Some(Self { aes: under_first?, last })
    }

    fn tag(&self, data: &[u8], tail: &[u8]) -> [u8; 16] {
        let mut state = State { aes: &self.aes, chain: [0; 16], used: 0 };
        state.update(data);
        state.update(tail);
        state.finish(&self.last)
    }
}

/// CBC-MAC; the last block waits, because it is treated in another way.
struct State<'a> {
    aes: &'a Aes,
    chain: [u8; 16],
    /// Octets mixed into `chain` since it was last encrypted.
    used: usize,
}

impl State<'_> {
    fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.used == self.chain.len() {
                self.aes.encrypt_block(&mut self.chain);
                self.used = 0;
            }
            let (now, later) = data.split_at(data.len().min(self.chain.len() - self.used));
            for (to, from) in self.chain.iter_mut().skip(self.used).zip(now) {
                *to ^= from;
            }
            self.used += now.len();
            data = later;
        }
    }

    fn finish(mut self, last: &LastBlock) -> [u8; 16] {
        let key = if self.used == self.chain.len() {
            &last.whole
        } else {
            if let Some(octet) = self.chain.get_mut(self.used) {
                *octet ^= 0x80;
            }
            &last.padded
        };
        for (to, from) in self.chain.iter_mut().zip(key) {
            *to ^= from;
        }
        self.aes.encrypt_block(&mut self.chain);
        self.chain
    }
}
