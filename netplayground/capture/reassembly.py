"""Segments to connections: which connection a segment belongs to, when one is over, what memory all take.

Fed segment by segment, in the order and with the times of a capture; it holds no file, descriptor or clock,
so that a live capture can feed it as well. Memory is bounded whatever is fed: what waits by `Limits`, the
number of connections too. A connection that is over stays known for a while, or its last segments, coming
again, would look like a new one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

from netplayground.capture.connection import Connection, Gaps, Listener
from netplayground.capture.following import Followed
from netplayground.capture.network import turned
from netplayground.capture.resets import Reset
from netplayground.capture.stream import AHEAD_MOST, Overlap
from netplayground.errors import CaptureError
from netplayground.packet.checksum import Octets
from netplayground.packet.tcp import ACK, RST, SYN

HOLD_NS = 50_000_000
HOLD_PACKETS = 64
"""How long, in the capture's time and in packets, one packet may have overtaken another."""
GAP_NS = 1_000_000_000
GAP_PACKETS = 64
_OVER_MOST = 1 << 12
_SERVERS_MOST = 1 << 16
_EPHEMERAL = 32768
"""Where Linux begins to take ports for clients from (ip_local_port_range)."""


class Full(Enum):
    """What is done when too much waits for what is missing."""

    SKIP = "skip"
    CUT = "cut"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Limits:
    """What may wait, in bytes and connections, and for how long a silent connection's gaps are waited for."""

    connection: int = 16 << 20
    all: int = 64 << 20
    connections: int = 3 << 13
    idle_ns: int = 3600 * 1_000_000_000
    when_full: Full = Full.SKIP


class Reassembler:
    """All connections of a capture."""

    def __init__(
        self,
        listener: Listener,
        overlap: Overlap = Overlap.FIRST_WINS,
        gaps: Gaps = Gaps.SKIP,
        limits: Limits | None = None,
    ) -> None:
        self.overlap = overlap
        self.gaps = gaps
        self.gap_ns, self.gap_packets = GAP_NS, GAP_PACKETS
        self.limits = limits or Limits()
        self.now = 0
        self.count = 0
        self.held = 0
        self.cut = 0
        self.ignored = 0
        self.listener = listener
        self._live: dict[bytes, Followed] = {}
        self._by_key: dict[bytes, tuple[Followed, int]] = {}
        self._holding: deque[tuple[int, int, Connection, Reset | None]] = deque()
        self._over: deque[Connection] = deque()
        self._servers: set[bytes] = set()
        self._swept = 0

    def advance(self, now: int, packets: int) -> None:
        """So many packets of the capture have gone by, and it is `now` there."""
        self.count += packets
        self.now = now
        holding = self._holding
        while holding and holding[0][0] <= now and holding[0][1] <= self.count:
            self._settle_next()
        if now - self._swept > self.limits.idle_ns >> 4:
            self._sweep()

    def _settle_next(self, is_last: bool = False) -> None:
        _, _, connection, reset = self._holding.popleft()
        connection.settle(reset, is_last)
        self._bury_if_over(connection)

    @property
    def next_due(self) -> tuple[int, int] | None:
        """Give the time and the count of packets at which something is due, if anything is."""
        return self._holding[0][:2] if self._holding else None

    def segment(
        self, key: bytes, sequence: int, ack: int, flags: int, data: Octets, missing: int = 0
    ) -> Followed | None:
        """Take one segment; `missing` octets behind `data` were not captured."""
        found = self._by_key.get(key)
        if found is not None and flags & SYN and self._is_another(found, sequence, ack, flags):
            self.forget(found[0], is_replaced=True)
            found = None
        if found is None:
            if flags & RST or not (flags & (SYN | ACK) or len(data)):
                self.ignored += 1
                return None
            found = self._make(key), 0
            if flags & (SYN | ACK) == SYN:
                self._note_server(key)
        connection, side = found
        connection.segment(side, sequence, ack, flags, data, missing)
        self._bury_if_over(connection)
        return connection

    def adopt(self, connection: Followed) -> None:
        """Take over a connection that somebody else has followed so far."""
        if not connection.is_over:
            self._make_room()
            self._live[connection.key] = connection
        self._by_key[connection.key] = connection, 0
        self._by_key[turned(connection.key)] = connection, 1
        if connection.is_over:
            self._remember_over(connection)

    def note_server(self, address: bytes, port: bytes) -> None:
        """Somebody was asked for a connection there."""
        if len(self._servers) < _SERVERS_MOST:
            self._servers.add(address + port)

    def find(self, key: bytes) -> tuple[Followed, int] | None:
        """Give the connection to which a segment with these ends belongs, and which of its sides sent it."""
        return self._by_key.get(key)

    def unreachable(self, key: bytes) -> bool:
        """An ICMP error quotes a segment of these ends; say whether that has ended a connection."""
        found = self._by_key.get(key)
        if found is None or not found[0].unreachable():
            return False
        self._bury_if_over(found[0])
        return True

    def finish(self) -> None:
        """The capture is over."""
        for connection in list(self._live.values()):
            connection.flush()
        self._live.clear()
        self._by_key.clear()

    def flush_older(self, time_ns: int) -> None:
        """Wait no longer for what is missing of connections that have been silent since then. They stay: who
        has nothing to say for an hour may have something after it."""
        silent = [each for each in self._live.values() if each.last < time_ns]
        for connection in [each for each in silent if each.held or each.reset is not None]:
            connection.stop_waiting()
            self._bury_if_over(connection)

    # -- which connection --------------------------------------------------------------------------

    def _is_another(self, found: tuple[Followed, int], sequence: int, ack: int, flags: int) -> bool:
        """Say whether a SYN opens another connection than the one of these ports that is known."""
        connection, side = found
        known = connection.initial[side]
        if known >= 0:
            if known == sequence:
                return False
            # A port pair is used again: RFC 9293, 3.6.1. A SYN-ACK answers the SYN that is known, if it can.
            return connection.is_over or not flags & ACK or not self._answers(connection, side, ack)
        if connection.is_over:
            return True
        stream = connection.streams[side]
        begin = stream.first if stream.first >= 0 else stream.lowest
        if begin < 0:
            # A SYN in both directions: a simultaneous open (RFC 9293, 3.5), if nobody has answered yet.
            return not flags & ACK and connection.is_established
        return not 0 <= begin - stream.place(sequence + 1 & 0xFFFFFFFF) <= AHEAD_MOST

    def _answers(self, connection: Connection, side: int, ack: int) -> bool:
        initial = connection.initial[1 - side]
        return initial < 0 or ack == initial + 1 & 0xFFFFFFFF

    def _make(self, key: bytes) -> Followed:
        self._make_room()
        connection = Followed(key, self, self.listener)
        self._live[key] = connection
        self._by_key[key] = connection, 0
        self._by_key[turned(key)] = connection, 1
        self.hold(connection)
        return connection

    def forget(self, connection: Connection, is_replaced: bool = False) -> None:
        """A connection is known no more; what it still has to tell is told."""
        connection.flush(is_replaced)
        connection.drop_streams()
        for key in (connection.key, turned(connection.key)):
            found = self._by_key.get(key)
            if found is not None and found[0] is connection:
                del self._by_key[key]
        if self._live.get(connection.key) is connection:
            del self._live[connection.key]

    def _bury_if_over(self, connection: Connection) -> None:
        """A connection that is over stays known until many others are."""
        if not connection.is_over or self._live.get(connection.key) is not connection:
            return
        del self._live[connection.key]
        self._remember_over(connection)

    def _remember_over(self, connection: Connection) -> None:
        self._over.append(connection)
        if len(self._over) > _OVER_MOST:
            self.forget(self._over.popleft())

    def _make_room(self) -> None:
        """Where there are too many connections, forget those that have been silent for longest."""
        if len(self._live) < self.limits.connections:
            return
        oldest = sorted(self._live.values(), key=lambda each: each.last)
        for connection in oldest[: max(1, len(oldest) >> 3)]:
            self.forget(connection)

    def _sweep(self) -> None:
        self._swept = self.now
        self.flush_older(self.now - self.limits.idle_ns)

    # -- what connections ask ----------------------------------------------------------------------

    def hold(self, connection: Connection, reset: Reset | None = None) -> None:
        """Ask for `settle` in a moment; or sooner, where too many have asked."""
        while len(self._holding) >= self.limits.connections:
            self._settle_next(is_last=True)
        self._holding.append((self.now + HOLD_NS, self.count + HOLD_PACKETS, connection, reset))

    def note_held(self, connection: Connection, more: int) -> None:
        """`more` bytes wait; make room if that is too much."""
        self.held += more
        limits = self.limits
        while connection.held and (connection.held > limits.connection or self.held > limits.all):
            if limits.when_full is Full.FAIL:
                raise CaptureError(
                    f"cannot go on: {self.held:,} bytes wait for what is missing before them (--when-full)"
                )
            if limits.when_full is Full.CUT:
                self.cut += 1
                connection.give_up()
                return
            connection.make_way()
            self.held += connection.take_change()

    def guess_client(self, key: bytes) -> int:
        """Say which side of a connection without a SYN opened it: 0, which was seen first, or 1."""
        other = turned(key)
        first, second = self._server_of(other), self._server_of(key)
        if (first in self._servers) != (second in self._servers):
            return 1 if first in self._servers else 0
        ports = int.from_bytes(key[-4:-2], "big"), int.from_bytes(key[-2:], "big")
        if (ports[0] < _EPHEMERAL) != (ports[1] < _EPHEMERAL):
            return 1 if ports[0] < _EPHEMERAL else 0
        return 1 if ports[0] < ports[1] and ports[0] < _EPHEMERAL else 0

    def _server_of(self, key: bytes) -> bytes:
        """Give address and port to which packets of `key` go."""
        half = (len(key) - 4) // 2
        return key[half : 2 * half] + key[-2:]

    def _note_server(self, key: bytes) -> None:
        if len(self._servers) < _SERVERS_MOST:
            self._servers.add(self._server_of(key))
