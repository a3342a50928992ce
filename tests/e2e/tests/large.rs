//! Datagrams of some 60,000 octets, in fragments all the way.

use culvert_e2e::{Kind, LabError, Plans, Scenario, Setup, scenario};
use culvert_lab::{Driver, Namespace};
use std::io;
use std::net::UdpSocket;
use std::time::Duration;

const LEN: usize = 60_000;

fn failed(what: &str, error: &io::Error) -> LabError {
    LabError::Status(format!("{what}: {error}"))
}

/// Four large echo requests; every one must be answered.
fn large_ping(from: &Namespace, to: &str) -> Result<(), LabError> {
    let line = ["ping", "-n", "-q", "-c", "4", "-i", "0.2", "-W", "2", "-s", "60000", to];
    let text = from.run_for(&line, Duration::from_secs(15))?;
    if text.contains("4 received") { Ok(()) } else { Err(LabError::Status(text)) }
}

/// Does a large datagram to this port arrive as it was sent?
fn datagram_arrives(from: &Namespace, to: &Namespace, address: &str, port: u16) -> Result<bool, LabError> {
    let receiver = to.enter(|| UdpSocket::bind(("::", port)))?.map_err(|e| failed("bind", &e))?;
    receiver.set_read_timeout(Some(Duration::from_secs(2))).map_err(|e| failed("a timeout", &e))?;
    let sent: Vec<u8> = (0..LEN).map(|at| (at ^ at >> 8) as u8).collect();
    let send = || {
        let any = if address.contains(':') { "::" } else { "0.0.0.0" };
        UdpSocket::bind((any, 0))?.send_to(&sent, (address, port))
    };
    from.enter(send)?.map_err(|e| failed("send", &e))?;
    let mut got = vec![0; LEN + 1];
    match receiver.recv(&mut got) {
        Ok(len) => Ok(got.get(..len) == Some(&sent[..])),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
        Err(error) => Err(failed("receive", &error)),
    }
}

/// Every frame as it is; and a policy that asks for ports, so that fragments wait for each other.
fn plan(plans: &mut Plans, fragment: &str) {
    plans.child(|child| child.fragment = Some(fragment.to_owned()));
    for plan in [&mut plans.a, &mut plans.b] {
        plan.driver = Driver::Pcap;
    }
    // net_pcap makes hardware addresses by counting: the two ends of the wan must not be both the second.
    plans.b.ports.reverse();
    plans.a.more = "[[policy]]\nname = \"never\"\naction = \"discard\"\nlocal_ts = [\"10.1.0.0/16\", \
                    \"fd00:1::/64\"]\nremote_ts = [\"0.0.0.0/0[udp/7009]\", \"::/0[udp/7009]\"]\n"
        .to_owned();
}

/// Between hosts. What the box itself answers leaves in one burst, of which `net_pcap` takes the first frames only: the
/// engine's own tests have that.
fn large_both_ways(s: &Scenario) -> Result<(), LabError> {
    let (a, b) = (&s.net.a, &s.net.b);
    for (from, to) in [(a, b), (b, a)] {
        large_ping(&from.host, to.host4)?;
        large_ping(&from.host, to.host6)?;
    }
    for (address, port, arrives) in
        [(b.host4, 7001, true), (b.host6, 7001, true), (b.host4, 7009, false), (b.host6, 7009, false)]
    {
        assert_eq!(datagram_arrives(&a.host, &b.host, address, port)?, arrives, "{address} {port}");
    }
    Ok(())
}

/// What both gateways dropped, beside what went wrong.
fn with_drops(s: &mut Scenario, error: &LabError) -> LabError {
    let drops = [&mut s.a, &mut s.b].map(|gateway| gateway.culvert().status().map(|status| status.drops));
    LabError::Status(format!("{error}; drops of A and B: {drops:?}"))
}

#[test]
fn large_datagrams_pass_cut_before_or_after_sealing() {
    for fragment in ["before", "after"] {
        scenario(
            Setup::new(Kind::Culvert, Kind::Culvert),
            |plans| plan(plans, fragment),
            |s| {
                s.connect()?;
                s.ping_all()?;
                if let Err(error) = large_both_ways(s) {
                    return Err(with_drops(s, &error));
                }
                let drops = s.b.culvert().status()?.drops;
                let of = |reason: &str| drops.get(reason).copied().unwrap_or(0);
                assert_eq!((of("no_large_buffer"), of("fragment_oversized"), of("oversized")), (0, 0, 0), "{drops:?}");
                Ok(())
            },
        );
    }
}
