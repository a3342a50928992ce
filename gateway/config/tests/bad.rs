//! Bad configurations and the exact words they are answered with: `bad.txt`. UPDATE_EXPECT=1 rewrites the answers.

use culvert_config::Config;
use std::path::Path;

/// Added below each case, so that a case can be about one thing.
const BASE: &str = r#"
[[interface]]
name = "wan"
device = "net_null0"
addresses = ["192.0.2.1/24", "2001:db8::1/64"]
"#;
const SECRET: &str = "[[secret]]\nfile = \"any.psk\"\n";

fn answer(case: &str) -> String {
    let text = match case {
        _ if case.contains("# alone") => case.to_owned(),
        _ if case.contains("# no any.psk") => format!("{case}{BASE}"),
        _ => format!("{case}{BASE}{SECRET}"),
    };
    match Config::parse(Path::new("c.toml"), &text) {
        Ok(config) => format!("accepted\n{}", config.warnings()),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

#[test]
fn every_bad_configuration_is_answered_in_these_words() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad.txt");
    let found = std::fs::read_to_string(path).expect("tests/bad.txt");
    let mut wanted = String::new();
    for case in found.split("== ").filter(|case| !case.is_empty()) {
        let (title, rest) = case.split_once('\n').expect("a title");
        let text = rest.split("-- answer\n").next().unwrap_or_default().trim_end();
        let answer = answer(&format!("{text}\n"));
        assert!(!answer.starts_with("accepted"), "{title}: {answer}");
        wanted += &format!("== {title}\n{text}\n-- answer\n{answer}\n\n");
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &wanted).expect("tests/bad.txt is writable");
        return;
    }
    for (found, wanted) in found.split("== ").zip(wanted.split("== ")) {
        assert_eq!(found, wanted, "UPDATE_EXPECT=1 cargo test -p culvert-config rewrites tests/bad.txt");
    }
    assert_eq!(found.len(), wanted.len());
}
