//! What was replaced and may still be in a worker's hands.

use crate::child_sas::ChildSas;
use crate::sa::{InboundSa, OutboundSa};
use crate::shared::{Foreign, Numbered};
use crate::spd::Spd;
use crate::topology::Topology;
use std::sync::Arc;

pub(crate) type Retiring<K> = Vec<Retired<K>>;

/// No longer published, so that no new reader can find it.
pub(crate) enum Retired<K> {
    Inbound(Arc<InboundSa<K>>),
    Outbound(Arc<OutboundSa<K>>),
    ChildSas(Arc<ChildSas<K>>),
    Foreign(Arc<Foreign>),
    Spd(Arc<Numbered<Spd>>),
    Topology(Arc<Topology>),
}

impl<K> Retired<K> {
    /// Does nobody else hold it? `get_mut` also orders the readers' last accesses before what follows.
    fn is_free(&mut self) -> bool {
        match self {
            Self::Inbound(held) => Arc::get_mut(held).is_some(),
            Self::Outbound(held) => Arc::get_mut(held).is_some(),
            Self::ChildSas(held) => Arc::get_mut(held).is_some(),
            Self::Foreign(held) => Arc::get_mut(held).is_some(),
            Self::Spd(held) => Arc::get_mut(held).is_some(),
            Self::Topology(held) => Arc::get_mut(held).is_some(),
        }
    }
}

/// Waits for readers, then drops; never on a worker. An answer to control waits with it: once a removal is answered,
/// no worker touches the SA's slot any more, and control may give it to another.
pub(crate) struct Graveyard<K> {
    waiting: Vec<(Option<u64>, Retiring<K>)>,
}

impl<K> Graveyard<K> {
    pub fn new() -> Self {
        Self { waiting: Vec::new() }
    }

    pub fn put(&mut self, token: Option<u64>, retired: Retiring<K>) {
        self.waiting.push((token, retired));
    }

    /// Drops what is free; gives the tokens whose last one went, in order.
    pub fn reclaim(&mut self) -> Vec<u64> {
        let mut done = Vec::new();
        self.waiting.retain_mut(|(token, retired)| {
            retired.retain_mut(|held| !held.is_free());
            if retired.is_empty() {
                done.extend(*token);
            }
            !retired.is_empty()
        });
        done
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
