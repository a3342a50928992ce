//! What no single value can tell.

mod bundles;
mod headers;
mod interfaces;
mod manual;
mod names;
mod network;
mod tunnels;

use crate::diagnostics::Sink;
use crate::schema::Root;

/// `complete` says that nothing was left out because it was wrong in itself: only then is something missing really
/// missing.
pub(crate) fn check(root: &Root, complete: bool, sink: &mut Sink) {
    names::check(root, sink);
    interfaces::check(root, complete, sink);
    network::check(root, complete, sink);
    tunnels::check(root, complete, sink);
}
