"""A station on a line by tagged frames: asks the router for its address, then pings through it. Prints one word a line."""

import sys

from scapy.all import ARP, ICMP, IP, Dot1Q, Ether, Raw, conf, srp1

interface, vlan, own, router, *targets = sys.argv[1:]
conf.verb = 0


def ask(frame):
    return srp1(frame, iface=interface, timeout=3, retry=1)


def tag(destination):
    return Ether(dst=destination) / Dot1Q(vlan=int(vlan))


answer = ask(tag("ff:ff:ff:ff:ff:ff") / ARP(psrc=own, pdst=router))
if answer is None:
    print("silence")
    sys.exit()
print("arp", answer[Dot1Q].vlan)
for target in targets:
    # As large as the line takes.
    request = IP(src=own, dst=target, flags="DF") / ICMP(id=7, seq=1) / Raw(b"\x5a" * 1472)
    reply = ask(tag(answer[ARP].hwsrc) / request)
    good = reply is not None and reply[ICMP].type == 0 and reply[IP].src == target and len(reply[IP]) == 1500
    print("echo", reply[Dot1Q].vlan if good else "silence")
