use crate::{GatewayPlan, LabError, Namespace, Process, is_alive, run, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// A complete gateway, both planes, started by `culvert run` in a namespace.
#[derive(Debug)]
pub struct Culvert {
    namespace: Namespace,
    /// Directory of the three programs.
    programs: PathBuf,
    directory: PathBuf,
    process: Option<Process>,
}

impl Culvert {
    /// `directory` takes the configuration, the shared memory and the state; it must be on tmpfs.
    pub fn new(
        namespace: &Namespace,
        programs: &Path,
        directory: PathBuf,
        plan: &GatewayPlan,
    ) -> Result<Self, LabError> {
        plan.write_culvert(&directory).map_err(LabError::file(&directory))?;
        Ok(Self { namespace: namespace.clone(), programs: programs.to_owned(), directory, process: None })
    }

    pub fn config_file(&self) -> PathBuf {
        self.directory.join("culvert.toml")
    }

    pub fn run_directory(&self) -> PathBuf {
        self.directory.join("run")
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub fn start(&mut self) -> Result<(), LabError> {
        let mut command = self.namespace.command(self.programs.join("culvert"));
        command.arg("run").arg(self.config_file()).arg("--run-dir").arg(self.run_directory());
        command.arg("--state-dir").arg(self.directory.join("state"));
        self.process = Some(self.namespace.spawn_command("culvert", &mut command)?);
        Ok(())
    }

    /// Waits until control answers, or says how the gateway ended.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<(), LabError> {
        let mut ended = None;
        let name = format!("an answer from the gateway in {}", self.namespace.name());
        wait_for(&name, limit, || match self.status_json() {
            Ok(_) => Some(()),
            Err(_) => {
                ended = self.process.as_mut().and_then(|process| process.expect_running().err());
                ended.is_some().then_some(())
            }
        })?;
        ended.map_or(Ok(()), Err)
    }

    /// What `culvert status --json` prints.
    pub fn status_json(&self) -> Result<String, LabError> {
        let program = self.programs.join("culvert");
        let directory = self.run_directory();
        run(&[&program.to_string_lossy(), "status", "--json", "--run-dir", &directory.to_string_lossy()])
    }

    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Clean end: SIGTERM, on which the gateway deletes its SAs at the peers.
    pub fn stop(&mut self) -> Result<Option<ExitStatus>, LabError> {
        self.process.take().map(|mut process| process.stop()).transpose()
    }

    /// SIGKILL for all three processes at once, like a power failure.
    pub fn kill(&mut self) -> Result<(), LabError> {
        let mut pids = self.pids();
        if let Some(process) = self.process.as_ref() {
            // First the supervisor, which would start the others again.
            pids.retain(|&pid| pid != process.pid());
        }
        if let Some(mut process) = self.process.take() {
            process.kill()?;
        }
        for pid in pids {
            send_kill(pid);
        }
        Ok(())
    }

    /// SIGKILL for the process called `name` only; returns its id.
    pub fn kill_plane(&self, name: &str) -> Result<i32, LabError> {
        let pid = self.plane(name).ok_or_else(|| LabError::Status(format!("{name} does not run")))?;
        send_kill(pid);
        Ok(pid)
    }

    /// Id of the running process called `name` (`culvert-control`, `culvert-dataplane`).
    pub fn plane(&self, name: &str) -> Option<i32> {
        // The kernel keeps 15 characters of a name.
        let short: String = name.chars().take(15).collect();
        let named = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == short) && is_alive(*pid)
        };
        self.pids().into_iter().find(named)
    }

    /// Of all processes of this gateway.
    pub fn pids(&self) -> Vec<i32> {
        self.namespace.pids()
    }
}

fn send_kill(pid: i32) {
    use nix::sys::signal::{Signal, kill};
    let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
}
