"""A dump's octets as a reader has them: read by offset, never believed, never held."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from netplayground.dump import blocks
from netplayground.dump.crc import crc32
from netplayground.dump.index import Entry
from netplayground.errors import DamagedDumpError, DumpError, NotADumpError

HEAD_MOST = 192
"""Of each block this many octets, if it has them, stand in the walk's buffer: the longest headers are 132."""
_READ = 1 << 20


class Source:
    """An open dump file; its size is that at the opening: what another process still writes is not seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise DumpError(f"cannot open {path}: {error.strerror}") from error
        status = os.fstat(self.fd)
        self.size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise NotADumpError(f"cannot read {path}: not a regular file")

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read(self, offset: int, length: int) -> bytes:
        """Give exactly `length` octets; what lies beyond the file's end is damage, and no memory is taken for
        it."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise self.damaged(
                f"{length} bytes at {offset} lie beyond its end at {self.size}", min(offset, self.size)
            )
        data = self.read_some(offset, length)
        if len(data) != length:
            raise self.damaged(f"it became shorter than {self.size} bytes", offset + len(data))
        return data

    def read_some(self, offset: int, length: int) -> bytes:
        """Give up to `length` octets, fewer only at the end of the file."""
        if offset >= self.size:
            return b""
        try:
            return os.pread(self.fd, min(length, self.size - offset), offset)
        except OSError as error:
            raise DumpError(f"cannot read {self.path}: {error.strerror}") from error

    def read_over(self, view: memoryview, offset: int) -> None:
        """Fill `view` from an offset of the file on."""
        try:
            size = os.preadv(self.fd, [view], offset)
        except OSError as error:
            raise DumpError(f"cannot read {self.path}: {error.strerror}") from error
        if size != len(view):
            raise self.damaged(f"it became shorter than {self.size} bytes", offset + size)

    def read_block(self, offset: int, length: int, what: bytes) -> bytes:
        """Give the custom block that the index says is there."""
        if not blocks.CUSTOM_HEADER + 4 <= length <= blocks.MOST:
            raise self.damaged(f"a block of {length} bytes", offset)
        data = self.read(offset, length)
        if data[:16] != blocks.emit_custom_header(what, length) or data[-4:] != data[4:8]:
            raise self.damaged(f"no {what.decode('latin-1')} block where the index has one", offset)
        return data

    def read_page(self, entry: Entry) -> bytes:
        """Give what is in a page of the index, if it is what was written."""
        block = self.read_block(entry.offset, entry.length, entry.what)
        if crc32(block) != entry.crc:
            raise self.damaged("the CRC-32 of a page of the index is wrong", entry.offset)
        return block[blocks.CUSTOM_HEADER : -4]

    def damaged(self, cause: str, offset: int) -> DamagedDumpError:
        """Give the error that says what is wrong with the file, and where."""
        return DamagedDumpError(f"cannot read {self.path}: damaged at byte {offset}: {cause}", offset)


class Walk:
    """The blocks from one offset on, one after the other, as long as they are whole.

    For each block it yields (offset, kind, length, place): the block's first octets stand in `buffer` at
    `place`, up to HEAD_MOST of them. After the last, `offset` is where it stopped: `end`, or the block that
    is not whole, and then `broken` says why.
    """

    def __init__(
        self, source: Source, start: int, end: int, before: Callable[[int], None] | None = None
    ) -> None:
        """`before` is called with the offset up to which the walk is about to read."""
        self.buffer = b""
        self.offset = start
        self.broken = ""
        self._source = source
        self._end = end
        self._before = before

    def __iter__(self) -> Iterator[tuple[int, int, int, int]]:
        while self.offset < self._end and not self.broken:
            window = min(_READ, self._end - self.offset)
            if self._before:
                self._before(self.offset + window)
            self.buffer = self._source.read_some(self.offset, window)
            if len(self.buffer) < window:
                self.broken = "the file became shorter"
                return
            yield from self._whole_blocks(self.offset, self.offset + window == self._end)

    def _whole_blocks(self, base: int, is_last: bool) -> Iterator[tuple[int, int, int, int]]:
        """Yield the blocks that begin in the buffer, at least one; the next window begins where they end."""
        buffer, place = self.buffer, 0
        room = len(buffer) - (0 if is_last else HEAD_MOST)
        unpack = blocks.WORDS.unpack_from
        while place < room:
            if place + blocks.LEAST > len(buffer):
                self.broken = "it is cut off"
                return
            kind, length = unpack(buffer, place)
            after = place + length
            if length < blocks.LEAST or length > blocks.MOST or length & 3:
                self.broken = f"a block of {length} bytes cannot be"
                return
            is_here = after <= len(buffer)
            trailer = buffer[after - 4 : after] if is_here else self._far_trailer(base + after)
            if trailer != buffer[place + 4 : place + 8]:
                self.broken = self.broken or "a block's two lengths disagree"
                return
            yield base + place, kind, length, place
            self.offset = base + after
            place = after

    def _far_trailer(self, after: int) -> bytes:
        if after > self._end:
            self.broken = "it is cut off"
            return b""
        return self._source.read_some(after - 4, 4)
