//! Names that must be different.

use crate::diagnostics::Sink;
use crate::schema::Root;
use std::collections::BTreeMap;
use std::ops::Range;

pub(super) fn check(root: &Root, sink: &mut Sink) {
    unique(sink, "interface", root.interface.iter().map(|i| (i.name.as_str(), i.places.at("name"))));
    // One name space: metrics and `culvert status` show both as connections.
    let connections = root.connection.iter().map(|c| (c.name.as_str(), c.places.at("name")));
    let manual = root.manual_sa.iter().map(|sa| (sa.name.as_str(), sa.places.at("name")));
    unique(sink, "connection or manual SA", connections.chain(manual));
    for connection in &root.connection {
        let children = connection.children.iter().map(|c| (c.name.as_str(), c.places.at("name")));
        unique(sink, &format!("child of connection \"{}\"", connection.name), children);
    }
    unique(sink, "policy", root.policy.iter().map(|p| (p.name.as_str(), p.places.at("name"))));
}

fn unique<'a>(sink: &mut Sink, what: &str, names: impl Iterator<Item = (&'a str, Range<usize>)>) {
    let mut seen = BTreeMap::new();
    for (name, span) in names {
        if seen.insert(name, ()).is_some() {
            sink.error(span, format!("there is another {what} called \"{name}\""), "give each a name of its own");
        }
    }
}
