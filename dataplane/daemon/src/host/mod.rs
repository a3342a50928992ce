//! The host interface: a Linux TUN device behind which the machine's own stack has the gateway's addresses.

mod setup;

use crate::error::Error;
use crate::packet::Packet;
use arrayvec::ArrayVec;
use culvert_config::{Config, Device, Host};
use culvert_engine::{BURST, Buffer};
use culvert_telemetry::DropReason;
use dpdk::Pool;
use setup::Kernel;
use std::io;
use tun_rs::{DeviceBuilder, SyncDevice};

/// Longer than any IP packet.
const FRAME: usize = 1 << 16;

/// The device, with its addresses, routes and rules; they go when this is dropped.
pub struct HostInterface {
    device: SyncDevice,
    kernel: Kernel,
    frame: Box<[u8]>,
}

impl HostInterface {
    /// `None` where the configuration has none.
    pub fn open(config: &Config) -> Result<Option<Self>, Error> {
        let Some(host) = &config.host else { return Ok(None) };
        let device = open_device(host, mtu(config))
            .map_err(|source| Error::HostDevice { interface: host.interface.clone(), source })?;
        let index =
            device.if_index().map_err(|source| Error::HostDevice { interface: host.interface.clone(), source })?;
        let kernel = Kernel::set_up(config, host, index)?;
        tracing::info!("the host's own stack has the gateway's addresses on {}", host.interface);
        Ok(Some(Self { device, kernel, frame: vec![0; FRAME].into_boxed_slice() }))
    }

    /// Hands a packet to the host's stack.
    pub fn send(&self, packet: &[u8]) -> Result<(), DropReason> {
        match self.device.send(packet) {
            Ok(_) => Ok(()),
            // The queue is full, or somebody has set the device down.
            Err(_) => Err(DropReason::HostFull),
        }
    }

    /// What the host's stack has sent, a burst at most. `dropped` is told of what found no buffer.
    pub fn receive(
        &mut self,
        pool: &Pool,
        large: &Pool,
        mut dropped: impl FnMut(DropReason),
    ) -> ArrayVec<Packet, BURST> {
        let mut burst = ArrayVec::new();
        // Bounds the round where every packet is dropped.
        for _ in 0..BURST {
            let Ok(len) = self.device.recv(&mut self.frame) else { break };
            // Ordinarily it has the MTU of the wires at most; an administrator may have set another.
            let is_large = len > usize::from(pool.data_len());
            let packet = if is_large { large.alloc_for(len) } else { pool.alloc() };
            let Some(mut packet) = packet.map(Packet) else {
                dropped(if is_large { DropReason::NoLargeBuffer } else { DropReason::NoBuffer });
                continue;
            };
            match packet.append(len).zip(self.frame.get(..len)) {
                Some((room, octets)) => {
                    room.copy_from_slice(octets);
                    burst.push(packet);
                }
                None => dropped(DropReason::Oversized),
            }
        }
        burst
    }
}

impl Drop for HostInterface {
    fn drop(&mut self) {
        self.kernel.forget();
    }
}

fn open_device(host: &Host, mtu: u16) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new().name(host.interface.clone()).mtu(mtu).enable(false).build_sync()?;
    device.set_nonblocking(true)?;
    Ok(device)
}

/// What fits all wires. What a tunnel takes is less; the stack is told when it matters.
fn mtu(config: &Config) -> u16 {
    let wires = config.interfaces.iter().filter(|interface| interface.device != Device::Tunnel);
    wires.map(|interface| interface.mtu).min().unwrap_or(1500)
}
