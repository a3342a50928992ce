//! `culvert status`: asks control for the status document and draws it.

use clap::Args;
use culvert_status::{Status, Tunnel, TunnelState};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(3);
const WATCH_PERIOD: Duration = Duration::from_secs(1);

#[derive(Args)]
pub struct StatusArgs {
    /// Print the JSON document (schema: docs/status.schema.json).
    #[arg(long)]
    json: bool,
    /// Redraw every second until interrupted.
    #[arg(long)]
    watch: bool,
    /// The run directory that `culvert run` was given.
    #[arg(long, default_value = "/run/culvert")]
    run_dir: PathBuf,
}

pub fn status(args: &StatusArgs) -> ExitCode {
    let mut before: Option<Status> = None;
    loop {
        let text = match fetch(&args.run_dir) {
            Ok(text) => text,
            Err(message) => {
                eprintln!("culvert: {message}");
                return ExitCode::FAILURE;
            }
        };
        let status: Status = match serde_json::from_str(&text) {
            Ok(status) => status,
            Err(error) => {
                eprintln!("culvert: control answered something that is no status document: {error}");
                return ExitCode::FAILURE;
            }
        };
        let shown = if args.json { text.trim_end().to_owned() + "\n" } else { render(&status, before.as_ref()) };
        if args.watch && !args.json && io::stdout().is_terminal() {
            print!("\x1b[H\x1b[2J");
        }
        // A closed pipe (`culvert status | head`) is the reader's choice, not an error.
        if io::stdout().write_all(shown.as_bytes()).is_err() || !args.watch {
            return ExitCode::SUCCESS;
        }
        let _ = io::stdout().flush();
        before = Some(status);
        std::thread::sleep(WATCH_PERIOD);
    }
}

/// The document's text, over HTTP/1.0 on control's Unix socket.
pub fn fetch(run_dir: &Path) -> Result<String, String> {
    let path = run_dir.join("control.sock");
    let explain = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "no gateway answers at {}; is `culvert run` running, with this --run-dir? Its log tells why if it ended",
            path.display()
        ),
        io::ErrorKind::PermissionDenied => format!("{}: permission denied; run as root", path.display()),
        _ => format!("{}: {e}", path.display()),
    };
    let mut stream = UnixStream::connect(&path).map_err(explain)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(explain)?;
    stream.write_all(b"GET /v1/status HTTP/1.0\r\n\r\n").map_err(explain)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(explain)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("control answered no HTTP")?;
    let line = head.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) == Some("200") { Ok(body.to_owned()) } else { Err(format!("control answered {line}")) }
}

/// The document for a person; `before` (a second ago) turns counters into rates.
fn render(status: &Status, before: Option<&Status>) -> String {
    let mut out = format!(
        "culvert {} · control up {} · data plane {}\n\n",
        status.version,
        duration(status.uptime_seconds),
        if status.dataplane.alive { "running" } else { "NOT RUNNING" },
    );
    out += &tunnels(status, before);
    if !status.ike_sas.is_empty() {
        let rows = status.ike_sas.iter().map(|sa| {
            vec![
                sa.connection.clone(),
                sa.state.clone(),
                format!("{} … {}", sa.local, sa.remote),
                sa.remote_id.clone(),
                sa.proposal.clone(),
                duration(sa.age_seconds),
                sa.rekey_in_seconds.map_or_else(|| "-".into(), duration),
            ]
        });
        out += &table(&["IKE SA", "state", "addresses", "peer id", "proposal", "age", "rekey in"], rows);
    }
    let ports = status.ports.iter().map(|port| {
        let counter = |name: &str| port.counters.get(name).copied().unwrap_or(0);
        vec![
            port.name.clone(),
            port.device.clone(),
            if port.up { "up" } else { "down" }.to_owned(),
            counter("rx_packets").to_string(),
            counter("tx_packets").to_string(),
            (counter("rx_missed") + counter("rx_errors") + counter("rx_no_buffer")).to_string(),
        ]
    });
    out += &table(&["port", "device", "link", "received", "sent", "lost at the port"], ports);
    let workers = status.workers.iter().map(|worker| {
        let counter = |name: &str| worker.counters.get(name).copied().unwrap_or(0);
        let busy = 100.0 * counter("busy_cycles") as f64 / counter("total_cycles").max(1) as f64;
        vec![
            worker.core.to_string(),
            format!("{busy:.1} %"),
            counter("rx_packets").to_string(),
            counter("tx_packets").to_string(),
        ]
    });
    out += &table(&["core", "busy", "received", "sent"], workers);
    if status.drops.is_empty() {
        out += "no packet was dropped\n";
    } else {
        let drops = status.drops.iter().map(|(reason, count)| vec![reason.clone(), count.to_string()]);
        out += &table(&["dropped because", "packets"], drops);
    }
    out
}

fn tunnels(status: &Status, before: Option<&Status>) -> String {
    let rows = status.tunnels.iter().map(|t| {
        let rate = |bytes: fn(&Tunnel) -> u64| {
            let old = before.and_then(|b| b.tunnels.iter().find(|o| o.spi_in == t.spi_in && o.child == t.child));
            old.map_or_else(|| octets(bytes(t)), |o| format!("{}/s", octets(bytes(t).saturating_sub(bytes(o)))))
        };
        let addresses = match (&t.local, &t.remote) {
            (Some(local), Some(remote)) => format!("{local} … {remote}"),
            _ => "-".to_owned(),
        };
        vec![
            format!("{}/{}", t.connection, t.child),
            state(t.state).to_owned(),
            addresses,
            format!("{} ⇄ {}", t.local_ts.join(" "), t.remote_ts.join(" ")),
            protection(t),
            format!("{} pkt, {}", t.packets_in, rate(|t| t.bytes_in)),
            format!("{} pkt, {}", t.packets_out, rate(|t| t.bytes_out)),
            t.age_seconds.map_or_else(|| "-".into(), duration),
            t.rekey_in_seconds.map_or_else(|| "-".into(), duration),
        ]
    });
    let mut out = table(&["tunnel", "state", "outer", "inner", "suite", "in", "out", "age", "rekey in"], rows);
    for t in &status.tunnels {
        if let Some(error) = &t.last_error {
            out += &format!("  {}/{}: {error}\n", t.connection, t.child);
        }
    }
    out
}

/// ESP in tunnel mode goes without saying.
fn protection(tunnel: &Tunnel) -> String {
    let Some(suite) = &tunnel.suite else { return "-".into() };
    let protocol = tunnel.protocol.as_ref().filter(|protocol| *protocol != "ESP");
    let mode = tunnel.mode.as_ref().filter(|mode| *mode != "tunnel");
    let words = [protocol, Some(suite), mode].into_iter().flatten();
    words.map(String::as_str).collect::<Vec<_>>().join(" ")
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

/// Columns as wide as their widest cell.
fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut header.iter().copied());
    for row in &rows {
        out += &line(&mut row.iter().map(String::as_str));
    }
    out + "\n"
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

fn octets(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_and_its_reason_are_shown() {
        let status = Status {
            version: "0.1.0".into(),
            tunnels: vec![Tunnel {
                connection: "branch".into(),
                child: "lan".into(),
                last_error: Some("peer 192.0.2.2 did not answer IKE_SA_INIT".into()),
                local_ts: vec!["10.1.0.0/16".into()],
                remote_ts: vec!["10.2.0.0/16".into()],
                ..Tunnel::default()
            }],
            ..Status::default()
        };
        let text = render(&status, None);
        assert!(text.contains("branch/lan  down"), "{text}");
        assert!(text.contains("did not answer IKE_SA_INIT"), "{text}");
        assert!(text.contains("data plane NOT RUNNING"), "{text}");
    }

    #[test]
    fn what_is_not_esp_in_tunnel_mode_is_said() {
        let tunnel = |protocol: &str, mode: &str| Tunnel {
            suite: Some("sha256".into()),
            protocol: Some(protocol.into()),
            mode: Some(mode.into()),
            ..Tunnel::default()
        };
        assert_eq!(protection(&Tunnel::default()), "-");
        assert_eq!(protection(&tunnel("ESP", "tunnel")), "sha256");
        assert_eq!(protection(&tunnel("AH", "transport")), "AH sha256 transport");
        // A control process of before tells neither.
        assert_eq!(protection(&Tunnel { protocol: None, mode: None, ..tunnel("ESP", "tunnel") }), "sha256");
    }

    #[test]
    fn rates_come_from_two_documents() {
        let at = |bytes_in| Status {
            tunnels: vec![Tunnel { spi_in: Some("c0000001".into()), bytes_in, ..Tunnel::default() }],
            ..Status::default()
        };
        assert!(render(&at(2_501_000), Some(&at(1_000))).contains("2.5 MB/s"));
    }

    #[test]
    fn units() {
        assert_eq!(octets(999), "999 B");
        assert_eq!(octets(1_500_000), "1.5 MB");
        assert_eq!(duration(3_700), "1h01m");
    }
}
