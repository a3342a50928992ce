//! Runs the table and prints it; the last line holds the totals.

use culvert_lab::Deadline;
use culvert_vm::{Case, Trials, cases};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

const USAGE: &str = "\
usage: culvert-vm IMAGE PROGRAMS [--only TEXT]   boots the guest in directory IMAGE (tests/vm/image.sh makes it) and tries the
                                                 gateway of directory PROGRAMS in every row whose name has TEXT in it
       culvert-vm list                           names all rows";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => {
            cases().iter().for_each(|case| println!("{}", case.name()));
            ExitCode::SUCCESS
        }
        [image, programs] => run(Path::new(image), Path::new(programs), ""),
        [image, programs, "--only", text] => run(Path::new(image), Path::new(programs), text),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

/// Keys by hand in one machine and by IKE in another at once: what the latter mostly does is wait.
fn run(image: &Path, programs: &Path, only: &str) -> ExitCode {
    let chosen = cases().into_iter().filter(|case| case.name().contains(only));
    let (by_hand, by_ike): (Vec<Case>, Vec<Case>) = chosen.partition(|case| matches!(case, Case::Manual(_)));
    let all = by_hand.len() + by_ike.len();
    let clock = Deadline::after(Duration::MAX);
    let failed: usize = thread::scope(|scope| {
        let halves = [by_hand, by_ike].map(|half| scope.spawn(move || try_all(image, programs, &half)));
        halves.into_iter().map(|half| half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).sum()
    });
    let minutes = clock.elapsed().as_secs_f64() / 60.0;
    println!("{} passed, {failed} failed in {minutes:.1} minutes", all - failed);
    if failed == 0 && all > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints how each ended, as soon as it has; returns how many failed.
fn try_all(image: &Path, programs: &Path, cases: &[Case]) -> usize {
    if cases.is_empty() {
        return 0;
    }
    let clock = Deadline::after(Duration::MAX);
    let mut trials = match Trials::begin(image, programs.to_owned()) {
        Ok(trials) => trials,
        Err(error) => {
            println!("the lab cannot be built: {error}");
            return cases.len();
        }
    };
    println!("a guest is up after {:.1} s", clock.elapsed().as_secs_f64());
    let mut failed = 0;
    for (number, case) in (0..).zip(cases) {
        let begun = clock.elapsed();
        let outcome = trials.run(case, number);
        let seconds = (clock.elapsed() - begun).as_secs_f64();
        let word = if outcome.is_ok() { "ok" } else { "FAIL" };
        let mut lines = format!("{word:4}  {seconds:5.1} s  {}", case.name());
        if let Err(error) = outcome {
            failed += 1;
            error.to_string().lines().for_each(|line| lines += &format!("\n      {line}"));
        }
        // In one piece, as the other half prints too.
        println!("{lines}");
    }
    failed
}
