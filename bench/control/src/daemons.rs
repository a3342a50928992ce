//! Two control processes with a data plane between them that does nothing but answer: the programs as they are run, over
//! the link as it is.

use crate::clock::{Stopwatch, WallTime};
use crate::{Error, machine};
use core::time::Duration;
use culvert_lab::Process;
use culvert_link::record::{Command, Datagram, Event};
use culvert_link::{DataplaneEnd, Layout, Region};
use culvert_model::Direction;
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How long all tunnels are held once they are up.
const HELD: Duration = Duration::from_secs(5);
/// So often that every tunnel shows several signs of life meanwhile.
const DPD_SECONDS: u32 = 1;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Serialize)]
pub struct Daemons {
    pub tunnels: u32,
    /// From the start of the second process, with reading of its configuration, to the last SA.
    pub seconds: f64,
    pub setups_per_second: f64,
    pub sides: [Side; 2],
    pub held_seconds: f64,
    /// Messages of both that crossed while they were held.
    pub dpd_messages: u64,
    pub removed: u64,
}

#[derive(Serialize)]
pub struct Side {
    pub role: &'static str,
    /// Of the whole process, all of its threads: reading the configuration, starting, setting up.
    pub processor_us_per_setup: f64,
    /// Of the whole process, with its configuration.
    pub resident_bytes: u64,
    pub processor_share_while_held: f64,
}

/// One process and the other end of its link.
struct Site {
    process: Process,
    link: DataplaneEnd,
    directory: PathBuf,
    buffer: Vec<u8>,
    encoded: Vec<u8>,
    installed: [u64; 2],
    removed: u64,
    sent: u64,
}

pub fn measure(program: &Path, tunnels: u32) -> Result<Daemons, Error> {
    let place = Place::new()?;
    let mut responder = Site::start(program, &place.0, "responder", tunnels)?;
    let clock = Stopwatch::<WallTime>::start();
    let mut initiator = Site::start(program, &place.0, "initiator", tunnels)?;
    let up = |site: &Site| site.installed.iter().all(|count| *count >= u64::from(tunnels));
    while !(up(&responder) && up(&initiator)) {
        if clock.elapsed() > PATIENCE {
            return Err(Error::Wrong("the processes did not bring all tunnels up"));
        }
        exchange(&mut initiator, &mut responder)?;
    }
    let seconds = clock.elapsed().as_secs_f64();
    let spent = [initiator.processor_seconds()?, responder.processor_seconds()?];
    let resident = [initiator.resident()?, responder.resident()?];
    let (before, held) = (initiator.sent + responder.sent, Stopwatch::<WallTime>::start());
    while held.elapsed() < HELD {
        exchange(&mut initiator, &mut responder)?;
    }
    let held_seconds = held.elapsed().as_secs_f64();
    let after = [initiator.processor_seconds()?, responder.processor_seconds()?];
    let dpd_messages = initiator.sent + responder.sent - before;
    let removed = initiator.removed + responder.removed;
    let side = |role, at: usize| Side {
        role,
        processor_us_per_setup: spent[at] * 1e6 / f64::from(tunnels),
        resident_bytes: resident[at],
        processor_share_while_held: (after[at] - spent[at]) / held_seconds,
    };
    Ok(Daemons {
        tunnels,
        seconds,
        setups_per_second: f64::from(tunnels) / seconds,
        sides: [side("initiator", 0), side("responder", 1)],
        held_seconds,
        dpd_messages,
        removed,
    })
}

/// One look at both links.
fn exchange(a: &mut Site, b: &mut Site) -> Result<(), Error> {
    let busy = a.answer()? | b.answer()?;
    let busy = a.carry(b)? | b.carry(a)? | busy;
    if !busy {
        std::thread::sleep(Duration::from_micros(200));
    }
    a.process.expect_running().and_then(|()| b.process.expect_running()).map_err(Error::Lab)
}

impl Site {
    fn start(program: &Path, place: &Path, role: &'static str, tunnels: u32) -> Result<Self, Error> {
        let directory = place.join(role);
        let file = |error| Error::File(directory.clone(), error);
        fs::create_dir_all(&directory).map_err(file)?;
        fs::write(directory.join("culvert.toml"), configuration(role, tunnels)).map_err(file)?;
        let psk = directory.join("all.psk");
        fs::write(&psk, "a pre-shared key of thirty-two oc").map_err(file)?;
        fs::set_permissions(&psk, fs::Permissions::from_mode(0o600)).map_err(file)?;
        let layout = Layout { slots: slots(tunnels), ..Layout::default() };
        let region = Region::create_or_attach(&directory.join("link"), layout);
        let link = region.and_then(|region| DataplaneEnd::attach(&region)).map_err(Error::Link)?;
        let mut command = std::process::Command::new(program);
        command.arg("--config").arg(directory.join("culvert.toml")).arg("--link").arg(directory.join("link"));
        command.arg("--socket").arg(directory.join("sock")).arg("--state-dir").arg(directory.join("state"));
        command.env("RUST_LOG", "error");
        let process = Process::spawn(role, &mut command, &directory.join("log")).map_err(Error::Lab)?;
        let (buffer, encoded) = (Vec::new(), Vec::new());
        Ok(Self { process, link, directory, buffer, encoded, installed: [0; 2], removed: 0, sent: 0 })
    }

    /// Does as control says, all at once and without fail.
    fn answer(&mut self) -> Result<bool, Error> {
        let mut busy = false;
        while let Ok(Some(record)) = self.link.commands.pop(&mut self.buffer) {
            busy = true;
            let (token, command) = Command::decode(record).map_err(|_| Error::Wrong("a command makes no sense"))?;
            match command {
                Command::Install(spec) => self.installed[usize::from(spec.direction == Direction::Outbound)] += 1,
                Command::Remove { .. } => self.removed += 1,
                _ => {}
            }
            Event::Done { token, result: Ok(()) }.encode(&mut self.encoded);
            self.link.events.push(&self.encoded).map_err(|_| Error::Wrong("control takes no answers"))?;
        }
        self.link.commands.commit();
        Ok(busy)
    }

    /// What this side sends reaches the other.
    fn carry(&mut self, other: &mut Self) -> Result<bool, Error> {
        let mut busy = false;
        while let Ok(Some(record)) = self.link.inject.pop(&mut self.buffer) {
            busy = true;
            let Datagram { local, remote, payload } =
                Datagram::decode(record).map_err(|_| Error::Wrong("a message makes no sense"))?;
            let turned = Datagram { local: remote, remote: local, payload };
            turned.encode(&mut self.encoded).map_err(|_| Error::Wrong("a message is too long"))?;
            // A full ring loses it, as a network does.
            let _ = other.link.punt.push(&self.encoded);
            self.sent += 1;
        }
        self.link.inject.commit();
        Ok(busy)
    }

    fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.process.pid()))
    }

    fn processor_seconds(&self) -> Result<f64, Error> {
        machine::processor_seconds_of(&self.proc())
    }

    fn resident(&self) -> Result<u64, Error> {
        machine::resident_of(&self.proc())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Nobody carries its farewells any more.
        let _ = self.process.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A directory on tmpfs, gone with this.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self, Error> {
        let path = PathBuf::from(format!("/dev/shm/culvert-bench-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| Error::File(path.clone(), error))?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Each tunnel has two, rekeys double that for a while.
fn slots(tunnels: u32) -> u32 {
    (tunnels * 6).next_power_of_two().max(1024)
}

fn configuration(role: &str, tunnels: u32) -> String {
    let begins = role == "initiator";
    let (own, peer) = if begins { ("192.0.2.2", "192.0.2.1") } else { ("192.0.2.1", "192.0.2.2") };
    let slots = slots(tunnels);
    let mut text = format!(
        "[dataplane]\nsa_slots = {slots}\n[[interface]]\nname = \"wan\"\ndevice = \"net_null0\"\naddresses = [\"{own}/24\"]\n\
         [[secret]]\nfile = \"all.psk\"\n"
    );
    for tunnel in 0..tunnels {
        let (branch, start) = (format!("branch-{tunnel}.example"), if begins { "start" } else { "none" });
        let net = format!("10.{}.{}.0/24", tunnel >> 8 & 255, tunnel & 255);
        let (local_id, remote_id) =
            if begins { (branch.as_str(), "hub.example") } else { ("hub.example", branch.as_str()) };
        let (local_ts, remote_ts) =
            if begins { (net.as_str(), "172.16.0.0/16") } else { ("172.16.0.0/16", net.as_str()) };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[[connection]]\nname = \"branch-{tunnel}\"\nlocal_addrs = [\"{own}\"]\nremote_addrs = [\"{peer}\"]\n\
             proposals = [\"{ike}\"]\nlocal = {{ id = \"{local_id}\" }}\nremote = {{ id = \"{remote_id}\" }}\n\
             dpd_delay = \"{DPD_SECONDS}s\"\n[[connection.child]]\nname = \"lan\"\nlocal_ts = [\"{local_ts}\"]\n\
             remote_ts = [\"{remote_ts}\"]\nesp_proposals = [\"{esp}\"]\nstart_action = \"{start}\"\n",
            ike = crate::sites::IKE,
            esp = crate::sites::ESP,
        );
    }
    text
}
