"""Whether a live process says what it said in the recording, byte by byte.

A comparison walks along one side of a record. Where nothing may differ, bytes are compared event by event
with what the file holds (`bytes ==` is memcmp; a memoryview would be compared one by one).

With masks, what was recorded is cut into segments, and what is said is walked along them: literal bytes
must be equal, in place of a masked span its mask must match. Bytes come in any pieces, so a match may be
open: more bytes could change it. All behind an open match is provisional. What is said from the first open
match on is kept, at most 64 KiB and one piece, and walked again with each piece that comes, until the match
is certain. What does not fit behind an open match is in doubt, not yet a mismatch. So the verdict does not
depend on how the bytes were cut; `position` shows the provisional state and, rarely, goes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from netplayground.replay.masks import LOOKBACK, Mask, Segment, segments
from netplayground.replay.streams import TapeStream, begin_alike, next_chunk
from netplayground.replay.tape import NONE, Record, Tape

MOST_MOVED = 1 << 20
"""What a process said is not compared with another record beyond this."""
_CONTEXT = 64


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where a process left the tape: a position in what was recorded, and what it said from there on."""

    position: int
    context: bytes
    is_extra: bool = False
    """It had said all that was recorded."""


class Comparison(Protocol):
    """One side of a record, as far as it was said. What gives a Mismatch changes nothing."""

    @property
    def position(self) -> int:
        """How many recorded bytes are settled as said."""

    @property
    def masked(self) -> int:
        """How many of these stand under a mask of --ignore."""

    @property
    def is_in_doubt(self) -> bool:
        """Whether more bytes could tell otherwise of some that were said."""

    def feed(self, data: memoryview) -> Mismatch | None:
        """Take what the process says now."""

    def finish(self) -> Mismatch | None:
        """Take that it says no more: what was in doubt is decided."""


class PlainComparison:
    """Every byte counts."""

    __slots__ = ("_event", "_into", "_tape", "position")

    masked = 0
    is_in_doubt = False

    def __init__(self, tape: Tape, record: Record, side: int) -> None:
        self._tape = tape
        self._event = next_chunk(tape, record.heads[side])
        self._into = 0
        self.position = 0

    def feed(self, data: memoryview) -> Mismatch | None:
        tape, event, into, at, size = self._tape, self._event, self._into, 0, len(data)
        while at < size:
            if event == NONE:
                return self._mismatch(data, at, is_extra=True)
            length = tape.length[event]
            take = min(length - into, size - at)
            expected = tape.read(tape.offset[event] + into, take)
            said = bytes(data[at : at + take])
            if expected != said:
                return self._mismatch(data, at + shared_length(expected, said))
            at += take
            into += take
            if into == length:
                event, into = next_chunk(tape, tape.succ[event]), 0
        self._event, self._into = event, into
        self.position += size
        return None

    def finish(self) -> Mismatch | None:
        return None

    def skip(self, length: int) -> None:
        """Take `length` bytes as said."""
        tape = self._tape
        self.position += length
        while length:
            take = min(length, tape.length[self._event] - self._into)
            length -= take
            self._into += take
            if self._into == tape.length[self._event]:
                self._event, self._into = next_chunk(tape, tape.succ[self._event]), 0

    def _mismatch(self, data: memoryview, at: int, is_extra: bool = False) -> Mismatch:
        return Mismatch(self.position + at, bytes(data[at : at + _CONTEXT]), is_extra)


class _Place(NamedTuple):
    """A place of a walk along segments and what is said."""

    which: int  # of the segments
    into: int  # bytes into it, for a literal one
    position: int
    masked: int
    at: int  # in what is said

    def behind(self, segment: Segment, at: int) -> _Place:
        """The place behind a masked span."""
        size = len(segment.data)
        counted = 0 if segment.is_address else size
        return _Place(self.which + 1, 0, self.position + size, self.masked + counted, at)


class _Span(NamedTuple):
    """A recorded span and what was said for it."""

    start: int
    end: int
    said: bytes


class MaskedComparison:
    """Every byte counts but those under a mask."""

    __slots__ = ("_ahead", "_said", "_segments", "_settled", "_spans", "_spoken", "masked", "position")

    def __init__(self, tape: Tape, record: Record, side: int, masks: Sequence[Mask]) -> None:
        self._segments = segments(TapeStream(tape, record, side), masks)
        self._ahead: list[Segment] = []  # from the settled place on
        self._said = b""  # from a little before the settled place on
        self._settled = _Place(0, 0, 0, 0, 0)
        self._spans: list[_Span] = []  # before the settled place
        self._spoken = 0  # bytes before the settled place
        self.position = 0
        self.masked = 0

    def feed(self, data: memoryview) -> Mismatch | None:
        return self._walk(b"".join((self._said, data)), is_whole=False)

    def finish(self) -> Mismatch | None:
        return self._walk(self._said, is_whole=True)

    def retell(self, stream: TapeStream) -> Iterator[bytes]:
        """All that was said; the stream is what was recorded of it."""
        position = 0
        for span in self._spans:
            yield from stream.pieces(span.start - position)
            yield span.said
            stream.skip(span.end - span.start)
            position = span.end
        yield from stream.pieces(self._settled.position - position)
        yield self._said[self._settled.at :]

    @property
    def is_in_doubt(self) -> bool:
        return self._settled.at < len(self._said)

    @property
    def spoken(self) -> int:
        """How many bytes were said."""
        return self._spoken + len(self._said) - self._settled.at

    def _walk(self, said: bytes, is_whole: bool) -> Mismatch | None:
        """Walk from the settled place to the end of what is said."""
        here, opened = self._settled, None
        spans: list[_Span] = []
        failed: Mismatch | None = None
        while failed is None and (here.at < len(said) or is_whole):
            segment = self._segment(here.which)
            if segment is None or segment.mask is None:
                if here.at == len(said):
                    break
                here, failed = _literal(segment, here, said)
                continue
            mask = segment.mask.said.get(segment.data, segment.mask)
            end, is_open = mask.measure(said, here.at)
            if is_open and not is_whole and opened is None:
                opened = here
            if end is None:
                if not (is_open and is_whole):  # else bytes are missing
                    failed = _mismatch(here, 0, said)
                break
            if opened is None:
                spans.append(_Span(here.position, here.position + len(segment.data), said[here.at : end]))
            here = here.behind(segment, end)
        if failed is not None:
            if opened is None:
                return failed
            here = opened  # what does not fit behind an open match says that the match will be another
        self.position, self.masked = here.position, here.masked
        self._settle(opened or here, spans, said)
        return None

    def _segment(self, index: int) -> Segment | None:
        if index == len(self._ahead):
            segment = next(self._segments, None)
            if segment is None:
                return None
            self._ahead.append(segment)
        return self._ahead[index]

    def _settle(self, place: _Place, spans: list[_Span], said: bytes) -> None:
        """Let go of what was said, and recorded, before a place that stays."""
        self._spoken += place.at - self._settled.at
        if self._spoken > MOST_MOVED:
            self._spans.clear()
        else:
            self._spans += spans
        del self._ahead[: place.which]
        cut = max(0, place.at - LOOKBACK)
        self._said = said[cut:]
        self._settled = place._replace(which=0, at=place.at - cut)


def _literal(segment: Segment | None, here: _Place, said: bytes) -> tuple[_Place, Mismatch | None]:
    """Walk along literal bytes; without a segment, all was said that was recorded."""
    if segment is None:
        return here, _mismatch(here, 0, said, is_extra=True)
    data = segment.data
    take = min(len(data) - here.into, len(said) - here.at)
    expected = data[here.into : here.into + take]
    if not said.startswith(expected, here.at):
        return here, _mismatch(here, shared_length(expected, said[here.at : here.at + take]), said)
    which, into = here.which, here.into + take
    if into == len(data):
        which, into = which + 1, 0
    return _Place(which, into, here.position + take, here.masked, here.at + take), None


def _mismatch(here: _Place, shared: int, said: bytes, is_extra: bool = False) -> Mismatch:
    at = here.at + shared
    return Mismatch(here.position + shared, said[at : at + _CONTEXT], is_extra)


def shared_length(one: bytes, other: bytes) -> int:
    """How many bytes two strings share at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def new_comparison(tape: Tape, record: Record, side: int, masks: Sequence[Mask]) -> Comparison:
    """A comparison from the record's beginning."""
    if masks or tape.redactions:
        return MaskedComparison(tape, record, side, masks)
    return PlainComparison(tape, record, side)


def moved(
    tape: Tape, masks: Sequence[Mask], comparison: Comparison, record: Record, other_record: Record, side: int
) -> Comparison | None:
    """What was said along a record, compared with another from its beginning; None where it does not fit."""
    if isinstance(comparison, PlainComparison):
        said = comparison.position
        if said > MOST_MOVED or not begin_alike(tape, record, other_record, side, said):
            return None
        plain = PlainComparison(tape, other_record, side)
        plain.skip(said)
        return plain
    assert isinstance(comparison, MaskedComparison)
    if comparison.spoken > MOST_MOVED:
        return None
    fresh = MaskedComparison(tape, other_record, side, masks)
    for said_there in comparison.retell(TapeStream(tape, record, side)):
        if fresh.feed(memoryview(said_there)) is not None:
            return None
    return fresh


def heard_in(
    tape: Tape, masks: Sequence[Mask], record: Record, other_record: Record, side: int, given: int
) -> int | None:
    """The position in another record's stream that equals, after masks, the first `given` bytes of this
    one's; None where they differ."""
    if given > MOST_MOVED:
        return None
    if record is other_record or not given:
        return given
    if not (masks or tape.redactions):
        return given if begin_alike(tape, record, other_record, side, given) else None
    here, there = (segments(TapeStream(tape, entry, side), masks) for entry in (record, other_record))
    return _alike(here, there, given)


def _alike(here: Iterator[Segment], there: Iterator[Segment], given: int) -> int | None:
    """Walk along two recorded streams; how far the second is when the first is at `given`."""
    position = heard = 0
    one = other = _NOTHING
    while position < given:
        one, other = one or next(here, _NOTHING), other or next(there, _NOTHING)
        if not (one and other) or one.mask is not other.mask:
            return None
        size, also = len(one.data), len(other.data)
        # In the middle of a span only equal bytes tell how much of the other one was heard.
        if one.mask is None or one.is_address or position + size > given:
            size = also = min(size, also, given - position)
            if one.data[:size] != other.data[:size]:
                return None
        position, heard = position + size, heard + also
        one, other = one.behind(size), other.behind(also)
    return heard


_NOTHING = Segment(b"", None)
