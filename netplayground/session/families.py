"""In which family a live server is reached: the recorded one, or, where it listens only in the other, that.

Whether a socket of IPv6 takes IPv4 too, no table of the kernel tells. So what was recorded is tried first; a
server that was seen to listen before a try, and refused it, listens in the other family only.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from ipaddress import IPv4Address, IPv6Address

Sockets = Callable[[], Set[tuple[IPv4Address | IPv6Address, int]]]
"""The addresses and ports of sockets."""

FOUR, SIX = 4, 6


class Families:
    """The families of one live server's sockets, by port."""

    def __init__(self, listening: Sockets, receiving: Sockets) -> None:
        self._listening = listening
        self._receiving = receiving
        self._seen: set[int] = set()  # ports on which it listened before the latest try
        self._datagrams_in: dict[int, int] = {}  # port -> version

    def to_connect(self, port: int, recorded: int, failures: int) -> int:
        """The version of IP for a connect that was tried so often in vain."""
        if not failures:
            return recorded
        versions = _versions(self._listening(), port)
        if versions and recorded not in versions and port in self._seen:
            return _other(recorded)
        if versions:
            self._seen.add(port)
        return recorded

    def to_deliver(self, port: int, recorded: int) -> int | None:
        """The version for the first datagram to a port; None while nobody takes any there."""
        versions = _versions(self._receiving(), port)
        if not versions:
            return None
        # Most sockets of IPv6 that have no address of their own take IPv4 too (ipv6(7), IPV6_V6ONLY).
        takes_both = any(at == port and address == IPv6Address("::") for address, at in self._receiving())
        served = recorded in versions or (recorded == FOUR and takes_both)
        self._datagrams_in[port] = recorded if served else _other(recorded)
        return self._datagrams_in[port]

    def of_datagrams(self, port: int, recorded: int) -> int:
        """The version for datagrams that follow."""
        return self._datagrams_in.get(port, recorded)


def _versions(sockets: Set[tuple[IPv4Address | IPv6Address, int]], port: int) -> set[int]:
    """The versions of the sockets of a port; who listens on the loopback device listens for itself."""
    return {address.version for address, at in sockets if at == port and not address.is_loopback}


def _other(version: int) -> int:
    return SIX if version == FOUR else FOUR
