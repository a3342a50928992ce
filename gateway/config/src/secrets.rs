//! Pre-shared keys and manual keys, read from files that nobody else may read. Control only.

use crate::Config;
use culvert_model::{Identity, SecretKey, Suite};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A key file larger than this is none.
const MAX_FILE: u64 = 64 << 10;
/// Shortest pre-shared key taken without a warning, octets.
const SHORT_PSK: usize = 16;

/// Every key of a configuration. No `Debug` of it shows one.
#[derive(Debug)]
pub struct Secrets {
    psks: Vec<(Vec<Identity>, SecretKey)>,
    manual: Vec<ManualKeys>,
    warnings: Vec<String>,
}

/// The keys of one `[[manual_sa]]`: the whole KEYMAT of its suite each.
#[derive(Debug)]
pub struct ManualKeys {
    pub name: String,
    pub key_in: SecretKey,
    pub key_out: SecretKey,
}

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", .file.display())]
pub struct SecretError {
    pub file: PathBuf,
    pub problem: SecretProblem,
}

#[derive(Debug, thiserror::Error)]
pub enum SecretProblem {
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("is not a regular file")]
    NotAFile,
    #[error("others can read or write it (mode {mode:04o}); run: chmod 600 {}", .file.display())]
    Exposed { mode: u32, file: PathBuf },
    #[error("is {0} bytes long; a key file has at most {MAX_FILE}")]
    TooLarge(u64),
    #[error("is empty")]
    Empty,
    #[error("begins with 0x, and what follows is not a row of hexadecimal octets")]
    BadHex,
    #[error("begins with 0s, and what follows is not base64")]
    BadBase64,
    #[error("a manual key must be written 0x and hexadecimal, or 0s and base64")]
    NotBinary,
    #[error("holds {found} octets; {suite} takes {expected}: {}", key_parts(*.suite))]
    WrongLength { suite: Suite, expected: usize, found: usize },
    #[error("holds the same key as {}; one key for two SAs uses nonces twice", .0.display())]
    SharedKey(PathBuf),
}

/// Every key file that cannot be used, one a line.
#[derive(Debug)]
pub struct SecretErrors(pub Vec<SecretError>);

impl fmt::Display for SecretErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for SecretErrors {}

impl Secrets {
    /// Every pre-shared key with the identities it is for, in the order of the file.
    pub fn psks(&self) -> impl Iterator<Item = (&[Identity], &SecretKey)> {
        self.psks.iter().map(|(ids, key)| (ids.as_slice(), key))
    }

    pub fn manual(&self, name: &str) -> Option<&ManualKeys> {
        self.manual.iter().find(|keys| keys.name == name)
    }

    /// Sentences for the log: keys that can be used, but should be better.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// How well a secret's ids fit a pair of identities; `None` not at all. `remote` is `None` where the peer may be
/// anybody.
///
/// A secret that names the peer and somebody else, but not this box, is meant for those two and does not fit; nor does
/// one that names this box and some other peer.
pub(crate) fn fit(ids: &[Identity], local: &Identity, remote: Option<&Identity>) -> Option<u8> {
    if ids.is_empty() {
        return Some(0);
    }
    let us = ids.iter().any(|id| id.matches(local));
    let Some(remote) = remote else { return us.then_some(1) };
    let peer = ids.iter().any(|id| id.matches(remote));
    let only = |who: &Identity| ids.iter().all(|id| id.matches(who));
    match (us, peer) {
        (true, true) => Some(3),
        (false, true) if only(remote) => Some(2),
        (true, false) if only(local) => Some(1),
        _ => None,
    }
}

impl Config {
    /// Reads every key file; all that cannot be used are reported.
    pub fn read_secrets(&self) -> Result<Secrets, SecretErrors> {
        let mut errors = Vec::new();
        let mut secrets = Secrets { psks: Vec::new(), manual: Vec::new(), warnings: Vec::new() };
        for secret in &self.secrets {
            let file = self.resolve(&secret.file);
            match read_key(&file) {
                Ok((key, _)) => {
                    if key.len() < SHORT_PSK {
                        let (file, len) = (file.display(), key.len());
                        secrets
                            .warnings
                            .push(format!("{file}: a key of {len} octets is easily guessed; use {SHORT_PSK}"));
                    }
                    secrets.psks.push((secret.ids.clone(), key));
                }
                Err(problem) => errors.push(SecretError { file, problem }),
            }
        }
        let mut seen: Vec<(PathBuf, SecretKey)> = Vec::new();
        for sa in &self.manual_sas {
            let mut read = |path: &Path| {
                let file = self.resolve(path);
                let key =
                    read_manual_key(&file, sa.suite()).and_then(|key| match seen.iter().find(|(_, k)| *k == key) {
                        Some((other, _)) => Err(SecretProblem::SharedKey(other.clone())),
                        None => Ok(key),
                    });
                match key {
                    Ok(key) => {
                        seen.push((file, key.clone()));
                        Some(key)
                    }
                    Err(problem) => {
                        errors.push(SecretError { file, problem });
                        None
                    }
                }
            };
            if let (Some(key_in), Some(key_out)) = (read(&sa.key_in_file), read(&sa.key_out_file)) {
                secrets.manual.push(ManualKeys { name: sa.name.clone(), key_in, key_out });
            }
        }
        if errors.is_empty() { Ok(secrets) } else { Err(SecretErrors(errors)) }
    }
}

fn read_manual_key(file: &Path, suite: Suite) -> Result<SecretKey, SecretProblem> {
    let (key, form) = read_key(file)?;
    if form == Form::Text {
        return Err(SecretProblem::NotBinary);
    }
    let (expected, found) = (suite.key_len(), key.len());
    if found != expected {
        return Err(SecretProblem::WrongLength { suite, expected, found });
    }
    Ok(key)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Binary,
}

fn read_key(path: &Path) -> Result<(SecretKey, Form), SecretProblem> {
    // Before the open, which would wait for ever on a named pipe; and again after it, on what was really opened.
    acceptable(path, &fs::metadata(path).map_err(SecretProblem::Unreadable)?)?;
    let mut file = File::open(path).map_err(SecretProblem::Unreadable)?;
    let meta = file.metadata().map_err(SecretProblem::Unreadable)?;
    acceptable(path, &meta)?;
    // Filled in place: a Vec that grows would leave copies behind.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(meta.len()).unwrap_or(0)]);
    file.read_exact(&mut bytes).map_err(SecretProblem::Unreadable)?;
    decode(&bytes)
}

fn acceptable(path: &Path, meta: &Metadata) -> Result<(), SecretProblem> {
    let mode = meta.permissions().mode() & 0o7777;
    match meta.len() {
        _ if !meta.is_file() => Err(SecretProblem::NotAFile),
        _ if mode & 0o077 != 0 => Err(SecretProblem::Exposed { mode, file: path.to_owned() }),
        0 => Err(SecretProblem::Empty),
        1..=MAX_FILE => Ok(()),
        long => Err(SecretProblem::TooLarge(long)),
    }
}

/// "32 of key and 4 of salt for aes256ctr, then 20 of key for sha1".
fn key_parts(suite: Suite) -> String {
    let cipher = suite.encryption().map(|e| (e.key_len(), e.salt_len(), e.keyword()));
    let integrity = suite.integrity().map(|i| (i.key_len(), i.salt_len(), i.keyword()));
    let parts = [cipher, integrity].into_iter().flatten().filter(|(key, ..)| *key > 0);
    let words = parts.map(|(key, salt, word)| match salt {
        0 => format!("{key} of key for {word}"),
        _ => format!("{key} of key and {salt} of salt for {word}"),
    });
    words.collect::<Vec<_>>().join(", then ")
}

/// swanctl's forms: `0x…` is hexadecimal, `0s…` base64, anything else stands for itself. One newline at the end is the
/// editor's, not the key's.
fn decode(bytes: &[u8]) -> Result<(SecretKey, Form), SecretProblem> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (key, form) = if let Some(digits) = line.strip_prefix(b"0x") {
        (hex(digits.trim_ascii()).ok_or(SecretProblem::BadHex)?, Form::Binary)
    } else if let Some(digits) = line.strip_prefix(b"0s") {
        (base64(digits.trim_ascii()).ok_or(SecretProblem::BadBase64)?, Form::Binary)
    } else {
        (line.to_vec(), Form::Text)
    };
    if key.is_empty() {
        return Err(SecretProblem::Empty);
    }
    Ok((SecretKey::new(key), form))
}

fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |b: u8| char::from(b).to_digit(16).and_then(|v| u8::try_from(v).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut key = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        key.push(value(*high)? << 4 | value(*low)?);
    }
    rest.is_empty().then_some(key)
}

/// RFC 4648 §4, with or without padding.
fn base64(digits: &[u8]) -> Option<Vec<u8>> {
    let body = digits.strip_suffix(b"==").or_else(|| digits.strip_suffix(b"=")).unwrap_or(digits);
    let padded = body.len() != digits.len();
    if padded && !digits.len().is_multiple_of(4) || body.len() % 4 == 1 {
        return None;
    }
    let mut key = Vec::with_capacity(body.len() * 3 / 4 + 1);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for digit in body {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            key.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // Left-over bits that are not zero are a slip of the pen.
    (bits == 0).then_some(key)
}

#[cfg(test)]
mod tests;
