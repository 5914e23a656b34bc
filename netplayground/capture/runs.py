"""The rows of a batch sorted by connection, and their runs: stretches that are in order in themselves.

All is done column by column; only connections that nobody knows yet are numbered one by one. A run has no
flag but ACK and PSH, and the rows of each side follow upon one another; every other row is *odd*, a run of
its own.

A connection's number is its slot among the ordinary ones (`lives`) or, from `Rows.unknown` on, one that only
this batch has. Rows are numbers of packets, positions are places among the sorted rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netplayground.capture.columns import Array, Columns, gather
from netplayground.capture.lives import WORDS, Lives
from netplayground.capture.network import turned
from netplayground.dump.segments import SEGMENT_MOST
from netplayground.packet.tcp import ACK, FIN, RST, SYN

PLAIN_MASK = SYN | FIN | RST | ACK
_ROW = np.uint64(32)


@dataclass(slots=True)
class Rows:
    """Rows sorted by connection, in each in the order of the capture: a column for each."""

    row: Array
    connection: Array
    side: Array
    flags: Array
    sequence: Array
    length: Array
    after: Array
    """The sequence number that the side's next row should have."""
    group: Array
    """The position at which the connection begins."""
    before: Array
    """The position of the row of the same side before this one; below `group` if there is none."""
    last: tuple[Array, Array]
    """The position of each side's last row up to this one."""
    follows: Array
    """Whether a row follows upon that before it, or is its side's first."""
    unknown: int
    keys: list[bytes]

    def key(self, connection: int, lives: Lives) -> bytes:
        """Give the key of a connection: of its side 0."""
        return lives.key(connection) if connection < self.unknown else self.keys[connection - self.unknown]


@dataclass(slots=True)
class Runs:
    """Runs, and of each what its sides say in it.

    `first` is a side's first sequence number, `ack` its last acknowledgement, -1 if it says nothing there.
    """

    run_of: Array
    """Of each position."""
    low: Array
    high: Array
    is_odd: Array
    first: tuple[Array, Array]
    said: tuple[Array, Array]
    chunks: tuple[Array, Array]
    ack: tuple[Array, Array]
    count: tuple[Array, Array]


@dataclass(slots=True)
class Directions:
    """The usual rows, and which go from whom to whom: `half` numbers that, `rows` and `words` are those of
    one row of each."""

    usual: Array
    half: Array
    rows: Array
    words: Array


def find_directions(columns: Columns) -> Directions | None:
    """Tell directions of connections apart; a row that cannot be told from another's is made unusual."""
    usual = np.flatnonzero(columns.is_usual)
    if not len(usual):
        return None
    words = _words(columns, usual)
    half, first = _halves(columns, usual)
    kept = (words == words[first[half]]).all(axis=1)
    kept &= columns.is_v4[usual] == columns.is_v4[usual[first[half]]]
    if not kept.all():
        columns.is_usual[usual[~kept]] = False
        return find_directions(columns)
    return Directions(usual, half, usual[first], words[first])


def sort_rows(columns: Columns, directions: Directions, lives: Lives) -> Rows:
    """Sort the usual rows by connection."""
    usual = directions.usual
    keys, codes = _number(columns, directions.rows, directions.words, lives)
    code = codes[directions.half]
    sorted_ = np.sort((code >> 1).astype(np.uint64) << _ROW | usual.astype(np.uint64))
    side = np.zeros(len(columns.is_usual), np.int8)
    side[usual] = code & 1
    row = (sorted_ & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return _rows(columns, row, (sorted_ >> _ROW).astype(np.int64), side[row], lives.capacity, keys)


def _words(columns: Columns, usual: Array) -> Array:
    """Give addresses and ports of each row, those of IPv4 filled up with zeros."""
    words = np.zeros((len(usual), WORDS), np.uint32)
    for is_v4, width in ((True, 3), (False, WORDS)):
        which = np.flatnonzero(columns.is_v4[usual] == is_v4)
        if len(which):
            octets = gather(columns.octets, columns.ends[usual[which]], 4 * width)
            words[which, :width] = octets.view(np.uint32)
    return words


def _halves(columns: Columns, usual: Array) -> tuple[Array, Array]:
    """Give for each row the number of its direction of a connection, and of each direction one row's
    place."""
    hashes = columns.hash[usual]
    order = np.argsort(hashes)
    ordered = hashes[order]
    begins = np.empty(len(order), bool)
    begins[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    half = np.empty(len(order), np.int64)
    half[order] = np.cumsum(begins) - 1
    return half, order[begins]


def _number(columns: Columns, rows: Array, words: Array, lives: Lives) -> tuple[list[bytes], Array]:
    """Give the keys of the connections that have no slot, and for each direction twice the number of its
    connection, and its side."""
    codes = lives.find(columns.hash[rows], words)
    numbers: dict[bytes, int] = {}
    keys: list[bytes] = []
    unknown = np.flatnonzero(codes < 0)
    octets = words[unknown].tobytes()
    found = []
    for at, is_v4 in enumerate(columns.is_v4[rows[unknown]].tolist()):
        begin = at * 4 * WORDS
        key = octets[begin : begin + (12 if is_v4 else 4 * WORDS)]
        code = numbers.get(key)
        if code is None:
            code = 2 * (lives.capacity + len(keys))
            keys.append(key)
            numbers[turned(key)] = code + 1
        found.append(code)
    codes[unknown] = found
    return keys, codes


def _rows(
    columns: Columns, row: Array, connection: Array, side: Array, unknown: int, keys: list[bytes]
) -> Rows:
    places = np.arange(len(row))
    flags, sequence, length = columns.flags[row], columns.sequence[row], columns.length[row]
    is_new = np.empty(len(row), bool)
    is_new[0] = True
    np.not_equal(connection[1:], connection[:-1], out=is_new[1:])
    group = np.maximum.accumulate(np.where(is_new, places, 0))
    last = [np.maximum.accumulate(np.where(side == which, places, -1)) for which in (0, 1)]
    before = np.where(side == 0, _shifted(last[0]), _shifted(last[1]))
    counted = length.astype(np.uint32) + (flags & SYN != 0) + (flags & FIN != 0)
    after = (sequence + counted).astype(np.uint32)
    follows = (before < group) | (sequence == after[before])
    return Rows(
        row, connection, side, flags, sequence, length, after, group, before, (last[0], last[1]), follows,
        unknown, keys,
    )  # fmt: skip


def _shifted(places: Array) -> Array:
    """Give for each position what stands at the one before it."""
    return np.concatenate([np.array([-1]), places[:-1]])


def find_runs(columns: Columns, rows: Rows) -> Runs:
    """Find the runs."""
    count = len(rows.row)
    is_odd = (rows.flags & PLAIN_MASK != ACK) | ~rows.follows | (rows.length > SEGMENT_MOST)
    begins = (rows.group == np.arange(count)) | is_odd
    begins[1:] |= is_odd[:-1]
    low = np.flatnonzero(begins)
    high = np.append(low[1:], count)
    ack = columns.ack[rows.row].astype(np.int64)
    sides = [_of_side(rows, which, ack, low, high) for which in (0, 1)]
    pairs = zip(*sides, strict=True)
    return Runs(np.cumsum(begins) - 1, low, high, is_odd[low], *((one, other) for one, other in pairs))


def _of_side(
    rows: Rows, side: int, ack: Array, low: Array, high: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Give of one side in each run: its first sequence number, bytes, chunks, last acknowledgement, rows."""
    mine = rows.side == side
    count = len(mine)
    next_ = np.minimum.accumulate(np.where(mine, np.arange(count), count)[::-1])[::-1][low]
    is_there = next_ < high
    first = np.where(is_there, rows.sequence[np.minimum(next_, count - 1)].astype(np.int64), -1)
    said = np.where(mine, rows.length, 0)
    bytes_ = np.add.reduceat(said, low)
    chunks = np.add.reduceat((said > 0).astype(np.int64), low)
    acks = np.where(is_there, ack[rows.last[side][high - 1]], -1)
    return first, bytes_, chunks, acks, np.add.reduceat(mine.astype(np.int64), low)
