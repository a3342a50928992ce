use crate::network::Network;
use crate::traffic::Talk;
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
    /// Of the last request.
    id: u64,
}

#[derive(Serialize)]
struct Request<'a> {
    id: u64,
    seconds: f64,
    #[serde(flatten)]
    order: &'a Order<'a>,
}

/// See `guest/agent.py`.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Order<'a> {
    Script(&'a str),
    Talk(&'a Talk),
    Counters(bool),
}

/// What the guest's kernel has counted.
#[derive(Debug, Deserialize)]
pub struct Counters {
    /// Destination and packets of every state.
    pub states: Vec<(String, u64)>,
    /// `/proc/net/xfrm_stat`.
    pub xfrm_stat: String,
    /// `/proc/net/snmp` and `snmp6` of the guest's own host.
    pub host: String,
    /// `/proc/net/dev` and `/proc/net/snmp` of the guest, and of its own host.
    pub lost_here: [String; 2],
    pub lost_behind: [String; 2],
}

#[derive(Debug, Deserialize)]
struct Answer {
    /// Of the request.
    id: u64,
    status: i32,
    /// Standard output and standard error.
    output: String,
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
        for tap in ["guest", "tagged"] {
            command.args(["-netdev", &format!("tap,id={tap},ifname={tap},script=no,downscript=no,vhost=off")]);
            // Whole frames with finished checksums in both directions, as from a card.
            let card = "virtio-net-pci,csum=off,gso=off,guest_csum=off,event_idx=off,romfile=";
            command.args(["-device", &format!("{card},netdev={tap}")]);
        }
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
        let mut this = Self { process, agent: BufReader::new(stream), id: 0 };
        this.answer(BOOT).map_err(|error| {
            let tail = std::fs::read(&console).unwrap_or_default();
            let tail = String::from_utf8_lossy(&tail[tail.len().saturating_sub(2000)..]).into_owned();
            LabError::Status(format!("the guest does not come up: {error}\n{}\n{tail}", this.process.log_tail(10)))
        })?;
        Ok(this)
    }

    /// Runs a shell script in the guest; fails unless it exits with zero.
    pub fn run(&mut self, script: &str) -> Result<String, LabError> {
        self.ask(&Order::Script(script), script)
    }

    /// Several lines for `ip`, by one process.
    pub fn ip(&mut self, lines: &str) -> Result<String, LabError> {
        self.run(&format!("ip -batch - <<'END OF LINES'\n{lines}\nEND OF LINES"))
    }

    /// Lets the guest, or its own host, talk; fails unless all goes well.
    pub fn talk(&mut self, talk: &Talk) -> Result<String, LabError> {
        self.ask(&Order::Talk(talk), "talk")
    }

    pub fn counters(&mut self) -> Result<Counters, LabError> {
        let text = self.ask(&Order::Counters(true), "counters")?;
        serde_json::from_str(&text).map_err(|error| LabError::Status(format!("{error} in {text}")))
    }

    fn ask(&mut self, order: &Order<'_>, what: &str) -> Result<String, LabError> {
        self.id += 1;
        let request = Request { id: self.id, seconds: PROMPT.as_secs_f64(), order };
        let mut line = serde_json::to_vec(&request).map_err(|error| LabError::Status(error.to_string()))?;
        line.push(b'\n');
        self.agent.get_mut().write_all(&line).map_err(|error| Self::lost(&error))?;
        let Answer { status, output, .. } = self.answer(PROMPT + GRACE)?;
        if status == 0 {
            Ok(output)
        } else {
            Err(LabError::Status(format!("in the guest, exit status {status}:\n{what}\n{}", output.trim())))
        }
    }

    /// Makes a file with this content.
    pub fn write(&mut self, path: &str, content: &str) -> Result<(), LabError> {
        self.run(&format!("cat >{path} <<'END OF FILE'\n{content}\nEND OF FILE")).map(drop)
    }

    /// The answer to the last request; late ones to those before are thrown away.
    fn answer(&mut self, limit: Duration) -> Result<Answer, LabError> {
        let deadline = Deadline::after(limit);
        loop {
            let line = self.line(deadline)?;
            let answer: Answer = serde_json::from_slice(&line)
                .map_err(|error| LabError::Status(format!("{error} in {}", String::from_utf8_lossy(&line))))?;
            if answer.id == self.id {
                return Ok(answer);
            }
        }
    }

    fn line(&mut self, deadline: Deadline) -> Result<Vec<u8>, LabError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            if deadline.passed() {
                return Err(LabError::NeverHappened {
                    what: "an answer of the guest".to_owned(),
                    limit: deadline.limit(),
                });
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
        Ok(line)
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
