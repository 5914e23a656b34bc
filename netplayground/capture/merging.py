"""Several captures as one: their packets in the order of time, each capture's own order kept.

Files that follow one another (tcpdump -C or -G) are read one after another, whole batch by whole batch. Where
they overlap in time (two machines) a batch is cut where another file has the earlier packet; short pieces are
copied into batches of their own, since a batch of few packets costs as much as one of thousands. A file is
opened when its first packet is due: so there may be many.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from netplayground.capture.records import (
    BATCH,
    PLACES,
    Allocate,
    Batch,
    Interface,
    Interfaces,
    Packet,
    Records,
    allocate,
    block_layout,
    emit_packet,
)
from netplayground.errors import UsageError

_PEEK = 1 << 16
_NEVER = 1 << 64
_FEW = 1 << 8
"""Packets that are worth a batch of their own."""
_WOVEN_MOST = 1 << 13
_ORDER = "<"
_TICKS = 1_000_000_000


class Read(NamedTuple):
    """How much has been read of how much (0: nobody knows), and what was cut off of which files."""

    position: int
    size: int
    cut: dict[Path, int]


@dataclass(slots=True)
class _Stream:
    """An open file: the batch that it is at, the times of its packets, and which of them is next."""

    records: Records
    batches: Iterator[Batch]
    batch: Batch | None = None
    times: list[int] | None = None
    at: int = 0

    def advance(self) -> bool:
        """Go to the next batch; False at the end of the file."""
        self.batch, self.times, self.at = next(self.batches, None), None, 0
        return self.batch is not None

    def clock(self) -> list[int]:
        """Give the times of the batch's packets, those that ran backwards put right."""
        if self.times is None:
            assert self.batch is not None
            self.times = list(accumulate((packet[1] for packet in self.batch.packets()), max))
        return self.times

    def take_until(self, time_ns: int) -> Batch:
        """Give what has come up to a time, one packet at least."""
        assert self.batch is not None
        begin = self.at
        self.at = max(begin + 1, bisect_right(self.clock(), time_ns, begin))
        return replace(self.batch, heads=self.batch.heads[begin : self.at])

    def has(self, until: int, least: int) -> bool:
        """Say whether there is nobody else, or so many packets of it come before a time."""
        return until == _NEVER or bisect_right(self.clock(), until, self.at) - self.at >= least

    def time_after(self, most: int) -> int:
        """Give the time of the last of the next `most` packets, as far as they are in memory."""
        return self.clock()[min(self.at + most, len(self.clock())) - 1]

    def take_timed(self, time_ns: int) -> Iterator[tuple[int, memoryview, Packet]]:
        """Take what has come up to a time, packet by packet."""
        assert self.batch is not None
        begin = self.at
        self.at = end = bisect_right(self.clock(), time_ns, begin)
        buffer = self.batch.buffer
        piece = replace(self.batch, heads=self.batch.heads[begin:end])
        for time, packet in zip(self.clock()[begin:end], piece.packets(), strict=True):
            yield time, buffer, packet

    @property
    def is_empty(self) -> bool:
        return self.batch is None or self.at >= len(self.batch.heads)


def _weave(streams: Sequence[_Stream], until: int) -> Iterator[Batch]:
    """Give the next packets of several files up to a time as batches of their own: a copy."""
    most = max(1, _WOVEN_MOST // len(streams))
    until = min(until, *(each.time_after(most) for each in streams))
    packets = [packet for each in streams for packet in each.take_timed(until)]
    packets.sort(key=itemgetter(0))
    path, layout = streams[0].records.path, block_layout(_ORDER)
    octets, heads = bytearray(), array(PLACES)
    interfaces: list[Interface] = []
    numbers: dict[int, int] = {}

    def written() -> Batch:
        return Batch(path, memoryview(octets), heads, layout, Interfaces(interfaces, len(interfaces)), 0)

    for _, buffer, (interface, time_ns, begin, end, missing) in packets:
        if len(octets) >= BATCH:
            yield written()
            octets, heads = bytearray(), array(PLACES)
        number = numbers.setdefault(interface.link_type, len(interfaces))
        if number == len(interfaces):
            interfaces.append(Interface(interface.link_type, _TICKS))
        heads.append(len(octets))
        octets += emit_packet(_ORDER, number, time_ns, buffer[begin:end], end - begin + missing)
    yield written()


class Captures:
    """The captures of one import; `cut` says of which files the end is missing, by how many octets."""

    def __init__(self, paths: list[Path], allocate: Allocate = allocate) -> None:
        for path in paths if len(paths) > 1 else ():
            if str(path) == "-" or path.is_fifo():
                name = "stdin" if str(path) == "-" else f"{path}, a pipe,"
                raise UsageError(f"cannot read {name} together with other captures: their order is not known")
        self._paths = paths
        self._allocate = allocate
        self._passed = 0
        self.size = 0
        self._open: list[_Stream] = []
        self.cut: dict[Path, int] = {}

    @property
    def read(self) -> Read:
        """How far this is."""
        return Read(self.position, self.size, dict(self.cut))

    @property
    def position(self) -> int:
        """How much has been read, of `size` in all (0: nobody knows)."""
        return self._passed + sum(stream.records.position for stream in self._open)

    def close(self) -> None:
        """Close the files that are open."""
        for stream in self._open:
            stream.records.close()
        self._open.clear()

    def batches(self) -> Iterator[Batch]:
        """Give all packets, batch by batch; each is good until the next."""
        if len(self._paths) == 1:
            yield from self._only(self._paths[0])
            return
        waiting = sorted(((self._first_time(path), path) for path in self._paths), reverse=True)
        while waiting or self._open:
            if not self._open:
                self._start(waiting.pop()[1])
                continue
            stream = min(self._open, key=lambda each: each.clock()[each.at])
            due = waiting[-1][0] if waiting else _NEVER
            if stream.clock()[stream.at] >= due:
                self._start(waiting.pop()[1])
                continue
            until = min([due, *(each.clock()[each.at] for each in self._open if each is not stream)])
            if stream.has(until, _FEW):
                yield stream.take_until(until)
            else:
                yield from _weave(self._open, due)
            for each in [each for each in self._open if each.is_empty and not each.advance()]:
                self._finish(each)

    def _only(self, path: Path) -> Iterator[Batch]:
        stream = self._begin(path)
        self.size = stream.records.size
        yield from stream.batches
        self._finish(stream)

    def _begin(self, path: Path) -> _Stream:
        records = Records(path, allocate=self._allocate)
        stream = _Stream(records, records.batches())
        self._open.append(stream)
        return stream

    def _start(self, path: Path) -> None:
        stream = self._begin(path)
        if not stream.advance():
            self._finish(stream)

    def _finish(self, stream: _Stream) -> None:
        if stream.records.cut:
            self.cut[stream.records.path] = stream.records.cut
        self._passed += stream.records.position
        stream.records.close()
        self._open.remove(stream)

    def _first_time(self, path: Path) -> int:
        records = Records(path, _PEEK)
        try:
            self.size += records.size
            for batch in records.batches():
                for packet in batch.packets():
                    return packet[1]
            return 0
        finally:
            records.close()
