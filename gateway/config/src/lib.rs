//! culvert.toml to checked types.
//!
//! A [`Config`] holds nothing that is left to parse or to check: an invalid file has no value, only [`Diagnostics`]
//! with every error and its place.
//!
//! ```no_run
//! use culvert_config::Config;
//! use std::path::Path;
//!
//! match Config::from_file(Path::new("/etc/culvert/culvert.toml")) {
//!     Ok(config) => println!("{} connections", config.connections.len()),
//!     Err(diagnostics) => eprintln!("{diagnostics}"),
//! }
//! ```
#![forbid(unsafe_code)]

#[macro_use]
mod section;

mod bundle;
mod check;
mod defaults;
mod device;
mod diagnostics;
mod docs;
mod headers;
mod kinds;
mod lifetime;
mod policies;
mod reader;
mod route_based;
mod schema;
mod secrets;
mod selector;
mod words;

use crate::diagnostics::Sink;
use crate::section::Table;
use std::fs;
use std::path::{Path, PathBuf};

pub use device::Device;
pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use docs::docs;
pub use headers::Headers;
pub use policies::{ChildRef, policies};
pub use schema::{
    Bridge, Child, Connection, Control, Dataplane, Encap, Host, Interface, LocalAuth, ManualSa, Metrics, PolicyEntry,
    RemoteAuth, Route, Secret,
};
pub use secrets::{ManualKeys, SecretError, SecretErrors, SecretProblem, Secrets};
pub use words::{AuthMethod, CopyDscp, DownAction, Idle, Memory, PolicyAction, PolicyWay, StartAction};

/// Where `culvert` looks when no file is named.
pub const DEFAULT_PATH: &str = "/etc/culvert/culvert.toml";

/// A file larger than this is refused unread.
const MAX_FILE: u64 = 16 << 20;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file; paths in it are relative to its directory.
    pub path: PathBuf,
    pub dataplane: Dataplane,
    /// At least one; the index is the interface's number.
    pub interfaces: Vec<Interface>,
    /// Pairs of ports that are bridged.
    pub bridges: Vec<Bridge>,
    /// `None`: what is for the host's own stack is dropped.
    pub host: Option<Host>,
    pub routes: Vec<Route>,
    pub connections: Vec<Connection>,
    pub manual_sas: Vec<ManualSa>,
    pub policies: Vec<PolicyEntry>,
    pub secrets: Vec<Secret>,
    /// `None` listens nowhere.
    pub metrics: Option<Metrics>,
    pub control: Control,
    warnings: Diagnostics,
}

impl Config {
    pub fn from_file(path: &Path) -> Result<Self, Diagnostics> {
        let name = path.display().to_string();
        let unreadable = |e: std::io::Error| {
            let help = match e.kind() {
                std::io::ErrorKind::NotFound => "name the file, or start from deploy/culvert.toml",
                _ => "",
            };
            Diagnostics::of_file(&name, format!("cannot be read: {e}"), help)
        };
        let size = fs::metadata(path).map_err(unreadable)?.len();
        if size > MAX_FILE {
            let message = format!("is {size} bytes long; a configuration has at most {MAX_FILE}");
            return Err(Diagnostics::of_file(&name, message, ""));
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            Diagnostics::of_file(&name, format!("is not UTF-8 text (byte {at})"), "save it as UTF-8")
        })?;
        Self::parse(path, &text)
    }

    /// `text` as if it were the contents of `path`. Reads no file.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Diagnostics> {
        let mut sink = Sink::default();
        let (document, syntax) = toml::de::DeTable::parse_recoverable(text);
        let mut root = schema::Root::read(document.get_ref(), 0..0, &mut sink);
        root.iter_mut().for_each(route_based::fill);
        root.iter_mut().for_each(defaults::fill);
        if syntax.is_empty() {
            if let Some(root) = &root {
                check::check(root, sink.errors() == 0, &mut sink);
            }
        } else {
            report_syntax(text, &syntax, &mut sink);
        }
        let failed = sink.errors() > 0;
        let found = sink.finish(&path.display().to_string(), text);
        match root {
            Some(root) if !failed => Ok(Self::from_root(path, root, found)),
            _ => Err(found),
        }
    }

    fn from_root(path: &Path, root: schema::Root, warnings: Diagnostics) -> Self {
        Self {
            path: path.to_owned(),
            dataplane: root.dataplane,
            interfaces: root.interface,
            bridges: root.bridge,
            host: root.host,
            routes: root.route,
            connections: root.connection,
            manual_sas: root.manual_sa,
            policies: root.policy,
            secrets: root.secret,
            metrics: root.metrics,
            control: root.control,
            warnings,
        }
    }

    /// The interfaces with queues of their own, each with its number; the order numbers the ports' counters.
    pub fn ports(&self) -> impl Iterator<Item = (usize, &Interface)> {
        self.interfaces.iter().enumerate().filter(|(_, interface)| interface.device.is_port())
    }

    /// The other interface of the bridge that this one is in.
    pub fn bridged_with(&self, name: &str) -> Option<&Interface> {
        let other = other_port(&self.bridges, name)?;
        self.interfaces.iter().find(|interface| interface.name == other)
    }

    /// What is odd but allowed.
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }

    /// A path of the file, relative to the file's directory.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// The name beside `name` in its bridge.
fn other_port<'a>(bridges: &'a [Bridge], name: &str) -> Option<&'a str> {
    bridges.iter().find_map(|bridge| match bridge.ports.as_slice() {
        [a, b] if a == name => Some(b.as_str()),
        [a, b] if b == name => Some(a.as_str()),
        _ => None,
    })
}

/// Reports what is not TOML. Where a bracket or comma is missing, the parser takes what follows for something else; that
/// part is not judged.
fn report_syntax(text: &str, errors: &[toml::de::Error], sink: &mut Sink) {
    let place = |error: &toml::de::Error| error.span().unwrap_or(0..0);
    let astray = ["unclosed", "missing comma", "unexpected `=`"];
    let is_astray = |error: &&toml::de::Error| astray.iter().any(|words| error.message().starts_with(words));
    let end = errors.iter().filter(is_astray).map(|e| place(e).start).min();
    let judged = |span: &std::ops::Range<usize>| end.is_none_or(|end| span.start <= end);
    let spans: Vec<_> = errors.iter().map(place).filter(judged).collect();
    sink.keep(text, |span| judged(span), &spans);
    for error in errors.iter().filter(|e| judged(&place(e))) {
        let span = place(error);
        let message = error.message().trim_end_matches(", expected nothing");
        let help = match message {
            _ if end == Some(span.start) => "what comes after it could not be looked at; mend it and check again",
            "duplicate key" => "a key can be in its table once, and a table that is not a list can be there once",
            _ => "",
        };
        sink.error(span, format!("not TOML: {message}"), help);
    }
}
