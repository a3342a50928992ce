//! Forged packets cost what they cost, and good packets beside them no more than before.

use super::cpu::{cost, quantile};
use super::rig::*;
use crate::testing::VecBuffer;
use crate::{BURST, Buffer};
use arrayvec::ArrayVec;
use culvert_model::{Encryption, Integrity, Suite};
use culvert_telemetry::{DropReason, SaCounter};

type Burst = ArrayVec<VecBuffer, BURST>;

const ROUNDS: u32 = 400;

/// So many good packets, then forged ones that would be accepted but for their ICV.
fn burst(a: &mut Gateway, good: usize, forged: usize) -> Burst {
    a.receive(1, LAN, (0..good + forged).map(|_| from_host(&[9; 200])));
    let mut burst: Burst = a.sent().into_iter().collect();
    for frame in burst.iter_mut().skip(good) {
        *frame.data_mut().last_mut().unwrap() ^= 1;
    }
    burst.rotate_left(good / 2);
    burst
}

/// Of each round: 32 good packets, 32 good packets after a burst of forged ones, and one good among forged ones. Taken in
/// turns, so that whatever else the machine does strikes all alike.
#[test]
fn a_flood_of_forged_packets_costs_no_more_than_its_share() {
    let cbc = Suite::esp(Encryption::Aes256Cbc, Some(Integrity::HmacSha256_128)).unwrap();
    for suite in [Suite::AES128_GCM16, cbc] {
        let (mut a, mut b) = (Gateway::new(1, 7), Gateway::new(7, 1));
        a.protect(7);
        b.protect(1);
        let (inbound, _) = connect(&mut a, &mut b, Kind { suite, window: 4096, ..Kind::PLAIN }, 1);
        let mut costs: [Vec<u64>; 3] = Default::default();
        let (mut delivered, mut forged) = (0, 0);
        for _ in 0..ROUNDS {
            let turns = [(BURST, 0, Some(0)), (0, BURST, None), (BURST, 0, Some(1)), (1, BURST - 1, Some(2))];
            for (good, bad, column) in turns {
                let mut burst = burst(&mut a, good, bad);
                let spent = cost(|| b.worker.run_burst(1, WAN, &mut burst, &mut b.io));
                if let Some(column) = column {
                    costs[column].push(spent.nanos);
                }
                assert_eq!(b.sent().len(), good);
                (delivered, forged) = (delivered + good as u64, forged + bad as u64);
            }
        }
        assert_eq!((b.all_drops(), b.dropped(DropReason::IcvFailed)), (forged, forged));
        let slot = b.region.slot(inbound.slot).unwrap();
        assert_eq!(slot.get(SaCounter::Packets.index()), delivered);
        assert_eq!(slot.get(SaCounter::IcvFailures.index()), forged);
        let [good, after, among] = costs.map(|costs| quantile(&costs, 500));
        println!("{suite}: 32 good {good} ns, after a forged burst {after} ns, 1 good among 31 forged {among} ns");
        assert!(after * 10 <= good * 12, "good packets pay for forged ones before them: {after} ns instead of {good}");
        assert!(among * 10 <= good * 12, "forged packets cost more than good ones: {among} ns instead of {good}");
    }
}
