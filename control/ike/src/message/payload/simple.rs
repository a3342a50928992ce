//! Payloads that are a few fixed octets and the rest: KE (RFC 7296 §3.4), CERT and CERTREQ (§3.6, §3.7), AUTH (§3.8),
//! Nonce (§3.9).

use super::Body;
use crate::message::{
    error::Fault,
    registry::{AuthMethod, CertificateEncoding},
};
use culvert_model::KeGroup;

/// §3.4. The data's length is checked where the exchange is computed (RFC 6989).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyExchangeData {
    /// Transform ID of type 4.
    pub method: u16,
    pub data: Vec<u8>,
}

impl KeyExchangeData {
    pub fn new(group: KeGroup, public: &[u8]) -> Self {
        Self { method: group.id(), data: public.to_vec() }
    }

    pub fn group(&self) -> Option<KeGroup> {
        KeGroup::from_id(self.method)
    }

    pub(super) fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        let method = r.u16()?;
        r.u16()?;
        if r.is_empty() {
            return Err(Fault::Empty { payload: r.payload });
        }
        Ok(Self { method, data: r.rest().to_vec() })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.method.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.data);
    }
}

/// §3.6 and §3.7: the data is opaque here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub encoding: CertificateEncoding,
    pub data: Vec<u8>,
}

impl Certificate {
    pub(super) fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        Ok(Self { encoding: CertificateEncoding::from_wire(r.u8()?), data: r.rest().to_vec() })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.encoding.to_wire());
        out.extend_from_slice(&self.data);
    }
}

/// §3.8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    pub method: AuthMethod,
    pub data: Vec<u8>,
}

impl Authentication {
    pub(super) fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        let method = AuthMethod::from_wire(r.u8()?);
        r.take(3)?;
        Ok(Self { method, data: r.rest().to_vec() })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.method.to_wire(), 0, 0, 0]);
        out.extend_from_slice(&self.data);
    }
}

/// §3.9: 16 to 256 octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(Vec<u8>);

impl Nonce {
    pub fn new(octets: Vec<u8>) -> Result<Self, Fault> {
        match octets.len() {
            16..=256 => Ok(Self(octets)),
            got => Err(Fault::NonceLength { got }),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        Self::new(r.rest().to_vec())
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}
