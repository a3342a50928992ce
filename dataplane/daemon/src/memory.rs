//! How much memory packet buffers need, and where it comes from.

use crate::error::Error;
use crate::io::{INBOX, PUNTS};
use culvert_config::{Config, Memory};
use dpdk::{LARGEST_DATA, PoolConfig};
use std::fs;
use std::path::Path;

/// Descriptors of each queue.
pub const DESCRIPTORS: u16 = 1024;
/// Buffers a thread keeps to itself.
const CACHE: u32 = 256;
/// What the neighbour table and the reassembly of fragments may hold back, and some to spare.
const WAITING: u32 = 3072;
/// Large buffers. Each serves for as long as one packet is worked on, and nothing waits in one: a few for each thread.
const LARGE: u32 = 63;
/// Octets of a buffer besides its data: DPDK's own structures and the room in front.
const OVERHEAD: u64 = 384;
/// Ethernet with two VLAN tags and checksum, ESP's padding and trailer, rounded up.
const FRAME_EXTRA: u16 = 128;

/// DPDK lets no buffer cross a page of plain memory.
const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

/// Huge pages if the configuration wants them and there are enough; else plain memory, with a warning.
pub fn choose(config: &Config) -> dpdk::Memory {
    let size = config.dataplane.memory_size;
    let plain = dpdk::Memory::Plain { mib: u32::try_from(size / MIB).unwrap_or(u32::MAX) };
    if config.dataplane.memory == Memory::Plain {
        return plain;
    }
    let free = free_huge_pages(Path::new("/sys/kernel/mm/hugepages"));
    if free >= size {
        return dpdk::Memory::HugePages;
    }
    tracing::warn!(
        "there are {} MiB of free huge pages and [dataplane] memory_size is {} MiB, so plain memory is used, which is \
         slower, and which cards without an IOMMU cannot reach; mend it by: echo {} > /proc/sys/vm/nr_hugepages",
        free / MIB,
        size / MIB,
        size.div_ceil(2 * MIB).max(512)
    );
    plain
}

/// Octets of free huge pages of all sizes.
fn free_huge_pages(dir: &Path) -> u64 {
    let Ok(sizes) = fs::read_dir(dir) else { return 0 };
    let of_size = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let free: u64 = fs::read_to_string(entry.path().join("free_hugepages")).ok()?.trim().parse().ok()?;
        kib.checked_mul(1024)?.checked_mul(free)
    };
    sizes.flatten().filter_map(of_size).sum()
}

/// Octets that a buffer takes.
fn size_of_one(data_len: u16, memory: dpdk::Memory) -> u64 {
    let packed = u64::from(data_len) + OVERHEAD;
    match memory {
        dpdk::Memory::HugePages => packed,
        dpdk::Memory::Plain { .. } => packed.next_multiple_of(PAGE),
    }
}

/// For packets that fit no line: datagrams put together, frames that came in pieces.
pub fn large_pool() -> PoolConfig {
    PoolConfig { name: "culvert-large".to_owned(), buffers: LARGE, data_len: LARGEST_DATA, cache: 0, socket: None }
}

/// A pool that can never run empty by queues alone, if there is memory for it.
pub fn pool(config: &Config, memory: dpdk::Memory) -> Result<PoolConfig, Error> {
    let (workers, ports) = (config.dataplane.workers.len() as u32, config.ports().count() as u32);
    let mtu = config.interfaces.iter().map(|interface| interface.mtu).max().unwrap_or(1500);
    let data_len = (mtu + FRAME_EXTRA).next_multiple_of(64).max(2048);
    let needed = buffers_needed(workers, ports);
    let size = config.dataplane.memory_size;
    let one = size_of_one(data_len, memory);
    let large = u64::from(LARGE) * size_of_one(LARGEST_DATA, memory);
    // The rest is for the drivers' rings and DPDK's own tables.
    let fit = u32::try_from((size / 4 * 3).saturating_sub(large) / one).unwrap_or(u32::MAX);
    if fit < needed {
        let enough = (u64::from(needed) * one + large).div_ceil(3) * 4;
        return Err(Error::Memory { given: size / MIB, fit, needed, enough: enough.div_ceil(MIB) });
    }
    // Some more lets bursts wait; much more would only be colder. 2^n - 1 is what DPDK stores best.
    let wish = (needed + needed / 2).next_power_of_two() - 1;
    let buffers = if wish <= fit { wish } else { fit };
    Ok(PoolConfig { name: "culvert".to_owned(), buffers, data_len, cache: CACHE, socket: None })
}

fn buffers_needed(workers: u32, ports: u32) -> u32 {
    let per_queue = 2 * u32::from(DESCRIPTORS) + dpdk::BURST as u32;
    let per_worker = INBOX as u32 + CACHE * 3 / 2;
    workers * (ports * per_queue + per_worker) + 2 * PUNTS as u32 + WAITING
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: dpdk::Memory = dpdk::Memory::Plain { mib: 64 };

    fn config(dataplane: &str) -> Config {
        let text =
            format!("[dataplane]\n{dataplane}\n[[interface]]\nname = \"a\"\ndevice = \"net_null\"\nmtu = 9000\n");
        Config::parse(Path::new("culvert.toml"), &text).unwrap_or_else(|d| panic!("{d}"))
    }

    #[test]
    fn buffers_fit_the_memory_and_the_largest_mtu() {
        let pool = pool(&config("memory_size = \"256M\""), dpdk::Memory::HugePages).expect("enough");
        assert!(pool.data_len >= 9000 + 14 + 8 + 4 && u64::from(pool.buffers) * u64::from(pool.data_len) < 256 * MIB);
    }

    #[test]
    fn too_little_memory_says_how_much_is_enough() {
        let four = |size: u64| config(&format!("workers = [0, 1, 2, 3]\nmemory_size = \"{size}M\""));
        let Err(Error::Memory { enough, .. }) = pool(&four(64), PLAIN) else {
            panic!("64 MiB do not hold jumbo frames for all queues");
        };
        assert!(pool(&four(enough), PLAIN).is_ok() && pool(&four(enough - 2), PLAIN).is_err());
    }

    #[test]
    fn free_pages_of_all_sizes_count() {
        let dir = tempfile::tempdir().expect("a directory");
        for (size, free) in [("hugepages-2048kB", "3\n"), ("hugepages-1048576kB", "1\n"), ("other", "9\n")] {
            fs::create_dir(dir.path().join(size)).expect("made");
            fs::write(dir.path().join(size).join("free_hugepages"), free).expect("written");
        }
        assert_eq!(free_huge_pages(dir.path()), 3 * 2 * MIB + 1024 * MIB);
        assert_eq!(free_huge_pages(&dir.path().join("nowhere")), 0);
    }

    #[test]
    fn plain_memory_is_taken_as_told() {
        let chosen = choose(&config("memory = \"plain\"\nmemory_size = \"64M\""));
        assert_eq!(chosen, PLAIN);
    }
}
