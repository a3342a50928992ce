//! A worker's memory of policy verdicts.

use crate::io::Origin;
use crate::spd::Verdict;
use culvert_model::Flow;
use std::net::IpAddr;

const ENTRIES: usize = 2048;

/// One verdict for each of 2048 places, replaced by whoever comes next. A verdict is good for the SPD it came from.
pub(crate) struct FlowCache {
    entries: Box<[Option<Entry>]>,
}

#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    verdict: Verdict,
}

/// All that a verdict depends on, and may change: routes stay as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// Number of the SPD.
    pub spd: u64,
    pub flow: Flow,
    pub later_fragment: bool,
    pub origin: Origin,
}

impl FlowCache {
    pub fn new() -> Self {
        Self { entries: vec![None; ENTRIES].into_boxed_slice() }
    }

    pub fn get(&self, key: &Key) -> Option<Verdict> {
        let entry = self.entries.get(place(&key.flow))?.as_ref()?;
        (entry.key == *key).then_some(entry.verdict)
    }

    pub fn put(&mut self, key: Key, verdict: Verdict) {
        if let Some(place) = self.entries.get_mut(place(&key.flow)) {
            *place = Some(Entry { key, verdict });
        }
    }
}

/// Senders can aim at one place; that costs them, and the flow they meet there, a policy search for each packet.
fn place(flow: &Flow) -> usize {
    let ports = u64::from(flow.source_port.unwrap_or(0)) << 32
        | u64::from(flow.destination_port.unwrap_or(0)) << 8
        | u64::from(flow.protocol);
    let hash = mix(mix(mix(0, fold(flow.source)), fold(flow.destination)), ports);
    (hash >> 32) as usize % ENTRIES
}

fn fold(addr: IpAddr) -> u64 {
    match addr {
        IpAddr::V4(addr) => u64::from(addr.to_bits()),
        IpAddr::V6(addr) => {
            let bits = addr.to_bits();
            mix((bits >> 64) as u64, bits as u64)
        }
    }
}

const fn mix(state: u64, word: u64) -> u64 {
    (state.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_telemetry::DropReason;

    #[test]
    fn a_verdict_is_for_its_very_key() {
        let flow = Flow {
            source: "10.0.0.1".parse().unwrap(),
            destination: "2001:db8::1".parse().unwrap(),
            protocol: 6,
            source_port: Some(1),
            destination_port: Some(2),
        };
        let key = Key { spd: 1, flow, later_fragment: false, origin: Origin::Clear };
        let mut cache = FlowCache::new();
        assert_eq!(cache.get(&key), None);
        cache.put(key, Verdict::Drop(DropReason::NoPolicy));
        assert_eq!(cache.get(&key), Some(Verdict::Drop(DropReason::NoPolicy)));
        let swapped = Flow { source_port: Some(2), destination_port: Some(1), ..flow };
        for other in [
            Key { spd: 2, ..key },
            Key { origin: Origin::Tunnel, ..key },
            Key { later_fragment: true, ..key },
            Key { flow: swapped, ..key },
        ] {
            assert_eq!(cache.get(&other), None);
        }
    }

    #[test]
    fn flows_spread() {
        let flow = |n: u32| Flow {
            source: IpAddr::from((0x0a00_0000 | n).to_be_bytes()),
            destination: "10.7.0.1".parse().unwrap(),
            protocol: 17,
            source_port: Some(1000),
            destination_port: Some(53),
        };
        let mut places: Vec<_> = (0..2048).map(|n| place(&flow(n))).collect();
        places.sort_unstable();
        places.dedup();
        // Random throws would fill 63 %.
        assert!(places.len() > 1100, "{} places", places.len());
    }
}
