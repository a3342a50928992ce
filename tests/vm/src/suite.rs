//! Transforms by the names both kernels' operators use.

/// A transform under Culvert's word and what `ip xfrm state add` calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Culvert's word, which is swanctl's.
    pub word: &'static str,
    pub linux: Linux,
}

/// A keyed algorithm of the kernel's crypto interface; `key` in octets, with the salt where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    pub name: &'static str,
    pub key: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linux {
    /// `icv` in bits.
    Aead { cipher: Keyed, icv: u16 },
    /// ESP's cipher and integrity apart; the latter cut to `icv` bits.
    Pair { cipher: Keyed, integrity: Keyed, icv: u16 },
}

const fn aead(word: &'static str, name: &'static str, key: usize, icv: u16) -> Suite {
    Suite { word, linux: Linux::Aead { cipher: Keyed { name, key }, icv } }
}

const GCM: &str = "rfc4106(gcm(aes))";

/// Every ESP transform that both have.
pub const ESP: &[Suite] = &[aead("aes128gcm16", GCM, 20, 128), aead("aes256gcm16", GCM, 36, 128)];

impl Suite {
    /// Octets of the whole keying material.
    pub fn key_len(self) -> usize {
        match self.linux {
            Linux::Aead { cipher, .. } => cipher.key,
            Linux::Pair { cipher, integrity, .. } => cipher.key + integrity.key,
        }
    }

    /// The words of `ip xfrm state add` for `key`, which holds the cipher's key first (RFC 7296 §2.17).
    pub fn linux_words(self, key: &[u8]) -> String {
        match self.linux {
            Linux::Aead { cipher, icv } => format!("aead '{}' {} {icv}", cipher.name, hex(key)),
            Linux::Pair { cipher, integrity, icv } => {
                let (cipher_key, integrity_key) = key.split_at(cipher.key);
                let cipher_key = if cipher_key.is_empty() { "''".to_owned() } else { hex(cipher_key) };
                format!(
                    "enc '{}' {cipher_key} auth-trunc '{}' {} {icv}",
                    cipher.name,
                    integrity.name,
                    hex(integrity_key)
                )
            }
        }
    }
}

/// As both `ip` and Culvert's key files take it.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold("0x".to_owned(), |text, octet| format!("{text}{octet:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cipher_has_the_first_part_of_the_key() {
        let suite = Suite {
            word: "x",
            linux: Linux::Pair { cipher: Keyed { name: "c", key: 2 }, integrity: Keyed { name: "i", key: 1 }, icv: 96 },
        };
        assert_eq!(suite.key_len(), 3);
        assert_eq!(suite.linux_words(&[1, 2, 0xab]), "enc 'c' 0x0102 auth-trunc 'i' 0xab 96");
    }
}
