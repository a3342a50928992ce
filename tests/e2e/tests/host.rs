//! The host interface: programs of the gateway's own machine behind the gateway's addresses.

use culvert_e2e::{Kind, LabError, Plans, Scenario, Setup, ping, scenario};
use culvert_lab::{Namespace, wait_for};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// More than any buffer on the way.
const LARGE: usize = 2 << 20;
const LIMIT: Duration = Duration::from_secs(20);

fn failed(what: &str, error: io::Error) -> LabError {
    LabError::Status(format!("{what}: {error}"))
}

/// A server in `inside` that sends back what it gets.
fn echo_server(inside: &Namespace, port: u16) -> Result<(), LabError> {
    let listener = inside.enter(|| TcpListener::bind(("::", port)))?.map_err(|e| failed("bind", e))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &stream, &mut &stream).and_then(|_| stream.shutdown(Shutdown::Both)));
        }
    });
    Ok(())
}

/// Sends so many octets there and gets as many back.
fn converse(from: &Namespace, to: SocketAddr, octets: usize) -> Result<(), LabError> {
    let what = format!("{} octets from {} to {to} and back", octets, from.name());
    let talk = || -> io::Result<usize> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                (&stream).write_all(&vec![0x5a; octets])?;
                stream.shutdown(Shutdown::Write)
            });
            let mut got = Vec::new();
            (&stream).read_to_end(&mut got)?;
            writer.join().expect("the writer does not panic")?;
            Ok(got.iter().filter(|octet| **octet == 0x5a).count())
        })
    };
    match from.enter(talk)?.map_err(|error| failed(&what, error))? {
        got if got == octets => Ok(()),
        got => Err(LabError::Status(format!("{what}: {got} came back"))),
    }
}

fn with_host(plans: &mut Plans) {
    plans.a.more = "[host]\ninterface = \"culvert0\"\n[[policy]]\nname = \"never\"\naction = \"discard\"\nlocal_ts = \
                    [\"10.1.0.1[tcp/7003]\"]\nremote_ts = [\"0.0.0.0/0\"]\n"
        .to_owned();
}

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address and a port")
}

/// Hosts whose own mtu hides nothing.
fn full_frames(s: &Scenario) -> Result<(), LabError> {
    for host in [&s.net.a.host, &s.net.b.host] {
        host.ip(&["link", "set", "eth0", "mtu", "1500"])?;
    }
    Ok(())
}

#[test]
fn programs_of_the_gateway_are_reached_in_clear_and_through_the_tunnel() {
    scenario(Setup::new(Kind::Culvert, Kind::Culvert), with_host, |s| {
        s.connect()?;
        full_frames(s)?;
        let gateway = s.net.a.gateway.clone();
        for port in [7002, 7003] {
            echo_server(&gateway, port)?;
        }
        echo_server(&s.net.b.host, 7002)?;
        // In clear: from the lan, at either of its addresses.
        for address in ["10.1.0.1:7002", "[fd00:1::1]:7002", "192.0.2.1:7002", "[2001:db8::1]:7002"] {
            converse(&s.net.a.host, at(address), LARGE)?;
        }
        // Through the tunnel, in packets that are too large for it at first.
        let before = s.a.wait_child("lan")?;
        for address in ["10.1.0.1:7002", "[fd00:1::1]:7002"] {
            converse(&s.net.b.host, at(address), LARGE)?;
        }
        let after = s.a.wait_child("lan")?;
        let least = (2 * LARGE / 1500) as u64;
        assert!(after.packets_in >= before.packets_in + least && after.packets_out >= before.packets_out + least);
        assert!(s.a.culvert().drops("too_big")? > 0, "the stack was told what the tunnel takes");

        // What the machine begins, from an address that the tunnel takes.
        let line = ["ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "2", "-I", "10.1.0.1", s.net.b.host4];
        gateway.run_for(&line, LIMIT)?;
        ping(&gateway, s.net.a.host4)?;

        // A policy forbids one port.
        assert!(converse(&s.net.a.host, at("10.1.0.1:7003"), 1).is_err());
        assert!(s.a.culvert().drops("policy_discard")? > 0);
        assert_eq!(s.a.culvert().drops("host_unsupported")?, 0);
        // Where there is no host interface, nobody answers.
        assert!(converse(&s.net.b.host, at("10.2.0.1:7002"), 1).is_err());
        assert!(s.b.culvert().drops("host_unsupported")? > 0);
        Ok(())
    });
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    scenario(Setup::new(Kind::Culvert, Kind::Culvert), with_host, |s| {
        s.a.start()?;
        let gateway = s.net.a.gateway.clone();
        // A machine with a way of its own to everywhere.
        gateway.ip(&["link", "add", "own", "type", "veth", "peer", "name", "nowhere"])?;
        gateway.ip(&["link", "set", "own", "up"])?;
        gateway.ip(&["address", "add", "203.0.113.1/24", "dev", "own"])?;
        gateway.ip(&["route", "add", "default", "via", "203.0.113.254"])?;
        echo_server(&gateway, 7002)?;
        converse(&s.net.a.host, at("192.0.2.1:7002"), 1000)?;
        let server = gateway.enter(|| UdpSocket::bind("10.1.0.1:7004"))?.map_err(|e| failed("bind", e))?;
        let client = s.net.a.host.enter(|| UdpSocket::bind("0.0.0.0:0"))?.map_err(|e| failed("bind", e))?;
        let exchange = || -> io::Result<SocketAddr> {
            client.set_read_timeout(Some(LIMIT))?;
            server.set_read_timeout(Some(LIMIT))?;
            client.send_to(b"question", "10.1.0.1:7004")?;
            let (len, from) = server.recv_from(&mut [0; 64])?;
            server.send_to(&b"answers!"[..len], from)?;
            client.recv_from(&mut [0; 64]).map(|(_, from)| from)
        };
        assert_eq!(exchange().map_err(|e| failed("exchange", e))?, at("10.1.0.1:7004"));
        // The way to the lan is the gateway's too, though it is no neighbour of the machine's.
        ping(&gateway, s.net.a.host4)?;

        // With the gateway go its addresses and rules.
        let rules = || gateway.ip(&["rule", "show"]);
        assert!(rules()?.contains("from 10.1.0.1 lookup 500"), "{}", rules()?);
        s.a.terminate()?;
        wait_for("the end of the rules", Duration::from_secs(5), || {
            rules().is_ok_and(|rules| !rules.contains("lookup 500")).then_some(())
        })?;
        assert!(!gateway.ip(&["address", "show"])?.contains("culvert0"));
        // What a killed one has left does not hinder the next.
        s.a.start()?;
        converse(&s.net.a.host, at("192.0.2.1:7002"), 1000)?;
        s.a.culvert().inner.kill_plane("culvert-dataplane")?;
        wait_for("the next data plane", LIMIT, || converse(&s.net.a.host, at("192.0.2.1:7002"), 1000).ok())?;
        assert_eq!(rules()?.matches("lookup 500").count(), 2, "{}", rules()?);
        Ok(())
    });
}
