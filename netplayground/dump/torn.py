"""What a torn dump still holds: found by one walk over its whole blocks, since it has no index."""

from __future__ import annotations

from array import array

from netplayground.dump import blocks
from netplayground.dump.connections import HeldRecords
from netplayground.dump.index import NO_CONNECTION, RECORD
from netplayground.dump.model import Ending, Totals
from netplayground.dump.source import Source, Walk
from netplayground.dump.tracker import Told, Tracker
from netplayground.packet import MalformedPacket


class TornIndex:
    """The index that a walk makes."""

    def __init__(self, source: Source, start: int) -> None:
        self.records = HeldRecords()
        self.facts = array("Q")
        self._events = 0
        self._datagrams = 0
        tracker = Tracker(self.records.add)
        walk = Walk(source, start, source.size)
        for offset, kind, length, place in walk:
            if kind == blocks.CUSTOM and walk.buffer[place + 12 : place + 16] == blocks.FACT:
                self.facts.append(offset)
            told = take_block(source, tracker, walk.buffer, offset, kind, length, place)
            self._events += told is not None and kind == blocks.PACKET
            self._datagrams += told is not None and told[0] == NO_CONNECTION
        self.end = walk.offset
        self.open_count = len(tracker.open)
        for connection in tracker.open.values():
            self.records.add(connection.id, connection.record(Ending.OPEN, 0, self.end))
        self.missing = _missing(walk, source.size, self.open_count)

    def totals(self) -> Totals:
        """Add everything up."""
        client = server = 0
        for identity in range(len(self.records)):
            numbers = RECORD.unpack(self.records.get(identity))
            client += numbers[10]
            server += numbers[11]
        events = self._events + len(self.facts)
        return Totals(len(self.records), events, len(self.facts), (client, server), self._datagrams)


def _missing(walk: Walk, size: int, open_count: int) -> str:
    parts = ["the end of the run and its index"]
    if walk.offset < size:
        rest = size - walk.offset
        parts.append(
            f"what the last {rest} bytes told, from byte {walk.offset} on ({walk.broken or 'cut off'})"
        )
    if open_count:
        parts.append(f"the end of {open_count} connection{'s' if open_count > 1 else ''}")
    return "; ".join(parts)


def take_block(
    source: Source, tracker: Tracker, buffer: bytes, offset: int, kind: int, length: int, place: int
) -> Told | None:
    """Give what one block tells about a connection, if anything; what makes no sense tells nothing."""
    if kind == blocks.PACKET:
        try:
            return tracker.packet(buffer, place, offset, length)
        except MalformedPacket:
            return None
    if kind != blocks.CUSTOM or buffer[place + 12 : place + 16] != blocks.FACT:
        return None
    # Few facts are of interest here: their kind comes first in the JSON that plg writes.
    if buffer[place + 16 : place + 36] != b'{"kind":"unanswered"':
        return None
    try:
        fields = blocks.parse_fact(source.read(offset, length)[16:-4])
    except ValueError:
        return None
    identity, now = fields.get("connection"), fields["time"]
    if not isinstance(identity, int) or not isinstance(now, int):
        return None
    return tracker.unanswered(identity, now, offset)
