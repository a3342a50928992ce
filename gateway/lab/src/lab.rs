use crate::sweep::{PREFIX, remove_namespace, sweep_stale};
use crate::{LabError, Namespace};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Everything a lab writes is below a directory of its own in here. Only root may look inside.
pub(crate) const RUN: &str = "/run/culvert-lab";

/// Owner of namespaces and of a directory for configurations, logs and captures.
#[derive(Debug)]
pub struct Lab {
    tag: String,
    directory: PathBuf,
    namespaces: Mutex<Vec<String>>,
    keep_files: bool,
}

impl Lab {
    /// Sweeps up after dead labs, then makes an empty one.
    pub fn new() -> Result<Self, LabError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self::sweep();
        let tag = format!("{PREFIX}{}{}", process::id(), letters(NEXT.fetch_add(1, Ordering::Relaxed)));
        let directory = Path::new(RUN).join(&tag);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(LabError::file(&directory))?;
        // For looking at logs after a failure; the directory then stays until the next lab sweeps.
        let keep_files = std::env::var_os("CULVERT_LAB_KEEP").is_some();
        Ok(Self { tag, directory, namespaces: Mutex::default(), keep_files })
    }

    /// Removes what labs of dead processes left; returns how many namespaces and directories that were.
    pub fn sweep() -> usize {
        sweep_stale()
    }

    pub fn tag(&self) -> &str {
        &self.tag
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A new namespace; its full name is the lab's tag, a dash and `name`.
    pub fn namespace(&self, name: &str) -> Result<Namespace, LabError> {
        let full = format!("{}-{name}", self.tag);
        self.namespaces.lock().unwrap_or_else(|poison| poison.into_inner()).push(full.clone());
        Namespace::create(full, &self.directory)
    }

    /// Makes a directory below the lab's own, for one gateway.
    pub fn subdirectory(&self, name: &str) -> Result<PathBuf, LabError> {
        let path = self.directory.join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(LabError::file(&path))?;
        Ok(path)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let namespaces = self.namespaces.get_mut().unwrap_or_else(|poison| poison.into_inner());
        for name in namespaces.drain(..) {
            if Path::new("/run/netns").join(&name).exists() {
                remove_namespace(&name);
            }
        }
        if !self.keep_files {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// 0 → a, 25 → z, 26 → ba.
fn letters(mut number: u32) -> String {
    let mut text = Vec::new();
    loop {
        text.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
        if number == 0 {
            break;
        }
    }
    text.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_own_letters() {
        assert_eq!([0, 25, 26, 27].map(letters), ["a", "z", "ba", "bb"]);
    }
}
