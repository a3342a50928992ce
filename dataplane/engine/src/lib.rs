//! The packet path: SPD, SAD, ESP, FIB, neighbours; no DPDK.
