//! Security Association payload, RFC 7296 §3.3.

use super::{Body, octet, with_length};
use crate::message::{
    error::{EncodeError, Fault},
    registry::{PayloadType, Protocol, TransformType},
};
use culvert_model::{Encryption, EsnMode, Integrity, KeGroup, Prf};

/// Proposals in the sender's order of preference; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityAssociation {
    pub proposals: Vec<Proposal>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The first is 1, each following one more. A response repeats the number it chose.
    pub number: u8,
    pub protocol: Protocol,
    /// 8 octets when an IKE SA is rekeyed, none when it is new; 4 for ESP and AH.
    pub spi: Vec<u8>,
    pub transforms: Vec<Transform>,
}

/// Transforms of one type are alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    pub kind: TransformType,
    pub id: u16,
    pub attributes: Vec<Attribute>,
}

/// §3.3.5. The attribute type has 15 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Type/value form (AF bit set).
    Short { kind: u16, value: u16 },
    /// Type/length/value form.
    Long { kind: u16, value: Vec<u8> },
}

/// A transform this code can negotiate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KnownTransform {
    Encryption(Encryption),
    Prf(Prf),
    Integrity(Integrity),
    Group(KeGroup),
    Esn(EsnMode),
}

/// The only attribute that RFC 7296 defines: the key length in bits.
const KEY_LENGTH: u16 = 14;
const AF: u16 = 0x8000;

/// More than any peer has use for; they bound the work one datagram can cause.
const MAX_PROPOSALS: usize = 32;
const MAX_TRANSFORMS: usize = 128;
const MAX_ATTRIBUTES: usize = 8;

impl SecurityAssociation {
    pub(super) fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        let mut proposals = Vec::new();
        let mut more = true;
        while more {
            if proposals.len() == MAX_PROPOSALS {
                return Err(Fault::TooManyEntries { payload: r.payload, most: MAX_PROPOSALS });
            }
            more = substructure_follows(r, 2)?;
            proposals.push(Proposal::decode(r)?);
        }
        Ok(Self { proposals })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Some((last, others)) = self.proposals.split_last() else {
            return Err(EncodeError::Grammar(Fault::Empty { payload: PayloadType::Sa }));
        };
        others.iter().try_for_each(|p| p.encode(2, out))?;
        last.encode(0, out)
    }
}

/// The "Last Substruc" octet and the reserved one: `more` if another substructure follows, 0 if this is the last.
fn substructure_follows(r: &mut Body<'_>, more: u8) -> Result<bool, Fault> {
    let mark = r.u8()?;
    r.u8()?;
    match mark {
        0 => Ok(false),
        mark if mark == more => Ok(true),
        _ => Err(r.inconsistent()),
    }
}

impl Proposal {
    fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        let claimed = r.u16()?;
        let mut r = r.sub(claimed, 4)?;
        let number = r.u8()?;
        let protocol = Protocol::from_wire(r.u8()?);
        let spi_len = r.u8()?;
        let count = usize::from(r.u8()?);
        // §3.3.1: the SPI's size is the protocol's; those of unknown protocols pass, nobody will choose them.
        match (protocol, spi_len) {
            (Protocol::Ike, 0 | 8) | (Protocol::Esp | Protocol::Ah, 4) => {}
            (Protocol::Ike | Protocol::Esp | Protocol::Ah, got) => return Err(Fault::SpiLength { protocol, got }),
            _ => {}
        }
        let spi = r.take(spi_len.into())?.to_vec();
        if count > MAX_TRANSFORMS {
            return Err(Fault::TooManyEntries { payload: r.payload, most: MAX_TRANSFORMS });
        }
        let mut transforms = Vec::with_capacity(count);
        for left in (0..count).rev() {
            if substructure_follows(&mut r, 3)? != (left > 0) {
                return Err(r.inconsistent());
            }
            transforms.push(Transform::decode(&mut r)?);
        }
        if !r.is_empty() {
            return Err(r.inconsistent());
        }
        Ok(Self { number, protocol, spi, transforms })
    }

    fn encode(&self, mark: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        with_length(PayloadType::Sa, out, 2, |out| {
            let spi_len = octet(PayloadType::Sa, self.spi.len())?;
            let count = octet(PayloadType::Sa, self.transforms.len())?;
            out.extend_from_slice(&[mark, 0, 0, 0, self.number, self.protocol.to_wire(), spi_len, count]);
            out.extend_from_slice(&self.spi);
            let Some((last, others)) = self.transforms.split_last() else { return Ok(()) };
            others.iter().try_for_each(|t| t.encode(3, out))?;
            last.encode(0, out)
        })
    }
}

impl Transform {
    /// The transform, if this code can negotiate it. One with attributes beyond what it knows is not acceptable
    /// (§3.3.6).
    pub fn known(&self) -> Option<KnownTransform> {
        let bits = match self.attributes.as_slice() {
            [] => None,
            [Attribute::Short { kind: KEY_LENGTH, value }] => Some(*value),
            _ => return None,
        };
        // §3.3.5: the key length belongs to encryption; elsewhere it makes another transform of it.
        match (self.kind, bits) {
            (TransformType::Encryption, bits) => Encryption::from_id(self.id, bits).map(KnownTransform::Encryption),
            (TransformType::Prf, None) => Prf::from_id(self.id).map(KnownTransform::Prf),
            (TransformType::Integrity, None) => Integrity::from_id(self.id).map(KnownTransform::Integrity),
            (TransformType::KeyExchange, None) => KeGroup::from_id(self.id).map(KnownTransform::Group),
            (TransformType::Esn, None) => EsnMode::from_id(self.id).map(KnownTransform::Esn),
            _ => None,
        }
    }

    fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        let claimed = r.u16()?;
        let mut r = r.sub(claimed, 4)?;
        let kind = TransformType::from_wire(r.u8()?);
        r.u8()?;
        let id = r.u16()?;
        let mut attributes = Vec::new();
        while !r.is_empty() {
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(Fault::TooManyEntries { payload: r.payload, most: MAX_ATTRIBUTES });
            }
            attributes.push(Attribute::decode(&mut r)?);
        }
        Ok(Self { kind, id, attributes })
    }

    fn encode(&self, mark: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        with_length(PayloadType::Sa, out, 2, |out| {
            out.extend_from_slice(&[mark, 0, 0, 0, self.kind.to_wire(), 0]);
            out.extend_from_slice(&self.id.to_be_bytes());
            self.attributes.iter().try_for_each(|a| a.encode(out))
        })
    }
}

impl Attribute {
    fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        let (form, value) = (r.u16()?, r.u16()?);
        let kind = form & !AF;
        if form & AF != 0 {
            return Ok(Self::Short { kind, value });
        }
        Ok(Self::Long { kind, value: r.take(value.into())?.to_vec() })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Short { kind, value } => {
                out.extend_from_slice(&(kind | AF).to_be_bytes());
                out.extend_from_slice(&value.to_be_bytes());
            }
            Self::Long { kind, value } => {
                let len = u16::try_from(value.len()).map_err(|_| EncodeError::TooLong { payload: PayloadType::Sa })?;
                out.extend_from_slice(&(kind & !AF).to_be_bytes());
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(value);
            }
        }
        Ok(())
    }
}

impl From<KnownTransform> for Transform {
    fn from(known: KnownTransform) -> Self {
        let plain = |kind, id| Self { kind, id, attributes: Vec::new() };
        match known {
            KnownTransform::Encryption(t) => Self {
                attributes: t
                    .key_bits()
                    .map(|value| Attribute::Short { kind: KEY_LENGTH, value })
                    .into_iter()
                    .collect(),
                ..plain(TransformType::Encryption, t.id())
            },
            KnownTransform::Prf(t) => plain(TransformType::Prf, t.id()),
            KnownTransform::Integrity(t) => plain(TransformType::Integrity, t.id()),
            KnownTransform::Group(t) => plain(TransformType::KeyExchange, t.id()),
            KnownTransform::Esn(t) => plain(TransformType::Esn, t.id()),
        }
    }
}
