//! `docs/METRICS.md`, from the declarations.

use crate::{DropReason, Metric, PortCounter, SaCounter, Stage, WorkerCounter, metric};
use core::fmt::Write;

/// The whole page.
pub fn docs() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Generated from gateway/telemetry: UPDATE_DOCS=1 cargo test -p culvert-telemetry -->\n\n\
         `culvert-control` serves these as Prometheus text at `http://<[metrics] listen>/metrics`.\n\
         Worker `housekeeping` is the thread that answers ARP, neighbour discovery and ICMP; all others are named by\n\
         their core. A port is named by its interface.\n",
    );
    section(&mut page, "Box, connections, IKE, link", metric::metrics::ALL.iter().copied());
    section(&mut page, "Workers", WorkerCounter::ALL.iter().map(|c| c.metric()));
    section(&mut page, "Ports", PortCounter::ALL.iter().map(|c| c.metric()));
    section(&mut page, "Security associations", SaCounter::ALL.iter().map(|c| c.metric()));
    drops(&mut page);
    page
}

fn section(page: &mut String, title: &str, metrics: impl Iterator<Item = Metric>) {
    push(page, format_args!("\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n"));
    for metric in metrics {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let (name, kind, help) = (metric.name, metric.kind.name(), metric.help);
        push(page, format_args!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", ")));
    }
}

fn drops(page: &mut String) {
    let name = metric::metrics::DROPS.name;
    push(
        page,
        format_args!(
            "\n## Drop reasons\n\n\
             Values of the label `reason` of `{name}`. Those marked * are absorbed on purpose and no sign of trouble.\n\n\
             | stage | reason | meaning |\n|---|---|---|\n"
        ),
    );
    for stage in Stage::ALL {
        for reason in DropReason::ALL.iter().filter(|r| r.stage() == *stage) {
            let mark = if reason.is_expected() { " *" } else { "" };
            push(page, format_args!("| {} | `{reason}`{mark} | {} |\n", stage.name(), reason.help()));
        }
    }
}

fn push(page: &mut String, text: core::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UPDATE_DOCS=1 rewrites the page.
    #[test]
    fn the_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/METRICS.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, docs()).expect("docs/METRICS.md is writable");
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == docs(), "docs/METRICS.md is stale; run UPDATE_DOCS=1 cargo test -p culvert-telemetry");
    }

    #[test]
    fn every_declaration_has_its_line() {
        let page = docs();
        for metric in metric::all() {
            assert_eq!(page.matches(&format!("| `{}` |", metric.name)).count(), 1, "{}", metric.name);
        }
        for reason in DropReason::ALL {
            assert!(page.contains(&format!("| `{reason}`")), "{reason}");
        }
    }
}
