"""A copy of a dump, taken up where its events end: facts can be added to it, and it gets an index anew.

The copy holds the dump up to where its tail begins, and is marked open. Octets in it may have been replaced
by as many others, in what no index tells of. The pages of the index that stand in the midst of it stay where
they are; those that hold CRC-32s (one each 64 GiB), and the directories that hold theirs, are made anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from netplayground.dump import blocks
from netplayground.dump.index import WINDOW, Entry, emit_entry
from netplayground.dump.ledger import Ledger, next_duty
from netplayground.dump.model import State
from netplayground.dump.opening import find_footer
from netplayground.dump.output import Output
from netplayground.dump.reader import Dump
from netplayground.dump.writer import DumpWriter
from netplayground.errors import DumpError


def copy_whole(dump: Dump, fd: int) -> None:
    """Copy what a dump tells, but for its tail and what is torn, to the beginning of a file, marked open."""
    at = 0
    while at < dump.end:
        sent = os.sendfile(fd, dump.fileno(), at, min(1 << 24, dump.end - at))
        if not sent:
            raise dump.source.damaged(f"it became shorter than {dump.size} bytes", at)
        at += sent
    os.pwrite(fd, blocks.emit_section(blocks.STATE_OPEN, dump.run.version), 0)


def take_up(dump: Dump, path: Path, fd: int, now_ns: int) -> DumpWriter:
    """A writer that goes on behind the last event of the copy at `path`; its close makes the index. It owns
    the descriptor. All that it tells was at `now_ns`. A torn dump is to be closed as it stands."""
    out = Output(path, fd, now_ns, lambda: 0)
    out.offset = os.lseek(fd, dump.end, os.SEEK_SET)
    ledger = Ledger(0, blocks.emit_section(blocks.STATE_COMPLETE, dump.run.version))
    ledger.events.clear(dump.end)
    if dump.state is State.COMPLETE:
        try:
            _take_index(dump, ledger, fd)
        except OSError as error:
            raise DumpError(f"cannot write {path}: {error.strerror}") from error
    writer = DumpWriter(out, ledger, dump.run.version)
    out.due = next_duty(out.offset)
    return writer


def _take_index(dump: Dump, ledger: Ledger, fd: int) -> None:
    totals = dump.totals
    ledger.connection_count, ledger.byte_counts = totals.connections, list(totals.bytes)
    ledger.event_count, ledger.fact_count = totals.events, totals.facts
    ledger.datagram_count = totals.datagrams
    for page in _pages(dump):
        if isinstance(page, int):
            block, _count = ledger.take_directory()
            os.pwrite(fd, block, page)
            ledger.directories.append((page, len(block)))
        elif page.what == blocks.SUM_PAGE:
            ledger.sums.advance(fd, (page.last + 1) * WINDOW)
            block, counts, span = ledger.take_sums()
            os.pwrite(fd, block, page.offset)
            ledger.enter(blocks.SUM_PAGE, page.offset, block, counts, span)
        else:
            ledger.entries.append(emit_entry(page))


def _pages(dump: Dump) -> Iterator[Entry | int]:
    """The pages before the tail in the order of the file, and where directories stand among them."""
    footer, _tail, _at = find_footer(dump.source)
    directories = [offset for offset, _length in footer.directories if offset < dump.end]
    for entry in dump.entries:
        while directories and directories[0] < entry.offset:
            yield directories.pop(0)
        if entry.offset < dump.end:
            yield entry
    yield from directories
