//! Ports without a card. One process, for DPDK starts once in each.
#![cfg(feature = "dpdk")]

use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dpdk::{
    BURST, Burst, Device, Eal, EalConfig, EalError, HEADROOM, LARGEST_DATA, Mbuf, Memory, Pool, PoolConfig, PortConfig,
    Started,
};

static EAL: OnceLock<Eal> = OnceLock::new();

fn config() -> EalConfig {
    EalConfig {
        memory: Memory::Plain { mib: 128 },
        file_prefix: format!("culvert-test-{}", std::process::id()),
        cores: Vec::new(),
        log_level: 4,
        extra: Vec::new(),
    }
}

fn eal() -> &'static Eal {
    EAL.get_or_init(|| Eal::start(&config()).expect("DPDK starts with plain memory"))
}

fn pool(name: &str, buffers: u32) -> Pool {
    let config = PoolConfig { name: name.to_owned(), buffers, data_len: 2048, cache: 0, socket: None };
    Pool::create(eal(), &config).expect("a pool")
}

fn port_config(pool: &Pool) -> PortConfig {
    PortConfig {
        rx_queues: 1,
        tx_queues: 1,
        rx_descriptors: 64,
        tx_descriptors: 64,
        mtu: 1500,
        mac: None,
        promiscuous: true,
        pool: pool.clone(),
        large: None,
    }
}

/// Of the largest buffers there are.
fn large_pool(name: &str, buffers: u32) -> Pool {
    let config = PoolConfig { name: name.to_owned(), buffers, data_len: LARGEST_DATA, cache: 0, socket: None };
    Pool::create(eal(), &config).expect("a pool")
}

fn start(device: &str, pool: &Pool) -> Started {
    Device::probe(eal(), device).expect("the device opens").start(&port_config(pool)).expect("it starts")
}

fn packet(pool: &Pool, bytes: &[u8]) -> Mbuf {
    let mut packet = pool.alloc().expect("a buffer");
    packet.append(bytes.len()).expect("room").copy_from_slice(bytes);
    packet
}

#[test]
fn dpdk_starts_once_and_pins_nobody() {
    let before = cpus();
    eal();
    assert_eq!(cpus(), before);
    assert!(matches!(Eal::start(&config()), Err(EalError::AlreadyStarted)));
    assert!(dpdk::version().starts_with("DPDK"), "{}", dpdk::version());
}

/// This thread's affinity, as the kernel tells it.
fn cpus() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    status.lines().find(|line| line.starts_with("Cpus_allowed_list")).expect("a line").to_owned()
}

#[test]
fn arguments_cannot_hold_nul() {
    let bad = EalConfig { file_prefix: "a\0b".to_owned(), ..config() };
    assert!(matches!(Eal::start(&bad), Err(EalError::BadArgument(_))));
}

#[test]
fn buffers_grow_and_shrink_within_their_room() {
    let pool = pool("rooms", 63);
    let mut packet = packet(&pool, b"payload");
    assert_eq!(packet.headroom(), usize::from(HEADROOM));
    packet.prepend(3).expect("room in front").copy_from_slice(b"hdr");
    assert_eq!(packet.data(), b"hdrpayload");
    assert!(packet.trim_front(1) && packet.trim_back(3));
    assert_eq!(packet.data(), b"drpayl");
    assert!(!packet.trim_front(7) && !packet.trim_back(7) && !packet.trim_back(usize::MAX));
    assert_eq!(packet.data(), b"drpayl");
    let (front, behind) = (packet.headroom(), packet.tailroom());
    assert!(packet.prepend(front + 1).is_none() && packet.append(behind + 1).is_none());
    assert!(packet.prepend(usize::MAX).is_none() && packet.append(usize::MAX).is_none());
    assert_eq!(packet.prepend(front).map(|new| new.len()), Some(front));
    assert_eq!(packet.append(behind).map(|new| new.len()), Some(behind));
    assert_eq!(packet.data().len(), 2048 + usize::from(HEADROOM));
    assert_eq!(format!("{packet:?}"), "Mbuf(2176 octets)");
}

#[test]
fn a_dropped_burst_returns_its_buffers() {
    let pool = pool("drops", 63);
    let all = pool.available();
    let mut burst: Burst = (0..BURST).filter_map(|_| pool.alloc()).collect();
    assert_eq!(pool.available(), all - BURST as u32);
    drop(burst.pop());
    assert_eq!(pool.available(), all - BURST as u32 + 1);
    drop(burst);
    assert_eq!(pool.available(), all);
    let held: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(held.len() as u32, all, "an empty pool says so");
    assert!(pool.alloc().is_none());
    drop(held);
    assert_eq!(pool.available(), all);
}

#[test]
fn a_ring_gives_back_what_was_sent_and_keeps_what_it_cannot_take() {
    let pool = pool("ring", 8191);
    let mut started = start("net_ring7", &pool);
    let all = pool.available();
    let mut sent: u32 = 0;
    // The driver's ring holds 1023.
    let mut burst = Burst::new();
    while burst.is_empty() {
        while !burst.is_full() {
            burst.push(packet(&pool, &sent.to_be_bytes()));
            sent += 1;
        }
        let taken = started.tx[0].tx_burst(&mut burst);
        assert_eq!(taken + burst.len(), BURST);
    }
    let first_unsent = sent - burst.len() as u32;
    let numbers: Vec<u32> =
        burst.iter().map(|packet| u32::from_be_bytes(packet.data().try_into().expect("four octets"))).collect();
    assert_eq!(numbers, (first_unsent..sent).collect::<Vec<_>>(), "in order, none twice");
    drop(burst);
    let mut expected: u32 = 0;
    let mut received = Burst::new();
    while started.rx[0].rx_burst(&mut received) > 0 {
        for packet in received.drain(..) {
            assert_eq!(packet.data(), expected.to_be_bytes());
            expected += 1;
        }
    }
    assert_eq!(expected, first_unsent);
    assert_eq!(pool.available(), all);
}

/// A capture file of frames of these lengths, each filled with its number.
fn capture(lengths: &[u32]) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".pcap").tempfile().expect("a file");
    let mut bytes: Vec<u8> = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for (number, len) in lengths.iter().enumerate() {
        bytes.extend([0, 0, *len, *len].map(u32::to_le_bytes).concat());
        bytes.extend(vec![number as u8; *len as usize]);
    }
    std::fs::write(file.path(), bytes).expect("written");
    file
}

#[test]
fn a_frame_in_pieces_that_fits_no_buffer_is_dropped_and_counted() {
    let pool = pool("pieces", 255);
    let file = capture(&[100, 5000, 200]);
    let mut started = start(&format!("net_pcap1,rx_pcap={}", file.path().display()), &pool);
    let mut burst = Burst::new();
    assert_eq!(started.rx[0].rx_burst(&mut burst), 2);
    let seen: Vec<(usize, u8)> = burst.iter().map(|packet| (packet.data().len(), packet.data()[0])).collect();
    assert_eq!(seen, [(100, 0), (200, 2)]);
    assert_eq!(started.rx[0].unjoinable(), 1);
    drop(burst);
    assert_eq!(pool.available(), 255, "all pieces are back");
}

#[test]
fn a_frame_in_pieces_goes_into_a_large_buffer() {
    let (pool, large) = (pool("chains", 255), large_pool("chains-large", 3));
    let file = capture(&[100, 5000, 200, 9000, 65_000]);
    let config = PortConfig { large: Some(large.clone()), ..port_config(&pool) };
    let device = Device::probe(eal(), &format!("net_pcap2,rx_pcap={}", file.path().display())).expect("opens");
    let mut started = device.start(&config).expect("it starts");
    let mut burst = Burst::new();
    assert_eq!(started.rx[0].rx_burst(&mut burst), 5);
    for (number, (packet, len)) in burst.iter().zip([100, 5000, 200, 9000, 65_000]).enumerate() {
        assert_eq!((packet.data().len(), packet.headroom()), (len, usize::from(HEADROOM)));
        assert!(packet.data().iter().all(|octet| usize::from(*octet) == number), "frame {number}");
    }
    assert_eq!((started.rx[0].unjoinable(), large.available()), (0, 0));
    drop(burst);
    assert_eq!((pool.available(), large.available()), (255, 3), "all are back");
}

#[test]
fn where_no_large_buffer_is_free_the_frame_is_dropped_and_counted() {
    let (pool, large) = (pool("dry", 255), large_pool("dry-large", 1));
    let file = capture(&[5000, 100, 6000]);
    let config = PortConfig { large: Some(large.clone()), ..port_config(&pool) };
    let device = Device::probe(eal(), &format!("net_pcap3,rx_pcap={}", file.path().display())).expect("opens");
    let mut started = device.start(&config).expect("it starts");
    let mut burst = Burst::new();
    assert_eq!(started.rx[0].rx_burst(&mut burst), 2);
    assert_eq!(burst.iter().map(|packet| packet.data().len()).collect::<Vec<_>>(), [5000, 100]);
    assert_eq!(started.rx[0].unjoinable(), 1);
    drop(burst);
    assert_eq!((pool.available(), large.available()), (255, 1), "all are back");
}

#[test]
fn large_buffers_hold_any_ip_packet() {
    let large = large_pool("large", 3);
    for (len, headroom) in [(1, 128), (65_407, 128), (65_408, 127), (65_535, 0)] {
        let mut packet = large.alloc_for(len).expect("a buffer");
        assert_eq!((packet.headroom(), packet.room()), (headroom, 65_535), "{len}");
        packet.append(len).expect("room").fill(0x5a);
        assert_eq!(packet.data().len(), len);
        assert!(packet.append(packet.tailroom() + 1).is_none());
        assert!(packet.trim_front(len - 1) && packet.prepend(len - 1).is_some());
    }
    assert!(large.alloc_for(65_536).is_none() && large.alloc_for(usize::MAX).is_none());
    assert_eq!(large.available(), 3);
    // And back into an ordinary one, where it fits.
    let small = pool("small", 63);
    let mut packet = large.alloc_for(60_000).expect("a buffer");
    packet.append(2048).expect("room").fill(7);
    let copy = packet.copy_to(&small).expect("it fits");
    assert_eq!((copy.data(), copy.headroom()), (&[7; 2048][..], usize::from(HEADROOM)));
    packet.append(1).expect("room");
    assert!(packet.copy_to(&small).is_none());
    drop((packet, copy));
    assert_eq!((large.available(), small.available()), (3, 63));
}

#[test]
fn a_full_burst_receives_nothing_more() {
    let pool = pool("full", 1023);
    let mut started = start("net_null3", &pool);
    let mut burst: Burst = (0..BURST - 2).filter_map(|_| pool.alloc()).collect();
    assert_eq!(started.rx[0].rx_burst(&mut burst), 2);
    assert_eq!(started.rx[0].rx_burst(&mut burst), 0);
    assert_eq!(burst.len(), BURST);
}

#[test]
fn a_queue_keeps_its_port_open() {
    let pool = pool("keeps", 1023);
    let Started { port, mut rx, tx } = start("net_null4", &pool);
    assert_eq!(port.info().driver, "net_null");
    assert!(matches!(Device::probe(eal(), "net_null4"), Err(dpdk::PortError::Open { .. })));
    drop((port, tx));
    let mut burst = Burst::new();
    assert_eq!(rx[0].rx_burst(&mut burst), BURST);
    drop(rx);
    let again = Device::probe(eal(), "net_null4").expect("it closed with its last queue");
    drop(again);
}

#[test]
fn a_device_that_cannot_be_used_says_why() {
    let refused = |device: &str| Device::probe(eal(), device).expect_err("no such device").to_string();
    for device in ["net_nosuch0", "0000:ff:1f.7", "net_af_packet8,iface=nosuchif", "", "nonsense"] {
        let text = refused(device);
        assert!(text.starts_with(&format!("device \"{device}\" could not be opened: ")), "{text}");
    }
    assert_eq!(refused("net_null\0"), "device \"net_null\0\": the name holds a NUL");
}

#[test]
fn a_port_refuses_what_it_cannot_do() {
    let pool = pool("refuse", 63);
    let device = || Device::probe(eal(), "net_null5").expect("opens");
    let refused = |config: &PortConfig| device().start(config).expect_err("refused").to_string();
    let good = port_config(&pool);
    let text = refused(&PortConfig { rx_queues: u16::MAX, ..good.clone() });
    assert!(text.starts_with("device \"net_null5\" has at most "), "{text}");
    let text = refused(&PortConfig { mtu: 9000, ..good.clone() });
    assert!(text.contains("an MTU of 9000 does not fit packet buffers of 2048 octets"), "{text}");
    let text = refused(&PortConfig { mtu: 20, ..good });
    assert!(text.contains("takes an MTU of ") && text.ends_with(", not 20"), "{text}");
}

#[test]
fn registered_threads_come_and_go() {
    let pool = pool("threads", 1023);
    for _ in 0..3 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _registered = eal().register_thread().expect("room for a thread");
                drop(pool.alloc().expect("a buffer"));
            });
        });
    }
    assert_eq!(pool.available(), 1023);
}

/// A namespace of this test's own; gone with it.
struct Namespace(String);

impl Namespace {
    fn with_veth() -> Option<Self> {
        let name = format!("cvffi{}", std::process::id());
        if !ip(&["netns", "add", &name]) {
            return None;
        }
        let space = Self(name);
        let made = ip(&["-n", &space.0, "link", "add", "a0", "type", "veth", "peer", "name", "b0"])
            && ip(&["-n", &space.0, "link", "set", "a0", "up"])
            && ip(&["-n", &space.0, "link", "set", "b0", "up"]);
        made.then_some(space)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).status().is_ok_and(|status| status.success())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a real port needs a real deadline")]
fn frames_cross_a_veth() {
    let Some(space) = Namespace::with_veth() else {
        eprintln!("skipped: making a network namespace needs root");
        return;
    };
    let pool = pool("veth", 4095);
    let eal = eal();
    // A thread may enter a namespace by itself, and af_packet opens its sockets in the thread that probes.
    let (mut a, mut b) = std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let file = std::fs::File::open(format!("/run/netns/{}", space.0)).expect("the namespace");
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("entered");
            let open =
                |device: &str| Device::probe(eal, device).expect("opens").start(&port_config(&pool)).expect("starts");
            (open("net_af_packet1,iface=a0"), open("net_af_packet2,iface=b0"))
        });
        inside.join().expect("both ports")
    });
    let mac = b.port.mac().expect("an address");
    let mut frame = mac.to_vec();
    frame.extend(a.port.mac().expect("an address"));
    frame.extend([0x88, 0xb5]);
    frame.extend([0x5a; 100]);
    let mut burst: Burst = [packet(&pool, &frame)].into_iter().collect();
    assert_eq!(a.tx[0].tx_burst(&mut burst), 1);
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut received = Burst::new();
    while !received.iter().any(|packet| packet.data() == frame) {
        assert!(Instant::now() < deadline, "the frame did not arrive");
        received.clear();
        b.rx[0].rx_burst(&mut received);
    }
    assert!(b.port.link().expect("a link").up);
    assert!(b.port.stats().expect("counters").rx_packets >= 1);
    assert_eq!(a.port.stats().expect("counters").tx_packets, 1);
    assert_eq!(b.port.mtu().expect("an MTU"), 1500);
}

/// Not a test of function: `cargo test --release -p culvert-dpdk -- --ignored --nocapture cycles`.
#[test]
#[ignore = "a measurement"]
fn cycles_of_receive_and_transmit_on_net_null() {
    let config = PoolConfig { name: "cycles".into(), buffers: 8191, data_len: 2048, cache: 256, socket: None };
    let pool = Pool::create(eal(), &config).expect("a pool");
    let mut started = start("net_null6", &pool);
    let _registered = eal().register_thread().expect("room for a thread");
    let mut best = u64::MAX;
    let mut burst = Burst::new();
    for _ in 0..200 {
        let (begin, mut packets) = (dpdk::rdtsc(), 0);
        while packets < 100_000 {
            packets += started.rx[0].rx_burst(&mut burst) as u64;
            started.tx[0].tx_burst(&mut burst);
        }
        best = best.min((dpdk::rdtsc() - begin) * 10 / packets);
    }
    println!("receive and transmit on net_null: {}.{} TSC cycles per packet", best / 10, best % 10);
}
