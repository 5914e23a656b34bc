"""From packets back to events: what each block of a dump says about which connection.

Both a reader of a torn dump and the check walk the file through this; a reader of one connection feeds it
only that one's blocks. Connections are found by their tuple; where a tuple was used again before the earlier
connection's last event was seen, by the low bits of the id in the packet (see `segments`). Ids are given in
the order of SYNs, as the writer does.

What is not TCP is a datagram, but for the ICMP error that ends a connection: a process's own says whose it is
(see `blocks`). TCP that belongs to no connection is none of ours to judge: `packet` gives None.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from netplayground.dump.blocks import PACKET_HEADER
from netplayground.dump.index import ENDING_CODE, NO_CONNECTION, RECORD
from netplayground.dump.model import CLIENT, SERVER, Ending, EventKind
from netplayground.dump.segments import V4_ID_MASK, V6_ID_MASK
from netplayground.packet import MalformedPacket, icmp, ip, tcp

_CLOSING = tcp.SYN | tcp.FIN | tcp.RST
_TIME = struct.Struct(">Q")
_TIME_AND_SIZE = struct.Struct(">QI")
_V4_TCP = ip.IPV4_HEADER
_V6_TCP = ip.IPV6_HEADER
_LENGTH = struct.Struct(">H")

Told = tuple[int, EventKind, int, int, int, int]
"""Connection id, then an event's kind, side, time, offset, length: no value is built where it may not be
wanted. A datagram's offset and length are those of its block."""

_ERROR_MOST = 192
"""No error that answers one of our SYNs has a longer block."""


class Tracked:
    """A connection whose end has not been seen."""

    __slots__ = (
        "bytes",
        "chunks",
        "established_ns",
        "fins",
        "first",
        "id",
        "is_v4",
        "keys",
        "low_bits",
        "older",
        "opened_ns",
    )

    def __init__(self, identity: int, first: int, opened_ns: int, keys: tuple[bytes, bytes]) -> None:
        self.id = identity
        self.first = first
        self.opened_ns = opened_ns
        self.keys = keys
        self.is_v4 = len(keys[0]) == 12
        self.low_bits = identity & (V4_ID_MASK if self.is_v4 else V6_ID_MASK)
        self.established_ns = 0
        self.fins = 0
        self.bytes = [0, 0]
        self.chunks = [0, 0]
        self.older: Tracked | None = None

    def record(self, ending: Ending, closed_ns: int, last: int) -> bytes:
        """Give the record that the writer makes of the same events."""
        key, size = self.keys[CLIENT], 4 if self.is_v4 else 16
        ports = struct.unpack_from(">HH", key, 2 * size)
        who = (self.id, 4 if self.is_v4 else 6, ENDING_CODE[ending], *ports, key[:size], key[size : 2 * size])
        times = (self.opened_ns, self.established_ns, closed_ns)
        return RECORD.pack(*who, *times, *self.bytes, *self.chunks, self.first, last)


class Tracker:
    """Follows the connections of a dump from `first_id` on; `ended` is told each one's id and record at its
    end."""

    def __init__(self, ended: Callable[[int, bytes], None], first_id: int = 0) -> None:
        self.count = first_id
        self.open: dict[int, Tracked] = {}
        self._ended = ended
        self._by_key: dict[bytes, tuple[Tracked, int]] = {}

    def packet(self, buffer: bytes, place: int, offset: int, length: int) -> Told | None:
        """Take the packet block at `place` in the buffer and `offset` in the file; only its headers are
        looked at.

        MalformedPacket if its lengths disagree.
        """
        at = place + PACKET_HEADER
        first = buffer[at] if length >= PACKET_HEADER + 4 + ip.IPV4_HEADER else 0
        if first == 0x45 and buffer[at + 9] == ip.TCP:
            size = _LENGTH.unpack_from(buffer, at + 2)[0]
            begin, key = at + _V4_TCP, buffer[at + 12 : at + 24]
            low_bits = _LENGTH.unpack_from(buffer, at + 4)[0]
        elif first >> 4 == 6 and buffer[at + 6] == ip.TCP:
            size = _LENGTH.unpack_from(buffer, at + 4)[0] + ip.IPV6_HEADER
            begin, key = at + _V6_TCP, buffer[at + 8 : at + 44]
            low_bits = int.from_bytes(buffer[at + 1 : at + 4], "big") & V6_ID_MASK
        else:
            return self._other(buffer, place, offset, length) if first else None
        header = (buffer[begin + 12] >> 4) * 4 if begin + 20 <= len(buffer) else 0
        payload = at + size - begin - header
        if header < 20 or payload < 0 or PACKET_HEADER + size + 4 > length:
            raise MalformedPacket("a TCP packet's lengths disagree")
        flags = buffer[begin + 13]
        now = _TIME.unpack_from(buffer, place + 12)[0]
        if flags & (tcp.SYN | tcp.ACK) == tcp.SYN:
            return self._syn(key, offset, now)
        found = self._find(key, low_bits)
        if found is None:
            return None
        connection, side = found
        if flags & _CLOSING:
            return self._turn(connection, side, flags, now, offset)
        if not payload:
            return None
        connection.bytes[side] += payload
        connection.chunks[side] += 1
        where = offset + begin - place + header
        return connection.id, EventKind.CHUNK, side, now, where, payload

    def unanswered(self, identity: int, now: int, offset: int) -> Told | None:
        """Take the fact that nobody answered."""
        connection = self.open.get(identity)
        if connection is None:
            return None
        return self._end(connection, Ending.UNANSWERED, EventKind.UNANSWERED, SERVER, now, offset)

    def _syn(self, key: bytes, offset: int, now: int) -> Told:
        half = (len(key) - 4) // 2
        turned = key[half : 2 * half] + key[:half] + key[-2:] + key[-4:-2]
        connection = Tracked(self.count, offset, now, (key, turned))
        self.count += 1
        if older := self._by_key.get(key):
            connection.older = older[0]
            self._open_older(older[0])
        self._by_key[key] = connection, CLIENT
        self._by_key[turned] = connection, SERVER
        self.open[connection.id] = connection
        return connection.id, EventKind.SYN, CLIENT, now, 0, 0

    def _find(self, key: bytes, low_bits: int) -> tuple[Tracked, int] | None:
        found = self._by_key.get(key)
        if found is None or found[0].low_bits == low_bits:
            return found
        connection = self._open_older(found[0])
        while connection is not None and connection.low_bits != low_bits:
            connection = self._open_older(connection)
        if connection is None:
            return None
        return connection, CLIENT if key == connection.keys[CLIENT] else SERVER

    def _turn(self, connection: Tracked, side: int, flags: int, now: int, offset: int) -> Told:
        """Take a segment that changes the connection's state."""
        if flags & tcp.RST:
            kind, ending = _RESETS[bool(connection.established_ns)][side]
            return self._end(connection, ending, kind, side, now, offset)
        if flags & tcp.SYN:
            connection.established_ns = now
            return connection.id, EventKind.ESTABLISHED, side, now, 0, 0
        connection.fins |= 1 << side
        if connection.fins == 3:
            return self._end(connection, Ending.CLOSED, EventKind.FIN, side, now, offset)
        return connection.id, EventKind.FIN, side, now, 0, 0

    def _other(self, buffer: bytes, place: int, offset: int, length: int) -> Told:
        """Take a packet that is not TCP."""
        now, size = _TIME_AND_SIZE.unpack_from(buffer, place + 12)
        rest = length - PACKET_HEADER - 4 - (size + 3 & ~3)
        if rest < 0:
            raise MalformedPacket("a packet is longer than its block")
        if not rest and length <= _ERROR_MOST:
            begin = place + PACKET_HEADER
            found = self._answered(buffer[begin : begin + size])
            if found is not None:
                return self._end(found, Ending.UNREACHABLE, EventKind.UNREACHABLE, SERVER, now, offset)
        return NO_CONNECTION, EventKind.DATAGRAM, CLIENT, now, offset, length

    def _answered(self, packet: bytes) -> Tracked | None:
        """Give the connection whose SYN a packet answers, as the error that nobody has the address."""
        try:
            quoted = icmp.parse_unreachable(ip.parse_packet(packet))
        except MalformedPacket:  # what a process may say, but no error of ours
            return None
        if quoted is None or len(quoted) < ip.IPV4_HEADER + 4:
            return None
        four = quoted[0] == 0x45
        key, low = (quoted[12:24], quoted[4:6]) if four else (quoted[8:44], quoted[1:4])
        found = self._find(bytes(key), int.from_bytes(low, "big") & (V4_ID_MASK if four else V6_ID_MASK))
        return None if found is None or found[0].established_ns else found[0]

    def _end(
        self, connection: Tracked, ending: Ending, kind: EventKind, side: int, now: int, offset: int
    ) -> Told:
        del self.open[connection.id]
        older = self._open_older(connection)
        for which, key in enumerate(connection.keys):
            found = self._by_key.get(key)
            if found and found[0] is connection:
                if older:
                    self._by_key[key] = older, which
                else:
                    del self._by_key[key]
        self._ended(connection.id, connection.record(ending, now, offset))
        return connection.id, kind, side, now, 0, 0

    def _open_older(self, connection: Tracked) -> Tracked | None:
        """Give the next older connection of the same tuple that is still open, and forget those between."""
        older = connection.older
        while older is not None and older.id not in self.open:
            older = older.older
        connection.older = older
        return older


_RESETS = (
    ((EventKind.ABORTED, Ending.ABORTED), (EventKind.REFUSED, Ending.REFUSED)),
    ((EventKind.RST, Ending.RESET_BY_CLIENT), (EventKind.RST, Ending.RESET_BY_SERVER)),
)
"""By whether the connection was established, and by the side that resets."""
