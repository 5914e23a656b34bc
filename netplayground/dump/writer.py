"""The writer of a dump: opens and locks the file, tells the run's facts, hands out connections, writes the
index.

A dump is *open* from its first block on and rewritten as *complete* at the very end, after the index.
Whatever ends the writer before that leaves a torn dump, every whole block of which can be read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from netplayground.dump import blocks
from netplayground.dump.connection import ConnectionWriter
from netplayground.dump.datagram import DatagramWriter
from netplayground.dump.index import FACT_BIT, NO_CONNECTION, Footer, emit_footer
from netplayground.dump.ledger import Ledger, next_duty
from netplayground.dump.model import Ending, RunHeader
from netplayground.dump.output import Output
from netplayground.dump.segments import Tuple
from netplayground.errors import DumpError

if TYPE_CHECKING:
    from netplayground.dump.bulk import Pieces

_NEVER = 1 << 62
_COPY_MOST = 1 << 14
"""Up to here copying costs less than a call of the kernel."""
_JOIN_MOST = 32
"""… and so do so many blocks, of which each is three pieces."""
SPAN_MOST = 511
"""Blocks of which each is two iovecs, and the end of the last: Linux takes 1,024 at once (UIO_MAXIOV)."""
_FIRST_SEQUENCE = 0x10000000


@dataclass(frozen=True, slots=True)
class Written:
    """Connections, how many of them ended how, the bytes that (clients, servers) said; datagrams."""

    connections: int
    endings: Mapping[Ending, int]
    bytes: tuple[int, int]
    datagrams: int


class DumpWriter:
    """One dump that is being written; `close` must be called, whatever happened."""

    def __init__(self, out: Output, ledger: Ledger, version: str) -> None:
        self._out = out
        self._ledger = ledger
        self._version = version
        self._has_name = os.fstat(out.fd).st_nlink > 0  # a file of O_TMPFILE never had one
        self._closed = False
        out.due = next_duty(out.offset)
        out.on_due = self._on_due

    @classmethod
    def create(
        cls,
        path: Path,
        run: RunHeader,
        wall_ns: int,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        first_sequence: int = _FIRST_SEQUENCE,
        fd: int | None = None,
    ) -> DumpWriter:
        """Replace `path` by a dump of `run` that begins now, at `wall_ns`; readable by its owner alone, and
        locked. With `fd` that empty file becomes the dump, and `path` is only its name in errors."""
        try:
            opening = blocks.emit_opening(run, wall_ns)
        except ValueError as error:
            raise _cannot_write(path, str(error)) from error
        fd, is_new = _open_locked(path) if fd is None else (os.dup(fd), False)
        out = Output(path, fd, wall_ns, monotonic_ns)
        try:
            _prepare(path, fd)
            out.gather([opening])
        except DumpError:
            os.close(fd)
            if is_new:
                path.unlink(missing_ok=True)
            raise
        ledger = Ledger(first_sequence, blocks.emit_section(blocks.STATE_COMPLETE, run.version))
        ledger.events.clear(out.offset)
        return cls(out, ledger, run.version)

    @property
    def bytes_written(self) -> int:
        """How long the file is, what waits to be flushed included."""
        return self._out.end

    @property
    def totals(self) -> Written:
        """What has been written; the bytes are those of connections that are over, of all of them after
        `close`."""
        ledger = self._ledger
        client, server = ledger.byte_counts
        return Written(
            ledger.connection_count, Counter(ledger.endings), (client, server), ledger.datagram_count
        )

    @property
    def byte_counts(self) -> tuple[int, int]:
        """What each side has said so far, on connections that are open, too: not for each chunk to ask."""
        counts = [connection.byte_counts() for connection in self._ledger.open_connections.values()]
        client, server = self._ledger.byte_counts
        return client + sum(said for said, _ in counts), server + sum(said for _, said in counts)

    def fileno(self) -> int:
        """The file's descriptor, good for reading what was written."""
        return self._out.fd

    def connection(
        self, family: int, client_addr: bytes, client_port: int, server_addr: bytes, server_port: int
    ) -> ConnectionWriter:
        """Give the writer of one connection, whose `syn` comes next."""
        assert len(client_addr) == len(server_addr) in (4, 16), (family, client_addr, server_addr)
        ends = Tuple(client_addr, client_port, server_addr, server_port)
        return ConnectionWriter(self._out, self._ledger, ends)

    def datagrams(self) -> DatagramWriter:
        """Give the writer of what belongs to no connection; one is enough."""
        return DatagramWriter(self._out, self._ledger)

    def fact(self, kind: str, **fields: object) -> None:
        """Tell what no packet can tell."""
        block = blocks.emit_fact(kind, self._out.now(), fields)
        self._ledger.log(NO_CONNECTION | FACT_BIT, self._out.place(len(block)))
        self._out.append(block)

    def reserve(self, count: int) -> tuple[int, int, int]:
        """Give so many connections their ids and sequence numbers (see `Ledger.reserve`)."""
        return self._ledger.reserve(count)

    def closed(self, ids: list[int], records: bytes, byte_counts: tuple[int, int]) -> None:
        """Many connections that somebody has packed have been closed in order."""
        self._ledger.finish_closed(ids, records, byte_counts)

    def span(self, pieces: Pieces, first: int, last: int) -> int:
        """Write some of the blocks that somebody has packed; give where in the file the first of them
        begins. At most SPAN_MOST at a time."""
        assert last - first <= SPAN_MOST, "more than may go between two looks at the pages"
        out, length = self._out, pieces.size(first, last)
        is_small = length <= _COPY_MOST and last - first <= _JOIN_MOST
        while out.fill and not is_small:
            # Where this makes a page due, the page waits then.
            out.commit(out.fill)
        position = out.place(length) if is_small else out.offset
        pieces.log(self._ledger.events, first, last, position)
        if is_small:
            out.append(pieces.join(first, last))
        else:
            out.gather_vectors(*pieces.vectors(first, last), length)
        return position

    def flush(self) -> None:
        """Write what waits in the buffer."""
        if self._out.fill:
            self._out.commit(self._out.fill)

    def close(self, complete: bool = True) -> None:
        """End the file: with an index and marked complete, or as it stands; calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            # After a failed write there is nothing that could be completed; who wrote has been told.
            if self._out.failure is None:
                self.flush()
                if complete:
                    self._complete()
        finally:
            self._out.on_due = lambda: None
            os.close(self._out.fd)

    def _on_due(self) -> None:
        self._out.due = _NEVER
        try:
            self._look_at_file()
            self._ledger.turn_pages(self._out)
        except OSError as error:
            self._out.fail(error)
        self._out.due = next_duty(self._out.offset)

    def _complete(self) -> None:
        """Write all of the index, then say in the first block that it is there."""
        out, ledger = self._out, self._ledger
        out.due = _NEVER
        ledger.finish_open(out.offset)
        try:
            ledger.turn_pages(out, last=True)
            self.flush()
            ledger.sums.finish(out.fd, out.offset)
            out.gather([self._tail()])
            self._look_at_file()
            os.pwrite(out.fd, blocks.emit_section(blocks.STATE_COMPLETE, self._version), 0)
        except OSError as error:
            out.fail(error)

    def _look_at_file(self) -> None:
        """Raise OSError if another program has emptied, cut off or deleted the file.

        Writing goes on at the old offset after that, with a hole before it, so that nothing else would tell.
        """
        status = os.fstat(self._out.fd)
        if status.st_nlink == 0 and self._has_name:
            raise OSError(errno.EIO, "it was deleted while it was written")
        first = blocks.emit_section(blocks.STATE_OPEN, self._version)
        if status.st_size != self._out.offset or os.pread(self._out.fd, len(first), 0) != first:
            raise OSError(errno.EIO, "another program changed it while it was written")

    def _tail(self) -> bytes:
        """Give the last sum page, the last directory and the footer."""
        out, ledger = self._out, self._ledger
        start = out.offset
        page, counts, span = ledger.take_sums()
        ledger.enter(blocks.SUM_PAGE, start, page, counts, span)
        directory, _count = ledger.take_directory()
        ledger.directories.append((start + len(page), len(directory)))
        footer = Footer(
            tail=start,
            ended_ns=out.now(),
            connections=ledger.connection_count,
            events=ledger.event_count,
            facts=ledger.fact_count,
            datagrams=ledger.datagram_count,
            client_bytes=ledger.byte_counts[0],
            server_bytes=ledger.byte_counts[1],
            directories=tuple(ledger.directories),
        )
        return page + directory + emit_footer(footer, page + directory)


def check_writable(path: Path) -> None:
    """Raise the DumpError that `create` would, as far as that can be told without changing anything."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        _check_directory(path)
        return
    except OSError as error:
        raise _cannot_write(path, error.strerror) from error
    try:
        _check_regular(path, fd)
        _lock(path, fd)
    finally:
        os.close(fd)


def _check_directory(path: Path) -> None:
    # Through a dangling symbolic link the file would be made where the link points to.
    directory = Path(os.path.realpath(path)).parent
    try:
        if not stat.S_ISDIR(os.stat(directory).st_mode):
            raise _cannot_write(path, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise _cannot_write(path, error.strerror) from error
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
        raise _cannot_write(path, os.strerror(errno.EROFS if read_only else errno.EACCES))


def _open_locked(path: Path) -> tuple[int, bool]:
    """Open the file for reading and writing, changing nothing in it; say whether it was made by this."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        try:
            fd, is_new = os.open(path, flags), False
        except FileNotFoundError:
            fd, is_new = os.open(path, flags | os.O_CREAT, 0o600), True
    except OSError as error:
        raise _cannot_write(path, error.strerror) from error
    try:
        _check_regular(path, fd)
        _lock(path, fd)
    except DumpError:
        os.close(fd)
        raise
    return fd, is_new


def _prepare(path: Path, fd: int) -> None:
    try:
        os.fchmod(fd, 0o600)
        # ext4 writes a file that was ever cut to nothing back to the disk when it is closed: half a second a
        # GiB.
        if os.fstat(fd).st_size:
            os.ftruncate(fd, 0)
    except OSError as error:
        raise _cannot_write(path, error.strerror) from error


def _check_regular(path: Path, fd: int) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise _cannot_write(path, "not a regular file")


def _lock(path: Path, fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _cannot_write(path, "another run is writing it") from error
    except OSError as error:
        raise _cannot_write(path, error.strerror) from error


def _cannot_write(path: Path, cause: str | None) -> DumpError:
    return DumpError(f"cannot write {path}: {cause}")
