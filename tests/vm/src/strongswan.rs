use crate::guest::Guest;
use culvert_e2e::swanctl_conf;
use culvert_lab::{GatewayPlan, LabError};
use std::time::Duration;

/// charon in the guest, with the kernel's ESP.
#[derive(Clone, Copy, Debug)]
pub struct StrongSwan;

const SETTINGS: &str = "charon-systemd {
  load = random nonce aes sha1 sha2 hmac kdf gcm pem pkcs1 x509 revocation constraints pubkey curve25519 gmp openssl \
drbg ctr ccm chapoly kernel-netlink socket-default vici updown
  plugins { vici { socket = unix:///run/peer/vici } }
  journal { default = -1 }
  filelog { log { path = /run/peer/log
    default = 1
    flush_line = yes } }
}
";

impl StrongSwan {
    pub fn start(self, guest: &mut Guest, plan: &GatewayPlan) -> Result<(), LabError> {
        guest.run("ip xfrm state flush; ip xfrm policy flush; rm -rf /run/peer; mkdir -p /run/peer")?;
        guest.write("/run/peer/strongswan.conf", SETTINGS)?;
        guest.write("/run/peer/swanctl.conf", &swanctl_conf(plan))?;
        guest.run(
            "STRONGSWAN_CONF=/run/peer/strongswan.conf charon-systemd >/run/peer/out 2>&1 &
echo $! >/run/peer/pid
for i in $(seq 60); do swanctl --stats --uri unix:///run/peer/vici >/dev/null 2>&1 && break; sleep 0.2; done
swanctl --load-all --uri unix:///run/peer/vici --file /run/peer/swanctl.conf",
        )?;
        Ok(())
    }

    fn swanctl(self, guest: &mut Guest, words: &str) -> Result<String, LabError> {
        guest.run(&format!("swanctl {words} --uri unix:///run/peer/vici"))
    }

    pub fn initiate(self, guest: &mut Guest) -> Result<(), LabError> {
        self.swanctl(guest, "--initiate --child lan --timeout 20").map(drop)
    }

    pub fn rekey_child(self, guest: &mut Guest) -> Result<(), LabError> {
        self.swanctl(guest, "--rekey --child lan").map(drop)
    }

    /// Waits until the next IKE SA is there.
    pub fn rekey_ike(self, guest: &mut Guest) -> Result<(), LabError> {
        let spi = |guest: &mut Guest| self.swanctl(guest, "--list-sas").map(|text| ike_spis(&text));
        let before = spi(guest)?;
        self.swanctl(guest, "--rekey --ike site")?;
        for _ in 0..20 {
            let now = spi(guest)?;
            if now.len() == 1 && now != before {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Err(LabError::Status(format!("the IKE SA was not rekeyed: {before:?}")))
    }

    /// Waits until it has no SA any more.
    pub fn wait_nothing(self, guest: &mut Guest, limit: Duration) -> Result<(), LabError> {
        let deadline = culvert_lab::Deadline::after(limit);
        loop {
            let listed = self.swanctl(guest, "--list-sas")?;
            let states = guest.run("ip xfrm state")?;
            if listed.trim().is_empty() && states.trim().is_empty() {
                return Ok(());
            }
            if deadline.passed() {
                return Err(LabError::Status(format!("SAs are left at the peer:\n{listed}{states}")));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends it and returns the end of its log.
    pub fn stop(self, guest: &mut Guest) -> Result<String, LabError> {
        guest.run(
            "pid=$(cat /run/peer/pid); kill $pid
for i in $(seq 25); do [ -d /proc/$pid ] && ! grep -q '^State:.Z' /proc/$pid/status || break; sleep 0.2; done
tail -n 25 /run/peer/out /run/peer/log",
        )
    }
}

/// Both SPIs of every IKE SA that stands.
fn ike_spis(listed: &str) -> Vec<String> {
    let standing = listed.lines().filter(|line| !line.starts_with(' ') && line.contains(", ESTABLISHED,"));
    standing.filter_map(|line| line.split(", ").nth(3).map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_standing_sas_are_listed() {
        let listed = "\
site: #1, REKEYED, IKEv2, 1111111111111111_i* 2222222222222222_r
site: #2, ESTABLISHED, IKEv2, 5a3d2b6f0c1d2e3f_i* 1b2c3d4e5f607182_r
  local  'a.example' @ 192.0.2.1[4500]
  lan: #3, reqid 1, INSTALLED, TUNNEL, ESP:AES_GCM_16-256/ESN
";
        assert_eq!(ike_spis(listed), ["5a3d2b6f0c1d2e3f_i* 1b2c3d4e5f607182_r"]);
        assert!(ike_spis("").is_empty());
    }
}
