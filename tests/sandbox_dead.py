"""Asks a process that has ended for a connection; exit status 0 when its kernel says RST."""

from __future__ import annotations

import os
import select
import struct
import sys
from ipaddress import IPv4Interface

from netplayground.packet.checksum import internet_checksum
from netplayground.sandbox.playground import Sandbox
from netplayground.sandbox.process import Gone, ProcessSpec
from netplayground.sandbox.proxy import enter_proxy_namespace


def connect_to_the_dead() -> int:
    sandbox = Sandbox([ProcessSpec("p1", 1, "true", IPv4Interface("10.0.0.1/24"))], enter_proxy_namespace())
    sandbox.build()
    try:
        (process,) = sandbox.processes
        process.start()
        while Gone() not in process.read_messages():
            select.select([process.control], [], [], 5)
        syn = _syn()
        os.write(process.tun_fd, bytes(10) + syn)
        while select.select([process.tun_fd], [], [], 5)[0]:
            packet = os.read(process.tun_fd, 65536)[10:]
            if packet[9] == 6:
                return 0 if packet[20 + 13] & 0x04 else 2
        return 3
    finally:
        sandbox.close()


def _syn() -> bytes:
    """A SYN from 10.0.0.2:1000 to 10.0.0.1:80."""
    tcp = struct.pack(">HHIIBBHHH", 1000, 80, 1, 0, 5 << 4, 2, 1024, 0, 0)
    addresses = bytes([10, 0, 0, 2, 10, 0, 0, 1])
    tcp_sum = internet_checksum(addresses + struct.pack(">HH", 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack(">H", tcp_sum) + tcp[18:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + addresses
    return ip[:10] + struct.pack(">H", internet_checksum(ip)) + ip[12:] + tcp


if __name__ == "__main__":
    sys.exit(connect_to_the_dead())
