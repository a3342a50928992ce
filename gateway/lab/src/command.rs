use crate::LabError;
use std::env;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// How long a tool such as `ip` may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs one command line to its end and returns what it printed.
pub fn run(line: &[&str]) -> Result<String, LabError> {
    let (program, args) = line.split_first().unwrap_or((&"true", &[]));
    let mut command = Command::new(program);
    command.args(args);
    finish(&mut command, LIMIT)
}

/// Runs `command` to its end, within `limit`.
pub(crate) fn finish(command: &mut Command, limit: Duration) -> Result<String, LabError> {
    let shown = describe(command);
    let output = output(command, limit)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    if output.status.code() == Some(TIMEOUT_STATUS) {
        return Err(LabError::TimedOut { command: shown, limit });
    }
    let mut stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if stderr.is_empty() {
        stderr = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    }
    Err(LabError::Failed { command: shown, status: output.status, stderr })
}

/// What `timeout` says when it had to step in.
const TIMEOUT_STATUS: i32 = 124;

/// Like [`finish`], whatever the exit status.
pub(crate) fn output(command: &mut Command, limit: Duration) -> Result<Output, LabError> {
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=2", &format!("{}", limit.as_secs_f64())]);
    bounded.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(key, value),
            None => bounded.env_remove(key),
        };
    }
    bounded.stdin(Stdio::null());
    bounded.output().map_err(|source| LabError::Start { command: describe(command), source })
}

/// The command as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// Those of `tools` that are neither in PATH nor in the directories for administrators.
pub fn missing_tools<'a>(tools: &[&'a str]) -> Vec<&'a str> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<_> = env::split_paths(&path).collect();
    places.extend(["/usr/sbin".into(), "/sbin".into()]);
    tools.iter().copied().filter(|tool| !places.iter().any(|place| place.join(tool).is_file())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_words() {
        let error = run(&["sh", "-c", "echo no such luck >&2; exit 3"]).expect_err("exits with 3");
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.contains("no such luck") && text.contains('3'), "{text}");
    }

    #[test]
    fn a_missing_program_and_a_slow_one_are_told_apart() {
        let mut slow = Command::new("sleep");
        let error = finish(slow.arg("30"), Duration::from_millis(100)).expect_err("is stopped");
        assert!(matches!(error, LabError::TimedOut { .. }), "{error}");
        let error = run(&["culvert-no-such-tool"]).expect_err("does not exist");
        assert!(error.to_string().contains("culvert-no-such-tool"), "{error}");
        assert_eq!(missing_tools(&["sh", "culvert-no-such-tool"]), ["culvert-no-such-tool"]);
    }
}
