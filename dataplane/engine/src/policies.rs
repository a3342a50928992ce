//! The writing side of the SPD: what control has stated.

use crate::shared::Numbered;
use crate::spd::Spd;
use culvert_model::{Policy, PolicyId};
use std::collections::BTreeMap;

/// The policies in force, and between `begin` and `end` the ones that will be.
pub(crate) struct Policies {
    current: BTreeMap<PolicyId, Policy>,
    staged: Option<BTreeMap<PolicyId, Policy>>,
    /// Of `current`. Workers read earlier states of it, which share what has not changed since.
    spd: Spd,
    number: u64,
}

impl Policies {
    pub fn new() -> Self {
        Self { current: BTreeMap::new(), staged: None, spd: Spd::default(), number: 1 }
    }

    /// Control states all policies anew; those in force stay so until it has finished. An unfinished statement, whose
    /// author died, is forgotten.
    pub fn begin(&mut self) {
        self.staged = Some(BTreeMap::new());
    }

    /// What was stated takes effect, all at once; the rest goes. `None` without a beginning.
    pub fn end(&mut self) -> Option<()> {
        let staged = self.staged.take()?;
        let before = std::mem::replace(&mut self.current, staged);
        for (id, old) in &before {
            if self.current.get(id) != Some(old) {
                self.spd.remove(old);
            }
        }
        for (id, new) in &self.current {
            if before.get(id) != Some(new) {
                self.spd.insert(new);
            }
        }
        Some(())
    }

    /// Are the policies in force others now?
    pub fn set(&mut self, policy: Policy) -> bool {
        if let Some(staged) = &mut self.staged {
            staged.insert(policy.id, policy);
            return false;
        }
        if self.current.get(&policy.id) == Some(&policy) {
            return false;
        }
        // Nobody sees the moment without it: what is here is not published yet.
        if let Some(old) = self.current.get(&policy.id) {
            self.spd.remove(old);
        }
        self.spd.insert(&policy);
        self.current.insert(policy.id, policy);
        true
    }

    /// As [`Self::set`]; `None` where there is no such policy.
    pub fn remove(&mut self, id: PolicyId) -> Option<bool> {
        match &mut self.staged {
            Some(staged) => staged.remove(&id).map(|_| false),
            None => {
                self.spd.remove(&self.current.remove(&id)?);
                Some(true)
            }
        }
    }

    /// The policies in force, under a number that was never used.
    pub fn numbered(&mut self) -> Numbered<Spd> {
        self.number += 1;
        Numbered { number: self.number, table: self.spd.clone() }
    }
}
