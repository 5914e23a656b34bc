"""What a dump holds, as values: read when asked for, never all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from netplayground.dump.model import SIDES, Connection, Event, EventKind, Fact, Process, Totals
from netplayground.dump.model import Datagram as Place
from netplayground.dump.recording import Recording
from netplayground.errors import UsageError
from netplayground.session.endings import endings_of
from netplayground.session.outcome import ProcessOutcome
from netplayground.session.playable import open_playable

Side = Literal["client", "server"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that one side of a connection said at once, at most some MiB; `time_ns` counts since 1970."""

    connection: int
    side: Side
    time_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram, with its payload: what comes after UDP's header, else after IP's. The rest is in `place`,
    addresses, ports and names among it."""

    place: Place
    data: bytes


@dataclass(frozen=True, slots=True)
class Conversation:
    """One connection and all that was said on it: by the client, `sent`, and by the server, `received`."""

    connection: Connection
    sent: bytes
    received: bytes

    @property
    def client(self) -> str | None:
        """The process that opened it; None where it is none of the run's."""
        return self.connection.client_process

    @property
    def server(self) -> str | None:
        """The process that accepted it, or should have."""
        return self.connection.server_process

    @property
    def port(self) -> int:
        """The server's."""
        return self.connection.server.port


class Dump:
    """An open dump; a context manager, or `close` it. Whatever is damaged raises DamagedDumpError when it is
    read."""

    def __init__(self, recording: Recording, path: Path, stack: ExitStack) -> None:
        self._recording = recording
        self._stack = stack
        self.path = path

    def __enter__(self) -> Dump:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; a second time it does nothing."""
        self._stack.close()

    @property
    def is_complete(self) -> bool:
        """Whether the run came to its orderly end; if not, `missing` says what is not there."""
        return not self._recording.missing

    @property
    def missing(self) -> str:
        """What a torn dump lacks; nothing where it is complete."""
        return self._recording.missing

    @property
    def started_ns(self) -> int:
        """When the run began, in nanoseconds since 1970."""
        return self._recording.run.started_ns

    @property
    def ended_ns(self) -> int | None:
        """When it ended; None where that is not known."""
        return self._recording.ended_ns

    @property
    def totals(self) -> Totals:
        """How much there is."""
        return self._recording.totals

    @property
    def processes(self) -> tuple[Process, ...]:
        """The processes of the run, by position."""
        return tuple(self._recording.processes)

    @property
    def endings(self) -> tuple[ProcessOutcome, ...]:
        """How each process ended, as far as the dump tells."""
        return tuple(endings_of(self._recording))

    @property
    def connections(self) -> Sequence[Connection]:
        """All connections by their number; each is read when it is asked for."""
        return self._recording.connections

    def facts(self) -> Iterator[Fact]:
        """What no packet tells (a process started, listens, ended), in the order of the run."""
        return self._recording.facts()

    def events(self, connection: Connection | int | None = None) -> Iterator[tuple[int, Event]]:
        """What happened on one connection, or on all in the order of the run, each with the connection's
        number. A chunk's bytes come with `chunks`."""
        if connection is None:
            return self._recording.all_events()
        number = self._number(connection)
        return ((number, event) for event in self._recording.events(number))

    def chunks(self, connection: Connection | int | None = None) -> Iterator[Chunk]:
        """What was said on one connection, or on all in the order of the run."""
        return (
            Chunk(number, "server" if event.side else "client", event.time_ns, self._recording.payload(event))
            for number, event in self.events(connection)
            if event.kind is EventKind.CHUNK
        )

    def said(self, connection: Connection | int, side: Side) -> bytes:
        """All that one side of a connection said, in memory."""
        if side not in SIDES:
            raise UsageError(f"cannot read side {side!r}: there is client and server")
        return b"".join(chunk.data for chunk in self.chunks(connection) if chunk.side == side)

    def conversations(
        self, client: str | None = None, server: str | None = None, port: int | None = None
    ) -> Iterator[Conversation]:
        """Connections that came about, with all that was said on them, in the order in which they were
        opened; those of these processes and of the server's port alone, where they are given."""
        wanted = (client, server, port)
        for connection in self.connections:
            ends = (connection.client_process, connection.server_process, connection.server.port)
            is_wanted = all(want in (None, end) for want, end in zip(wanted, ends, strict=True))
            if is_wanted and connection.established_ns is not None:
                sent: list[bytes] = []
                received: list[bytes] = []
                for chunk in self.chunks(connection):
                    (received if chunk.side == "server" else sent).append(chunk.data)
                yield Conversation(connection, b"".join(sent), b"".join(received))

    def datagrams(self) -> Iterator[Datagram]:
        """All datagrams, in the order of the run."""
        for place in self._recording.datagrams():
            yield Datagram(place, self._recording.payload(place))

    def _number(self, connection: Connection | int) -> int:
        number = connection if isinstance(connection, int) else connection.id
        if not 0 <= number < len(self.connections):
            raise UsageError(
                f"cannot read connection {number}: the dump has {len(self.connections)} connections"
            )
        return number


def open_dump(path: Path | str, *, names: Sequence[str] = ()) -> Dump:
    """Open a dump: complete, torn, being written, or of the original TUN recorder; or a capture (pcap,
    pcapng), which is read through once for that, and whose addresses `names` calls ("10.1.2.3=db").

    DumpError, NotADumpError, DamagedDumpError. Opening a complete dump takes the same time whatever its size.
    """
    path = Path(path)
    with ExitStack() as stack:
        recording = stack.enter_context(open_playable(path, names, _say_nothing, in_child=False))
        return Dump(recording, path, stack.pop_all())


def _say_nothing(_line: str) -> None:
    """Who opens a capture knows that it is one."""
