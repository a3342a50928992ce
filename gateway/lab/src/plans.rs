use crate::{Child, Connection, GatewayPlan, PortPlan, Route, Secret, Side, Start, TwoGateways};

/// Address family of the outer headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Site {
    A,
    B,
}

/// Both gateways' configurations, made alike; a test changes what it is about.
#[derive(Clone, Debug)]
pub struct Plans {
    pub a: GatewayPlan,
    pub b: GatewayPlan,
}

/// For laboratories only: it is in the source.
const PSK: &str = "the quick brown fox jumps over 13 lazy dogs";

impl Plans {
    /// One connection `site` with one child `lan` for the whole inside networks of both families; A starts it if `start`
    /// says so, B waits.
    pub fn new(net: &TwoGateways, outer: Family, start: Start) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut a = plan(net, Site::A, outer, 0);
        let b = plan(net, Site::B, outer, u16::from(cores > 1));
        a.connections[0].children[0].start = start;
        Self { a, b }
    }

    /// Applies one change to both sides' only connection.
    pub fn connection(&mut self, change: impl Fn(&mut Connection)) {
        change(&mut self.a.connections[0]);
        change(&mut self.b.connections[0]);
    }

    /// Applies one change to both sides' only child.
    pub fn child(&mut self, change: impl Fn(&mut Child)) {
        self.connection(|connection| change(&mut connection.children[0]));
    }
}

fn plan(net: &TwoGateways, site: Site, outer: Family, core: u16) -> GatewayPlan {
    let (own, other) = match site {
        Site::A => (&net.a, &net.b),
        Site::B => (&net.b, &net.a),
    };
    let (local, remote) = match (outer, site) {
        (Family::V4, Site::A) => (own.wan4, other.wan4),
        (Family::V4, Site::B) => (own.wan4, net.outside_of_a()),
        (Family::V6, _) => (own.wan6, other.wan6),
    };
    let (local_id, remote_id) = match site {
        Site::A => ("a.example", "b.example"),
        Site::B => ("b.example", "a.example"),
    };
    let child = Child {
        name: "lan".to_owned(),
        interface: None,
        local_ts: vec![own.net4.to_owned(), own.net6.to_owned()],
        remote_ts: vec![other.net4.to_owned(), other.net6.to_owned()],
        esp_proposals: "aes256gcm16".to_owned(),
        ah: false,
        transport: false,
        start: Start::None,
        rekey_time: None,
        dpd_action: None,
        close_action: None,
        populate: Vec::new(),
        fragment: None,
    };
    let connection = Connection {
        name: "site".to_owned(),
        local_addrs: vec![local.to_owned()],
        remote_addrs: vec![remote.to_owned()],
        local_id: local_id.to_owned(),
        remote_id: remote_id.to_owned(),
        proposals: "aes256gcm16-prfsha384-x25519".to_owned(),
        dpd_delay: None,
        rekey_time: None,
        children: vec![child],
    };
    GatewayPlan {
        workers: vec![core],
        ports: vec![port("lan", own.lan), port("wan", own.wan)],
        routes: routes(own),
        connections: vec![connection],
        manual: Vec::new(),
        secrets: vec![Secret { ids: vec!["a.example".to_owned(), "b.example".to_owned()], psk: PSK.to_owned() }],
        metrics: "127.0.0.1:9469".to_owned(),
        ..GatewayPlan::default()
    }
}

fn port(name: &str, addresses: [&str; 2]) -> PortPlan {
    let addresses = addresses.map(str::to_owned).to_vec();
    PortPlan { name: name.to_owned(), interface: name.to_owned(), addresses }
}

/// Only behind NAT is the peer not a neighbour.
fn routes(own: &Side) -> Vec<Route> {
    let default = own.next_hop().map(|via| Route { destination: "0.0.0.0/0".to_owned(), via: via.to_owned() });
    default.into_iter().collect()
}
