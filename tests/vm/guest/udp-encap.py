"""Keeps the UDP sockets through which the kernel takes ESP in UDP (RFC 3948), as a key daemon does.

    udp-encap.py PORT
"""
import signal
import socket
import sys

UDP_ENCAP = 100
UDP_ENCAP_ESPINUDP = 2

sockets = []
for family, address in [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
    opened.bind((address, int(sys.argv[1])))
    sockets.append(opened)
signal.pause()
