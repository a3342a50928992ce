//! INFORMATIONAL: deletes and dead peer detection (RFC 7296 §1.4).

use crate::{
    DownReason,
    child::ChildState,
    message::{Delete, ExchangeType, OpenedMessage, Payload, Payloads},
    sa::{Exchange, IkeSa, Phase},
    shared::{Core, Deferred},
};
use culvert_model::{IpsecProtocol, Spi};
use std::time::Instant;

impl IkeSa {
    pub fn begin_informational(&mut self, now: Instant, core: &mut Core, exchange: Exchange) {
        let path = self.path;
        let Some(e) = self.established_mut() else { return };
        let payloads = match &exchange {
            Exchange::DeleteIke => vec![Payload::Delete(Delete::Ike)],
            Exchange::DeleteChild { protocol, spi_in, .. } => {
                vec![Payload::Delete(Delete::children(*protocol, vec![spi_in.get()]))]
            }
            Exchange::Dpd | Exchange::Child(_) | Exchange::Ike(_) => vec![],
        };
        e.exchange = Some(exchange);
        if e.channel.request(now, core, path, ExchangeType::Informational, &payloads).is_err() {
            // No message of ours can be written any more: the keys' IVs are used up.
            self.vanish(now, core, DownReason::Expired);
        }
    }

    pub fn informational_request(&mut self, now: Instant, core: &mut Core, message: &OpenedMessage) {
        let conn = self.conn.unwrap_or_default();
        let payloads = message.payloads.as_slice();
        if payloads.deletes().any(|d| *d == Delete::Ike) {
            self.answer(core, ExchangeType::Informational, &[]);
            return self.vanish(now, core, DownReason::DeletedByPeer);
        }
        let (mut esp, mut ah) = (Vec::new(), Vec::new());
        let Some(e) = self.established_mut() else { return };
        let named = payloads.deletes().filter_map(Delete::child_spis);
        for (protocol, spi) in named.flat_map(|(protocol, spis)| spis.iter().map(move |spi| (protocol, *spi))) {
            let Some(spi_in) = e.by_outbound(protocol, spi).map(|c| c.spi_in()) else { continue };
            let Some(child) = e.take_child(spi_in) else { continue };
            // §1.4.1: both sides at once: each has said its own SPI already.
            if child.state != ChildState::Deleting {
                match protocol {
                    IpsecProtocol::Esp => esp.push(spi_in.get()),
                    IpsecProtocol::Ah => ah.push(spi_in.get()),
                }
            }
            let reason = match child.state {
                ChildState::Installed | ChildState::Rekeying => DownReason::DeletedByPeer,
                ChildState::Rekeyed | ChildState::Deleting => DownReason::Rekeyed,
            };
            e.tasks.retain(|t| !t.kind.is_about(spi_in));
            core.deferred.push_back(Deferred::Retire { child: Box::new(child), conn, reason });
        }
        let ours = [Delete::Esp(esp), Delete::Ah(ah)].into_iter();
        let ours = ours.filter(|delete| delete.child_spis().is_some_and(|(_, spis)| !spis.is_empty()));
        let answer: Vec<_> = ours.map(Payload::Delete).collect();
        self.answer(core, ExchangeType::Informational, &answer);
    }

    pub fn informational_response(&mut self, now: Instant, core: &mut Core, exchange: &Exchange) {
        match exchange {
            Exchange::DeleteIke => {
                let reason = match self.established().map(|e| e.phase) {
                    Some(Phase::Deleting(reason)) => reason,
                    _ => DownReason::Rekeyed,
                };
                self.vanish(now, core, reason);
            }
            Exchange::DeleteChild { spi_in, reason, .. } => self.retire(core, *spi_in, *reason),
            Exchange::Dpd | Exchange::Child(_) | Exchange::Ike(_) => {}
        }
    }

    fn retire(&mut self, core: &mut Core, spi_in: Spi, reason: DownReason) {
        let conn = self.conn.unwrap_or_default();
        if let Some(child) = self.established_mut().and_then(|e| e.take_child(spi_in)) {
            core.deferred.push_back(Deferred::Retire { child: Box::new(child), conn, reason });
        }
    }
}
