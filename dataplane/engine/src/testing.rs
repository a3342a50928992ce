//! A buffer without DPDK: for tests, simulations and benchmarks.

use crate::buffer::Buffer;

/// A packet in a fixed allocation with headroom and tailroom, as an mbuf has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VecBuffer {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl VecBuffer {
    /// DPDK's default headroom.
    pub const HEADROOM: usize = 128;
    /// DPDK's default data room.
    pub const ROOM: usize = 2048;

    pub fn new(data: &[u8]) -> Self {
        Self::with_room(data, Self::HEADROOM, Self::ROOM.saturating_sub(data.len()))
    }

    pub fn with_room(data: &[u8], headroom: usize, tailroom: usize) -> Self {
        let mut memory = vec![0; headroom];
        memory.extend_from_slice(data);
        let end = memory.len();
        memory.resize(end + tailroom, 0);
        Self { memory: memory.into_boxed_slice(), start: headroom, end }
    }

    /// As an empty mbuf of a large pool: 65,535 octets, of which `len` must find room.
    pub fn large(len: usize) -> Option<Self> {
        let spare = crate::LARGEST.checked_sub(len)?;
        let headroom = Self::HEADROOM.min(spare);
        Some(Self::with_room(&[], headroom, crate::LARGEST - headroom))
    }

    /// All octets of the allocation.
    pub fn room(&self) -> usize {
        self.memory.len()
    }
}

impl Buffer for VecBuffer {
    fn data(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.end).unwrap_or_default()
    }

    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(count)?;
        self.data_mut().get_mut(..count)
    }

    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let old = self.end - self.start;
        self.end = self.end.checked_add(count).filter(|end| *end <= self.memory.len())?;
        self.data_mut().get_mut(old..)
    }

    fn trim_front(&mut self, count: usize) -> bool {
        let fits = count <= self.end - self.start;
        self.start += if fits { count } else { 0 };
        fits
    }

    fn trim_back(&mut self, count: usize) -> bool {
        let fits = count <= self.end - self.start;
        self.end -= if fits { count } else { 0 };
        fits
    }
}

/// Hex digits of `bytes`.
#[cfg(test)]
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a Python script that imports from Scapy, as an oracle: a line of answer to each line. `None`, and the reason
/// printed, where that is not installed.
#[cfg(test)]
pub(crate) fn scapy(script: &str, lines: impl Iterator<Item = String>) -> Option<Vec<String>> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let whole = format!(
        "import sys, logging\nlogging.getLogger('scapy').setLevel(logging.ERROR)\ntry:\n    import scapy.layers.ipsec, scapy.layers.inet6\nexcept ImportError:\n    sys.exit(9)\n{script}"
    );
    let python =
        Command::new("/usr/bin/python3").args(["-c", &whole]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut python) = python else {
        println!("skipped: no /usr/bin/python3");
        return None;
    };
    let lines: Vec<String> = lines.collect();
    let (asked, mut stdin) = (lines.len(), python.stdin.take().unwrap());
    let writer = std::thread::spawn(move || stdin.write_all((lines.join("\n") + "\n").as_bytes()));
    let output = python.wait_with_output().unwrap();
    let _ = writer.join();
    if output.status.code() == Some(9) {
        println!("skipped: no scapy (apt-get install python3-scapy)");
        return None;
    }
    assert!(output.status.success());
    let answers: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), asked);
    Some(answers)
}
