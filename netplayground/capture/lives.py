"""Connections that have only ever been ordinary, as rows of a table: nobody looks at them one by one.

Such a connection has begun with SYN and SYN-ACK in the capture, and all of it was in order since. It has a
slot: what each side is expected to say next, what is to be added to its sequence numbers in the dump, counts
and times. At the first packet that is not ordinary it becomes a connection like any other (`release`). One
that has been closed keeps its slot for a while: its last acknowledgements may still come, or come again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from netplayground.capture.columns import V4_WORDS, V6_WORDS, Array, hash_keys
from netplayground.capture.following import Followed
from netplayground.capture.reassembly import Reassembler
from netplayground.capture.telling import Teller, Told
from netplayground.dump.connection import State

_OVER_MOST = 1 << 15
_SLOTS = 1 << 12
_PAIRS = ("next", "shift", "isn", "said", "chunks", "owed", "segments", "acked")
_SINGLES = ("id", "sum", "opened", "established", "last", "closed")


class Lives:
    """The table; columns are indexed by slot, pairs by slot and side. A side is that of the key."""

    def __init__(self, reassembler: Reassembler, teller: Teller) -> None:
        self._reassembler = reassembler
        self._teller = teller
        self.capacity = 0
        self.is_used = np.zeros(0, bool)
        self.is_over = np.zeros(0, bool)
        self.is_v4 = np.zeros(0, bool)
        self.turn = np.zeros(0, np.int64)
        self.fins = np.zeros(0, np.int64)
        self.words = np.zeros((0, 2, V6_WORDS), np.uint32)
        self.hash = np.zeros((0, 2), np.uint64)
        self.pairs = {name: np.zeros((0, 2), np.int64) for name in _PAIRS}
        self.singles = {name: np.zeros(0, np.int64) for name in _SINGLES}
        self._free: list[int] = []
        self._sorted: tuple[Array, Array] | None = None
        self._grow(_SLOTS)

    def _grow(self, more: int) -> None:
        def grown(column: Array) -> Array:
            new: Array = np.zeros((len(column) + more, *column.shape[1:]), column.dtype)
            new[: len(column)] = column
            return new

        for name in ("is_used", "is_over", "is_v4", "turn", "fins", "words", "hash"):
            setattr(self, name, grown(getattr(self, name)))
        for columns in (self.pairs, self.singles):
            for name, column in columns.items():
                columns[name] = grown(column)
        self._free += range(self.capacity + more - 1, self.capacity - 1, -1)
        self.capacity += more

    def find(self, hashes: Array, words: Array) -> Array:
        """Give twice the slot of each key, and its side; -1 where there is none."""
        if self._sorted is None:
            used = np.flatnonzero(self.is_used)
            all_ = self.hash[used].ravel()
            order = np.argsort(all_)
            codes = (used[:, None] * 2 + np.array([0, 1])).ravel()
            self._sorted = all_[order], codes[order]
        known, codes = self._sorted
        if not len(known):
            return np.full(len(hashes), -1)
        at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        code = codes[at]
        same = (known[at] == hashes) & (self.words[code >> 1, code & 1] == words).all(axis=1)
        return np.where(same, code, -1)

    def find_strange(self, strange: frozenset[bytes]) -> Array:
        """Give the slots of connections that are strange (see `strange`)."""
        if not strange:
            return np.zeros(0, np.int64)
        found = []
        for is_v4, width in ((True, V4_WORDS), (False, V6_WORDS)):
            keys = [key.ljust(4 * V6_WORDS, b"\0") for key in strange if len(key) == 4 * width]
            words = np.frombuffer(b"".join(keys), np.uint32).reshape(len(keys), V6_WORDS)
            codes = self.find(hash_keys(np.ascontiguousarray(words[:, :width])), words)
            found.append(codes[codes >= 0] >> 1)
            for key in (key for key in strange if len(key) == 4 * width - 4):
                alike = self.words[:, 0, : width - 1] == np.frombuffer(key, np.uint32)
                found.append(np.flatnonzero(self.is_used & (self.is_v4 == is_v4) & alike.all(axis=1)))
        return np.unique(np.concatenate(found))

    def take(self, words: Array, is_v4: Array) -> Array:
        """Give slots to connections whose side 0 has these keys."""
        count = len(words)
        if count > len(self._free):
            self._grow(max(self.capacity, count))
        slots = np.array([self._free.pop() for _ in range(count)], np.int64)
        self._sorted = None
        self.is_used[slots], self.is_over[slots], self.is_v4[slots] = True, False, is_v4
        self.fins[slots] = 0
        for columns in (self.pairs, self.singles):
            for column in columns.values():
                column[slots] = 0
        self.pairs["acked"][slots] = -1
        self.words[slots, 0] = words
        self.words[slots, 1] = _turned(words, is_v4)
        for side in (0, 1):
            for four, width in ((True, V4_WORDS), (False, V6_WORDS)):
                rows = np.flatnonzero(is_v4 == four)
                keys = np.ascontiguousarray(self.words[slots[rows], side, :width])
                self.hash[slots[rows], side] = hash_keys(keys)
        return slots

    def key(self, slot: int) -> bytes:
        """Give a connection's key."""
        octets: bytes = self.words[slot, 0].tobytes()
        return octets[: 12 if self.is_v4[slot] else 36]

    def free(self, slots: Array) -> None:
        """Forget connections."""
        self.is_used[slots] = False
        self._free += slots.tolist()
        self._sorted = None

    def close(self, slots: Array) -> None:
        """Connections are over; the longest over of too many are forgotten."""
        self.is_over[slots] = True
        over = np.flatnonzero(self.is_used & self.is_over)
        if len(over) > _OVER_MOST:
            order = np.argsort(self.singles["closed"][over], kind="stable")
            self.free(over[order[: len(over) // 2]])

    def find_silent(self, most: int) -> Array:
        """Give of more than `most` those that have been silent for longest: not one in order waits for
        anything, however long."""
        live = np.flatnonzero(self.is_used & ~self.is_over)
        if len(live) <= most:
            return live[:0]
        return live[np.argsort(self.singles["last"][live], kind="stable")[: len(live) // 8]]

    def release(self, slot: int, first: int) -> Followed:
        """Make a connection of a slot whose first block is at `first`, and hand it to the reassembler."""
        key, turn = self.key(slot), int(self.turn[slot])
        pairs = {name: column[slot].tolist() for name, column in self.pairs.items()}
        single = {name: int(column[slot]) for name, column in self.singles.items()}
        connection = Followed(key, self._reassembler, self._reassembler.listener)
        connection.resume(turn, pairs["isn"], pairs["said"], pairs["segments"], int(self.fins[slot]))
        for side, stream in enumerate(connection.streams):
            if (acked := pairs["acked"][side]) >= 0:
                # If that is far, all segments but the SYN or its answer say so; unless something was said.
                times = 1 if pairs["said"][side] else pairs["segments"][1 - side] - 1
                stream.acknowledge(acked, times)
        connection.is_over = bool(self.is_over[slot])
        connection.last = single["last"]
        if not connection.is_over:
            connection.told = self._resumed(
                connection, turn, pairs, {**single, "first": first}, int(self.fins[slot])
            )
        self._reassembler.adopt(connection)
        self.free(np.array([slot]))
        return connection

    def _resumed(
        self, connection: Followed, turn: int, pairs: dict[str, Any], single: dict[str, int], fins: int
    ) -> Told:
        by_role = slice(None, None, -1) if turn else slice(None)
        bases = [isn + shift + 1 for isn, shift in zip(pairs["isn"], pairs["shift"], strict=True)]
        if turn:
            fins = (fins & 1) << 1 | fins >> 1
        state = State(
            identity=single["id"],
            bases=tuple(bases[by_role]),
            said=tuple(pairs["said"][by_role]),
            chunks=tuple(pairs["chunks"][by_role]),
            fins=fins,
            opened_ns=single["opened"],
            established_ns=single["established"],
            first=single["first"],
            owed=tuple(pairs["owed"][by_role]),
        )
        return self._teller.resume(connection, state)


def _turned(words: Array, is_v4: Array) -> Array:
    """Give the keys of the other direction."""
    turned = np.zeros_like(words)
    for four, half in ((True, 1), (False, 4)):
        rows = np.flatnonzero(is_v4 == four)
        turned[rows, :half] = words[rows, half : 2 * half]
        turned[rows, half : 2 * half] = words[rows, :half]
        ports = words[rows, 2 * half]
        turned[rows, 2 * half] = ports >> np.uint32(16) | ports << np.uint32(16)
    return turned
