//! `culvert check`: reads a configuration and says everything that is wrong with it. Changes nothing.

use culvert_config::{Config, Diagnostics};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

/// 0 where the file is valid, with or without warnings; 1 where it is not. Findings go to standard error.
pub fn check(path: &Path) -> ExitCode {
    let terminal = io::stderr().is_terminal();
    match Config::from_file(path) {
        Ok(config) => {
            eprint!("{}", config.warnings().report(terminal));
            let unusable = secret_warnings(&config);
            let warnings = config.warnings().warnings() + unusable;
            println!("{}: valid{}", path.display(), count(warnings, ", with ", "warning"));
            ExitCode::SUCCESS
        }
        Err(diagnostics) => {
            eprint!("{}", diagnostics.report(terminal));
            eprintln!("{}: {}", path.display(), summary(&diagnostics));
            ExitCode::FAILURE
        }
    }
}

/// Key files matter to `run`, and need not be on the machine or readable to the user that checks; so they are told, but
/// do not make the file invalid.
fn secret_warnings(config: &Config) -> usize {
    match config.read_secrets() {
        Ok(secrets) => {
            secrets.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
            secrets.warnings().len()
        }
        Err(errors) => {
            errors.0.iter().for_each(|error| eprintln!("warning: run would refuse {error}"));
            errors.0.len()
        }
    }
}

fn summary(diagnostics: &Diagnostics) -> String {
    let errors = count(diagnostics.errors(), "", "error");
    format!("not valid: {errors}{}", count(diagnostics.warnings(), ", ", "warning"))
}

/// ", with 2 warnings"; nothing for none.
fn count(number: usize, before: &str, word: &str) -> String {
    match number {
        0 => String::new(),
        1 => format!("{before}1 {word}"),
        _ => format!("{before}{number} {word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_like_sentences() {
        assert_eq!(count(0, ", with ", "warning"), "");
        assert_eq!(count(1, ", with ", "warning"), ", with 1 warning");
        assert_eq!(count(2, "", "error"), "2 errors");
    }

    #[test]
    fn a_missing_file_is_a_failure() {
        let missing = Path::new("/nonexistent/culvert.toml");
        let found = Config::from_file(missing).expect_err("missing");
        assert_eq!(summary(&found), "not valid: 1 error");
        assert_eq!(check(missing), ExitCode::FAILURE);
    }
}
