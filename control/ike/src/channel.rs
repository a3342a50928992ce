//! Protected messages of one IKE SA: keys, message IDs, window of one (RFC 7296 §2.1 to §2.3).

use crate::{
    message::{EncodeError, ExchangeType, Header, IkeSpi, Opener, Payload, Sealer},
    retransmit::Retransmission,
    shared::{Core, Path},
};
use std::time::Instant;

pub(crate) struct Channel {
    pub local_spi: IkeSpi,
    pub remote_spi: IkeSpi,
    /// Of the IKE SA, not of an exchange.
    pub initiator: bool,
    pub sealer: Sealer,
    pub opener: Opener,
    /// Of our next request.
    pub next_id: u32,
    /// Of the peer's next request.
    pub expect_id: u32,
    pub outstanding: Option<(u32, Retransmission)>,
    pub last_response: Option<Vec<u8>>,
}

/// What a request's message ID says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Next,
    /// The request before: the answer was lost.
    Again,
    Stale,
}

impl Channel {
    fn header(&self, exchange: ExchangeType, response: bool, message_id: u32) -> Header {
        let (initiator_spi, responder_spi) =
            if self.initiator { (self.local_spi, self.remote_spi) } else { (self.remote_spi, self.local_spi) };
        Header { initiator_spi, responder_spi, exchange, initiator: self.initiator, response, message_id }
    }

    pub fn turn(&self, message_id: u32) -> Turn {
        if message_id == self.expect_id {
            Turn::Next
        } else if Some(message_id) == self.expect_id.checked_sub(1) {
            Turn::Again
        } else {
            Turn::Stale
        }
    }

    pub fn request(
        &mut self,
        now: Instant,
        core: &mut Core,
        path: Path,
        exchange: ExchangeType,
        payloads: &[Payload],
    ) -> Result<(), EncodeError> {
        let header = self.header(exchange, false, self.next_id);
        let packet = self.sealer.seal(&*core.provider, &header, payloads)?;
        core.transmit(path, packet.clone());
        self.outstanding = Some((self.next_id, Retransmission::new(now, &core.config.settings.retransmit, packet)));
        self.next_id += 1;
        Ok(())
    }

    /// A request that nobody waits for; the SA ends with it.
    pub fn farewell(&mut self, core: &mut Core, path: Path, payloads: &[Payload]) {
        let header = self.header(ExchangeType::Informational, false, self.next_id);
        if let Ok(packet) = self.sealer.seal(&*core.provider, &header, payloads) {
            core.transmit(path, packet);
        }
    }

    /// Answers the peer's request that is its turn.
    pub fn respond(
        &mut self,
        core: &mut Core,
        path: Path,
        exchange: ExchangeType,
        payloads: &[Payload],
    ) -> Result<(), EncodeError> {
        let header = self.header(exchange, true, self.expect_id);
        let packet = self.sealer.seal(&*core.provider, &header, payloads)?;
        core.transmit(path, packet.clone());
        self.last_response = Some(packet);
        self.expect_id += 1;
        Ok(())
    }

    pub fn repeat(&self, core: &mut Core, path: Path) {
        if let Some(packet) = &self.last_response {
            core.transmit(path, packet.clone());
        }
    }

    /// Is this the answer we wait for? Then the wait is over.
    pub fn answered(&mut self, message_id: u32) -> bool {
        let awaited = self.outstanding.as_ref().is_some_and(|(id, _)| *id == message_id);
        if awaited {
            self.outstanding = None;
        }
        awaited
    }

    /// `Err`: the peer is dead.
    pub fn handle_timeout(&mut self, now: Instant, core: &mut Core, path: Path) -> Result<(), u32> {
        let policy = core.config.settings.retransmit;
        if let Some((_, retransmission)) = &mut self.outstanding
            && let Some(packet) = retransmission.poll(now, &policy)?
        {
            let packet = packet.to_vec();
            core.transmit(path, packet);
        }
        Ok(())
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.outstanding.as_ref().map(|(_, r)| r.at)
    }
}
