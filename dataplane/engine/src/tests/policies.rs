//! Policies that come and go while packets ask for them.

use super::rig::*;
use crate::Origin;
use crate::spd::Verdict;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use culvert_link::record::Command;
use culvert_model::*;
use culvert_telemetry::DropReason;

fn outbound(id: u32, priority: u32, remote: &str, action: Action) -> Policy {
    Policy {
        id: PolicyId(id),
        direction: PolicyDirection::Outbound,
        priority,
        local: vec![net("10.1.0.0/16")],
        remote: vec![net(remote)],
        action,
        interface: None,
        pfp: Pfp::NONE,
    }
}

fn protect(child: u32) -> Action {
    Action::Protect { child: ChildId(child), trap: false }
}

fn flow(destination: &str) -> Flow {
    Flow {
        source: ip("10.1.0.2"),
        destination: ip(destination),
        protocol: 17,
        source_port: Some(1),
        destination_port: Some(2),
    }
}

fn verdict(gateway: &Gateway, destination: &str) -> Verdict {
    gateway.shared.view(0).spd.table.judge(&flow(destination), false, Origin::Clear, None)
}

#[test]
fn a_policy_once_more_is_replaced_and_the_same_changes_nothing() {
    let mut gateway = Gateway::new(1, 7);
    gateway.policies([outbound(1, 10, "10.7.0.0/16", protect(3)), outbound(2, 20, "0.0.0.0/0", Action::Bypass)]);
    let number = |gateway: &Gateway| gateway.shared.view(0).spd.number;
    let before = number(&gateway);
    gateway.apply(Command::SetPolicy(outbound(1, 10, "10.7.0.0/16", protect(3)))).unwrap();
    assert_eq!(number(&gateway), before, "what is cached stays good");
    gateway.apply(Command::SetPolicy(outbound(1, 10, "10.8.0.0/16", protect(4)))).unwrap();
    assert_ne!(number(&gateway), before);
    assert_eq!(verdict(&gateway, "10.7.0.1"), Verdict::Forward);
    assert_eq!(verdict(&gateway, "10.8.0.1"), Verdict::Protect { child: ChildId(4), trap: false, pfp: Pfp::NONE });
    gateway.apply(Command::SetPolicy(outbound(1, 30, "10.8.0.0/16", protect(4)))).unwrap();
    assert_eq!(verdict(&gateway, "10.8.0.1"), Verdict::Forward, "it comes last now");
    gateway.apply(Command::RemovePolicy(PolicyId(2))).unwrap();
    gateway.apply(Command::RemovePolicy(PolicyId(1))).unwrap();
    assert_eq!(verdict(&gateway, "10.8.0.1"), Verdict::Drop(DropReason::NoPolicy));
}

#[test]
fn a_statement_replaces_all_at_its_end_and_a_broken_one_nothing() {
    let mut gateway = Gateway::new(1, 7);
    let of = |n: u32, child| outbound(n, 10, &format!("10.7.{n}.0/24"), protect(child));
    gateway.policies((0..40).map(|n| of(n, 1)));
    gateway.apply(Command::BeginSync).unwrap();
    gateway.apply(Command::SetPolicy(of(7, 2))).unwrap();
    gateway.apply(Command::RemovePolicy(PolicyId(7))).unwrap();
    assert_eq!(verdict(&gateway, "10.7.7.1"), Verdict::Protect { child: ChildId(1), trap: false, pfp: Pfp::NONE });
    // Its author died. The next states some as they were, some as others, and some not at all.
    gateway.policies((20..60).map(|n| of(n, if n < 30 { 1 } else { 2 })));
    for n in 0..60 {
        let want = match n {
            0..20 => Verdict::Drop(DropReason::NoPolicy),
            20..30 => Verdict::Protect { child: ChildId(1), trap: false, pfp: Pfp::NONE },
            _ => Verdict::Protect { child: ChildId(2), trap: false, pfp: Pfp::NONE },
        };
        assert_eq!(verdict(&gateway, &format!("10.7.{n}.1")), want, "{n}");
    }
}

/// One policy is replaced again and again, and thousands come and go around it, while two threads ask. Each answer is of
/// a state that was: behind all stands a BYPASS, which no packet of the replaced one may ever meet.
#[test]
fn packets_see_the_old_or_the_new_and_nothing_between() {
    const ROUNDS: u32 = 5_000;
    let mut gateway = Gateway::new(1, 7);
    let crowd = |n: u32| outbound(10 + n, 5, &format!("10.{}.{}.0/24", 8 + n / 256, n % 256), Action::Discard);
    let all = [outbound(1, 10, "10.7.0.0/16", protect(0)), outbound(2, 20, "0.0.0.0/0", Action::Bypass)];
    gateway.policies(all.into_iter().chain((0..2000).map(crowd)));
    let shared = gateway.shared.clone();
    // Twice the number of the last change to 10.9.9.0/24 that is done, and one more while the next is under way.
    let (stop, marker, asked) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    let before = marker.load(Ordering::SeqCst);
                    let view = shared.view(0);
                    let judge = |to| view.spd.table.judge(&flow(to), false, Origin::Clear, None);
                    let (replaced, toggled) = (judge("10.7.1.1"), judge("10.9.9.9"));
                    drop(view);
                    let after = marker.load(Ordering::SeqCst);
                    assert!(matches!(replaced, Verdict::Protect { .. }), "{replaced:?}");
                    assert!(matches!(toggled, Verdict::Forward | Verdict::Drop(DropReason::PolicyDiscard)));
                    if before == after && before % 2 == 0 {
                        assert_eq!(toggled == Verdict::Forward, before % 4 == 2, "change {before}");
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        for round in 0..ROUNDS {
            gateway.apply(Command::SetPolicy(outbound(1, 10, "10.7.0.0/16", protect(round % 32)))).unwrap();
            let other = 300 + (round * 7) % 1700;
            gateway.apply(Command::RemovePolicy(PolicyId(10 + other))).unwrap();
            gateway.apply(Command::SetPolicy(crowd(other))).unwrap();
            if round % 8 == 0 {
                let toggled = crowd(256 + 9);
                let is_in = marker.fetch_add(1, Ordering::SeqCst) % 4 == 0;
                gateway
                    .apply(if is_in { Command::RemovePolicy(toggled.id) } else { Command::SetPolicy(toggled) })
                    .unwrap();
                marker.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    assert!(asked.into_inner() > 1000);
}

/// Ends the threads however the test ends.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
