//! Every committed input, and a fixed number of mutations, through every target.

use culvert_fuzz::mutate::{Random, mutate};
use culvert_fuzz::{TARGETS, Target, corpus};
use std::panic::{AssertUnwindSafe, catch_unwind};

const MUTATIONS: usize = 50_000;

fn run(target: &Target, input: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        panic!("target {}, {what}: {input:02x?}", target.name);
    }
}

fn replay(target: &Target, mutations: usize) {
    let inputs = corpus::load(target).expect("a committed corpus");
    for (name, input) in &inputs {
        run(target, input, name);
    }
    let inputs: Vec<_> = inputs.into_iter().map(|(_, bytes)| bytes).collect();
    assert!(!inputs.is_empty(), "target {} has an empty corpus", target.name);
    let mut random = Random(2);
    for n in 0..mutations {
        run(target, &mutate(&mut random, &inputs), &format!("mutation {n}"));
    }
}

macro_rules! replays {
    ($($test:ident = $name:literal, $mutations:expr;)+) => {
        $(#[test]
        fn $test() {
            replay(culvert_fuzz::target($name).expect("a target"), $mutations);
        })+

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$($name),+];
            let all: Vec<_> = TARGETS.iter().map(|t| t.name).collect();
            assert_eq!(all, replayed);
        }
    };
}

replays! {
    frame = "frame", MUTATIONS;
    ipv4 = "ipv4", MUTATIONS;
    ipv6 = "ipv6", MUTATIONS;
    icmpv4 = "icmpv4", MUTATIONS;
    icmpv6 = "icmpv6", MUTATIONS;
    transport = "transport", MUTATIONS;
    ike_datagram = "ike-datagram", MUTATIONS;
    ike_payloads = "ike-payloads", MUTATIONS;
    ring = "ring", MUTATIONS;
    record = "record", MUTATIONS;
    // Slow to render its errors.
    config = "config", 5_000;
}

/// A target that refuses good input at its first check tests nothing.
#[test]
fn seeds_are_accepted() {
    for target in TARGETS {
        for (n, seed) in (target.seeds)().iter().enumerate() {
            assert!((target.run)(seed), "target {} refuses seed {n}", target.name);
        }
    }
}

/// The committed seeds are what the emitters of today write.
#[test]
fn corpora_are_up_to_date() {
    for target in TARGETS {
        let committed = corpus::load(target).expect("a committed corpus");
        for (name, input) in corpus::generated(target) {
            let found = committed.iter().find(|(n, _)| *n == name);
            assert!(
                found.is_some_and(|(_, bytes)| *bytes == input),
                "{}/{name} is not as generated: run `cargo run -p culvert-fuzz -- generate`",
                target.name
            );
        }
    }
}
