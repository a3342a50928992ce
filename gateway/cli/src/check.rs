//! `culvert check`: reads a configuration and says everything that is wrong with it.

use std::path::Path;
use std::process::ExitCode;

/// 0 where the file is valid, 1 with every error on standard error where it is not.
pub fn check(path: &Path) -> ExitCode {
    match culvert_config::Config::from_file(path) {
        Ok(_) => {
            println!("{}: valid", path.display());
            ExitCode::SUCCESS
        }
        Err(diagnostics) => {
            eprint!("{diagnostics}");
            ExitCode::FAILURE
        }
    }
}
