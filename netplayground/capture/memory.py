"""Where the chunks of a batch are, so that bytes which come again can be compared with what they were."""

from __future__ import annotations

import os

import numpy as np

from netplayground.capture.columns import Array, Columns
from netplayground.capture.connection import Connection
from netplayground.capture.runs import Rows

_HALF = 1 << 31


class Memory:
    """What was in order in one batch: it lies in the batch itself, from `settle` on in the dump."""

    def __init__(self, rows: Rows, columns: Columns) -> None:
        self._octets: Array | None = columns.octets
        self.count = len(rows.row)
        self._place = columns.begin[rows.row]
        self._side, self._sequence, self._length = rows.side, rows.sequence, rows.length
        self._notes: dict[Connection, list[tuple[int, int, int]]] = {}
        self._ids = self._low = self._high = self._turn = np.zeros(0, np.int64)

    def note(self, connection: Connection, low: int, high: int, turn: int) -> None:
        """A run was accepted; `turn` is 1 where its side 0 is the server."""
        self._notes.setdefault(connection, []).append((low, high, turn))

    def enter(self, ids: Array, low: Array, high: Array, turn: Array) -> None:
        """Note where the ordinary connections' rows are."""
        self._ids, self._low, self._high, self._turn = ids, low, high, turn

    def settle(self, places: Array) -> None:
        """The batch is written: where each position's payload is in the dump."""
        self._octets = None
        self._place = places

    def recall(
        self, connection: Connection, identity: int, side: int, sequence: int, length: int, fd: int
    ) -> bytes | None:
        """Give what a side of a connection has said, None if not all of it is known here."""
        known, found = bytearray(length), 0
        ordinary = np.flatnonzero(self._ids == identity).tolist() if identity >= 0 else ()
        spans = [(int(self._low[at]), int(self._high[at]), int(self._turn[at])) for at in ordinary]
        for low, high, turn in (*spans, *self._notes.get(connection, ())):
            rows = slice(low, high)
            begin = (self._sequence[rows].astype(np.int64) - sequence + _HALF) % (2 * _HALF) - _HALF
            end = begin + self._length[rows]
            mine = (self._side[rows] == side ^ turn) & (end > 0) & (begin < length) & (self._length[rows] > 0)
            for row in np.flatnonzero(mine).tolist():
                first, last = max(0, int(begin[row])), min(length, int(end[row]))
                at = int(self._place[rows][row]) + first - int(begin[row])
                known[first:last] = self._read(at, last - first, fd)
                found += last - first
        return bytes(known) if found == length else None

    def _read(self, at: int, length: int, fd: int) -> bytes:
        if self._octets is None:
            return os.pread(fd, length, at)
        return self._octets[at : at + length].tobytes()
