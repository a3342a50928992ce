//! SA slots: their numbers, their life, their SPIs.

use culvert_link::{Layout, MIN_RING_BYTES, Region, SLOT_COUNTERS, SlotInit, SlotRef, SlotState};
use culvert_model::{ChildId, Direction, SlotIndex, Spi};
use proptest::prelude::*;
use std::collections::HashSet;

fn region(slots: u32) -> Region {
    Region::anonymous(Layout { slots, ring_bytes: MIN_RING_BYTES }).expect("memory")
}

fn init() -> SlotInit {
    SlotInit {
        spi: Spi::new(0x1_0001).expect("not reserved"),
        direction: Direction::Outbound,
        child: ChildId(7),
        sequence: 0,
        replay_top: 0,
        limit: u64::from(u32::MAX),
        generation: 3,
        installed_at: 1_800_000_000,
    }
}

fn slot_with(sequence: u64, limit: u64) -> SlotRef {
    let region = region(2);
    let slot = region.slot(region.claim_slot().expect("a free slot")).expect("it exists");
    assert!(slot.reset(&SlotInit { sequence, limit, ..init() }));
    slot
}

#[test]
fn numbers_end_at_the_limit() {
    let table: &[(u64, u64, u32, Option<u64>)] = &[
        (0, 0, 1, None),
        (0, 10, 0, None),
        (0, 10, 1, Some(1)),
        (0, 10, 10, Some(1)),
        (0, 10, 11, None),
        (9, 10, 1, Some(10)),
        (10, 10, 1, None),
        // A limit below what is used already gives nothing back.
        (11, 10, 1, None),
        (u64::from(u32::MAX) - 1, u64::from(u32::MAX), 1, Some(u64::from(u32::MAX))),
        (u64::from(u32::MAX) - 1, u64::from(u32::MAX), 2, None),
        (u64::from(u32::MAX), u64::MAX, 32, Some(1 << 32)),
        (u64::MAX - 1, u64::MAX, 1, Some(u64::MAX)),
        (u64::MAX - 1, u64::MAX, 2, None),
        (u64::MAX, u64::MAX, 1, None),
        (u64::MAX, u64::MAX, u32::MAX, None),
    ];
    for &(sequence, limit, count, expected) in table {
        let slot = slot_with(sequence, limit);
        assert_eq!(slot.reserve(count), expected, "{count} from {sequence} below {limit}");
        let used = if expected.is_some() { u64::from(count) } else { 0 };
        assert_eq!(slot.sequence(), sequence + used);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against counting one by one.
    #[test]
    fn reservations_are_gapless(limit in 0..2000u64, counts in prop::collection::vec(0..70u32, 0..80)) {
        let slot = slot_with(0, limit);
        let mut next = 1;
        for count in counts {
            let fits = count > 0 && next + u64::from(count) - 1 <= limit;
            prop_assert_eq!(slot.reserve(count), fits.then_some(next));
            next += if fits { u64::from(count) } else { 0 };
        }
    }

    #[test]
    fn top_only_rises(numbers in prop::collection::vec(any::<u64>(), 1..50)) {
        let slot = slot_with(0, 0);
        let mut top = 0;
        for number in numbers {
            prop_assert_eq!(slot.advance_top(number), top);
            top = top.max(number);
            prop_assert_eq!(slot.replay_top(), top);
        }
    }

    #[test]
    fn spis_name_their_slot(bits in 1..17u32, slot in any::<u32>(), random in any::<u32>()) {
        let region = region(1 << bits);
        let slot = SlotIndex(slot & (region.slots() - 1));
        let spi = region.spi_for_slot(slot, random);
        prop_assert_eq!(region.slot_for_spi(spi), slot);
        prop_assert!(spi.get() >= Spi::MIN);
        let expected = random & !(region.slots() - 1) | slot.0;
        if expected >= Spi::MIN {
            prop_assert_eq!(spi.get(), expected);
        }
    }
}

/// Workers that race for the last numbers below a limit get each exactly once.
#[test]
fn no_number_twice_across_threads() {
    const LIMIT: u64 = 200_000;
    let slot = slot_with(0, LIMIT);
    let workers: Vec<_> = (0..4u32)
        .map(|worker| {
            let slot = slot.clone();
            std::thread::spawn(move || {
                let mut mine = Vec::new();
                for round in 0.. {
                    let count = 1 + (round + worker) % 32;
                    match slot.reserve(count) {
                        Some(first) => mine.push((first, count)),
                        // Too few left for this burst: take what is left one at a time.
                        None => match slot.reserve(1) {
                            Some(first) => mine.push((first, 1)),
                            None => return mine,
                        },
                    }
                }
                mine
            })
        })
        .collect();
    let mut ranges: Vec<_> = workers.into_iter().flat_map(|w| w.join().expect("a worker is done")).collect();
    ranges.sort_unstable();
    let mut next = 1;
    for (first, count) in ranges {
        assert_eq!(first, next);
        next += u64::from(count);
    }
    assert_eq!(next, LIMIT + 1);
}

#[test]
fn counters_are_separate_and_bounded() {
    let slot = slot_with(0, 0);
    for index in 0..SLOT_COUNTERS {
        slot.add(index, index as u64 + 1);
    }
    slot.add(SLOT_COUNTERS, 99);
    slot.add(usize::MAX, 99);
    let found: Vec<u64> = (0..=SLOT_COUNTERS).map(|i| slot.get(i)).collect();
    assert_eq!(found, [1, 2, 3, 4, 5, 6, 7, 8, 0]);
    assert_eq!((slot.sequence(), slot.limit(), slot.replay_top(), slot.child()), (0, 0, 0, ChildId(7)));
}

/// What reaches the limit still counts; nothing after it does, and a counter that is not there never.
#[test]
fn a_limited_counter_stops() {
    let slot = slot_with(0, 0);
    let table: &[(u64, u64, bool, u64)] = &[
        (1, 0, false, 0),
        (4, 5, true, 4),
        (4, 5, true, 8),
        (4, 5, false, 8),
        (1, 8, false, 8),
        (1, 9, true, 9),
        (u64::MAX, u64::MAX, true, u64::MAX),
        (1, u64::MAX, false, u64::MAX),
    ];
    for &(count, limit, expected, after) in table {
        assert_eq!((slot.add_below(1, count, limit), slot.get(1)), (expected, after), "{count} below {limit}");
    }
    slot.take_back(1, 5);
    assert_eq!(slot.get(1), u64::MAX - 5);
    assert!(!slot.add_below(SLOT_COUNTERS, 1, 9));
    slot.take_back(SLOT_COUNTERS, 1);
    assert_eq!(slot.get(0), 0);
}

/// As many get a yes as would have, had all asked one after the other.
#[test]
fn a_limit_is_exact_across_threads() {
    const LIMIT: u64 = 100_000;
    let slot = slot_with(0, 0);
    let yes: usize = std::thread::scope(|scope| {
        let threads = [1, 2, 3].map(|_| scope.spawn(|| (0..LIMIT).filter(|_| slot.add_below(0, 3, LIMIT)).count()));
        threads.into_iter().map(|thread| thread.join().expect("a thread is done")).sum()
    });
    assert_eq!((yes as u64, slot.get(0)), (LIMIT.div_ceil(3), LIMIT.div_ceil(3) * 3));
}

#[test]
fn reset_is_for_claimed_slots_only() {
    let region = region(2);
    let slot = region.slot(SlotIndex(0)).expect("it exists");
    assert_eq!((slot.state(), slot.spi(), slot.direction()), (SlotState::Free, None, None));
    assert!(!slot.reset(&init()), "a free slot");
    assert_eq!(region.claim_slot(), Some(SlotIndex(0)));
    assert!(slot.reset(&init()));
    assert_eq!(slot.state(), SlotState::Allocated);
    assert_eq!((slot.spi(), slot.direction()), (Some(init().spi), Some(Direction::Outbound)));
    assert_eq!((slot.child(), slot.generation(), slot.installed_at()), (ChildId(7), 3, 1_800_000_000));
    slot.set_state(SlotState::Installed);
    assert_eq!(slot.reserve(5), Some(1));
    slot.add(0, 1);
    slot.touch(9);
    assert!(!slot.reset(&init()), "an SA in use would start its numbers again");
    assert_eq!((slot.sequence(), slot.get(0), slot.last_used(), slot.spi()), (5, 1, 9, Some(init().spi)));
}

#[test]
fn each_slot_is_claimed_once_and_the_oldest_free_one_first() {
    let region = region(8);
    let claimed: HashSet<_> = (0..8).filter_map(|_| region.claim_slot()).collect();
    assert_eq!(claimed.len(), 8);
    assert_eq!(region.claim_slot(), None);
    let slot = region.slot(SlotIndex(5)).expect("it exists");
    assert!(slot.reset(&init()) && slot.spi().is_some());
    assert!(region.free_slot(SlotIndex(5)));
    assert_eq!((slot.spi(), slot.direction(), slot.state()), (None, None, SlotState::Free));
    assert!(region.free_slot(SlotIndex(2)));
    assert!(!region.free_slot(SlotIndex(2)), "twice");
    assert!(!region.free_slot(SlotIndex(8)), "beyond the last");
    assert_eq!(
        [region.claim_slot(), region.claim_slot(), region.claim_slot()],
        [Some(SlotIndex(5)), Some(SlotIndex(2)), None]
    );
}

/// A control process that attaches later finds the slots as they are.
#[test]
fn the_free_list_is_rebuilt() {
    let directory = tempfile::tempdir().expect("a directory");
    let layout = Layout { slots: 4, ring_bytes: MIN_RING_BYTES };
    let open = || Region::create_or_attach(&directory.path().join("link"), layout).expect("a region");
    let first = open();
    assert_eq!([first.claim_slot(), first.claim_slot()], [Some(SlotIndex(0)), Some(SlotIndex(1))]);
    let slot = first.slot(SlotIndex(1)).expect("it exists");
    assert!(slot.reset(&init()));
    assert_eq!(slot.reserve(100), Some(1));
    assert!(first.free_slot(SlotIndex(0)));
    drop((first, slot));

    let second = open();
    let claimed: Vec<_> = std::iter::from_fn(|| second.claim_slot()).collect();
    assert_eq!(claimed, [SlotIndex(0), SlotIndex(2), SlotIndex(3)]);
    let kept = second.slot(SlotIndex(1)).expect("it exists");
    assert_eq!((kept.sequence(), kept.spi(), kept.reserve(1)), (100, Some(init().spi), Some(101)));
}
