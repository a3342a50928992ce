use culvert_lab::missing_tools;
use nix::fcntl::{Flock, FlockArg};
use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What every scenario needs beside root; `make deps` installs them.
const TOOLS: &[&str] = &[
    "ip",
    "setpriv",
    "timeout",
    "ethtool",
    "nft",
    "ping",
    "tcpdump",
    "iperf3",
    "promtool",
    "python3",
    "charon-systemd",
    "swanctl",
];

/// The right to use the machine: two labs at a time would disturb each other's timing. Held until dropped.
#[derive(Debug)]
pub struct Turn {
    _lock: Flock<File>,
}

/// Waits for the machine. `None`, with the reason printed, where the tests cannot run here; a panic in CI.
pub fn begin() -> Option<Turn> {
    if let Err(reason) = possible() {
        assert!(env::var("CI").as_deref() != Ok("true"), "end-to-end tests must run in CI, but {reason}");
        eprintln!("skipped: {reason}");
        return None;
    }
    let path = env::temp_dir().join("culvert-e2e.lock");
    let file = File::options().create(true).truncate(false).write(true).open(path).expect("temp directory is writable");
    let lock = Flock::lock(file, FlockArg::LockExclusive).expect("a local file can be locked");
    Some(Turn { _lock: lock })
}

fn possible() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("network namespaces need root; run `sudo -E make test`".to_owned());
    }
    let missing = missing_tools(TOOLS);
    if missing.is_empty() { Ok(()) } else { Err(format!("{} missing; run `make deps`", missing.join(", "))) }
}

/// The directory with `culvert`, `culvert-control` and `culvert-dataplane`: `CULVERT_BIN_DIR`, or else built now, so that
/// what is tested is always what is in the tree.
pub fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| match env::var_os("CULVERT_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => build(),
    })
}

fn build() -> PathBuf {
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(workspace).args(["build", "--quiet", "--bins"]);
    command.args(["-p", "culvert", "-p", "culvert-control", "-p", "culvert-dataplane"]);
    let status = command.status().expect("cargo runs, as it runs this test");
    assert!(status.success(), "the programs under test do not build");
    // target/debug/deps/this-test
    let own = env::current_exe().expect("Linux knows");
    own.ancestors().nth(2).expect("tests are three levels deep").to_owned()
}
