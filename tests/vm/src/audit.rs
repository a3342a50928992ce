//! What both ends and the router between them counted.

use crate::guest::{Counters, Guest};
use crate::network::Network;
use culvert_lab::{Culvert, LabError};
use culvert_status::Status;
use std::collections::BTreeMap;
use std::fs;

/// Counts every packet the router forwards, by what can be seen of it.
const RULES: &str = "
table inet passed {
  counter n_short { }
  counter n_esp { }
  counter n_ah { }
  counter n_udp { }
  counter n_ike { }
  counter n_fragment { }
  counter n_clear { }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip frag-off & 0x3fff != 0 counter name n_fragment accept
    exthdr frag exists counter name n_fragment accept
    meta l4proto esp meta length < SHORTEST counter name n_short accept
    meta l4proto esp counter name n_esp accept
    meta l4proto ah counter name n_ah accept
    udp dport 500 counter name n_ike accept
    udp dport 4500 @th,64,32 0 counter name n_ike accept
    udp dport 4500 counter name n_udp accept
    counter name n_clear
  }
}
";

/// Starts the router's counting, from zero. ESP packets of less than `shortest` octets are `short`.
pub fn count_passing(network: &Network, shortest: u16) -> Result<(), LabError> {
    let rules = RULES.replace("SHORTEST", &shortest.to_string());
    network.router.run(&["nft", &format!("table inet passed\ndelete table inet passed\n{rules}")]).map(drop)
}

/// Counters of one moment, all of which only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Culvert's tunnel, in packets.
    pub culvert_in: u64,
    pub culvert_out: u64,
    /// The guest's pair of states.
    pub linux_in: u64,
    pub linux_out: u64,
    /// By `esp`, `short` (ESP, if there is a shortest), `ah`, `udp`, `ike`, `fragment` and `clear`.
    pub passed: BTreeMap<String, u64>,
    /// Fragments that the router made, which it had counted as whole packets.
    pub cut: u64,
    /// Packets that it refused because they were too big and not to be cut.
    pub refused: u64,
    /// What kernels on the way dropped elsewhere than in IPsec, by where.
    pub lost: BTreeMap<String, u64>,
    /// Packets that reached a host with a wrong header or checksum: deciphered wrongly, and yet authentic.
    pub garbled: u64,
    pub culvert_drops: BTreeMap<String, u64>,
    /// `/proc/net/xfrm_stat`.
    pub linux_errors: BTreeMap<String, u64>,
}

impl Audit {
    pub fn take(network: &Network, culvert: &Culvert, guest: &mut Guest) -> Result<Self, LabError> {
        let status = status(culvert)?;
        let [snmp, snmp6] = network.router.enter(|| COUNTERS.map(fs::read_to_string))?.map(Result::unwrap_or_default);
        let host = network.host.enter(|| COUNTERS.map(fs::read_to_string))?.map(Result::unwrap_or_default).concat();
        let tunnels = || status.tunnels.iter();
        let linux = guest.counters()?;
        let own = [crate::network::GUEST, crate::network::GUEST_LAN, crate::network::GUEST_TAGGED];
        let is_own = |address: &str| own.iter().any(|pair| pair.v4 == address || pair.v6 == address);
        let packets = |inbound: bool| {
            linux.states.iter().filter(|(to, _)| is_own(to) == inbound).map(|(_, packets)| packets).sum::<u64>()
        };
        Ok(Self {
            culvert_in: tunnels().map(|tunnel| tunnel.packets_in).sum(),
            culvert_out: tunnels().map(|tunnel| tunnel.packets_out).sum(),
            linux_in: packets(true),
            linux_out: packets(false),
            passed: passed(&network.router.run(&["nft", "list", "counters", "table", "inet", "passed"])?),
            garbled: wrong_checksums(&host) + wrong_checksums(&linux.host),
            lost: lost(network, &linux)?,
            cut: column(&snmp, "Ip:", "FragCreates"),
            refused: column(&snmp, "Ip:", "FragFails")
                + words_and_numbers(&snmp6).get("Ip6InTooBigErrors").unwrap_or(&0),
            culvert_drops: status.drops,
            linux_errors: words_and_numbers(&linux.xfrm_stat),
        })
    }

    /// What was counted between `before` and now; names that did not grow are left out.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            culvert_in: self.culvert_in.saturating_sub(before.culvert_in),
            culvert_out: self.culvert_out.saturating_sub(before.culvert_out),
            linux_in: self.linux_in.saturating_sub(before.linux_in),
            linux_out: self.linux_out.saturating_sub(before.linux_out),
            passed: growth(&self.passed, &before.passed),
            cut: self.cut.saturating_sub(before.cut),
            garbled: self.garbled.saturating_sub(before.garbled),
            refused: self.refused.saturating_sub(before.refused),
            lost: growth(&self.lost, &before.lost),
            culvert_drops: growth(&self.culvert_drops, &before.culvert_drops),
            linux_errors: growth(&self.linux_errors, &before.linux_errors),
        }
    }

    /// Both ends counted the same packets, all of which passed as `kind` in `layers` of SAs, and neither dropped any.
    pub fn expect_clean(&self, kind: &str, layers: u64) -> Result<(), LabError> {
        let passed = self.passed.get(kind).copied().unwrap_or(0);
        let clean = self.both_counted(passed, layers)
            && self.passed_only(&[kind])
            && self.garbled == 0
            && self.culvert_drops.is_empty()
            && self.linux_errors.is_empty();
        self.judged(clean, &format!("not only {kind}, or not as many everywhere"))
    }

    /// Both ends sent and received `passed` packets in all, each in `layers` of SAs.
    pub fn both_counted(&self, passed: u64, layers: u64) -> bool {
        self.culvert_out == self.linux_in
            && self.culvert_in == self.linux_out
            && self.culvert_in > 0
            && self.culvert_out > 0
            && self.culvert_in + self.culvert_out == passed * layers
    }

    /// Nothing passed but what is in `kinds`, and the daemons' own messages, which may come at any time.
    pub fn passed_only(&self, kinds: &[&str]) -> bool {
        self.passed.keys().all(|kind| kind == "ike" || kinds.contains(&kind.as_str()))
    }

    /// Drops and errors have no names but those in `names`.
    pub fn failed_only_by(&self, names: &[&str]) -> bool {
        self.culvert_drops.keys().chain(self.linux_errors.keys()).all(|name| names.contains(&name.as_str()))
    }

    pub fn judged(&self, good: bool, what: &str) -> Result<(), LabError> {
        if good { Ok(()) } else { Err(LabError::Status(format!("{what}: {self:?}"))) }
    }
}

/// The drops of every interface on the way, and those of the IP layers of the hosts.
fn lost(network: &Network, linux: &Counters) -> Result<BTreeMap<String, u64>, LabError> {
    let mut lost = BTreeMap::new();
    for (place, namespace) in [("host", &network.host), ("gateway", &network.gateway), ("router", &network.router)] {
        let read = || ["/proc/thread-self/net/dev", "/proc/thread-self/net/snmp"].map(fs::read_to_string);
        let [devices, snmp] = namespace.enter(read)?.map(Result::unwrap_or_default);
        note_lost(&mut lost, place, &devices, &snmp);
    }
    for (place, [devices, snmp]) in [("guest", &linux.lost_here), ("guest host", &linux.lost_behind)] {
        note_lost(&mut lost, place, devices, snmp);
    }
    Ok(lost)
}

/// From `/proc/net/dev` and `/proc/net/snmp`.
fn note_lost(lost: &mut BTreeMap<String, u64>, place: &str, devices: &str, snmp: &str) {
    for line in devices.lines() {
        let Some((name, counts)) = line.split_once(':') else { continue };
        let counts: Vec<u64> = counts.split_whitespace().filter_map(|count| count.parse().ok()).collect();
        // Errors and drops of what came, then of what went.
        let dropped = [2, 3, 10, 11].map(|at| counts.get(at).copied().unwrap_or(0)).iter().sum();
        lost.insert(format!("{place} {}", name.trim()), dropped);
    }
    for name in ["InDiscards", "OutDiscards", "OutNoRoutes", "ReasmFails"] {
        lost.insert(format!("{place} {name}"), column(snmp, "Ip:", name));
    }
}

pub fn status(culvert: &Culvert) -> Result<Status, LabError> {
    let text = culvert.status_json()?;
    serde_json::from_str(&text).map_err(|error| LabError::Status(format!("{error} in {text}")))
}

fn growth(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = |(name, count): (&String, &u64)| {
        let more = count.saturating_sub(before.get(name).copied().unwrap_or(0));
        (more > 0).then(|| (name.clone(), more))
    };
    now.iter().filter_map(grown).collect()
}

fn passed(listed: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut name = None;
    for line in listed.lines() {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["counter", counter, "{"] => name = counter.strip_prefix("n_").map(str::to_owned),
            ["packets", count, ..] => {
                if let (Some(name), Ok(count)) = (name.take(), count.parse()) {
                    counts.insert(name, count);
                }
            }
            _ => {}
        }
    }
    counts
}

/// Of the network namespace of the thread that reads them.
const COUNTERS: [&str; 2] = ["/proc/thread-self/net/snmp", "/proc/thread-self/net/snmp6"];

fn wrong_checksums(counters: &str) -> u64 {
    let of = |protocol| column(counters, protocol, "InCsumErrors");
    let header = column(counters, "Ip:", "InHdrErrors") + column(counters, "Ip:", "InAddrErrors");
    header + of("Icmp:") + of("Tcp:") + words_and_numbers(counters).get("Icmp6InCsumErrors").unwrap_or(&0)
}

/// A number out of the lines that begin with `protocol`, the first of which holds the names.
fn column(snmp: &str, protocol: &str, wanted: &str) -> u64 {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix(protocol)).map(str::split_whitespace);
    let (Some(names), Some(counts)) = (lines.next(), lines.next()) else { return 0 };
    let found = names.zip(counts).find(|(name, _)| *name == wanted);
    found.and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
}

fn words_and_numbers(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, count) = line.split_once(char::is_whitespace)?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_is_clean_only_if_all_agree() {
        let good = Audit {
            culvert_in: 3,
            culvert_out: 4,
            linux_in: 4,
            linux_out: 3,
            passed: BTreeMap::from([("esp".to_owned(), 7)]),
            ..Audit::default()
        };
        good.expect_clean("esp", 1).expect("is clean");
        assert!(good.expect_clean("esp", 2).is_err(), "not one packet in two layers");
        assert!(good.expect_clean("ah", 1).is_err());
        assert!(Audit::default().expect_clean("esp", 1).is_err(), "nothing happened");
        let clear = BTreeMap::from([("esp".to_owned(), 7), ("clear".to_owned(), 1)]);
        assert!(Audit { passed: clear, ..good.clone() }.expect_clean("esp", 1).is_err());
        assert!(Audit { linux_in: 5, ..good.clone() }.expect_clean("esp", 1).is_err());
        let drop = BTreeMap::from([("XfrmInError".to_owned(), 1)]);
        assert!(Audit { linux_errors: drop, ..good }.expect_clean("esp", 1).is_err());
    }

    #[test]
    fn counters_that_stand_still_are_left_out() {
        let before = words_and_numbers("XfrmInError\t2\nXfrmInNoStates \t0\n");
        let now = words_and_numbers("XfrmInError\t5\nXfrmInNoStates \t0\n");
        assert_eq!(growth(&now, &before), BTreeMap::from([("XfrmInError".to_owned(), 3)]));
        assert_eq!(column("Ip: Forwarding FragCreates Out\nIp: 1 12 3\nIcmp: 5\n", "Ip:", "FragCreates"), 12);
        let counters = "Icmp: InMsgs InCsumErrors\nIcmp: 9 1\nTcp: InCsumErrors\nTcp: 2\nIcmp6InCsumErrors\t4\n";
        assert_eq!(wrong_checksums(counters), 7);
        assert_eq!(passed("counter n_esp {\n packets 7 bytes 1\n }"), BTreeMap::from([("esp".to_owned(), 7)]));
    }
}
