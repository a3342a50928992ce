//! No text makes the reader panic, and what it accepts is whole.

use culvert_config::{Config, policies};
use culvert_model::Action;
use proptest::prelude::*;
use std::path::Path;

fn read(text: &str) {
    match Config::parse(Path::new("c.toml"), text) {
        Ok(config) => {
            assert!(!config.interfaces.is_empty());
            let protect = policies(&config).iter().filter(|p| matches!(p.action, Action::Protect { .. })).count();
            assert_eq!(protect, 2 * config.children().count());
            assert_eq!(config.warnings().errors(), 0);
        }
        Err(diagnostics) => {
            assert!(diagnostics.errors() > 0);
            for one in diagnostics.iter() {
                assert!(one.line >= 1 && one.line <= text.split('\n').count(), "{one:?}");
            }
            let _ = diagnostics.graphical();
        }
    }
}

const EXAMPLE: &str = include_str!("../../../deploy/culvert.toml");

/// Pieces that meet every kind of value.
const WORDS: &[&str] = &[
    "[dataplane]",
    "[[interface]]",
    "[[route]]",
    "[[connection]]",
    "[[connection.child]]",
    "[[manual_sa]]",
    "[[policy]]",
    "[[secret]]",
    "[metrics]",
    "[control]",
    "workers",
    "name",
    "device",
    "addresses",
    "mtu",
    "destination",
    "via",
    "local_ts",
    "remote_ts",
    "local",
    "remote",
    "id",
    "ids",
    "spi_in",
    "encap",
    "rekey_time",
    "=",
    "=",
    "=",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "\n",
    "\n",
    "\n",
    "1",
    "0x100",
    "-1",
    "1e9",
    "true",
    "1979-05-27",
    "\"10.0.0.0/8[tcp/80]\"",
    "\"::/0\"",
    "\"%any\"",
    "\"net_null0\"",
    "\"30s\"",
    "\"10G\"",
    "\"aes256gcm16-x25519\"",
    "é",
    "\u{feff}",
];

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![proptest::sample::select(WORDS).prop_map(str::to_owned), ".{0,6}"]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        read(&text);
    }

    #[test]
    fn any_row_of_pieces(pieces in proptest::collection::vec(piece(), 0..60)) {
        read(&pieces.join(" "));
    }

    /// The example with a piece of it replaced by something else.
    #[test]
    fn the_example_mutilated(at in 0..EXAMPLE.len(), len in 0_usize..40, new in piece()) {
        let floor = |mut i: usize| { i = i.min(EXAMPLE.len()); while !EXAMPLE.is_char_boundary(i) { i -= 1 } i };
        let (start, end) = (floor(at), floor(at + len));
        read(&format!("{}{new}{}", &EXAMPLE[..start], &EXAMPLE[end.max(start)..]));
    }
}
