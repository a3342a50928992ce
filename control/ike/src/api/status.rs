//! A snapshot of the IKE SAs, for `culvert status` and metrics.

use crate::message::IkeSpi;
use core::time::Duration;
use culvert_model::{ChildId, Identity, SaMode, SlotIndex, Spi, Suite, TrafficSelector};
use std::net::SocketAddr;

#[derive(Clone, Debug, PartialEq)]
pub struct IkeSaStatus {
    /// Empty while a responder does not know yet.
    pub connection: String,
    /// `connecting`, `established`, `rekeyed`, `deleting`.
    pub state: &'static str,
    pub initiator: bool,
    pub local_spi: IkeSpi,
    pub remote_spi: IkeSpi,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub local_id: Option<Identity>,
    pub remote_id: Option<Identity>,
    /// In swanctl's notation.
    pub proposal: Option<String>,
    pub nat: bool,
    /// Since it was established.
    pub age: Option<Duration>,
    pub rekey_in: Option<Duration>,
    pub children: Vec<ChildStatus>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ChildStatus {
    pub child: ChildId,
    pub name: String,
    /// `installing`, `installed`, `rekeying`, `rekeyed`, `deleting`.
    pub state: &'static str,
    pub spi_in: Spi,
    pub spi_out: Spi,
    pub slot_in: SlotIndex,
    /// `None` while the outbound SA is held back.
    pub slot_out: Option<SlotIndex>,
    pub suite: Suite,
    pub mode: SaMode,
    pub esn: bool,
    pub local_ts: Vec<TrafficSelector>,
    pub remote_ts: Vec<TrafficSelector>,
    pub age: Duration,
    pub rekey_in: Option<Duration>,
}
