"""Connections of one pool: what they say is the same, but which of them says it is not.

A program that hands its work to whichever connection is free says on each a part of it that no two runs
share: one connection stops a little earlier than in the other recording, another one goes on a little longer.
Where what the ones lack is exactly what the others have more, both ways, nothing was lost and nothing came
anew. What they have in common is compared as ever: one must be the beginning of the other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.compare import shared_length
from netplayground.replay.tape import Record
from netplayground.report.pairing import Half, canonical

Key = tuple[int, int, int]
_LONGEST = 1 << 16  # bytes of a line that are looked at together


@dataclass(slots=True)
class _Tails:
    """What the differing connections of a key say beyond what both recordings have: by side, what is only in
    the first and what is only in the second, as lines and how often each comes."""

    only: tuple[tuple[Counter[bytes], Counter[bytes]], tuple[Counter[bytes], Counter[bytes]]] = field(
        default_factory=lambda: ((Counter(), Counter()), (Counter(), Counter()))
    )
    members: list[int] = field(default_factory=list)

    def are_equal(self) -> bool:
        return len(self.members) > 1 and all(first == second for first, second in self.only)


def shared_otherwise(
    one: Half, other: Half, record_of: Mapping[int, int], differing: Sequence[int]
) -> frozenset[int]:
    """Those of the differing connections of the second recording that only shared their work otherwise."""
    groups: dict[Key, _Tails] = defaultdict(_Tails)
    by_key: dict[Key, list[tuple[Record, Record]]] = defaultdict(list)
    for number in differing:
        theirs, ours = other.tape.records[number], one.tape.records[record_of[number]]
        key = (theirs.processes[CLIENT], theirs.processes[SERVER], theirs.port)
        by_key[key].append((ours, theirs))
    for key, pairs in by_key.items():
        for ours, theirs in pairs if len(pairs) > 1 else ():
            _add(groups[key], one, other, ours, theirs)
    return frozenset(chain.from_iterable(tails.members for tails in groups.values() if tails.are_equal()))


def _add(tails: _Tails, one: Half, other: Half, ours: Record, theirs: Record) -> None:
    """Add what a pair does not have in common, if one is the beginning of the other."""
    rests = []
    for side in (CLIENT, SERVER):
        rest = _rest(canonical(one, ours, side), canonical(other, theirs, side))
        if rest is None:
            return
        rests.append(rest)
    for (which, lines), only in zip(rests, tails.only, strict=True):
        only[which].update(lines)
    tails.members.append(theirs.number)


def _rest(first: Iterator[bytes], second: Iterator[bytes]) -> tuple[int, Counter[bytes]] | None:
    """Which of two streams goes on when the other has ended, and the lines that it then says; None where one
    is not the beginning of the other."""
    left = right = b""
    while True:
        left, right = left or next(first, b""), right or next(second, b"")
        if not left:
            return 1, _lines(chain((right,), second))
        if not right:
            return 0, _lines(chain((left,), first))
        shared = shared_length(left, right)
        if shared < min(len(left), len(right)):
            return None
        left, right = left[shared:], right[shared:]


def _lines(pieces: Iterable[bytes]) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    begun = b""
    for piece in pieces:
        *whole, begun = (begun + piece).split(b"\n")
        found.update(map(_short, whole))
        if len(begun) > _LONGEST:
            found[_short(begun)] += 1
            begun = b""
    if begun:
        found[_short(begun)] += 1
    return found


def _short(line: bytes) -> bytes:
    return line if len(line) <= 32 else blake2b(line, digest_size=33).digest()
