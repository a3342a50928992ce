//! NAT detection, RFC 7296 §2.23. SHA-1 is the protocol's choice; it hides nothing and proves nothing here.

use crate::message::{IkeSpi, Notify, NotifyType, Payload, Payloads};
use culvert_crypto::sha1;
use std::net::{IpAddr, SocketAddr};

fn hash(spi_i: IkeSpi, spi_r: IkeSpi, addr: SocketAddr) -> [u8; 20] {
    let of = |ip: &[u8]| sha1(&[&spi_i.0, &spi_r.0, ip, &addr.port().to_be_bytes()]);
    match addr.ip() {
        IpAddr::V4(ip) => of(&ip.octets()),
        IpAddr::V6(ip) => of(&ip.octets()),
    }
}

/// Our two notifications. `fake` makes the peer see a NAT before us, so that it encapsulates.
pub(crate) fn notifies(
    spi_i: IkeSpi,
    spi_r: IkeSpi,
    local: SocketAddr,
    remote: SocketAddr,
    fake: bool,
) -> [Payload; 2] {
    let mut source = hash(spi_i, spi_r, local);
    if fake {
        source.iter_mut().for_each(|b| *b = !*b);
    }
    [
        Payload::Notify(Notify::with_data(NotifyType::NatDetectionSourceIp, source.to_vec())),
        Payload::Notify(Notify::with_data(NotifyType::NatDetectionDestinationIp, hash(spi_i, spi_r, remote).to_vec())),
    ]
}

/// Which side has a NAT before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nat {
    pub local: bool,
    pub remote: bool,
}

impl Nat {
    /// §2.23: an end that is behind a NAT itself does not follow, because a false move would cut it off.
    pub fn may_be_followed(self) -> bool {
        self.remote && !self.local
    }

    pub fn any(self) -> bool {
        self.local || self.remote
    }
}

/// From the peer's notifications in IKE_SA_INIT; a peer that sends none does no NAT traversal.
pub(crate) fn detect(payloads: &[Payload], spi_i: IkeSpi, spi_r: IkeSpi, local: SocketAddr, remote: SocketAddr) -> Nat {
    let of = |kind| payloads.notifies().filter(move |n| n.kind == kind);
    let (mut sources, mut destinations) =
        (of(NotifyType::NatDetectionSourceIp).peekable(), of(NotifyType::NatDetectionDestinationIp).peekable());
    let (expected_source, expected_destination) = (hash(spi_i, spi_r, remote), hash(spi_i, spi_r, local));
    Nat {
        remote: sources.peek().is_some() && !sources.any(|n| n.data == expected_source),
        local: destinations.peek().is_some() && !destinations.any(|n| n.data == expected_destination),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_a_translated_side() {
        let (i, r) = (IkeSpi([1; 8]), IkeSpi([2; 8]));
        let addr = |t: &str| t.parse::<SocketAddr>().expect("address");
        let (a, b, nat) = (addr("192.0.2.1:500"), addr("198.51.100.7:500"), addr("203.0.113.9:1024"));
        let sent = notifies(i, r, a, b, false);
        assert_eq!(detect(&sent, i, r, b, a), Nat { local: false, remote: false });
        assert_eq!(detect(&sent, i, r, b, nat), Nat { local: false, remote: true });
        assert_eq!(detect(&sent, i, r, nat, a), Nat { local: true, remote: false });
        assert_eq!(detect(&notifies(i, r, a, b, true), i, r, b, a), Nat { local: false, remote: true });
        assert_eq!(detect(&[], i, r, b, nat), Nat::default());
    }
}
