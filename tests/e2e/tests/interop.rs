//! Culvert and strongSwan, each as initiator and as responder, over every way between them.

use culvert_e2e::{Family, Kind, Nat, Setup, scenario};

const WE_BEGIN: Setup = Setup::new(Kind::Culvert, Kind::StrongSwan);
const THEY_BEGIN: Setup = Setup::new(Kind::StrongSwan, Kind::Culvert);

/// Up, and packets of both families pass both ways.
fn works(setup: Setup) {
    scenario(
        setup,
        |_| {},
        |s| {
            s.connect()?;
            s.ping_all()?;
            let (a, b) = (s.a.wait_child("lan")?, s.b.wait_child("lan")?);
            assert_eq!((&a.spi_in, &a.spi_out), (&b.spi_out, &b.spi_in), "both speak of the same SAs");
            assert!(a.packets_out >= 20 && b.packets_in >= 20, "the counters saw the pings: {a:?} {b:?}");
            Ok(())
        },
    );
}

#[test]
fn culvert_begins() {
    works(WE_BEGIN);
}

#[test]
fn strongswan_begins() {
    works(THEY_BEGIN);
}

#[test]
fn culvert_begins_over_ipv6() {
    works(Setup { outer: Family::V6, ..WE_BEGIN });
}

#[test]
fn strongswan_begins_over_ipv6() {
    works(Setup { outer: Family::V6, ..THEY_BEGIN });
}

#[test]
fn culvert_behind_nat() {
    works(Setup { nat: Nat::SiteA, ..WE_BEGIN });
}

#[test]
fn strongswan_behind_nat() {
    works(Setup { nat: Nat::SiteA, ..THEY_BEGIN });
}

#[test]
fn selectors_are_narrowed_to_what_both_want() {
    for setup in [WE_BEGIN, THEY_BEGIN] {
        scenario(
            setup,
            |plans| {
                plans.a.connections[0].children[0].remote_ts = vec!["10.2.0.0/16".to_owned()];
                plans.a.connections[0].children[0].local_ts = vec!["10.1.0.0/16".to_owned()];
            },
            |s| s.connect(),
        );
    }
}

#[test]
fn a_wrong_guess_of_the_group_is_corrected() {
    // The initiator's first group is not the responder's: INVALID_KE_PAYLOAD (RFC 7296 §1.2).
    for setup in [WE_BEGIN, THEY_BEGIN] {
        scenario(
            setup,
            |plans| {
                plans.a.connections[0].proposals = "aes256gcm16-prfsha384-x25519-ecp384".to_owned();
                plans.b.connections[0].proposals = "aes256gcm16-prfsha384-ecp384".to_owned();
            },
            |s| s.connect(),
        );
    }
}
