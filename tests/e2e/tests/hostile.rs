//! Frames from hell, and what the metrics say about them.

use culvert_e2e::{Kind, LabError, Scenario, Setup, scenario};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PAIR: Setup = Setup::new(Kind::Culvert, Kind::Culvert);

/// The Ethernet address of gateway A's outer port, as its kernel interface has it.
fn mac_of_a(s: &Scenario) -> Result<String, LabError> {
    let line = s.net.a.gateway.ip(&["-br", "link", "show", "wan"])?;
    let mac = line.split_whitespace().find(|word| word.matches(':').count() == 5);
    mac.map(str::to_owned).ok_or(LabError::Status(line))
}

#[test]
fn garbage_is_dropped_by_name_and_harms_nobody() {
    scenario(
        PAIR,
        |_| {},
        |s| {
            s.connect()?;
            let pids = s.a.culvert().inner.pids();
            let spi = s.a.wait_child("lan")?.spi_in;
            let stream = s.stream_b_to_a(300)?;
            let mac = mac_of_a(s)?;
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/garbage.py");
            for seed in ["1", "2", "3"] {
                let line = ["python3", script, s.net.wan_port(), &mac, s.net.a.wan4, seed];
                s.net.wan.run_for(&line, Duration::from_secs(20))?;
            }
            let received = stream.stop();
            // The machine is small and the burst is large: the stream may lose, but must go on.
            assert!(received.lost() * 20 < received.sent, "{received:?}");
            s.ping_all()?;
            assert_eq!(s.a.culvert().inner.pids(), pids, "no process died");
            assert_eq!(s.a.wait_child("lan")?.spi_in, spi, "the tunnel is the same");

            let drops = s.a.culvert().status()?.drops;
            for reason in [
                "truncated",
                "bad_ethertype",
                "ipv4_header",
                "ipv4_checksum",
                "unknown_spi",
                "inbound_clear",
                "ike_malformed",
                "bad_arp",
                "udp_malformed",
            ] {
                assert!(drops.get(reason).is_some_and(|count| *count > 0), "{reason} was not counted: {drops:?}");
            }
            assert!(drops.values().sum::<u64>() > 1500, "{drops:?}");
            Ok(())
        },
    );
}

/// `GET /metrics` from inside the gateway's namespace.
fn metrics(s: &Scenario) -> Result<String, LabError> {
    let fetch = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:9469")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = s.net.a.gateway.enter(fetch)?.map_err(|error| LabError::Status(format!("/metrics: {error}")))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| LabError::Status(answer.clone()))?;
    assert!(head.starts_with("HTTP/1.") && head.contains(" 200 "), "{head}");
    Ok(body.to_owned())
}

#[test]
fn metrics_pass_promtool_and_grow() {
    scenario(
        PAIR,
        |_| {},
        |s| {
            s.connect()?;
            let packets = |text: &str| -> f64 {
                let series = text.lines().filter(|line| line.starts_with("culvert_child_sa_packets_total{"));
                series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
            };
            let before = packets(&metrics(s)?);
            s.ping_all()?;
            let text = metrics(s)?;
            assert!(packets(&text) >= before + 40.0, "{before} before, now:\n{text}");
            let file = s.net.lab.directory().join("metrics.txt");
            std::fs::write(&file, &text).expect("the lab's directory is writable");
            let check = format!("promtool check metrics < {}", file.display());
            culvert_lab::run(&["sh", "-c", &check]).map(drop)
        },
    );
}
