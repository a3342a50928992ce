//! Messages drawn from the grammar's own tables.

use crate::message::{grammar::Form, *};
use culvert_model::{AddrRange, PortRange, TrafficSelector};
use proptest::{collection::vec, prelude::*, sample::SizeRange};
use std::net::IpAddr;

fn bytes(size: impl Into<SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), size)
}

pub fn payload(kind: PayloadType) -> BoxedStrategy<Payload> {
    match kind {
        PayloadType::Sa => {
            vec(proposal(), 1..5).prop_map(|proposals| Payload::Sa(SecurityAssociation { proposals })).boxed()
        }
        PayloadType::Ke => (any::<u16>(), bytes(1..80))
            .prop_map(|(method, data)| Payload::Ke(KeyExchangeData { method, data }))
            .boxed(),
        PayloadType::IdInitiator => identity().prop_map(Payload::IdInitiator).boxed(),
        PayloadType::IdResponder => identity().prop_map(Payload::IdResponder).boxed(),
        PayloadType::Certificate => certificate().prop_map(Payload::Certificate).boxed(),
        PayloadType::CertificateRequest => certificate().prop_map(Payload::CertificateRequest).boxed(),
        PayloadType::Auth => (any::<u8>(), bytes(0..80))
            .prop_map(|(method, data)| Authentication { method: AuthMethod::from_wire(method), data })
            .prop_map(Payload::Auth)
            .boxed(),
        PayloadType::Nonce => bytes(16..=256).prop_map(|octets| Payload::Nonce(Nonce::new(octets).unwrap())).boxed(),
        PayloadType::Notify => notify().prop_map(Payload::Notify).boxed(),
        PayloadType::Delete => prop_oneof![
            Just(Delete::Ike),
            vec(any::<u32>(), 0..9).prop_map(Delete::Esp),
            vec(any::<u32>(), 0..9).prop_map(Delete::Ah),
        ]
        .prop_map(Payload::Delete)
        .boxed(),
        PayloadType::VendorId => bytes(0..40).prop_map(Payload::VendorId).boxed(),
        PayloadType::TsInitiator => selectors().prop_map(Payload::TsInitiator).boxed(),
        PayloadType::TsResponder => selectors().prop_map(Payload::TsResponder).boxed(),
        PayloadType::Configuration => configuration().prop_map(Payload::Configuration).boxed(),
        PayloadType::Eap => bytes(0..40).prop_map(Payload::Eap).boxed(),
        PayloadType::None | PayloadType::Encrypted | PayloadType::Skf | PayloadType::Unknown(_) => {
            unreachable!("no grammar admits {kind:?}")
        }
    }
}

/// Payloads that make this form, in any order.
pub fn payloads(form: &Form) -> BoxedStrategy<Vec<Payload>> {
    let groups = form.rules.iter().map(|rule| {
        let most = rule.max.min(rule.min + 2);
        vec(payload(rule.payload), usize::from(rule.min)..=usize::from(most))
    });
    groups.collect::<Vec<_>>().prop_map(|groups| groups.concat()).prop_shuffle().boxed()
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let protocol = prop_oneof![
        Just((Protocol::Ike, 0)),
        Just((Protocol::Ike, 8)),
        Just((Protocol::Esp, 4)),
        Just((Protocol::Ah, 4)),
        (4..=255u8, 0..20usize).prop_map(|(number, len)| (Protocol::from_wire(number), len)),
    ];
    let spi = protocol.prop_flat_map(|(protocol, len)| (Just(protocol), bytes(len)));
    (any::<u8>(), spi, vec(transform(), 0..12)).prop_map(|(number, (protocol, spi), transforms)| Proposal {
        number,
        protocol,
        spi,
        transforms,
    })
}

fn transform() -> impl Strategy<Value = Transform> {
    let attribute = prop_oneof![
        Just(Attribute::Short { kind: 14, value: 256 }),
        (0..0x8000u16, any::<u16>()).prop_map(|(kind, value)| Attribute::Short { kind, value }),
        (0..0x8000u16, bytes(0..10)).prop_map(|(kind, value)| Attribute::Long { kind, value }),
    ];
    (any::<u8>(), any::<u16>(), vec(attribute, 0..=8)).prop_map(|(kind, id, attributes)| Transform {
        kind: TransformType::from_wire(kind),
        id,
        attributes,
    })
}

fn identity() -> impl Strategy<Value = Identity> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| Identity::Ipv4(octets.into())),
        any::<[u8; 16]>().prop_map(|octets| Identity::Ipv6(octets.into())),
        "[a-z0-9.-]{1,60}".prop_map(Identity::Fqdn),
        "[a-z.]{1,20}@[a-z.]{1,20}".prop_map(Identity::Rfc822),
        bytes(0..60).prop_map(Identity::DerAsn1Dn),
        bytes(0..60).prop_map(Identity::KeyId),
        (12..=255u8, bytes(0..60)).prop_map(|(kind, data)| Identity::Unknown { kind, data }),
    ]
}

fn certificate() -> impl Strategy<Value = Certificate> {
    (any::<u8>(), bytes(0..100))
        .prop_map(|(encoding, data)| Certificate { encoding: CertificateEncoding::from_wire(encoding), data })
}

fn notify() -> impl Strategy<Value = Notify> {
    (any::<u8>(), bytes(0..=255), any::<u16>(), bytes(0..50)).prop_map(|(protocol, spi, kind, data)| Notify {
        protocol: Protocol::from_wire(protocol),
        spi,
        kind: NotifyType::from_wire(kind),
        data,
    })
}

fn selectors() -> impl Strategy<Value = TrafficSelectors> {
    let v4 = any::<[[u8; 4]; 2]>().prop_map(|ends| ends.map(IpAddr::from));
    let v6 = any::<[[u8; 16]; 2]>().prop_map(|ends| ends.map(IpAddr::from));
    let addrs = prop_oneof![v4, v6].prop_map(|[a, b]| AddrRange::new(a.min(b), a.max(b)).unwrap());
    let ports = prop_oneof![
        Just(PortRange::ANY),
        Just(PortRange::OPAQUE),
        any::<[u16; 2]>().prop_map(|[a, b]| PortRange::new(a.min(b), a.max(b)).unwrap()),
    ];
    let known = (addrs, prop_oneof![Just(None), (1..=255u8).prop_map(Some)], ports)
        .prop_map(|(addrs, protocol, ports)| Selector::Known(TrafficSelector { addrs, protocol, ports }));
    let unknown = (9..=255u8, any::<u8>(), bytes(0..30)).prop_map(|(kind, protocol, body)| Selector::Unknown {
        kind,
        protocol,
        body,
    });
    vec(prop_oneof![4 => known, 1 => unknown], 1..20).prop_map(TrafficSelectors)
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let attribute = (0..0x8000u16, bytes(0..20)).prop_map(|(kind, value)| ConfigurationAttribute { kind, value });
    (any::<u8>(), vec(attribute, 0..10))
        .prop_map(|(kind, attributes)| Configuration { kind: ConfigurationKind::from_wire(kind), attributes })
}
