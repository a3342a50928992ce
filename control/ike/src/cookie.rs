//! Cookies for initiators under load, RFC 7296 §2.6: version | prf(secret, Ni | address | SPIi).

use crate::message::IkeSpi;
use core::time::Duration;
use culvert_crypto::{Provider, constant_time_eq};
use culvert_model::Prf;
use std::{net::SocketAddr, time::Instant};

const LIFE: Duration = Duration::from_secs(60);

struct Secret {
    version: u8,
    key: [u8; 32],
}

/// The secret of the moment and the one before it.
#[derive(Default)]
pub(crate) struct Cookies {
    current: Option<(Secret, Instant)>,
    previous: Option<Secret>,
}

impl Cookies {
    /// `None` if there is no randomness.
    pub fn make(
        &mut self,
        now: Instant,
        provider: &dyn Provider,
        remote: SocketAddr,
        spi: IkeSpi,
        nonce: &[u8],
    ) -> Option<Vec<u8>> {
        let stale = self.current.as_ref().is_none_or(|(_, since)| now.saturating_duration_since(*since) > LIFE);
        if stale {
            let mut key = [0; 32];
            provider.random(&mut key).ok()?;
            let version = self.current.as_ref().map_or(0, |(s, _)| s.version.wrapping_add(1));
            self.previous = self.current.take().map(|(secret, _)| secret);
            self.current = Some((Secret { version, key }, now));
        }
        self.current.as_ref().map(|(secret, _)| secret.cookie(provider, remote, spi, nonce))
    }

    pub fn verify(
        &self,
        provider: &dyn Provider,
        remote: SocketAddr,
        spi: IkeSpi,
        nonce: &[u8],
        cookie: &[u8],
    ) -> bool {
        let secrets = self.current.iter().map(|(s, _)| s).chain(&self.previous);
        secrets.into_iter().any(|s| constant_time_eq(&s.cookie(provider, remote, spi, nonce), cookie))
    }
}

impl Secret {
    fn cookie(&self, provider: &dyn Provider, remote: SocketAddr, spi: IkeSpi, nonce: &[u8]) -> Vec<u8> {
        let address = remote.to_string();
        let mac = provider.prf(Prf::HmacSha256, &self.key, &[nonce, address.as_bytes(), &spi.0]);
        let mut cookie = vec![self.version];
        cookie.extend_from_slice(mac.expose());
        cookie
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_crypto::testing::Fixed;

    #[test]
    fn bound_to_address_spi_and_nonce_and_time() {
        #[expect(clippy::disallowed_methods, reason = "an origin for the test's time")]
        let start = Instant::now();
        let (provider, mut cookies) = (Fixed::new(1), Cookies::default());
        let remote: SocketAddr = "192.0.2.1:500".parse().expect("address");
        let (spi, nonce) = (IkeSpi([1; 8]), [7u8; 16]);
        let cookie = cookies.make(start, &provider, remote, spi, &nonce).expect("random");
        let good = |c: &Cookies| c.verify(&provider, remote, spi, &nonce, &cookie);
        assert!(good(&cookies));
        assert!(!cookies.verify(&provider, "192.0.2.2:500".parse().expect("address"), spi, &nonce, &cookie));
        assert!(!cookies.verify(&provider, remote, IkeSpi([2; 8]), &nonce, &cookie));
        assert!(!cookies.verify(&provider, remote, spi, &[8; 16], &cookie));
        assert!(!cookies.verify(&provider, remote, spi, &nonce, &[]));
        let _ = cookies.make(start + LIFE * 2, &provider, remote, spi, &nonce);
        assert!(good(&cookies), "the previous secret still counts");
        let _ = cookies.make(start + LIFE * 4, &provider, remote, spi, &nonce);
        assert!(!good(&cookies), "two secrets later it does not");
    }
}
