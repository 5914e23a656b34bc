"""Several captures as one: their packets in the order of time, each capture's own order kept.

Files that follow one another (tcpdump -C or -G) are read one after another, whole batch by whole batch. Where
they overlap in time (two machines) a batch is cut where another file has the earlier packet. A file is opened
when its first packet is due: so there may be many.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from netplayground.capture.records import Allocate, Batch, Records, allocate
from netplayground.errors import UsageError

_PEEK = 1 << 16
_NEVER = 1 << 64


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

    @property
    def is_empty(self) -> bool:
        return self.batch is None or self.at >= len(self.batch.heads)


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
            others = [each.clock()[each.at] for each in self._open if each is not stream]
            until = min([*others, waiting[-1][0] if waiting else _NEVER])
            if waiting and stream.clock()[stream.at] >= waiting[-1][0]:
                self._start(waiting.pop()[1])
                continue
            yield stream.take_until(until)
            if stream.is_empty and not stream.advance():
                self._finish(stream)

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
