use crate::network::Network;
use culvert_lab::{Deadline, LabError, Process, run, wait_for};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// From the start of QEMU to the agent's first word; an idle machine needs a fifth of it.
const BOOT: Duration = Duration::from_secs(180);
/// How long a script may take where the caller does not say.
const PROMPT: Duration = Duration::from_secs(30);
/// Above its own limit, what the way there and back may take.
const GRACE: Duration = Duration::from_secs(10);

/// An emulated machine that runs Debian, and the line to the agent inside. Dropping it switches it off; nothing of what it
/// wrote is kept.
#[derive(Debug)]
pub struct Guest {
    process: Process,
    agent: BufReader<UnixStream>,
}

#[derive(Serialize)]
struct Request<'a> {
    script: &'a str,
    seconds: f64,
}

/// How a script in the guest ended.
#[derive(Debug, Deserialize)]
pub struct Answer {
    pub status: i32,
    /// Standard output and standard error.
    pub output: String,
}

impl Guest {
    /// Boots the image in `image` (see `tests/vm/image.sh`) as the far end of `network`.
    pub fn boot(image: &Path, network: &Network) -> Result<Self, LabError> {
        let directory = network.lab.directory();
        let scripts = directory.join("scripts.ext4");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/guest");
        run(&["mkfs.ext4", "-q", "-d", source, &scripts.to_string_lossy(), "1M"])?;
        let socket = directory.join("agent");
        let console = directory.join("console.log");
        let mut command = network.router.command("nice");
        command.args(["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        // Emulated throughout: a machine that offers KVM may yet hang in it.
        command.args(["-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "1", "-m", "512"]);
        command.arg("-kernel").arg(image.join("vmlinuz")).arg("-initrd").arg(image.join("initrd"));
        command
            .args(["-append", "root=/dev/vda ro console=ttyS0 quiet panic=-1 mitigations=off init=/sbin/guest-init"]);
        // `snapshot`: what the guest writes goes into a temporary file.
        let disk = |file: &Path| format!("if=virtio,format=raw,snapshot=on,file={}", file.display());
        command.args(["-drive", &disk(&image.join("root.ext4")), "-drive", &disk(&scripts)]);
        command.args(["-netdev", "tap,id=net,ifname=guest,script=no,downscript=no,vhost=off"]);
        // Whole frames with finished checksums in both directions, as from a card.
        command.args(["-device", "virtio-net-pci,netdev=net,csum=off,gso=off,guest_csum=off,event_idx=off,romfile="]);
        command.args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]);
        command.args(["-chardev", &format!("socket,id=agent,server=on,wait=off,path={}", socket.display())]);
        command.args(["-device", "virtserialport,chardev=agent"]);
        command.args(["-serial", &format!("file:{}", console.display())]);
        let mut process = network.router.spawn_command("qemu", &mut command)?;

        let mut ended = None;
        let stream = wait_for("QEMU's socket", GRACE, || {
            ended = process.expect_running().err();
            if ended.is_some() { Some(None) } else { UnixStream::connect(&socket).ok().map(Some) }
        })?;
        let Some(stream) = stream else { return Err(ended.unwrap_or(LabError::Status(String::new()))) };
        let mut this = Self { process, agent: BufReader::new(stream) };
        this.answer(BOOT).map_err(|error| {
            let tail = std::fs::read(&console).unwrap_or_default();
            let tail = String::from_utf8_lossy(&tail[tail.len().saturating_sub(2000)..]).into_owned();
            LabError::Status(format!("the guest does not come up: {error}\n{}\n{tail}", this.process.log_tail(10)))
        })?;
        Ok(this)
    }

    /// Runs a shell script in the guest; fails unless it exits with zero.
    pub fn run(&mut self, script: &str) -> Result<String, LabError> {
        let Answer { status, output } = self.output(script, PROMPT)?;
        if status == 0 {
            Ok(output)
        } else {
            Err(LabError::Status(format!("in the guest, exit status {status}:\n{script}\n{}", output.trim())))
        }
    }

    /// Runs a shell script in the guest for at most `limit`, whatever its exit status.
    pub fn output(&mut self, script: &str, limit: Duration) -> Result<Answer, LabError> {
        let request = Request { script, seconds: limit.as_secs_f64() };
        let mut line = serde_json::to_vec(&request).map_err(|error| LabError::Status(error.to_string()))?;
        line.push(b'\n');
        self.agent.get_mut().write_all(&line).map_err(|error| Self::lost(&error))?;
        self.answer(limit + GRACE)
    }

    /// Makes a file with this content.
    pub fn write(&mut self, path: &str, content: &str) -> Result<(), LabError> {
        self.run(&format!("cat >{path} <<'END OF FILE'\n{content}\nEND OF FILE")).map(drop)
    }

    /// One line from the agent.
    fn answer(&mut self, limit: Duration) -> Result<Answer, LabError> {
        let deadline = Deadline::after(limit);
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            if deadline.passed() {
                return Err(LabError::NeverHappened { what: "an answer of the guest".to_owned(), limit });
            }
            self.process.expect_running()?;
            let step = Some(Duration::from_millis(500));
            self.agent.get_ref().set_read_timeout(step).map_err(|error| Self::lost(&error))?;
            match self.agent.read_until(b'\n', &mut line) {
                Ok(0) => return Err(LabError::Status("the guest's line was closed".to_owned())),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(Self::lost(&error)),
            }
        }
        serde_json::from_slice(&line)
            .map_err(|error| LabError::Status(format!("{error} in {}", String::from_utf8_lossy(&line))))
    }

    fn lost(error: &std::io::Error) -> LabError {
        LabError::Status(format!("the guest's line: {error}"))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It has nothing to save.
        let _ = self.process.kill();
    }
}
