//! What can be wrong with the shared file.

use crate::Role;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{slots} SA slots: the number must be a power of two from 2 to {max}", max = crate::MAX_SLOTS)]
    BadSlots { slots: u32 },
    #[error(
        "rings of {bytes} bytes: the size must be a power of two from {min} to {max}",
        min = crate::MIN_RING_BYTES, max = crate::MAX_RING_BYTES
    )]
    BadRingBytes { bytes: u32 },
    #[error("{path} is not a regular file; remove it, or name another path for the link")]
    NotAFile { path: PathBuf },
    #[error("{path} may be opened by others (mode {mode:o}, wanted 600); remove it while both planes are stopped")]
    OpenToOthers { path: PathBuf, mode: u32 },
    #[error(
        "{path} belongs to user {found}, this process runs as user {expected}; run both planes as one user, \
         or remove the file while both are stopped"
    )]
    ForeignOwner { path: PathBuf, expected: u32, found: u32 },
    #[error(
        "{path} is no Culvert link file (it starts with {found:#018x}, expected {expected:#018x}); remove \
         it, or name another path for the link"
    )]
    NotALink { path: PathBuf, expected: u64, found: u64 },
    #[error(
        "{path} has layout version {found}, this program needs {expected}; stop both planes of the other \
         version, then remove the file"
    )]
    Version { path: PathBuf, expected: u64, found: u64 },
    #[error(
        "{path} was made with {field} {found}, the configuration asks for {expected}; stop both planes and \
         remove the file, or restore the old value"
    )]
    Mismatch { path: PathBuf, field: &'static str, expected: u64, found: u64 },
    #[error(
        "{path} is {found} bytes long, expected {expected}; it was cut short or written to: stop both \
         planes, then remove the file"
    )]
    Size { path: PathBuf, expected: u64, found: u64 },
    #[error("a live {role} process holds {path} already; stop it first")]
    InUse { role: Role, path: PathBuf },
    #[error(
        "a live {role} process works with a file that was at {path} before and has been removed; stop that \
         process first"
    )]
    Replaced { role: Role, path: PathBuf },
}
