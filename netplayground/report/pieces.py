"""What one side of a connection said, where it lies in a dump: searched as one stream, replaced in a copy."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

from netplayground.dump.reader import Dump
from netplayground.replay.masks import Mask, parse_masks, segments
from netplayground.replay.redaction import Span

FILL = b"x"
_PACKED = parse_masks([rb"\x1f\x8b\x08", rb"\x28\xb5\x2f\xfd"])
"""How gzip (RFC 1952) and Zstandard (RFC 8878) begin."""
PACKED_PASSES = len(_PACKED)
_TLS = b"\x16\x03"
"""How a handshake of TLS begins (RFC 8446, 5.1)."""


class Pieces:
    """What one side of a connection said: where in the file its pieces lie."""

    __slots__ = ("_at", "_dump", "_offsets", "_on_read", "_starts", "length")

    redacted: Sequence[Span] = ()

    def __init__(self, dump: Dump, on_read: Callable[[int], None] = lambda length: None) -> None:
        """`on_read` is told how much is read."""
        self._dump = dump
        self._on_read = on_read
        self._offsets = array("Q")
        self._starts = array("Q")  # of each piece, in the stream
        self.length = 0
        self._at = 0

    def add(self, offset: int, length: int) -> None:
        """The next piece."""
        self._offsets.append(offset)
        self._starts.append(self.length)
        self.length += length

    def spans_of(self, mask: Mask) -> Iterator[Span]:
        """Where a pattern matches."""
        self._at = position = 0
        for segment in segments(self, (mask,)):
            if segment.mask is not None:
                yield position, position + len(segment.data)
            position += len(segment.data)

    def read_exactly(self, length: int) -> bytes:
        """Give the next `length` bytes, fewer only at the end."""
        start, self._at = self._at, min(self._at + length, self.length)
        self._on_read(self._at - start)
        return b"".join(self._dump.read(offset, size) for offset, size in self._places((start, self._at)))

    def fill(self, fd: int, span: Span) -> None:
        """Replace these bytes in a copy."""
        for offset, size in self._places(span):
            os.pwrite(fd, FILL * size, offset)

    def _places(self, span: Span) -> Iterator[tuple[int, int]]:
        start, end = span
        piece = bisect_right(self._starts, start) - 1
        while start < end:
            begin = self._starts[piece]
            after = self._starts[piece + 1] if piece + 1 < len(self._starts) else self.length
            size = min(end, after) - start
            yield self._offsets[piece] + start - begin, size
            start, piece = start + size, piece + 1

    def is_unreadable(self) -> bool:
        """Whether something in it is packed or encrypted, as far as that can be seen: no pattern finds it."""
        self._at = 0
        if self.read_exactly(len(_TLS)) == _TLS:
            return True
        return any(next(self.spans_of(mask), None) is not None for mask in _PACKED)
