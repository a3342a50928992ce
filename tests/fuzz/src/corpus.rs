//! The committed inputs.

use crate::Target;
use std::path::PathBuf;
use std::{fs, io};

pub fn directory(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// All inputs, in the order of their names.
pub fn load(target: &Target) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(directory(target))? {
        let entry = entry?;
        inputs.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    inputs.sort();
    Ok(inputs)
}

/// The seeds, and each cut off at a few places: what a generator writes.
pub fn generated(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut inputs = Vec::new();
    for (n, seed) in (target.seeds)().into_iter().enumerate() {
        for (i, length) in cuts(seed.len()).into_iter().enumerate() {
            inputs.push((format!("seed-{n:02}-cut-{i}"), seed[..length].to_vec()));
        }
        inputs.push((format!("seed-{n:02}"), seed));
    }
    inputs
}

fn cuts(length: usize) -> Vec<usize> {
    let mut cuts = vec![length / 3, length.saturating_sub(1)];
    cuts.dedup();
    cuts.retain(|&cut| cut < length);
    cuts
}

/// Replaces what a generator wrote before; `crash-*` and inputs put there by hand stay.
pub fn write(target: &Target) -> io::Result<usize> {
    let directory = directory(target);
    fs::create_dir_all(&directory)?;
    for entry in fs::read_dir(&directory)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-")) {
            fs::remove_file(path)?;
        }
    }
    let inputs = generated(target);
    for (name, bytes) in &inputs {
        fs::write(directory.join(name), bytes)?;
    }
    Ok(inputs.len())
}
