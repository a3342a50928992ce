//! The table: everything that is tried.

use crate::ike::{self, Ike};
use crate::manual::Manual;
use crate::row::{self, Row};
use crate::stage::Stage;
use culvert_lab::{GatewayPlan, LabError};
use std::path::Path;

/// One line of the table.
#[derive(Clone, Copy)]
pub enum Case {
    /// Keys set by hand on both sides.
    Manual(Row),
    /// Keys by IKEv2 with a daemon in the guest, native ESP by its kernel.
    Ike(Ike),
}

pub fn cases() -> Vec<Case> {
    let manual = row::rows().into_iter().map(Case::Manual);
    manual.chain(ike::rows().into_iter().map(Case::Ike)).collect()
}

impl Case {
    /// `--only` selects by a part of it.
    pub fn name(&self) -> String {
        match self {
            Self::Manual(row) => row.name(),
            Self::Ike(row) => row.name(),
        }
    }

    /// Culvert's configuration; the files it names go into `directory`.
    pub(crate) fn culvert(&self, number: u16, directory: &Path) -> Result<GatewayPlan, LabError> {
        match self {
            Self::Manual(row) => Manual::new(row, number).culvert(directory),
            Self::Ike(row) => Ok(row.culvert()),
        }
    }

    pub(crate) fn run(&self, number: u16, stage: Stage<'_>) -> Result<(), LabError> {
        match self {
            Self::Manual(row) => Manual::new(row, number).run(stage),
            Self::Ike(row) => row.run(stage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_cases_apart() {
        let mut names: Vec<String> = cases().iter().map(Case::name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
