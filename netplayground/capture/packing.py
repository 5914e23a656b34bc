"""The chunks of a batch's accepted runs as blocks of the dump, and the way there."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from netplayground.capture.columns import Array, Columns
from netplayground.capture.connection import Connection
from netplayground.capture.runs import Runs
from netplayground.capture.telling import Told
from netplayground.dump import segments
from netplayground.dump.bulk import Chunks, pack
from netplayground.dump.connection import ConnectionWriter
from netplayground.dump.ledger import BATCH
from netplayground.dump.writer import DumpWriter

_SEQUENCES = 0xFFFFFFFF
_LONG = 1 << 16


@dataclass(slots=True)
class Accepted:
    """A run that was accepted; pairs are of its side 0 and its side 1.

    `before` has what each side expected, as a sequence number, and how much it had said; `turn` is 1 where
    side 0 is the server.
    """

    run: int
    at: int
    connection: Connection
    turn: int
    before: tuple[tuple[int, int], tuple[int, int]]
    said: tuple[int, int]


class Pass(NamedTuple):
    """From packet `at` on, so much of a connection is in the blocks."""

    at: int
    writer: ConnectionWriter
    bytes: tuple[int, int]
    chunks: tuple[int, int]

    @property
    def is_long(self) -> bool:
        """Say whether an acknowledgement of its own may be due."""
        return max(self.bytes) > _LONG


class Packed:
    """Blocks in the order of the capture: `rows` says of which packet each is."""

    def __init__(self, columns: Columns, runs: Runs, accepted: list[Accepted], room: bytearray) -> None:
        numbers, shifts, nexts = _constants(accepted)
        of_run = np.full(len(runs.low), -1)
        of_run[np.array([each.run for each in accepted], np.int64)] = np.arange(len(accepted))
        which = of_run[runs.run_of]
        self.positions = np.flatnonzero((which >= 0) & (runs.length > 0))
        self.positions = self.positions[np.argsort(runs.rows[self.positions])]
        self.rows = runs.rows[self.positions]
        self._which = which[self.positions]
        chunks = self._chunks(columns, runs, numbers, shifts, nexts)
        octets, starts = pack(chunks, columns.octets, room)
        self._octets = octets.data
        self._starts = starts
        self._starts32 = array("I", starts.astype(np.uint32).tobytes())
        self._ids = array("I", chunks.identity.astype(np.uint32).tobytes())
        self._moved = np.zeros(len(self.rows), np.int64)
        self._header = np.where(chunks.is_v4, segments.V4.size, segments.V6.size)
        self.done = 0
        self.passes = _passes(runs, accepted)

    def _chunks(self, columns: Columns, runs: Runs, numbers: Array, shifts: Array, nexts: Array) -> Chunks:
        at, rows, which = self.positions, self.rows, self._which
        side = runs.side[at]
        sequence = runs.sequence[at].astype(np.int64) + shifts[which, side]
        last = runs.other_last[at]
        heard = np.where(last >= 0, runs.sequence[last] + runs.length[last], nexts[which, 1 - side])
        return Chunks(
            time=columns.time[rows],
            is_v4=columns.is_v4[rows],
            identity=numbers[which, 0],
            sum=numbers[which, 1],
            ends=columns.ends[rows],
            sequence=sequence & _SEQUENCES,
            ack=heard + shifts[which, 1 - side] & _SEQUENCES,
            begin=columns.begin[rows],
            length=columns.length[rows],
        )

    def write(self, writer: DumpWriter, until: int) -> None:
        """Write the blocks before number `until` that have not been written."""
        starts = self._starts32
        while self.done < until:
            done, begin = self.done, starts[self.done]
            end = until
            if starts[end] - begin > BATCH:
                end = max(done + 1, bisect_right(starts, begin + BATCH, done, end) - 1)
            view = self._octets[begin : starts[end]]
            position = writer.span(view, self._ids[done:end], starts[done:end], begin)
            self._moved[done:end] = position - begin
            self.done = end

    def places(self, count: int) -> Array:
        """Give where in the dump the payload of each of `count` positions is, -1 where it is not a block."""
        places = np.full(count, -1)
        places[self.positions] = self._moved + self._starts[:-1] + self._header
        return places


def _constants(accepted: list[Accepted]) -> tuple[Array, Array, Array]:
    """Give (id, sum) of each run's connection, what is to be added to its sides' sequence numbers, and what
    its sides expected."""
    numbers, shifts, nexts = [], [], []
    for each in accepted:
        told = each.connection.told
        assert isinstance(told, Told)
        total, *bases = told.writer.constants()
        numbers.append((told.writer.id, total))
        (next_, said), (other_next, other_said) = each.before
        turn = each.turn
        shifts.append((bases[turn] + said - next_, bases[1 - turn] + other_said - other_next))
        nexts.append((next_, other_next))
    tables = (np.array(table, np.int64).reshape(-1, 2) for table in (numbers, shifts, nexts))
    return next(tables), next(tables), next(tables)


def _passes(runs: Runs, accepted: list[Accepted]) -> list[Pass]:
    which = np.array([each.run for each in accepted], np.int64)
    chunks = zip(runs.chunks[0][which].tolist(), runs.chunks[1][which].tolist(), strict=True)
    passes = []
    for each, counts in zip(accepted, chunks, strict=True):
        told = each.connection.told
        assert isinstance(told, Told)
        if each.said != (0, 0):
            said, count = (each.said[::-1], counts[::-1]) if each.turn else (each.said, counts)
            passes.append(Pass(each.at, told.writer, said, count))
    return passes
