//! AES of the three key lengths, and the two modes that authenticate nothing.

use aes::cipher::{
    Array, Block, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit, StreamCipher,
    StreamCipherCoreWrapper,
};
use aes::{Aes128, Aes192, Aes256};
use ctr::{CtrCore, flavors};

/// Round keys. The crate wipes them on drop.
pub(super) enum Aes {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

/// The same words for whichever key length there is.
macro_rules! with {
    ($self:ident, $aes:ident => $what:expr) => {
        match $self {
            Aes::Aes128($aes) => $what,
            Aes::Aes192($aes) => $what,
            Aes::Aes256($aes) => $what,
        }
    };
}

impl Aes {
    /// `None` where no AES has a key of this length.
    pub fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(Self::Aes128),
            24 => Aes192::new_from_slice(key).ok().map(Self::Aes192),
            32 => Aes256::new_from_slice(key).ok().map(Self::Aes256),
            _ => None,
        }
    }

    pub fn encrypt_block(&self, block: &mut [u8; 16]) {
        with!(self, aes => aes.encrypt_block(block.into()));
    }

    /// `None` where the data is no whole number of blocks (RFC 3602 §2.4).
    pub fn cbc_encrypt(&self, iv: &[u8; 16], data: &mut [u8]) -> Option<()> {
        let blocks = blocks(data)?;
        with!(self, aes => cbc::Encryptor::inner_iv_init(aes, iv.into()).encrypt_blocks(blocks));
        Some(())
    }

    /// `None` where the data is no whole number of blocks.
    pub fn cbc_decrypt(&self, iv: &[u8; 16], data: &mut [u8]) -> Option<()> {
        let blocks = blocks(data)?;
        with!(self, aes => cbc::Decryptor::inner_iv_init(aes, iv.into()).decrypt_blocks(blocks));
        Some(())
    }

    /// Encrypts or decrypts from this counter block on, of which the last 32 bits count (RFC 3686 §2.1).
    pub fn ctr(&self, counter: &[u8; 16], data: &mut [u8]) -> Option<()> {
        with!(self, aes => {
            let core = CtrCore::<_, flavors::Ctr32BE>::inner_iv_init(aes, counter.into());
            StreamCipherCoreWrapper::from_core(core).try_apply_keystream(data).ok()
        })
    }
}

fn blocks(data: &mut [u8]) -> Option<&mut [Block<Aes128>]> {
    let (blocks, rest) = Array::slice_as_chunks_mut(data);
    rest.is_empty().then_some(blocks)
}
