use crate::{FrameKind, LabError, Namespace};
use std::collections::BTreeMap;

/// The kernel's own count of every frame that crosses a switch, by kind, for as long as the lab stands: a capture sees
/// some seconds, this sees all.
#[derive(Debug)]
pub struct Census {
    switch: Namespace,
}

/// Names with a prefix, as nft keeps `esp` and `arp` for itself.
const RULES: &str = "
table bridge census {
  counter n_ike { }
  counter n_esp { }
  counter n_esp_in_udp { }
  counter n_arp { }
  counter n_nd { }
  counter n_other { }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ether type arp counter name n_arp accept
    meta l4proto esp counter name n_esp accept
    icmpv6 type { 133, 134, 135, 136, 137 } counter name n_nd accept
    udp dport 500 counter name n_ike accept
    udp sport 500 counter name n_ike accept
    udp dport 4500 @th,64,32 0 counter name n_ike accept
    udp sport 4500 @th,64,32 0 counter name n_ike accept
    udp dport 4500 counter name n_esp_in_udp accept
    udp sport 4500 counter name n_esp_in_udp accept
    counter name n_other
  }
}
";

impl Census {
    /// Starts counting on the bridges of `switch`.
    pub fn start(switch: &Namespace) -> Result<Self, LabError> {
        switch.run(&["nft", RULES])?;
        Ok(Self { switch: switch.clone() })
    }

    pub fn counts(&self) -> Result<BTreeMap<FrameKind, u64>, LabError> {
        let listed = self.switch.run(&["nft", "list", "counters", "table", "bridge", "census"])?;
        Ok(parse(&listed))
    }
}

fn parse(listed: &str) -> BTreeMap<FrameKind, u64> {
    let mut counts = BTreeMap::new();
    let mut kind = None;
    for line in listed.lines() {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["counter", name, "{"] => kind = kind_of(name),
            ["packets", count, ..] => {
                if let (Some(kind), Ok(count)) = (kind, count.parse()) {
                    counts.insert(kind, count);
                }
            }
            _ => {}
        }
    }
    counts
}

fn kind_of(name: &str) -> Option<FrameKind> {
    Some(match name {
        "n_ike" => FrameKind::Ike,
        "n_esp" => FrameKind::Esp,
        "n_esp_in_udp" => FrameKind::EspInUdp,
        "n_arp" => FrameKind::Arp,
        "n_nd" => FrameKind::NeighbourDiscovery,
        "n_other" => FrameKind::Other,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nft_words_are_understood() {
        let listed = "table bridge census {\n\tcounter n_ike {\n\t\tpackets 6 bytes 1234\n\t}\n\tcounter n_other {\n\
                      \t\tpackets 0 bytes 0\n\t}\n\tcounter strange {\n\t\tpackets 9 bytes 9\n\t}\n}\n";
        assert_eq!(parse(listed), BTreeMap::from([(FrameKind::Ike, 6), (FrameKind::Other, 0)]));
        assert!(parse("").is_empty());
    }
}
