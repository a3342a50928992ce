use super::Failure;
use super::traffic::{IPERF_PAYLOAD, MARKER};
use culvert_lab::{Capture, Census, FrameKind, TwoGateways, Verdict, examine};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Everything that must be visible in no frame between the gateways.
struct Secrets(Vec<(&'static str, Vec<u8>)>);

/// The wire under watch: a capture for a while, and the kernel's count of all frames.
pub struct Wire {
    capture: Capture,
    census: Census,
    secrets: Secrets,
}

/// What the wire showed.
pub struct WireReport {
    pub captured: Verdict,
    /// Every frame since the start, by kind.
    pub counts: BTreeMap<FrameKind, u64>,
    census: Census,
}

impl Wire {
    /// From the first frame on.
    pub fn start(net: &TwoGateways, frames: u32) -> Result<Self, Failure> {
        let census = Census::start(&net.wan)?;
        let file = net.lab.directory().join("wan.pcap");
        let capture = Capture::start(&net.wan, net.wan_port(), file, frames)?;
        Ok(Self { capture, census, secrets: Secrets::of(net)? })
    }

    pub fn is_full(&mut self) -> bool {
        self.capture.is_full()
    }

    pub fn examine(self) -> Result<WireReport, Failure> {
        let file = self.capture.stop()?;
        let captured = examine(&file, &self.secrets.0)?;
        Ok(WireReport { captured, counts: BTreeMap::new(), census: self.census })
    }
}

impl WireReport {
    pub fn refresh(&mut self) -> Result<&BTreeMap<FrameKind, u64>, Failure> {
        self.counts = self.census.counts()?;
        Ok(&self.counts)
    }

    /// Only what may be there was there, and the capture did see the tunnel at work: an empty one proves nothing.
    pub fn holds(&self) -> bool {
        let esp = |kinds: &BTreeMap<FrameKind, u64>| {
            [FrameKind::Esp, FrameKind::EspInUdp].iter().filter_map(|kind| kinds.get(kind)).sum::<u64>()
        };
        let strangers = self.counts.get(&FrameKind::Other).copied().unwrap_or(0);
        self.captured.is_clean()
            && self.captured.count(FrameKind::Ike) >= 4
            && esp(&self.captured.frames) > 0
            && esp(&self.counts) > 0
            && strangers == 0
    }
}

impl Secrets {
    /// Four octets of an address turn up in ciphertext by chance; both addresses of a header side by side do not.
    fn of(net: &TwoGateways) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::Said(format!("{what} is no address"));
        let v4 = |text: &str| text.parse::<Ipv4Addr>().map(|a| a.octets().to_vec()).map_err(|_| wrong(text));
        let v6 = |text: &str| text.parse::<Ipv6Addr>().map(|a| a.octets().to_vec()).map_err(|_| wrong(text));
        let (a, b) = (&net.a, &net.b);
        Ok(Self(vec![
            ("the payload of a ping", MARKER.to_vec()),
            ("the payload of iperf3", IPERF_PAYLOAD.to_vec()),
            ("inner IPv4 addresses", [v4(a.host4)?, v4(b.host4)?].concat()),
            ("inner IPv4 addresses", [v4(b.host4)?, v4(a.host4)?].concat()),
            ("host-a's inner IPv6 address", v6(a.host6)?),
            ("host-b's inner IPv6 address", v6(b.host6)?),
        ]))
    }
}
