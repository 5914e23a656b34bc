"""What a replay, `show` and `check` need of a recording, and how a file of either format is opened as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from netplayground.dump.model import Connection, Datagram, Event, Fact, Process, RunHeader, State, Totals
from netplayground.dump.reader import Dump
from netplayground.dump.source import Source
from netplayground.dump.tunreplay import LINE_MOST, TunReplayDump, is_tunreplay


class Recording(Protocol):
    """An open recording: a dump of this program or of the original one."""

    @property
    def path(self) -> Path: ...

    @property
    def size(self) -> int: ...

    @property
    def state(self) -> State: ...

    @property
    def run(self) -> RunHeader: ...

    @property
    def processes(self) -> Sequence[Process]: ...

    @property
    def connections(self) -> Sequence[Connection]: ...

    @property
    def totals(self) -> Totals: ...

    @property
    def ended_ns(self) -> int | None:
        """When the run ended; None in a torn recording."""

    @property
    def missing(self) -> str:
        """What a torn recording lacks; nothing of a whole one."""

    @property
    def ambiguous(self) -> str:
        """Which connections may have another's bytes, because their recorder did not tell them apart."""

    def events(self, connection_id: int) -> Iterator[Event]: ...

    def all_events(self) -> Iterator[tuple[int, Event]]: ...

    def in_order(self) -> Iterator[tuple[int, Event] | Datagram]: ...

    def datagrams(self) -> Iterator[Datagram]: ...

    def fileno(self) -> int:
        """The descriptor of the file, from which payload can be sent (sendfile(2))."""

    def payload(self, event: Event | Datagram) -> bytes: ...

    def read(self, offset: int, length: int) -> bytes: ...

    def facts(self) -> Iterator[Fact]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Recording: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_recording(path: Path) -> Dump | TunReplayDump:
    """Open a file with the reader for which its first bytes are; it must be closed.

    NotADumpError if there is none, DamagedDumpError if it is not what was written.
    """
    source = Source(path)
    try:
        if is_tunreplay(source.read_some(0, LINE_MOST)):
            return TunReplayDump(source)
        return Dump(source)
    except BaseException:
        source.close()
        raise
