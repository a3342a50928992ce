//! Every algorithm with strongSwan as the other side. Culvert begins; where the same code must also answer, the second
//! list lets strongSwan begin. strongSwan's user-space ESP knows no 64-bit sequence numbers; two Culverts use them in
//! pair.rs.

use culvert_e2e::{Kind, Setup, scenario};

fn agree(begins: Kind, ike: &str, esp: &str) {
    let other = if begins == Kind::Culvert { Kind::StrongSwan } else { Kind::Culvert };
    scenario(
        Setup::new(begins, other),
        |plans| {
            plans.connection(|connection| connection.proposals = ike.to_owned());
            plans.child(|child| child.esp_proposals = esp.to_owned());
        },
        |s| s.connect(),
    );
}

macro_rules! algorithms {
    ($begins:expr; $($name:ident: $ike:literal, $esp:literal;)+) => {
        $(#[test]
        fn $name() {
            agree($begins, $ike, $esp);
        })+
    };
}

mod culvert_begins {
    use super::*;

    algorithms! { Kind::Culvert;
        aes128gcm_x25519: "aes128gcm16-prfsha256-x25519", "aes128gcm16";
        aes256gcm_x25519: "aes256gcm16-prfsha384-x25519", "aes256gcm16";
        aes256gcm_prfsha512: "aes256gcm16-prfsha512-x25519", "aes256gcm16";
        aes128cbc_sha256: "aes128-sha256-x25519", "aes128gcm16";
        aes256cbc_sha384: "aes256-sha384-x25519", "aes256gcm16";
        aes256cbc_sha512: "aes256-sha512-x25519", "aes256gcm16";
        ecp256: "aes128gcm16-prfsha256-ecp256", "aes128gcm16";
        ecp384: "aes256gcm16-prfsha384-ecp384", "aes256gcm16";
        modp2048: "aes128gcm16-prfsha256-modp2048", "aes128gcm16";
        modp3072: "aes128gcm16-prfsha256-modp3072", "aes128gcm16";
        modp4096: "aes128gcm16-prfsha256-modp4096", "aes128gcm16";
        pfs_x25519: "aes256gcm16-prfsha384-x25519", "aes256gcm16-x25519";
        esp_cbc_sha256: "aes128gcm16-prfsha256-x25519", "aes128-sha256";
        esp_cbc_sha1: "aes128gcm16-prfsha256-x25519", "aes256-sha1";
        esp_cbc_sha512: "aes128gcm16-prfsha256-x25519", "aes192-sha512";
        esp_ctr_sha384: "aes128gcm16-prfsha256-x25519", "aes256ctr-sha384";
        esp_gcm8: "aes128gcm16-prfsha256-x25519", "aes128gcm8";
        esp_gcm12: "aes128gcm16-prfsha256-x25519", "aes192gcm12";
        esp_ccm: "aes128gcm16-prfsha256-x25519", "aes256ccm16";
        esp_chacha20: "aes128gcm16-prfsha256-x25519", "chacha20poly1305";
    }
}

mod strongswan_begins {
    use super::*;

    algorithms! { Kind::StrongSwan;
        aes128gcm_x25519: "aes128gcm16-prfsha256-x25519", "aes128gcm16";
        aes128cbc_sha256: "aes128-sha256-x25519", "aes128gcm16";
        aes256cbc_sha384: "aes256-sha384-x25519", "aes256gcm16";
        aes256cbc_sha512: "aes256-sha512-x25519", "aes256gcm16";
        ecp256: "aes128gcm16-prfsha256-ecp256", "aes128gcm16";
        ecp384: "aes256gcm16-prfsha384-ecp384", "aes256gcm16";
        modp2048: "aes128gcm16-prfsha256-modp2048", "aes128gcm16";
        modp3072: "aes128gcm16-prfsha256-modp3072", "aes128gcm16";
        modp4096: "aes128gcm16-prfsha256-modp4096", "aes128gcm16";
        esp_cbc_sha256: "aes128gcm16-prfsha256-x25519", "aes128-sha256";
        esp_ctr_sha1: "aes128gcm16-prfsha256-x25519", "aes128ctr-sha1";
        esp_chacha20: "aes128gcm16-prfsha256-x25519", "chacha20poly1305";
        esp_ccm12: "aes128gcm16-prfsha256-x25519", "aes128ccm12";
    }
}
