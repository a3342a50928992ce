//! DPDK without a card: ports that are rings in memory, with real buffers in them.

use crate::Error;
use core::sync::atomic::{AtomicU32, Ordering};
use culvert_dataplane::io::Exit;
use dpdk::{Device, Eal, EalConfig, Memory, Pool, PoolConfig, Port, PortConfig, RxQueue, TxQueue};
use std::sync::OnceLock;

/// Octets for a packet in a buffer, and the largest packet: so that the largest frame of the mix fits when it is sealed.
const DATA_LEN: u16 = 2048;
pub const MTU: u16 = 2000;
/// Some windows of every worker, and what threads keep for themselves.
const BUFFERS: u32 = 8191;
/// A window and some more, so that the buffers of a window are always the same.
const CACHE: u32 = 256;

/// DPDK, started once.
pub struct Lab {
    pub eal: Eal,
    pub pool: Pool,
    next: AtomicU32,
}

static LAB: OnceLock<Result<Lab, String>> = OnceLock::new();

impl Lab {
    /// `memory` counts for the first call.
    pub fn start(memory: Memory) -> Result<&'static Self, Error> {
        LAB.get_or_init(|| Self::new(memory)).as_ref().map_err(|text| Error::Dpdk(text.clone()))
    }

    fn new(memory: Memory) -> Result<Self, String> {
        let config = EalConfig {
            memory,
            file_prefix: format!("culvert-bench-{}", std::process::id()),
            cores: Vec::new(),
            log_level: 4,
            extra: Vec::new(),
        };
        let eal = Eal::start(&config).map_err(|error| error.to_string())?;
        let pool =
            PoolConfig { name: "bench".to_owned(), buffers: BUFFERS, data_len: DATA_LEN, cache: CACHE, socket: None };
        let pool = Pool::create(&eal, &pool).map_err(|error| error.to_string())?;
        Ok(Self { eal, pool, next: AtomicU32::new(0) })
    }

    /// For packets, and for those that fit no ordinary buffer: there are none here.
    pub fn pools(&self) -> (Pool, Pool) {
        (self.pool.clone(), self.pool.clone())
    }

    /// A port with a [`Stub`] for each worker.
    pub fn line(&self, workers: u16) -> Result<Line, Error> {
        let failed = |error: dpdk::PortError| Error::Dpdk(error.to_string());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let config = PortConfig {
            rx_queues: 2 * workers,
            tx_queues: 2 * workers,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: MTU,
            mac: None,
            promiscuous: false,
            pool: self.pool.clone(),
            large: None,
        };
        let device = Device::probe(&self.eal, &format!("net_ring{number}")).map_err(failed)?;
        let started = device.start(&config).map_err(failed)?;
        let (mut rx, mut tx) = (started.rx.into_iter(), started.tx.into_iter());
        let mut stubs = Vec::new();
        // What a ring port sends by a queue comes in at its receive queue of the same number.
        while let (Some(gateway_rx), Some(bench_rx), Some(bench_tx), Some(gateway_tx)) =
            (rx.next(), rx.next(), tx.next(), tx.next())
        {
            stubs.push(Stub { gateway_rx, gateway_tx: Exit::own(gateway_tx), bench_rx, bench_tx });
        }
        Ok(Line { stubs, _port: started.port })
    }
}

/// One port.
pub struct Line {
    pub stubs: Vec<Stub>,
    _port: Port,
}

/// A worker's queues of a port, and the far ends of them.
pub struct Stub {
    pub gateway_rx: RxQueue,
    pub gateway_tx: Exit,
    pub bench_rx: RxQueue,
    pub bench_tx: TxQueue,
}
