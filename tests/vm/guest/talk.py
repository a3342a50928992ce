"""Echo requests and TCP, all at once.

    talk.py '{"pings": [["10.1.0.10", 56, true]], "tcp": ["10.1.0.10"], "port": 7, "octets": 40000, "patience": 5}'
    talk.py stream ADDRESS

Exits with 0 if every echo request of each of `pings` (address, octets, whether it may not be fragmented) was answered by the
same octets, and if every address of `tcp` sent back what it got. With `namespace` all of it begins there. `stream` sends echo
requests until SIGTERM, and then says how many were answered.

`ping` itself will not do: once it has some answers it waits for the last ones but twice as long as for those before
(iputils 20221126), which an emulated machine that was held up for a moment needs.
"""
import ctypes
import itertools
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

import echo

CLONE_NEWNET = 0x40000000
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0
REQUEST, REPLY = {socket.AF_INET: 8, socket.AF_INET6: 128}, {socket.AF_INET: 0, socket.AF_INET6: 129}
INTERVAL, PATIENCE = 0.05, 5
COUNT = 4


def enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", "rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


class Ping:
    """A socket of which the kernel makes the identifier and the checksum."""

    def __init__(self, address, size, whole):
        self.address, self.size = address, size
        self.family = echo.family(address)
        protocol = socket.IPPROTO_ICMP if self.family == socket.AF_INET else socket.IPPROTO_ICMPV6
        self.socket = socket.socket(self.family, socket.SOCK_DGRAM, protocol)
        if not whole:
            self.socket.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        self.sent, self.answered, self.wrong = 0, set(), 0

    def octets(self, number):
        return bytes((number + at) & 0xFF for at in range(self.size))

    def send(self):
        self.sent += 1
        header = struct.pack("!BBHHH", REQUEST[self.family], 0, 0, 0, self.sent & 0xFFFF)
        try:
            self.socket.sendto(header + self.octets(self.sent), (self.address, 0))
        except OSError as error:
            # Such as an ICMP error that came for an earlier one.
            print(f"{self.address}: {error}")

    def receive(self, until, wanted):
        """Until this time, or `wanted` answers are there."""
        while len(self.answered) < wanted:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return
            try:
                data = self.socket.recv(65536)
            except OSError as error:
                print(f"{self.address}: {error}")
                continue
            kind, _, _, _, number = struct.unpack_from("!BBHHH", data)
            if kind == REPLY[self.family] and data[8:] == self.octets(number):
                self.answered.add(number)
            else:
                self.wrong += 1
                print(f"{self.address}: type {kind} of {len(data)} octets, number {number}")

    def result(self):
        return f"{self.address}: {self.sent} sent, {len(self.answered)} answered, {self.wrong} answered wrongly"

    def good(self):
        return len(self.answered) == self.sent and not self.wrong

    def some(self, patience):
        for _ in range(COUNT):
            self.send()
            self.receive(time.monotonic() + INTERVAL, self.sent + 1)
        self.receive(time.monotonic() + patience, self.sent)

    def stream(self):
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        for _ in itertools.takewhile(lambda _: not ended.is_set(), itertools.count()):
            self.send()
            self.receive(time.monotonic() + INTERVAL, self.sent + 1)
        self.receive(time.monotonic() + PATIENCE, self.sent)
        print(self.result())


def talk(request):
    if "namespace" in request:
        enter(request["namespace"])
    wrong = []

    def ask(address):
        try:
            segment = echo.ask(address, request["port"], request["octets"])
            print(f"mss {segment}", flush=True)
        except (Exception, SystemExit) as error:
            wrong.append(f"TCP with {address}: {error}")

    def ping(words):
        one = Ping(*words)
        one.some(request["patience"])
        if not one.good():
            wrong.append(one.result())

    threads = [threading.Thread(target=ask, args=(address,)) for address in request["tcp"]]
    threads += [threading.Thread(target=ping, args=(words,)) for words in request["pings"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    if sys.argv[1] == "stream":
        Ping(sys.argv[2], 56, True).stream()
    else:
        talk(json.loads(sys.argv[1]))
