//! Children populated from packets (RFC 4301 §4.4.1.2): an SA for the very values that a packet has.
//!
//! Such a child stands beside the configured one, with its number and its policies, and with selectors of its own. It is
//! kept while something uses it, and its place is taken by another afterwards.

use super::Endpoint;
use crate::config::{Child, DownAction, StartAction};
use crate::sa::IkeSa;
use culvert_model::{AddrRange, Flow, Pfp, PortRange, TrafficSelector};
use std::net::IpAddr;

/// Populated children of one connection: a bound on what strange packets can make the box negotiate.
const MAX_POPULATED: usize = 1024;

impl Endpoint {
    /// The child to bring up for a packet. `None`: no selector is for such packets, or there are too many already.
    pub(super) fn populate(&mut self, conn: usize, child: usize, flow: &Flow, pfp: Pfp) -> Option<(usize, usize)> {
        if pfp == Pfp::NONE {
            return Some((conn, child));
        }
        let children = &self.core.config.connections.get(conn)?.children;
        let from = children.get(child)?;
        let new = populated(from, flow, pfp)?;
        let is_same = |c: &Child| c.id == new.id && (&c.local_ts, &c.remote_ts) == (&new.local_ts, &new.remote_ts);
        if let Some(at) = children.iter().position(is_same) {
            return Some((conn, at));
        }
        let mut places = children.iter().enumerate().filter(|(_, c)| c.populated);
        let free = places.clone().map(|(at, _)| at).find(|at| !self.is_used(conn, *at));
        let is_full = places.by_ref().count() >= MAX_POPULATED;
        let children = &mut self.core.config.connections.get_mut(conn)?.children;
        match free {
            Some(at) => *children.get_mut(at)? = new,
            None if is_full => return None,
            None => children.push(new),
        }
        Some((conn, free.unwrap_or(children.len() - 1)))
    }

    fn is_used(&self, conn: usize, child: usize) -> bool {
        let wanted = self.attempts.is_wanted(conn, child);
        let mut of_conn = self.sas.of_conn(conn);
        // An IKE SA that is not up yet may be for any of them.
        wanted || of_conn.any(|sa: &IkeSa| sa.usable().is_none_or(|e| e.serves(child) || e.holds(child)))
    }
}

/// The configured child, for the packet's values where they are asked for.
fn populated(from: &Child, flow: &Flow, pfp: Pfp) -> Option<Child> {
    let of = |all: &[TrafficSelector], addr: IpAddr, port: Option<u16>| {
        all.iter().copied().find(|ts| ts.matches(addr, flow.protocol, port))
    };
    let local = of(&from.local_ts, flow.source, flow.source_port)?;
    let remote = of(&from.remote_ts, flow.destination, flow.destination_port)?;
    // A port means something only with its protocol.
    let protocol = pfp.protocol || pfp.local_port || pfp.remote_port;
    let narrow = |ts: TrafficSelector, addr: Option<IpAddr>, port: Option<Option<u16>>| TrafficSelector {
        addrs: addr.map_or(ts.addrs, AddrRange::single),
        protocol: if protocol { Some(flow.protocol) } else { ts.protocol },
        ports: match port {
            None => ts.ports,
            Some(None) => ts.ports,
            Some(Some(port)) => PortRange::single(port),
        },
    };
    let local = narrow(local, pfp.local_addr.then_some(flow.source), pfp.local_port.then_some(flow.source_port));
    let remote =
        narrow(remote, pfp.remote_addr.then_some(flow.destination), pfp.remote_port.then_some(flow.destination_port));
    Some(Child {
        local_ts: vec![local],
        remote_ts: vec![remote],
        populated: true,
        // The next packet raises another.
        start_action: StartAction::None,
        dpd_action: DownAction::Clear,
        close_action: DownAction::Clear,
        ..from.clone()
    })
}
