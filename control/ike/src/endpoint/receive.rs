//! Datagrams in: to the IKE SA they belong to, or to a new one.

use super::Endpoint;
use crate::{
    Datagram, Report, Step,
    message::{self, ClearMessage, Header, Incoming, Notify, NotifyType, Payload, Payloads, Shape, TransformType},
    sa::{IkeSa, State},
    shared::{Path, SaId},
};
use std::time::Instant;

/// Octets of the nonces that we make.
const NONCE_LEN: usize = 32;

impl Endpoint {
    pub fn handle_datagram(&mut self, now: Instant, datagram: &Datagram) {
        let path = Path { local: datagram.local, remote: datagram.remote };
        // Nobody can be answered there, and no SA can be made of it.
        if path.remote.port() == 0 {
            return;
        }
        match message::parse(&datagram.payload) {
            Ok(Incoming::Clear(message)) if message.header.response => {
                self.init_response(now, path, &message, &datagram.payload)
            }
            Ok(Incoming::Clear(message)) => self.init_request(now, path, &message, &datagram.payload),
            Ok(Incoming::Protected(message)) => {
                let header = *message.header();
                let own = if header.initiator { header.responder_spi } else { header.initiator_spi };
                let peer = if header.initiator { header.initiator_spi } else { header.responder_spi };
                let found = self.sas.by_spi(own);
                match found.filter(|id| self.sas.get(*id).is_some_and(|sa| sa.remote_spi == peer)) {
                    Some(id) => self.step(id, |sa, core| sa.protected(now, core, path, &message)),
                    // RFC 7296 §1.5 allows an answer; silence gives an attacker nothing.
                    None => self.core.report(Report::UnknownIkeSpi { remote: path.remote }),
                }
            }
            Err(error) => {
                self.core.report(Report::Dropped { remote: path.remote, reason: error });
                self.refuse_datagram(path, &datagram.payload, error);
            }
        }
        self.settle(now);
    }

    /// §2.5: a request of a later major version is told so.
    fn refuse_datagram(&mut self, path: Path, octets: &[u8], error: message::Error) {
        let Some(kind) = error.notify() else { return };
        let Some(header) = Header::peek(octets).filter(|h| !h.response) else { return };
        if let Ok(packet) = ClearMessage::refuse(&header, Notify::with_data(kind, error.notify_data())) {
            // Whoever has proved nothing gets no more octets than it sent.
            if packet.len() <= octets.len() {
                self.core.transmit(path, packet);
            }
        }
    }

    fn init_response(&mut self, now: Instant, path: Path, message: &ClearMessage, octets: &[u8]) {
        let Some(id) = self.sas.by_spi(message.header.initiator_spi) else {
            return self.core.report(Report::UnknownIkeSpi { remote: path.remote });
        };
        self.step(id, |sa, core| {
            if sa.path == path
                && let Err(reason) = sa.init_response(now, core, message, octets)
            {
                sa.initiation_failed(core, Step::IkeSaInit, reason);
            }
        });
    }

    fn half_open(&self, path: Path, message: &ClearMessage) -> Option<SaId> {
        self.sas.half_open(path.remote, message.header.initiator_spi)
    }

    fn init_request(&mut self, now: Instant, path: Path, message: &ClearMessage, octets: &[u8]) {
        if message.shape != Shape::InitRequest || self.core.shutdown {
            return;
        }
        if let Some(id) = self.half_open(path, message) {
            return self.step(id, |sa, core| sa.repeat_init(core, path, octets));
        }
        let half_open = self.sas.half_open_count();
        if half_open >= self.core.config.settings.half_open_limit {
            return self.core.report(Report::HalfOpenFlood { remote: path.remote, refused: true });
        }
        if half_open >= self.core.config.settings.cookie_threshold && !self.cookie_shown(path, message) {
            self.core.report(Report::HalfOpenFlood { remote: path.remote, refused: false });
            return self.ask_cookie(now, path, message);
        }
        if octets.len() < answer_len(message) && !self.cookie_shown(path, message) {
            return self.ask_cookie(now, path, message);
        }
        let answer = IkeSa::respond_init(now, &mut self.core, path, message, octets);
        if let Some((refusal, reason)) = self.first_answer(answer) {
            if let Payload::Notify(notify) = refusal.payload()
                && let Ok(packet) = ClearMessage::refuse(&message.header, notify)
            {
                self.core.transmit(path, packet);
            }
            if let Some(reason) = reason {
                let (peer, step) = (path.remote, Step::IkeSaInit);
                self.core.report(Report::Failed { connection: None, child: None, peer, step, reason, retry_in: None });
            }
        }
    }

    fn cookie_shown(&self, path: Path, message: &ClearMessage) -> bool {
        let payloads = message.payloads.as_slice();
        let (Some(cookie), Some(nonce)) = (payloads.notify(NotifyType::Cookie), payloads.nonce()) else { return false };
        let spi = message.header.initiator_spi;
        self.core.cookies.verify(&*self.core.provider, path.remote, spi, nonce.as_bytes(), &cookie.data)
    }

    fn ask_cookie(&mut self, now: Instant, path: Path, message: &ClearMessage) {
        let Some(nonce) = message.payloads.as_slice().nonce() else { return };
        let (spi, provider) = (message.header.initiator_spi, self.core.provider.clone());
        let Some(cookie) = self.core.cookies.make(now, &*provider, path.remote, spi, nonce.as_bytes()) else { return };
        if let Ok(packet) = ClearMessage::refuse(&message.header, Notify::with_data(NotifyType::Cookie, cookie)) {
            self.core.transmit(path, packet);
        }
    }
}

impl IkeSa {
    /// The keys were made, the step after them failed.
    pub(super) fn initiation_failed_at(
        &mut self,
        core: &mut crate::shared::Core,
        step: Step,
        reason: crate::FailureReason,
    ) {
        let step = if matches!(self.state, State::Gone) { Step::IkeAuth } else { step };
        self.initiation_failed(core, step, reason);
    }
}

/// Octets of our answer to an IKE_SA_INIT request. A request that is shorter must show a cookie first, so that nobody
/// has us send more than it sent itself to an address that may be another's.
fn answer_len(message: &ClearMessage) -> usize {
    const HEADER: usize = 28;
    const NONCE: usize = 4 + NONCE_LEN;
    const NAT_NOTIFIES: usize = 2 * 28;
    let payloads = message.payloads.as_slice();
    let offered = payloads.sa().map_or(&[][..], |sa| &sa.proposals);
    let with_integrity = offered.iter().flat_map(|p| &p.transforms).any(|t| t.kind == TransformType::Integrity);
    let sa = if with_integrity { 48 } else { 40 };
    let ke = payloads.ke().map_or(0, |ke| 8 + ke.data.len());
    HEADER + sa + ke + NONCE + NAT_NOTIFIES
}
