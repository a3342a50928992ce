//! Labs whose process was killed before it could clean up.

use crate::lab::RUN;
use crate::namespace::pids_in;
use crate::process::is_alive;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;

/// Names start with this and the id of the owning process.
pub(crate) const PREFIX: &str = "cv";

/// The owner's process id in a tag or a namespace's name such as `cv4711a-gw-a`.
pub(crate) fn owner(name: &str) -> Option<i32> {
    let rest = name.strip_prefix(PREFIX)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    let (pid, rest) = rest.split_at(digits);
    let letters = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
    let (letters, rest) = rest.split_at(letters);
    (!letters.is_empty() && (rest.is_empty() || rest.starts_with('-'))).then(|| pid.parse().ok())?
}

/// Removes what dead owners left; returns how many things that were.
pub(crate) fn sweep_stale() -> usize {
    let mut removed = 0;
    for name in names_in(Path::new("/run/netns")) {
        if owner(&name).is_some_and(|pid| !is_alive(pid)) {
            remove_namespace(&name);
            removed += 1;
        }
    }
    for name in names_in(Path::new(RUN)) {
        if owner(&name).is_some_and(|pid| !is_alive(pid)) {
            let _ = fs::remove_dir_all(Path::new(RUN).join(&name));
            removed += 1;
        }
    }
    removed
}

fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Ends all that runs inside, then deletes the namespace.
pub(crate) fn remove_namespace(name: &str) {
    for pid in pids_in(name) {
        if pid != std::process::id().cast_signed() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    let _ = crate::run(&["ip", "netns", "delete", name]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_have_an_owner() {
        for (name, pid) in [
            ("cv4711a-gw-a", Some(4711)),
            ("cv4711ab", Some(4711)),
            ("cv4711", None),
            ("cva-gw", None),
            ("cv12a3", None),
            ("cv-gw", None),
            ("other4711a", None),
            ("cv99999999999a", None),
            ("", None),
        ] {
            assert_eq!(owner(name), pid, "{name}");
        }
    }
}
