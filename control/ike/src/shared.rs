//! What all IKE SAs of an endpoint share.

use crate::child::Lane;
use crate::{
    ComputeJob, ComputeToken, Config, Datagram, DownReason, FailureReason, Output, Report, Step, api::Work,
    child::ChildSa, cookie::Cookies, directory::Directory, hashing::OwnMap, message::IkeSpi, sa::IkeSa, sad::Sad,
};
use core::time::Duration;
use culvert_crypto::{CryptoError, Provider};
use culvert_model::{Identity, SecretKey, SlotIndex};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};
use zeroize::{Zeroize, Zeroizing};

/// An IKE SA within this endpoint; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SaId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// What an IKE SA's step means for other IKE SAs; the endpoint does it after the step.
pub(crate) enum Deferred {
    Established {
        sa: SaId,
        initial_contact: bool,
    },
    /// An IKE SA as initiator did not come about.
    InitiationFailed {
        sa: SaId,
        conn: usize,
        child: Option<usize>,
        step: Step,
        reason: FailureReason,
    },
    /// A Child SA did not come about on an IKE SA that stands.
    ChildFailed {
        conn: usize,
        child: usize,
        peer: SocketAddr,
        step: Step,
        reason: FailureReason,
    },
    Reselect(Lane),
    Retire {
        child: Box<ChildSa>,
        conn: usize,
        reason: DownReason,
    },
    Adopt(Box<IkeSa>),
}

pub(crate) struct Core {
    pub config: Config,
    pub directory: Directory,
    pub provider: Arc<dyn Provider>,
    pub sad: Sad,
    pub outputs: VecDeque<Output>,
    pub deferred: VecDeque<Deferred>,
    pub cookies: Cookies,
    pub computes: BTreeMap<ComputeToken, SaId>,
    /// The outbound SA of each child, or of each of its values, by its slot.
    pub current: OwnMap<Lane, SlotIndex>,
    pub shutdown: bool,
    /// How many established IKE SAs each connection has, by its place.
    established: Vec<u32>,
    next: u64,
    randomness: Randomness,
}

/// Octets drawn and not yet used: what is drawn is drawn for nonces, SPIs and pauses, a few octets at a time, and each
/// draw of its own would cost more than the octets. Nothing of it is secret once it is used, and all of it is wiped.
struct Randomness {
    octets: Zeroizing<[u8; RANDOMNESS]>,
    left: usize,
}

const RANDOMNESS: usize = 512;

impl Randomness {
    fn take<const N: usize>(&mut self, provider: &dyn Provider) -> Result<[u8; N], CryptoError> {
        const { assert!(N <= RANDOMNESS) };
        if self.left < N {
            provider.random(self.octets.as_mut_slice())?;
            self.left = RANDOMNESS;
        }
        let mut out = [0; N];
        if let Some(fresh) = self.octets.get_mut(self.left - N..self.left) {
            out.copy_from_slice(fresh);
            fresh.zeroize();
        }
        self.left -= N;
        Ok(out)
    }
}

impl Core {
    pub fn new(config: Config, provider: Arc<dyn Provider>, sad: Sad) -> Self {
        Self {
            directory: Directory::new(&config.connections, &config.secrets),
            current: OwnMap::with_capacity_and_hasher(config.connections.len(), Default::default()),
            config,
            provider,
            sad,
            outputs: VecDeque::new(),
            deferred: VecDeque::new(),
            cookies: Cookies::default(),
            computes: BTreeMap::new(),
            shutdown: false,
            established: Vec::new(),
            next: 1,
            randomness: Randomness { octets: Zeroizing::new([0; RANDOMNESS]), left: 0 },
        }
    }

    /// Is there an established IKE SA for the connection?
    pub fn has_peer(&self, conn: Option<usize>) -> bool {
        conn.and_then(|c| self.established.get(c)).is_some_and(|count| *count > 0)
    }

    pub fn gained_peer(&mut self, conn: usize) {
        if self.established.len() <= conn {
            self.established.resize(conn + 1, 0);
        }
        if let Some(count) = self.established.get_mut(conn) {
            *count += 1;
        }
    }

    pub fn lost_peer(&mut self, conn: usize) {
        if let Some(count) = self.established.get_mut(conn) {
            *count -= 1;
        }
    }

    /// The key for a pair of identities.
    pub fn psk(&self, local: &Identity, remote: &Identity) -> Option<&SecretKey> {
        self.config.psk(self.directory.secrets(local, remote), local, remote)
    }

    /// A number that was not given before.
    pub fn unique(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn random<const N: usize>(&mut self) -> Result<[u8; N], FailureReason> {
        self.randomness.take(&*self.provider).map_err(FailureReason::KeyExchange)
    }

    pub fn spi(&mut self) -> Result<IkeSpi, FailureReason> {
        loop {
            let spi = IkeSpi(self.random()?);
            if !spi.is_zero() {
                return Ok(spi);
            }
        }
    }

    /// A random part of `most`.
    pub fn jitter(&mut self, most: Duration) -> Duration {
        let part = self.random::<4>().map_or(0, u32::from_be_bytes);
        most.mul_f64(f64::from(part) / f64::from(u32::MAX))
    }

    /// When something with this period is due, less its jitter; zero is never.
    pub fn due(&mut self, now: Instant, period: Duration, rand: Duration) -> Option<Instant> {
        (!period.is_zero()).then(|| now + period.saturating_sub(self.jitter(rand.min(period / 2))))
    }

    pub fn transmit(&mut self, path: Path, payload: Vec<u8>) {
        self.outputs.push_back(Output::Transmit(Datagram { local: path.local, remote: path.remote, payload }));
    }

    pub fn report(&mut self, report: Report) {
        self.outputs.push_back(Output::Report(report));
    }

    pub fn compute(&mut self, sa: SaId, work: Work) -> ComputeToken {
        let token = ComputeToken(self.unique());
        self.computes.insert(token, sa);
        self.outputs.push_back(Output::Compute(ComputeJob { token, work }));
        token
    }

    pub fn connection_name(&self, conn: usize) -> String {
        self.config.connections.get(conn).map_or_else(String::new, |c| c.name.clone())
    }
}
