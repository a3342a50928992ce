//! The chain of payloads behind the generic header, RFC 7296 §3.2.

use super::{
    error::{EncodeError, Fault},
    grammar::{Grammar, Shape},
    payload::{Payload, with_length},
    reader::Reader,
    registry::PayloadType,
};

/// More than any peer sends; skipped ones count too.
const MAX_PAYLOADS: usize = 128;

/// Room for all payloads of the usual message, so that a buffer does not grow step by step.
pub(super) const USUAL_LEN: usize = 448;
/// As many as the usual message has.
const USUAL_PAYLOADS: usize = 8;

/// Octets of the generic header.
pub(super) const GENERIC_LEN: usize = 4;

const CRITICAL: u8 = 0x80;

/// One payload behind its generic header, not decoded.
pub(super) struct Generic<'a> {
    pub next: PayloadType,
    pub critical: bool,
    pub body: &'a [u8],
}

impl<'a> Generic<'a> {
    pub fn read(payload: PayloadType, r: &mut Reader<'a>) -> Result<Self, Fault> {
        let header = (|| Some((r.u8()?, r.u8()?, r.u16()?)))();
        let (next, flags, claimed) = header.ok_or(Fault::PayloadTruncated { payload })?;
        let len = usize::from(claimed).checked_sub(GENERIC_LEN).ok_or(Fault::PayloadLength { payload, claimed })?;
        let body = r.take(len).ok_or(Fault::PayloadTruncated { payload })?;
        Ok(Self { next: PayloadType::from_wire(next), critical: flags & CRITICAL != 0, body })
    }
}

/// Reads all payloads, asking the grammar before each is decoded.
///
/// Unknown payloads are skipped unless critical (§2.5); the critical bit of known ones is ignored (§3.2).
pub(super) fn parse(first: PayloadType, octets: &[u8], grammar: &Grammar) -> Result<(Shape, Vec<Payload>), Fault> {
    let mut r = Reader::new(octets);
    let mut payload = first;
    let mut payloads = Vec::with_capacity(USUAL_PAYLOADS);
    let mut seen = 0;
    while payload != PayloadType::None {
        seen += 1;
        if seen > MAX_PAYLOADS {
            return Err(Fault::TooManyPayloads { most: MAX_PAYLOADS });
        }
        let generic = Generic::read(payload, &mut r)?;
        match payload {
            PayloadType::Unknown(number) if generic.critical => {
                return Err(Fault::UnknownCritical { payload: number });
            }
            PayloadType::Unknown(_) => {}
            known if grammar.admits(known) => payloads.push(Payload::decode(known, generic.body)?),
            payload => return Err(Fault::NotAllowed { payload }),
        }
        payload = generic.next;
    }
    if !r.is_empty() {
        return Err(Fault::Trailing { octets: r.len() });
    }
    Ok((grammar.shape(&types(&payloads))?, payloads))
}

/// Writes all payloads. Nothing that the grammar refuses is written.
pub(super) fn write(payloads: &[Payload], grammar: &Grammar, out: &mut Vec<u8>) -> Result<Shape, EncodeError> {
    let types = types(payloads);
    let shape = grammar.shape(&types).map_err(EncodeError::Grammar)?;
    let next = types.iter().copied().skip(1).chain([PayloadType::None]);
    for (payload, next) in payloads.iter().zip(next) {
        with_length(payload.payload_type(), out, 2, |out| {
            out.extend_from_slice(&[next.to_wire(), 0, 0, 0]);
            payload.encode(out)
        })?;
    }
    Ok(shape)
}

/// The type that the "next payload" field in front of these payloads names.
pub(super) fn first(payloads: &[Payload]) -> PayloadType {
    payloads.first().map_or(PayloadType::None, Payload::payload_type)
}

fn types(payloads: &[Payload]) -> Vec<PayloadType> {
    payloads.iter().map(Payload::payload_type).collect()
}
