//! The data plane's SAs and slots as this endpoint knows them. Whatever is allocated here is released here, on every
//! path: a slot goes back when it was never installed, or when the data plane has acknowledged its removal.

use crate::{Output, SpiSource, hashing::OwnMap, shared::SaId};
use culvert_model::{Direction, SaSpec, SlotIndex, Spi};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Allocated,
    Installed(Spi, Direction),
    /// Installed, and to be removed at its time.
    Lingering(Spi, Direction),
    Removing,
}

struct Slot {
    state: State,
    /// Whose pair has it, once there is a pair.
    owner: Option<SaId>,
}

impl From<State> for Slot {
    fn from(state: State) -> Self {
        Self { state, owner: None }
    }
}

pub(crate) struct Sad {
    spis: Box<dyn SpiSource>,
    slots: OwnMap<SlotIndex, Slot>,
    lingering: BTreeSet<(Instant, SlotIndex)>,
    tokens: OwnMap<u64, (SlotIndex, bool)>,
    next_token: u64,
    /// After a shutdown nothing lingers.
    pub hurry: bool,
}

/// What the data plane has acknowledged.
pub(crate) enum Acknowledged {
    Installed(SlotIndex),
    Removed,
    Unknown,
}

impl Sad {
    /// `pairs`: for so many there is room without growing.
    pub fn new(spis: Box<dyn SpiSource>, pairs: usize) -> Self {
        let (mut slots, lingering, tokens) = (OwnMap::default(), BTreeSet::new(), OwnMap::default());
        slots.reserve(2 * pairs);
        Self { spis, slots, lingering, tokens, next_token: 1, hurry: false }
    }

    fn state(&self, slot: SlotIndex) -> Option<State> {
        self.slots.get(&slot).map(|held| held.state)
    }

    fn set(&mut self, slot: SlotIndex, state: State) {
        self.slots.entry(slot).or_insert(state.into()).state = state;
    }

    /// A pair of this IKE SA has the slot now.
    pub fn own(&mut self, slot: SlotIndex, owner: SaId) {
        if let Some(held) = self.slots.get_mut(&slot) {
            held.owner = Some(owner);
        }
    }

    /// Whose pair had it last.
    pub fn owner(&self, slot: SlotIndex) -> Option<SaId> {
        self.slots.get(&slot)?.owner
    }

    pub fn inbound(&mut self) -> Option<(Spi, SlotIndex)> {
        let (spi, slot) = self.spis.allocate()?;
        self.slots.insert(slot, State::Allocated.into());
        Some((spi, slot))
    }

    pub fn outbound(&mut self) -> Option<SlotIndex> {
        let slot = self.spis.allocate_outbound()?;
        self.slots.insert(slot, State::Allocated.into());
        Some(slot)
    }

    fn token(&mut self, slot: SlotIndex, install: bool) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.tokens.insert(token, (slot, install));
        token
    }

    pub fn install(&mut self, outputs: &mut VecDeque<Output>, spec: Arc<SaSpec>) {
        let token = self.token(spec.slot, true);
        self.set(spec.slot, State::Installed(spec.spi, spec.direction));
        outputs.push_back(Output::Install { token, spec });
    }

    /// The SA has another remote end; told where the data plane has it.
    pub fn move_to(&mut self, outputs: &mut VecDeque<Output>, spec: &SaSpec) {
        if let Some(State::Installed(..) | State::Lingering(..)) = self.state(spec.slot) {
            let SaSpec { slot, tunnel, encapsulation, .. } = *spec;
            outputs.push_back(Output::Move { slot, tunnel, encapsulation });
        }
    }

    /// Gives a slot up now: removed if it is installed.
    pub fn drop_now(&mut self, outputs: &mut VecDeque<Output>, slot: SlotIndex) {
        match self.state(slot) {
            Some(State::Allocated) => {
                self.slots.remove(&slot);
                self.spis.release(slot);
            }
            Some(State::Installed(spi, direction) | State::Lingering(spi, direction)) => {
                let token = self.token(slot, false);
                self.set(slot, State::Removing);
                outputs.push_back(Output::Remove { token, slot, spi, direction });
            }
            Some(State::Removing) | None => {}
        }
    }

    /// Gives an installed slot up at that time.
    pub fn drop_at(&mut self, outputs: &mut VecDeque<Output>, slot: SlotIndex, at: Instant) {
        match self.state(slot) {
            Some(State::Installed(spi, direction)) if !self.hurry => {
                self.set(slot, State::Lingering(spi, direction));
                self.lingering.insert((at, slot));
            }
            Some(State::Lingering(..)) if !self.hurry => {}
            _ => self.drop_now(outputs, slot),
        }
    }

    pub fn acknowledge(&mut self, token: u64) -> Acknowledged {
        match self.tokens.remove(&token) {
            Some((slot, true)) => Acknowledged::Installed(slot),
            Some((slot, false)) => {
                // A refused removal: the data plane does not have it. Either way the slot is free.
                self.slots.remove(&slot);
                self.spis.release(slot);
                Acknowledged::Removed
            }
            None => Acknowledged::Unknown,
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.lingering.first().map(|(at, _)| *at)
    }

    pub fn handle_timeout(&mut self, outputs: &mut VecDeque<Output>, now: Instant) {
        while let Some((at, slot)) = self.lingering.first().copied().filter(|(at, _)| *at <= now || self.hurry) {
            self.lingering.remove(&(at, slot));
            // It may have gone before its time, and the slot may be another's by now.
            if let Some(State::Lingering(..)) = self.state(slot) {
                self.drop_now(outputs, slot);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
