use crate::gateway::{ChildView, Gateway, PROMPT};
use crate::prerequisites::programs;
use culvert_lab::{Culvert, GatewayPlan, LabError, Namespace, wait_for};
use culvert_status::{Status, TunnelState};
use std::path::PathBuf;

/// The gateway under test, both planes, started by `culvert run`.
#[derive(Debug)]
pub struct CulvertPeer {
    pub inner: Culvert,
}

impl CulvertPeer {
    pub fn new(namespace: &Namespace, directory: PathBuf, plan: &GatewayPlan) -> Result<Self, LabError> {
        Ok(Self { inner: Culvert::new(namespace, programs(), directory, plan)? })
    }

    pub fn status(&self) -> Result<Status, LabError> {
        let text = self.inner.status_json()?;
        serde_json::from_str(&text).map_err(|error| LabError::Status(format!("{error} in {text}")))
    }

    /// The count of a drop reason.
    pub fn drops(&self, reason: &str) -> Result<u64, LabError> {
        Ok(self.status()?.drops.get(reason).copied().unwrap_or(0))
    }
}

impl Gateway for CulvertPeer {
    fn start(&mut self) -> Result<(), LabError> {
        self.inner.start()?;
        self.inner.wait_ready(PROMPT)
    }

    fn initiate(&mut self, child: &str) -> Result<(), LabError> {
        self.wait_child(child).map(drop)
    }

    fn terminate(&mut self) -> Result<(), LabError> {
        self.inner.stop().map(drop)
    }

    fn rekey_child(&mut self, child: &str) -> Result<(), LabError> {
        let before = self.wait_child(child)?;
        wait_for("the rekeyed child", PROMPT, || {
            let children = self.children().ok()?;
            children.iter().any(|c| c.name == child && c.spi_in != before.spi_in).then_some(())
        })
    }

    fn rekey_ike(&mut self) -> Result<(), LabError> {
        let before = self.ike_spis()?;
        wait_for("the rekeyed IKE SA", PROMPT, || {
            let now = self.ike_spis().ok()?;
            now.iter().any(|spis| !before.contains(spis)).then_some(())
        })
    }

    fn children(&self) -> Result<Vec<ChildView>, LabError> {
        let up = |state| matches!(state, TunnelState::Installed | TunnelState::Rekeying);
        let tunnels = self.status()?.tunnels.into_iter().filter(|tunnel| up(tunnel.state));
        Ok(tunnels
            .map(|tunnel| ChildView {
                name: tunnel.child,
                spi_in: tunnel.spi_in.unwrap_or_default(),
                spi_out: tunnel.spi_out.unwrap_or_default(),
                packets_in: tunnel.packets_in,
                packets_out: tunnel.packets_out,
            })
            .collect())
    }

    fn ike_spis(&self) -> Result<Vec<(String, String)>, LabError> {
        let established = |state: &str| state.eq_ignore_ascii_case("established");
        let sas = self.status()?.ike_sas.into_iter().filter(|sa| established(&sa.state));
        Ok(sas.map(|sa| (sa.initiator_spi, sa.responder_spi)).collect())
    }

    fn kill(&mut self) -> Result<(), LabError> {
        self.inner.kill()
    }

    fn log(&self) -> String {
        self.inner.log()
    }

    fn culvert(&mut self) -> &mut CulvertPeer {
        self
    }
}
