//! Transforms by the kernel's names.

use culvert_model::{CipherMode, Encryption, Integrity, Suite};

/// What `ip xfrm state add` calls `suite`, with `key` (KEYMAT) in its parts; `None` where Linux has no such transform.
pub fn kernel_words(suite: Suite, key: &[u8]) -> Option<String> {
    let parts = suite.split_key(key)?;
    let salted = [parts.encryption, parts.salt].concat();
    let encryption = suite.encryption().map(|encryption| Some((encryption, cipher_name(encryption)?)));
    match (encryption, suite.integrity()) {
        (Some(None), _) | (None, None) => None,
        (Some(Some((encryption, name))), None) => {
            Some(format!("aead '{name}' {} {}", hex(&salted), 8 * encryption.icv_len()))
        }
        (Some(Some((_, name))), Some(integrity)) => {
            // NULL has an empty key, which has to be there.
            let key = if salted.is_empty() { "''".to_owned() } else { hex(&salted) };
            Some(format!("enc '{name}' {key} {}", integrity_words(integrity, parts.integrity)?))
        }
        (None, Some(integrity)) => integrity_words(integrity, parts.integrity),
    }
}

fn cipher_name(encryption: Encryption) -> Option<&'static str> {
    if encryption.has_implicit_iv() {
        return None;
    }
    Some(match encryption.mode() {
        CipherMode::Null => "ecb(cipher_null)",
        CipherMode::Cbc => "cbc(aes)",
        CipherMode::Ctr => "rfc3686(ctr(aes))",
        CipherMode::Ccm => "rfc4309(ccm(aes))",
        CipherMode::Gcm => "rfc4106(gcm(aes))",
        CipherMode::Gmac => "rfc4543(gcm(aes))",
        CipherMode::ChaCha20Poly1305 => "rfc7539esp(chacha20,poly1305)",
    })
}

fn integrity_words(integrity: Integrity, key: &[u8]) -> Option<String> {
    let name = match integrity {
        Integrity::HmacSha1_96 => "hmac(sha1)",
        Integrity::HmacSha256_128 => "hmac(sha256)",
        Integrity::HmacSha384_192 => "hmac(sha384)",
        Integrity::HmacSha512_256 => "hmac(sha512)",
        Integrity::AesCmac96 => "cmac(aes)",
        Integrity::AesXcbc96 => "xcbc(aes)",
        Integrity::Aes128Gmac | Integrity::Aes192Gmac | Integrity::Aes256Gmac => return None,
    };
    Some(format!("auth-trunc '{name}' {} {}", hex(key), 8 * integrity.icv_len()))
}

/// As both `ip` and Culvert's key files take it.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold("0x".to_owned(), |text, octet| format!("{text}{octet:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(suite: &str) -> Option<String> {
        let suite = Suite::esp_from_words(suite).expect("is one");
        let key: Vec<u8> = (0..suite.key_len() as u8).collect();
        kernel_words(suite, &key)
    }

    #[test]
    fn keys_are_split_as_the_kernel_wants_them() {
        let gcm = "aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 96";
        assert_eq!(words("aes128gcm12").as_deref(), Some(gcm));
        let ctr = "enc 'rfc3686(ctr(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 \
                   auth-trunc 'cmac(aes)' 0x1415161718191a1b1c1d1e1f20212223 96";
        assert_eq!(words("aes128ctr-aescmac").as_deref(), Some(ctr));
        let null = "enc 'ecb(cipher_null)' '' auth-trunc 'hmac(sha1)' 0x000102030405060708090a0b0c0d0e0f10111213 96";
        assert_eq!(words("null-sha1").as_deref(), Some(null));
        let ah = "auth-trunc 'xcbc(aes)' 0x07070707070707070707070707070707 96";
        assert_eq!(kernel_words(Suite::ah(Integrity::AesXcbc96), &[7; 16]).as_deref(), Some(ah));
    }

    #[test]
    fn what_linux_lacks_and_keys_of_another_length_have_no_words() {
        assert_eq!(words("aes128gcm16iiv"), None);
        assert_eq!(kernel_words(Suite::ah(Integrity::Aes128Gmac), &[0; 20]), None);
        assert_eq!(kernel_words(Suite::AES128_GCM16, &[0; 19]), None);
    }
}
