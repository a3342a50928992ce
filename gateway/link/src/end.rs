//! The two roles and their ends of the four rings.

use crate::error::LinkError;
use crate::layout::{RingId, header};
use crate::region::Region;
use crate::ring::{Memory, PushError, RawConsumer, RawProducer, RingError};
use crate::role::{Role, RoleGuard, is_held};
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// One ring of a region. Holds the role too: an end that still has a ring still has its role.
struct RingMemory {
    region: Region,
    _guard: Arc<RoleGuard>,
    indices: usize,
    data: Range<usize>,
}

impl RingMemory {
    fn new(region: &Region, guard: &Arc<RoleGuard>, ring: RingId) -> Self {
        Self {
            region: region.clone(),
            _guard: guard.clone(),
            indices: crate::Layout::ring_indices(ring),
            data: region.layout().ring_data(ring),
        }
    }
}

impl Memory for RingMemory {
    type Word = AtomicU64;

    fn data(&self) -> &[AtomicU64] {
        &self.region.words()[self.data.clone()]
    }

    fn tail(&self) -> &AtomicU64 {
        &self.region.words()[self.indices + header::TAIL]
    }

    fn freed(&self) -> &AtomicU64 {
        &self.region.words()[self.indices + header::FREE]
    }

    fn acked(&self) -> &AtomicU64 {
        &self.region.words()[self.indices + header::ACKED]
    }
}

/// The writing end of a ring.
pub struct Producer(RawProducer<RingMemory>);

impl Producer {
    /// Publishes the record, whole or not at all.
    pub fn push(&mut self, record: &[u8]) -> Result<(), PushError> {
        self.0.push(record)
    }

    /// Octets pushed since the ring was made, headers and padding included: compare across a restart to learn whether a
    /// push happened.
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// How often the peer's index, or our own as found on attach, held what cannot be.
    pub fn corruptions(&self) -> u64 {
        self.0.corruptions()
    }
}

/// The reading end of a ring.
pub struct Consumer(RawConsumer<RingMemory>);

impl Consumer {
    /// Copies the next record into `buffer`; `None` where there is none. Does not acknowledge: until [`commit`] a
    /// successor of this process would get the record again. After an error the consumer stands at the producer's
    /// position, and what lay between is lost.
    ///
    /// [`commit`]: Self::commit
    pub fn pop<'a>(&mut self, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>, RingError> {
        self.0.pop(buffer)
    }

    /// Acknowledges all popped so far, and wipes it from the memory.
    pub fn commit(&mut self) {
        self.0.commit();
    }

    /// How often the ring held what cannot be.
    pub fn corruptions(&self) -> u64 {
        self.0.corruptions()
    }
}

/// What can be known of the process on the other side.
#[derive(Clone)]
pub struct Peer {
    region: Region,
    role: Role,
}

impl Peer {
    /// How often a process has attached in that role; 0 is never. A change means that it is another process now.
    pub fn generation(&self) -> u64 {
        self.region.generation(self.role).load(Ordering::Acquire)
    }

    /// Asks the kernel (two system calls with a file): is the role held?
    pub fn alive(&self) -> bool {
        is_held(&self.region, self.role)
    }
}

macro_rules! end {
    ($(#[$doc:meta])* $end:ident, $role:expr, $peer_generation:ident, $peer_alive:ident,
     $($ring:ident: $kind:ident($raw:ident) = $id:expr),+) => {
        $(#[$doc])*
        pub struct $end {
            $(pub $ring: $kind,)+
            pub peer: Peer,
            /// How often a process has attached in this role, this time included.
            pub generation: u64,
        }

        impl $end {
            /// Takes the role and its ends of the rings, where the last holder left them. An error where a live process
            /// has the role.
            pub fn attach(region: &Region) -> Result<Self, LinkError> {
                let guard = Arc::new(RoleGuard::take(region, $role)?);
                $(let $ring = $kind($raw::attach(RingMemory::new(region, &guard, $id)));)+
                let peer = Peer { region: region.clone(), role: $role.other() };
                Ok(Self { $($ring,)+ peer, generation: region.next_generation($role) })
            }

            pub fn $peer_generation(&self) -> u64 {
                self.peer.generation()
            }

            pub fn $peer_alive(&self) -> bool {
                self.peer.alive()
            }
        }
    };
}

end! {
    /// What the control process holds.
    ControlEnd, Role::Control, dataplane_generation, dataplane_alive,
    commands: Producer(RawProducer) = RingId::Commands,
    inject: Producer(RawProducer) = RingId::Inject,
    events: Consumer(RawConsumer) = RingId::Events,
    punt: Consumer(RawConsumer) = RingId::Punt
}

end! {
    /// What the data-plane process holds.
    DataplaneEnd, Role::Dataplane, control_generation, control_alive,
    commands: Consumer(RawConsumer) = RingId::Commands,
    inject: Consumer(RawConsumer) = RingId::Inject,
    events: Producer(RawProducer) = RingId::Events,
    punt: Producer(RawProducer) = RingId::Punt
}
