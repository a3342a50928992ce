use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a lab could not be built or used. Each names the command or file it is about.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("cannot start `{command}`: {source}")]
    Start { command: String, source: std::io::Error },
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed { command: String, status: ExitStatus, stderr: String },
    #[error("`{command}` did not end within {limit:?}")]
    TimedOut { command: String, limit: Duration },
    #[error("{what} did not happen within {limit:?}")]
    NeverHappened { what: String, limit: Duration },
    #[error("`{name}` ended early ({status}); its last lines:\n{log}")]
    EndedEarly { name: String, status: String, log: String },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("cannot enter namespace {name}: {source}")]
    Enter { name: String, source: std::io::Error },
    #[error("{path} is not a packet capture this reader knows: {why}")]
    Capture { path: String, why: &'static str },
    #[error("{0}")]
    Status(String),
}

impl LabError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
