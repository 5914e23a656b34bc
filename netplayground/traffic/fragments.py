"""Fragments of one sender's datagrams (RFC 791, RFC 8200 4.5): which may be handed on, and when one is whole.

A fragment that does not make its datagram whole is handed on at once: the receiver's kernel keeps it, and no
program hears of it. So that this holds, our account of a datagram has at least every fragment that a
receiver's kernel may have:

- What we refuse is not handed on: octets that overlap others (RFC 5722: nothing more of that datagram is
  taken either), repeated fragments, those beyond 64 KiB, those after the end.
- A datagram is forgotten later than by any kernel (ip-sysctl.rst: after 30 s over IPv4, 60 s over IPv6).
- Whose octets had to be dropped for want of room stays known, and is refused, until then.
- An IPv4 identification comes again after 65,536 datagrams. Linux takes it for a new datagram when more than
  64 fragments for the same receiver have come since (ipfrag_max_dist), and so do we.

What is kept is bounded for each sender: octets, and datagrams known.
"""

from __future__ import annotations

import time
from bisect import bisect
from collections.abc import Callable
from enum import Enum
from itertools import islice

from netplayground.packet import MalformedPacket, ip
from netplayground.packet.checksum import internet_checksum
from netplayground.traffic.link import Link

_FORGOTTEN_NS = 75_000_000_000
_MOST_OCTETS = 8 << 20
_MOST_DATAGRAMS = 4096
_FRAGMENT_COST = 128  # of an object for each, beyond its octets
_MOST_BETWEEN = 64
_LONGEST = 65_535

Key = tuple[bytes, bytes, int, int]  # source, destination, identification; protocol (IPv4 only)


class Fate(Enum):
    """What becomes of a fragment that does not make its datagram whole."""

    PASSED = "passed"
    REFUSED = "refused"


class Partial:
    """A datagram of which something has come."""

    __slots__ = ("began_ns", "cost", "end", "head", "is_refused", "last", "octets", "parts", "starts")

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
        self.parts: dict[int, bytes] = {}
        self.starts: list[int] = []
        self.octets = 0
        self.cost = 0
        self.end: int | None = None  # where the last fragment ends
        self.head = b""  # what goes before the first fragment's octets, and will be the whole's
        self.last = 0  # how many had been handed on to this receiver when this datagram's last one was
        self.is_refused = False

    def has_room_for(self, start: int, length: int, is_last: bool) -> bool:
        """Whether these octets overlap nothing and agree with where the datagram ends."""
        after = start + length
        if self.end is not None and (is_last or after > self.end):
            return False
        place = bisect(self.starts, start)
        if place and self.starts[place - 1] + len(self.parts[self.starts[place - 1]]) > start:
            return False
        return place == len(self.starts) or not (is_last or self.starts[place] < after)

    def add(self, start: int, data: bytes, is_last: bool) -> None:
        self.parts[start] = data
        self.starts.insert(bisect(self.starts, start), start)
        self.octets += len(data)
        self.cost += len(data) + _FRAGMENT_COST
        if is_last:
            self.end = start + len(data)

    def drop(self) -> None:
        """Keep only that it was."""
        self.is_refused = True
        self.parts.clear()
        self.starts.clear()
        self.octets = self.cost = 0


class Fragments:
    """The datagrams of one sender that are not whole."""

    def __init__(self, sender: Link, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._sender = sender
        self._now = monotonic_ns
        self._partial: dict[Key, Partial] = {}  # the oldest first
        self._counts: dict[bytes, int] = {}  # fragments handed on to each receiver
        self._cost = 0

    def add(self, packet: ip.IpPacket, octets: memoryview) -> Fate | bytes:
        """Take a fragment, and give the whole packet if it is whole now; MalformedPacket if it is no
        fragment."""
        head, data, start = _parse(packet, octets)
        now = self._now()
        self._forget(now)
        key = packet.source, packet.destination, packet.identification, _protocol_of(packet)
        count = self._counts.get(packet.destination, 0) + 1
        partial = self._partial.get(key)
        if partial is not None and packet.version == 4 and count - partial.last > _MOST_BETWEEN:
            self._remove(key)
            partial = None
        if partial is None:
            partial = self._partial[key] = Partial(now)
        if partial.is_refused or not partial.has_room_for(start, len(data), not packet.more_fragments):
            return self._refuse(partial, start, data)
        partial.add(start, data, not packet.more_fragments)
        self._cost += len(data) + _FRAGMENT_COST
        if start == 0:
            partial.head = head
        if partial.octets == partial.end:
            del self._partial[key]
            self._cost -= partial.cost
            return _join(packet.version, partial)
        self._make_room()
        self._count(packet.destination, count)
        partial.last = count
        return Fate.PASSED

    def close(self) -> None:
        """Count what never came whole."""
        for key in list(self._partial):
            self._remove(key)

    def _count(self, destination: bytes, count: int) -> None:
        if len(self._counts) > _MOST_DATAGRAMS:
            self._counts.clear()
        self._counts[destination] = count

    def _refuse(self, partial: Partial, start: int, data: bytes) -> Fate:
        self._sender.dropped_fragments += 1
        # The same fragment once more is a network's doing, not an attack (RFC 8200, 4.5).
        if not partial.is_refused and partial.parts.get(start) != data:
            self._drop(partial)
        return Fate.REFUSED

    def _drop(self, partial: Partial) -> None:
        self._sender.dropped_fragments += len(partial.parts)
        self._cost -= partial.cost
        partial.drop()

    def _remove(self, key: Key) -> None:
        self._drop(self._partial.pop(key))

    def _forget(self, now: int) -> None:
        """Forget what no kernel has any more, and the oldest of what is too much."""
        while self._partial:
            key, oldest = next(iter(self._partial.items()))
            if now - oldest.began_ns < _FORGOTTEN_NS and len(self._partial) < _MOST_DATAGRAMS:
                return
            self._remove(key)

    def _make_room(self) -> None:
        if self._cost <= _MOST_OCTETS:
            return
        for partial in islice(self._partial.values(), len(self._partial) - 1):
            self._drop(partial)
            if self._cost <= _MOST_OCTETS // 2:
                return


def _protocol_of(packet: ip.IpPacket) -> int:
    """IPv6 tells datagrams apart without it; its fragments may even disagree about it."""
    return packet.protocol if packet.version == 4 else 0


def _parse(packet: ip.IpPacket, octets: memoryview) -> tuple[bytes, bytes, int]:
    """Give a fragment's head (as the whole packet's will be, but for length and checksum), its octets and
    where they belong."""
    start = packet.fragment_offset
    if packet.version == 4:
        head, data = bytes(octets[: packet.header_length]), bytes(packet.payload)
        most = _LONGEST - len(head)
    else:
        announced_at, at = ip.find_fragment_header(octets)
        head, data = bytes(octets[:at]), bytes(octets[at + 8 :])
        head = head[:announced_at] + bytes([octets[at]]) + head[announced_at + 1 :]
        most = _LONGEST - (at - ip.IPV6_HEADER)
    if not data or (packet.more_fragments and len(data) % 8):
        raise MalformedPacket(f"a fragment of {len(data)} octets")
    if start + len(data) > most:
        raise MalformedPacket(f"a fragment that ends at octet {start + len(data)}")
    return head, data, start


def _join(version: int, partial: Partial) -> bytes:
    """Give the whole packet, with its lengths and, over IPv4, its header's checksum."""
    head = bytearray(partial.head)
    data = b"".join(partial.parts[start] for start in partial.starts)
    if len(head) + len(data) > _LONGEST + (ip.IPV6_HEADER if version == 6 else 0):
        raise MalformedPacket(f"{len(data)} octets in fragments behind a head of {len(head)}")
    if version == 6:
        head[4:6] = (len(head) - ip.IPV6_HEADER + len(data)).to_bytes(2, "big")
    else:
        head[2:4] = (len(head) + len(data)).to_bytes(2, "big")
        head[6:8] = head[10:12] = bytes(2)
        head[10:12] = internet_checksum(head).to_bytes(2, "big")
    return bytes(head) + data
