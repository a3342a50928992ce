//! Messages without protection: IKE_SA_INIT, and nothing else.

use super::{
    chain,
    error::{EncodeError, Error, Fault},
    grammar::{self, Shape},
    header::{HEADER_LEN, Header, MAX_MESSAGE},
    payload::{Notify, Payload},
    registry::PayloadType,
};

/// An IKE_SA_INIT message. Nothing in it is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearMessage {
    pub header: Header,
    /// `InitRequest`, `InitResponse` or `Refusal`.
    pub shape: Shape,
    pub payloads: Vec<Payload>,
}

impl ClearMessage {
    pub fn parse(datagram: &[u8]) -> Result<Self, Error> {
        Self::parse_octets(datagram).map_err(Error::Unproven)
    }

    fn parse_octets(datagram: &[u8]) -> Result<Self, Fault> {
        let (header, first, octets) = Header::parse(datagram)?;
        let grammar = grammar::clear(header.exchange, header.response)?;
        let (shape, payloads) = chain::parse(first, octets, grammar)?;
        check_header(&header, shape)?;
        Ok(Self { header, shape, payloads })
    }

    /// The octets of an IKE_SA_INIT message.
    pub fn encode(header: &Header, payloads: &[Payload]) -> Result<Vec<u8>, EncodeError> {
        let grammar = grammar::clear(header.exchange, header.response).map_err(EncodeError::Grammar)?;
        let mut body = Vec::with_capacity(chain::USUAL_LEN);
        let shape = chain::write(payloads, grammar, &mut body)?;
        check_header(header, shape).map_err(EncodeError::Grammar)?;
        assemble(header, chain::first(payloads), &body)
    }

    /// The answer in clear to a request that belongs to no IKE SA: INVALID_IKE_SPI, INVALID_MAJOR_VERSION (RFC 7296
    /// §1.5, §2.21.4). `header` is the request's. It is a hint to the peer and shorter than any request.
    pub fn refuse(request: &Header, notify: Notify) -> Result<Vec<u8>, EncodeError> {
        let payloads = [Payload::Notify(notify)];
        let grammar = grammar::clear(super::ExchangeType::IkeSaInit, true).map_err(EncodeError::Grammar)?;
        let mut body = Vec::new();
        chain::write(&payloads, grammar, &mut body)?;
        assemble(&request.answer(), PayloadType::Notify, &body)
    }
}

fn assemble(header: &Header, first: PayloadType, body: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let len = HEADER_LEN + body.len();
    if len > MAX_MESSAGE {
        return Err(EncodeError::TooLong { payload: first });
    }
    let mut out = Vec::with_capacity(len);
    header.emit(first, len as u32, &mut out);
    out.extend_from_slice(body);
    Ok(out)
}

/// RFC 7296 §2.2 (message ID), §2.6 (SPIs), §3.1 (flags).
fn check_header(header: &Header, shape: Shape) -> Result<(), Fault> {
    if header.message_id != 0 {
        return Err(Fault::InitMessageId { id: header.message_id });
    }
    if header.initiator == header.response {
        return Err(Fault::InitiatorFlag);
    }
    match shape {
        Shape::InitRequest if !header.responder_spi.is_zero() => Err(Fault::ResponderSpi),
        Shape::InitResponse if header.responder_spi.is_zero() => Err(Fault::ResponderSpi),
        // A responder that refuses may have chosen an SPI or not (§2.6, §2.6.1).
        _ => Ok(()),
    }
}
