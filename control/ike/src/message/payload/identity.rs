//! Identification payloads, RFC 7296 §3.5.

use super::Body;
use crate::message::error::Fault;
use core::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Who somebody claims to be. The octets fit the type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    Ipv4(Ipv4Addr),
    Fqdn(String),
    Rfc822(String),
    Ipv6(Ipv6Addr),
    /// DER of a distinguished name.
    DerAsn1Dn(Vec<u8>),
    KeyId(Vec<u8>),
    Unknown {
        kind: u8,
        data: Vec<u8>,
    },
}

impl Identity {
    /// The ID type's number.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Ipv4(_) => 1,
            Self::Fqdn(_) => 2,
            Self::Rfc822(_) => 3,
            Self::Ipv6(_) => 5,
            Self::DerAsn1Dn(_) => 9,
            Self::KeyId(_) => 11,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// The payload without its generic header: the "RestOfIDPayload" that AUTH covers (RFC 7296 §2.15).
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    pub(super) fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        let kind = r.u8()?;
        r.take(3)?;
        let data = r.rest();
        Ok(match kind {
            1 => Self::Ipv4(Ipv4Addr::from(<[u8; 4]>::try_from(data).map_err(|_| Fault::Identity)?)),
            2 => Self::Fqdn(text(data)?),
            3 => Self::Rfc822(text(data)?),
            5 => Self::Ipv6(Ipv6Addr::from(<[u8; 16]>::try_from(data).map_err(|_| Fault::Identity)?)),
            9 => Self::DerAsn1Dn(data.to_vec()),
            11 => Self::KeyId(data.to_vec()),
            kind => Self::Unknown { kind, data: data.to_vec() },
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind(), 0, 0, 0]);
        match self {
            Self::Ipv4(addr) => out.extend_from_slice(&addr.octets()),
            Self::Ipv6(addr) => out.extend_from_slice(&addr.octets()),
            Self::Fqdn(text) | Self::Rfc822(text) => out.extend_from_slice(text.as_bytes()),
            Self::DerAsn1Dn(data) | Self::KeyId(data) | Self::Unknown { data, .. } => out.extend_from_slice(data),
        }
    }
}

/// §3.5: names "MUST NOT contain any terminators". Control characters would also forge log lines.
fn text(data: &[u8]) -> Result<String, Fault> {
    let text = core::str::from_utf8(data).map_err(|_| Fault::Identity)?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Fault::Identity);
    }
    Ok(text.to_owned())
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, data: &[u8]| data.iter().try_for_each(|b| write!(f, "{b:02x}"));
        match self {
            Self::Ipv4(addr) => write!(f, "{addr}"),
            Self::Ipv6(addr) => write!(f, "{addr}"),
            Self::Fqdn(text) | Self::Rfc822(text) => f.write_str(text),
            Self::DerAsn1Dn(data) => f.write_str("dn:").and_then(|()| hex(f, data)),
            Self::KeyId(data) => f.write_str("keyid:").and_then(|()| hex(f, data)),
            Self::Unknown { kind, data } => write!(f, "type{kind}:").and_then(|()| hex(f, data)),
        }
    }
}
