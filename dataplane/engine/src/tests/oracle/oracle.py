"""The other end of every SA: Scapy's IPsec layer, which shares no line with the engine.

A line in, a line out; octets in hex.

    seal SA [SA ...] PACKET   -> the packet through these SAs, the innermost first
    open SA [SA ...] PACKET   -> what is inside, the outermost SA first, or "refused"

SA is PROTOCOL,SUITE,KEY,SPI,SEQUENCE,ESN,UDP,OUTER: "esp" or "ah", the suite in the words of the configuration, its
KEYMAT, a sequence number of 64 bits, two flags 0 or 1. OUTER is "transport", or SOURCE/DESTINATION of a tunnel, optionally
with /TRAFFIC-CLASS. Opening takes only the upper half of SEQUENCE; the lower one is in the packet.

What Scapy 2.5 does not have is written here from the RFCs, on the primitives of the "cryptography" package: ICVs of 8 and 12
octets with GCM (RFC 4106), AES-GMAC (RFC 4543), implicit IVs (RFC 8750), AES-XCBC-96 (RFC 3566). Where Scapy is wrong, the RFC
decides, and the place says so.
"""

import os
import re
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, aead, algorithms, modes
from scapy.compat import raw
from scapy.layers import ipsec
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrRouting
from scapy.layers.ipsec import (
    AH,
    AUTH_ALGOS,
    CRYPT_ALGOS,
    ESP,
    AuthAlgo,
    CryptAlgo,
    IPSecIntegrityError,
    SecurityAssociation,
)
from scapy.packet import Raw

AES_KEYS = (16, 24, 32)
scapys_zero_mutable_fields = ipsec.zero_mutable_fields


def zero_mutable_fields(pkt, sending=False):
    """Scapy's sender turns a route around even if it is used up (RFC 4302 section 3.3.3.1.2.2)."""
    route = pkt.getlayer(IPv6ExtHdrRouting)
    return scapys_zero_mutable_fields(pkt, sending and not (route and route.segleft == 0))


ipsec.zero_mutable_fields = zero_mutable_fields


def salted(sa, iv, **_):
    return sa.crypt_salt + iv


def implicit(sa, **_):
    """RFC 8750 section 4: the sequence number is the IV."""
    return sa.crypt_salt + struct.pack("!LL", sa.esn if sa.esn_en else 0, sa.seq_num)


class Gmac(CryptAlgo):
    """RFC 4543 section 3: everything is additional data, the IV and the payload too."""

    def __init__(self):
        super().__init__("GMAC", aead.AESGCM, None, 1, 8, AES_KEYS, 16, 4, salted)

    def icv(self, sa, esp, key, iv, data, esn_en, esn):
        high = struct.pack("!L", esn) if esn_en else b""
        head = struct.pack("!L", esp.spi) + high + struct.pack("!L", esp.seq)
        return aead.AESGCM(key).encrypt(sa.crypt_salt + iv, b"", head + iv + data)

    def encrypt(self, sa, esp, key, icv_size=None, esn_en=False, esn=0):
        data = esp.data_for_encryption()
        icv = self.icv(sa, esp, key, esp.iv, data, esn_en, esn)
        return ESP(spi=esp.spi, seq=esp.seq, data=esp.iv + data + icv)

    def decrypt(self, sa, esp, key, icv_size=None, esn_en=False, esn=0):
        iv, data, icv = esp.data[:8], esp.data[8:-16], esp.data[-16:]
        if self.icv(sa, esp, key, iv, data, esn_en, esn) != icv:
            raise IPSecIntegrityError("GMAC")
        plain = CRYPT_ALGOS["NULL"].decrypt(sa, esp, None, 16)
        plain.data = plain.data[8:]
        return plain


class Mac(AuthAlgo):
    """An integrity algorithm of Scapy's, without two of its faults: its ESP leaves the upper half of an extended sequence
    number out (RFC 4303 section 2.2.1), and its AH around ESP signs the ESP."""

    def __init__(self, known, protocol, high):
        super().__init__(known.name, known.mac, known.digestmod, known.icv_size, known.key_size)
        self.protocol, self.high = protocol, high

    def icv(self, key, data):
        mac = self.new_mac(key)
        mac.update(data + self.high)
        return mac.finalize()[: self.icv_size]

    def sign(self, pkt, key, **_):
        if self.protocol is ESP:
            pkt[ESP].data += self.icv(key, raw(pkt[ESP]))
        else:
            pkt[AH].icv = self.icv(key, raw(zero_mutable_fields(pkt.copy(), sending=True)))
        return pkt

    def verify(self, pkt, key, **_):
        if self.protocol is ESP:
            found = pkt.data[-self.icv_size :]
            expected = self.icv(key, raw(pkt)[: -self.icv_size])
        else:
            ah = pkt[AH]
            ah.icv, ah.padding = ah.icv[: self.icv_size], ah.icv[self.icv_size :]
            found = ah.icv
            expected = self.again(key, found, raw(zero_mutable_fields(pkt.copy(), sending=False)))
        if found != expected:
            raise IPSecIntegrityError(self.name)

    def again(self, key, _found, data):
        return self.icv(key, data)


class Xcbc(Mac):
    """AES-XCBC-MAC-96 (RFC 3566 section 4)."""

    def __init__(self, protocol, high):
        AuthAlgo.__init__(self, "XCBC", None, None, 12, (16,))
        self.protocol, self.high = protocol, high

    def icv(self, key, data):
        def aes(key, block):
            return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)

        def xor(a, b):
            return bytes(x ^ y for x, y in zip(a, b))

        data += self.high
        first, whole, padded = (aes(key, bytes([n]) * 16) for n in (1, 2, 3))
        cut = max(0, (len(data) - 1) // 16 * 16)
        chain, last = bytes(16), data[cut:]
        for at in range(0, cut, 16):
            chain = aes(first, xor(chain, data[at : at + 16]))
        if len(last) == 16:
            last = xor(last, whole)
        else:
            last = xor((last + b"\x80").ljust(16, b"\0"), padded)
        return aes(first, xor(chain, last))[:12]


class AhGmac(Mac):
    """RFC 4543 section 4: the ICV field holds the IV and the ICV, and counts as zero."""

    def __init__(self, salt, high):
        AuthAlgo.__init__(self, "GMAC", None, None, 24, AES_KEYS)
        self.protocol, self.salt, self.high = AH, salt, high

    def icv(self, key, data, iv=None):
        iv = iv or os.urandom(8)
        return iv + aead.AESGCM(key).encrypt(self.salt + iv, b"", data + self.high)

    def again(self, key, found, data):
        return self.icv(key, data, found[:8])


INTEGRITY = {
    "sha1": "HMAC-SHA1-96",
    "sha256": "SHA2-256-128",
    "sha384": "SHA2-384-192",
    "sha512": "SHA2-512-256",
    "aescmac": "AES-CMAC-96",
}
INTEGRITY_KEY = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64, "aescmac": 16, "aesxcbc": 16}


def cipher(word):
    """The algorithm and the octets of its key, salt included."""
    if word == "null":
        return CRYPT_ALGOS["NULL"], 0
    family, mode, icv, iiv = re.fullmatch(r"(aes128|aes192|aes256|chacha20poly1305)([a-z]*)(\d*)(iiv)?", word).groups()
    if family == "chacha20poly1305":
        size = 32
        if mode == "iiv":
            return CryptAlgo(word, aead.ChaCha20Poly1305, None, 1, 0, 32, 16, 4, implicit), size + 4
        return CRYPT_ALGOS["CHACHA20-POLY1305"], size + 4
    size = int(family[3:]) // 8
    if mode == "":
        return CRYPT_ALGOS["AES-CBC"], size
    if mode == "ctr":
        return CRYPT_ALGOS["AES-CTR"], size + 4
    if mode == "gmac":
        return Gmac(), size + 4
    icv, form, iv = int(icv), (implicit if iiv else salted), (0 if iiv else 8)
    if mode == "ccm":
        return CryptAlgo(word, aead.AESCCM, None, 1, iv, AES_KEYS, icv, 3, form), size + 3
    if icv == 16 and not iiv:
        return CRYPT_ALGOS["AES-GCM"], size + 4
    # Scapy's class, with the mode that can shorten ICVs.
    return CryptAlgo(word, algorithms.AES, modes.GCM, 1, iv, AES_KEYS, icv, 4, form), size + 4


def integrity(word, key, protocol, esn, high):
    """The algorithm and its key."""
    if word.endswith("gmac"):
        size = int(word[3:6]) // 8
        return AhGmac(key[size:], high), key[:size]
    assert len(key) == INTEGRITY_KEY[word]
    if word == "aesxcbc":
        return Xcbc(protocol, high), key
    known = AUTH_ALGOS[INTEGRITY[word]]
    return (Mac(known, protocol, high) if esn and protocol is ESP else known), key


class Sa:
    def __init__(self, text):
        protocol, suite, key, spi, sequence, esn, udp, outer = text.split(",")
        self.protocol = {"esp": ESP, "ah": AH}[protocol]
        self.key, self.sequence, self.esn, self.udp = bytes.fromhex(key), int(sequence), esn == "1", udp == "1"
        self.suite, self.spi = suite, int(spi)
        self.header = None
        if outer != "transport":
            source, destination, *traffic_class = outer.split("/")
            traffic_class = int(traffic_class[0]) if traffic_class else 0
            if ":" in source:
                self.header = IPv6(src=source, dst=destination, tc=traffic_class)
            else:
                self.header = IP(src=source, dst=destination, tos=traffic_class)

    def association(self, low, around_esp=False):
        sa = SecurityAssociation(
            self.protocol,
            spi=self.spi,
            # Scapy takes a number of 0 in encrypt() for none.
            seq_num=low,
            tunnel_header=self.header,
            nat_t_header=UDP(sport=4500, dport=4500) if self.udp else None,
            esn_en=self.esn,
            esn=self.sequence >> 32,
        )
        key, auth = self.key, self.suite
        high = struct.pack("!L", self.sequence >> 32) if self.esn else b""
        if self.protocol is ESP:
            first, _, auth = self.suite.partition("-")
            sa.crypt_algo, size = cipher(first)
            whole, key = key[:size], key[size:]
            salt = len(whole) - (sa.crypt_algo.salt_size or 0)
            sa.crypt_key, sa.crypt_salt = whole[:salt], whole[salt:]
            sa.crypt_icv_size = sa.crypt_algo.icv_size
            if sa.crypt_key:
                sa.crypt_algo.check_key(sa.crypt_key)
        if auth:
            sa.auth_algo, sa.auth_key = integrity(auth, key, self.protocol, self.esn, high)
            if around_esp and type(sa.auth_algo) is AuthAlgo:
                sa.auth_algo = Mac(sa.auth_algo, self.protocol, high)
        else:
            assert not key
        return sa

    def seal(self, octets):
        inside = packet(octets)
        sealed = self.association(self.sequence & 0xFFFFFFFF, self.protocol is AH and ESP in inside).encrypt(inside)
        if self.udp:
            # Scapy counts the length before it adds the ESP.
            sealed[UDP].len = 8 + len(sealed[ESP])
        return bytes(sealed)

    def open(self, octets):
        outer = packet(octets)
        if self.udp:
            outer = without_udp(outer)
        if self.protocol not in outer or outer.spi != self.spi:
            raise IPSecIntegrityError("another SA")
        low = outer[self.protocol].seq
        if self.header is None and outer.version == 6:
            # Scapy takes what was behind ESP for what the IPv6 header announces, even if there are others between.
            outer.guess_payload_class = lambda _: Raw
        return bytes(self.association(low, self.protocol is AH and ESP in outer).decrypt(outer))


def packet(octets):
    return (IPv6 if octets[0] >> 4 == 6 else IP)(octets)


def without_udp(outer):
    """Scapy's transport mode over IPv6 would leave the UDP header where it is (RFC 3948 section 3.2)."""
    inside = outer[UDP].payload.copy()
    outer[UDP].underlayer.remove_payload()
    if outer.version == 4:
        del outer.len, outer.chksum
        outer.proto = 50
    else:
        del outer.plen
        outer.nh = 50
    return packet(raw(outer / inside))


def main():
    for line in sys.stdin:
        what, *associations, octets = line.split()
        octets = bytes.fromhex(octets)
        try:
            for text in associations:
                octets = getattr(Sa(text), what)(octets)
            print(octets.hex())
        except (IPSecIntegrityError, InvalidTag):
            print("refused")


main()
