//! `culvert run`: starts both planes, restarts what dies, stops both in the right order.
//!
//! Control and data plane know nothing of this process but its pid: they end when it does. A plane that refuses to start
//! (exit status [`REFUSED`]) the first time stops everything, so that nothing is left half-started; one that dies later is
//! started again, with a growing pause.

use clap::Args;
use culvert_config::Config;
use culvert_process::{LogTarget, REFUSED};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};
use std::{fs, thread};

const POLL: Duration = Duration::from_millis(20);
const TUNABLES: &str = "GLIBC_TUNABLES";
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A plane that lived this long is started again without a long pause.
const SETTLED: Duration = Duration::from_secs(10);
/// Control deletes its SAs at the peers before it ends.
const CONTROL_GRACE: Duration = Duration::from_secs(5);
const DATAPLANE_GRACE: Duration = Duration::from_secs(3);

#[derive(Args)]
pub struct RunArgs {
    /// Configuration file.
    #[arg(default_value = culvert_config::DEFAULT_PATH)]
    file: PathBuf,
    /// Holds the shared memory and the control socket; must be on tmpfs. Left out: what the configuration says.
    #[arg(long)]
    run_dir: Option<PathBuf>,
    /// Holds what must outlive a reboot (sequence numbers of manual SAs). Left out: what the configuration says.
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Where both planes log.
    #[arg(long, value_enum, default_value = "terminal")]
    log: LogTarget,
}

/// One of the two processes and its restart history.
struct Plane {
    name: &'static str,
    command: Command,
    child: Option<Child>,
    started: Instant,
    pause: Duration,
    due: Option<Instant>,
    /// It ended before: what its successor is refused may pass.
    ended_before: bool,
}

pub fn run(args: &RunArgs) -> ExitCode {
    let config = match Config::from_file(&args.file) {
        Ok(config) => config,
        Err(diagnostics) => {
            eprint!("{}", diagnostics.report(io::stderr().is_terminal()));
            return ExitCode::from(REFUSED);
        }
    };
    match supervise(args, &config) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("culvert: {message}");
            ExitCode::from(REFUSED)
        }
    }
}

fn supervise(args: &RunArgs, config: &Config) -> Result<ExitCode, String> {
    let run_dir = args.run_dir.as_ref().unwrap_or(&config.control.run_dir);
    let state_dir = args.state_dir.as_ref().unwrap_or(&config.control.state_dir);
    // SIGCHLD: where whoever started us ignores it, children could not be waited for.
    let mut signals =
        Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD]).map_err(|e| format!("cannot catch signals: {e}"))?;
    fs::create_dir_all(run_dir)
        .map_err(|e| format!("cannot make the run directory {}: {e}{}", run_dir.display(), root_hint(&e)))?;
    let mut dataplane = Plane::new("culvert-dataplane", args, run_dir)?;
    let mut control = Plane::new("culvert-control", args, run_dir)?;
    // With many tunnels control's memory is large and is touched all over: huge pages make its messages cheaper.
    // The C library asks for them where this is said before the process starts, and the kernel gives them where it can.
    if std::env::var_os(TUNABLES).is_none() {
        control.command.env(TUNABLES, "glibc.malloc.hugetlb=1");
    }
    control.command.arg("--socket").arg(run_dir.join("control.sock")).arg("--state-dir").arg(state_dir);

    dataplane.start()?;
    if let Err(message) = control.start() {
        dataplane.stop(DATAPLANE_GRACE);
        return Err(message);
    }
    let code = loop {
        if signals.pending().any(|signal| matches!(signal, SIGTERM | SIGINT)) {
            break ExitCode::SUCCESS;
        }
        let refused = [&mut dataplane, &mut control].into_iter().find_map(Plane::watch);
        if let Some(name) = refused {
            say(format_args!("{name} refused to start (see above); stopping"));
            break ExitCode::from(REFUSED);
        }
        thread::sleep(POLL);
    };
    control.stop(CONTROL_GRACE);
    dataplane.stop(DATAPLANE_GRACE);
    Ok(code)
}

fn root_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run as root or give --run-dir a directory of your own",
        _ => "",
    }
}

impl Plane {
    fn new(name: &'static str, args: &RunArgs, run_dir: &Path) -> Result<Self, String> {
        let program = beside_this_program(name)?;
        let mut command = Command::new(program);
        command.arg("--config").arg(&args.file);
        command.arg("--link").arg(run_dir.join("link"));
        command.arg("--log").arg(args.log.word());
        command.arg("--parent").arg(std::process::id().to_string());
        Ok(Self { name, command, child: None, started: now(), pause: FIRST_PAUSE, due: None, ended_before: false })
    }

    fn start(&mut self) -> Result<(), String> {
        self.due = None;
        self.started = now();
        let child = self.command.spawn().map_err(|e| format!("cannot start {}: {e}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Restarts the plane if it died. `Some(name)` where it refused to start and never ran before.
    fn watch(&mut self) -> Option<&'static str> {
        if self.child.is_some() && now() - self.started > SETTLED {
            self.pause = FIRST_PAUSE;
        }
        if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
            self.child = None;
            if status.code() == Some(i32::from(REFUSED)) && !self.ended_before {
                return Some(self.name);
            }
            self.ended_before = true;
            say(format_args!("{} ended ({}); starting it again in {:?}", self.name, describe(status), self.pause));
            self.due = Some(now() + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        if self.due.is_some_and(|due| now() >= due)
            && let Err(message) = self.start()
        {
            say(format_args!("{message}; trying again in {:?}", self.pause));
            self.due = Some(now() + self.pause);
        }
        None
    }

    fn stop(&mut self, grace: Duration) {
        let Some(mut child) = self.child.take() else { return };
        // A child that is gone already answers ESRCH; there is nothing more to do then.
        let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
        let deadline = now() + grace;
        while now() < deadline {
            if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(POLL);
        }
        say(format_args!("{} did not end within {grace:?}; killing it", self.name));
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Unlike `eprintln!`, does not panic where nobody reads any more: the gateway must not end for that.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "culvert: {text}");
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}

/// The planes' programs are installed beside `culvert` itself.
fn beside_this_program(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| format!("cannot tell where this program is: {e}"))?;
    let program = own.parent().unwrap_or(Path::new("/")).join(name);
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!("{} is missing; it must be installed beside {}", program.display(), own.display()))
    }
}

#[expect(clippy::disallowed_methods, reason = "the supervisor is a daemon: it owns its clock")]
fn now() -> Instant {
    Instant::now()
}
