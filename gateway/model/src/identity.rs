//! Who a peer says it is (RFC 7296 §3.5).

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IKE identity. Equality is octet for octet; [`Identity::matches`] is the comparison for authentication.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    Ipv4(Ipv4Addr),
    Fqdn(String),
    Email(String),
    Ipv6(Ipv6Addr),
    KeyId(Vec<u8>),
    /// A type this box does not use, or contents its type does not allow; kept as it came.
    Other {
        id_type: u8,
        data: Vec<u8>,
    },
}

/// Why a text is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("an identity cannot be empty")]
    Empty,
    #[error("\"{0}\" is longer than the 255 octets an identity may have here")]
    TooLong(String),
    #[error("\"{0}\" is neither an address, a domain name nor an e-mail address")]
    BadName(String),
    #[error("\"{0}\" is no IPv4 address")]
    BadIpv4(String),
    #[error("\"{0}\" is no IPv6 address")]
    BadIpv6(String),
    #[error("\"{0}\" is not a row of hexadecimal octets")]
    BadHex(String),
    #[error("\"{0}\" looks like a distinguished name, which needs certificates; they are not supported yet")]
    DistinguishedName(String),
}

const MAX_LEN: usize = 255;

impl Identity {
    /// IANA "IKEv2 Identification Payload ID Types".
    pub const fn id_type(&self) -> u8 {
        match self {
            Self::Ipv4(_) => 1,
            Self::Fqdn(_) => 2,
            Self::Email(_) => 3,
            Self::Ipv6(_) => 5,
            Self::KeyId(_) => 11,
            Self::Other { id_type, .. } => *id_type,
        }
    }

    /// Identification Data of the payload.
    pub fn data(&self) -> Vec<u8> {
        match self {
            Self::Ipv4(addr) => addr.octets().to_vec(),
            Self::Ipv6(addr) => addr.octets().to_vec(),
            Self::Fqdn(name) | Self::Email(name) => name.as_bytes().to_vec(),
            Self::KeyId(data) | Self::Other { data, .. } => data.clone(),
        }
    }

    /// From a payload. Never fails: what does not fit its type is kept as [`Identity::Other`] and matches nothing that
    /// a configuration can name.
    pub fn from_wire(id_type: u8, data: &[u8]) -> Self {
        let name = || core::str::from_utf8(data).ok().filter(|t| is_name(t)).map(str::to_owned);
        let known = match id_type {
            1 => <[u8; 4]>::try_from(data).ok().map(|octets| Self::Ipv4(octets.into())),
            2 => name().map(Self::Fqdn),
            3 => name().map(Self::Email),
            5 => <[u8; 16]>::try_from(data).ok().map(|octets| Self::Ipv6(octets.into())),
            11 => Some(Self::KeyId(data.to_vec())),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other { id_type, data: data.to_vec() })
    }

    /// The same identity for authentication: names without regard to case, everything else octet for octet.
    pub fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fqdn(a), Self::Fqdn(b)) | (Self::Email(a), Self::Email(b)) => a.eq_ignore_ascii_case(b),
            (a, b) => a == b,
        }
    }
}

impl From<IpAddr> for Identity {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => Self::Ipv4(addr),
            IpAddr::V6(addr) => Self::Ipv6(addr),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_LEN && text.bytes().all(|b| b.is_ascii_graphic())
}

fn name(text: &str) -> Result<String, IdentityError> {
    match text {
        "" => Err(IdentityError::Empty),
        _ if text.len() > MAX_LEN => Err(IdentityError::TooLong(text.to_owned())),
        _ if is_name(text) => Ok(text.to_owned()),
        _ => Err(IdentityError::BadName(text.to_owned())),
    }
}

fn key_id(text: &str) -> Result<Identity, IdentityError> {
    let Some(hex) = text.strip_prefix('#') else {
        return Ok(Identity::KeyId(name(text)?.into_bytes()));
    };
    let bad = || IdentityError::BadHex(hex.to_owned());
    let digits: Vec<u8> =
        hex.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>().ok_or_else(bad)?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() || pairs.len() > MAX_LEN {
        return Err(bad());
    }
    Ok(Identity::KeyId(pairs.iter().map(|[high, low]| high << 4 | low).collect()))
}

impl std::str::FromStr for Identity {
    type Err = IdentityError;

    /// swanctl's notation: an address, `name@domain`, a domain name; or with the type said: `fqdn:`, `email:`,
    /// `ipv4:`, `ipv6:`, `keyid:` (text, or `#` and hexadecimal), `@domain`, `@@name@domain`, `@#hexadecimal`.
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if let Some((kind, rest)) = text.split_once(':') {
            match kind {
                "fqdn" => return Ok(Self::Fqdn(name(rest)?)),
                "email" => return Ok(Self::Email(name(rest)?)),
                "keyid" => return key_id(rest),
                "ipv4" => return rest.parse().map(Self::Ipv4).map_err(|_| IdentityError::BadIpv4(rest.to_owned())),
                "ipv6" => return rest.parse().map(Self::Ipv6).map_err(|_| IdentityError::BadIpv6(rest.to_owned())),
                _ => {}
            }
        }
        if let Ok(addr) = text.parse::<IpAddr>() {
            return Ok(addr.into());
        }
        match text.strip_prefix('@') {
            Some(rest) if rest.starts_with('#') => key_id(rest),
            Some(rest) => match rest.strip_prefix('@') {
                Some(email) => Ok(Self::Email(name(email)?)),
                None => Ok(Self::Fqdn(name(rest)?)),
            },
            None if text.contains('=') => Err(IdentityError::DistinguishedName(text.to_owned())),
            None if text.contains('@') => Ok(Self::Email(name(text)?)),
            None => {
                let name = name(text)?;
                // A colon or slash is a mistyped address, not a domain name.
                if name.bytes().any(|b| matches!(b, b':' | b'/' | b',' | b'"' | b'\'')) {
                    return Err(IdentityError::BadName(name));
                }
                Ok(Self::Fqdn(name))
            }
        }
    }
}

impl fmt::Display for Identity {
    /// As the configuration would write it; octets that cannot be shown as text come in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, data: &[u8]| data.iter().try_for_each(|b| write!(f, "{b:02x}"));
        match self {
            Self::Ipv4(addr) => write!(f, "{addr}"),
            Self::Ipv6(addr) => write!(f, "{addr}"),
            Self::Fqdn(name) => {
                let plain = name.parse::<Self>().as_ref() == Ok(self);
                write!(f, "{}{name}", if plain { "" } else { "fqdn:" })
            }
            Self::Email(name) => {
                let plain = name.parse::<Self>().as_ref() == Ok(self);
                write!(f, "{}{name}", if plain { "" } else { "email:" })
            }
            Self::KeyId(data) => match core::str::from_utf8(data) {
                Ok(text) if is_name(text) && !text.starts_with('#') => write!(f, "keyid:{text}"),
                _ => {
                    f.write_str("keyid:#")?;
                    hex(f, data)
                }
            },
            Self::Other { id_type, data } => {
                write!(f, "type {id_type}:#")?;
                hex(f, data)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Identity {
        text.parse().expect(text)
    }

    #[test]
    fn swanctl_notation() {
        assert_eq!(id("hq.example"), Identity::Fqdn("hq.example".into()));
        assert_eq!(id("@hq.example"), Identity::Fqdn("hq.example".into()));
        assert_eq!(id("192.0.2.1"), Identity::Ipv4(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(id("2001:db8::1").id_type(), 5);
        assert_eq!(id("ops@hq.example"), Identity::Email("ops@hq.example".into()));
        assert_eq!(id("@@ops"), Identity::Email("ops".into()));
        assert_eq!(id("fqdn:192.0.2.1"), Identity::Fqdn("192.0.2.1".into()));
        assert_eq!(id("keyid:site-7"), Identity::KeyId(b"site-7".to_vec()));
        assert_eq!(id("keyid:#00ff"), Identity::KeyId(vec![0, 0xff]));
        assert_eq!(id("@#00ff"), Identity::KeyId(vec![0, 0xff]));
    }

    #[test]
    fn refusals() {
        let refused = |text: &str| text.parse::<Identity>().unwrap_err();
        assert_eq!(refused(""), IdentityError::Empty);
        assert_eq!(refused("@"), IdentityError::Empty);
        assert_eq!(refused("hq example"), IdentityError::BadName("hq example".into()));
        assert_eq!(refused("192.0.2.1/24"), IdentityError::BadName("192.0.2.1/24".into()));
        assert_eq!(refused("ipv4:192.0.2"), IdentityError::BadIpv4("192.0.2".into()));
        assert_eq!(refused("ipv6:x"), IdentityError::BadIpv6("x".into()));
        assert_eq!(refused("@#0"), IdentityError::BadHex("0".into()));
        assert_eq!(refused("keyid:#zz"), IdentityError::BadHex("zz".into()));
        assert_eq!(refused("C=CH, CN=hq"), IdentityError::DistinguishedName("C=CH, CN=hq".into()));
        assert!(matches!(refused(&"x".repeat(256)), IdentityError::TooLong(_)));
    }

    #[test]
    fn wire_and_text_round_trip() {
        for text in
            ["hq.example", "192.0.2.1", "2001:db8::1", "a@b", "keyid:x", "keyid:#00", "fqdn:192.0.2.1", "email:x"]
        {
            let identity = id(text);
            assert_eq!(identity.to_string(), text);
            assert_eq!(Identity::from_wire(identity.id_type(), &identity.data()), identity);
        }
    }

    #[test]
    fn what_does_not_fit_its_type_is_kept_and_matches_nothing() {
        for (id_type, data) in [(1, &b"abc"[..]), (2, b"a b"), (3, b"\xff"), (5, b"1234"), (9, b"0"), (200, b"")] {
            let other = Identity::from_wire(id_type, data);
            assert!(matches!(other, Identity::Other { .. }), "{other}");
            assert_eq!((other.id_type(), other.data()), (id_type, data.to_vec()));
        }
    }

    #[test]
    fn names_match_without_case() {
        assert!(id("HQ.example").matches(&id("hq.EXAMPLE")));
        assert!(!id("hq.example").matches(&id("email:hq.example")));
        assert!(!id("keyid:A").matches(&id("keyid:a")));
    }
}
