use super::Failure;
use culvert_lab::{Process, TwoGateways, wait_for};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The payload of the pings, sixteen octets repeated; the wire must never show it.
pub const MARKER: [u8; 16] = *b"culvert-in-clear";
/// What iperf3 sends with --repeating-payload.
pub const IPERF_PAYLOAD: &[u8] = b"01234567890123456789";
const WARM_UP: Duration = Duration::from_secs(10);

/// Five marked echo requests from host-a, after a first one that finds the neighbours. Returns the mean round trip in
/// milliseconds.
pub fn ping(net: &TwoGateways, to: &str, stop: &AtomicBool) -> Result<String, Failure> {
    let pattern: String = MARKER.iter().map(|octet| format!("{octet:02x}")).collect();
    let line = |count: &'static str| {
        let pattern = pattern.clone();
        let to = to.to_owned();
        ["ping", "-n", "-q", "-i", "0.2", "-W", "1", "-s", "400", "-p", &pattern, "-c", count, &to].map(str::to_owned)
    };
    let send = |count| {
        let line = line(count);
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        net.a.host.output(&line, Duration::from_secs(10))
    };
    wait_for(&format!("an echo reply from {to} through the tunnel"), WARM_UP, || {
        let answered = send("1").is_ok_and(|output| output.status.success());
        (answered || stop.load(Ordering::Relaxed)).then_some(())
    })?;
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    let output = String::from_utf8_lossy(&send("5")?.stdout).into_owned();
    if !output.contains("5 received") {
        return Err(Failure::Said(format!("echo requests through the tunnel were lost:\n{output}")));
    }
    Ok(mean(&output).unwrap_or("?").to_owned())
}

/// The second of the four numbers of `rtt min/avg/max/mdev = 0.1/0.2/0.3/0.0 ms`.
fn mean(output: &str) -> Option<&str> {
    let numbers = output.lines().find(|line| line.starts_with("rtt "))?.split(" = ").nth(1)?;
    numbers.split('/').nth(1)
}

/// iperf3 from host-a to host-b, one TCP connection.
pub struct Load {
    client: Process,
    server: Process,
}

impl Load {
    pub fn start(net: &TwoGateways, duration: Option<u64>) -> Result<Self, Failure> {
        let server = net.b.host.spawn("iperf3-server", &["iperf3", "-s", "-1", "--forceflush"])?;
        wait_for("the start of iperf3's server", Duration::from_secs(5), || {
            server.log().contains("listening on").then_some(())
        })?;
        // It must not end before the demo does; 0 is without end.
        let time = duration.map_or(0, |seconds| seconds + 30).to_string();
        let line = ["iperf3", "-c", net.b.host4, "-t", &time, "--repeating-payload", "--forceflush"];
        let client = net.a.host.spawn("iperf3-client", &line)?;
        Ok(Self { client, server })
    }

    pub fn expect_running(&mut self) -> Result<(), Failure> {
        Ok(self.client.expect_running()?)
    }

    pub fn stop(mut self) {
        let _ = self.client.stop();
        let _ = self.server.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_round_trip_is_found() {
        let output = "5 packets transmitted, 5 received, 0% packet loss, time 806ms\n\
                      rtt min/avg/max/mdev = 0.211/0.345/0.523/0.104 ms\n";
        assert_eq!(mean(output), Some("0.345"));
        assert_eq!(mean("5 packets transmitted, 0 received"), None);
    }
}
