"""The octets of a capture file: as they are, or what gzip or zstd has packed.

`read_into` fills a buffer as far as there is anything. A packed file that was cut off gives what can be
unpacked of it; that it was cut is said by `is_cut`.
"""

from __future__ import annotations

import os
import stat
import sys
import zlib
from pathlib import Path
from typing import Any

from netplayground.errors import CaptureError

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPED = b"\x2a\x4d\x18"
_HEAD = 4
_PIECE = 1 << 16


class Octets:
    """A plain file; `position` is how much of it has been read, `size` its length (0: nobody knows)."""

    is_packed = False

    def __init__(self, path: Path, fd: int, head: bytes) -> None:
        """`head` was read already, to see what it is: it may be a pipe, which cannot be opened twice."""
        self.path = path
        self.position = len(head)
        self.is_cut = False
        self._fd = fd
        self._head = head
        status = os.fstat(fd)
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def read_into(self, view: memoryview) -> int:
        """Fill `view`, or as much of it as there is; give how much that was."""
        done = 0
        while done < len(view):
            got = self._read_some(view[done:])
            if not got:
                break
            done += got
        return done

    def _read_some(self, view: memoryview) -> int:
        if self._head:
            piece = self._head[: len(view)]
            view[: len(piece)] = piece
            self._head = self._head[len(piece) :]
            return len(piece)
        try:
            got = os.readv(self._fd, [view])
        except OSError as error:
            raise _refused(self.path, error) from error
        self.position += got
        return got


class _Gunzipped(Octets):
    """What is in a gzip file, in each of its members (RFC 1952, 2.2)."""

    is_packed = True

    def __init__(self, path: Path, fd: int, head: bytes) -> None:
        super().__init__(path, fd, head)
        self._packed = b""
        self._inflate = zlib.decompressobj(31)
        self._began = False
        self._buffer = bytearray(_PIECE)

    def _read_some(self, view: memoryview) -> int:
        while True:
            if not self._packed:
                got = super()._read_some(memoryview(self._buffer))
                self._packed = bytes(self._buffer[:got])
            if not self._packed:
                self.is_cut = self._began
                return 0
            if not self._began:
                # Zeros may fill a member up to a tape's block: gzip ignores them too.
                self._packed = self._packed.lstrip(b"\0")
                if not self._packed:
                    continue
            piece = self._inflate_some(len(view))
            if piece:
                view[: len(piece)] = piece
                return len(piece)

    def _inflate_some(self, most: int) -> bytes:
        self._began = True
        try:
            piece = self._inflate.decompress(self._packed, most)
        except zlib.error as error:
            raise CaptureError(f"cannot read {self.path}: {error}") from error
        self._packed = self._inflate.unconsumed_tail
        if self._inflate.eof:
            self._packed = self._inflate.unused_data
            self._inflate = zlib.decompressobj(31)
            self._began = False
        return piece


class _Unzstd(Octets):
    """What is in a zstd file, in each of its frames."""

    is_packed = True

    def __init__(self, path: Path, fd: int, head: bytes) -> None:
        super().__init__(path, fd, head)
        try:
            import zstandard
        except ImportError as error:
            raise CaptureError(
                f"cannot read {path}: it is packed with zstd, and the Python package zstandard is not "
                "installed (pip install 'netplayground[capture]')"
            ) from error
        self._error: type[Exception] = zstandard.ZstdError
        unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        packed: Any = _Packed(self)
        self._reader = unpacker.stream_reader(packed, read_size=_PIECE, read_across_frames=True)

    def read_packed(self, length: int) -> bytes:
        """Give octets as they are in the file."""
        buffer = bytearray(length)
        return bytes(buffer[: super()._read_some(memoryview(buffer))])

    def _read_some(self, view: memoryview) -> int:
        try:
            return int(self._reader.readinto(view))
        except self._error as error:
            raise CaptureError(f"cannot read {self.path}: {error}") from error


class _Packed:
    """The file as what unpacks it wants to read it."""

    def __init__(self, source: _Unzstd) -> None:
        self._source = source

    def read(self, length: int) -> bytes:
        return self._source.read_packed(length)


def open_octets(path: Path) -> Octets:
    """Open a capture file, or stdin for `-`; it must be closed."""
    try:
        fd = _open(path)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        head = _peek(fd)
        kind = _Gunzipped if head.startswith(_GZIP) else _Unzstd if _is_zstd(head) else Octets
        return kind(path, fd, head)
    except OSError as error:
        os.close(fd)
        raise _refused(path, error) from error
    except BaseException:
        os.close(fd)
        raise


def _open(path: Path) -> int:
    if str(path) != "-":
        return os.open(path, os.O_RDONLY)
    if sys.stdin is None:
        raise CaptureError("cannot read -: stdin is closed")
    return os.dup(sys.stdin.fileno())


def _peek(fd: int) -> bytes:
    head = b""
    while len(head) < _HEAD and (more := os.read(fd, _HEAD - len(head))):
        head += more
    return head


def _is_zstd(head: bytes) -> bool:
    """Say whether a frame begins so: of what is packed, or of what is to be skipped (RFC 8878, 3.1)."""
    return head == _ZSTD or (head[1:] == _SKIPPED and head[0] >> 4 == 5)


def _refused(path: Path, error: OSError) -> CaptureError:
    return CaptureError(f"cannot read {path}: {error.strerror}")
