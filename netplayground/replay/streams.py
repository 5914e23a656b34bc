"""One side of a record as a stream of bytes, read in order from the tape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netplayground.replay.redaction import Span
from netplayground.replay.tape import CHUNK, NONE, Record, Tape

PIECE = 1 << 16


class TapeStream:
    """Reads what one side of a record said, from its beginning."""

    __slots__ = ("_event", "_into", "_tape", "redacted")

    def __init__(self, tape: Tape, record: Record, side: int) -> None:
        self._tape = tape
        self._event = next_chunk(tape, record.heads[side])
        self._into = 0
        self.redacted: Sequence[Span] = tape.redactions.streams.get((record.identity, side), ())

    def read(self, most: int) -> bytes:
        """Give up to `most` bytes, none only at the end; never more than what one event holds."""
        tape, event = self._tape, self._event
        if event == NONE:
            return b""
        take = min(most, tape.length[event] - self._into)
        data = tape.read(tape.offset[event] + self._into, take)
        self._go_on(take)
        return data

    def read_exactly(self, length: int) -> bytes:
        """Give `length` bytes, fewer only at the end."""
        return b"".join(self.pieces(length))

    def pieces(self, length: int) -> Iterator[bytes]:
        """Give `length` bytes, fewer only at the end, as they come."""
        while length > 0 and (part := self.read(min(length, PIECE))):
            yield part
            length -= len(part)

    def skip(self, length: int) -> None:
        """Go on without reading."""
        while length > 0 and self._event != NONE:
            take = min(length, self._tape.length[self._event] - self._into)
            length -= take
            self._go_on(take)

    def _go_on(self, take: int) -> None:
        self._into += take
        if self._into == self._tape.length[self._event]:
            self._event, self._into = next_chunk(self._tape, self._tape.succ[self._event]), 0


def next_chunk(tape: Tape, event: int) -> int:
    """Give the first event from `event` on, of its side, that has bytes."""
    while event != NONE and (tape.code[event] & ~1 != CHUNK or not tape.length[event]):
        event = tape.succ[event]
    return event


def window_of(tape: Tape, record: Record, side: int, start: int, length: int) -> bytes:
    """Give bytes of a stream by position, for showing."""
    stream = TapeStream(tape, record, side)
    stream.skip(start)
    return stream.read_exactly(length)


def begin_alike(tape: Tape, one: Record, other: Record, side: int, length: int) -> bool:
    """Whether two records' streams begin with the same `length` bytes."""
    if min(one.bytes[side], other.bytes[side]) < length:
        return False
    if one is other:
        return True
    left, right = TapeStream(tape, one, side), TapeStream(tape, other, side)
    # Most that differ do so at once: no more is read then than tells it.
    piece = 256
    while length:
        data = left.read(min(length, piece))
        if data != right.read_exactly(len(data)):
            return False
        length -= len(data)
        piece = min(2 * piece, PIECE)
    return True
