//! The security policy database that a configuration stands for.

use crate::schema::{Child, Connection, ManualSa, PolicyEntry};
use crate::words::{PfpField, PolicyAction, PolicyWay, StartAction};
use crate::{Config, DownAction};
use culvert_model::{Action, ChildId, InterfaceId, Pfp, Policy, PolicyDirection, PolicyId, TrafficSelector};

/// Behind every `[[policy]]`, whose priority is at most 999 999.
const CHILD_PRIORITY: u32 = 1_000_000;
/// Policies of children are numbered 2 × child and 2 × child + 1, so the order among them is that of the file.
/// `[[policy]]` entries are numbered likewise from here on.
const ENTRY_BASE: u32 = 1 << 31;

/// What a [`ChildId`] stands for.
#[derive(Clone, Copy, Debug)]
pub enum ChildRef<'a> {
    Ike(&'a Connection, &'a Child),
    Manual(&'a ManualSa),
}

impl<'a> ChildRef<'a> {
    /// Name of the connection; a manual SA is its own connection.
    pub fn connection_name(&self) -> &'a str {
        match self {
            Self::Ike(connection, _) => &connection.name,
            Self::Manual(sa) => &sa.name,
        }
    }

    pub fn name(&self) -> &'a str {
        match self {
            Self::Ike(_, child) => &child.name,
            Self::Manual(sa) => &sa.name,
        }
    }

    /// Name of the tunnel interface it belongs to.
    pub fn interface(&self) -> Option<&'a str> {
        match self {
            Self::Ike(_, child) => child.interface.as_deref(),
            Self::Manual(sa) => sa.interface.as_deref(),
        }
    }

    pub(crate) fn selectors(&self) -> (&'a [TrafficSelector], &'a [TrafficSelector]) {
        match self {
            Self::Ike(_, child) => (&child.local_ts, &child.remote_ts),
            Self::Manual(sa) => (&sa.local_ts, &sa.remote_ts),
        }
    }

    /// What an acquire takes from its packet.
    fn pfp(&self) -> Pfp {
        let fields = match self {
            Self::Ike(_, child) => child.populate_from_packet.as_slice(),
            Self::Manual(_) => &[],
        };
        let has = |field| fields.contains(&field);
        Pfp {
            local_addr: has(PfpField::LocalAddr),
            remote_addr: has(PfpField::RemoteAddr),
            protocol: has(PfpField::Protocol),
            local_port: has(PfpField::LocalPort),
            remote_port: has(PfpField::RemotePort),
        }
    }

    /// A packet without an SA may bring one up. Wherever that is wanted at any time of the child's life: the acquire is
    /// refused by control while it is not.
    fn raises_acquires(&self) -> bool {
        match self {
            Self::Ike(connection, child) => {
                !connection.is_passive()
                    && (child.start_action == StartAction::Trap
                        || child.dpd_action == DownAction::Trap
                        || child.close_action == DownAction::Trap)
            }
            Self::Manual(_) => false,
        }
    }
}

impl Config {
    /// All children in the order of their [`ChildId`]s: those of connections in the order of the file, then manual SAs.
    pub fn children(&self) -> impl Iterator<Item = (ChildId, ChildRef<'_>)> {
        crate::bundle::children(&self.connections, &self.manual_sas)
    }

    /// The number of the interface called `name`.
    pub fn interface_id(&self, name: &str) -> Option<InterfaceId> {
        let place = self.interfaces.iter().position(|interface| interface.name == name)?;
        u16::try_from(place).ok().map(InterfaceId)
    }

    pub fn child(&self, id: ChildId) -> Option<ChildRef<'_>> {
        self.children().find(|(child, _)| *child == id).map(|(_, child)| child)
    }
}

/// All policies, in the order they are looked at. PROTECT policies stand from the start, whatever `start_action` says,
/// so that nothing they cover leaves in clear before there is an SA.
pub fn policies(config: &Config) -> Vec<Policy> {
    let mut all: Vec<Policy> = (0..).zip(&config.policies).flat_map(|(i, entry)| of_entry(config, i, entry)).collect();
    for (ChildId(number), child) in config.children() {
        let (local, remote) = child.selectors();
        let action = Action::Protect { child: ChildId(number), trap: child.raises_acquires() };
        let interface = child.interface().and_then(|name| config.interface_id(name));
        for (offset, direction) in [(0, PolicyDirection::Outbound), (1, PolicyDirection::Inbound)] {
            all.push(Policy {
                id: PolicyId(2 * number + offset),
                direction,
                priority: CHILD_PRIORITY,
                local: local.to_vec(),
                remote: remote.to_vec(),
                action,
                interface,
                pfp: child.pfp(),
            });
        }
    }
    all.sort_by_key(|policy| (policy.priority, policy.id));
    all
}

fn of_entry(config: &Config, index: u32, entry: &PolicyEntry) -> impl Iterator<Item = Policy> {
    let interface = entry.interface.as_ref().and_then(|name| config.interface_id(name));
    let action = match entry.action {
        PolicyAction::Bypass => Action::Bypass,
        PolicyAction::Discard => Action::Discard,
    };
    let directions: &[_] = match entry.direction {
        PolicyWay::Out => &[PolicyDirection::Outbound],
        PolicyWay::In => &[PolicyDirection::Inbound],
        PolicyWay::Both => &[PolicyDirection::Outbound, PolicyDirection::Inbound],
    };
    directions.iter().map(move |direction| Policy {
        id: PolicyId(ENTRY_BASE + 2 * index + u32::from(*direction == PolicyDirection::Inbound)),
        direction: *direction,
        priority: entry.priority,
        local: entry.local_ts.clone(),
        remote: entry.remote_ts.clone(),
        action,
        interface,
        pfp: Pfp::NONE,
    })
}
