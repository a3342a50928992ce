//! Every message of every form of the grammar survives being written and read.

use super::*;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

fn runner() -> TestRunner {
    TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() })
}

#[test]
fn clear_messages() {
    for (exchange, response, grammar) in clear_grammars() {
        for form in grammar.0 {
            let test = |payloads: Vec<Payload>| {
                let header = header(exchange, response);
                let datagram = ClearMessage::encode(&header, &payloads).unwrap();
                let Ok(Incoming::Clear(message)) = parse(&datagram) else {
                    panic!("{:?}", ClearMessage::parse(&datagram));
                };
                prop_assert_eq!(message, ClearMessage { header, shape: form.shape, payloads });
                Ok(())
            };
            runner().run(&strategies::payloads(form), test).unwrap();
        }
    }
}

#[test]
fn sealed_messages() {
    let provider = provider();
    let suites = suites();
    for (exchange, response, grammar) in encrypted_grammars() {
        for form in grammar.0 {
            let drawn = (strategies::payloads(form), 0..suites.len());
            let test = |(payloads, suite): (Vec<Payload>, usize)| {
                let (encryption, integrity) = suites[suite];
                let (mut sealer, opener) = pair(encryption, integrity);
                let header = header(exchange, response);
                let datagram = sealer.seal(&provider, &header, &payloads).unwrap();
                let Ok(Incoming::Protected(protected)) = parse(&datagram) else { panic!("{datagram:02x?}") };
                prop_assert_eq!(protected.header(), &header);
                let opened = protected.open(&provider, &opener);
                prop_assert_eq!(opened, Ok(OpenedMessage { header, shape: form.shape, payloads }));
                Ok(())
            };
            runner().run(&drawn, test).unwrap();
        }
    }
}

/// Reading after one octet was damaged, or reading noise, ends: with a value or an error.
#[test]
fn damaged_and_random_octets_never_panic() {
    for (exchange, response, grammar) in encrypted_grammars() {
        for form in grammar.0 {
            let drawn = (strategies::payloads(form), any::<prop::sample::Index>(), any::<u8>());
            let test = |(payloads, at, value): (Vec<Payload>, prop::sample::Index, u8)| {
                let mut octets = Vec::new();
                chain::write(&payloads, grammar, &mut octets).unwrap();
                if octets.is_empty() {
                    return Ok(());
                }
                let at = at.index(octets.len());
                octets[at] = value;
                if let Ok((_, read)) = parse_inner(exchange, response, chain::first(&payloads), &octets) {
                    // What was understood can be said again.
                    let mut again = Vec::new();
                    prop_assert!(chain::write(&read, grammar, &mut again).is_ok());
                }
                Ok(())
            };
            runner().run(&drawn, test).unwrap();
        }
    }
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    let test = |(noise, first): (Vec<u8>, u8)| {
        let _ = parse(&noise);
        for (exchange, response, _) in encrypted_grammars() {
            let _ = parse_inner(exchange, response, PayloadType::from_wire(first), &noise);
        }
        Ok(())
    };
    runner().run(&(noise, 33..=53u8), test).unwrap();
}

#[test]
fn transforms_of_the_model_survive_as_known() {
    use culvert_model::{EsnMode, KeGroup, Prf};
    let all = Encryption::ALL.iter().map(|t| KnownTransform::Encryption(*t));
    let all = all.chain(Prf::ALL.iter().map(|t| KnownTransform::Prf(*t)));
    let all = all.chain(Integrity::ALL.iter().map(|t| KnownTransform::Integrity(*t)));
    let all = all.chain(KeGroup::ALL.iter().map(|t| KnownTransform::Group(*t)));
    for known in all.chain(EsnMode::ALL.iter().map(|t| KnownTransform::Esn(*t))) {
        assert_eq!(Transform::from(known).known(), Some(known));
    }
}

#[test]
fn transforms_with_attributes_beyond_the_key_length_are_not_known() {
    let plain = Transform::from(KnownTransform::Encryption(Encryption::Aes128Cbc));
    for extra in [
        Attribute::Short { kind: 14, value: 128 },
        Attribute::Short { kind: 99, value: 1 },
        Attribute::Long { kind: 99, value: vec![] },
    ] {
        let mut transform = plain.clone();
        transform.attributes.push(extra);
        assert_eq!(transform.known(), None);
    }
    let without = Transform { attributes: vec![], ..plain.clone() };
    assert_eq!(without.known(), None, "AES needs its key length");
    let other = Transform { attributes: vec![Attribute::Short { kind: 15, value: 128 }], ..plain.clone() };
    assert_eq!(other.known(), None, "another attribute is no key length");
    let long_form = Transform { attributes: vec![Attribute::Long { kind: 14, value: vec![0, 128] }], ..plain };
    assert_eq!(long_form.known(), None, "the key length has the short form only");
    let mut prf = Transform::from(KnownTransform::Prf(culvert_model::Prf::HmacSha256));
    prf.attributes.push(Attribute::Short { kind: 14, value: 256 });
    assert_eq!(prf.known(), None);
}
