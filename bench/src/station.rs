//! One worker's loop, and what stands at the far ends of its queues: makes windows of packets, takes what comes out.

use crate::Error;
use crate::net::{self, Chance, LAN, ROUTER_MAC, WAN};
use crate::site::Extent;
use crate::size::Size;
use core::sync::atomic::{AtomicU64, Ordering};
use culvert_cipher::{MultiBuffer, Provider};
use culvert_dataplane::worker::Loop;
use culvert_engine::{BURST, Crypto, Job, MAX_ICV, PortId};
use culvert_model::{Spi, Suite};
use culvert_wire::{EtherType, Mac, esp, ethernet, ipv4, protocol, udp};
use dpdk::{Burst, Mbuf, Pool, RxQueue, TxQueue};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Bursts of a window: few enough that all buffers lie in the second-level cache, and whole dozens of packets.
pub const BURSTS: usize = 6;
pub const PACKETS: usize = BURSTS * BURST;
/// Flows where there are fewer tunnels.
const FLOWS: u32 = 64;

/// What comes in, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// Clear frame in, ESP frame out.
    Seal,
    /// ESP frame in, clear frame out.
    Open,
    /// Clear frame in and out.
    Bypass,
    /// ESP frame with a wrong ICV in, nothing out.
    BadIcv,
    /// ESP frame of no SA in, nothing out.
    UnknownSpi,
}

impl Path {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Open => "open",
            Self::Bypass => "bypass",
            Self::BadIcv => "bad-icv",
            Self::UnknownSpi => "unknown-spi",
        }
    }
}

/// Has the worker seen the flow before?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    Known,
    /// Each packet is the first of its flow.
    First,
}

/// A window's packets.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub path: Path,
    pub flow: Flow,
    pub size: Size,
}

/// The far end of a tunnel, sending.
pub struct Peer {
    pub spi: Spi,
    pub key: <MultiBuffer as Crypto>::Key,
    /// The next one.
    pub sequence: AtomicU64,
}

/// The far ends of a worker's queues.
pub struct Ends {
    pub wan: (RxQueue, TxQueue),
    pub lan: (RxQueue, TxQueue),
}

pub struct Station {
    pub work: Loop<MultiBuffer>,
    ends: Ends,
    pool: Pool,
    cipher: MultiBuffer,
    peers: Arc<[Peer]>,
    extent: Extent,
    /// In which the tunnels have their turn.
    order: Vec<u32>,
    at: usize,
    chance: Chance,
}

/// From where to where.
struct Ways {
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    source_mac: Mac,
}

impl Station {
    pub fn new(work: Loop<MultiBuffer>, ends: Ends, pool: Pool, peers: Arc<[Peer]>, extent: Extent) -> Self {
        let mut chance = Chance(7);
        let order = chance.shuffled(extent.tunnels);
        Self { work, ends, pool, cipher: MultiBuffer::for_thread(), peers, extent, order, at: 0, chance }
    }

    /// From now on all packets are this tunnel's.
    pub fn stay_on(&mut self, tunnel: u32) {
        (self.order, self.at) = (vec![tunnel], 0);
    }

    fn end(&mut self, port: PortId) -> &mut (RxQueue, TxQueue) {
        if port == WAN { &mut self.ends.wan } else { &mut self.ends.lan }
    }

    pub fn send_one(&mut self, port: PortId, frame: &[u8]) -> Result<(), Error> {
        let mut packet = self.pool.alloc().ok_or(Error::Setup("no buffer"))?;
        packet.append(frame.len()).ok_or(Error::Setup("a long frame"))?.copy_from_slice(frame);
        let mut burst = Burst::new();
        burst.push(packet);
        self.send(port, burst)
    }

    fn send(&mut self, port: PortId, mut burst: Burst) -> Result<(), Error> {
        self.end(port).1.tx_burst(&mut burst);
        if burst.is_empty() { Ok(()) } else { Err(Error::Setup("a ring is full")) }
    }

    /// Throws away what came out of a port; says how many that were.
    pub fn drain(&mut self, port: PortId) -> usize {
        self.drain_with(port, |_| ())
    }

    pub fn drain_with(&mut self, port: PortId, mut look: impl FnMut(&mut Mbuf)) -> usize {
        let mut count = 0;
        let mut burst = Burst::new();
        while self.end(port).0.rx_burst(&mut burst) > 0 {
            count += burst.len();
            burst.iter_mut().for_each(&mut look);
            burst.clear();
        }
        count
    }

    /// Puts a window of packets where the worker will take them from.
    pub fn load(&mut self, traffic: Traffic) -> Result<(), Error> {
        let port = if matches!(traffic.path, Path::Seal | Path::Bypass) { LAN } else { WAN };
        for first in (0..PACKETS).step_by(BURST) {
            let places = first..first + BURST;
            let burst = match traffic.path {
                Path::Seal | Path::Bypass => places.map(|place| self.clear(traffic, place)).collect::<Option<Burst>>(),
                Path::Open | Path::BadIcv | Path::UnknownSpi => self.sealed(traffic, places),
            };
            self.send(port, burst.ok_or(Error::Setup("a frame could not be made"))?)?;
        }
        Ok(())
    }

    /// The whole of it. This and nothing else is timed.
    #[inline(never)]
    pub fn turns(&mut self) -> u64 {
        let begin = dpdk::rdtsc();
        let mut last = begin;
        for _ in 0..BURSTS {
            (_, last) = self.work.turn(last);
        }
        last.wrapping_sub(begin)
    }

    /// Takes out what a window became; an error unless all of it came out that should.
    pub fn collect(&mut self, traffic: Traffic) -> Result<(), Error> {
        let (port, expected) = match traffic.path {
            Path::Seal | Path::Bypass => (WAN, PACKETS),
            Path::Open => (LAN, PACKETS),
            Path::BadIcv | Path::UnknownSpi => (LAN, 0),
        };
        let found = self.drain(port);
        if found == expected { Ok(()) } else { Err(Error::Lost { expected, found }) }
    }

    fn next_tunnel(&mut self) -> u32 {
        let tunnel = self.order.get(self.at).copied().unwrap_or(0);
        self.at = if self.at + 1 < self.order.len() { self.at + 1 } else { 0 };
        tunnel
    }

    /// As the lan sends it: a flow of its own for each tunnel; where there are few of them, several.
    fn ways(&mut self, traffic: Traffic, place: usize, tunnel: u32) -> Ways {
        let flow = if self.extent.tunnels < FLOWS { place as u32 % FLOWS } else { tunnel };
        let (host, far, ports) = match traffic.flow {
            Flow::Known => (flow, flow / net::HOSTS, (1000 + flow as u16 % 8, 2000)),
            Flow::First => {
                let chance = self.chance.next();
                (chance, chance >> 4, (self.chance.next() as u16 | 1, chance as u16 | 1))
            }
        };
        let to = match traffic.path {
            Path::Bypass => {
                let bypasses = self.extent.bypasses.max(1);
                let policy = match traffic.flow {
                    Flow::Known => (u64::from(flow % FLOWS) * u64::from(bypasses) / u64::from(FLOWS)) as u32,
                    Flow::First => self.chance.below(bypasses),
                };
                net::bypassed_host(policy, far)
            }
            _ => net::branch_host(tunnel, far),
        };
        Ways { from: (net::host(host), ports.0), to: (to, ports.1), source_mac: net::host_mac(host) }
    }

    fn clear(&mut self, traffic: Traffic, place: usize) -> Option<Mbuf> {
        let tunnel = self.next_tunnel();
        let ways = self.ways(traffic, place, tunnel);
        let mut packet = self.pool.alloc()?;
        let ip_len = traffic.size.ip_len(place);
        let frame = packet.append(ethernet::LEN + ip_len)?;
        let (header, ip) = frame.split_at_mut_checked(ethernet::LEN)?;
        let station = net::station(LAN);
        let ether = ethernet::Repr { destination: station, source: ways.source_mac, ether_type: EtherType::IPV4 };
        header.copy_from_slice(&ether.to_bytes());
        datagram(ip, ways.from, ways.to)?;
        Some(packet)
    }

    /// As the peers send it: the way back of [`Self::ways`].
    fn sealed(&mut self, traffic: Traffic, places: core::ops::Range<usize>) -> Option<Burst> {
        let suite = self.extent.suite;
        let (mut burst, mut numbers) = (Burst::new(), [(0, 0); BURST]);
        for (place, number) in places.zip(&mut numbers) {
            let tunnel = self.next_tunnel();
            let ways = self.ways(traffic, place, tunnel);
            let peer = self.peers.get(tunnel as usize)?;
            let sequence = peer.sequence.fetch_add(1, Ordering::Relaxed);
            *number = (tunnel as usize, sequence);
            let mut packet = self.pool.alloc()?;
            let ip_len = traffic.size.ip_len(place);
            let frame = packet.append(ethernet::LEN + ipv4::LEN + sealed_len(suite, ip_len))?;
            envelope(frame, net::peer(tunnel))?;
            let sealed = frame.get_mut(ethernet::LEN + ipv4::LEN..)?;
            let spi = if traffic.path == Path::UnknownSpi { peer.spi.get() ^ 0x4000_0000 } else { peer.spi.get() };
            sealed.get_mut(..4)?.copy_from_slice(&spi.to_be_bytes());
            sealed.get_mut(4..8)?.copy_from_slice(&(sequence as u32).to_be_bytes());
            let payload = sealed.get_mut(esp::LEN + suite.iv_len()..)?;
            datagram(payload.get_mut(..ip_len)?, ways.to, ways.from)?;
            let padding = payload.len() - suite.icv_len() - ip_len;
            for (octet, count) in payload.get_mut(ip_len..ip_len + padding - 2)?.iter_mut().zip(1..) {
                *octet = count;
            }
            *payload.get_mut(ip_len + padding - 2..)?.first_chunk_mut()? = [padding as u8 - 2, protocol::IPV4];
            burst.push(packet);
        }
        self.seal(&mut burst, &numbers)?;
        if traffic.path == Path::BadIcv {
            for packet in &mut burst {
                *packet.data_mut().last_mut()? ^= 1;
            }
        }
        Some(burst)
    }

    fn seal(&mut self, burst: &mut Burst, numbers: &[(usize, u64)]) -> Option<()> {
        let mut jobs = Vec::with_capacity(BURST);
        for (packet, (tunnel, sequence)) in burst.iter_mut().zip(numbers) {
            let key = &self.peers.get(*tunnel)?.key;
            let data = packet.data_mut().get_mut(ethernet::LEN + ipv4::LEN..)?;
            jobs.push(Job { key, sequence: *sequence, esn: true, data, icv: [0; MAX_ICV], ok: false });
        }
        self.cipher.seal_burst(&mut jobs);
        jobs.iter().all(|job| job.ok).then_some(())
    }
}

/// What the cipher gets of an IP packet: ESP header and IV, padding and trailer that make it whole words (RFC 4303 §2.4),
/// ICV.
pub const fn sealed_len(suite: Suite, ip_len: usize) -> usize {
    esp::LEN + suite.iv_len() + (ip_len + 2).next_multiple_of(suite.alignment()) + suite.icv_len()
}

/// A UDP datagram in an IP packet that fills `packet`. Without a checksum of its own, as UDP may over IPv4.
fn datagram(packet: &mut [u8], from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Option<()> {
    let upper_len = u16::try_from(packet.len().checked_sub(ipv4::LEN)?).ok()?;
    let header = ipv4::Repr { dont_fragment: true, ..ipv4::Repr::new(from.0, to.0, protocol::UDP, upper_len) };
    let udp = udp::Repr { source_port: from.1, destination_port: to.1, length: upper_len, checksum: 0 };
    let (ip, rest) = packet.split_first_chunk_mut::<{ ipv4::LEN }>()?;
    *ip = header.to_bytes();
    let (upper, payload) = rest.split_first_chunk_mut::<{ udp::LEN }>()?;
    *upper = udp.to_bytes();
    payload.fill(0x5a);
    Some(())
}

/// Ethernet and outer header of a frame from the router.
fn envelope(frame: &mut [u8], peer: Ipv4Addr) -> Option<()> {
    let len = u16::try_from(frame.len().checked_sub(ethernet::LEN + ipv4::LEN)?).ok()?;
    let ether = ethernet::Repr { destination: net::station(WAN), source: ROUTER_MAC, ether_type: EtherType::IPV4 };
    let (header, rest) = frame.split_at_mut_checked(ethernet::LEN)?;
    header.copy_from_slice(&ether.to_bytes());
    *rest.first_chunk_mut()? = ipv4::Repr::new(peer, net::OWN_WAN, protocol::ESP, len).to_bytes();
    Some(())
}
