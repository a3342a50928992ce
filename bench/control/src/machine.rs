//! What the kernel knows of this machine and of processes.

use crate::Error;
use std::path::Path;

/// Octets of memory that this process has.
pub fn resident() -> Result<u64, Error> {
    resident_of(Path::new("/proc/self"))
}

/// The same of the process with this directory.
pub fn resident_of(process: &Path) -> Result<u64, Error> {
    let text = read(&process.join("status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or(Error::Wrong("the kernel tells no resident memory"))
}

/// Processor seconds of all threads of the process.
pub fn processor_seconds_of(process: &Path) -> Result<f64, Error> {
    // Fields 14 and 15, in hundredths; the name before them may hold anything and ends with the last parenthesis.
    let text = read(&process.join("stat"))?;
    let fields: Vec<&str> =
        text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let ticks = field(11).zip(field(12)).map(|(user, system)| user + system);
    ticks.map(|ticks| ticks / 100.0).ok_or(Error::Wrong("the kernel tells no processor time"))
}

pub fn processor() -> String {
    let text = read(Path::new("/proc/cpuinfo")).unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error::File(path.to_owned(), error))
}
