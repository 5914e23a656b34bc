"""writev on iovecs that somebody has made: whole, short, refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dump.making import length_limit

from netplayground.dump import blocks, vectors
from netplayground.dump.output import Output
from netplayground.errors import DumpError


def iovecs(*pieces: bytes) -> tuple[int, int, object]:
    """Give the address of iovecs of some pieces, how many they are, and what keeps both alive."""
    arrays = [np.frombuffer(piece or b"-", np.uint8) for piece in pieces]
    table = np.array(
        [
            (each.__array_interface__["data"][0], len(piece))
            for each, piece in zip(arrays, pieces, strict=True)
        ],
        np.uintp,
    )
    return table.__array_interface__["data"][0], len(pieces), (arrays, table)


def test_pieces_are_written_and_joined_in_their_order(tmp_path: Path) -> None:
    address, count, _alive = iovecs(b"one", b"", b"two" * 1000, b"three")
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    assert vectors.write(fd, address, count) == 3008
    assert os.pread(fd, 4000, 0) == vectors.join(address, count) == b"one" + b"two" * 1000 + b"three"
    os.close(fd)


def test_what_the_kernel_refuses_is_an_error() -> None:
    address, count, _alive = iovecs(b"one", b"two")
    with open("/dev/full", "wb") as file, pytest.raises(OSError) as caught:
        vectors.write(file.fileno(), address, count)
    assert caught.value.errno == errno.ENOSPC


def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, count, _alive = iovecs(b"one", b"two" * 50, b"three")
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    monkeypatch.setattr(vectors, "write", lambda fd, *_: os.write(fd, b"onetw"))
    out = Output(tmp_path / "file", fd, 0, lambda: 0)
    out.gather_vectors(address, count, 158)
    assert (out.offset, os.pread(fd, 200, 0)) == (158, b"one" + b"two" * 50 + b"three")
    os.close(fd)


def test_a_failed_write_cuts_the_file_back_to_its_last_whole_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, count, _alive = iovecs(b"one", b"two" * 50)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    out = Output(tmp_path / "file", fd, 0, lambda: 0)
    out.gather([b"a block"])
    monkeypatch.setattr(vectors, "write", lambda fd, *_: os.write(fd, b"onetw"))
    monkeypatch.setattr(os, "write", _full)
    with pytest.raises(DumpError, match="No space left"):
        out.gather_vectors(address, count, 153)
    assert os.pread(fd, 200, 0) == b"a block"
    with pytest.raises(DumpError, match="No space left"):
        out.gather([b"more"])
    os.close(fd)


def test_of_a_failed_write_the_blocks_that_are_in_the_file_stay(tmp_path: Path) -> None:
    pieces = [blocks.emit_block(blocks.PACKET, bytes(number)) for number in range(0, 40, 4)]
    address, count, _alive = iovecs(*pieces)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    out = Output(tmp_path / "file", fd, 0, lambda: 0)
    out.gather([pieces[-1]])
    kept = pieces[-1] + b"".join(pieces[:7])
    with length_limit(len(kept) + 30), pytest.raises(DumpError, match="File too large"):
        out.gather_vectors(address, count, sum(map(len, pieces)))
    assert os.pread(fd, 1000, 0) == kept
    os.close(fd)


def _full(fd: int, data: bytes, _write: Callable[[int, bytes], int] = os.write) -> int:
    if data[:5] == b"onetw":
        return _write(fd, data)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
