"""CRC-32 of every MiB of a file that is being written, taken from the page cache.

The windows are read back, not summed on the way in: a window of small chunks costs sixteen calls instead of
thousands, and what is summed is what the file holds. They are read, not mapped: a file that another program
cuts off is then a short read, and not SIGBUS.
"""

from __future__ import annotations

import os
from array import array

from netplayground.dump.crc import crc32
from netplayground.dump.index import WINDOW

_PIECE = 1 << 16
"""What is read at once: the copy is still in the processor's cache when it is summed."""


class Sums:
    """The CRC-32s that are not yet in a page; `done` is up to where the file is covered."""

    __slots__ = ("_buffer", "_first", "_view", "done", "values")

    def __init__(self, first: bytes) -> None:
        """`first` stands for the octets at the file's start, which will be rewritten as these."""
        self.done = 0
        self.values = array("I")
        self._first = first
        self._buffer = bytearray(_PIECE)
        self._view = memoryview(self._buffer)

    def advance(self, fd: int, end: int) -> None:
        """Cover the whole windows before `end`."""
        while self.done + WINDOW <= end:
            self._cover(fd, WINDOW)

    def finish(self, fd: int, end: int) -> None:
        """Cover everything before `end`, the last window being what is left."""
        self.advance(fd, end)
        if self.done < end:
            self._cover(fd, end - self.done)

    def _cover(self, fd: int, length: int) -> None:
        at, end, crc = self.done, self.done + length, 0
        if at == 0:
            at, crc = len(self._first), crc32(self._first)
        while at < end:
            got = os.preadv(fd, [self._view[: min(_PIECE, end - at)]], at)
            if got == 0:
                raise OSError(0, "it became shorter while it was written")
            crc = crc32(self._view[:got], crc)
            at += got
        self.values.append(crc)
        self.done = end
