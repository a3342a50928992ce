//! VLANs against Linux' own: an SA behind one tag, clear traffic behind another.

use crate::network::{CLEAR, GUEST_HOST, GUEST_OPEN, HOST, SEALED};
use crate::stage::Stage;
use crate::traffic::{Subject, echo_from, warm_up};
use culvert_lab::{Capture, Family, LabError, run};

const BOTH: [Family; 2] = [Family::V4, Family::V6];
/// More than will ever come.
const FRAMES: u32 = 100_000;

pub fn tagged(stage: &mut Stage<'_>) -> Result<(), LabError> {
    warm_up(stage.network, &BOTH)?;
    for family in BOTH {
        echo_from(&stage.network.host, GUEST_OPEN.of(family))?;
    }
    let file = stage.network.lab.directory().join("trunk.pcap");
    let capture = Capture::start(&stage.network.router, "trunk", file, FRAMES)?;
    let before = stage.audit()?;
    stage.exchange(&Subject::usual(&BOTH))?;
    let past = Subject { tcp: false, ..Subject::usual(&BOTH) };
    past.of_host(stage.network, &GUEST_OPEN)?;
    past.of_guest(stage.guest, &HOST)?;
    let audit = stage.still_audit()?.since(&before);
    let file = capture.stop()?;
    let seen = Seen::of(&run(&["tcpdump", "-nn", "-e", "-r", &file.to_string_lossy()])?);
    let good = audit.both_counted(seen.sealed, 1)
        && seen.clear > 0
        && seen.wrong.is_none()
        && audit.passed_only(&[])
        && audit.garbled == 0
        // Linux tells of its groups on the trunk.
        && audit.failed_only_by(&["multicast"]);
    audit.judged(good, &format!("something was lost, or behind another tag: {seen:?}"))
}

/// Frames of the trunk, by what `tcpdump -e` prints of them.
#[derive(Debug, Default)]
struct Seen {
    /// ESP behind [`SEALED`].
    sealed: u64,
    /// Echo behind [`CLEAR`].
    clear: u64,
    /// The first frame that should not be there.
    wrong: Option<String>,
}

impl Seen {
    fn of(printed: &str) -> Self {
        let mut seen = Self::default();
        let [sealed, clear] = [SEALED, CLEAR].map(|id| format!(": vlan {id}, "));
        for line in printed.lines() {
            let has = |text: &str| line.contains(text);
            // A host behind the SA would show that its packet is not sealed.
            let inside = has(GUEST_HOST.v4) || has(GUEST_HOST.v6);
            if has(&sealed) && has(": ESP(") {
                seen.sealed += 1;
            } else if has(&clear) && has(" echo re") && !inside {
                seen.clear += 1;
            } else if !(has(&sealed) || has(&clear)) || inside || !(has("ARP") || has("ICMP6, ")) || has(" echo re") {
                seen.wrong.get_or_insert_with(|| line.to_owned());
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "12:00:00.000000 02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype 802.1Q (0x8100), length 146";

    fn seen(rest: &str) -> Seen {
        Seen::of(&format!("{HEAD}: {rest}"))
    }

    #[test]
    fn each_frame_has_its_place() {
        let esp = "p 0, ethertype IPv4 (0x0800), 203.0.113.1 > 203.0.113.2: ESP(spi=0x00001000,seq=0x1), length 108";
        assert_eq!(seen(&format!("vlan 7, {esp}")).sealed, 1);
        assert!(seen(&format!("vlan 8, {esp}")).wrong.is_some());
        let echo = "p 0, ethertype IPv4 (0x0800), 10.1.0.10 > 198.18.8.2: ICMP echo request, id 1, seq 1, length 64";
        assert_eq!(seen(&format!("vlan 8, {echo}")).clear, 1);
        assert!(seen(&format!("vlan 7, {echo}")).wrong.is_some());
        let leak = "vlan 8, p 0, ethertype IPv4 (0x0800), 10.1.0.10 > 10.2.0.10: ICMP echo request, id 1, seq 1";
        assert!(seen(leak).wrong.is_some());
        assert!(seen("vlan 7, p 0, ethertype ARP (0x0806), Request who-has 203.0.113.2").wrong.is_none());
        assert!(seen("10.1.0.10.33 > 10.2.0.10.7: Flags [S]").wrong.is_some());
    }
}
