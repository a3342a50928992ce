//! The cipher alone: intel-ipsec-mb called for the same lengths, with nothing around it.

use crate::Error;
use crate::size::Size;
use crate::station::{PACKETS, sealed_len};
use arrayvec::ArrayVec;
use core::ops::Range;
use culvert_engine::{BURST, EspParts};
use culvert_model::{Suite, SuiteKey};
use culvert_wire::{ethernet, ipv4};
use ipsec_mb::{Aead, AesKey, ChaChaKey, Cipher, KeySchedule, MacAlgorithm, MacKey, Manager, Task};

/// SPI and extended sequence number.
const AAD: [u8; 12] = [1; 12];
const NONCE: [u8; 12] = [2; 12];
/// Where a sealed packet starts in its buffer: behind the room in front, Ethernet and outer header.
const START: usize = dpdk::HEADROOM as usize + ethernet::LEN;
const OUTER: usize = ipv4::LEN;

enum Way {
    /// AES-GCM is fastest packet by packet.
    Direct(KeySchedule),
    ChaCha(ChaChaKey),
    Cbc(AesKey, MacKey),
}

#[repr(C, align(64))]
struct Memory([u8; START + OUTER + 2048]);

struct Packet {
    memory: Box<Memory>,
    /// From SPI to ICV.
    sealed: Range<usize>,
    parts: EspParts,
    tag: [u8; 16],
}

/// As many packets as a window has, of the same lengths, each in a buffer of its own, with one key.
pub struct Floor {
    manager: Manager,
    way: Way,
    packets: Vec<Packet>,
}

impl Floor {
    pub fn new(suite: Suite, size: Size) -> Result<Self, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Cipher(error.to_string());
        let manager = Manager::new().map_err(|error| failed(&error))?;
        let octets = vec![3; suite.key_len()];
        let SuiteKey { encryption, integrity, .. } = suite.split_key(&octets).ok_or(Error::Setup("a key"))?;
        let way = match suite.to_string().as_str() {
            "chacha20poly1305" => Way::ChaCha(ChaChaKey::new(encryption).map_err(|error| failed(&error))?),
            "aes128-sha256" => Way::Cbc(
                AesKey::new(encryption).map_err(|error| failed(&error))?,
                MacKey::new(MacAlgorithm::HmacSha256, integrity).map_err(|error| failed(&error))?,
            ),
            _ => Way::Direct(KeySchedule::new(encryption).map_err(|error| failed(&error))?),
        };
        let packet = |place| {
            let len = sealed_len(suite, size.ip_len(place));
            let parts = EspParts::of(suite, len)?;
            let sealed = START + OUTER..START + OUTER + len;
            Some(Packet { memory: Box::new(Memory([0x5a; _])), sealed, parts, tag: [0; 16] })
        };
        let packets = (0..PACKETS).map(packet).collect::<Option<_>>().ok_or(Error::Setup("a length"))?;
        Ok(Self { manager, way, packets })
    }

    /// Cycles to seal a window.
    #[inline(never)]
    pub fn seal(&mut self) -> u64 {
        let Self { manager, way, packets } = self;
        let begin = dpdk::rdtsc();
        for burst in packets.chunks_mut(BURST) {
            match way {
                Way::Direct(key) => burst.iter_mut().for_each(|packet| {
                    let (payload, tag) = packet.payload();
                    manager.seal(key, &NONCE, &AAD, payload, tag);
                }),
                Way::ChaCha(key) => run(manager, burst, |packet| {
                    let aead = Aead::ChaCha20Poly1305 { key, nonce: NONCE };
                    Task::seal(&mut packet.memory.0[packet.sealed.clone()], aead, &AAD, packet.parts.payload.clone())
                }),
                Way::Cbc(aes, mac) => run(manager, burst, |packet| {
                    let authenticated = 0..packet.parts.icv.start;
                    let data = &mut packet.memory.0[packet.sealed.clone()];
                    let cipher = Cipher::Cbc { key: aes, iv: [0; 16] };
                    Task::encrypt_then_mac(data, cipher, packet.parts.payload.clone(), mac, authenticated)
                }),
            }
        }
        dpdk::rdtsc().wrapping_sub(begin)
    }

    /// Cycles to open it. What was sealed last with the same number is opened again and again, which is as much work.
    #[inline(never)]
    pub fn open(&mut self) -> u64 {
        let Self { manager, way, packets } = self;
        let begin = dpdk::rdtsc();
        for burst in packets.chunks_mut(BURST) {
            match way {
                Way::Direct(key) => burst.iter_mut().for_each(|packet| {
                    let (payload, tag) = packet.payload();
                    let tag = *tag;
                    std::hint::black_box(manager.open(key, &NONCE, &AAD, payload, &tag));
                }),
                Way::ChaCha(key) => run(manager, burst, |packet| {
                    let aead = Aead::ChaCha20Poly1305 { key, nonce: NONCE };
                    Task::open(&mut packet.memory.0[packet.sealed.clone()], aead, &AAD, packet.parts.payload.clone())
                }),
                Way::Cbc(aes, mac) => {
                    run(manager, burst, |packet| {
                        let authenticated = 0..packet.parts.icv.start;
                        Task::mac(&mut packet.memory.0[packet.sealed.clone()], mac, authenticated)
                    });
                    run(manager, burst, |packet| {
                        let cipher = Cipher::Cbc { key: aes, iv: [0; 16] };
                        let data = &mut packet.memory.0[packet.sealed.clone()];
                        Task::decrypt(data, cipher, packet.parts.payload.clone())
                    });
                }
            }
        }
        dpdk::rdtsc().wrapping_sub(begin)
    }
}

impl Packet {
    fn payload(&mut self) -> (&mut [u8], &mut [u8; 16]) {
        let place = self.sealed.start + self.parts.payload.start..self.sealed.start + self.parts.payload.end;
        (&mut self.memory.0[place], &mut self.tag)
    }
}

/// A burst side by side, as a multi-buffer library wants it.
fn run<'a>(manager: &mut Manager, burst: &'a mut [Packet], task: impl Fn(&'a mut Packet) -> Option<Task<'a>>) {
    let mut tasks: ArrayVec<Task<'a>, BURST> = burst.iter_mut().filter_map(task).collect();
    manager.run(&mut tasks);
    std::hint::black_box(tasks.into_iter().filter_map(Task::finish).count());
}
