/* What bindgen reads. Everything that differs between DPDK 22.11 and 25.11 is met here, by the C compiler, so that the
 * Rust above sees one interface: field places as constants, bit fields and anonymous unions as functions. */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

#include <rte_bus.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Inner unions of rte_mbuf gained and lost names over the years; the places of the fields are what counts. */
enum culvert_mbuf_offset {
	CULVERT_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	CULVERT_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	CULVERT_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	CULVERT_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	CULVERT_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	CULVERT_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	CULVERT_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
};

enum culvert_size {
	CULVERT_HEADROOM = RTE_PKTMBUF_HEADROOM,
	CULVERT_NAME_MAX = RTE_ETH_NAME_MAX_LEN,
	CULVERT_MEMPOOL_CACHE_MAX = RTE_MEMPOOL_CACHE_MAX_SIZE,
	CULVERT_ETHER_OVERHEAD = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN,
	CULVERT_VLAN_TAG = RTE_VLAN_HLEN,
};

/* Macros that bindgen cannot evaluate. */
static const uint64_t CULVERT_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t CULVERT_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t CULVERT_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t CULVERT_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t CULVERT_TX_OFFLOAD_IPV4_CKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t CULVERT_RSS_WANTED = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
static const uint32_t CULVERT_LINK_SPEED_UNKNOWN = RTE_ETH_SPEED_NUM_UNKNOWN;

/* rte_errno is a per-thread macro. */
static inline int culvert_errno(void)
{
	return rte_errno;
}

/* The queues must be told nothing but this: the rest of rte_eth_conf stays zero. */
static inline int culvert_configure(uint16_t port, uint16_t rx_queues, uint16_t tx_queues, uint32_t mtu,
				    uint64_t rx_offloads, uint64_t tx_offloads, uint64_t rss)
{
	struct rte_eth_conf conf = { 0 };

	conf.rxmode.mtu = mtu;
	conf.rxmode.offloads = rx_offloads;
	conf.txmode.offloads = tx_offloads;
	if (rss != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = rss;
	}
	return rte_eth_dev_configure(port, rx_queues, tx_queues, &conf);
}

/* rte_eth_link became a union in 24.11. */
static inline int culvert_link(uint16_t port, uint32_t *speed_mbps, uint8_t *up)
{
	struct rte_eth_link link;
	int err = rte_eth_link_get_nowait(port, &link);

	*speed_mbps = err ? 0 : link.link_speed;
	*up = err ? 0 : link.link_status;
	return err;
}

static inline void culvert_want_ipv4_checksum(struct rte_mbuf *m, uint16_t l2_len, uint16_t l3_len)
{
	m->l2_len = l2_len;
	m->l3_len = l3_len;
	m->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_IPV4;
}

/* A closed port leaves its device behind, which could not be opened again. */
static inline void culvert_close(uint16_t port)
{
	struct rte_eth_dev_info info;
	int known = rte_eth_dev_info_get(port, &info) == 0;

	rte_eth_dev_stop(port);
	rte_eth_dev_close(port);
	if (known && info.device != NULL)
		rte_dev_remove(info.device);
}

/* A PCI address may be written short ("3b:00.0"), and then it is not the port's name. */
static inline int culvert_port_by_devargs(const char *devargs, uint16_t *port)
{
	struct rte_dev_iterator iterator;
	uint16_t id;

	RTE_ETH_FOREACH_MATCHING_DEV(id, devargs, &iterator) {
		rte_eth_iterator_cleanup(&iterator);
		*port = id;
		return 0;
	}
	return -ENODEV;
}

/* stderr is a macro, too. */
static inline int culvert_log_to_stderr(void)
{
	return rte_openlog_stream(stderr);
}
