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

from netplayground.capture.columns import V4_WORDS, V6_WORDS, Array, Columns
from netplayground.capture.lives import Lives
from netplayground.capture.network import turned
from netplayground.capture.strange import is_strange
from netplayground.capture.stream import AHEAD_MOST
from netplayground.dump.segments import SEGMENT_MOST
from netplayground.packet.tcp import ACK, FIN, RST, SYN

PLAIN_MASK = SYN | FIN | RST | ACK
_TABLE_BITS = 16
_ODD = np.uint64(0x9E3779B97F4A7C15)
"""A hash times this has other upper bits."""


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
    """Whether a row follows upon that before it in all that it says, or is its side's first."""
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
    """Tell directions of connections apart."""
    usual = np.flatnonzero(columns.is_usual)
    if not len(usual):
        return None
    alike = _find_alike(columns, usual)
    first = alike == np.arange(len(usual))
    rows = usual[first]
    words = columns.words[rows]
    if words.shape[1] < V6_WORDS:
        words = np.pad(words, ((0, 0), (0, V6_WORDS - words.shape[1])))
    return Directions(usual, (np.cumsum(first) - 1)[alike], rows, words)


def _find_alike(columns: Columns, usual: Array) -> Array:
    """Give for each of the rows the place of one that goes from the same to the same; itself for that one.

    Each round puts all rows that are left into a table by their hash: of those that share a place one stays
    there, and those that are like it are done with. In the next round the hash says another place.
    """
    count = len(usual)
    # Where all are usual, nothing need be gathered.
    which = slice(None) if count == len(columns.is_usual) else usual
    keys = [*columns.words[which].T, columns.is_v4[which]]
    hashes = columns.hash[which]
    table = np.empty(1 << _TABLE_BITS, np.int64)
    left, alike = np.arange(count), np.empty(count, np.int64)
    while len(left):
        place = (hashes >> np.uint64(64 - _TABLE_BITS)).astype(np.int64)
        table[place] = left
        there = table[place]
        same = np.ones(len(left), bool)
        for key in keys:
            same &= key[left] == key[there]
        alike[left[same]] = there[same]
        left, hashes = left[~same], hashes[~same] * _ODD
    return alike


def sort_rows(columns: Columns, directions: Directions, lives: Lives) -> Rows:
    """Sort the usual rows by connection."""
    usual = directions.usual
    keys, codes = _number(columns, directions.rows, directions.words, lives)
    # Numbers of 16 bits are sorted by radix, in a fraction of the time.
    rank = np.unique(codes >> 1, return_inverse=True)[1].astype(np.min_scalar_type(len(codes)))
    order = np.argsort(rank[directions.half], kind="stable")
    code = codes[directions.half[order]]
    side = (code & 1).astype(np.int8)
    return _rows(columns, usual[order], code >> 1, side, lives.capacity, keys)


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
        begin = at * 4 * V6_WORDS
        key = octets[begin : begin + 4 * (V4_WORDS if is_v4 else V6_WORDS)]
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
    follows = (before < group) | ((sequence == after[before]) & _hears_on(columns.ack[row], flags, before))
    return Rows(
        row, connection, side, flags, sequence, length, after, group, before, (last[0], last[1]), follows,
        unknown, keys,
    )  # fmt: skip


def _hears_on(ack: Array, flags: Array, before: Array) -> Array:
    """Say which rows acknowledge as much as the row before, or more: then the last says what was heard."""
    more = (ack - ack[before]).view(np.int32)
    is_ack = flags & ACK != 0
    hears_on: Array = ((more >= 0) & (more <= AHEAD_MOST)) | ~(is_ack & is_ack[before])
    return hears_on


def _shifted(places: Array) -> Array:
    """Give for each position what stands at the one before it."""
    return np.concatenate([np.array([-1]), places[:-1]])


def find_runs(columns: Columns, rows: Rows, strange: frozenset[bytes]) -> Runs:
    """Find the runs: none of connections of which other packets come between the rows (see `strange`)."""
    count = len(rows.row)
    is_odd = (rows.flags & PLAIN_MASK != ACK) | ~rows.follows | (rows.length > SEGMENT_MOST)
    if strange:
        apart = [number for number, key in enumerate(rows.keys, rows.unknown) if is_strange(key, strange)]
        is_odd |= np.isin(rows.connection, apart)
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
