//! IKEv2 transforms: registry number, swanctl keyword and sizes, one table each (RFC 7296 §3.3.2, IANA ikev2-parameters).

use core::fmt;

macro_rules! transforms {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $id:literal, $keyword:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// IANA transform ID.
            pub const fn id(self) -> u16 {
                match self { $(Self::$variant => $id,)+ }
            }

            /// The word swanctl.conf uses.
            pub const fn keyword(self) -> &'static str {
                match self { $(Self::$variant => $keyword,)+ }
            }

            pub fn from_keyword(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|t| t.keyword() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.keyword())
            }
        }
    };
}

transforms! {
    /// Transform type 1, with its key length (several share one ID and differ by the key length attribute).
    Encryption {
        /// RFC 2410.
        Null = 11, "null";
        Aes128Cbc = 12, "aes128";
        Aes192Cbc = 12, "aes192";
        Aes256Cbc = 12, "aes256";
        /// RFC 3686.
        Aes128Ctr = 13, "aes128ctr";
        Aes192Ctr = 13, "aes192ctr";
        Aes256Ctr = 13, "aes256ctr";
        /// RFC 4309.
        Aes128Ccm8 = 14, "aes128ccm8";
        Aes192Ccm8 = 14, "aes192ccm8";
        Aes256Ccm8 = 14, "aes256ccm8";
        Aes128Ccm12 = 15, "aes128ccm12";
        Aes192Ccm12 = 15, "aes192ccm12";
        Aes256Ccm12 = 15, "aes256ccm12";
        Aes128Ccm16 = 16, "aes128ccm16";
        Aes192Ccm16 = 16, "aes192ccm16";
        Aes256Ccm16 = 16, "aes256ccm16";
        /// RFC 4106.
        Aes128Gcm8 = 18, "aes128gcm8";
        Aes192Gcm8 = 18, "aes192gcm8";
        Aes256Gcm8 = 18, "aes256gcm8";
        Aes128Gcm12 = 19, "aes128gcm12";
        Aes192Gcm12 = 19, "aes192gcm12";
        Aes256Gcm12 = 19, "aes256gcm12";
        Aes128Gcm16 = 20, "aes128gcm16";
        Aes192Gcm16 = 20, "aes192gcm16";
        Aes256Gcm16 = 20, "aes256gcm16";
        /// RFC 4543: authenticates, encrypts nothing.
        Aes128Gmac = 21, "aes128gmac";
        Aes192Gmac = 21, "aes192gmac";
        Aes256Gmac = 21, "aes256gmac";
        /// RFC 7634.
        ChaCha20Poly1305 = 28, "chacha20poly1305";
        /// RFC 8750: the IV is the sequence number and is not sent.
        Aes128Ccm8Iiv = 29, "aes128ccm8iiv";
        Aes192Ccm8Iiv = 29, "aes192ccm8iiv";
        Aes256Ccm8Iiv = 29, "aes256ccm8iiv";
        Aes128Gcm16Iiv = 30, "aes128gcm16iiv";
        Aes192Gcm16Iiv = 30, "aes192gcm16iiv";
        Aes256Gcm16Iiv = 30, "aes256gcm16iiv";
        ChaCha20Poly1305Iiv = 31, "chacha20poly1305iiv";
    }
}

/// How a cipher works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CipherMode {
    Null,
    Cbc,
    Ctr,
    Ccm,
    Gcm,
    Gmac,
    ChaCha20Poly1305,
}

impl Encryption {
    pub const fn mode(self) -> CipherMode {
        use Encryption::*;
        match self {
            Null => CipherMode::Null,
            Aes128Cbc | Aes192Cbc | Aes256Cbc => CipherMode::Cbc,
            Aes128Ctr | Aes192Ctr | Aes256Ctr => CipherMode::Ctr,
            Aes128Ccm8 | Aes192Ccm8 | Aes256Ccm8 | Aes128Ccm12 | Aes192Ccm12 | Aes256Ccm12 => CipherMode::Ccm,
            Aes128Ccm16 | Aes192Ccm16 | Aes256Ccm16 => CipherMode::Ccm,
            Aes128Ccm8Iiv | Aes192Ccm8Iiv | Aes256Ccm8Iiv => CipherMode::Ccm,
            Aes128Gcm8 | Aes192Gcm8 | Aes256Gcm8 | Aes128Gcm12 | Aes192Gcm12 | Aes256Gcm12 => CipherMode::Gcm,
            Aes128Gcm16 | Aes192Gcm16 | Aes256Gcm16 => CipherMode::Gcm,
            Aes128Gcm16Iiv | Aes192Gcm16Iiv | Aes256Gcm16Iiv => CipherMode::Gcm,
            Aes128Gmac | Aes192Gmac | Aes256Gmac => CipherMode::Gmac,
            ChaCha20Poly1305 | ChaCha20Poly1305Iiv => CipherMode::ChaCha20Poly1305,
        }
    }

    /// The IV is derived from the sequence number and not sent (RFC 8750).
    pub const fn has_implicit_iv(self) -> bool {
        matches!(self.id(), 29..=31)
    }

    /// Key length attribute, bits; `None` for ciphers of one key length, which carry none (RFC 7296 §3.3.5).
    pub const fn key_bits(self) -> Option<u16> {
        match self.mode() {
            CipherMode::Null | CipherMode::ChaCha20Poly1305 => None,
            _ => Some(self.key_len() as u16 * 8),
        }
    }

    /// Octets of key, without salt.
    pub const fn key_len(self) -> usize {
        use Encryption::*;
        match self {
            Null => 0,
            Aes128Cbc | Aes128Ctr | Aes128Ccm8 | Aes128Ccm12 | Aes128Ccm16 | Aes128Gcm8 | Aes128Gcm12 => 16,
            Aes128Gcm16 | Aes128Gmac | Aes128Ccm8Iiv | Aes128Gcm16Iiv => 16,
            Aes192Cbc | Aes192Ctr | Aes192Ccm8 | Aes192Ccm12 | Aes192Ccm16 | Aes192Gcm8 | Aes192Gcm12 => 24,
            Aes192Gcm16 | Aes192Gmac | Aes192Ccm8Iiv | Aes192Gcm16Iiv => 24,
            Aes256Cbc | Aes256Ctr | Aes256Ccm8 | Aes256Ccm12 | Aes256Ccm16 | Aes256Gcm8 | Aes256Gcm12 => 32,
            Aes256Gcm16 | Aes256Gmac | Aes256Ccm8Iiv | Aes256Gcm16Iiv => 32,
            ChaCha20Poly1305 | ChaCha20Poly1305Iiv => 32,
        }
    }

    /// Octets of salt taken from the key material after the key (RFC 3686 §5.1, RFC 4309 §7.1, RFC 4106 §8.1,
    /// RFC 7634 §2).
    pub const fn salt_len(self) -> usize {
        match self.mode() {
            CipherMode::Null | CipherMode::Cbc => 0,
            CipherMode::Ccm => 3,
            CipherMode::Ctr | CipherMode::Gcm | CipherMode::Gmac | CipherMode::ChaCha20Poly1305 => 4,
        }
    }

    /// Combined mode: no integrity transform goes with it (RFC 5282 §8).
    pub const fn is_aead(self) -> bool {
        !matches!(self.mode(), CipherMode::Null | CipherMode::Cbc | CipherMode::Ctr)
    }

    /// What control can protect IKE messages with: confidentiality is a must (RFC 7296 §5).
    pub const fn is_for_ike(self) -> bool {
        use Encryption::*;
        matches!(self, Aes128Cbc | Aes192Cbc | Aes256Cbc | Aes128Gcm16 | Aes256Gcm16)
    }

    /// Octets of IV in each packet.
    pub const fn iv_len(self) -> usize {
        match self.mode() {
            CipherMode::Null => 0,
            CipherMode::Cbc => 16,
            _ if self.has_implicit_iv() => 0,
            _ => 8,
        }
    }

    /// Octets of ICV of a combined mode; 0 for others.
    pub const fn icv_len(self) -> usize {
        match self.id() {
            14 | 18 | 29 => 8,
            15 | 19 => 12,
            16 | 20 | 21 | 28 | 30 | 31 => 16,
            _ => 0,
        }
    }

    /// Padding unit of IKE's Encrypted payload, and of ESP where it is more than 4.
    pub const fn block_len(self) -> usize {
        if matches!(self.mode(), CipherMode::Cbc) { 16 } else { 1 }
    }

    pub fn from_id(id: u16, key_bits: Option<u16>) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.id() == id && t.key_bits() == key_bits)
    }
}

transforms! {
    /// Transform type 2.
    Prf {
        HmacSha256 = 5, "prfsha256";
        HmacSha384 = 6, "prfsha384";
        HmacSha512 = 7, "prfsha512";
    }
}

impl Prf {
    /// Octets of output, which is the preferred key length too (RFC 4868 §2.4).
    pub const fn len(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    pub const fn is_empty(self) -> bool {
        false
    }

    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.id() == id)
    }
}

transforms! {
    /// Transform type 3.
    Integrity {
        /// RFC 2404.
        HmacSha1_96 = 2, "sha1";
        /// RFC 3566.
        AesXcbc96 = 5, "aesxcbc";
        /// RFC 4494.
        AesCmac96 = 8, "aescmac";
        /// RFC 4543; for AH alone.
        Aes128Gmac = 9, "aes128gmac";
        Aes192Gmac = 10, "aes192gmac";
        Aes256Gmac = 11, "aes256gmac";
        HmacSha256_128 = 12, "sha256";
        HmacSha384_192 = 13, "sha384";
        HmacSha512_256 = 14, "sha512";
    }
}

impl Integrity {
    /// Octets of key (RFC 4868 §2.3), without salt.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesXcbc96 | Self::AesCmac96 | Self::Aes128Gmac => 16,
            Self::HmacSha1_96 => 20,
            Self::Aes192Gmac => 24,
            Self::HmacSha256_128 | Self::Aes256Gmac => 32,
            Self::HmacSha384_192 => 48,
            Self::HmacSha512_256 => 64,
        }
    }

    /// Octets of salt that follow the key (RFC 4543 §5.1).
    pub const fn salt_len(self) -> usize {
        if self.is_gmac() { 4 } else { 0 }
    }

    /// Takes a nonce: the ICV field starts with 8 octets of IV (RFC 4543 §4).
    pub const fn is_gmac(self) -> bool {
        matches!(self, Self::Aes128Gmac | Self::Aes192Gmac | Self::Aes256Gmac)
    }

    /// Octets of ICV on the wire, without GMAC's IV.
    pub const fn icv_len(self) -> usize {
        match self {
            Self::HmacSha1_96 | Self::AesXcbc96 | Self::AesCmac96 => 12,
            Self::Aes128Gmac | Self::Aes192Gmac | Self::Aes256Gmac => 16,
            Self::HmacSha256_128 => 16,
            Self::HmacSha384_192 => 24,
            Self::HmacSha512_256 => 32,
        }
    }

    /// What control can protect IKE messages with.
    pub const fn is_for_ike(self) -> bool {
        matches!(self, Self::HmacSha256_128 | Self::HmacSha384_192 | Self::HmacSha512_256)
    }

    /// The PRF that swanctl derives from an integrity keyword where a proposal names none; `None` where there is no such
    /// PRF here.
    pub const fn matching_prf(self) -> Option<Prf> {
        match self {
            Self::HmacSha256_128 => Some(Prf::HmacSha256),
            Self::HmacSha384_192 => Some(Prf::HmacSha384),
            Self::HmacSha512_256 => Some(Prf::HmacSha512),
            _ => None,
        }
    }

    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.id() == id)
    }
}

transforms! {
    /// Transform type 4: key exchange methods.
    KeGroup {
        Modp2048 = 14, "modp2048";
        Modp3072 = 15, "modp3072";
        Modp4096 = 16, "modp4096";
        Ecp256 = 19, "ecp256";
        Ecp384 = 20, "ecp384";
        X25519 = 31, "x25519";
    }
}

impl KeGroup {
    /// Octets of the KE payload's data: the value for MODP (RFC 7296 §3.4), x‖y for ECP (RFC 5903 §7), RFC 8031 §3.1.
    pub const fn public_len(self) -> usize {
        match self {
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
            Self::Ecp256 => 64,
            Self::Ecp384 => 96,
            Self::X25519 => 32,
        }
    }

    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.id() == id)
    }

    /// swanctl also writes `curve25519`.
    pub fn from_word(word: &str) -> Option<Self> {
        if word == "curve25519" { Some(Self::X25519) } else { Self::from_keyword(word) }
    }
}

transforms! {
    /// Transform type 5.
    EsnMode {
        No = 0, "noesn";
        Yes = 1, "esn";
    }
}

impl EsnMode {
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.id() == id)
    }
}
