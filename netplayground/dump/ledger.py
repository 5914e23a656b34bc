"""What the index will need, gathered while a run is recorded, and written into the file a page at a time.

`turn_pages` is called once a MiB of file, at a moment when nothing waits in the output's buffer.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from netplayground.dump import blocks
from netplayground.dump.crc import crc32
from netplayground.dump.index import (
    ENTRIES_MOST,
    EVENTS_MOST,
    EVENTS_SPAN,
    FACT_BIT,
    NO_CONNECTION,
    RECORD,
    RECORDS_MOST,
    SUMS_MOST,
    WINDOW,
    Entry,
    EventLog,
    emit_entry,
    emit_event_page,
    emit_sum_page,
)
from netplayground.dump.model import Ending
from netplayground.dump.output import CAPACITY, Output
from netplayground.dump.sums import Sums

BATCH = 1 << 17
"""What datagrams may put into the file at once."""

EVENTS_ENOUGH = EVENTS_MOST - (WINDOW + CAPACITY + BATCH) // 52
"""A page with more events than this is turned. No event's block is shorter than 52 octets (an IPv4 header
alone), so that what may come before it is asked again always fits."""

SEQUENCE_STEP = 0x9E3779B1
"""Odd, so that no initial sequence number comes again before 2**32 of them; large, so that two connections of
one port pair are far apart and nobody takes the second one's segments for the first one's again."""


Counts = tuple[int, int, int]
"""How much is in a page; how many events of an event page are facts, and how many datagrams."""
Span = tuple[int, int]


class OpenConnection(Protocol):
    """What the ledger asks of a connection that is still open at the end."""

    def record(self, closed_ns: int, last: int) -> bytes: ...

    def byte_counts(self) -> tuple[int, int]: ...


class Ledger:
    """Counts connections, events and bytes, and knows where every page is."""

    def __init__(self, first_sequence: int, complete_section: bytes) -> None:
        self.events = EventLog(0)
        self.open_connections: dict[int, OpenConnection] = {}
        self.connection_count = 0
        self.event_count = 0
        self.fact_count = 0
        self.datagram_count = 0
        self.byte_counts = [0, 0]
        self.endings: Counter[Ending] = Counter()
        self.sums = Sums(complete_section)
        self.directories: list[tuple[int, int]] = []
        self.entries: list[bytes] = []
        self._records = bytearray()
        self._record_ids: list[int] = []
        self._facts_in_page = 0
        self._datagrams_in_page = 0
        self._sequence = first_sequence
        self._sums_turned = 0

    def open(self, connection: OpenConnection) -> tuple[int, int, int]:
        """Give a connection its id and the initial sequence numbers of its client and its server."""
        identity = self.connection_count
        self.connection_count += 1
        self.open_connections[identity] = connection
        return identity, self._next_sequence(), self._next_sequence()

    def reserve(self, count: int) -> tuple[int, int, int]:
        """Give the first of so many ids, and the initial sequence numbers of its client and its server; those
        of the others follow at SEQUENCE_STEP each."""
        identity, sequence = self.connection_count, self._sequence
        self.connection_count += count
        self._sequence = (sequence + 2 * count * SEQUENCE_STEP) & 0xFFFFFFFF
        return identity, sequence, (sequence + SEQUENCE_STEP) & 0xFFFFFFFF

    def finish_closed(self, ids: list[int], records: bytes, byte_counts: tuple[int, int]) -> None:
        """Many connections have been closed in order."""
        self.endings[Ending.CLOSED] += len(ids)
        self._record_ids += ids
        self._records += records
        self.byte_counts[0] += byte_counts[0]
        self.byte_counts[1] += byte_counts[1]

    def log(self, identity: int, position: int) -> None:
        """Note that an event's block begins at `position`."""
        self.events.ids.append(identity)
        self.events.offsets.append(position - self.events.base)
        if identity & FACT_BIT:
            self._facts_in_page += 1

    def log_datagrams(self, base: int, starts: Sequence[int]) -> None:
        """Note that datagrams' blocks begin at these places, counted from `base` in the file."""
        log, count = self.events, len(starts)
        shift = base - log.base
        log.ids.extend([NO_CONNECTION] * count)
        log.offsets.extend([shift + start for start in starts])
        self.datagram_count += count
        self._datagrams_in_page += count

    def finish(self, identity: int, ending: Ending, record: bytes, byte_counts: tuple[int, int]) -> None:
        """A connection has ended."""
        self.endings[ending] += 1
        del self.open_connections[identity]
        self._keep(identity, record, byte_counts)

    def finish_open(self, end: int) -> None:
        """The run has ended: what is open has no end."""
        for identity, connection in self.open_connections.items():
            self._keep(identity, connection.record(0, end), connection.byte_counts())
        self.open_connections.clear()

    def turn_pages(self, out: Output, last: bool = False) -> None:
        """Write the pages that are full, or all of them."""
        self.sums.advance(out.fd, out.offset)
        if (
            len(self.events.ids) > (0 if last else EVENTS_ENOUGH)
            or out.offset - self.events.base > EVENTS_SPAN
        ):
            self._turn_events(out)
        while len(self._record_ids) > (0 if last else RECORDS_MOST // 2):
            self._turn_records(out)
        if len(self.sums.values) >= SUMS_MOST:
            self._page(out, blocks.SUM_PAGE, *self.take_sums())
        if len(self.entries) >= ENTRIES_MOST:
            block, _count = self.take_directory()
            self.directories.append((out.place(len(block)), len(block)))
            out.append(block)

    def take_sums(self) -> tuple[bytes, Counts, Span]:
        """Give the sum page of what is covered and not yet in one, with what its entry says."""
        values, first = self.sums.values, self._sums_turned
        self.sums.values = array("I")
        self._sums_turned += len(values)
        return emit_sum_page(values), (len(values), 0, 0), (first, max(first, self._sums_turned - 1))

    def take_directory(self) -> tuple[bytes, int]:
        """Give the directory block of the pages that are not yet in one, and how many they are."""
        block = blocks.emit_custom(blocks.DIRECTORY, b"".join(self.entries))
        count = len(self.entries)
        self.entries.clear()
        return block, count

    def enter(self, what: bytes, offset: int, page: bytes, counts: Counts, span: Span) -> None:
        """Put a page into the directory."""
        self.entries.append(emit_entry(Entry(offset, len(page), what, crc32(page), *counts, *span)))

    def _page(self, out: Output, what: bytes, page: bytes, counts: Counts, span: Span) -> None:
        self.enter(what, out.place(len(page)), page, counts, span)
        out.append(page)

    def _turn_events(self, out: Output) -> None:
        log, page = self.events, emit_event_page(self.events)
        counts = len(log.ids), self._facts_in_page, self._datagrams_in_page
        span = (log.base + log.offsets[0], log.base + log.offsets[-1]) if log.ids else (log.base, log.base)
        self.event_count += counts[0]
        self.fact_count += counts[1]
        self._facts_in_page = self._datagrams_in_page = 0
        log.clear(out.place(len(page)))
        if counts[0]:
            self._page(out, blocks.EVENT_PAGE, page, counts, span)

    def _turn_records(self, out: Output) -> None:
        ids = self._record_ids[:RECORDS_MOST]
        records = bytes(self._records[: len(ids) * RECORD.size])
        del self._record_ids[: len(ids)], self._records[: len(records)]
        page = blocks.emit_custom(blocks.CONNECTION_PAGE, records)
        self._page(out, blocks.CONNECTION_PAGE, page, (len(ids), 0, 0), (min(ids), max(ids)))

    def _keep(self, identity: int, record: bytes, byte_counts: tuple[int, int]) -> None:
        self._record_ids.append(identity)
        self._records += record
        self.byte_counts[0] += byte_counts[0]
        self.byte_counts[1] += byte_counts[1]

    def _next_sequence(self) -> int:
        given = self._sequence
        self._sequence = (given + SEQUENCE_STEP) & 0xFFFFFFFF
        return given


def next_duty(offset: int) -> int:
    """Give the file offset at which pages are to be turned again."""
    return offset - offset % WINDOW + WINDOW
