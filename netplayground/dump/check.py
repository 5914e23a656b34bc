"""The check of a dump: whole, complete, every CRC-32 right, and the index and the blocks of one opinion.

A complete dump is walked through once, MiB by MiB: first the CRC-32 of the octets, then the blocks in them.
From the blocks the check makes what the writer made of the same events, and compares it with each page where
that page stands in the file; so it never holds more than the writer did. A torn dump has been walked through
by opening it; it has no CRC-32 to compare.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from netplayground.dump import blocks
from netplayground.dump.index import (
    EVENTS_MOST,
    FACT_BIT,
    NO_CONNECTION,
    RECORD,
    WINDOW,
    Entry,
    parse_event_page,
    parse_sum_page,
)
from netplayground.dump.model import Ending, State, Totals
from netplayground.dump.reader import Dump
from netplayground.dump.recording import open_recording
from netplayground.dump.source import Source, Walk
from netplayground.dump.sums import Sums
from netplayground.dump.tracker import Tracker
from netplayground.errors import DumpError
from netplayground.packet import MalformedPacket

_ENDED_MOST = 1 << 16
"""More connections than this never wait for their page."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the check found; a dump that is damaged has no report."""

    state: State
    size: int
    totals: Totals
    windows: int
    """MiBs whose CRC-32 was compared, 0 in a torn dump and in one of the original program: they have none."""
    missing: str
    ambiguous: str = ""


def check_dump(path: Path, progress: Progress | None = None) -> CheckReport:
    """Check everything that can be checked; `progress` is told how far it is, and the length of it all, in
    bytes."""
    with open_recording(path) as dump:
        # Of the others all that can be checked has been, by opening them.
        windows = 0
        if isinstance(dump, Dump) and dump.state is State.COMPLETE:
            windows = _Check(dump, progress).run()
        return CheckReport(dump.state, dump.size, dump.totals, windows, dump.missing, dump.ambiguous)


class _Check:
    def __init__(self, dump: Dump, progress: Progress | None) -> None:
        self._dump = dump
        self._source: Source = dump.source
        self._progress = progress
        self._sums = Sums(b"")
        self._recorded = recorded_sums(dump)
        self._ids = array("I")
        self._offsets = array("Q")
        self._ended: dict[int, bytes] = {}
        self._tracker = Tracker(self._note_end)
        self._pages = iter(entry for entry in dump.entries if entry.offset < dump.end)
        self._counts = [0, 0, 0]

    def run(self) -> int:
        """Walk through the dump; give the number of MiBs."""
        dump, end = self._dump, self._dump.end
        self._check_sums(min(end, WINDOW))
        walk = Walk(self._source, dump.start, end, self._check_sums)
        for offset, kind, length, place in walk:
            if kind == blocks.PACKET:
                self._take_packet(walk.buffer, place, offset, length)
            elif kind == blocks.CUSTOM:
                self._take_custom(offset, length)
            else:
                raise self._source.damaged(f"a block of kind {kind:#x}", offset)
        if walk.broken:
            raise self._source.damaged(walk.broken, walk.offset)
        self._check_sums(end)
        self._compare_totals()
        return len(self._recorded)

    def _check_sums(self, end: int) -> None:
        """Compare the CRC-32 of every window that begins before `end`."""
        sums, whole = self._sums, self._dump.end
        first = sums.done // WINDOW
        try:
            while sums.done < min(end, whole):
                sums.finish(self._source.fd, min(whole, sums.done + WINDOW))
        except OSError as error:
            raise DumpError(f"cannot read {self._source.path}: {error.strerror}") from error
        for number, value in enumerate(sums.values, first):
            if number >= len(self._recorded) or value != self._recorded[number]:
                at, after = number * WINDOW, min((number + 1) * WINDOW, whole)
                raise self._source.damaged(f"the CRC-32 of bytes {at} to {after} is wrong", at)
        del sums.values[:]
        if self._progress:
            self._progress(sums.done, self._dump.size)

    def _take_packet(self, buffer: bytes, place: int, offset: int, length: int) -> None:
        try:
            told = self._tracker.packet(buffer, place, offset, length)
        except MalformedPacket as error:
            raise self._source.damaged(str(error), offset) from error
        if told is not None:
            self._note(told[0], offset)

    def _take_custom(self, offset: int, length: int) -> None:
        what = self._source.read(offset + 12, 4)
        if what == blocks.FACT:
            self._take_fact(offset, length)
            return
        if what == blocks.DIRECTORY:
            # The footer names it; nothing would have been read if it were another.
            return
        entry = next(self._pages, None)
        if entry is None or (entry.offset, entry.length, entry.what) != (offset, length, what):
            raise self._source.damaged("a page of the index that is not in its directory", offset)
        body = self._source.read_page(entry)
        if what == blocks.EVENT_PAGE:
            self._compare_events(entry, body)
        elif what == blocks.CONNECTION_PAGE:
            self._compare_records(entry, body)

    def _take_fact(self, offset: int, length: int) -> None:
        try:
            fields = blocks.parse_fact(self._source.read(offset, length)[blocks.CUSTOM_HEADER : -4])
        except ValueError as error:
            raise self._source.damaged(f"a fact cannot be read: {error}", offset) from error
        identity, now = fields.get("connection", NO_CONNECTION), fields["time"]
        assert isinstance(identity, int) and isinstance(now, int)
        if fields["kind"] == "unanswered":
            self._tracker.unanswered(identity, now, offset)
        self._note(identity | FACT_BIT, offset)

    def _note(self, identity: int, offset: int) -> None:
        if len(self._ids) >= EVENTS_MOST:
            raise self._source.damaged("an event page is missing", offset)
        self._ids.append(identity)
        self._offsets.append(offset)

    def _note_end(self, identity: int, record: bytes) -> None:
        if len(self._ended) >= _ENDED_MOST:
            raise self._source.damaged("a connection page is missing", self._dump.end)
        self._ended[identity] = record

    def _compare_events(self, entry: Entry, body: bytes) -> None:
        """An event page tells of exactly the events since the one before it."""
        try:
            base, ids, offsets = parse_event_page(body)
        except ValueError as error:
            raise self._source.damaged(str(error), entry.offset) from error
        if ids != self._ids or array("Q", (base + at for at in offsets)) != self._offsets:
            raise self._source.damaged("an event page does not agree with the blocks before it", entry.offset)
        counts = len(ids), sum(1 for identity in ids if identity & FACT_BIT), ids.count(NO_CONNECTION)
        if (entry.count, entry.facts, entry.datagrams) != counts:
            raise self._source.damaged("the directory does not agree with an event page", entry.offset)
        self._counts = [total + more for total, more in zip(self._counts, counts, strict=True)]
        del self._ids[:], self._offsets[:]

    def _compare_records(self, entry: Entry, body: bytes) -> None:
        """A connection page tells of connections that have ended, or, at the end of the run, have not."""
        for at in range(0, len(body), RECORD.size):
            record = body[at : at + RECORD.size]
            identity = int.from_bytes(record[:4], "big")
            found = self._ended.pop(identity, None)
            if found is None and identity in self._tracker.open:
                # What is open ends nowhere: the page says how far the dump had come.
                last = int.from_bytes(record[-8:], "big")
                found = self._tracker.open.pop(identity).record(Ending.OPEN, 0, last)
            if found != record:
                raise self._source.damaged(
                    f"the record of connection {identity} does not agree with its blocks", entry.offset
                )

    def _compare_totals(self) -> None:
        found, said = (self._tracker.count, *self._counts), self._dump.totals
        left = next(self._pages, None)
        if self._ids or self._ended or self._tracker.open or left:
            raise self._source.damaged("its index does not tell of all of it", self._dump.end)
        if (said.connections, said.events, said.facts, said.datagrams) != found:
            raise self._source.damaged("its footer does not agree with its blocks", self._dump.end)


def recorded_sums(dump: Dump) -> array[int]:
    """Give the CRC-32 of every window, as the sum pages have them."""
    sums = array("I")
    for entry in dump.entries:
        if entry.what == blocks.SUM_PAGE:
            try:
                sums += parse_sum_page(dump.source.read_page(entry))
            except ValueError as error:
                raise dump.source.damaged(str(error), entry.offset) from error
    expected = -(-dump.end // WINDOW)
    if len(sums) != expected:
        raise dump.source.damaged(f"{len(sums)} CRC-32s for {expected} MiB", dump.end)
    return sums
