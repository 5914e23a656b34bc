"""A dump of the original program as one of this program: the same connections, bytes and times.

What the original does not tell is in the new dump as its reader makes it up (see `tunreplay`). Where its
clock went back, the new dump's stands still.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from netplayground import __version__
from netplayground.dump.connection import ConnectionWriter
from netplayground.dump.model import Connection, Endpoint, Event, EventKind, State
from netplayground.dump.tunreplay import TunReplayDump
from netplayground.dump.writer import DumpWriter, Written


class _Clock:
    """The time of the event that is being written."""

    now = 0

    def __call__(self) -> int:
        return self.now


def convert(original: TunReplayDump, path: Path, fd: int) -> Written:
    """Write a dump into the empty file `fd`, called `path` in errors; that of a torn one is torn."""
    clock = _Clock()
    clock.now = original.run.started_ns
    run = replace(original.run, version=__version__, options={"original": original.run.version})
    writer = DumpWriter.create(path, run, clock.now, clock, fd=fd)
    try:
        _tell(original, writer, clock)
    except BaseException:
        writer.close(complete=False)
        raise
    writer.close(complete=original.state is State.COMPLETE)
    return writer.totals


def _tell(original: TunReplayDump, writer: DumpWriter, clock: _Clock) -> None:
    telling: dict[int, ConnectionWriter] = {}
    for identity, event in original.all_events():
        clock.now = max(clock.now, event.time_ns)
        if event.kind is EventKind.SYN:
            telling[identity] = _connection(writer, original.connections[identity])
        _tell_event(telling[identity], event, original)
        if telling[identity].ending is not None:
            del telling[identity]


def _connection(writer: DumpWriter, connection: Connection) -> ConnectionWriter:
    ends = _end(connection.client), _end(connection.server)
    return writer.connection(connection.client.address.version, *ends[0], *ends[1])


def _end(endpoint: Endpoint) -> tuple[bytes, int]:
    return endpoint.address.packed, endpoint.port


def _tell_event(telling: ConnectionWriter, event: Event, original: TunReplayDump) -> None:
    if event.kind is EventKind.SYN:
        telling.syn()
    elif event.kind is EventKind.ESTABLISHED:
        telling.established()
    elif event.kind is EventKind.CHUNK:
        telling.chunk(event.side, memoryview(original.payload(event)))
    else:
        assert event.kind is EventKind.FIN, "the original tells of nothing else"
        telling.fin(event.side)
