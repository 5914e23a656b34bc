"""The rows of a batch sorted by connection, and their runs: stretches that are in order in themselves.

All is done column by column; only connections are numbered one by one. A run has no flag but ACK and PSH, and
the rows of each side follow upon one another; every other row is *odd*, a run of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netplayground.capture.columns import Array, Columns, gather
from netplayground.capture.network import turned
from netplayground.dump.segments import SEGMENT_MOST
from netplayground.packet.tcp import ACK, FIN, RST, SYN

_PLAIN_MASK = SYN | FIN | RST | ACK
_KEYS = {True: 12, False: 36}
_ROW = np.uint64(32)


@dataclass(slots=True)
class Runs:
    """Rows are numbers of packets, positions are places among the sorted rows.

    A connection has a number here, and sides as its key (its first packet's) has them. `first` is a side's
    first sequence number in a run, `ack` its last acknowledgement, -1 if it says nothing there.
    """

    rows: Array
    side: Array
    sequence: Array
    length: Array
    run_of: Array
    """Of each position."""
    other_last: Array
    """The position of the last row of the other side before this one, in the same run; else -1."""
    low: Array
    high: Array
    connection: Array
    is_odd: Array
    first: tuple[Array, Array]
    said: tuple[Array, Array]
    chunks: tuple[Array, Array]
    ack: tuple[Array, Array]
    count: tuple[Array, Array]
    keys: list[bytes]


def sort_runs(columns: Columns) -> Runs | None:
    """Find the runs; a row whose connection cannot be told from another's is made unusual."""
    usual = np.flatnonzero(columns.is_usual)
    if not len(usual):
        return None
    half, first = _halves(columns, usual)
    kept = _is_same_key(columns, usual, first[half])
    if not kept.all():
        columns.is_usual[usual[~kept]] = False
        return sort_runs(columns)
    keys, codes = _number(columns, first)
    code = codes[half]
    # By connection, and in each in the order of the capture.
    sorted_ = np.sort((code >> 1).astype(np.uint64) << _ROW | usual.astype(np.uint64))
    rows = (sorted_ & np.uint64(0xFFFFFFFF)).astype(np.int64)
    connection = (sorted_ >> _ROW).astype(np.int64)
    side = np.zeros(len(columns.is_usual), np.int8)
    side[usual] = code & 1
    return _find_runs(columns, rows, connection, side[rows], keys)


def _halves(columns: Columns, usual: Array) -> tuple[Array, Array]:
    """Give for each row the number of its direction of a connection, and of each direction one row."""
    hashes = columns.hash[usual]
    order = np.argsort(hashes)
    ordered = hashes[order]
    begins = np.empty(len(order), bool)
    begins[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    half = np.empty(len(order), np.int64)
    half[order] = np.cumsum(begins) - 1
    return half, usual[order[begins]]


def _is_same_key(columns: Columns, rows: Array, others: Array) -> Array:
    """Say for each row whether it has the addresses and ports of the other one."""
    same: Array = columns.is_v4[rows] == columns.is_v4[others]
    for is_v4, width in _KEYS.items():
        which = np.flatnonzero(same & (columns.is_v4[rows] == is_v4))
        if len(which):
            mine, theirs = (
                gather(columns.octets, columns.ends[each[which]], width) for each in (rows, others)
            )
            same[which] = (mine.view(np.uint32) == theirs.view(np.uint32)).all(axis=1)
    return same


def _number(columns: Columns, rows: Array) -> tuple[list[bytes], Array]:
    """Give the keys of connections, and for each direction twice the number of its connection, and its
    side."""
    found: list[bytes] = [b""] * len(rows)
    for is_v4, width in _KEYS.items():
        which = np.flatnonzero(columns.is_v4[rows] == is_v4)
        if len(which):
            octets = gather(columns.octets, columns.ends[rows[which]], width).tobytes()
            for number, place in enumerate(which.tolist()):
                found[place] = octets[number * width : number * width + width]
    numbers: dict[bytes, int] = {}
    keys: list[bytes] = []
    codes = []
    for key in found:
        code = numbers.get(key)
        if code is None:
            code = 2 * len(keys)
            keys.append(key)
            numbers[turned(key)] = code + 1
        codes.append(code)
    return keys, np.array(codes, np.int64)


def _find_runs(columns: Columns, rows: Array, connection: Array, side: Array, keys: list[bytes]) -> Runs:
    count = len(rows)
    places = np.arange(count)
    flags, sequence, length = columns.flags[rows], columns.sequence[rows], columns.length[rows]
    is_new = np.empty(count, bool)
    is_new[0] = True
    np.not_equal(connection[1:], connection[:-1], out=is_new[1:])
    group = np.maximum.accumulate(np.where(is_new, places, 0))
    last = tuple(np.maximum.accumulate(np.where(side == which, places, -1)) for which in (0, 1))
    before = np.where(side == 0, _shifted(last[0]), _shifted(last[1]))
    after = sequence + length.astype(np.uint32) + (flags & SYN != 0) + (flags & FIN != 0)
    follows = (before < group) | (sequence == after.astype(np.uint32)[before])
    is_odd = (flags & _PLAIN_MASK != ACK) | ~follows | (length > SEGMENT_MOST)
    begins = is_new | is_odd
    begins[1:] |= is_odd[:-1]
    low = np.flatnonzero(begins)
    high = np.append(low[1:], count)
    run_of = np.cumsum(begins) - 1
    other = np.where(side == 0, last[1], last[0])
    ack = columns.ack[rows].astype(np.int64)
    sides = [_of_side(side == which, last[which], sequence, length, ack, low, high) for which in (0, 1)]
    return Runs(
        rows=rows,
        side=side,
        sequence=sequence,
        length=length,
        run_of=run_of,
        other_last=np.where(other >= low[run_of], other, -1),
        low=low,
        high=high,
        connection=connection[low],
        is_odd=is_odd[low],
        first=(sides[0][0], sides[1][0]),
        said=(sides[0][1], sides[1][1]),
        chunks=(sides[0][2], sides[1][2]),
        ack=(sides[0][3], sides[1][3]),
        count=(sides[0][4], sides[1][4]),
        keys=keys,
    )


def _shifted(places: Array) -> Array:
    """Give for each position what stands at the one before it."""
    return np.concatenate([np.array([-1]), places[:-1]])


def _of_side(
    mine: Array, last: Array, sequence: Array, length: Array, ack: Array, low: Array, high: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Give of one side in each run: its first sequence number, bytes, chunks, last acknowledgement, rows."""
    count = len(mine)
    next_ = np.minimum.accumulate(np.where(mine, np.arange(count), count)[::-1])[::-1][low]
    is_there = next_ < high
    first = np.where(is_there, sequence[np.minimum(next_, count - 1)].astype(np.int64), -1)
    said = np.where(mine, length, 0)
    bytes_ = np.add.reduceat(said, low)
    chunks = np.add.reduceat((said > 0).astype(np.int64), low)
    acks = np.where(is_there, ack[last[high - 1]], -1)
    return first, bytes_, chunks, acks, np.add.reduceat(mine.astype(np.int64), low)
