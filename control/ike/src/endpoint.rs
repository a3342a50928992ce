//! The sans-I/O machine: all IKE SAs of one gateway.

use crate::{Config, Datagram, Event, IkeSaStatus, Output, SpiSource};
use culvert_crypto::Provider;
use std::{collections::VecDeque, sync::Arc, time::Instant};

/// Call `handle_*`, then `poll_output` until it is empty, then sleep until `poll_timeout`.
pub struct Endpoint {
    #[expect(dead_code, reason = "the machine comes next")]
    config: Config,
    #[expect(dead_code, reason = "the machine comes next")]
    provider: Arc<dyn Provider>,
    #[expect(dead_code, reason = "the machine comes next")]
    spis: Box<dyn SpiSource>,
    outputs: VecDeque<Output>,
}

impl Endpoint {
    pub fn new(config: Config, provider: Arc<dyn Provider>, spis: Box<dyn SpiSource>) -> Self {
        Self { config, provider, spis, outputs: VecDeque::new() }
    }

    /// Begins what `start_action = start` asks for.
    pub fn start(&mut self, _now: Instant) {}

    pub fn handle_datagram(&mut self, _now: Instant, _datagram: &Datagram) {}

    pub fn handle_event(&mut self, _now: Instant, _event: Event) {}

    pub fn handle_timeout(&mut self, _now: Instant) {}

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Snapshot of all IKE SAs.
    pub fn status(&self, _now: Instant) -> Vec<IkeSaStatus> {
        Vec::new()
    }

    /// After `Event::Shutdown`: everything is deleted and acknowledged, or the wait is over.
    pub fn is_idle(&self) -> bool {
        true
    }
}
