//! Runs the table and prints it; the last line holds the totals.

use culvert_lab::Deadline;
use culvert_vm::{Case, Trials, cases};
use std::path::PathBuf;
use std::process::ExitCode;
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
        [image, programs] => run(image.into(), programs.into(), ""),
        [image, programs, "--only", text] => run(image.into(), programs.into(), text),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run(image: PathBuf, programs: PathBuf, only: &str) -> ExitCode {
    let chosen: Vec<Case> = cases().into_iter().filter(|case| case.name().contains(only)).collect();
    let clock = Deadline::after(Duration::MAX);
    let mut trials = match Trials::begin(&image, programs) {
        Ok(trials) => trials,
        Err(error) => {
            println!("the lab cannot be built: {error}\n0 passed, {} failed", chosen.len());
            return ExitCode::FAILURE;
        }
    };
    println!("guest up after {:.1} s", clock.elapsed().as_secs_f64());
    let mut failed = 0;
    for (number, case) in (0..).zip(&chosen) {
        let begun = clock.elapsed();
        let outcome = trials.run(case, number);
        let seconds = (clock.elapsed() - begun).as_secs_f64();
        println!("{:4}  {:5.1} s  {}", if outcome.is_ok() { "ok" } else { "FAIL" }, seconds, case.name());
        if let Err(error) = outcome {
            failed += 1;
            error.to_string().lines().for_each(|line| println!("      {line}"));
        }
    }
    println!("{} passed, {failed} failed", chosen.len() - failed);
    if failed == 0 && !chosen.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
