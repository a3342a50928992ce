//! HMAC, AES-GCM and AES-CBC by aws-lc-rs; both providers use them.

use crate::CryptoError;
use aws_lc_rs::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{
        AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
    },
    error::Unspecified,
    hmac,
    iv::FixedLength,
};
use culvert_model::{Encryption, Integrity, Prf, SecretKey};
use zeroize::Zeroizing;

/// SHA-512's.
const MAX_MAC_LEN: usize = 64;
const SHORT_TEXT: usize = 160;
const BLOCK_LEN: usize = 16;

fn hmac_of(prf: Prf) -> hmac::Algorithm {
    match prf {
        Prf::HmacSha256 => hmac::HMAC_SHA256,
        Prf::HmacSha384 => hmac::HMAC_SHA384,
        Prf::HmacSha512 => hmac::HMAC_SHA512,
    }
}

pub fn prf(prf: Prf, key: &[u8], data: &[&[u8]]) -> SecretKey {
    // Signed into our own buffer: the library does not wipe its `Tag`, and this output is a key. It takes its text in
    // one piece there, and most texts are short.
    let len: usize = data.iter().map(|piece| piece.len()).sum();
    let (mut short, long);
    let data = if len <= SHORT_TEXT {
        short = Zeroizing::new([0; SHORT_TEXT]);
        let mut at = 0;
        for piece in data {
            short[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        &short[..len]
    } else {
        long = Zeroizing::new(data.concat());
        &long
    };
    let mut out = Zeroizing::new([0; MAX_MAC_LEN]);
    let key = hmac::Key::new(hmac_of(prf), key);
    let signed = hmac::sign_to_buffer(&key, data, out.as_mut_slice());
    SecretKey::from(&*signed.expect("the buffer holds the longest of the three hashes"))
}

/// The length was checked.
pub fn prf_plus(prf: Prf, key: &[u8], seed: &[&[u8]], len: usize) -> SecretKey {
    // The key's part of the work is done once, and the text stands in one buffer: Tn-1, S, n.
    let key = hmac::Key::new(hmac_of(prf), key);
    let block = prf.len();
    let text_len = block + seed.iter().map(|piece| piece.len()).sum::<usize>() + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(text_len));
    text.resize(block, 0);
    seed.iter().for_each(|piece| text.extend_from_slice(piece));
    text.push(0);
    // Whole blocks at once: a vector that grew would leave key octets behind.
    let mut out = Zeroizing::new(vec![0; len.next_multiple_of(block)]);
    for (n, next) in (1..=u8::MAX).zip(out.chunks_exact_mut(block)) {
        text[text_len - 1] = n;
        // The first has no block before it.
        let from = if n == 1 { block } else { 0 };
        hmac::sign_to_buffer(&key, &text[from..], next).expect("a block is as long as the hash");
        text[..block].copy_from_slice(next);
    }
    SecretKey::from(&out[..len])
}

pub fn integrity(alg: Integrity, key: &[u8], data: &[&[u8]]) -> Result<Vec<u8>, CryptoError> {
    let algorithm = match alg {
        Integrity::HmacSha256_128 => hmac::HMAC_SHA256,
        Integrity::HmacSha384_192 => hmac::HMAC_SHA384,
        Integrity::HmacSha512_256 => hmac::HMAC_SHA512,
        _ => return Err(CryptoError::NotForIke),
    };
    let mut icv = mac(algorithm, key, data).as_ref().to_vec();
    icv.truncate(alg.icv_len());
    Ok(icv)
}

fn mac(algorithm: hmac::Algorithm, key: &[u8], data: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    for piece in data {
        context.update(piece);
    }
    context.sign()
}

pub fn seal(alg: Encryption, key: &[u8], iv: &[u8], aad: &[u8], data: &mut Vec<u8>) -> Result<(), CryptoError> {
    check(alg, key, iv)?;
    if alg.is_aead() {
        let (key, nonce) = gcm(alg, key, iv)?;
        return key.seal_in_place_append_tag(nonce, Aad::from(aad), data).map_err(|Unspecified| CryptoError::Backend);
    }
    let (key, iv) = cbc(alg, key, iv, data)?;
    let key = EncryptingKey::cbc(key).map_err(|Unspecified| CryptoError::Backend)?;
    let sealed = key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(iv)));
    sealed.map(|_| ()).map_err(|Unspecified| CryptoError::Backend)
}

pub fn open(alg: Encryption, key: &[u8], iv: &[u8], aad: &[u8], data: &mut Vec<u8>) -> Result<(), CryptoError> {
    check(alg, key, iv)?;
    if alg.is_aead() {
        let (key, nonce) = gcm(alg, key, iv)?;
        let opened = key.open_in_place(nonce, Aad::from(aad), data).map(|plain| plain.len());
        let len = opened.map_err(|Unspecified| CryptoError::Unverified).inspect_err(|_| data.fill(0))?;
        data.truncate(len);
        return Ok(());
    }
    let (key, iv) = cbc(alg, key, iv, data)?;
    let key = DecryptingKey::cbc(key).map_err(|Unspecified| CryptoError::Backend)?;
    let opened = key.decrypt(data, DecryptionContext::Iv128(FixedLength::from(iv)));
    opened.map(|_| ()).map_err(|Unspecified| CryptoError::Backend)
}

fn check(alg: Encryption, key: &[u8], iv: &[u8]) -> Result<(), CryptoError> {
    if !alg.is_for_ike() {
        return Err(CryptoError::NotForIke);
    }
    let expected = alg.key_len() + alg.salt_len();
    if key.len() != expected {
        return Err(CryptoError::KeyLength { expected, got: key.len() });
    }
    if iv.len() != alg.iv_len() {
        return Err(CryptoError::IvLength { expected: alg.iv_len(), got: iv.len() });
    }
    Ok(())
}

/// The nonce is the salt and the explicit IV (RFC 5282 §4).
fn gcm(alg: Encryption, key: &[u8], iv: &[u8]) -> Result<(LessSafeKey, Nonce), CryptoError> {
    let algorithm = if alg.key_len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
    let (key, salt) = key.split_at(alg.key_len());
    let nonce = Zeroizing::new([salt, iv].concat());
    let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|Unspecified| CryptoError::Backend)?;
    let key = UnboundKey::new(algorithm, key).map_err(|Unspecified| CryptoError::Backend)?;
    Ok((LessSafeKey::new(key), nonce))
}

fn cbc(
    alg: Encryption,
    key: &[u8],
    iv: &[u8],
    data: &[u8],
) -> Result<(UnboundCipherKey, [u8; BLOCK_LEN]), CryptoError> {
    if !data.len().is_multiple_of(BLOCK_LEN) {
        return Err(CryptoError::BlockLength { got: data.len() });
    }
    let algorithm = match alg.key_len() {
        16 => &AES_128,
        24 => &AES_192,
        _ => &AES_256,
    };
    let key = UnboundCipherKey::new(algorithm, key).map_err(|Unspecified| CryptoError::Backend)?;
    let iv = iv.try_into().map_err(|_| CryptoError::IvLength { expected: BLOCK_LEN, got: iv.len() })?;
    Ok((key, iv))
}
