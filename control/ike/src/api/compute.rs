//! Public-key work that leaves the endpoint and comes back.

use core::fmt;
use culvert_crypto::{CryptoError, KeyExchange, Provider};
use culvert_model::{KeGroup, SecretKey};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComputeToken(pub(crate) u64);

pub(crate) enum Work {
    /// A fresh key pair.
    Generate(KeGroup),
    /// The shared secret of a key pair with the peer's value.
    Agree(Box<dyn KeyExchange>, Vec<u8>),
    /// Both at once: a responder knows the peer's value already.
    Respond(KeGroup, Vec<u8>),
}

pub(crate) enum Made {
    Generated(Box<dyn KeyExchange>),
    Agreed(SecretKey),
    Responded { public: Vec<u8>, shared: SecretKey },
}

/// May run on any thread.
pub struct ComputeJob {
    pub(crate) token: ComputeToken,
    pub(crate) work: Work,
}

pub struct ComputeResult {
    pub(crate) token: ComputeToken,
    pub(crate) made: Result<Made, CryptoError>,
}

impl ComputeJob {
    pub fn run(self, provider: &dyn Provider) -> ComputeResult {
        let made = match self.work {
            Work::Generate(group) => provider.generate(group).map(Made::Generated),
            Work::Agree(key, peer) => key.agree(&peer).map(Made::Agreed),
            Work::Respond(group, peer) => provider.generate(group).and_then(|key| {
                let public = key.public().to_vec();
                Ok(Made::Responded { public, shared: key.agree(&peer)? })
            }),
        };
        ComputeResult { token: self.token, made }
    }
}

impl fmt::Debug for ComputeJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = match &self.work {
            Work::Generate(_) => "generate",
            Work::Agree(..) => "agree",
            Work::Respond(..) => "respond",
        };
        write!(f, "ComputeJob({}, {work})", self.token.0)
    }
}
