//! The part of control that these tests need.

use crate::net::LIMIT;
use culvert_lab::wait_for;
use culvert_link::record::{Command, Event};
use culvert_link::{ControlEnd, Region};
use culvert_model::{Action, AddrRange, Pfp, Policy, PolicyDirection, PolicyId, TrafficSelector};

pub struct Control {
    pub end: ControlEnd,
    token: u64,
}

impl Control {
    pub fn attach(region: &Region) -> Self {
        Self { end: ControlEnd::attach(region).expect("the role is free"), token: 0 }
    }

    /// Sends, and waits for the answer.
    pub fn tell(&mut self, command: &Command) {
        self.token += 1;
        let (mut record, token) = (Vec::new(), self.token);
        command.encode(token, &mut record).expect("it fits");
        self.end.commands.push(&record).expect("there is room");
        let answer = wait_for("an answer", LIMIT, || {
            let bytes = self.end.events.pop(&mut record).expect("a sound ring")?.to_vec();
            self.end.events.commit();
            match Event::decode(&bytes).expect("an event") {
                Event::Done { token: answered, result } if answered == token => Some(result),
                _ => None,
            }
        });
        assert_eq!(answer.expect("in time"), Ok(()), "{command:?}");
    }

    pub fn allow_everything(&mut self) {
        self.tell(&Command::BeginSync);
        let mut id = 0;
        for range in [AddrRange::ANY_V4, AddrRange::ANY_V6] {
            for direction in [PolicyDirection::Outbound, PolicyDirection::Inbound] {
                id += 1;
                let any = vec![TrafficSelector::any(range)];
                let (local, remote) = (any.clone(), any);
                let (id, action) = (PolicyId(id), Action::Bypass);
                self.tell(&Command::SetPolicy(Policy {
                    id,
                    direction,
                    priority: 1,
                    local,
                    remote,
                    action,
                    interface: None,
                    pfp: Pfp::NONE,
                }));
            }
        }
        self.tell(&Command::EndSync);
    }
}
