//! Manual SAs.

use super::headers::{self, hosts_only};
use super::tunnels::{families, is_own, no_selectors, own_addresses, tunnel_interface};
use crate::diagnostics::Sink;
use crate::schema::{ManualSa, Root};
use culvert_model::SaMode;
use std::path::PathBuf;

pub(super) fn check(root: &Root, complete: bool, sink: &mut Sink) {
    for (i, sa) in root.manual_sa.iter().enumerate() {
        let at = &sa.places;
        if complete && !is_own(root, sa.local) {
            sink.error(at.at("local"), format!("{} is not the address of an interface", sa.local), own_addresses(root));
        }
        if is_own(root, sa.remote) {
            sink.error(at.at("remote"), format!("{} is this box's own address", sa.remote), "name the peer's address");
        }
        if sa.local.is_ipv4() != sa.remote.is_ipv4() {
            let message = format!("{} and {} are of different address families", sa.local, sa.remote);
            sink.error(at.at("remote"), message, "name addresses of the same family");
        }
        tunnel_interface(root, sa.interface.as_ref(), at, complete, sink);
        selectors(sa, sink);
        protocol(sa, sink);
        headers::check(&sa.headers, sa.mode, sa.suite().protocol(), sink);
        let before = root.manual_sa.get(..i).unwrap_or_default();
        spis(sa, before, sink);
        key_files(sa, before, sink);
    }
}

fn selectors(sa: &ManualSa, sink: &mut Sink) {
    let at = &sa.places;
    no_selectors(&sa.local_ts, &sa.remote_ts, sa.interface.is_some(), at, sink);
    families(&sa.name, &sa.local_ts, &sa.remote_ts, at, sink);
    for (key, selectors, addr) in [("local_ts", &sa.local_ts, sa.local), ("remote_ts", &sa.remote_ts, sa.remote)] {
        if sa.mode == SaMode::Transport {
            hosts_only(key, selectors, &[addr], at, sink);
        }
    }
}

/// Protocols and options that do not go together.
fn protocol(sa: &ManualSa, sink: &mut Sink) {
    let at = &sa.places;
    if sa.ah.is_some() && sa.suite.is_some() {
        let help = "keep one; for AH over ESP write two manual SAs, and \"bundle\" in the one for ESP";
        sink.error(at.at("ah"), "\"suite\" is for ESP and \"ah\" for AH", help);
    }
    if sa.mode == SaMode::Transport && sa.interface.is_some() {
        sink.error(at.at("mode"), "a tunnel interface needs mode = \"tunnel\"", "leave \"mode\" or \"interface\" out");
    }
    if sa.ah.is_some() && sa.encap.is_some() {
        // RFC 3947 §5.1: AH covers the addresses that a NAT changes.
        sink.error(at.at("encap"), "AH cannot go in UDP", "use ESP where there is a NAT on the way");
    }
}

fn spis(sa: &ManualSa, before: &[ManualSa], sink: &mut Sink) {
    if let Some(other) = before.iter().find(|other| other.spi_in == sa.spi_in) {
        let message = format!("manual SA \"{}\" has spi_in = 0x{} already", other.name, sa.spi_in);
        sink.error(sa.places.at("spi_in"), message, "each inbound SPI must be different; choose another, on both ends");
    }
    // Outbound the peer tells SAs apart, by SPI and its own address.
    if let Some(other) = before.iter().find(|other| (other.spi_out, other.remote) == (sa.spi_out, sa.remote)) {
        let message =
            format!("manual SA \"{}\" sends to {} with spi_out = 0x{} already", other.name, sa.remote, sa.spi_out);
        sink.error(sa.places.at("spi_out"), message, "choose another, on both ends");
    }
}

/// One key for two SAs would use a nonce twice.
fn key_files(sa: &ManualSa, before: &[ManualSa], sink: &mut Sink) {
    let why = "one key for two SAs uses nonces twice; make a key for each";
    let used = |file: &PathBuf| before.iter().find(|other| other.key_in_file == *file || other.key_out_file == *file);
    for (key, file) in [("key_in_file", &sa.key_in_file), ("key_out_file", &sa.key_out_file)] {
        if let Some(other) = used(file) {
            let message = format!("{} is a key of manual SA \"{}\" already", file.display(), other.name);
            sink.error(sa.places.at(key), message, why);
        }
    }
    if sa.key_in_file == sa.key_out_file {
        sink.error(sa.places.at("key_out_file"), "\"key_in_file\" and \"key_out_file\" are the same file", why);
    }
}
