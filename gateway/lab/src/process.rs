use crate::command::describe;
use crate::{LabError, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// A child process with its own log file. Dropping it ends it: SIGTERM, then SIGKILL.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// The process dies with the calling thread where the command comes from [`crate::Namespace::command`].
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self, LabError> {
        let out = File::options().create(true).append(true).open(log).map_err(LabError::file(log))?;
        let err = out.try_clone().map_err(LabError::file(log))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        // A terminal's Ctrl-C reaches the lab's owner only, which ends everything in order.
        command.process_group(0);
        let child = command.spawn().map_err(|source| LabError::Start { command: describe(command), source })?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), ended: None })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of the log, for messages.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<_> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // Not yet waited for, so the id still belongs to this child.
            let _ = kill(Pid::from_raw(self.pid()), signal);
        }
    }

    /// `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, LabError> {
        let what = format!("the end of `{}`", self.name);
        wait_for(&what, limit, || self.exit_status())
    }

    /// Asks it to end, and returns how it did; after `GRACE` it is killed.
    pub fn stop(&mut self) -> Result<ExitStatus, LabError> {
        self.signal(Signal::SIGTERM);
        self.wait(GRACE).or_else(|_| self.kill())
    }

    pub fn kill(&mut self) -> Result<ExitStatus, LabError> {
        self.signal(Signal::SIGKILL);
        self.wait(GRACE)
    }

    /// An error with the end of the log if it no longer runs.
    pub fn expect_running(&mut self) -> Result<(), LabError> {
        match self.exit_status() {
            None => Ok(()),
            Some(status) => Err(LabError::EndedEarly {
                name: self.name.clone(),
                status: status.to_string(),
                log: self.log_tail(20),
            }),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit_status().is_none() {
            let _ = self.stop();
        }
    }
}

/// True where a process with this id exists and has not ended.
pub fn is_alive(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn log() -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        std::env::temp_dir().join(format!("culvert-lab-test-{}-{n}.log", std::process::id()))
    }

    #[test]
    fn dropping_a_process_ends_it_even_if_it_will_not() {
        let log = log();
        let mut command = Command::new("sh");
        let mut process =
            Process::spawn("deaf", command.args(["-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]), &log)
                .expect("sh exists");
        wait_for("the word", Duration::from_secs(5), || process.log().contains("ready").then_some(())).expect("comes");
        let pid = process.pid();
        assert!(is_alive(pid));
        process.signal(Signal::SIGTERM);
        assert!(process.wait(Duration::from_millis(200)).is_err(), "it ignores the signal");
        process.kill().expect("SIGKILL works");
        drop(process);
        assert!(!is_alive(pid));
        let _ = fs::remove_file(log);
    }

    #[test]
    fn an_early_end_shows_the_log() {
        let log = log();
        let mut command = Command::new("sh");
        let mut process =
            Process::spawn("brief", command.args(["-c", "echo out of luck; exit 4"]), &log).expect("sh exists");
        assert_eq!(process.wait(Duration::from_secs(5)).expect("ends").code(), Some(4));
        let error = process.expect_running().expect_err("it has ended").to_string();
        assert!(error.contains("brief") && error.contains("out of luck"), "{error}");
        let _ = fs::remove_file(log);
    }
}
