//! SA bundles: which child's SA the packets of another go through (RFC 4301 §4.3's nesting by policy).

use crate::schema::{Connection, ManualSa};
use crate::{ChildRef, Config};
use culvert_model::ChildId;

/// Why a name is none of one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoChild {
    Unknown,
    Ambiguous,
}

/// The children of a configuration, numbered in the order of the file, manual SAs last.
pub(crate) fn children<'a>(
    connections: &'a [Connection],
    manual: &'a [ManualSa],
) -> impl Iterator<Item = (ChildId, ChildRef<'a>)> {
    let ike = connections.iter().flat_map(|c| c.children.iter().map(move |child| ChildRef::Ike(c, child)));
    (0..).map(ChildId).zip(ike.chain(manual.iter().map(ChildRef::Manual)))
}

/// The child of this name: a manual SA's, a child's own, or `connection/child`.
pub(crate) fn find(connections: &[Connection], manual: &[ManualSa], name: &str) -> Result<ChildId, NoChild> {
    let is_meant = |child: &ChildRef<'_>| match name.split_once('/') {
        Some((connection, own)) => {
            matches!(child, ChildRef::Ike(..)) && child.connection_name() == connection && child.name() == own
        }
        None => child.name() == name,
    };
    let mut found = children(connections, manual).filter(|(_, child)| is_meant(child)).map(|(id, _)| id);
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(NoChild::Unknown),
        (Some(_), Some(_)) => Err(NoChild::Ambiguous),
    }
}

impl<'a> ChildRef<'a> {
    pub(crate) fn bundle_name(&self) -> Option<&'a str> {
        match self {
            Self::Ike(_, child) => child.bundle.as_deref(),
            Self::Manual(sa) => sa.bundle.as_deref(),
        }
    }
}

impl Config {
    /// The child whose SA this child's sealed packets go through.
    pub fn bundle(&self, child: &ChildRef<'_>) -> Option<ChildId> {
        find(&self.connections, &self.manual_sas, child.bundle_name()?).ok()
    }
}
