//! What goes into an endpoint and what comes out.

mod compute;
mod report;
mod status;

pub use compute::{ComputeJob, ComputeResult, ComputeToken};
pub(crate) use compute::{Made, Work};
pub use report::{DownReason, FailureReason, Report, Step};
pub use status::{ChildStatus, IkeSaStatus};

use culvert_model::{ChildId, Direction, Encapsulation, Flow, Pfp, SaSpec, SlotIndex, Spi, Tunnel};
use std::{net::SocketAddr, sync::Arc};

/// A UDP payload without the non-ESP marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub payload: Vec<u8>,
}

/// SPIs and slots for SAs. An inbound SPI's low bits are its slot's index.
pub trait SpiSource: Send {
    fn allocate(&mut self) -> Option<(Spi, SlotIndex)>;
    fn allocate_outbound(&mut self) -> Option<SlotIndex>;
    fn release(&mut self, slot: SlotIndex);
}

/// The data plane refused an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data plane refused the SA")]
pub struct InstallFailed;

pub enum Event {
    /// Bring a child up; does nothing if it is up or coming up.
    Initiate {
        child: ChildId,
    },
    /// A packet had no SA.
    Acquire {
        child: ChildId,
        flow: Flow,
        /// Which of the packet's values the SA is to be for.
        pfp: Pfp,
    },
    /// Answer to `Output::Install` and `Output::Remove`.
    Done {
        token: u64,
        result: Result<(), InstallFailed>,
    },
    Computed(ComputeResult),
    /// Bytes, packets or sequence numbers run low: rekey.
    SoftExpire {
        spi: Spi,
        direction: Direction,
    },
    /// The SA may not be used any more.
    HardExpire {
        spi: Spi,
        direction: Direction,
    },
    /// An inbound SA has received packets since the last such event. Tells that the peer lives and uses the SA.
    PeerActivity {
        spi: Spi,
    },
    /// An authentic packet of this inbound SA came from another place.
    PeerMoved {
        spi: Spi,
        remote: SocketAddr,
    },
    /// Rekey a connection's IKE SAs now.
    RekeyIke {
        connection: String,
    },
    /// Close a connection's IKE SAs, or only one child.
    Terminate {
        connection: String,
        child: Option<String>,
    },
    /// Delete everything at the peers; nothing is begun any more. Finished when `Endpoint::is_idle`.
    Shutdown,
}

#[derive(Debug)]
pub enum Output {
    Transmit(Datagram),
    /// Inbound: usable at once. Outbound: becomes the SA of its child.
    Install {
        token: u64,
        spec: Arc<SaSpec>,
    },
    /// The peer of an installed SA has moved.
    Move {
        slot: SlotIndex,
        tunnel: Tunnel,
        encapsulation: Option<Encapsulation>,
    },
    Remove {
        token: u64,
        slot: SlotIndex,
        spi: Spi,
        direction: Direction,
    },
    Compute(ComputeJob),
    Report(Report),
}
