"""IP fragments to whole packets (RFC 791, 3.2; RFC 8200, 4.5), with bounded memory.

A datagram whose fragments overlap with other bytes than were there is given up as a whole, as RFC 5722 asks
of IPv6: nobody sends such, but who wants to be taken for somebody else. An exact repetition is harmless.
Fragments that wait longer than 30 s of the capture's time, or beyond `WAITING_MOST`, are dropped and counted.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import OrderedDict
from dataclasses import dataclass, field

from netplayground.capture.network import Network
from netplayground.packet.checksum import Octets
from netplayground.packet.ip import PAYLOAD_MOST

WAITING_MOST = 4 << 20
TIMEOUT_NS = 30_000_000_000
_FRAGMENT_COST = 200

Key = tuple[bytes, int, int]


@dataclass(slots=True)
class _Waiting:
    """Fragments of one datagram: `begins` is sorted, no two overlap, `had` is how much of it is there."""

    since: int
    begins: list[int] = field(default_factory=list)
    pieces: dict[int, bytes] = field(default_factory=dict)
    had: int = 0
    length: int = -1
    cost: int = 0

    def fits(self, begin: int, data: bytes, is_last: bool, most: int) -> bool:
        """Say whether a fragment agrees with those that are there, and all may be so long."""
        end = begin + len(data)
        if end > most or (len(data) % 8 and not is_last):
            return False
        if self.length >= 0 and (end > self.length or (is_last and end != self.length)):
            return False
        if begin in self.pieces:
            return self.pieces[begin] == data
        at = bisect_right(self.begins, begin)
        if at < len(self.begins) and (is_last or self.begins[at] < end):
            return False
        return not at or self.begins[at - 1] + len(self.pieces[self.begins[at - 1]]) <= begin

    def join(self) -> bytes | None:
        """Give the whole payload, None if something is missing: nothing overlaps, so that the sum tells."""
        if not self.length == self.had > 0:
            return None
        return b"".join(self.pieces[at] for at in self.begins)


class Fragments:
    """Fragments that wait for others; `dropped` counts those that waited in vain."""

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: OrderedDict[Key, _Waiting] = OrderedDict()
        self._cost = 0

    def take(self, network: Network, buffer: Octets, now: int) -> bytes | None:
        """Take a fragment; give the payload of the whole packet when this was its last missing one."""
        key = network.addresses, network.identification, network.protocol if network.version == 4 else -1
        self._expire(now)
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting(now)
        begin, data = network.offset, bytes(buffer[network.begin : network.end])
        most = PAYLOAD_MOST[network.version]
        if network.missing or not waiting.fits(begin, data, network.is_last, most):
            self._drop(key, 1)
            return None
        if begin not in waiting.pieces:
            self._keep(waiting, begin, data)
        if network.is_last:
            waiting.length = begin + len(data)
        whole = waiting.join()
        if whole is not None:
            self._forget(key)
        return whole

    def _keep(self, waiting: _Waiting, begin: int, data: bytes) -> None:
        waiting.pieces[begin] = data
        insort(waiting.begins, begin)
        waiting.had += len(data)
        waiting.cost += len(data) + _FRAGMENT_COST
        self._cost += len(data) + _FRAGMENT_COST

    def _expire(self, now: int) -> None:
        while self._waiting:
            key, oldest = next(iter(self._waiting.items()))
            if now - oldest.since <= TIMEOUT_NS and self._cost <= WAITING_MOST:
                break
            self._drop(key, 0)

    def _drop(self, key: Key, more: int) -> None:
        self.dropped += len(self._waiting[key].pieces) + more
        self._forget(key)

    def _forget(self, key: Key) -> None:
        self._cost -= self._waiting.pop(key).cost
