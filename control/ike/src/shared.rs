//! What all IKE SAs of an endpoint share.

use crate::child::Lane;
use crate::{
    ComputeJob, ComputeToken, Config, Datagram, DownReason, FailureReason, Output, Report, Step, api::Work,
    child::ChildSa, cookie::Cookies, directory::Directory, message::IkeSpi, sa::IkeSa, sad::Sad,
};
use core::time::Duration;
use culvert_crypto::Provider;
use culvert_model::{Identity, SecretKey, SlotIndex};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

/// An IKE SA within this endpoint; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    pub current: BTreeMap<Lane, SlotIndex>,
    pub shutdown: bool,
    /// Connections with established IKE SAs, and how many.
    established: BTreeMap<usize, u32>,
    next: u64,
}

impl Core {
    pub fn new(config: Config, provider: Arc<dyn Provider>, sad: Sad) -> Self {
        Self {
            directory: Directory::new(&config.connections, &config.secrets),
            config,
            provider,
            sad,
            outputs: VecDeque::new(),
            deferred: VecDeque::new(),
            cookies: Cookies::default(),
            computes: BTreeMap::new(),
            current: BTreeMap::new(),
            shutdown: false,
            established: BTreeMap::new(),
            next: 1,
        }
    }

    /// Is there an established IKE SA for the connection?
    pub fn has_peer(&self, conn: Option<usize>) -> bool {
        conn.is_some_and(|c| self.established.contains_key(&c))
    }

    pub fn gained_peer(&mut self, conn: usize) {
        *self.established.entry(conn).or_default() += 1;
    }

    pub fn lost_peer(&mut self, conn: usize) {
        if let Some(count) = self.established.get_mut(&conn) {
            *count -= 1;
            if *count == 0 {
                self.established.remove(&conn);
            }
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

    pub fn random<const N: usize>(&self) -> Result<[u8; N], FailureReason> {
        let mut out = [0; N];
        self.provider.random(&mut out).map_err(FailureReason::KeyExchange)?;
        Ok(out)
    }

    pub fn spi(&self) -> Result<IkeSpi, FailureReason> {
        loop {
            let spi = IkeSpi(self.random()?);
            if !spi.is_zero() {
                return Ok(spi);
            }
        }
    }

    /// A random part of `most`.
    pub fn jitter(&self, most: Duration) -> Duration {
        let part = self.random::<4>().map_or(0, u32::from_be_bytes);
        most.mul_f64(f64::from(part) / f64::from(u32::MAX))
    }

    /// When something with this period is due, less its jitter; zero is never.
    pub fn due(&self, now: Instant, period: Duration, rand: Duration) -> Option<Instant> {
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
