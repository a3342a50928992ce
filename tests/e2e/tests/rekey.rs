//! Rekey under running streams, both ways: no packet is lost or doubled.

use culvert_e2e::{Kind, LabError, Received, Scenario, Setup, scenario};

const RATE: u32 = 400;

fn assert_unharmed(received: &Received) {
    assert_eq!((received.lost(), received.doubled), (0, 0), "{received:?}");
}

/// Runs `action` while numbered packets go both ways.
fn under_streams(s: &mut Scenario, action: impl FnOnce(&mut Scenario) -> Result<(), LabError>) -> Result<(), LabError> {
    let (there, back) = (s.stream_a_to_b(RATE)?, s.stream_b_to_a(RATE)?);
    there.wait_flow(100)?;
    action(s)?;
    there.wait_flow(100)?;
    back.wait_flow(100)?;
    assert_unharmed(&there.stop());
    assert_unharmed(&back.stop());
    Ok(())
}

/// The child's keys are replaced every four seconds by `who`, and the IKE SA's every seven.
fn by_the_clock(setup: Setup, who: Kind) {
    scenario(
        setup,
        |plans| {
            for (kind, plan) in [(setup.a, &mut plans.a), (setup.b, &mut plans.b)] {
                let connection = &mut plan.connections[0];
                let mine = kind == who;
                connection.rekey_time = Some(if mine { "7s" } else { "0s" }.to_owned());
                connection.children[0].rekey_time = Some(if mine { "4s" } else { "0s" }.to_owned());
                connection.children[0].esp_proposals = "aes256gcm16-x25519".to_owned();
            }
        },
        |s| {
            s.connect()?;
            under_streams(s, |s| {
                let side = if setup.a == who { &mut s.a } else { &mut s.b };
                side.rekey_child("lan")?;
                side.rekey_ike()?;
                side.rekey_child("lan")
            })
        },
    );
}

#[test]
fn culvert_rekeys_with_strongswan() {
    by_the_clock(Setup::new(Kind::Culvert, Kind::StrongSwan), Kind::Culvert);
}

#[test]
fn culvert_the_responder_rekeys_with_strongswan() {
    by_the_clock(Setup::new(Kind::StrongSwan, Kind::Culvert), Kind::Culvert);
}

#[test]
fn two_culverts_rekey_and_collide() {
    // Both sides have the same times: sooner or later both begin at once (RFC 7296 §2.8.1).
    by_the_clock(Setup::new(Kind::Culvert, Kind::Culvert), Kind::Culvert);
}

#[test]
fn strongswan_rekeys() {
    for setup in [Setup::new(Kind::StrongSwan, Kind::Culvert), Setup::new(Kind::Culvert, Kind::StrongSwan)] {
        scenario(
            setup,
            |plans| plans.child(|child| child.esp_proposals = "aes256gcm16-x25519".to_owned()),
            |s| {
                s.connect()?;
                under_streams(s, |s| {
                    let side = if setup.a == Kind::StrongSwan { &mut s.a } else { &mut s.b };
                    side.rekey_child("lan")?;
                    side.rekey_ike()?;
                    side.rekey_child("lan")
                })
            },
        );
    }
}
