use std::fmt::Write;
use std::fs;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What a child does when the gateway starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    None,
    Start,
    Trap,
}

impl Start {
    pub fn word(self) -> &'static str {
        match self {
            Start::None => "none",
            Start::Start => "start",
            Start::Trap => "trap",
        }
    }
}

/// How the data plane takes a kernel interface over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// The fast one. In front of it the kernel puts IPv4 fragments together.
    #[default]
    AfPacket,
    /// Every frame as it is.
    Pcap,
}

impl Driver {
    fn device(self, interface: &str) -> String {
        match self {
            Self::AfPacket => format!("net_af_packet,iface={interface}"),
            Self::Pcap => format!("net_pcap,rx_iface_in={interface},tx_iface={interface}"),
        }
    }
}

/// One gateway's whole configuration, in words that both Culvert and a foreign peer can be configured from.
#[derive(Clone, Debug, Default)]
pub struct GatewayPlan {
    /// Cores of the workers.
    pub workers: Vec<u16>,
    pub ports: Vec<PortPlan>,
    /// Culvert only.
    pub driver: Driver,
    pub routes: Vec<Route>,
    pub connections: Vec<Connection>,
    pub manual: Vec<ManualSa>,
    pub secrets: Vec<Secret>,
    /// Inside the gateway's own namespace.
    pub metrics: String,
    /// Culvert only: ask for hugepages, which a test machine may not have.
    pub hugepages: bool,
    /// Culvert only: more of the configuration, as it will stand in the file.
    pub more: String,
}

/// A port and the kernel interface (a veth end) it takes over.
#[derive(Clone, Debug)]
pub struct PortPlan {
    pub name: String,
    pub interface: String,
    pub addresses: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub destination: String,
    pub via: String,
}

#[derive(Clone, Debug)]
pub struct Connection {
    pub name: String,
    pub local_addrs: Vec<String>,
    pub remote_addrs: Vec<String>,
    pub local_id: String,
    pub remote_id: String,
    pub proposals: String,
    /// swanctl's notation (`10s`), as all times here.
    pub dpd_delay: Option<String>,
    pub rekey_time: Option<String>,
    pub children: Vec<Child>,
}

#[derive(Clone, Debug)]
pub struct Child {
    pub name: String,
    /// Culvert only: the tunnel interface it belongs to.
    pub interface: Option<String>,
    pub local_ts: Vec<String>,
    pub remote_ts: Vec<String>,
    /// Of AH instead, with `ah`.
    pub esp_proposals: String,
    pub ah: bool,
    pub transport: bool,
    pub start: Start,
    pub rekey_time: Option<String>,
    pub dpd_action: Option<Start>,
    pub close_action: Option<Start>,
    /// `populate_from_packet`.
    pub populate: Vec<String>,
    /// Culvert only: where what does not fit is cut, "before" or "after" sealing.
    pub fragment: Option<String>,
}

/// A pair of SAs without IKE.
#[derive(Clone, Debug)]
pub struct ManualSa {
    pub name: String,
    pub local: String,
    pub remote: String,
    pub spi_in: u32,
    pub spi_out: u32,
    pub local_ts: Vec<String>,
    pub remote_ts: Vec<String>,
    pub suite: String,
    /// Hexadecimal, key and salt.
    pub key_in: String,
    pub key_out: String,
}

/// A pre-shared key. Culvert reads it from a file, strongSwan from its configuration.
#[derive(Clone, Debug)]
pub struct Secret {
    pub ids: Vec<String>,
    pub psk: String,
}

impl GatewayPlan {
    /// Writes `culvert.toml` and the secret files it names into `directory`.
    pub fn write_culvert(&self, directory: &Path) -> io::Result<()> {
        for (n, secret) in self.secrets.iter().enumerate() {
            private_file(&directory.join(format!("{n}.psk")), &secret.psk)?;
        }
        for manual in &self.manual {
            private_file(&directory.join(format!("{}-in.key", manual.name)), &manual.key_in)?;
            private_file(&directory.join(format!("{}-out.key", manual.name)), &manual.key_out)?;
        }
        private_file(&directory.join("culvert.toml"), &self.culvert_toml())
    }

    /// The configuration in Culvert's own language.
    pub fn culvert_toml(&self) -> String {
        let mut out = format!(
            "[dataplane]\nworkers = {:?}\nmemory = {:?}\nmemory_size = \"128M\"\nidle = \"adaptive\"\n\n[metrics]\nlisten = {:?}\n\n[control]\nretransmit_timeout = \"1s\"\nretransmit_tries = 4\n",
            self.workers,
            if self.hugepages { "hugepages" } else { "plain" },
            self.metrics
        );
        let into = &mut out;
        for port in &self.ports {
            table(into, "interface");
            text(into, "name", &port.name);
            text(into, "device", &self.driver.device(&port.interface));
            list(into, "addresses", &port.addresses);
        }
        for route in &self.routes {
            table(into, "route");
            text(into, "destination", &route.destination);
            text(into, "via", &route.via);
        }
        for connection in &self.connections {
            connection.culvert_toml(into);
        }
        for manual in &self.manual {
            manual.culvert_toml(into);
        }
        for (n, secret) in self.secrets.iter().enumerate() {
            table(into, "secret");
            list(into, "ids", &secret.ids);
            text(into, "file", &format!("{n}.psk"));
        }
        out.push('\n');
        out.push_str(&self.more);
        out
    }
}

impl Connection {
    fn culvert_toml(&self, into: &mut String) {
        table(into, "connection");
        text(into, "name", &self.name);
        list(into, "local_addrs", &self.local_addrs);
        list(into, "remote_addrs", &self.remote_addrs);
        list(into, "proposals", &[&self.proposals]);
        let _ = writeln!(into, "local = {{ auth = \"psk\", id = {:?} }}", self.local_id);
        let _ = writeln!(into, "remote = {{ auth = \"psk\", id = {:?} }}", self.remote_id);
        optional(into, "dpd_delay", self.dpd_delay.as_deref());
        rekey(into, self.rekey_time.as_deref());
        for child in &self.children {
            table(into, "connection.child");
            text(into, "name", &child.name);
            optional(into, "interface", child.interface.as_deref());
            list(into, "local_ts", &child.local_ts);
            list(into, "remote_ts", &child.remote_ts);
            list(into, child.proposals_key(), &[&child.esp_proposals]);
            optional(into, "mode", child.transport.then_some("transport"));
            text(into, "start_action", child.start.word());
            rekey(into, child.rekey_time.as_deref());
            // Times of seconds leave no tenth in which a collision could be slept over.
            optional(into, "life_time", child.rekey_time.as_ref().filter(|time| *time != "0s").map(|_| "60s"));
            optional(into, "dpd_action", child.dpd_action.map(Start::word));
            optional(into, "close_action", child.close_action.map(Start::word));
            optional(into, "fragment", child.fragment.as_deref());
            if !child.populate.is_empty() {
                list(into, "populate_from_packet", &child.populate);
            }
        }
    }
}

impl Child {
    /// What both languages call its proposals.
    pub fn proposals_key(&self) -> &'static str {
        if self.ah { "ah_proposals" } else { "esp_proposals" }
    }
}

impl ManualSa {
    fn culvert_toml(&self, into: &mut String) {
        table(into, "manual_sa");
        text(into, "name", &self.name);
        text(into, "local", &self.local);
        text(into, "remote", &self.remote);
        let _ = writeln!(into, "spi_in = {:#x}\nspi_out = {:#x}", self.spi_in, self.spi_out);
        list(into, "local_ts", &self.local_ts);
        list(into, "remote_ts", &self.remote_ts);
        text(into, "suite", &self.suite);
        text(into, "key_in_file", &format!("{}-in.key", self.name));
        text(into, "key_out_file", &format!("{}-out.key", self.name));
    }
}

/// Writes a file that only its owner can read.
fn private_file(path: &Path, content: &str) -> io::Result<()> {
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())
}

fn table(into: &mut String, name: &str) {
    let _ = writeln!(into, "\n[[{name}]]");
}

fn text(into: &mut String, key: &str, value: &str) {
    let _ = writeln!(into, "{key} = {value:?}");
}

/// Where a test sets the time, it is meant exactly.
fn rekey(into: &mut String, time: Option<&str>) {
    optional(into, "rekey_time", time);
    optional(into, "rand_time", time.map(|_| "0s"));
}

fn optional(into: &mut String, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(into, key, value);
    }
}

fn list(into: &mut String, key: &str, values: &[impl AsRef<str>]) {
    let quoted: Vec<_> = values.iter().map(|value| format!("{:?}", value.as_ref())).collect();
    let _ = writeln!(into, "{key} = [{}]", quoted.join(", "));
}
