"""Which connection of one recording is which of another one.

A replay has to choose while bytes come, and each process for itself. Here both recordings are whole, and what
a process heard is not the tape but what its peer said in the same run. So a connection is known by all that
was said on it, both ways at once: those that say the same are paired first, wherever they stand, each with
the earliest that is left. A record is never taken by one that says something else while it fits another. What
is left over is paired with what begins most alike, so that one difference is told as one, and not as a
connection missing and another one too many.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.compare import new_comparison, shared_length
from netplayground.replay.masks import Mask, segments
from netplayground.replay.matching import DYNAMIC, Key, Matching
from netplayground.replay.streams import PIECE, TapeStream
from netplayground.replay.tape import NONE, Outcome, Record, Tape

_DEPTH = 1 << 16  # bytes of each stream by which records are told apart at first
_HEAD = 1 << 10  # bytes of each stream by which those that differ are likened
_NEAR = 64  # that are looked at for one that begins alike
_TOLD = 1 << 18  # bytes of a stream in which a port is looked for
_MOST_IN_VAIN = 200
_REDACTED = -1


@dataclass(frozen=True, slots=True)
class Half:
    """One of two recordings. `masks` are for what its own processes say; `addresses` gives the other's
    address in place of each of its own."""

    tape: Tape
    masks: Sequence[Mask]
    addresses: Mapping[bytes, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Pairs:
    """Records of the second recording by number, and which of the first each is."""

    record_of: dict[int, int] = field(default_factory=dict)
    differing: list[int] = field(default_factory=list)
    """Those of the second that say something else than the one they are paired with, or may do so."""
    shared: frozenset[int] = frozenset()
    """Those of the second that say a part of what all say that is another than before (pools.py)."""
    rematched: int = 0
    """How many found theirs out of its order."""


def says_same(one: Half, other: Half, ours: Record, theirs: Record) -> bool:
    """Whether both directions of two connections say the same, after masks."""
    return all(side_says_same(one, other, ours, theirs, side) for side in (CLIENT, SERVER))


def side_says_same(one: Half, other: Half, ours: Record, theirs: Record, side: int) -> bool:
    """Whether one direction of two connections says the same, after masks."""
    if not (one.masks or one.tape.redactions) and ours.bytes[side] != theirs.bytes[side]:
        return False
    comparison = new_comparison(one.tape, ours, side, one.masks)
    stream = TapeStream(other.tape, theirs, side)
    while piece := stream.read(PIECE):
        if comparison.feed(memoryview(piece)) is not None:
            return False
    return comparison.finish() is None and comparison.position == ours.bytes[side]


def canonical(half: Half, record: Record, side: int) -> Iterator[bytes]:
    """A stream in pieces, what a mask covers as that mask's number, and addresses as the other half's."""
    return (data for _, data in canonical_spans(half, record, side))


def canonical_spans(half: Half, record: Record, side: int) -> Iterator[tuple[int, bytes]]:
    """The same, each piece with how many bytes of the stream it stands for."""
    numbers = {id(mask): number for number, mask in enumerate(half.masks)}
    stream = TapeStream(half.tape, record, side)
    if not (half.masks or stream.redacted):
        yield from ((len(piece), piece) for piece in stream.pieces(1 << 62))
        return
    for segment in segments(stream, half.masks):
        if segment.mask is None:
            yield len(segment.data), segment.data
        elif segment.is_address:
            yield len(segment.data), half.addresses.get(segment.data, segment.data)
        else:
            yield len(segment.data), b"\0plg:%d\0" % numbers.get(id(segment.mask), _REDACTED)


def head_of(half: Half, record: Record, side: int, length: int = _HEAD) -> bytes:
    """The beginning of a stream, canonical."""
    head = b""
    for piece in canonical(half, record, side):
        head += piece[: length - len(head)]
        if len(head) == length:
            break
    return head


def pair_up(one: Half, other: Half, ephemeral: tuple[int, int]) -> Pairs:
    """Pair the connections of two recordings, whose processes have the same numbers."""
    return _Pairing(one, other, ephemeral).pairs()


def is_announced(half: Half, record: Record) -> bool:
    """Whether the same two processes had said the record's port on another connection before."""
    high, low = divmod(record.port, 256)
    told = re.compile(rb"(?<!\d)(?:%d|%d, ?%d)(?!\d)" % (record.port, high, low))
    earlier = [
        each
        for each in half.tape.records[: record.number]
        if set(each.processes) == set(record.processes) and each.port != record.port
    ]
    return any(
        told.search(TapeStream(half.tape, each, side).read_exactly(_TOLD))
        for each in earlier[-_NEAR:]
        for side in (CLIENT, SERVER)
    )


_Group = tuple[Key, Outcome]


class _Pairing:
    def __init__(self, one: Half, other: Half, ephemeral: tuple[int, int]) -> None:
        self._one = one
        self._other = other
        self._ephemeral = ephemeral
        self._key = Matching[Record](one.tape.records, ephemeral).key
        self._pairs = Pairs()
        ours, theirs = (
            {self._key(*record.processes, record.port) for record in half.tape.records}
            for half in (one, other)
        )
        self._common = ours & theirs

    def pairs(self) -> Pairs:
        """All that can be paired."""
        ours, theirs = self._groups(self._one), self._groups(self._other)
        for group, records in theirs.items():
            self._pair(group, ours.get(group, []), records)
        self._pairs.differing.sort()
        return self._pairs

    def _groups(self, half: Half) -> dict[_Group, list[Record]]:
        groups: dict[_Group, list[Record]] = defaultdict(list)
        keys: dict[Key, Key] = {}
        for record in half.tape.records:
            key = self._key(*record.processes, record.port)
            if key not in keys:
                # A port of one recording only: an FTP server that chooses by itself takes others each time.
                is_dynamic = key not in self._common and is_announced(half, record)
                keys[key] = (*record.processes, DYNAMIC) if is_dynamic else key
            groups[keys[key], record.outcome].append(record)
        return groups

    def _pair(self, group: _Group, ours: list[Record], theirs: list[Record]) -> None:
        key, outcome = group
        if outcome is not Outcome.ACCEPTED:
            for mine, their in zip(ours, theirs, strict=False):
                self._pairs.record_of[their.number] = mine.number
            return
        if len(ours) != 1 or len(theirs) != 1:
            ours, theirs = self._pair_equal(ours, theirs)
            if self._one.masks or self._one.tape.redactions:
                ours, theirs = self._pair_fitting(key, ours, theirs)
        self._pair_nearest(ours, theirs)

    def _take(self, mine: Record, their: Record) -> None:
        self._pairs.record_of[their.number] = mine.number

    def _pair_equal(self, ours: list[Record], theirs: list[Record]) -> tuple[list[Record], list[Record]]:
        """Pair those that say the same; gives the rest."""
        known: dict[bytes, list[Record]] = defaultdict(list)
        for record in ours:
            known[self._signature(self._one, record)].append(record)
        left = deque(ours)
        taken: set[int] = set()
        rest: list[Record] = []
        for their in theirs:
            candidates = known.get(self._signature(self._other, their), [])
            mine = self._choose(candidates, their)
            if mine is None:
                rest.append(their)
                continue
            candidates.remove(mine)
            taken.add(mine.number)
            self._pairs.rematched += mine is not left[0]
            while left and left[0].number in taken:
                left.popleft()
            self._take(mine, their)
        return [record for record in ours if record.number not in taken], rest

    def _choose(self, candidates: Sequence[Record], their: Record) -> Record | None:
        """The earliest that says the same; one that ends alike before others."""
        alike = [mine for mine in candidates[:_NEAR] if _end_of(mine) == _end_of(their)]
        others = (mine for mine in candidates if not any(mine is each for each in alike))
        for mine in (*alike, *others):
            if says_same(self._one, self._other, mine, their):
                return mine
        return None

    def _signature(self, half: Half, record: Record) -> bytes:
        """The same for two records that say the same; seldom for others."""
        digest = blake2b(digest_size=16)
        for side in (CLIENT, SERVER):
            if not half.masks:
                digest.update(b"%d\0" % record.bytes[side])
            left = _DEPTH
            for piece in canonical(half, record, side):
                digest.update(piece[:left])
                left -= len(piece)
                if left <= 0:
                    break
            digest.update(b"\0plg\0")
        return digest.digest()

    def _pair_fitting(
        self, key: Key, ours: list[Record], theirs: list[Record]
    ) -> tuple[list[Record], list[Record]]:
        """Where a mask covers more of one stream than of the other, only the comparison itself tells; gives
        the rest."""
        matching = Matching[Record](self._one.tape.records, self._ephemeral)
        for record in ours:
            matching.add(record.number)
        fits = self._remembering_fits()
        rest: list[Record] = []
        for their in theirs:
            number = matching.earliest(key, their.port)
            if number is None or len(rest) >= _MOST_IN_VAIN:
                rest.append(their)
                continue
            matching.take(number, their)
            if fits(their, self._one.tape.records[number]):
                continue
            moves = matching.settle(number, their, fits)
            if moves is None:
                matching.release(number)
                rest.append(their)
            else:
                matching.apply(moves, number)
        for number, their in matching.taken.items():
            self._take(self._one.tape.records[number], their)
        return [record for record in ours if record.number not in matching.taken], rest

    def _remembering_fits(self) -> Callable[[Record, Record], bool | None]:
        known: dict[tuple[int, int], bool] = {}

        def fits(their: Record, mine: Record) -> bool | None:
            place = their.number, mine.number
            if place not in known:
                known[place] = says_same(self._one, self._other, mine, their)
            return known[place] or None

        return fits

    def _pair_nearest(self, ours: list[Record], theirs: list[Record]) -> None:
        """Pair each with the one that begins most alike, of those that come next."""
        left = list(ours)
        heads: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        for their in sorted(theirs, key=lambda record: (record.is_silent, record.number)):
            if not left:
                break
            mine = left[0]
            if len(ours) > 1:
                near = left[:_NEAR]
                mine = max(near, key=lambda each: self._likeness(each, their, heads))
            left.remove(mine)
            heads.pop((0, mine.number), None)
            heads.pop((1, their.number), None)
            self._take(mine, their)
            self._pairs.differing.append(their.number)

    def _likeness(
        self, mine: Record, their: Record, heads: dict[tuple[int, int], tuple[bytes, bytes]]
    ) -> tuple[int, bool]:
        pairs = zip(self._heads(0, mine, heads), self._heads(1, their, heads), strict=True)
        return sum(shared_length(one, other) for one, other in pairs), mine.bytes == their.bytes

    def _heads(
        self, which: int, record: Record, heads: dict[tuple[int, int], tuple[bytes, bytes]]
    ) -> tuple[bytes, bytes]:
        place = which, record.number
        if place not in heads:
            half = (self._one, self._other)[which]
            heads[place] = head_of(half, record, CLIENT), head_of(half, record, SERVER)
        return heads[place]


def _end_of(record: Record) -> tuple[bool, ...]:
    """How a connection ended, by what its sides did."""
    return tuple(event != NONE for event in (*record.fins, *record.rsts))
