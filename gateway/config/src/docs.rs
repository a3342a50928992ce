//! `docs/CONFIG.md`, from the schema.

use crate::schema::Root;
use crate::section::{Key, Section, Table};
use std::fmt::Write;

/// The whole page.
pub fn docs() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         <!-- Generated from gateway/config: UPDATE_DOCS=1 cargo test -p culvert-config -->\n\n\
         One TOML file, `/etc/culvert/culvert.toml`; [deploy/culvert.toml](../deploy/culvert.toml) is an annotated\n\
         example. `culvert check FILE` reads it, reports everything that is wrong with its place, and changes nothing.\n\
         Words are swanctl.conf's own where it has them. A key the gateway does not know is an error.\n\n\
         Paths are relative to the directory of the file.\n",
    );
    for key in (Root::SECTION.keys)() {
        table(&mut page, "", &key);
    }
    page
}

fn table(page: &mut String, parent: &str, key: &Key) {
    let Some(section) = key.section else { return };
    let path = format!("{parent}{}", key.name);
    let head = match (key.is_list_of_tables, parent.is_empty()) {
        (true, _) => format!("[[{path}]]"),
        (false, true) => format!("[{path}]"),
        (false, false) => format!("{path} = {{ … }}"),
    };
    // Writing to a String cannot fail.
    let _ = write!(page, "\n## `{head}`\n\n{}\n\n", prose(section.doc));
    rows(page, section);
    for inner in (section.keys)() {
        table(page, &format!("{path}."), &inner);
    }
}

fn rows(page: &mut String, section: &Section) {
    page.push_str("| key | default | value | meaning |\n|---|---|---|---|\n");
    for key in (section.keys)() {
        let default = match key.default {
            _ if key.required => "**required**".to_owned(),
            _ if key.is_list_of_tables => "none".to_owned(),
            Some(text) => format!("`{}`", text.replace('|', "\\|")),
            None => "left out".to_owned(),
        };
        let shape = if key.is_list_of_tables { "tables, see below".to_owned() } else { key.shape };
        let _ = writeln!(page, "| `{}` | {default} | {} | {} |", key.name, shape.replace('|', "\\|"), prose(key.doc));
    }
}

/// Lines of a doc comment as one paragraph.
fn prose(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UPDATE_DOCS=1 rewrites the page.
    #[test]
    fn the_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFIG.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, docs()).expect("docs/CONFIG.md is writable");
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == docs(), "docs/CONFIG.md is stale; run UPDATE_DOCS=1 cargo test -p culvert-config");
    }
}
