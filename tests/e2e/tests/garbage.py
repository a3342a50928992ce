#!/usr/bin/env python3
"""Frames that no peer should send, onto an interface: garbage.py INTERFACE GATEWAY-MAC GATEWAY-IPV4 SEED"""

import os
import random
import socket
import struct
import sys

interface, mac, address, seed = sys.argv[1:5]
random.seed(int(seed))
mac = bytes.fromhex(mac.replace(":", ""))
us = bytes.fromhex("020000000001")
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((interface, 0))
gateway = socket.inet_aton(address)
stranger = socket.inet_aton("192.0.2.77")


def noise(length):
    return random.randbytes(length)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(protocol, payload, src=stranger, dst=gateway, ttl=64, fragment=0, version=0x45, length=None, good=True):
    length = 20 + len(payload) if length is None else length
    head = struct.pack(">BBHHHBBH4s4s", version, 0, length, 7, fragment, ttl, protocol, 0, src, dst)
    value = checksum(head) if good else 0x1234
    return head[:10] + struct.pack(">H", value) + head[12:] + payload


def udp(port, payload, length=None):
    return struct.pack(">HHHH", 500, port, 8 + len(payload) if length is None else length, 0) + payload


def send(payload, ethertype=0x0800, to=mac):
    frame = to + us + struct.pack(">H", ethertype) + payload
    try:
        wire.send(frame[:1514])
    except OSError as error:
        print("not sent:", error, file=sys.stderr)


ike = noise(8) + bytes(8) + bytes([33, 0x20, 34, 0x08]) + bytes(4)
for _ in range(60):
    send(noise(random.randrange(1, 1400)), random.choice([0x0800, 0x86DD, 0x0806, 0x8100, random.randrange(65536)]))
    send(ipv4(17, udp(53, noise(20)))[: random.randrange(0, 48)])
    send(ipv4(50, noise(40), good=False))
    send(ipv4(50, noise(40), version=random.choice([0x44, 0x65, 0x4F])))
    send(ipv4(50, noise(40), length=random.choice([0, 19, 61, 65535])))
    send(ipv4(50, noise(random.randrange(0, 36))))
    send(ipv4(50, struct.pack(">II", random.randrange(256, 1 << 32), 1) + noise(random.randrange(32, 1300))))
    send(ipv4(50, noise(96), fragment=random.choice([0x2000, 0x0005, 0x2010])))
    send(ipv4(17, udp(500, noise(random.randrange(0, 600)))))
    send(ipv4(17, udp(500, ike + struct.pack(">I", random.choice([0, 27, 28, 29, 65536, 0xFFFFFFFF])) + noise(100))))
    body = noise(random.randrange(0, 300))
    send(ipv4(17, udp(500, ike + struct.pack(">I", 28 + len(body)) + body)))
    send(ipv4(17, udp(4500, bytes(4) + noise(random.randrange(0, 200)))))
    send(ipv4(17, udp(4500, noise(random.randrange(0, 8)))))
    send(ipv4(17, udp(500, noise(64), length=random.choice([0, 7, 2000]))))
    send(ipv4(1, bytes([8, 0]) + noise(30), ttl=random.choice([0, 1, 64])))
    send(ipv4(6, noise(40), dst=socket.inet_aton("10.1.0.10")))
    send(ipv4(17, udp(53, noise(9)), src=socket.inet_aton("10.2.0.10"), dst=socket.inet_aton("10.1.0.10")))
    send(ipv4(17, udp(53, noise(9)), src=random.choice([gateway, socket.inet_aton("127.0.0.1"), bytes(4)])))
    send(struct.pack(">IHBB", 0x60000000, random.randrange(2000), random.choice([0, 43, 44, 50, 58, 60]), 64) + noise(96), 0x86DD)
    send(struct.pack(">HHBBH", 1, 0x0800, random.randrange(256), 4, random.randrange(5)) + noise(20), 0x0806, b"\xff" * 6)
print("sent, seed", seed, "pid", os.getpid())
