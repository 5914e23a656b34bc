"""A link: a process's TUN device as the router sees it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from netplayground.packet import virtio
from netplayground.packet.checksum import Octets


class Link:
    """One process's end of the playground: where its packets come from and go to, and what was dropped.

    `addresses` are the packed addresses that the process may send from; `position` is the process's, 0 that
    of the proxy.
    """

    __slots__ = (
        "addresses",
        "dropped_fragments",
        "dropped_malformed",
        "dropped_source",
        "dropped_write",
        "fd",
        "name",
        "position",
    )

    def __init__(
        self, name: str, fd: int, addresses: Iterable[IPv4Address | IPv6Address], position: int = 0
    ) -> None:
        self.name = name
        self.position = position
        self.fd = fd
        self.addresses = frozenset(address.packed for address in addresses)
        self.dropped_source = 0
        self.dropped_malformed = 0
        self.dropped_fragments = 0
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

    def send(self, packet: Octets) -> None:
        """Hand over a packet with complete checksums, without its virtio header."""
        self.write(b"".join((virtio.PLAIN, packet)))

    @property
    def drops(self) -> dict[str, int]:
        """Packets from this process that the router did not pass on, and those that its kernel refused."""
        return {
            "with a foreign source": self.dropped_source,
            "malformed": self.dropped_malformed,
            "fragments that never came whole": self.dropped_fragments,
            "refused by the kernel": self.dropped_write,
        }
