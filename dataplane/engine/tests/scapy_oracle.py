"""The other side of scapy.rs: one request a line, one answer a line, bytes in hex.

    seal KEY SPI SEQUENCE ESN(yes|no) UDP(yes|no) SOURCE DESTINATION INNER   -> the outer IP packet
    open KEY SPI SEQUENCE ESN(yes|no) UDP(yes|no) OUTER                      -> the inner IP packet, or "refused"

SEQUENCE has 64 bits; for `open` its low half is ignored. KEY has the salt behind it (RFC 4106 section 8.1).
"""

import logging
import sys

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import IP, UDP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.ipsec import ESP, IPSecIntegrityError, SecurityAssociation  # noqa: E402


def packet(octets):
    return (IPv6 if octets[0] >> 4 == 6 else IP)(octets)


def association(key, spi, sequence, esn, udp, header):
    return SecurityAssociation(
        ESP,
        spi=int(spi),
        crypt_algo="AES-GCM",
        crypt_key=bytes.fromhex(key),
        tunnel_header=header,
        # Scapy takes a number of 0 in encrypt() for none.
        seq_num=int(sequence) & 0xFFFFFFFF,
        nat_t_header=UDP(sport=4500, dport=4500) if udp == "yes" else None,
        esn_en=esn == "yes",
        esn=int(sequence) >> 32,
    )


def seal(key, spi, sequence, esn, udp, source, destination, inner):
    header = (IPv6 if ":" in source else IP)(src=source, dst=destination)
    sa = association(key, spi, sequence, esn, udp, header)
    sealed = sa.encrypt(packet(bytes.fromhex(inner)))
    if udp == "yes":
        # Scapy counts the length before it adds the ESP.
        sealed[UDP].len = 8 + len(sealed[ESP])
    return bytes(sealed).hex()


def open_(key, spi, sequence, esn, udp, outer):
    outer = packet(bytes.fromhex(outer))
    sa = association(key, spi, sequence, esn, udp, type(outer)(src=outer.src, dst=outer.dst))
    try:
        return bytes(sa.decrypt(outer)).hex()
    except IPSecIntegrityError:
        return "refused"


for line in sys.stdin:
    word, *rest = line.split()
    print({"seal": seal, "open": open_}[word](*rest), flush=True)
