//! IKE's news as log lines and metrics.

use culvert_ike::{DownReason, FailureReason, Report};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What happened since the start, for metrics; and the last failure of each child, for status.
#[derive(Default)]
pub struct Tally {
    pub ike_rekeys: BTreeMap<String, u64>,
    pub child_rekeys: BTreeMap<(String, String), u64>,
    pub dpd_timeouts: BTreeMap<String, u64>,
    pub failures: BTreeMap<&'static str, u64>,
    pub discarded: BTreeMap<&'static str, u64>,
    strangers_told: Option<Instant>,
    last_errors: BTreeMap<(String, Option<String>), String>,
}

impl Tally {
    /// Why the child, or its whole connection, is not up.
    pub fn last_error(&self, connection: &str, child: &str) -> Option<&String> {
        let of = |child: Option<&str>| self.last_errors.get(&(connection.to_owned(), child.map(str::to_owned)));
        of(Some(child)).or_else(|| of(None))
    }

    /// Anybody can fail as a stranger, as often as he likes: one line a second is enough for whoever mends a peer.
    fn may_tell_of_strangers(&mut self, now: Instant) -> bool {
        let due = self.strangers_told.is_none_or(|told| now.duration_since(told) >= Duration::from_secs(1));
        if due {
            self.strangers_told = Some(now);
        }
        due
    }

    pub fn take(&mut self, now: Instant, report: Report) {
        match report {
            Report::IkeUp { connection, local, remote, local_id, remote_id, initiator, proposal } => {
                let way = if initiator { "initiated" } else { "answered" };
                tracing::info!(
                    "{connection}: IKE SA up ({way}), {local} [{local_id}] … {remote} [{remote_id}], {proposal}"
                );
                self.last_errors.remove(&(connection, None));
            }
            Report::IkeRekeyed { connection, remote } => {
                tracing::info!("{connection}: IKE SA with {remote} rekeyed");
                *self.ike_rekeys.entry(connection).or_default() += 1;
            }
            Report::IkeDown { connection, remote, reason } => {
                if reason == DownReason::PeerDead {
                    *self.dpd_timeouts.entry(connection.clone()).or_default() += 1;
                }
                tracing::info!("{connection}: IKE SA with {remote} down: {reason}");
            }
            Report::ChildUp { connection, name, spi_in, spi_out, suite, local_ts, remote_ts, .. } => {
                let (local, remote) = (list(&local_ts), list(&remote_ts));
                tracing::info!("{connection}/{name}: up, SPIs {spi_in} in, {spi_out} out, {suite}, {local} ⇄ {remote}");
                self.last_errors.remove(&(connection, Some(name)));
            }
            Report::ChildRekeyed { connection, name, old_spi_in, spi_in, spi_out, .. } => {
                tracing::info!("{connection}/{name}: rekeyed, SPI {old_spi_in} is now {spi_in} in, {spi_out} out");
                *self.child_rekeys.entry((connection, name)).or_default() += 1;
            }
            Report::ChildDown { connection, name, spi_in, reason, .. } => {
                tracing::info!("{connection}/{name}: SA {spi_in} down: {reason}");
            }
            Report::Failed { connection, child, peer, step, reason, retry_in } => {
                *self.failures.entry(failure_label(&reason)).or_default() += 1;
                let retry = retry_in.map_or_else(String::new, |pause| format!("; next try in {} s", pause.as_secs()));
                let name = match (&connection, &child) {
                    (Some(connection), Some(child)) => format!("{connection}/{child}"),
                    (Some(connection), None) => connection.clone(),
                    (None, _) => "unknown connection".to_owned(),
                };
                let text = shortened(&format!("{step} with {peer} failed: {reason}"));
                if connection.is_some() || self.may_tell_of_strangers(now) {
                    tracing::warn!("{name}: {text}{retry}");
                } else {
                    tracing::debug!("{name}: {text}");
                }
                if let Some(connection) = connection {
                    self.last_errors.insert((connection, child), shortened(&format!("{step} with {peer}: {reason}")));
                }
            }
            Report::Dropped { remote, reason } => {
                *self.discarded.entry("malformed").or_default() += 1;
                tracing::debug!("a datagram from {remote} is no IKE message: {reason}");
            }
            Report::UnknownIkeSpi { remote } => {
                *self.discarded.entry("unknown_spi").or_default() += 1;
                tracing::debug!("a message from {remote} belongs to no IKE SA here");
            }
            Report::HalfOpenFlood { remote, refused } => {
                *self.discarded.entry("half_open_flood").or_default() += 1;
                let what = if refused { "requests are refused" } else { "cookies are asked for" };
                tracing::debug!("many half-open IKE SAs, the last from {remote}: {what}");
            }
        }
    }
}

fn list(items: &[culvert_model::TrafficSelector]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// A peer may offer hundreds of transforms; a line of the log need not hold them all.
fn shortened(text: &str) -> String {
    const MOST: usize = 600;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} …", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The metric's label.
fn failure_label(reason: &FailureReason) -> &'static str {
    match reason {
        FailureReason::NoAnswer { .. } => "no_answer",
        FailureReason::Refused { .. } => "refused",
        FailureReason::NoIkeProposal { .. } | FailureReason::NoChildProposal { .. } => "no_proposal",
        FailureReason::WrongMode { .. } | FailureReason::TransportThroughNat => "mode",
        FailureReason::TsUnacceptable { .. } => "traffic_selectors",
        FailureReason::WrongIdentity { .. } => "identity",
        FailureReason::NoSecret { .. } => "no_secret",
        FailureReason::AuthenticationFailed { .. } => "authentication",
        FailureReason::NoConnection { .. } => "no_connection",
        FailureReason::KeyExchange(_) => "key_exchange",
        FailureReason::BadMessage(_) | FailureReason::UnexpectedAnswer => "protocol",
        FailureReason::NoSlot => "no_slot",
        FailureReason::DataPlaneRefused => "data_plane",
        FailureReason::Encode(_) => "encode",
        FailureReason::NoAddress => "no_address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn strangers_get_a_line_a_second() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        let told =
            [0, 1, 999, 1000, 1500, 2000].map(|ms| tally.may_tell_of_strangers(start + Duration::from_millis(ms)));
        assert_eq!(told, [true, false, false, true, false, true]);
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let cut = shortened(&"ä".repeat(1000));
        assert_eq!(cut.chars().count(), 602);
        assert_eq!(shortened("short"), "short");
    }
}
