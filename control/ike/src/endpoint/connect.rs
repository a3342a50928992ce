//! Bringing children up: on an IKE SA that stands, or on a new one, again and again.

use super::Endpoint;
use crate::{
    FailureReason, Report, StartAction, Step,
    sa::{IkeSa, TaskKind},
    shared::{Path, SaId},
};
use core::time::Duration;
use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

impl Endpoint {
    pub(super) fn want(&mut self, _now: Instant, conn: usize, child: usize, at: Instant) {
        if !self.core.shutdown && self.core.config.connections.get(conn).is_some() {
            self.attempts.want(conn, child, at);
        }
    }

    fn persistent(&self, conn: usize, child: usize) -> bool {
        let child = self.core.config.connections.get(conn).and_then(|c| c.children.get(child));
        child.is_some_and(|c| {
            c.start_action == StartAction::Start
                || c.dpd_action == crate::DownAction::Restart
                || c.close_action == crate::DownAction::Restart
        })
    }

    /// Begins what is due.
    pub(super) fn pump(&mut self, now: Instant) {
        if self.core.shutdown {
            return;
        }
        for (conn, child) in self.attempts.due(now) {
            self.bring_up(now, conn, child);
        }
    }

    fn bring_up(&mut self, now: Instant, conn: usize, child: usize) {
        let served = self.sas.of_conn(conn).filter_map(IkeSa::usable).any(|e| e.serves(child));
        let connecting = self.sas.of_conn(conn).any(IkeSa::is_connecting);
        let usable = self.sas.of_conn(conn).filter(|sa| sa.usable().is_some()).map(|sa| sa.id).next_back();
        if served {
            self.attempts.forget(conn, child);
        } else if let Some(id) = usable {
            self.attempts.forget(conn, child);
            if let Some(e) = self.sas.get_mut(id).and_then(IkeSa::established_mut) {
                e.enqueue(now, TaskKind::CreateChild { child });
            }
        } else if connecting {
            // It is looked at again when that IKE SA stands or has failed.
            let pause = self.core.config.settings.retry_first;
            self.attempts.postpone(conn, child, now + pause);
        } else {
            self.dial(now, conn, child);
        }
    }

    fn dial(&mut self, now: Instant, conn: usize, child: usize) {
        let Some(config) = self.core.config.connections.get(conn) else { return };
        let failures = self.attempts.failures(conn);
        let remotes = config.dialable();
        let nth = usize::try_from(failures).unwrap_or(0).checked_rem(remotes.len()).unwrap_or(0);
        let remote = remotes.get(nth).copied();
        let local = remote.and_then(|r| config.local_addrs.iter().find(|l| l.is_ipv4() == r.is_ipv4()).copied());
        let (local_port, remote_port) = (config.local_port, config.remote_port);
        let unknown = SocketAddr::new(remote.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)), remote_port);
        let begun = match (local, remote) {
            (Some(local), Some(remote)) => {
                let path =
                    Path { local: SocketAddr::new(local, local_port), remote: SocketAddr::new(remote, remote_port) };
                IkeSa::initiate(&mut self.core, conn, path, Some(child))
            }
            _ => Err(FailureReason::NoAddress),
        };
        match begun {
            Ok(sa) => {
                // In the list until it stands: a failure finds it there.
                let pause = self.core.config.settings.retry_first;
                self.attempts.postpone(conn, child, now + pause);
                self.sas.insert(sa);
            }
            Err(reason) => self.failed(now, conn, child, unknown, Step::IkeSaInit, reason),
        }
    }

    pub(super) fn initiation_failed(
        &mut self,
        now: Instant,
        sa: SaId,
        conn: usize,
        child: Option<usize>,
        step: Step,
        reason: FailureReason,
    ) {
        let peer = self.sas.get(sa).map(|sa| sa.path.remote);
        let Some(peer) = peer else { return };
        match child.or_else(|| self.attempts.first_wanted(conn)) {
            Some(child) => self.failed(now, conn, child, peer, step, reason),
            None => {
                let connection = Some(self.core.connection_name(conn));
                self.core.report(Report::Failed { connection, child: None, peer, step, reason, retry_in: None });
            }
        }
    }

    pub(super) fn child_failed(
        &mut self,
        now: Instant,
        conn: usize,
        child: usize,
        peer: SocketAddr,
        step: Step,
        reason: FailureReason,
    ) {
        self.failed(now, conn, child, peer, step, reason);
    }

    /// Counts a failure, says it, and plans the next try.
    fn failed(&mut self, now: Instant, conn: usize, child: usize, peer: SocketAddr, step: Step, reason: FailureReason) {
        let persistent = self.persistent(conn, child);
        let settings = &self.core.config.settings;
        let (first, most) = (settings.retry_first, settings.retry_most);
        let Some(config) = self.core.config.connections.get(conn) else { return };
        let (tries, connection) = (config.keyingtries, config.name.clone());
        let name = config.children.get(child).map(|c| c.name.clone());
        let failures = self.attempts.failed(conn);
        let again = persistent || tries == 0 || failures < tries;
        let pause = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(most);
        let retry_in = again.then(|| pause + self.core.jitter(pause / 4 + Duration::from_millis(1)));
        match retry_in {
            Some(pause) => {
                self.attempts.put(conn, child, now + pause);
                self.attempts.postpone_all(conn, now + pause);
            }
            None => {
                self.attempts.forget(conn, child);
                self.attempts.succeeded(conn);
            }
        }
        let connection = Some(connection);
        self.core.report(Report::Failed { connection, child: name, peer, step, reason, retry_in });
    }
}
