//! The payloads, RFC 7296 §3.3 to §3.16: one type each, `decode` and `encode` of the body without the generic header.

mod configuration;
mod delete;
mod identity;
mod notify;
mod sa;
mod selectors;
mod simple;

pub use configuration::{Configuration, ConfigurationAttribute};
pub use delete::Delete;
pub use identity::Identity;
pub use notify::Notify;
pub use sa::{Attribute, KnownTransform, Proposal, SecurityAssociation, Transform};
pub use selectors::{Selector, TrafficSelectors};
pub use simple::{Authentication, Certificate, KeyExchangeData, Nonce};

use super::{
    error::{EncodeError, Fault},
    reader::Reader,
    registry::PayloadType,
};

/// A decoded payload. There is no variant for the Encrypted payload: it is the frame of a message, not a part
/// ([`super::Protected`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Sa(SecurityAssociation),
    Ke(KeyExchangeData),
    IdInitiator(Identity),
    IdResponder(Identity),
    Certificate(Certificate),
    /// §3.7: encoding and certification authorities, opaque here.
    CertificateRequest(Certificate),
    Auth(Authentication),
    Nonce(Nonce),
    Notify(Notify),
    Delete(Delete),
    VendorId(Vec<u8>),
    TsInitiator(TrafficSelectors),
    TsResponder(TrafficSelectors),
    Configuration(Configuration),
    /// §3.16, opaque here.
    Eap(Vec<u8>),
}

impl Payload {
    pub fn payload_type(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::Sa,
            Self::Ke(_) => PayloadType::Ke,
            Self::IdInitiator(_) => PayloadType::IdInitiator,
            Self::IdResponder(_) => PayloadType::IdResponder,
            Self::Certificate(_) => PayloadType::Certificate,
            Self::CertificateRequest(_) => PayloadType::CertificateRequest,
            Self::Auth(_) => PayloadType::Auth,
            Self::Nonce(_) => PayloadType::Nonce,
            Self::Notify(_) => PayloadType::Notify,
            Self::Delete(_) => PayloadType::Delete,
            Self::VendorId(_) => PayloadType::VendorId,
            Self::TsInitiator(_) => PayloadType::TsInitiator,
            Self::TsResponder(_) => PayloadType::TsResponder,
            Self::Configuration(_) => PayloadType::Configuration,
            Self::Eap(_) => PayloadType::Eap,
        }
    }

    /// Reads one payload's body. Only types that the grammar lets through come here; the rest are `NotAllowed`.
    pub(super) fn decode(payload: PayloadType, body: &[u8]) -> Result<Self, Fault> {
        let mut r = Body { payload, reader: Reader::new(body) };
        let decoded = match payload {
            PayloadType::Sa => Self::Sa(SecurityAssociation::decode(&mut r)?),
            PayloadType::Ke => Self::Ke(KeyExchangeData::decode(&mut r)?),
            PayloadType::IdInitiator => Self::IdInitiator(Identity::decode(&mut r)?),
            PayloadType::IdResponder => Self::IdResponder(Identity::decode(&mut r)?),
            PayloadType::Certificate => Self::Certificate(Certificate::decode(&mut r)?),
            PayloadType::CertificateRequest => Self::CertificateRequest(Certificate::decode(&mut r)?),
            PayloadType::Auth => Self::Auth(Authentication::decode(&mut r)?),
            PayloadType::Nonce => Self::Nonce(Nonce::decode(&mut r)?),
            PayloadType::Notify => Self::Notify(Notify::decode(&mut r)?),
            PayloadType::Delete => Self::Delete(Delete::decode(&mut r)?),
            PayloadType::VendorId => Self::VendorId(r.rest().to_vec()),
            PayloadType::TsInitiator => Self::TsInitiator(TrafficSelectors::decode(&mut r)?),
            PayloadType::TsResponder => Self::TsResponder(TrafficSelectors::decode(&mut r)?),
            PayloadType::Configuration => Self::Configuration(Configuration::decode(&mut r)?),
            PayloadType::Eap => Self::Eap(r.rest().to_vec()),
            PayloadType::None | PayloadType::Encrypted | PayloadType::Skf | PayloadType::Unknown(_) => {
                return Err(Fault::NotAllowed { payload });
            }
        };
        r.end()?;
        Ok(decoded)
    }

    /// Writes the body.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Sa(sa) => sa.encode(out)?,
            Self::Ke(ke) => ke.encode(out),
            Self::IdInitiator(id) | Self::IdResponder(id) => id.encode(out),
            Self::Certificate(cert) | Self::CertificateRequest(cert) => cert.encode(out),
            Self::Auth(auth) => auth.encode(out),
            Self::Nonce(nonce) => nonce.encode(out),
            Self::Notify(notify) => notify.encode(out)?,
            Self::Delete(delete) => delete.encode(out)?,
            Self::VendorId(octets) | Self::Eap(octets) => out.extend_from_slice(octets),
            Self::TsInitiator(ts) => ts.encode(PayloadType::TsInitiator, out)?,
            Self::TsResponder(ts) => ts.encode(PayloadType::TsResponder, out)?,
            Self::Configuration(cp) => cp.encode(out)?,
        }
        Ok(())
    }
}

/// A cursor over one payload's body; what is missing is a fault that names the payload.
pub(super) struct Body<'a> {
    pub payload: PayloadType,
    reader: Reader<'a>,
}

impl<'a> Body<'a> {
    fn or_truncated<T>(&self, value: Option<T>) -> Result<T, Fault> {
        value.ok_or(Fault::Truncated { payload: self.payload })
    }

    pub fn u8(&mut self) -> Result<u8, Fault> {
        let value = self.reader.u8();
        self.or_truncated(value)
    }

    pub fn u16(&mut self) -> Result<u16, Fault> {
        let value = self.reader.u16();
        self.or_truncated(value)
    }

    pub fn u32(&mut self) -> Result<u32, Fault> {
        let value = self.reader.u32();
        self.or_truncated(value)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let value = self.reader.array();
        self.or_truncated(value)
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let value = self.reader.take(len);
        self.or_truncated(value)
    }

    /// The part of a substructure that claims `claimed` octets and of which `read` are read already.
    pub fn sub(&mut self, claimed: u16, read: usize) -> Result<Body<'a>, Fault> {
        let len = usize::from(claimed).checked_sub(read).ok_or(self.inconsistent())?;
        let reader = self.reader.sub(len);
        Ok(Body { payload: self.payload, reader: self.or_truncated(reader)? })
    }

    pub fn rest(&mut self) -> &'a [u8] {
        self.reader.rest()
    }

    pub fn len(&self) -> usize {
        self.reader.len()
    }

    pub fn is_empty(&self) -> bool {
        self.reader.is_empty()
    }

    pub fn end(&self) -> Result<(), Fault> {
        if self.is_empty() { Ok(()) } else { Err(Fault::BodyTrailing { payload: self.payload }) }
    }

    pub fn inconsistent(&self) -> Fault {
        Fault::Inconsistent { payload: self.payload }
    }
}

/// Writes a substructure whose two-octet length field, at `len_at` octets from its start, covers all of it.
pub(super) fn with_length(
    payload: PayloadType,
    out: &mut Vec<u8>,
    len_at: usize,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    write(out)?;
    let len = u16::try_from(out.len() - start).map_err(|_| EncodeError::TooLong { payload })?;
    let field = out.get_mut(start + len_at..start + len_at + 2).ok_or(EncodeError::TooLong { payload })?;
    field.copy_from_slice(&len.to_be_bytes());
    Ok(())
}

/// A count or length that has one octet on the wire.
pub(super) fn octet(payload: PayloadType, value: usize) -> Result<u8, EncodeError> {
    u8::try_from(value).map_err(|_| EncodeError::TooLong { payload })
}
