//! Looking for payloads in a parsed message.

use super::{
    payload::{
        Authentication, Configuration, Delete, Identity, KeyExchangeData, Nonce, Notify, Payload, SecurityAssociation,
        TrafficSelectors,
    },
    registry::NotifyType,
};

/// Lookups over the payloads of a message. The grammar has bounded how many of each there are.
pub trait Payloads {
    fn all(&self) -> &[Payload];

    fn sa(&self) -> Option<&SecurityAssociation> {
        find(self.all(), |p| if let Payload::Sa(x) = p { Some(x) } else { None })
    }

    fn ke(&self) -> Option<&KeyExchangeData> {
        find(self.all(), |p| if let Payload::Ke(x) = p { Some(x) } else { None })
    }

    fn nonce(&self) -> Option<&Nonce> {
        find(self.all(), |p| if let Payload::Nonce(x) = p { Some(x) } else { None })
    }

    fn id_initiator(&self) -> Option<&Identity> {
        find(self.all(), |p| if let Payload::IdInitiator(x) = p { Some(x) } else { None })
    }

    fn id_responder(&self) -> Option<&Identity> {
        find(self.all(), |p| if let Payload::IdResponder(x) = p { Some(x) } else { None })
    }

    fn auth(&self) -> Option<&Authentication> {
        find(self.all(), |p| if let Payload::Auth(x) = p { Some(x) } else { None })
    }

    fn ts_initiator(&self) -> Option<&TrafficSelectors> {
        find(self.all(), |p| if let Payload::TsInitiator(x) = p { Some(x) } else { None })
    }

    fn ts_responder(&self) -> Option<&TrafficSelectors> {
        find(self.all(), |p| if let Payload::TsResponder(x) = p { Some(x) } else { None })
    }

    fn configuration(&self) -> Option<&Configuration> {
        find(self.all(), |p| if let Payload::Configuration(x) = p { Some(x) } else { None })
    }

    fn notifies(&self) -> impl Iterator<Item = &Notify> {
        self.all().iter().filter_map(|p| if let Payload::Notify(x) = p { Some(x) } else { None })
    }

    /// The first notification of this type.
    fn notify(&self, kind: NotifyType) -> Option<&Notify> {
        self.notifies().find(|n| n.kind == kind)
    }

    /// The first notification that reports an error.
    fn error(&self) -> Option<&Notify> {
        self.notifies().find(|n| n.kind.is_error())
    }

    fn deletes(&self) -> impl Iterator<Item = &Delete> {
        self.all().iter().filter_map(|p| if let Payload::Delete(x) = p { Some(x) } else { None })
    }
}

impl Payloads for [Payload] {
    fn all(&self) -> &[Payload] {
        self
    }
}

fn find<'a, T>(payloads: &'a [Payload], pick: impl FnMut(&'a Payload) -> Option<&'a T>) -> Option<&'a T> {
    payloads.iter().find_map(pick)
}
