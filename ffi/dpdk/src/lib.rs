//! Safe DPDK: Eal, Port, queues, pools, mbufs, bursts.
