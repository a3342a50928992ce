//! UDP datagrams of the box: IKE messages and NAT keepalives.

use core::net::SocketAddr;
use culvert_wire::nat_traversal::{KEEPALIVE, NAT_TRAVERSAL_PORT, NON_ESP_MARKER};
use culvert_wire::{ipv4, ipv6, protocol, udp};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    #[error("local and remote address are of different families")]
    MixedFamilies,
    #[error("{0} octets do not fit into a datagram")]
    TooLong(usize),
}

/// The IP packet of an IKE message, with the non-ESP marker where the local port is 4500 (RFC 7296 §2.23).
/// `identification` is for IPv4 and should count up: the packet may be fragmented on its way.
pub fn ike(
    local: SocketAddr,
    remote: SocketAddr,
    message: &[u8],
    identification: u16,
    out: &mut Vec<u8>,
) -> Result<(), DatagramError> {
    let marker: &[u8] = if local.port() == NAT_TRAVERSAL_PORT { &NON_ESP_MARKER } else { &[] };
    udp(local, remote, [marker, message], identification, out)
}

/// The IP packet of a NAT keepalive (RFC 3948 §2.3).
pub fn keepalive(
    local: SocketAddr,
    remote: SocketAddr,
    identification: u16,
    out: &mut Vec<u8>,
) -> Result<(), DatagramError> {
    udp(local, remote, [&KEEPALIVE, &[]], identification, out)
}

/// Replaces what `out` holds; after an error that is nothing.
fn udp(
    local: SocketAddr,
    remote: SocketAddr,
    parts: [&[u8]; 2],
    identification: u16,
    out: &mut Vec<u8>,
) -> Result<(), DatagramError> {
    out.clear();
    let payload_len: usize = parts.iter().map(|part| part.len()).sum();
    let too_long = DatagramError::TooLong(payload_len);
    // The smaller of both families' limits (IPv4 counts its header in).
    let length = u16::try_from(udp::LEN + payload_len).map_err(|_| too_long)?;
    if usize::from(length) > usize::from(u16::MAX) - ipv4::LEN {
        return Err(too_long);
    }
    match (local, remote) {
        (SocketAddr::V4(local), SocketAddr::V4(remote)) => {
            let header = ipv4::Repr::new(*local.ip(), *remote.ip(), protocol::UDP, length);
            out.extend_from_slice(&ipv4::Repr { identification, ..header }.to_bytes());
        }
        (SocketAddr::V6(local), SocketAddr::V6(remote)) => {
            out.extend_from_slice(&ipv6::Repr::new(*local.ip(), *remote.ip(), protocol::UDP, length).to_bytes());
        }
        _ => return Err(DatagramError::MixedFamilies),
    }
    let [first, second] = parts;
    let header_at = out.len();
    out.extend_from_slice(&[0; udp::LEN]);
    out.extend_from_slice(first);
    out.extend_from_slice(second);
    let payload = out.get(header_at + udp::LEN..).unwrap_or_default();
    let (source, destination) = ((local.ip(), local.port()), (remote.ip(), remote.port()));
    let header = udp::Repr::for_payload(source, destination, payload).ok_or(too_long)?;
    if let Some(room) = out.get_mut(header_at..header_at + udp::LEN) {
        room.copy_from_slice(&header.to_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_wire::nat_traversal::{Payload, classify};
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Source and destination with ports, UDP payload.
    fn parsed(packet: &[u8]) -> (SocketAddr, SocketAddr, Vec<u8>) {
        let (source, destination, bytes): (IpAddr, IpAddr, &[u8]) = match packet[0] >> 4 {
            4 => {
                let (header, payload) = ipv4::Header::parse(packet, ipv4::ChecksumMode::Verify).unwrap();
                assert_eq!(header.protocol(), protocol::UDP);
                (header.source().into(), header.destination().into(), payload)
            }
            _ => {
                let (header, payload) = ipv6::Header::parse(packet).unwrap();
                assert_eq!(header.next_header(), protocol::UDP);
                (header.source().into(), header.destination().into(), payload)
            }
        };
        let (header, payload) = udp::Repr::parse(bytes).unwrap();
        assert_eq!(usize::from(header.length), bytes.len());
        header.verify(source, destination, payload).unwrap();
        assert_ne!(header.checksum, 0);
        let source = SocketAddr::new(source, header.source_port);
        (source, SocketAddr::new(destination, header.destination_port), payload.to_vec())
    }

    #[test]
    fn the_marker_goes_by_the_local_port() {
        let mut out = vec![9; 5];
        let remote = at("198.51.100.7:4500");
        ike(at("192.0.2.1:500"), remote, b"message", 1, &mut out).unwrap();
        assert_eq!(parsed(&out), (at("192.0.2.1:500"), remote, b"message".to_vec()));
        ike(at("192.0.2.1:4500"), at("198.51.100.7:1024"), b"message", 1, &mut out).unwrap();
        assert_eq!(parsed(&out).2, b"\0\0\0\0message");
    }

    #[test]
    fn keepalives_are_keepalives() {
        let mut out = Vec::new();
        for (local, remote) in [("192.0.2.1:4500", "198.51.100.7:61000"), ("[2001:db8::1]:4500", "[2001:db8::7]:4500")]
        {
            keepalive(at(local), at(remote), 7, &mut out).unwrap();
            let (from, to, payload) = parsed(&out);
            assert_eq!((from, to), (at(local), at(remote)));
            assert_eq!(classify(&payload), Payload::Keepalive);
        }
    }

    #[test]
    fn what_cannot_be_sent_leaves_nothing() {
        let mut out = vec![1];
        let four = at("192.0.2.1:500");
        assert_eq!(ike(four, at("[::1]:500"), &[], 0, &mut out), Err(DatagramError::MixedFamilies));
        assert!(out.is_empty());
        let most = 65_535 - 20 - 8;
        assert_eq!(ike(four, four, &vec![0; most], 0, &mut out), Ok(()));
        assert_eq!(out.len(), 65_535);
        assert_eq!(ike(four, four, &vec![0; most + 1], 0, &mut out), Err(DatagramError::TooLong(most + 1)));
        let marked = at("192.0.2.1:4500");
        assert_eq!(ike(marked, four, &vec![0; most - 3], 0, &mut out), Err(DatagramError::TooLong(most + 1)));
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn come_out_as_they_went_in(six: bool, hosts: (u8, u8), ports: (u16, u16), id: u16,
                                    message in proptest::collection::vec(any::<u8>(), 0..300)) {
            let host = |n: u8| if six { format!("2001:db8::{n:x}") } else { format!("192.0.2.{n}") };
            let local = SocketAddr::new(host(hosts.0).parse().unwrap(), ports.0);
            let remote = SocketAddr::new(host(hosts.1).parse().unwrap(), ports.1);
            let mut out = Vec::new();
            ike(local, remote, &message, id, &mut out).unwrap();
            let marker: &[u8] = if ports.0 == 4500 { &[0; 4] } else { &[] };
            prop_assert_eq!(parsed(&out), (local, remote, [marker, &message].concat()));
        }
    }
}
