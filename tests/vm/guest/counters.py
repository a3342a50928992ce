"""What the guest's kernel has counted."""
import ipaddress
import socket
import struct

NETLINK_XFRM = 6
XFRM_MSG_GETSA = 0x12
NLM_F_REQUEST_DUMP = 0x301
NLMSG_ERROR, NLMSG_DONE = 2, 3
# `struct xfrm_usersa_info`: the destination of `id`, packets of `curlft`, and the family behind `seq` and `reqid`.
DESTINATION, PACKETS, FAMILY = 56, 168, 212


def states():
    """Destination and number of packets of every state."""
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM) as netlink:
        netlink.settimeout(10)
        netlink.send(struct.pack("=IHHII", 16, XFRM_MSG_GETSA, NLM_F_REQUEST_DUMP, 1, 0))
        while True:
            data = netlink.recv(1 << 17)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    raise OSError("the kernel does not list its states")
                info, data = data[16:length], data[(length + 3) & ~3 :]
                (family,) = struct.unpack_from("=H", info, FAMILY)
                octets = info[DESTINATION : DESTINATION + (4 if family == socket.AF_INET else 16)]
                (packets,) = struct.unpack_from("=Q", info, PACKETS)
                found.append([str(ipaddress.ip_address(octets)), packets])


def text(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def all_of_them():
    # That of the server on the guest's host, whose network namespace it shows.
    host = text("/run/host.pid").strip()
    return {
        "states": states(),
        "xfrm_stat": text("/proc/net/xfrm_stat"),
        "lost_here": [text(f"/proc/net/{name}") for name in ["dev", "snmp"]],
        "lost_behind": [text(f"/proc/{host}/net/{name}") for name in ["dev", "snmp"]],
        "host": "".join(text(f"/proc/{host}/net/{name}") for name in ["snmp", "snmp6"]),
    }
