//! IKE messages on the wire, RFC 7296 §3: what a peer's octets mean, and the octets of what we mean.
//!
//! In: [`parse`] gives a [`ClearMessage`] (IKE_SA_INIT) or a [`Protected`], which an [`Opener`] turns into an
//! [`OpenedMessage`]. Out: [`ClearMessage::encode`] and [`Sealer::seal`]. The tables in `grammar` say which payloads a
//! message may hold, both ways; its [`Shape`] says what it is.

mod chain;
mod clear;
mod error;
mod grammar;
mod header;
mod list;
mod payload;
mod protected;
mod reader;
mod registry;
#[cfg(test)]
mod tests;

pub use clear::ClearMessage;
pub use error::{EncodeError, Error, Fault};
pub use grammar::Shape;
pub use header::{HEADER_LEN, Header, IkeSpi, MAX_MESSAGE};
pub use list::Payloads;
pub use payload::{
    Attribute, Authentication, Certificate, Configuration, ConfigurationAttribute, Delete, Identity, KeyExchangeData,
    KnownTransform, Nonce, Notify, Payload, Proposal, SecurityAssociation, Selector, TrafficSelectors, Transform,
};
pub use protected::{OpenedMessage, Opener, Protected, Sealer, parse_inner};
pub use registry::{
    AuthMethod, CertificateEncoding, ConfigurationKind, ExchangeType, NotifyType, PayloadType, Protocol, TransformType,
};

/// A datagram by the way it has to go.
pub enum Incoming<'a> {
    Clear(ClearMessage),
    Protected(Protected<'a>),
}

/// Reads a datagram as far as that goes without keys.
pub fn parse(datagram: &[u8]) -> Result<Incoming<'_>, Error> {
    let (header, _, _) = Header::parse(datagram).map_err(Error::Unproven)?;
    if header.exchange == ExchangeType::IkeSaInit {
        ClearMessage::parse(datagram).map(Incoming::Clear)
    } else {
        Protected::parse(datagram).map(Incoming::Protected)
    }
}
