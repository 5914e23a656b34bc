"""The file being written: a buffer, the end of the file, and what happens when a write fails.

Blocks are packed straight into `buffer` from `fill` on. `commit(end)` writes it out; `offset` is the file
offset of the buffer's first octet and, between two calls, always the end of a whole block. What fails is cut
back to there, so that the file stays readable; after that every write raises the same error again.

This is the hot path: `ConnectionWriter` uses the attributes as they are, and nothing is allocated a chunk but
what the kernel call needs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from netplayground.dump import blocks
from netplayground.errors import DumpError

CAPACITY = 1 << 17

View = bytes | memoryview


class Output:
    """The end of one dump file."""

    __slots__ = (
        "_writable",
        "buffer",
        "due",
        "epoch",
        "failure",
        "fd",
        "fill",
        "monotonic",
        "offset",
        "on_due",
        "path",
        "view",
    )

    def __init__(self, path: Path, fd: int, wall_ns: int, monotonic_ns: Callable[[], int]) -> None:
        self.path = path
        self.fd = fd
        self._writable = fd
        self.epoch = wall_ns - monotonic_ns()
        self.monotonic = monotonic_ns
        self.buffer = bytearray(CAPACITY)
        self.view = memoryview(self.buffer)
        self.fill = 0
        self.offset = 0
        self.due = 1 << 62
        self.on_due: Callable[[], None] = lambda: None
        self.failure: str | None = None

    def now(self) -> int:
        """Nanoseconds since the epoch, which never run backwards."""
        return self.epoch + self.monotonic()

    @property
    def end(self) -> int:
        """Where the next block will begin in the file."""
        return self.offset + self.fill

    def place(self, length: int) -> int:
        """Make room for a block of `length` octets; give where in the file it will begin."""
        if self.fill and self.fill + length > CAPACITY:
            self.commit(self.fill)
        return self.offset + self.fill

    def append(self, block: View) -> None:
        """Put a block, for which `place` made room, behind what waits; it goes out with the next commit."""
        if len(block) > CAPACITY:
            self.gather([block])
            return
        end = self.fill + len(block)
        self.buffer[self.fill : end] = block
        self.fill = end

    def commit(self, end: int) -> None:
        """Write the buffer's first `end` octets, whole blocks."""
        try:
            written = os.write(self._writable, self.view[:end])
            if written != end:
                self._write_rest([self.view[:end]], written)
        except OSError as error:
            self.fail(error)
        self.offset += end
        self.fill = 0
        if self.offset >= self.due:
            self.on_due()

    def gather(self, pieces: Sequence[View]) -> None:
        """Write pieces that together are whole blocks, the buffer's part of them among the pieces."""
        length = sum(map(len, pieces))
        try:
            written = os.writev(self._writable, pieces)
            if written != length:
                self._write_rest(pieces, written)
        except OSError as error:
            self.fail(error)
        self.offset += length
        self.fill = 0
        if self.offset >= self.due:
            self.on_due()

    def gather_vectors(self, address: int, count: int, length: int) -> None:
        """Write the `length` octets that iovecs name, whole blocks, while nothing waits in the buffer."""
        from netplayground.dump import vectors  # ctypes: only who reads captures needs it

        try:
            written = vectors.write(self._writable, address, count)
            if written != length:
                self._write_rest([vectors.join(address, count)], written)
        except OSError as error:
            self._keep_whole_blocks()
            self.fail(error)
        self.offset += length
        if self.offset >= self.due:
            self.on_due()

    def _write_rest(self, pieces: Sequence[View], written: int) -> None:
        """Go on after a short write, which is how a full disk or a limit announces itself."""
        rest = memoryview(b"".join(pieces))[written:]
        while rest:
            rest = rest[os.write(self._writable, rest) :]

    def _keep_whole_blocks(self) -> None:
        """Of a failed write keep the blocks that are in the file: where it was not of one chunk, but of
        thousands that were said long ago."""
        with contextlib.suppress(OSError):
            size = os.fstat(self.fd).st_size
            while len(head := os.pread(self.fd, blocks.WORDS.size, self.offset)) == blocks.WORDS.size:
                _kind, length = blocks.WORDS.unpack(head)
                if length < blocks.LEAST or self.offset + length > size:
                    return
                self.offset += length

    def fail(self, error: OSError) -> NoReturn:
        """Cut the file back to its last whole block and write no more; the descriptor stays good for
        reading."""
        if self.failure is None:
            self.failure = f"cannot write {self.path}: {error.strerror}"
            self._writable = -1
            # The cut is for the reader's comfort: what cannot be cut is recognised as torn all the same.
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, self.offset)
        raise DumpError(self.failure) from error
