"""Which connections are ordinary in a batch: all their rows can be taken column by column.

They begin with SYN and SYN-ACK, or have been ordinary before; each side's rows follow upon one another; a
side says nothing after its FIN. All that such rows bring about is known without looking at any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netplayground.capture.columns import Array, Columns
from netplayground.capture.lives import Lives
from netplayground.capture.reassembly import Reassembler
from netplayground.capture.runs import PLAIN_MASK, Rows
from netplayground.capture.strange import is_strange
from netplayground.dump.segments import SEGMENT_MOST
from netplayground.packet.tcp import ACK, FIN, SYN

_OWED_MOST = 8 << 20
"""A side that has said more without an answer is taken the other way from there on, which acknowledges it."""


@dataclass(slots=True)
class Ordinary:
    """The ordinary connections of a batch: of each its slot, and its first and last position.

    `is_new` have begun in this batch. `next` is what each side was expected to say when it began.
    """

    slots: Array
    low: Array
    high: Array
    is_new: Array
    next: Array
    of: Array
    """Of each position, which of these it belongs to; -1 if it is not ordinary."""
    said: Array
    fins: Array


def find_ordinary(
    columns: Columns, rows: Rows, lives: Lives, reassembler: Reassembler, strange: frozenset[bytes]
) -> Ordinary:
    """Find them, and give those that are new their slots."""
    count = len(rows.row)
    low = np.flatnonzero(rows.group == np.arange(count))
    high = np.append(low[1:], count)
    slots = np.where(rows.connection[low] < rows.unknown, rows.connection[low], -1)
    is_new = _opens(columns, rows, low, high) & (slots < 0)
    for place in np.flatnonzero(is_new).tolist():
        key = rows.keys[int(rows.connection[low[place]]) - rows.unknown]
        is_new[place] = reassembler.find(key) is None and not is_strange(key, strange)
    which = np.cumsum(rows.group == np.arange(count)) - 1
    known = np.maximum(slots, 0)
    next_ = np.where(slots[:, None] >= 0, lives.pairs["next"][known], 0)
    fins = np.where(slots >= 0, lives.fins[known], 0)
    said = np.stack([np.add.reduceat(np.where(rows.side == side, rows.length, 0), low) for side in (0, 1)], 1)
    is_known = (slots >= 0) & lives.is_used[known] & ~lives.is_over[known]
    is_known &= (lives.pairs["owed"][known] + said).max(axis=1) <= _OWED_MOST
    bad = _is_bad(rows, which, is_new, low, next_, fins)
    fine = (np.add.reduceat(bad.astype(np.int64), low) == 0) & (is_known | is_new)
    kept = np.flatnonzero(fine)
    number = np.full(len(low), -1)
    number[kept] = np.arange(len(kept))
    return _with_slots(
        columns,
        rows,
        lives,
        Ordinary(
            slots[kept],
            low[kept],
            high[kept],
            is_new[kept],
            next_[kept],
            number[which],
            said[kept],
            fins[kept] | _new_fins(rows, low)[kept],
        ),
    )


def _opens(columns: Columns, rows: Rows, low: Array, high: Array) -> Array:
    """Say which connections begin with a SYN and the SYN-ACK that answers it, both without data."""
    second = np.minimum(low + 1, len(rows.row) - 1)
    flags = rows.flags & PLAIN_MASK
    opens: Array = (high - low > 1) & (flags[low] == SYN) & (flags[second] == SYN | ACK)
    opens &= (rows.side[low] != rows.side[second]) & (rows.length[low] + rows.length[second] == 0)
    opens &= columns.ack[rows.row[second]] == rows.after[low]
    return opens


def _is_bad(rows: Rows, which: Array, is_new: Array, low: Array, next_: Array, fins: Array) -> Array:
    """Say which rows are not ordinary."""
    flags = rows.flags & PLAIN_MASK
    place = np.arange(len(rows.row)) - rows.group
    opening = is_new[which] & (place < 2)
    is_fin = flags == FIN | ACK
    bad: Array = ~((flags == ACK) | is_fin | opening) | ~rows.follows | (rows.length > SEGMENT_MOST)
    # A side's first row must be what is expected; a new connection's are its SYNs.
    is_first = rows.before < rows.group
    expected = next_[which, rows.side.astype(np.int64)]
    bad |= is_first & ~is_new[which] & (rows.sequence != expected)
    bad |= is_first & is_new[which] & (place > 1)
    for side in (0, 1):
        mine = rows.side == side
        finished = np.cumsum(is_fin & mine)
        earlier = finished - (is_fin & mine) - (finished - (is_fin & mine))[low][which]
        bad |= mine & ((earlier > 0) | (fins[which] >> side & 1 > 0)) & ((rows.length > 0) | is_fin)
    return bad


def _new_fins(rows: Rows, low: Array) -> Array:
    is_fin = rows.flags & FIN != 0
    ones = [np.add.reduceat((is_fin & (rows.side == side)).astype(np.int64), low) > 0 for side in (0, 1)]
    both: Array = ones[0] | ones[1].astype(np.int64) << 1
    return both


def _with_slots(columns: Columns, rows: Rows, lives: Lives, found: Ordinary) -> Ordinary:
    """Give new connections their slots."""
    new = np.flatnonzero(found.is_new)
    if not len(new):
        return found
    first = found.low[new]
    numbers = (rows.connection[first] - rows.unknown).tolist()
    is_v4 = columns.is_v4[rows.row[first]]
    octets = b"".join(rows.keys[number].ljust(36, b"\0") for number in numbers)
    words = np.frombuffer(octets, np.uint32).reshape(len(new), 9)
    slots = lives.take(words, is_v4)
    found.slots[new] = slots
    # The SYN's side is the client.
    lives.turn[slots] = rows.side[first]
    for place in (first, first + 1):
        side = rows.side[place].astype(np.int64)
        lives.pairs["isn"][slots, side] = rows.sequence[place]
        found.next[new, side] = rows.sequence[place]
    return found
