"""Where the chunks of a batch are, so that bytes which come again can be compared with what they were."""

from __future__ import annotations

import os

import numpy as np

from netplayground.capture.columns import Array, Columns
from netplayground.capture.connection import Connection
from netplayground.capture.runs import Runs

_HALF = 1 << 31


class Memory:
    """The accepted runs of one batch: in the batch itself, from `settle` on in the dump."""

    def __init__(self, runs: Runs, columns: Columns) -> None:
        self._octets: Array | None = columns.octets
        self._place = columns.begin[runs.rows]
        self._low, self._high = runs.low, runs.high
        self._side, self._sequence, self._length = runs.side, runs.sequence, runs.length
        self._notes: dict[Connection, list[tuple[int, int]]] = {}

    def note(self, connection: Connection, run: int, turn: int) -> None:
        """A run was accepted; `turn` is 1 where its side 0 is the server."""
        self._notes.setdefault(connection, []).append((run, turn))

    def settle(self, places: Array) -> None:
        """The batch is written: where each row's payload is in the dump."""
        self._octets = None
        self._place = places

    def recall(self, connection: Connection, side: int, sequence: int, length: int, fd: int) -> bytes | None:
        """Give what a side of a connection has said, None if not all of it is known here."""
        known, found = bytearray(length), 0
        for run, turn in self._notes.get(connection, ()):
            rows = slice(int(self._low[run]), int(self._high[run]))
            begin = (self._sequence[rows].astype(np.int64) - sequence + _HALF) % (2 * _HALF) - _HALF
            end = begin + self._length[rows]
            mine = (self._side[rows] == side ^ turn) & (end > 0) & (begin < length) & (self._length[rows] > 0)
            for row in np.flatnonzero(mine).tolist():
                low, high = max(0, int(begin[row])), min(length, int(end[row]))
                at = int(self._place[rows][row]) + low - int(begin[row])
                known[low:high] = self._read(at, high - low, fd)
                found += high - low
        return bytes(known) if found == length else None

    def _read(self, at: int, length: int, fd: int) -> bytes:
        if self._octets is None:
            return os.pread(fd, length, at)
        return self._octets[at : at + length].tobytes()
