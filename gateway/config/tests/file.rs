//! Files that are not even text.

use culvert_config::Config;
use std::fs;
use std::path::Path;

fn refusal(path: &Path) -> String {
    let found = Config::from_file(path).expect_err("refused");
    assert_eq!(found.errors(), 1);
    assert!(found.report(true).contains(&found.iter().next().expect("one").message));
    found.report(false).replace(&path.display().to_string(), "FILE")
}

#[test]
fn what_cannot_be_read_is_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = refusal(&dir.path().join("missing.toml"));
    assert!(missing.starts_with("FILE: error: cannot be read: No such file"), "{missing}");
    assert!(missing.contains("help: name the file"), "{missing}");
    assert!(refusal(dir.path()).starts_with("FILE: error: cannot be read: "));

    let binary = dir.path().join("binary.toml");
    fs::write(&binary, b"name = \"\xff\"").expect("written");
    assert_eq!(refusal(&binary), "FILE: error: is not UTF-8 text (byte 8)\n  help: save it as UTF-8\n");

    let huge = dir.path().join("huge.toml");
    fs::File::create(&huge).and_then(|f| f.set_len(17 << 20)).expect("written");
    assert!(refusal(&huge).starts_with("FILE: error: is 17825792 bytes long;"));
}
