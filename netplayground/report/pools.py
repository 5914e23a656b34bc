"""Connections of one pool: what is said is the same, but which of them says it is not.

A program that hands its work to whichever connection is free says on each a part of it that no two runs
share. So the connections of a key that differ are looked at together, and nothing was lost and nothing came
anew where all of them together say in both recordings, each as often,

- the same exchanges: what the client says, and what the server then answers until the client says more. So
  each answer stays with its question;
- or, where all clients say the same over and over, some longer than others (so it does not matter who of them
  is answered what, as with a counter), the same lines, both ways.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.compare import shared_length
from netplayground.replay.tape import CHUNK, NONE, Record
from netplayground.report.pairing import Half, canonical, canonical_spans, head_of

_LONGEST = 1 << 16  # bytes of a line that are looked at together
_HEAD = 64

Key = tuple[int, int, int]
Pair = tuple[Record, Record]


def shared_otherwise(
    one: Half, other: Half, record_of: Mapping[int, int], differing: Sequence[int]
) -> frozenset[int]:
    """Those of the differing connections of the second recording that only shared their work otherwise."""
    by_key: dict[Key, list[Pair]] = defaultdict(list)
    for number in differing:
        theirs, ours = other.tape.records[number], one.tape.records[record_of[number]]
        key = (theirs.processes[CLIENT], theirs.processes[SERVER], theirs.port)
        by_key[key].append((ours, theirs))
    found: set[int] = set()
    for pairs in by_key.values():
        if len(pairs) > 1:
            found.update(_shared_in(one, other, pairs))
    return frozenset(found)


def _shared_in(one: Half, other: Half, pairs: Sequence[Pair]) -> Iterator[int]:
    if _all_exchanges(one, pairs, 0) == _all_exchanges(other, pairs, 1):
        yield from (theirs.number for _, theirs in pairs)
        return
    alike: dict[bytes, list[Pair]] = defaultdict(list)
    for pair in pairs:
        alike[head_of(one, pair[0], CLIENT, _HEAD)].append(pair)
    for some in alike.values():
        if len(some) > 1 and _say_one_thing(one, other, some) and _say_same_lines(one, other, some):
            yield from (theirs.number for _, theirs in some)


def _all_exchanges(half: Half, pairs: Iterable[Pair], which: int) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    for pair in pairs:
        found.update(each.question + each.answer for each in exchanges_of(half, pair[which]))
    return found


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the client says, and what the server then answers: a digest of both, and where in the server's
    stream the answer is."""

    question: bytes
    answer: bytes
    start: int
    end: int


def exchanges_of(half: Half, record: Record) -> Iterator[Exchange]:
    """The exchanges of a connection."""
    turns = _turns(half, record)
    said = [_cut(half, record, side, [turn[side] for turn in turns]) for side in (CLIENT, SERVER)]
    start = 0
    for question, answer, turn in zip(*said, turns, strict=True):
        yield Exchange(question, answer, start, turn[SERVER])
        start = turn[SERVER]


def _turns(half: Half, record: Record) -> list[tuple[int, int]]:
    """How far both sides have come at the end of each exchange."""
    tape, ends, position, has_answered = half.tape, [], [0, 0], False
    events = list(record.heads)
    while (event := min(events)) != NONE:
        side = CLIENT if event == events[CLIENT] else SERVER
        events[side] = tape.succ[event]
        if tape.code[event] & ~1 != CHUNK:
            continue
        if side == CLIENT and has_answered:
            ends.append((position[CLIENT], position[SERVER]))
        has_answered = side == SERVER
        position[side] = tape.upto[event]
    return [*ends, (position[CLIENT], position[SERVER])]


def _cut(half: Half, record: Record, side: int, ends: Sequence[int]) -> Iterator[bytes]:
    """A digest of each part of a stream."""
    digest, place, which = blake2b(digest_size=16), 0, 0
    for size, data in canonical_spans(half, record, side):
        is_literal = size == len(data)
        while which < len(ends) - 1 and place + size > ends[which] and (is_literal or place >= ends[which]):
            begun = max(0, ends[which] - place) if is_literal else 0
            digest.update(data[:begun])
            yield digest.digest()
            digest, which = blake2b(digest_size=16), which + 1
            size, data, place = size - begun, data[begun:], place + begun
        digest.update(data)
        place += size
    while which < len(ends):
        yield digest.digest()
        digest, which = blake2b(digest_size=16), which + 1


def _say_one_thing(one: Half, other: Half, pairs: Sequence[Pair]) -> bool:
    """Whether each client says the beginning of what the one says that says most."""
    clients = [(half, pair[which]) for pair in pairs for which, half in enumerate((one, other))]
    half, longest = max(clients, key=lambda client: client[1].bytes[CLIENT])
    return all(
        _is_beginning(canonical(each, record, CLIENT), canonical(half, longest, CLIENT))
        for each, record in clients
    )


def _is_beginning(first: Iterator[bytes], second: Iterator[bytes]) -> bool:
    left = right = b""
    while left := left or next(first, b""):
        right = right or next(second, b"")
        shared = shared_length(left, right)
        if shared < min(len(left), len(right)) or not right:
            return False
        left, right = left[shared:], right[shared:]
    return True


def _say_same_lines(one: Half, other: Half, pairs: Sequence[Pair]) -> bool:
    return all(
        _lines(chain.from_iterable(_with_end(one, ours, side) for ours, _ in pairs))
        == _lines(chain.from_iterable(_with_end(other, theirs, side) for _, theirs in pairs))
        for side in (CLIENT, SERVER)
    )


def _with_end(half: Half, record: Record, side: int) -> Iterator[bytes]:
    yield from canonical(half, record, side)
    yield b"\n"


def _lines(pieces: Iterable[bytes]) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    begun = b""
    for piece in pieces:
        *whole, begun = (begun + piece).split(b"\n")
        found.update(map(_short, whole))
        if len(begun) > _LONGEST:
            found[_short(begun)] += 1
            begun = b""
    return found


def _short(line: bytes) -> bytes:
    return line if len(line) <= 32 else blake2b(line, digest_size=33).digest()
