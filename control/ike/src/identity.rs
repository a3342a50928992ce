//! Identities of the configuration and of the wire.

use crate::message;
use culvert_model::Identity;

pub(crate) fn to_wire(id: &Identity) -> message::Identity {
    match id {
        Identity::Ipv4(addr) => message::Identity::Ipv4(*addr),
        Identity::Ipv6(addr) => message::Identity::Ipv6(*addr),
        Identity::Fqdn(name) => message::Identity::Fqdn(name.clone()),
        Identity::Email(name) => message::Identity::Rfc822(name.clone()),
        Identity::KeyId(data) => message::Identity::KeyId(data.clone()),
        Identity::Other { id_type: 9, data } => message::Identity::DerAsn1Dn(data.clone()),
        Identity::Other { id_type, data } => message::Identity::Unknown { kind: *id_type, data: data.clone() },
    }
}

pub(crate) fn from_wire(id: &message::Identity) -> Identity {
    let body = id.body();
    Identity::from_wire(id.kind(), body.get(4..).unwrap_or_default())
}

/// What AUTH covers: the payload's body.
pub(crate) fn body(id: &Identity) -> Vec<u8> {
    let mut body = vec![id.id_type(), 0, 0, 0];
    body.extend_from_slice(&id.data());
    body
}
