//! Runs fuzz targets for as long as one likes.

use culvert_fuzz::mutate::{Random, mutate};
use culvert_fuzz::{TARGETS, Target, corpus, target};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: culvert-fuzz run TARGET|all [--seconds N] [--seed N]   mutate the corpus for N seconds per target (default 30)
       culvert-fuzz replay TARGET FILE...                     run single inputs
       culvert-fuzz generate                                  write the seeds of all corpora anew
       culvert-fuzz list";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["list"] => {
            TARGETS.iter().for_each(|t| println!("{}", t.name));
            Ok(())
        }
        ["generate"] => generate(),
        ["replay", name, files @ ..] => chosen(name).and_then(|targets| replay(&targets, files)),
        ["run", name, options @ ..] => chosen(name)
            .and_then(|targets| run(&targets, option(options, "--seconds", 30)?, option(options, "--seed", 1)?)),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn chosen(name: &str) -> Result<Vec<&'static Target>, String> {
    if name == "all" {
        return Ok(TARGETS.iter().collect());
    }
    target(name).map(|t| vec![t]).ok_or_else(|| format!("no target \"{name}\"; `list` shows them"))
}

fn option(options: &[&str], name: &str, default: u64) -> Result<u64, String> {
    match options.iter().position(|o| *o == name) {
        None => Ok(default),
        Some(at) => {
            options.get(at + 1).and_then(|v| v.parse().ok()).ok_or_else(|| format!("{name} takes a number\n{USAGE}"))
        }
    }
}

fn generate() -> Result<(), String> {
    for target in TARGETS {
        let count = corpus::write(target).map_err(|e| format!("{}: {e}", target.name))?;
        println!("{}: {count} inputs", target.name);
    }
    Ok(())
}

fn replay(targets: &[&Target], files: &[&str]) -> Result<(), String> {
    for file in files {
        let bytes = std::fs::read(file).map_err(|e| format!("{file}: {e}"))?;
        for target in targets {
            let accepted = (target.run)(&bytes);
            println!("{file}: {} by {}", if accepted { "accepted" } else { "refused" }, target.name);
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "runs for a stated time")]
fn run(targets: &[&Target], seconds: u64, seed: u64) -> Result<(), String> {
    for target in targets {
        let inputs = corpus::load(target).map_err(|e| format!("{}: {e}", target.name))?;
        let inputs: Vec<_> = inputs.into_iter().map(|(_, bytes)| bytes).collect();
        let mut random = Random(seed);
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut runs = 0u64;
        while Instant::now() < end {
            for _ in 0..100 {
                let input = mutate(&mut random, &inputs);
                try_one(target, &input)?;
                runs += 1;
            }
        }
        println!("{}: {runs} inputs, no failure", target.name);
    }
    Ok(())
}

/// An input that panics is written into the corpus, where the tests find it until it is mended.
fn try_one(target: &Target, input: &[u8]) -> Result<(), String> {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok() {
        return Ok(());
    }
    // FNV-1a, to tell files apart.
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    let path = corpus::directory(target).join(format!("crash-{hash:016x}"));
    std::fs::write(&path, input).map_err(|e| format!("{}: {e}", path.display()))?;
    Err(format!("{}: failed; the input is in {}", target.name, path.display()))
}
