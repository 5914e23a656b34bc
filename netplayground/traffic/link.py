"""A link: a process's TUN device as the router sees it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from netplayground.packet import virtio


class Link:
    """One process's end of the playground: where its packets come from and go to, and what was dropped.

    `addresses` are the packed addresses that the process may send from.
    """

    __slots__ = ("addresses", "dropped_malformed", "dropped_source", "dropped_write", "fd", "name")

    def __init__(self, name: str, fd: int, addresses: Iterable[IPv4Address | IPv6Address]) -> None:
        self.name = name
        self.fd = fd
        self.addresses = frozenset(address.packed for address in addresses)
        self.dropped_source = 0
        self.dropped_malformed = 0
        self.dropped_write = 0

    def write(self, frame: bytes | memoryview) -> None:
        """Hand one packet, virtio header first, to the process's kernel; a refused one is dropped and
        counted."""
        try:
            os.write(self.fd, frame)
        except OSError:
            # EINVAL: an offload header that does not fit its packet; ENOBUFS: no memory. A wire loses packets
            # too.
            self.dropped_write += 1

    def send(self, packet: bytes) -> None:
        """Hand over a packet that the router made itself (complete checksum, no offload)."""
        self.write(virtio.PLAIN + packet)

    @property
    def dropped(self) -> int:
        """Packets from or for this process that the router did not pass on."""
        return self.dropped_source + self.dropped_malformed + self.dropped_write
