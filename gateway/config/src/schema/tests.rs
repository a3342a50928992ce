use super::*;
use crate::diagnostics::Sink;
use crate::reader::Item;
use crate::section::{Key, Section, Table};
use toml::de::{DeTable, DeValue};

/// Every table of the file with its path.
fn sections() -> Vec<(String, &'static Section)> {
    fn walk(path: String, section: &'static Section, found: &mut Vec<(String, &'static Section)>) {
        for key in (section.keys)() {
            if let Some(inner) = key.section {
                walk(format!("{path}.{}", key.name), inner, found);
            }
        }
        found.push((path, section));
    }
    let mut found = Vec::new();
    walk("file".into(), Root::SECTION, &mut found);
    found
}

/// Every key with the path of its table.
fn keys() -> Vec<(String, Key)> {
    sections().into_iter().flat_map(|(path, s)| (s.keys)().into_iter().map(move |k| (path.clone(), k))).collect()
}

#[test]
fn every_key_and_table_is_documented() {
    assert_eq!(sections().len(), 16);
    assert!(keys().len() > 80);
    for (path, section) in sections() {
        assert!(!section.doc.is_empty(), "{path}");
    }
    let page = crate::docs();
    for (path, key) in keys() {
        assert!(key.doc.concat().trim().ends_with('.'), "{path}.{}", key.name);
        assert!(path == "file" || page.contains(&format!("| `{}` |", key.name)), "{path}.{}", key.name);
    }
}

#[test]
fn no_swanctl_word_is_both_there_and_not_yet_there() {
    for (path, section) in sections() {
        for (word, _) in section.not_yet {
            assert!((section.keys)().iter().all(|key| key.name != *word), "{path}.{word}");
        }
    }
}

/// Reads the table of `path` with only `key` in it, set to `value`.
fn read_one(path: &str, key: &str, value: &str) -> Vec<String> {
    let text = format!("{key} = {value}\n");
    let document = DeTable::parse(&text).expect("TOML");
    let mut sink = Sink::default();
    let (table, header) = (document.get_ref(), 0..0);
    match path {
        "file" => drop(Root::read(table, header, &mut sink)),
        "file.dataplane" => drop(Dataplane::read(table, header, &mut sink)),
        "file.interface" => drop(Interface::read(table, header, &mut sink)),
        "file.bridge" => drop(Bridge::read(table, header, &mut sink)),
        "file.host" => drop(Host::read(table, header, &mut sink)),
        "file.route" => drop(Route::read(table, header, &mut sink)),
        "file.connection" => drop(Connection::read(table, header, &mut sink)),
        "file.connection.local" => drop(LocalAuth::read(table, header, &mut sink)),
        "file.connection.remote" => drop(RemoteAuth::read(table, header, &mut sink)),
        "file.connection.child" => drop(Child::read(table, header, &mut sink)),
        "file.manual_sa" => drop(ManualSa::read(table, header, &mut sink)),
        "file.manual_sa.encap" => drop(Encap::read(table, header, &mut sink)),
        "file.policy" => drop(PolicyEntry::read(table, header, &mut sink)),
        "file.secret" => drop(Secret::read(table, header, &mut sink)),
        "file.metrics" => drop(Metrics::read(table, header, &mut sink)),
        "file.control" => drop(Control::read(table, header, &mut sink)),
        other => panic!("no reader for {other} in this test"),
    }
    let found = sink.finish("c.toml", &text);
    found.iter().filter(|d| d.line == 1 && d.column > key.len()).map(|d| d.message.clone()).collect()
}

#[test]
fn every_key_reports_a_wrong_type() {
    for (path, key) in keys() {
        for (value, name) in [("1979-05-27", "a date"), ("2.5", "a fraction")] {
            let found = read_one(&path, key.name, value);
            let said = found.iter().any(|m| m.contains(&format!("\"{}\" must be", key.name)) && m.ends_with(name));
            assert!(said, "{path}.{} = {value}: {found:?}", key.name);
        }
    }
}

#[test]
fn every_default_is_a_value_of_its_kind() {
    for (path, key) in keys() {
        let Some(text) = key.default else { continue };
        assert!(DeValue::parse(text).is_ok(), "{path}.{}: {text}", key.name);
        let found = read_one(&path, key.name, text);
        assert!(found.is_empty(), "{path}.{} = {text}: {found:?}", key.name);
    }
}

#[test]
fn a_misspelt_key_is_told_the_nearest() {
    for (path, key) in keys().into_iter().filter(|(_, key)| key.name.len() > 4) {
        let slip = format!("{}x", key.name);
        let text = format!("{slip} = 1\n");
        let document = DeTable::parse(&text).expect("TOML");
        let section = sections().into_iter().find(|(p, _)| *p == path).expect("there").1;
        let mut sink = Sink::default();
        crate::section::unknown_keys(document.get_ref(), section, &mut sink);
        let found = sink.finish("c.toml", &text).to_string();
        assert!(found.contains(&format!("did you mean \"{}\"?", key.name)), "{path}: {found}");
    }
}

#[test]
fn times_and_sizes() {
    use crate::reader::{Kind, Label};
    fn read<K: Kind>(text: &str) -> Option<K::Value> {
        let item: Item<'_> = DeValue::parse(text).expect("TOML");
        K::read(Label { key: "k", entry: false }, &item, &mut Sink::default())
    }
    for (text, seconds) in
        [("30", 30), ("\"30\"", 30), ("\"30s\"", 30), ("\"10m\"", 600), ("\"4h\"", 14_400), ("\"1d\"", 86_400)]
    {
        assert_eq!(read::<Time>(text), Some(Duration::from_secs(seconds)), "{text}");
    }
    for (text, bytes) in [("1_000", 1000), ("\"1K\"", 1024), ("\"512M\"", 512 << 20), ("\"10G\"", 10 << 30), ("0", 0)] {
        assert_eq!(read::<Size>(text), Some(bytes), "{text}");
    }
    for bad in [
        "-1",
        "\"\"",
        "\"s\"",
        "\"+1s\"",
        "\"1w\"",
        "\"1.5h\"",
        "\"1h30m\"",
        "9007199254740993",
        "\"18446744073709551616\"",
    ] {
        assert_eq!(read::<Time>(bad), None, "{bad}");
    }
    for bad in ["\"10g\"", "\"M\"", "\"18014398509481984K\"", "\"-1K\""] {
        assert_eq!(read::<Size>(bad), None, "{bad}");
    }
}
