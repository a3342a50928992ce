use crate::culvert::CulvertPeer;
use culvert_lab::{LabError, wait_for};
use std::time::Duration;

/// A Child SA pair as its gateway tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildView {
    pub name: String,
    /// Eight hexadecimal digits.
    pub spi_in: String,
    pub spi_out: String,
    pub packets_in: u64,
    pub packets_out: u64,
}

/// How long anything but a time-out may take.
pub(crate) const PROMPT: Duration = Duration::from_secs(15);

/// One end of the tunnel, whoever made it.
pub trait Gateway {
    /// Starts it and waits until it answers its operator.
    fn start(&mut self) -> Result<(), LabError>;
    /// Brings a child up from this side, and waits for it. Culvert does it by its `start_action`.
    fn initiate(&mut self, child: &str) -> Result<(), LabError>;
    /// Deletes all SAs from this side. Culvert does it as it ends.
    fn terminate(&mut self) -> Result<(), LabError>;
    /// Makes this side rekey the child and waits until it has. Culvert does it by its `rekey_time`.
    fn rekey_child(&mut self, child: &str) -> Result<(), LabError>;
    fn rekey_ike(&mut self) -> Result<(), LabError>;
    /// Child SAs that carry traffic now.
    fn children(&self) -> Result<Vec<ChildView>, LabError>;
    /// Initiator's and responder's SPI of each IKE SA that stands, sixteen hexadecimal digits each.
    fn ike_spis(&self) -> Result<Vec<(String, String)>, LabError>;
    /// SIGKILL, with no word to the peer.
    fn kill(&mut self) -> Result<(), LabError>;
    fn log(&self) -> String;

    /// For what only Culvert can be asked.
    ///
    /// # Panics
    /// Where it is a foreign peer: the test is wrong then.
    fn culvert(&mut self) -> &mut CulvertPeer {
        panic!("this gateway is not a Culvert")
    }

    /// Waits until the child carries traffic.
    fn wait_child(&self, child: &str) -> Result<ChildView, LabError> {
        self.wait_child_for(child, PROMPT)
    }

    fn wait_child_for(&self, child: &str, limit: Duration) -> Result<ChildView, LabError> {
        wait_for(&format!("child {child} up"), limit, || {
            self.children().ok()?.into_iter().find(|view| view.name == child)
        })
    }

    /// Waits until no child is left.
    fn wait_no_children(&self, limit: Duration) -> Result<(), LabError> {
        wait_for("the end of all children", limit, || self.children().ok()?.is_empty().then_some(()))
    }
}
