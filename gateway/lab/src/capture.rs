use crate::{LabError, Namespace, Process, wait_for};
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A running `tcpdump` that writes every frame of an interface, both ways, to a file.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Ends by itself after `frames` frames.
    pub fn start(namespace: &Namespace, interface: &str, file: PathBuf, frames: u32) -> Result<Self, LabError> {
        let frames = frames.to_string();
        let path = file.to_string_lossy().into_owned();
        let line = [
            "tcpdump",
            "-i",
            interface,
            "-n",
            "-U",
            "--immediate-mode",
            "-B",
            "8192",
            "-Z",
            "root",
            "-c",
            &frames,
            "-w",
            &path,
        ];
        let process = namespace.spawn("tcpdump", &line)?;
        wait_for("tcpdump's start", Duration::from_secs(5), || process.log().contains("listening on").then_some(()))?;
        Ok(Self { process, file })
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// True once all frames asked for are in.
    pub fn is_full(&mut self) -> bool {
        self.process.exit_status().is_some()
    }

    /// Ends the capture and returns the file.
    pub fn stop(mut self) -> Result<PathBuf, LabError> {
        self.process.stop()?;
        Ok(self.file.clone())
    }
}

/// What a frame on the hostile side may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrameKind {
    /// UDP 500, or UDP 4500 with the non-ESP marker.
    Ike,
    /// IP protocol 50.
    Esp,
    /// ESP or a keepalive in UDP 4500.
    EspInUdp,
    Arp,
    /// Neighbour discovery, ICMPv6 133 to 137.
    NeighbourDiscovery,
    /// Nothing that a gateway may send there.
    Other,
}

impl FrameKind {
    pub fn name(self) -> &'static str {
        match self {
            FrameKind::Ike => "IKE",
            FrameKind::Esp => "ESP",
            FrameKind::EspInUdp => "ESP in UDP",
            FrameKind::Arp => "ARP",
            FrameKind::NeighbourDiscovery => "ND",
            FrameKind::Other => "other",
        }
    }
}

/// The result of looking through a capture.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub frames: BTreeMap<FrameKind, u64>,
    /// What was wrong: a frame of no allowed kind, or bytes that must not be seen. A few of each.
    pub findings: Vec<String>,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && !self.frames.contains_key(&FrameKind::Other)
    }

    pub fn count(&self, kind: FrameKind) -> u64 {
        self.frames.get(&kind).copied().unwrap_or(0)
    }

    pub fn total(&self) -> u64 {
        self.frames.values().sum()
    }
}

/// Findings of one sort that are told; more say nothing new.
const SHOWN: u64 = 3;

/// Sorts every frame of a capture and looks for `secrets` (a name and the bytes) anywhere in each.
pub fn examine(file: &Path, secrets: &[(&str, Vec<u8>)]) -> Result<Verdict, LabError> {
    let bytes = fs::read(file).map_err(LabError::file(file))?;
    let fail = |why| LabError::Capture { path: file.display().to_string(), why };
    let mut verdict = Verdict::default();
    let mut seen = vec![0; secrets.len()];
    for (number, frame) in Frames::new(&bytes).map_err(fail)?.enumerate() {
        let kind = classify(frame);
        *verdict.frames.entry(kind).or_default() += 1;
        if kind == FrameKind::Other && verdict.count(kind) <= SHOWN {
            verdict.findings.push(format!("frame {} is {}", number + 1, describe(frame)));
        }
        for ((name, secret), seen) in secrets.iter().zip(&mut seen) {
            if *seen < SHOWN && contains(frame, secret) {
                *seen += 1;
                verdict.findings.push(format!("frame {} ({}) shows {name}", number + 1, kind.name()));
            }
        }
    }
    Ok(verdict)
}

fn contains(frame: &[u8], secret: &[u8]) -> bool {
    let Some((first, others)) = secret.split_first() else { return false };
    let mut rest = frame;
    while let Some(at) = rest.iter().position(|octet| octet == first) {
        rest = &rest[at + 1..];
        if rest.starts_with(others) {
            return true;
        }
    }
    false
}

/// The frames of a classic pcap file in this machine's byte order, as tcpdump writes it.
struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let (header, rest) = bytes.split_at_checked(24).ok_or("shorter than the file header")?;
        let word = |at: usize| header.get(at..at + 4).and_then(|w| w.try_into().ok()).map_or(0, u32::from_ne_bytes);
        match (word(0), word(20)) {
            (0xa1b2_c3d4 | 0xa1b2_3c4d, 1) => Ok(Self { rest }),
            (0xa1b2_c3d4 | 0xa1b2_3c4d, _) => Err("not of Ethernet"),
            _ => Err("wrong magic number"),
        }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    /// An unfinished last frame is left out: the writer was stopped there.
    fn next(&mut self) -> Option<&'a [u8]> {
        let (header, rest) = self.rest.split_at_checked(16)?;
        let length = u32::from_ne_bytes(header.get(8..12)?.try_into().ok()?) as usize;
        let (frame, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(frame)
    }
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

fn classify(frame: &[u8]) -> FrameKind {
    match be16(frame, 12) {
        Some(ETHERTYPE_ARP) => FrameKind::Arp,
        Some(ETHERTYPE_IPV4) => {
            let header = usize::from(frame.get(14).copied().unwrap_or(0) & 15) * 4;
            let protocol = frame.get(23).copied().unwrap_or(0);
            // A later fragment has no ports to look at; the gateways here send none.
            let fragment = be16(frame, 20).unwrap_or(0) & 0x1fff != 0;
            if fragment { FrameKind::Other } else { classify_payload(protocol, frame.get(14 + header..)) }
        }
        Some(ETHERTYPE_IPV6) => classify_payload(frame.get(20).copied().unwrap_or(0), frame.get(54..)),
        _ => FrameKind::Other,
    }
}

fn classify_payload(protocol: u8, payload: Option<&[u8]>) -> FrameKind {
    let Some(payload) = payload else { return FrameKind::Other };
    match protocol {
        50 => FrameKind::Esp,
        58 if matches!(payload.first(), Some(133..=137)) => FrameKind::NeighbourDiscovery,
        17 => match (be16(payload, 0), be16(payload, 2)) {
            (Some(500), _) | (_, Some(500)) => FrameKind::Ike,
            (Some(4500), _) | (_, Some(4500)) if payload.get(8..12) == Some(&[0; 4]) => FrameKind::Ike,
            (Some(4500), _) | (_, Some(4500)) => FrameKind::EspInUdp,
            _ => FrameKind::Other,
        },
        _ => FrameKind::Other,
    }
}

/// Enough to find the frame's sender.
fn describe(frame: &[u8]) -> String {
    let ethertype = be16(frame, 12).unwrap_or(0);
    let v4 = |at: usize| frame.get(at..at + 4).and_then(|a| <[u8; 4]>::try_from(a).ok()).map(Ipv4Addr::from);
    let v6 = |at: usize| frame.get(at..at + 16).and_then(|a| <[u8; 16]>::try_from(a).ok()).map(Ipv6Addr::from);
    match ethertype {
        ETHERTYPE_IPV4 => match (v4(26), v4(30), frame.get(23)) {
            (Some(from), Some(to), Some(protocol)) => format!("IPv4 protocol {protocol} from {from} to {to}"),
            _ => "truncated IPv4".to_owned(),
        },
        ETHERTYPE_IPV6 => match (v6(22), v6(38), frame.get(20), frame.get(54)) {
            (Some(from), Some(to), Some(next), Some(first)) => {
                format!("IPv6 next header {next} (first octet {first}) from {from} to {to}")
            }
            _ => "truncated IPv6".to_owned(),
        },
        _ => format!("of ethertype {ethertype:#06x}"),
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend(payload);
        frame
    }

    fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = [from.to_be_bytes(), to.to_be_bytes(), [0; 2], [0; 2]].concat();
        packet.extend(payload);
        ipv4(17, &packet)
    }

    fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, next, 255]);
        frame.extend([0; 32]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn each_kind_is_told_from_the_others() {
        for (frame, kind) in [
            (udp(500, 500, &[1; 28]), FrameKind::Ike),
            (udp(4500, 4500, &[0, 0, 0, 0, 1]), FrameKind::Ike),
            (udp(61000, 4500, &[0, 0, 0, 0, 1]), FrameKind::Ike),
            (udp(4500, 4500, &[0xc0, 0, 0, 1]), FrameKind::EspInUdp),
            (udp(4500, 4500, &[0xff]), FrameKind::EspInUdp),
            (udp(53, 5353, &[0; 4]), FrameKind::Other),
            (ipv4(50, &[0; 40]), FrameKind::Esp),
            (ipv4(1, &[8, 0]), FrameKind::Other),
            (ipv6(58, &[135, 0]), FrameKind::NeighbourDiscovery),
            (ipv6(58, &[128, 0]), FrameKind::Other),
            (ipv6(50, &[0; 40]), FrameKind::Esp),
            (ipv6(58, &[]), FrameKind::Other),
            ([vec![0; 12], vec![0x08, 0x06], vec![0; 28]].concat(), FrameKind::Arp),
            (vec![0; 13], FrameKind::Other),
            (Vec::new(), FrameKind::Other),
        ] {
            assert_eq!(classify(&frame), kind, "{frame:02x?}");
        }
    }

    #[test]
    fn a_visible_secret_and_a_stranger_are_findings() {
        let path = std::env::temp_dir().join(format!("culvert-lab-capture-{}.pcap", std::process::id()));
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            file.extend(word.to_ne_bytes());
        }
        let frames = [ipv4(50, b"sealed"), ipv4(50, b"..marker.."), ipv4(1, b"\x08")];
        for frame in &frames {
            for word in [0, 0, frame.len() as u32, frame.len() as u32] {
                file.extend(word.to_ne_bytes());
            }
            file.extend(frame);
        }
        file.extend([1, 2, 3]);
        fs::write(&path, &file).expect("temporary directory is writable");
        let verdict = examine(&path, &[("the marker", b"marker".to_vec())]).expect("is a capture");
        assert_eq!((verdict.total(), verdict.count(FrameKind::Esp)), (3, 2));
        assert!(!verdict.is_clean());
        assert_eq!(
            verdict.findings,
            ["frame 2 (ESP) shows the marker", "frame 3 is IPv4 protocol 1 from 192.0.2.1 to 192.0.2.2"]
        );
        assert!(contains(b"aab", b"ab") && contains(b"ab", b"ab") && !contains(b"aba", b"abb") && !contains(b"", b"a"));
        fs::write(&path, b"no capture at all, but long enough").expect("temporary directory is writable");
        assert!(examine(&path, &[]).expect_err("is none").to_string().contains("magic"));
        let _ = fs::remove_file(path);
    }
}
