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
        Aes128Cbc = 12, "aes128";
        Aes192Cbc = 12, "aes192";
        Aes256Cbc = 12, "aes256";
        Aes128Gcm16 = 20, "aes128gcm16";
        Aes256Gcm16 = 20, "aes256gcm16";
    }
}

impl Encryption {
    /// Key length attribute, bits.
    pub const fn key_bits(self) -> u16 {
        match self {
            Self::Aes128Cbc | Self::Aes128Gcm16 => 128,
            Self::Aes192Cbc => 192,
            Self::Aes256Cbc | Self::Aes256Gcm16 => 256,
        }
    }

    /// Octets of key, without salt.
    pub const fn key_len(self) -> usize {
        self.key_bits() as usize / 8
    }

    /// Octets of salt taken from the key material after the key (RFC 5282 §7.1); 0 for CBC.
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 4 } else { 0 }
    }

    /// Combined mode: no integrity transform goes with it (RFC 5282 §8).
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::Aes128Gcm16 | Self::Aes256Gcm16)
    }

    pub const fn iv_len(self) -> usize {
        if self.is_aead() { 8 } else { 16 }
    }

    /// Padding unit of the Encrypted payload.
    pub const fn block_len(self) -> usize {
        if self.is_aead() { 1 } else { 16 }
    }

    pub fn from_id(id: u16, key_bits: Option<u16>) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.id() == id && Some(t.key_bits()) == key_bits)
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
        HmacSha256_128 = 12, "sha256";
        HmacSha384_192 = 13, "sha384";
        HmacSha512_256 = 14, "sha512";
    }
}

impl Integrity {
    /// Octets of key (RFC 4868 §2.3).
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha256_128 => 32,
            Self::HmacSha384_192 => 48,
            Self::HmacSha512_256 => 64,
        }
    }

    /// Octets of ICV on the wire: half the hash.
    pub const fn icv_len(self) -> usize {
        self.key_len() / 2
    }

    /// The PRF that swanctl derives from an integrity keyword where a proposal names none.
    pub const fn matching_prf(self) -> Prf {
        match self {
            Self::HmacSha256_128 => Prf::HmacSha256,
            Self::HmacSha384_192 => Prf::HmacSha384,
            Self::HmacSha512_256 => Prf::HmacSha512,
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
