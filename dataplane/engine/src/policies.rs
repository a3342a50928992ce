//! The writing side of the SPD: what control has stated.

use crate::shared::Numbered;
use crate::spd::Spd;
use culvert_model::{Policy, PolicyId};
use std::collections::BTreeMap;

/// The policies in force, and between `begin` and `end` the ones that will be.
pub(crate) struct Policies {
    current: BTreeMap<PolicyId, Policy>,
    staged: Option<BTreeMap<PolicyId, Policy>>,
    number: u64,
}

impl Policies {
    pub fn new() -> Self {
        Self { current: BTreeMap::new(), staged: None, number: 1 }
    }

    /// Control states all policies anew; those in force stay so until it has finished. An unfinished statement, whose
    /// author died, is forgotten.
    pub fn begin(&mut self) {
        self.staged = Some(BTreeMap::new());
    }

    /// What was stated takes effect, all at once; the rest goes. `None` without a beginning.
    pub fn end(&mut self) -> Option<()> {
        self.current = self.staged.take()?;
        Some(())
    }

    /// Are the policies in force others now?
    pub fn set(&mut self, policy: Policy) -> bool {
        let (table, now) = match &mut self.staged {
            Some(staged) => (staged, false),
            None => (&mut self.current, true),
        };
        table.insert(policy.id, policy);
        now
    }

    /// As [`Self::set`]; `None` where there is no such policy.
    pub fn remove(&mut self, id: PolicyId) -> Option<bool> {
        match &mut self.staged {
            Some(staged) => staged.remove(&id).map(|_| false),
            None => self.current.remove(&id).map(|_| true),
        }
    }

    /// The policies in force, under a number that was never used.
    pub fn numbered(&mut self) -> Numbered<Spd> {
        self.number += 1;
        Numbered { number: self.number, table: Spd::new(self.current.values().cloned()) }
    }
}
