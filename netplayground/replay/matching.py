"""Which recorded connection a live one plays.

A key is (client, server, server port); where the port was its kernel's choice it counts as dynamic, and the
key has 0. A live connection takes the earliest untaken record of its key, provisionally. When it turns out to
say something else, `settle` looks for a record that fits all that it has said and heard: the earliest one
that is untaken, or that another connection has which can do with a different one, and so on (an augmenting
path, as in any bipartite matching). So a connection is bound only by what it was given that no other record
would give.

The client's ends of connections and the server's ends are matched apart, each process by itself: `End` is
whatever the caller moves from record to record. One that can no longer move is fixed, and not looked at
again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from netplayground.replay.tape import Record

Key = tuple[int, int, int]
Moved = TypeVar("Moved")
End = TypeVar("End")

DYNAMIC = 0
_DEEPEST = 64  # swaps in a row
# Records that are looked at in one search. A client that says something new on each connection must not stop
# the world: where searches are in vain they become shorter.
_MOST_TRIES, _FEWEST_TRIES = 4096, 64


class _Queue:
    """Records in recorded order; those before `first` are gone."""

    __slots__ = ("first", "numbers")

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.first = 0

    def back_to(self, number: int) -> None:
        """The record is there again."""
        self.first = min(self.first, bisect_left(self.numbers, number))


class Matching(Generic[End]):
    """The records that may be taken, and who has taken which."""

    def __init__(self, records: Sequence[Record], ephemeral: tuple[int, int]) -> None:
        self._records = records
        self._ephemeral = ephemeral
        self._queues: dict[Key, _Queue] = {}  # by key, and by the true port where that is dynamic
        self._movable: dict[Key, dict[int, None]] = {}  # untaken, or its end can move; in recorded order
        self._spent: set[int] = set()
        self._tries: dict[Key, int] = {}
        self.taken: dict[int, End] = {}

    def add(self, number: int) -> None:
        """A record that may be played; in recorded order."""
        for queue in self._queues_of(number):
            queue.numbers.append(number)
        self._movable.setdefault(self._key_of(number), {})[number] = None

    def is_dynamic(self, port: int) -> bool:
        """Whether a server's port was chosen by its kernel."""
        return self._ephemeral[0] <= port <= self._ephemeral[1]

    def key(self, client: int, server: int, port: int) -> Key:
        """The key of a connection."""
        return client, server, DYNAMIC if self.is_dynamic(port) else port

    def numbers(self, key: Key) -> Sequence[int]:
        """All records of a key, in recorded order."""
        queue = self._queues.get(key)
        return queue.numbers if queue is not None else ()

    def earliest(self, key: Key, port: int) -> int | None:
        """The record that a new connection takes: of a dynamic key, one of that very port before others."""
        found = None
        if key[2] == DYNAMIC:
            found = self._first_of((key[0], key[1], port))
        return found if found is not None else self._first_of(key)

    def is_gone(self, number: int) -> bool:
        """Whether somebody has or had it."""
        return number in self.taken or number in self._spent

    def take(self, number: int, end: End) -> None:
        """The record is this end's."""
        self.taken[number] = end

    def release(self, number: int) -> None:
        """Nobody has it any more: another connection can be it."""
        del self.taken[number]
        for queue in self._queues_of(number):
            queue.back_to(number)

    def spend(self, number: int) -> None:
        """Nobody has it any more, and no other connection can be it."""
        self.taken.pop(number, None)
        self._spent.add(number)
        self.fix(number)

    def fix(self, number: int) -> None:
        """Whoever has it keeps it."""
        self._movable[self._key_of(number)].pop(number, None)

    def settle(
        self,
        number: int,
        end: End,
        fits: Callable[[End, Record], Moved | None],
        among_taken: bool = False,
    ) -> list[tuple[End, int, Moved]] | None:
        """Find another record for the end that has `number`: the moves that lead there, in order; None where
        there is none. `fits` says whether an end can be a record, and what it is then. `among_taken`: only
        records that some end has."""
        key = self._key_of(number)
        tries = self._tries.get(key, _MOST_TRIES)
        search = _Search(self._records, self.taken, self._movable[key], fits, among_taken, tries)
        moves = search.path(end, number, 0)
        self._tries[key] = max(_FEWEST_TRIES, tries // 2) if moves is None else min(_MOST_TRIES, 2 * tries)
        return moves

    def apply(self, moves: Sequence[tuple[End, int, Moved]], freed: int) -> None:
        """The ends have moved; `freed` is the record from which the search began."""
        del self.taken[freed]
        for end, number, _ in moves:
            self.taken[number] = end
        if freed not in self.taken:
            for queue in self._queues_of(freed):
                queue.back_to(freed)

    def _first_of(self, key: Key) -> int | None:
        queue = self._queues.get(key)
        if queue is None:
            return None
        numbers, first = queue.numbers, queue.first
        while first < len(numbers) and self.is_gone(numbers[first]):
            first += 1
        queue.first = first
        return numbers[first] if first < len(numbers) else None

    def _queues_of(self, number: int) -> list[_Queue]:
        record = self._records[number]
        keys = {(*record.processes, record.port), self._key_of(number)}
        return [self._queues.setdefault(key, _Queue()) for key in keys]

    def _key_of(self, number: int) -> Key:
        record = self._records[number]
        return self.key(*record.processes, record.port)


class _Search(Generic[End, Moved]):
    """One search for an augmenting path."""

    def __init__(
        self,
        records: Sequence[Record],
        taken: Mapping[int, End],
        numbers: Iterable[int],
        fits: Callable[[End, Record], Moved | None],
        among_taken: bool,
        tries: int,
    ) -> None:
        self._records = records
        self._taken = taken
        self._numbers = numbers
        self._fits = fits
        self._among_taken = among_taken
        self._seen: set[int] = set()
        self._tries = tries

    def path(self, end: End, freed: int, depth: int) -> list[tuple[End, int, Moved]] | None:
        """The moves by which `end` gets another record; once somebody has moved, `freed` is one."""
        self._seen.add(freed)
        if depth and (moved := self._fits(end, self._records[freed])) is not None:
            return [(end, freed, moved)]
        for number in self._numbers:
            if number in self._seen or (self._among_taken and number not in self._taken):
                continue
            if not self._tries:
                return None
            self._tries -= 1
            moved = self._fits(end, self._records[number])
            if moved is None:
                continue
            holder = self._taken.get(number)
            if holder is None:
                return [(end, number, moved)]
            if depth < _DEEPEST:
                self._seen.add(number)
                moves = self.path(holder, freed, depth + 1)
                if moves is not None:
                    return [*moves, (end, number, moved)]
        return None
