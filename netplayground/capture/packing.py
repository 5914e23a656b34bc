"""A batch's accepted runs and ordinary connections as blocks of the dump, and the way there.

Both are *entries*: of each it is known which connection it is, what its sides were expected to say at its
beginning, and what is to be added to a sequence number of the capture to have that of the dump.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from netplayground.capture.columns import Array, Columns
from netplayground.capture.connection import Connection
from netplayground.capture.lives import Lives
from netplayground.capture.ordinary import Ordinary
from netplayground.capture.runs import Rows, Runs
from netplayground.capture.telling import Told
from netplayground.dump import segments
from netplayground.dump.bulk import Blocks, Pieces
from netplayground.dump.connection import ConnectionWriter
from netplayground.dump.writer import SPAN_MOST, DumpWriter
from netplayground.packet.tcp import FIN

_SEQUENCES = 0xFFFFFFFF
_LONG = 1 << 16
_KINDS = 4
_OPENING, _ANSWERED, _SAID, _FINISHED = range(_KINDS)
"""What comes of one packet comes in this order."""


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


@dataclass(slots=True)
class _Entries:
    of: Array
    """Of each position, its entry; -1 if it has none."""
    low: Array
    id: Array
    sum: Array
    shift: Array
    next: Array


class Packed:
    """Blocks in the order of the capture: `rows` says of which packet each is."""

    def __init__(
        self,
        columns: Columns,
        rows: Rows,
        runs: Runs,
        accepted: list[Accepted],
        ordinary: Ordinary,
        lives: Lives,
    ) -> None:
        self._source = columns, rows, ordinary
        # What the table of ordinary connections says now: `pack` may come later.
        self._entries = _entries(rows, runs, accepted, ordinary, lives)
        self.passes = _passes(runs, accepted)
        self.done = 0

    def pack(self, room: bytearray) -> None:
        """Make the blocks; their headers are in `room` until they are written."""
        columns, rows, ordinary = self._source
        entries = self._entries
        self.positions, self._kinds = _blocks(rows, entries, ordinary, len(columns.time))
        self.rows = rows.row[self.positions]
        blocks = _emit(columns, rows, entries, self.positions, self._kinds)
        self._pieces = Pieces(blocks, columns.octets, room)
        self._moved = np.zeros(len(self.rows), np.int64)

    def write(self, writer: DumpWriter, until: int) -> None:
        """Write the blocks before number `until` that have not been written."""
        starts = self._pieces.starts
        while self.done < until:
            done, end = self.done, min(until, self.done + SPAN_MOST)
            self._moved[done:end] = writer.span(self._pieces, done, end) - starts[done]
            self.done = end

    def places(self, count: int) -> tuple[Array, Array]:
        """Give where in the dump the payload of each of `count` positions is, and where the last block of
        each begins; -1 where there is none."""
        begins = self._moved + self._pieces.starts[:-1]
        said = self._kinds == _SAID
        payload, block = np.full(count, -1), np.full(count, -1)
        payload[self.positions[said]] = (begins + self._pieces.headers)[said]
        kept = self._kinds != _ANSWERED
        block[self.positions[kept]] = begins[kept]
        return payload, block


def _entries(rows: Rows, runs: Runs, accepted: list[Accepted], ordinary: Ordinary, lives: Lives) -> _Entries:
    numbers, shifts, nexts = _constants(accepted)
    which = np.array([each.run for each in accepted], np.int64)
    of_run = np.full(len(runs.low), -1)
    of_run[which] = np.arange(len(accepted)) + len(ordinary.slots)
    slots = ordinary.slots
    return _Entries(
        of=np.where(ordinary.of >= 0, ordinary.of, of_run[runs.run_of]),
        low=np.append(ordinary.low, runs.low[which]),
        id=np.append(lives.singles["id"][slots], numbers[:, 0]),
        sum=np.append(lives.singles["sum"][slots], numbers[:, 1]),
        shift=np.concatenate([lives.pairs["shift"][slots], shifts]),
        next=np.concatenate([ordinary.next, nexts]),
    )


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


def _blocks(rows: Rows, entries: _Entries, ordinary: Ordinary, count: int) -> tuple[Array, Array]:
    """Give position and kind of each block, in the order of the capture, which has `count` packets."""
    new = ordinary.low[ordinary.is_new]
    said = np.flatnonzero((entries.of >= 0) & (rows.length > 0))
    fins = np.flatnonzero((ordinary.of >= 0) & (rows.flags & FIN != 0))
    parts = ((new, _OPENING), (new + 1, _OPENING), (new + 1, _ANSWERED), (said, _SAID), (fins, _FINISHED))
    positions = np.concatenate([part for part, _ in parts])
    kinds = np.concatenate([np.full(len(part), kind) for part, kind in parts])
    # No two are of the same packet and kind: their places say their order.
    places = rows.row[positions] * _KINDS + kinds
    at = np.full(_KINDS * count, -1)
    at[places] = positions
    places = np.flatnonzero(at >= 0)
    return at[places], places % _KINDS


_TAILS = np.array([segments.SYN, segments.ACK, segments.DATA, segments.FIN], np.uint64)


def _emit(columns: Columns, rows: Rows, entries: _Entries, at: Array, kinds: Array) -> Blocks:
    entry, side, row = entries.of[at], rows.side[at].astype(np.int64), rows.row[at]
    last = np.where(side == 0, rows.last[1][at], rows.last[0][at])
    mine = rows.sequence[at].astype(np.int64) + (kinds == _FINISHED) * rows.length[at]
    heard = np.where(last >= entries.low[entry], rows.after[last], entries.next[entry, 1 - side])
    # Who answers a SYN-ACK is the other side.
    is_answer = kinds == _ANSWERED
    mine, heard = np.where(is_answer, heard, mine), np.where(is_answer, rows.after[at], heard)
    side = np.where(is_answer, 1 - side, side)
    row = np.where(is_answer, rows.row[at - is_answer], row)
    is_syn = (kinds == _OPENING) & (at == entries.low[entry])
    tails = _TAILS[kinds]
    tails[(kinds == _OPENING) & ~is_syn] = segments.SYN_ACK
    ack = np.where(is_syn, 0, heard + entries.shift[entry, 1 - side] & _SEQUENCES)
    return Blocks(
        time=columns.time[rows.row[at]],
        is_v4=columns.is_v4[row],
        identity=entries.id[entry],
        sum=entries.sum[entry],
        ends=columns.ends[row],
        sequence=mine + entries.shift[entry, side] & _SEQUENCES,
        ack=ack,
        begin=columns.begin[row],
        length=np.where(kinds == _SAID, rows.length[at], 0),
        tail=tails,
        # The acknowledgement behind a SYN-ACK is no event.
        is_event=~is_answer,
    )


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
