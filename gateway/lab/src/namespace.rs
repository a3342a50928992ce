use crate::command::{finish, output};
use crate::{LabError, Process};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

/// One named network namespace, as `ip netns` makes them. Removed with its [`crate::Lab`].
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    logs: PathBuf,
}

impl Namespace {
    pub(crate) fn create(name: String, logs: &Path) -> Result<Self, LabError> {
        crate::run(&["ip", "netns", "add", &name])?;
        let namespace = Self { name, logs: logs.to_owned() };
        namespace.ip(&["link", "set", "lo", "up"])?;
        // No duplicate address detection: addresses work at once and the wire stays quiet.
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        namespace.sysctl("net/ipv6/conf/default/router_solicitations", "0")?;
        namespace.sysctl("net/ipv6/conf/default/autoconf", "0")?;
        Ok(namespace)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside and die with the thread that starts it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setpriv", "--pdeathsig", "KILL", "--"]);
        command.arg(program);
        command
    }

    /// Runs a command line inside, to its end, at most 20 seconds; fails unless it exits with zero.
    pub fn run(&self, line: &[&str]) -> Result<String, LabError> {
        self.run_for(line, Duration::from_secs(20))
    }

    pub fn run_for(&self, line: &[&str], limit: Duration) -> Result<String, LabError> {
        finish(&mut self.prepared(line), limit)
    }

    /// Runs a command line inside and returns its output whatever its exit status.
    pub fn output(&self, line: &[&str], limit: Duration) -> Result<Output, LabError> {
        output(&mut self.prepared(line), limit)
    }

    fn prepared(&self, line: &[&str]) -> Command {
        let (program, args) = line.split_first().unwrap_or((&"true", &[]));
        let mut command = self.command(program);
        command.args(args);
        command
    }

    /// Starts a process inside; its output goes to a log file named after it.
    pub fn spawn(&self, name: &str, line: &[&str]) -> Result<Process, LabError> {
        self.spawn_command(name, &mut self.prepared(line))
    }

    /// Starts a command made by [`Namespace::command`].
    pub fn spawn_command(&self, name: &str, command: &mut Command) -> Result<Process, LabError> {
        Process::spawn(name, command, &self.logs.join(format!("{}-{name}.log", self.name)))
    }

    /// `ip -n NAMESPACE ARGS`.
    pub fn ip(&self, args: &[&str]) -> Result<String, LabError> {
        let mut line = vec!["ip", "-n", &self.name];
        line.extend(args);
        crate::run(&line)
    }

    /// `key` in the form of a path below `/proc/sys`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), LabError> {
        let path = PathBuf::from("/proc/sys").join(key);
        let value = value.to_owned();
        self.enter(move || std::fs::write(&path, value).map_err(LabError::file(path)))?
    }

    /// Runs `action` on a thread of this process that is inside the namespace. Sockets opened there stay there.
    pub fn enter<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        let path = Path::new("/run/netns").join(&self.name);
        let entered = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let file = File::open(&path)?;
                    setns(&file, CloneFlags::CLONE_NEWNET)?;
                    Ok(action())
                })
                .join()
        });
        match entered {
            Ok(result) => result.map_err(|source| LabError::Enter { name: self.name.clone(), source }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Connects `self` and `other` by a pair of interfaces, both up.
    pub fn link(&self, name: &str, other: &Namespace, other_name: &str) -> Result<(), LabError> {
        self.ip(&["link", "add", name, "type", "veth", "peer", "name", other_name, "netns", other.name()])?;
        self.ip(&["link", "set", name, "up"])?;
        other.ip(&["link", "set", other_name, "up"]).map(drop)
    }

    /// Adds addresses in prefix notation, usable at once.
    pub fn add_addresses(&self, interface: &str, addresses: &[&str]) -> Result<(), LabError> {
        for address in addresses {
            let mut args = vec!["address", "add", address, "dev", interface];
            if address.contains(':') {
                args.push("nodad");
            }
            self.ip(&args)?;
        }
        Ok(())
    }

    /// The kernel neither finishes checksums nor splits segments late on veth: what leaves must be complete frames.
    pub fn plain_frames(&self, interface: &str) -> Result<(), LabError> {
        self.run(&["ethtool", "-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off"]).map(drop)
    }

    /// Ids of the processes inside.
    pub fn pids(&self) -> Vec<i32> {
        pids_in(&self.name)
    }
}

pub(crate) fn pids_in(name: &str) -> Vec<i32> {
    let listed = crate::run(&["ip", "netns", "pids", name]).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
