//! Configuration payload, RFC 7296 §3.15.

use super::Body;
use crate::message::{
    error::{EncodeError, Fault},
    registry::{ConfigurationKind, PayloadType},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    pub kind: ConfigurationKind,
    pub attributes: Vec<ConfigurationAttribute>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationAttribute {
    /// 15 bits; the reserved bit is dropped.
    pub kind: u16,
    pub value: Vec<u8>,
}

/// More attributes than any peer has use for.
const MAX_ATTRIBUTES: usize = 256;

impl Configuration {
    pub(super) fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        let kind = ConfigurationKind::from_wire(r.u8()?);
        r.take(3)?;
        let mut attributes = Vec::new();
        while !r.is_empty() {
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(Fault::TooManyEntries { payload: r.payload, most: MAX_ATTRIBUTES });
            }
            let kind = r.u16()? & 0x7fff;
            let len = r.u16()?;
            attributes.push(ConfigurationAttribute { kind, value: r.take(len.into())?.to_vec() });
        }
        Ok(Self { kind, attributes })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&[self.kind.to_wire(), 0, 0, 0]);
        for attribute in &self.attributes {
            let len = u16::try_from(attribute.value.len());
            let len = len.map_err(|_| EncodeError::TooLong { payload: PayloadType::Configuration })?;
            out.extend_from_slice(&(attribute.kind & 0x7fff).to_be_bytes());
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(&attribute.value);
        }
        Ok(())
    }
}
