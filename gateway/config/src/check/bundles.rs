//! SA bundles: names that are there, and no way in circles.

use crate::bundle::{NoChild, children, find};
use crate::diagnostics::Sink;
use crate::schema::Root;
use crate::section::{Places, suggestion};
use crate::{ChildRef, bundle};
use culvert_model::ChildId;
use std::collections::BTreeMap;

pub(super) fn check(root: &Root, sink: &mut Sink) {
    let mut outer = BTreeMap::new();
    for (id, child) in children(&root.connection, &root.manual_sa) {
        let Some(name) = child.bundle_name() else { continue };
        match find(&root.connection, &root.manual_sa, name) {
            Ok(found) => {
                outer.insert(id, found);
            }
            Err(why) => unknown(root, name, why, places(&child), sink),
        }
    }
    for (id, child) in bundle::children(&root.connection, &root.manual_sa) {
        if returns(&outer, id) {
            let help = "the last SA of a bundle has no \"bundle\": it is the one the peer sees";
            sink.error(places(&child).at("bundle"), "this bundle comes back to where it began", help);
        }
    }
}

fn places<'a>(child: &ChildRef<'a>) -> &'a Places {
    match child {
        ChildRef::Ike(_, child) => &child.places,
        ChildRef::Manual(sa) => &sa.places,
    }
}

/// Does the way out from `start` lead to it again?
fn returns(outer: &BTreeMap<ChildId, ChildId>, start: ChildId) -> bool {
    let way = std::iter::successors(outer.get(&start), |at| outer.get(at));
    way.take(outer.len()).any(|at| *at == start)
}

fn unknown(root: &Root, name: &str, why: NoChild, at: &Places, sink: &mut Sink) {
    let (message, help) = match why {
        NoChild::Unknown => {
            let names: Vec<&str> = children(&root.connection, &root.manual_sa).map(|(_, c)| c.name()).collect();
            (format!("there is no manual SA or child called \"{name}\""), suggestion(name, &names))
        }
        NoChild::Ambiguous => (format!("there are several called \"{name}\""), "write \"connection/child\"".to_owned()),
    };
    sink.error(at.at("bundle"), message, help);
}
