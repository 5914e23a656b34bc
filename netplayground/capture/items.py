"""What of a batch is taken in the order of the capture: runs, odd rows, and packets that are not usual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netplayground.capture.columns import Array, Columns
from netplayground.capture.ordinary import Ordinary
from netplayground.capture.packing import Accepted
from netplayground.capture.runs import Rows, Runs

OTHER, ODD, RUN = range(3)
_WIDTH = 14


@dataclass(slots=True)
class Work:
    """A batch's rows, sorted out; `keys` are those of the slots that were ordinary no more."""

    rows: Rows
    runs: Runs
    ordinary: Ordinary
    accepted: list[Accepted]
    keys: dict[int, bytes]

    def key(self, number: int) -> bytes:
        """Give the key of a connection that is not ordinary."""
        unknown = self.rows.unknown
        return self.keys[number] if number < unknown else self.rows.keys[number - unknown]


def list_items(columns: Columns, work: Work | None) -> list[list[int]]:
    """Give runs, odd rows and other packets in the order of the capture: packet, time, what it is, number of
    its connection, and ten facts, which are others for each."""
    others = np.flatnonzero(~columns.is_usual)
    tables = [_others(columns, others)]
    if work is not None:
        runs = work.runs
        left = work.ordinary.of[runs.low] < 0
        odd = runs.low[np.flatnonzero(left & runs.is_odd)]
        tables += [_odd(columns, work.rows, odd), _plain(columns, work, np.flatnonzero(left & ~runs.is_odd))]
    table = np.concatenate(tables)
    items: list[list[int]] = table[np.argsort(table[:, 0], kind="stable")].tolist()
    return items


def _table(columns: Columns, kind: int, rows: Array, *fields: Array) -> Array:
    table = np.zeros((len(rows), _WIDTH), np.int64)
    table[:, 0], table[:, 1], table[:, 2] = rows, columns.time[rows], kind
    for number, field in enumerate(fields, 3):
        table[:, number] = field
    return table


def _others(columns: Columns, rows: Array) -> Array:
    nobody = np.zeros(len(rows), np.int64)
    places = (columns.link_type[rows], columns.data[rows], columns.end[rows])
    return _table(columns, OTHER, rows, nobody, *places)


def _odd(columns: Columns, rows: Rows, at: Array) -> Array:
    row = rows.row[at]
    begin = columns.begin[row]
    said = (columns.sequence[row], columns.ack[row], columns.flags[row], begin, begin + columns.length[row])
    return _table(columns, ODD, row, rows.connection[at], rows.side[at], *said)


def rows_of_run(columns: Columns, work: Work, run: int) -> list[list[int]]:
    """Give the rows of a run that was not accepted, as odd ones."""
    at = np.arange(int(work.runs.low[run]), int(work.runs.high[run]))
    items: list[list[int]] = _odd(columns, work.rows, at).tolist()
    return items


def _plain(columns: Columns, work: Work, which: Array) -> Array:
    runs, low = work.runs, work.runs.low[which]
    pairs = (runs.first, runs.said, runs.ack, runs.count)
    facts = [each[which] for pair in pairs for each in pair]
    end = columns.time[work.rows.row[runs.high[which] - 1]]
    return _table(columns, RUN, work.rows.row[low], work.rows.connection[low], *facts, end, which)
