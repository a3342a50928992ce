//! The grammar as one reads it, and that it holds.

use super::*;
use std::fmt::Write;

const ALL_TYPES: [PayloadType; 18] = [
    PayloadType::Sa,
    PayloadType::Ke,
    PayloadType::IdInitiator,
    PayloadType::IdResponder,
    PayloadType::Certificate,
    PayloadType::CertificateRequest,
    PayloadType::Auth,
    PayloadType::Nonce,
    PayloadType::Notify,
    PayloadType::Delete,
    PayloadType::VendorId,
    PayloadType::TsInitiator,
    PayloadType::TsResponder,
    PayloadType::Encrypted,
    PayloadType::Configuration,
    PayloadType::Eap,
    PayloadType::Skf,
    PayloadType::Unknown(200),
];

#[test]
fn the_tables() {
    let mut text = String::new();
    for (exchange, response, grammar) in clear_grammars().into_iter().chain(encrypted_grammars()) {
        let direction = if response { "response" } else { "request" };
        writeln!(text, "{exchange:?} {direction}").unwrap();
        for form in grammar.0 {
            writeln!(text, "  {:?}", form.shape).unwrap();
            for rule in form.rules {
                writeln!(text, "    {:?} {}..={}", rule.payload, rule.min, rule.max).unwrap();
            }
        }
    }
    insta::assert_snapshot!(text);
}

/// Well-formed payloads in the wrong message: refused by their type, whatever they hold.
#[test]
fn what_the_tables_do_not_admit_is_refused_before_it_is_decoded() {
    let broken = [0, 0, 0, 5, 0xff];
    for (exchange, response, grammar) in encrypted_grammars() {
        for payload in ALL_TYPES.into_iter().filter(|p| !matches!(p, PayloadType::Unknown(_))) {
            let read = parse_inner(exchange, response, payload, &broken);
            let by_type = read == Err(Fault::NotAllowed { payload });
            assert_eq!(by_type, !grammar.admits(payload), "{exchange:?} {payload:?}: {read:?}");
        }
    }
}

/// The Encrypted payload and fragments have no way into a message.
#[test]
fn no_table_admits_the_frame() {
    for (_, _, grammar) in clear_grammars().into_iter().chain(encrypted_grammars()) {
        for payload in [PayloadType::Encrypted, PayloadType::Skf, PayloadType::None, PayloadType::Unknown(200)] {
            assert!(!grammar.admits(payload));
        }
    }
}

/// IKE_SA_INIT is the only thing read in clear, and nothing in it names an identity, a selector or a deletion.
#[test]
fn clear_messages_hold_nothing_secret() {
    for (_, _, grammar) in clear_grammars() {
        for payload in ALL_TYPES {
            let clear = matches!(
                payload,
                PayloadType::Sa
                    | PayloadType::Ke
                    | PayloadType::Nonce
                    | PayloadType::Notify
                    | PayloadType::VendorId
                    | PayloadType::CertificateRequest
            );
            assert!(clear || !grammar.admits(payload), "{payload:?}");
        }
    }
    for exchange in [ExchangeType::IkeAuth, ExchangeType::CreateChildSa, ExchangeType::Informational] {
        for response in [false, true] {
            assert_eq!(grammar::clear(exchange, response).err(), Some(Fault::NotEncrypted(exchange)));
        }
    }
    let init = ExchangeType::IkeSaInit;
    assert_eq!(grammar::encrypted(init, false).err(), Some(Fault::NotClear(init)));
}

#[test]
fn shapes_tell_look_alikes_apart() {
    use PayloadType as P;
    let shape = |exchange, response, payloads: &[P]| grammar::encrypted(exchange, response).unwrap().shape(payloads);
    let child = ExchangeType::CreateChildSa;
    let (ts, rekey) = ([P::Sa, P::Nonce, P::TsInitiator, P::TsResponder], [P::Sa, P::Nonce, P::Ke]);
    assert_eq!(shape(child, false, &ts), Ok(Shape::ChildRequest));
    assert_eq!(shape(child, false, &rekey), Ok(Shape::IkeRekeyRequest));
    assert_eq!(shape(child, true, &[P::Notify]), Ok(Shape::Refusal));
    assert_eq!(shape(child, false, &[P::Notify]), Err(Fault::Missing { payload: P::Sa }));
    assert_eq!(shape(child, false, &[P::Sa, P::Nonce]), Err(Fault::Missing { payload: P::TsInitiator }));
    let twice = [&ts[..], &[P::Nonce]].concat();
    assert_eq!(shape(child, false, &twice), Err(Fault::Repeated { payload: P::Nonce }));
    let auth = ExchangeType::IkeAuth;
    assert_eq!(shape(auth, true, &[P::IdResponder, P::Auth, P::Notify]), Ok(Shape::AuthResponseNoChild));
    assert_eq!(shape(auth, true, &[P::Notify]), Ok(Shape::Refusal));
    assert_eq!(shape(auth, false, &[P::IdInitiator, P::Sa, P::TsInitiator, P::TsResponder]), Ok(Shape::EapStart));
    assert_eq!(shape(ExchangeType::Informational, false, &[]), Ok(Shape::Informational));
}
