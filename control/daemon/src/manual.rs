//! Manual SAs: keys from files, numbers from reservations.

use crate::plane::{Numbers, Plane};
use crate::reservation::{Block, ReservationError, Reservations};
use culvert_config::{ChildRef, Config, ManualSa, Secrets};
use culvert_crypto::Provider;
use culvert_link::SlotState;
use culvert_model::{ChildId, Direction, Encapsulation, Lifetime, Prf, SaSpec, SecretKey, SlotIndex, Spi, Tunnel};

/// An inbound manual SA whose highest accepted number has to be remembered.
struct Accepting {
    key: String,
    slot: SlotIndex,
}

/// An outbound manual SA whose reservation has to be watched.
struct Watched {
    name: String,
    key: String,
    slot: SlotIndex,
    esn: bool,
    block: Block,
}

/// All manual SAs of the configuration.
pub struct ManualSas {
    reservations: Option<Reservations>,
    watched: Vec<Watched>,
    accepting: Vec<Accepting>,
}

#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    #[error(transparent)]
    Reservation(#[from] ReservationError),
    #[error("manual SA {0}: its keys were not read")]
    NoKey(String),
    #[error("manual SA {0}: no slot is free; raise [dataplane] sa_slots")]
    NoSlot(String),
}

impl ManualSas {
    /// Installs every manual SA. Where the data plane still has one (control was restarted), it goes on as it is.
    pub fn install(
        config: &Config,
        secrets: &Secrets,
        state_dir: &std::path::Path,
        provider: &dyn Provider,
        plane: &mut Plane,
        now_unix: u64,
    ) -> Result<Self, ManualError> {
        let mut all = Self { reservations: None, watched: Vec::new(), accepting: Vec::new() };
        let manual = config.children().filter_map(|(id, child)| match child {
            ChildRef::Manual(sa) => Some((id, sa)),
            ChildRef::Ike(..) => None,
        });
        for (child, sa) in manual {
            let keys = secrets.manual(&sa.name).ok_or_else(|| ManualError::NoKey(sa.name.clone()))?;
            let reservations = match &mut all.reservations {
                Some(reservations) => reservations,
                none => none.insert(Reservations::load(state_dir)?),
            };
            let interface = sa.interface.as_deref().and_then(|name| config.interface_id(name));
            let bundle = config.bundle(&ChildRef::Manual(sa));
            let inbound = SaSpec { interface, bundle, ..spec(sa, child, Direction::Inbound, &keys.key_in) };
            let key = fingerprint(provider, &keys.key_in);
            let numbers = Numbers { replay_top: reservations.accepted(&key), limit: u64::MAX, ..Numbers::default() };
            let slot = install_one(plane, inbound, sa, numbers, now_unix)?;
            all.accepting.push(Accepting { key, slot });

            let fingerprint = fingerprint(provider, &keys.key_out);
            let alive = standing(plane, child, sa.spi_out, Direction::Outbound)
                .and_then(|slot| plane.slot(slot))
                .map(|slot| slot.sequence());
            let block = reservations.take(&sa.name, &fingerprint, alive, sa.esn)?;
            let outbound = SaSpec { interface, bundle, ..spec(sa, child, Direction::Outbound, &keys.key_out) };
            let numbers = Numbers { used: block.used, limit: block.limit, ..Numbers::default() };
            let slot = install_one(plane, outbound, sa, numbers, now_unix)?;
            all.watched.push(Watched { name: sa.name.clone(), key: fingerprint, slot, esn: sa.esn, block });
        }
        Ok(all)
    }

    /// Extends what is running low, and remembers what was accepted. Call every second or so.
    pub fn extend(&mut self, plane: &Plane) {
        self.remember(plane);
        let Some(reservations) = &mut self.reservations else { return };
        for sa in &mut self.watched {
            let Some(slot) = plane.slot(sa.slot) else { continue };
            let used = slot.sequence();
            if !Reservations::is_low(sa.block, used, sa.esn) {
                continue;
            }
            match reservations.take(&sa.name, &sa.key, Some(used), sa.esn) {
                Ok(block) => {
                    slot.set_limit(block.limit);
                    sa.block = block;
                }
                Err(error) => tracing::error!("{error}"),
            }
        }
    }

    fn remember(&mut self, plane: &Plane) {
        let Some(reservations) = &mut self.reservations else { return };
        for sa in &self.accepting {
            let Some(slot) = plane.slot(sa.slot) else { continue };
            if let Err(error) = reservations.accept(&sa.key, slot.replay_top()) {
                tracing::warn!("{error}");
            }
        }
    }

    /// After the data plane has removed the SAs: the next start goes on where this one ended.
    pub fn give_back(&mut self, plane: &Plane) {
        self.remember(plane);
        let Some(reservations) = &mut self.reservations else { return };
        for sa in &self.watched {
            let Some(slot) = plane.slot(sa.slot) else { continue };
            if let Err(error) = reservations.give_back(&sa.key, slot.sequence()) {
                tracing::warn!("{error}; the next start skips the rest of the block");
            }
        }
    }
}

/// The slot in which this very SA still runs.
fn standing(plane: &Plane, child: ChildId, spi: Spi, direction: Direction) -> Option<SlotIndex> {
    let same = |o: &&crate::plane::Orphan| !o.leaving && o.child == child && o.spi == spi && o.direction == direction;
    let orphan = plane.orphans().iter().find(same)?;
    let slot = plane.slot(orphan.slot)?;
    // Allocated: control died before the data plane's answer. Its numbers count all the same.
    matches!(slot.state(), SlotState::Allocated | SlotState::Installed).then_some(orphan.slot)
}

fn install_one(
    plane: &mut Plane,
    mut spec: SaSpec,
    sa: &ManualSa,
    numbers: Numbers,
    now_unix: u64,
) -> Result<SlotIndex, ManualError> {
    if let Some(slot) = standing(plane, spec.child, spec.spi, spec.direction) {
        spec.slot = slot;
        if let Some(slot) = plane.slot(slot) {
            slot.set_limit(numbers.limit);
        }
        plane.adopt(spec, now_unix, None);
        return Ok(slot);
    }
    let no_slot = || ManualError::NoSlot(sa.name.clone());
    spec.slot = plane.region().claim_slot().ok_or_else(no_slot)?;
    let slot = spec.slot;
    if plane.install(spec, numbers, now_unix, None) { Ok(slot) } else { Err(no_slot()) }
}

fn spec(sa: &ManualSa, child: ChildId, direction: Direction, key: &SecretKey) -> SaSpec {
    SaSpec {
        spi: if direction == Direction::Inbound { sa.spi_in } else { sa.spi_out },
        direction,
        slot: SlotIndex(0),
        child,
        suite: sa.suite(),
        key: key.clone(),
        tunnel: Tunnel { local: sa.local, remote: sa.remote },
        encapsulation: sa.encap.as_ref().map(|encap| Encapsulation {
            local_port: encap.local_port,
            remote_port: encap.remote_port,
            keepalive: encap.keepalive,
        }),
        esn: sa.esn,
        replay_window: sa.replay_window,
        local_ts: sa.local_ts.clone(),
        remote_ts: sa.remote_ts.clone(),
        lifetime: Lifetime::default(),
        mode: sa.mode,
        handling: sa.headers.handling(),
        bundle: None,
        interface: None,
    }
}

/// Names a key in the reservation file without telling anything of it.
pub fn fingerprint(provider: &dyn Provider, key: &SecretKey) -> String {
    let digest = provider.prf(Prf::HmacSha256, key.expose(), &[b"culvert manual SA sequence numbers"]);
    digest.expose().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
