"""IP fragments to whole packets (RFC 791, 3.2; RFC 8200, 4.5), with bounded memory.

A datagram whose fragments overlap with other bytes than were there is given up as a whole, as RFC 5722 asks
of IPv6: nobody sends such, but who wants to be taken for somebody else. An exact repetition is harmless.
Fragments that wait longer than 30 s of the capture's time, or beyond `WAITING_MOST`, are dropped and counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from netplayground.capture.network import Network
from netplayground.packet.checksum import Octets

WAITING_MOST = 4 << 20
TIMEOUT_NS = 30_000_000_000
_DATAGRAM_MOST = 65535
_FRAGMENT_COST = 200

Key = tuple[bytes, int, int]


@dataclass(slots=True)
class _Waiting:
    since: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    length: int = -1
    cost: int = 0


class Fragments:
    """Fragments that wait for others; `dropped` counts those that waited in vain."""

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: dict[Key, _Waiting] = {}
        self._cost = 0

    def take(self, network: Network, buffer: Octets, now: int) -> bytes | None:
        """Take a fragment; give the payload of the whole packet when this was its last missing one."""
        key = network.addresses, network.identification, network.protocol if network.version == 4 else -1
        self._expire(now)
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting(now)
        data = bytes(buffer[network.begin : network.end])
        if network.missing or not self._fits(waiting, network, data):
            self._drop(key, 1)
            return None
        if network.offset not in waiting.pieces:
            waiting.pieces[network.offset] = data
            waiting.cost += len(data) + _FRAGMENT_COST
            self._cost += len(data) + _FRAGMENT_COST
        if network.is_last:
            waiting.length = network.offset + len(data)
        whole = _join(waiting)
        if whole is not None:
            self._forget(key)
        return whole

    def _fits(self, waiting: _Waiting, network: Network, data: bytes) -> bool:
        """Say whether a fragment agrees with those that are there."""
        begin, end = network.offset, network.offset + len(data)
        if end > _DATAGRAM_MOST or (len(data) % 8 and not network.is_last):
            return False
        if waiting.length >= 0 and (end > waiting.length or (network.is_last and end != waiting.length)):
            return False
        if waiting.pieces.get(begin) == data:
            return True
        return all(end <= at or begin >= at + len(piece) for at, piece in waiting.pieces.items()) and not (
            network.is_last and any(at > begin for at in waiting.pieces)
        )

    def _expire(self, now: int) -> None:
        for key in list(self._waiting):
            if now - self._waiting[key].since <= TIMEOUT_NS and self._cost <= WAITING_MOST:
                break
            self._drop(key, 0)

    def _drop(self, key: Key, more: int) -> None:
        self.dropped += len(self._waiting[key].pieces) + more
        self._forget(key)

    def _forget(self, key: Key) -> None:
        self._cost -= self._waiting.pop(key).cost


def _join(waiting: _Waiting) -> bytes | None:
    if waiting.length < 0:
        return None
    at, pieces = 0, []
    while at < waiting.length:
        piece = waiting.pieces.get(at)
        if not piece:
            return None
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
