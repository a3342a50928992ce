//! Which payload may stand in which message, and how often: RFC 7296 §1.2 to §1.4 and appendix C, as data.
//!
//! Parsing asks here before it decodes a payload. There is one table per exchange and direction; each holds the shapes
//! that a message may take. Order inside a message does not matter (§2.5).

use super::{
    error::Fault,
    registry::{ExchangeType, PayloadType},
};
use PayloadType as P;

/// What a message is, told from its exchange, direction and payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    InitRequest,
    InitResponse,
    /// IKE_AUTH of an initiator that proves itself at once.
    AuthRequest,
    /// IKE_AUTH without AUTH: the initiator wants EAP (§2.16).
    EapStart,
    /// One more EAP message, either direction.
    EapStep,
    /// AUTH at the end of EAP.
    EapFinish,
    /// The responder's answer to `EapFinish`.
    EapDone,
    AuthResponse,
    /// The IKE SA stands, its first Child SA does not: notifications say why (§1.3).
    AuthResponseNoChild,
    /// CREATE_CHILD_SA for a new or rekeyed Child SA.
    ChildRequest,
    ChildResponse,
    /// CREATE_CHILD_SA for a new IKE SA in the place of this one.
    IkeRekeyRequest,
    IkeRekeyResponse,
    Informational,
    /// A response of notifications only.
    Refusal,
}

/// A payload and how often it stands in a message.
pub(super) struct Rule {
    pub payload: PayloadType,
    pub min: u8,
    pub max: u8,
}

pub(super) struct Form {
    pub shape: Shape,
    pub rules: &'static [Rule],
}

/// The forms that one exchange has in one direction. The first is the usual one.
pub(super) struct Grammar(pub &'static [Form]);

const fn one(payload: PayloadType) -> Rule {
    Rule { payload, min: 1, max: 1 }
}

const fn maybe(payload: PayloadType) -> Rule {
    Rule { payload, min: 0, max: 1 }
}

const fn many(payload: PayloadType, max: u8) -> Rule {
    Rule { payload, min: 0, max }
}

/// More than any peer sends; they bound the work one datagram can cause.
const NOTIFIES: Rule = many(P::Notify, 64);
const SOME_NOTIFIES: Rule = Rule { payload: P::Notify, min: 1, max: 64 };
const VENDORS: Rule = many(P::VendorId, 32);
const CERTIFICATES: Rule = many(P::Certificate, 16);
const REQUESTS: Rule = many(P::CertificateRequest, 16);
const DELETES: Rule = many(P::Delete, 16);

const REFUSAL: Form = Form { shape: Shape::Refusal, rules: &[SOME_NOTIFIES, VENDORS] };

/// Never encrypted.
static INIT_REQUEST: Grammar =
    Grammar(&[Form { shape: Shape::InitRequest, rules: &[one(P::Sa), one(P::Ke), one(P::Nonce), NOTIFIES, VENDORS] }]);

/// Never encrypted.
static INIT_RESPONSE: Grammar = Grammar(&[
    Form { shape: Shape::InitResponse, rules: &[one(P::Sa), one(P::Ke), one(P::Nonce), REQUESTS, NOTIFIES, VENDORS] },
    REFUSAL,
]);

static AUTH_REQUEST: Grammar = Grammar(&[
    Form {
        shape: Shape::AuthRequest,
        rules: &[
            one(P::IdInitiator),
            CERTIFICATES,
            REQUESTS,
            maybe(P::IdResponder),
            one(P::Auth),
            maybe(P::Configuration),
            one(P::Sa),
            one(P::TsInitiator),
            one(P::TsResponder),
            NOTIFIES,
            VENDORS,
        ],
    },
    Form {
        shape: Shape::EapStart,
        rules: &[
            one(P::IdInitiator),
            REQUESTS,
            maybe(P::IdResponder),
            maybe(P::Configuration),
            one(P::Sa),
            one(P::TsInitiator),
            one(P::TsResponder),
            NOTIFIES,
            VENDORS,
        ],
    },
    Form { shape: Shape::EapStep, rules: &[one(P::Eap), NOTIFIES, VENDORS] },
    Form { shape: Shape::EapFinish, rules: &[one(P::Auth), NOTIFIES, VENDORS] },
]);

static AUTH_RESPONSE: Grammar = Grammar(&[
    Form {
        shape: Shape::AuthResponse,
        rules: &[
            one(P::IdResponder),
            CERTIFICATES,
            one(P::Auth),
            maybe(P::Configuration),
            one(P::Sa),
            one(P::TsInitiator),
            one(P::TsResponder),
            NOTIFIES,
            VENDORS,
        ],
    },
    Form {
        shape: Shape::AuthResponseNoChild,
        rules: &[one(P::IdResponder), CERTIFICATES, one(P::Auth), maybe(P::Configuration), SOME_NOTIFIES, VENDORS],
    },
    REFUSAL,
    Form {
        shape: Shape::EapStep,
        rules: &[maybe(P::IdResponder), CERTIFICATES, maybe(P::Auth), one(P::Eap), NOTIFIES, VENDORS],
    },
    Form {
        shape: Shape::EapDone,
        rules: &[
            one(P::Auth),
            maybe(P::Configuration),
            one(P::Sa),
            one(P::TsInitiator),
            one(P::TsResponder),
            NOTIFIES,
            VENDORS,
        ],
    },
]);

const CHILD: &[Rule] = &[
    one(P::Sa),
    one(P::Nonce),
    maybe(P::Ke),
    one(P::TsInitiator),
    one(P::TsResponder),
    maybe(P::Configuration),
    NOTIFIES,
    VENDORS,
];
const IKE_REKEY: &[Rule] = &[one(P::Sa), one(P::Nonce), one(P::Ke), NOTIFIES, VENDORS];

static CHILD_REQUEST: Grammar = Grammar(&[
    Form { shape: Shape::ChildRequest, rules: CHILD },
    Form { shape: Shape::IkeRekeyRequest, rules: IKE_REKEY },
]);

static CHILD_RESPONSE: Grammar = Grammar(&[
    Form { shape: Shape::ChildResponse, rules: CHILD },
    Form { shape: Shape::IkeRekeyResponse, rules: IKE_REKEY },
    REFUSAL,
]);

static INFORMATIONAL: Grammar =
    Grammar(&[Form { shape: Shape::Informational, rules: &[NOTIFIES, DELETES, maybe(P::Configuration), VENDORS] }]);

/// For messages without an Encrypted payload.
pub(super) fn clear(exchange: ExchangeType, response: bool) -> Result<&'static Grammar, Fault> {
    match (exchange, response) {
        (ExchangeType::IkeSaInit, false) => Ok(&INIT_REQUEST),
        (ExchangeType::IkeSaInit, true) => Ok(&INIT_RESPONSE),
        (ExchangeType::IkeAuth | ExchangeType::CreateChildSa | ExchangeType::Informational, _) => {
            Err(Fault::NotEncrypted(exchange))
        }
        (ExchangeType::Unknown(_), _) => Err(Fault::Exchange(exchange)),
    }
}

/// For what is inside an Encrypted payload.
pub(super) fn encrypted(exchange: ExchangeType, response: bool) -> Result<&'static Grammar, Fault> {
    match (exchange, response) {
        (ExchangeType::IkeAuth, false) => Ok(&AUTH_REQUEST),
        (ExchangeType::IkeAuth, true) => Ok(&AUTH_RESPONSE),
        (ExchangeType::CreateChildSa, false) => Ok(&CHILD_REQUEST),
        (ExchangeType::CreateChildSa, true) => Ok(&CHILD_RESPONSE),
        (ExchangeType::Informational, _) => Ok(&INFORMATIONAL),
        (ExchangeType::IkeSaInit, _) => Err(Fault::NotClear(exchange)),
        (ExchangeType::Unknown(_), _) => Err(Fault::Exchange(exchange)),
    }
}

impl Grammar {
    /// May a payload of this type stand in any of the forms?
    pub fn admits(&self, payload: PayloadType) -> bool {
        self.0.iter().any(|form| form.rules.iter().any(|rule| rule.payload == payload))
    }

    /// The form that these payloads make, or what the usual form misses.
    pub fn shape(&self, payloads: &[PayloadType]) -> Result<Shape, Fault> {
        let mut first = None;
        for form in self.0 {
            match form.check(payloads) {
                Ok(()) => return Ok(form.shape),
                Err(fault) => first = first.or(Some(fault)),
            }
        }
        Err(first.unwrap_or(Fault::NotAllowed { payload: PayloadType::None }))
    }
}

impl Form {
    fn check(&self, payloads: &[PayloadType]) -> Result<(), Fault> {
        for rule in self.rules {
            let count = payloads.iter().filter(|p| **p == rule.payload).count();
            if count < rule.min.into() {
                return Err(Fault::Missing { payload: rule.payload });
            }
            if count > rule.max.into() {
                return Err(Fault::Repeated { payload: rule.payload });
            }
        }
        let stranger = payloads.iter().find(|p| self.rules.iter().all(|rule| rule.payload != **p));
        stranger.map_or(Ok(()), |p| Err(Fault::NotAllowed { payload: *p }))
    }
}
