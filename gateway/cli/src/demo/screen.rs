use super::gateways::Gateways;
use super::wire::WireReport;
use super::{Failure, now};
use culvert_lab::FrameKind;
use culvert_status::{Status, Tunnel, TunnelState};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

const PICTURE: &str = "
    host-a ─────── gw-a ═══════════ wan ═══════════ gw-b ─────── host-b
    10.1.0.10      192.0.2.1                   192.0.2.2      10.2.0.10
    fd00:1::10     2001:db8::1               2001:db8::2     fd00:2::10
";

/// Draws on a terminal, or prints plain lines where there is none.
pub struct Screen {
    live: bool,
    colour: bool,
    /// Height of the table on the terminal, to be drawn over.
    drawn: usize,
}

/// Both gateways' status at one moment.
#[derive(Clone)]
pub struct Sample {
    at: Duration,
    gateways: [Status; 2],
}

impl Sample {
    pub fn take(gateways: &Gateways<'_>, at: Duration) -> Result<Self, Failure> {
        Ok(Self { at, gateways: gateways.status()? })
    }

    /// Octets that both tunnel ends have sent and received.
    pub fn octets(&self) -> u64 {
        self.gateways.iter().flat_map(|status| &status.tunnels).map(|tunnel| tunnel.bytes_in).sum()
    }
}

impl Screen {
    pub fn new() -> Self {
        let live = io::stdout().is_terminal();
        Self { live, colour: live && std::env::var_os("NO_COLOR").is_none(), drawn: 0 }
    }

    pub fn title(&mut self) {
        let title = self.bold("culvert demo: two VPN gateways, one IKEv2 tunnel, real packets");
        self.line(&format!("{title}\n{PICTURE}"));
    }

    /// A step that is behind us, with the time it took.
    pub fn done(&mut self, step: &str, text: &str, since: Instant) {
        let took = (now() - since).as_secs_f64();
        let mark = self.green("ok");
        self.line(&format!("  {mark}  {step:<9} {text} ({took:.1} s)"));
    }

    pub fn look_around(&mut self, commands: &[(&str, String)]) {
        let heading = self.bold("Look around, from a second terminal as root:");
        let mut text = format!("\n{heading}\n");
        for (what, command) in commands {
            let _ = writeln!(text, "  {what:<10} {command}");
        }
        if self.live {
            text += "Ctrl-C ends the demo and removes everything.\n";
        }
        self.line(&text);
    }

    /// The capture's story, once.
    pub fn capture(&mut self, report: &WireReport) {
        self.erase();
        let captured = &report.captured;
        let clean = captured.is_clean();
        let mark = if clean { self.green("ok") } else { self.red("!!") };
        let kinds = kinds(&captured.frames);
        let found = if clean { "; no inner address, no ping, no iperf3 octet in clear" } else { "" };
        self.line(&format!("  {mark}  wire      {} frames captured: {kinds}{found}\n", captured.total()));
        for finding in &captured.findings {
            self.line(&format!("      {finding}"));
        }
    }

    pub fn table(&mut self, sample: &Sample, before: &Sample, census: Option<&BTreeMap<FrameKind, u64>>) {
        let text = if self.live { self.drawn_table(sample, before, census) } else { plain_row(sample, before, census) };
        self.erase();
        self.line(text.trim_end_matches('\n'));
        if self.live {
            self.drawn = text.trim_end_matches('\n').lines().count();
        }
    }

    fn drawn_table(&self, sample: &Sample, before: &Sample, census: Option<&BTreeMap<FrameKind, u64>>) -> String {
        let heading = format!(
            "{:<6} {:<10} {:<12} {:>19} {:>15} {:>15} {:>12} {:>12} {:>6}",
            "", "tunnel", "suite", "SPI in, out", "in", "out", "packets in", "packets out", "age"
        );
        let mut text = self.bold(&heading) + "\n";
        for ((name, status), old) in NAMES.iter().zip(&sample.gateways).zip(&before.gateways) {
            for tunnel in &status.tunnels {
                let seconds = (sample.at - before.at).as_secs_f64();
                let [rate_in, rate_out] = rates(tunnel, old, seconds);
                let spis = [&tunnel.spi_in, &tunnel.spi_out]
                    .map(|spi| spi.clone().unwrap_or_else(|| "-".to_owned()))
                    .join(", ");
                let _ = writeln!(
                    text,
                    "{name:<6} {:<10} {:<12} {spis:>19} {rate_in:>15} {rate_out:>15} {:>12} {:>12} {:>5}s",
                    state(tunnel.state),
                    tunnel.suite.as_deref().unwrap_or("-"),
                    tunnel.packets_in,
                    tunnel.packets_out,
                    tunnel.age_seconds.unwrap_or(0),
                );
            }
            if !status.dataplane.alive {
                let _ = writeln!(text, "{name:<6} {}", self.red("the data plane is not running"));
            }
        }
        let wire = census.map_or_else(|| "capturing".to_owned(), kinds);
        let _ = writeln!(text, "{:<6} {wire}", "wan");
        text
    }

    pub fn verdict(&mut self, report: &WireReport, moved: u64) {
        self.drawn = 0;
        let (mark, words) = match (report.holds(), moved > 0) {
            (true, true) => (self.green("ok"), "traffic passed, and the wire showed nothing of it"),
            (true, false) => (self.red("!!"), "no traffic passed"),
            (false, _) => (self.red("!!"), "the wire showed what it must not show"),
        };
        let moved = moved as f64 / 1e6;
        let all = kinds(&report.counts);
        self.line(&format!("\n  {mark}  {words}: {moved:.1} MB through the tunnel; all frames on the wan: {all}"));
    }

    pub fn line(&mut self, text: &str) {
        // A reader that went away (`culvert demo | head`) is no reason to leave namespaces behind.
        let _ = writeln!(io::stdout(), "{text}");
        let _ = io::stdout().flush();
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            // Up to the table's first line, and clear to the end of the screen.
            let _ = write!(io::stdout(), "\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn red(&self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

const NAMES: [&str; 2] = ["gw-a", "gw-b"];

/// One line a second where nobody can redraw.
fn plain_row(sample: &Sample, before: &Sample, census: Option<&BTreeMap<FrameKind, u64>>) -> String {
    let mut text = format!("{:>4} s", sample.at.as_secs());
    let seconds = (sample.at - before.at).as_secs_f64();
    for ((name, status), old) in NAMES.iter().zip(&sample.gateways).zip(&before.gateways) {
        for tunnel in &status.tunnels {
            let [rate_in, rate_out] = rates(tunnel, old, seconds);
            let packets = (tunnel.packets_in, tunnel.packets_out);
            let _ = write!(
                text,
                "  {name} {} in {rate_in} out {rate_out} packets {}/{}",
                state(tunnel.state),
                packets.0,
                packets.1
            );
        }
    }
    if let Some(census) = census {
        let _ = write!(text, "  wan {}", kinds(census));
    }
    text
}

/// In and out, since the sample before; a rekeyed tunnel starts again at zero.
fn rates(tunnel: &Tunnel, before: &Status, seconds: f64) -> [String; 2] {
    let old = before.tunnels.iter().find(|old| old.child == tunnel.child && old.spi_in == tunnel.spi_in);
    let rate = |octets: fn(&Tunnel) -> u64| {
        let delta = octets(tunnel).saturating_sub(old.map_or(0, octets));
        bits(delta as f64 * 8.0 / seconds.max(0.001))
    };
    [rate(|t| t.bytes_in), rate(|t| t.bytes_out)]
}

fn bits(per_second: f64) -> String {
    match per_second {
        ..1e3 => format!("{per_second:.0} bit/s"),
        ..1e6 => format!("{:.1} kbit/s", per_second / 1e3),
        ..1e9 => format!("{:.1} Mbit/s", per_second / 1e6),
        _ => format!("{:.2} Gbit/s", per_second / 1e9),
    }
}

fn kinds(counts: &BTreeMap<FrameKind, u64>) -> String {
    let mut words: Vec<String> = Vec::new();
    for (kind, count) in counts {
        if *count > 0 || *kind == FrameKind::Other {
            words.push(format!("{} {count}", kind.name()));
        }
    }
    if !counts.contains_key(&FrameKind::Other) {
        words.push("other 0".to_owned());
    }
    words.join(", ")
}

fn state(state: TunnelState) -> &'static str {
    match state {
        TunnelState::Down => "down",
        TunnelState::Trapped => "trapped",
        TunnelState::Connecting => "connecting",
        TunnelState::Installed => "installed",
        TunnelState::Rekeying => "rekeying",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(bits(999.0), "999 bit/s");
        assert_eq!(bits(12_345_678.0), "12.3 Mbit/s");
        assert_eq!(bits(2.5e9), "2.50 Gbit/s");
        assert_eq!(kinds(&BTreeMap::from([(FrameKind::Esp, 3), (FrameKind::Arp, 0)])), "ESP 3, other 0");
    }

    #[test]
    fn a_rate_is_the_difference_of_the_same_sa() {
        let tunnel = |spi: &str, bytes_in| Tunnel {
            child: "lan".to_owned(),
            spi_in: Some(spi.to_owned()),
            bytes_in,
            ..Tunnel::default()
        };
        let before = Status { tunnels: vec![tunnel("c0000001", 1_000_000)], ..Status::default() };
        assert_eq!(rates(&tunnel("c0000001", 1_250_000), &before, 2.0)[0], "1.0 Mbit/s");
        assert_eq!(rates(&tunnel("c0000002", 500), &before, 1.0)[0], "4.0 kbit/s", "a new SA starts at zero");
    }
}
