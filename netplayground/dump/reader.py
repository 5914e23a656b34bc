"""The reader of a dump: what was recorded, by connection or in the order of the run, without holding the
file.

A complete dump is read through its index: opening takes two reads, whatever its length. A torn one is walked
through once when it is opened, up to the last whole block; from then on both are used alike. A dump that is
being written at this moment reads as torn, as it was when it was opened. Whatever the file says of sizes and
places is checked against its length before it is believed.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType

from netplayground.dump import blocks
from netplayground.dump.connections import Connections, StoredRecords
from netplayground.dump.datagrams import DatagramReader
from netplayground.dump.index import FACT_BIT, NO_CONNECTION, Entry, parse_event_page
from netplayground.dump.model import (
    PROCESS_FACT,
    PROCESSES_FOLLOW,
    Datagram,
    Event,
    EventKind,
    Fact,
    Process,
    RunHeader,
    State,
    Totals,
)
from netplayground.dump.opening import read_directory, read_opening
from netplayground.dump.source import HEAD_MOST, Source, Walk
from netplayground.dump.torn import TornIndex, take_block
from netplayground.dump.tracker import Told, Tracker
from netplayground.packet import MalformedPacket


def open_dump(path: Path) -> Dump:
    """Open a dump; it must be closed. NotADumpError if it is none, DamagedDumpError if it is not what was
    written."""
    source = Source(path)
    try:
        return Dump(source)
    except BaseException:
        source.close()
        raise


class Dump:
    """An open dump."""

    def __init__(self, source: Source) -> None:
        self.source = source
        opening = read_opening(source)
        self.path = source.path
        self.size = source.size
        self.state: State = opening.state
        self.run: RunHeader = opening.run
        self.start = opening.end
        self.ended_ns: int | None = None
        self.missing = ""
        self.ambiguous = ""
        self._entries: tuple[Entry, ...] = ()
        if self.state is State.COMPLETE:
            footer, self._entries = read_directory(source, self.start)
            self.end = footer.tail
            self.ended_ns = footer.ended_ns
            said = footer.client_bytes, footer.server_bytes
            self.totals = Totals(footer.connections, footer.events, footer.facts, said, footer.datagrams)
        else:
            self._torn = TornIndex(source, self.start)
            self.end = self._torn.end
            self.missing = self._torn.missing
            self.totals = self._torn.totals()

    def __enter__(self) -> Dump:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Give the descriptor of the file."""
        return self.source.fd

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    @cached_property
    def processes(self) -> tuple[Process, ...]:
        """The processes of the run, by position; those of a capture are told as they come."""
        if not self.run.options.get(PROCESSES_FOLLOW):
            return self.run.processes
        try:
            later = tuple(
                blocks.parse_process(fact.fields) for fact in self.facts() if fact.kind == PROCESS_FACT
            )
        except ValueError as error:
            raise self.source.damaged(f"a process cannot be read: {error}", self.start) from error
        return self.run.processes + later

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The directory of a complete dump's pages."""
        return self._entries

    @cached_property
    def connections(self) -> Connections:
        """The summaries of all connections, by id."""
        if self.state is State.TORN:
            return Connections(self.source, self._torn.records, self.processes)
        pages = (entry for entry in self._entries if entry.what == blocks.CONNECTION_PAGE)
        records = StoredRecords(self.source, pages, self.totals.connections)
        return Connections(self.source, records, self.processes)

    def events(self, connection_id: int) -> Iterator[Event]:
        """Give the events of one connection, in order."""
        connection = self.connections[connection_id]
        tracker = Tracker(_forget, first_id=connection.id)
        if self.state is State.TORN:
            told = self._walk(connection.first, min(connection.last + blocks.MOST, self.end), tracker)
        else:
            told = self._indexed(connection.id, connection.first, connection.last, tracker)
        for identity, kind, side, now, offset, length in told:
            if identity == connection.id:
                yield Event(kind, side, now, offset, length)
                if connection.id not in tracker.open:
                    return

    def all_events(self) -> Iterator[tuple[int, Event]]:
        """Give every connection's events with its id, in the order of the run."""
        for told in self.in_order():
            if not isinstance(told, Datagram):
                yield told

    def in_order(self) -> Iterator[tuple[int, Event] | Datagram]:
        """Give all that packets tell in the order of the run: connections' events with their ids, and
        datagrams."""
        datagrams = DatagramReader(self.source, self.processes)
        for identity, kind, side, now, offset, length in self._walk(self.start, self.end, Tracker(_forget)):
            if kind is not EventKind.DATAGRAM:
                yield identity, Event(kind, side, now, offset, length)
            elif (datagram := self._datagram(datagrams, offset)) is not None:
                yield datagram

    def datagrams(self) -> Iterator[Datagram]:
        """Give all datagrams, in the order of the run."""
        if not self.totals.datagrams:
            return
        datagrams = DatagramReader(self.source, self.processes)
        for offset in self._torn_datagrams() if self.state is State.TORN else self._datagram_offsets():
            if (datagram := self._datagram(datagrams, offset)) is not None:
                yield datagram

    def payload(self, event: Event | Datagram) -> bytes:
        """Give the bytes of a chunk or a datagram, none for any other event."""
        return self.source.read(event.offset, event.length) if event.length else b""

    def read(self, offset: int, length: int) -> bytes:
        """Give payload by its place in the file, as an event has it."""
        return self.source.read(offset, length)

    def facts(self) -> Iterator[Fact]:
        """Give what no packet can tell, in the order of the run; the run header is not among it."""
        for offset in self.fact_offsets():
            yield self._fact(offset)

    def fact_offsets(self) -> Iterator[int]:
        """Give where the facts' blocks begin."""
        return iter(self._torn.facts) if self.state is State.TORN else self._fact_offsets()

    def _fact(self, offset: int) -> Fact:
        length = int.from_bytes(self.source.read(offset + 4, 4), "big")
        body = self.source.read_block(offset, length, blocks.FACT)[blocks.CUSTOM_HEADER : -4]
        try:
            fields = blocks.parse_fact(body)
        except ValueError as error:
            raise self.source.damaged(f"a fact cannot be read: {error}", offset) from error
        kind, time_ns, connection = fields.pop("kind"), fields.pop("time"), fields.pop("connection", None)
        assert isinstance(kind, str) and isinstance(time_ns, int)
        return Fact(kind, time_ns, connection if isinstance(connection, int) else None, fields)

    def _walk(self, start: int, end: int, tracker: Tracker) -> Iterator[Told]:
        """Follow the blocks themselves."""
        walk = Walk(self.source, start, end)
        for offset, kind, length, place in walk:
            told = take_block(self.source, tracker, walk.buffer, offset, kind, length, place)
            if told is not None:
                yield told
        if walk.broken and self.state is State.COMPLETE:
            raise self.source.damaged(walk.broken, walk.offset)

    def _indexed(self, identity: int, first: int, last: int, tracker: Tracker) -> Iterator[Told]:
        """Follow one connection's blocks, which the event pages name."""
        wanted = (identity, identity | FACT_BIT)
        for offset in self._offsets(first, last, wanted):
            head = self.source.read_some(offset, HEAD_MOST)
            if len(head) < blocks.LEAST:
                raise self.source.damaged("an event lies beyond its end", offset)
            kind, length = blocks.WORDS.unpack_from(head)
            if length < blocks.LEAST or offset + length > self.size:
                raise self.source.damaged(f"an event's block of {length} bytes", offset)
            told = take_block(self.source, tracker, head, offset, kind, length, 0)
            if told is not None:
                yield told

    def _offsets(self, first: int, last: int, wanted: tuple[int, int]) -> Iterator[int]:
        for entry in self._entries:
            if entry.what == blocks.EVENT_PAGE and entry.first <= last and entry.last >= first:
                base, ids, offsets = self._event_page(entry)
                yield from (
                    base + at
                    for who, at in zip(ids, offsets, strict=True)
                    if who in wanted and base + at <= last
                )

    def _fact_offsets(self) -> Iterator[int]:
        for entry in self._entries:
            if entry.what == blocks.EVENT_PAGE and entry.facts:
                base, ids, offsets = self._event_page(entry)
                yield from (base + at for who, at in zip(ids, offsets, strict=True) if who & FACT_BIT)

    def _datagram_offsets(self) -> Iterator[int]:
        for entry in self._entries:
            if entry.what == blocks.EVENT_PAGE and entry.datagrams:
                base, ids, offsets = self._event_page(entry)
                yield from (base + at for who, at in zip(ids, offsets, strict=True) if who == NO_CONNECTION)

    def _torn_datagrams(self) -> Iterator[int]:
        for _identity, kind, _side, _now, offset, _length in self._walk(
            self.start, self.end, Tracker(_forget)
        ):
            if kind is EventKind.DATAGRAM:
                yield offset

    def _datagram(self, datagrams: DatagramReader, offset: int) -> Datagram | None:
        """Give the datagram whose block is there; in a torn dump what makes no sense tells nothing."""
        try:
            return datagrams.read(offset)
        except MalformedPacket as error:
            if self.state is State.TORN:
                return None
            raise self.source.damaged(f"a datagram: {error}", offset) from error

    def _event_page(self, entry: Entry) -> tuple[int, array[int], array[int]]:
        try:
            return parse_event_page(self.source.read_page(entry))
        except ValueError as error:
            raise self.source.damaged(str(error), entry.offset) from error


def _forget(_identity: int, _record: bytes) -> None:
    """A connection's end is of no interest to who follows events."""
